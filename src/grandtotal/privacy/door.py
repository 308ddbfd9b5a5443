"""A retailer's own folder beside its retailer.toml: what outlives every run.

identity.key           its private key; made here, never leaves
identity.pub           the public half, for the consortium's roster
rosters/<name>.json    the roster of each consortium that it is a member of, signed by all
"""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from grandtotal.durable import digest
from grandtotal.errors import PlanError
from grandtotal.privacy.identity import Identity, Roster, read_identity, read_roster


@dataclass(frozen=True)
class Door:
    """The folder of one retailer."""

    folder: Path

    @property
    def key_path(self) -> Path:
        """Where the private key is."""
        return self.folder / "identity.key"

    def roster_path(self, consortium: str) -> Path:
        """Where the roster of a consortium is."""
        # A plan's name is free text; two names must not meet in one file.
        spelled = re.sub(r"[^A-Za-z0-9_-]+", "-", consortium)[:40]
        return self.folder / "rosters" / f"{spelled}-{digest(consortium.encode())[:8]}.json"

    def identity(self) -> Identity:
        """Returns the private key; PlanError where there is none that can be used."""
        return read_identity(self.key_path)

    def roster(self, consortium: str, members: tuple[str, ...]) -> Roster:
        """Returns the roster of a consortium, signed by all and valid today; else PlanError."""
        path = self.roster_path(consortium)
        roster = read_roster(path, date.today(), members)
        _refuse_other_consortium(path, roster.consortium, consortium)
        return roster


def _refuse_other_consortium(path: Path, signed: str, planned: str) -> None:
    if signed != planned:
        raise PlanError(
            f"{path}: the roster of '{signed}', the plan is of '{planned}'; pin the roster that "
            f"the members of '{planned}' signed"
        )
