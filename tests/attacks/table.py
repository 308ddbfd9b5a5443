"""Makes every attack twice, as things are and without its check, and prints what came of it.

PYTHONPATH=tests python -m attacks.table
"""

import sys
import tempfile
from pathlib import Path

import attacks.coordinator_lies
import attacks.retailer_lies  # noqa: F401
from attacks.attack import ATTACKS, outcome, without


def main() -> int:
    """Prints the table; returns how many attacks did not go as they should."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, made in enumerate(ATTACKS):
            with_check = outcome(made, Path(folder, f"{number}-with"))
            with without(made.check, made.instead):
                bare = outcome(made, Path(folder, f"{number}-without"))
            good = with_check.startswith("refused: ") and bare == "reached"
            wrong += not good
            check = made.check.removeprefix("grandtotal.")
            print(f"{'stopped' if good else 'WRONG':<8} {made.by:<12} {made.name:<58} {check}")
            if not good:
                print(f"         with the check: {with_check}; without: {bare}")
    print(f"{len(ATTACKS)} attacks, {len(ATTACKS) - wrong} refused by the check that they name")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
