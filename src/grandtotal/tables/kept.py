"""What was found about a file: kept at the retailer until the file or its reading changes.

    kept = Kept(folder)
    found = kept.load(key) or kept.save(key, judged)

A file that has the same path, size and time of change, and is read in the same way by the same
code, for the same customers who agreed, is the same. One that was changed in the last seconds is
not kept: a second change within the clock's tick would not be seen.
"""

import contextlib
import hashlib
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from grandtotal.durable import canonical, digest, partial_path, read_json, write_json
from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.files import SourceFile

_TICK_S = 2.0


class Kept:
    """A folder with what is kept, one .json and some .parquet for each key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> tuple[Any, dict[str, pl.DataFrame]] | None:
        """Returns what was saved under the key, or None."""
        path = self._folder / f"{key}.json"
        if not path.exists():
            return None
        found = read_json(path)
        frames = {name: pl.read_parquet(self._frame(key, name)) for name in found["frames"]}
        return found["value"], frames

    def save(self, key: str, value: Any, frames: Mapping[str, pl.DataFrame]) -> None:
        """Keeps a value that JSON can hold, and frames; the value last, so that it is whole.

        Where the folder cannot be written, nothing is kept: the next reading finds it out again.
        """
        paths = {name: self._frame(key, name) for name in frames}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, path in paths.items():
                frames[name].write_parquet(partial_path(path))
                partial_path(path).rename(path)
            write_json(self._folder / f"{key}.json", {"value": value, "frames": sorted(frames)})
        except (OSError, pl.exceptions.PolarsError):
            for path in (*paths.values(), self._folder / f"{key}.json"):
                with contextlib.suppress(OSError):
                    partial_path(path).unlink(missing_ok=True)

    def _frame(self, key: str, name: str) -> Path:
        return self._folder / f"{key}.{name}.parquet"


def file_key(file: SourceFile, reading: str, *more: Any) -> str | None:
    """Returns what makes a file and its reading the same; None if that cannot be known.

    reading: `reading_digest` of its table. more: what else the thing that is kept depends on.
    """
    if file.kept is not None:  # the copy of a query's result
        return None
    state = file.path.stat()
    if state.st_mtime > time.time() - _TICK_S:
        return None
    seen = [str(file.path.absolute()), state.st_size, state.st_mtime_ns]
    return digest(canonical([seen, reading, *more]))


def reading_digest(config: RetailerConfig, table: str, agreed: pl.Series | None) -> str:
    """Returns a digest of how a table is read: the mapping, the code, and who agreed."""
    who = None if agreed is None else digest(agreed.sort().str.join("\n").item().encode())
    read = [table, repr(config.tables[table]), config.currency, config.time_zone]
    read += [repr(dict(config.rates))] if config.rates else []
    return digest(canonical([read, who, _reader()]))


@cache
def _reader() -> str:
    """Returns a digest of the code that reads tables."""
    state = hashlib.sha256(version("polars").encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()
