"""Who is who: interface. Identity keys of the retailers, and the roster that all of them sign."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A retailer's private key."""

    def sign(self, content: bytes) -> bytes:
        """Returns 64 bytes."""
        raise NotImplementedError

    public: bytes


def make_identity(path: Path) -> Identity:
    """`grandtotal retailer keygen`: PlanError if the file exists."""
    raise NotImplementedError


def read_identity(path: Path) -> Identity:
    """Returns the key in a file that only its owner can read."""
    raise NotImplementedError


def fingerprint(public: bytes) -> str:
    """Returns what two people compare on the telephone: groups of four hexadecimal digits."""
    raise NotImplementedError


@dataclass(frozen=True)
class Roster:
    """The members of a consortium and their public keys, for one epoch."""

    consortium: str
    epoch: int
    members: dict[str, bytes]
    valid_until: date

    @property
    def digest(self) -> str:
        """Returns the hexadecimal digest that the signatures are over."""
        raise NotImplementedError


def write_roster(path: Path, roster: Roster) -> None:
    """Writes an unsigned roster."""


def sign_roster(path: Path, name: str, identity: Identity) -> None:
    """Adds a member's signature to the file."""


def read_roster(path: Path, today: date, members: tuple[str, ...] | None = None) -> Roster:
    """Returns a roster that all its members signed; PlanError names the file and what to do."""
    raise NotImplementedError
