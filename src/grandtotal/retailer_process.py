"""A retailer's own process: reads messages from standard input, writes replies to standard output.

python -m grandtotal.retailer_process NAME RETAILER.TOML FOLDER
"""

import os
import sys
from pathlib import Path

from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.transport import read_frame, write_frame
from grandtotal.participate import agreeing, door_of, opener


def main(name: str, config: Path, folder: Path) -> None:
    """Answers messages until the other side closes the pipe."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    # Whatever prints by accident goes to the log, not between two messages.
    os.dup2(2, 1)
    agree = agreeing(config, folder)
    retailer = Retailer(name, folder, opener(name, config, folder), door_of(config), agree)
    while True:
        try:
            message = read_frame(incoming)
        except EOFError:
            return
        write_frame(outgoing, retailer.handle(message))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
