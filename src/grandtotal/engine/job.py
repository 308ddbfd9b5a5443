"""What a party has done in processes of their own: FLARE's jobs, and giving one to the server.

Each ends with the process that started it. FLARE's own watch over the parent begins late: a job
that is still starting when its parent is killed would go on alone, and keep the retailer's ledger
from the next one.

python -m grandtotal.engine.job server|site ARGUMENTS OF FLARE'S MODULE
python -m grandtotal.engine.job submit KIT RUN LEAST MEMBER...
"""

import os
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

_LOOK_S = 0.5


def end_with(parent: int) -> None:
    """Ends this process as soon as it has another parent."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def main(words: list[str], parent: int) -> int:
    """Does the work and returns the exit status; parent: the process that it ends with."""
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    what, *rest = words
    if what == "submit":
        return submit(Path(rest[0]), rest[1], int(rest[2]), tuple(rest[3:]))
    from grandtotal.engine import flare

    return flare.work(what, rest)


def submit(kit: Path, run: str, least: int, members: tuple[str, ...]) -> int:
    """Gives the server of a kit the job that works on a run, once so many members are there.

    In a process of its own: FLARE keeps who submits and who serves in the same globals.
    """
    with (kit / "submit.txt").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    from grandtotal.engine import flare
    from grandtotal.engine.dialling import officers_line, until_answered
    from grandtotal.engine.kits import Kit

    with TemporaryDirectory() as folder:
        made = flare.job_of(run, Path(folder), members, least)
        until_answered(officers_line(Kit.read(kit)))  # the server may be starting as well
        flare.submit_job(Kit.read(kit), made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.getppid()))
