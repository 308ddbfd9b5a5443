"""A row of a benchmark's table, and the words for data that are not there."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measured number.

    bar: what it has to be, such as "<= 1.15"; None where it is only reported.
    ok: whether it is; None where there is no bar or nothing was measured.
    """

    name: str
    value: float | None
    unit: str = ""
    bar: str | None = None
    ok: bool | None = None


def at_most(bar: float, name: str, value: float, unit: str = "") -> Row:
    """Returns a row that is right up to the bar."""
    return Row(name, value, unit, f"<= {bar:g}", bool(value <= bar))


def at_least(bar: float, name: str, value: float, unit: str = "") -> Row:
    """Returns a row that is right from the bar on."""
    return Row(name, value, unit, f">= {bar:g}", bool(value >= bar))


class MissingDataError(Exception):
    """A file that is not ours to ship is not there; the message says where to get it."""


def need(path: Path, source: str) -> Path:
    """Returns the path if the file is there; `source` is where to get it."""
    if not path.exists():
        raise MissingDataError(
            f"no file {path}; get it from {source}, or name its folder by --data"
        )
    return path
