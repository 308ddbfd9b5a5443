"""A copy of rows as Parquet in the machine's temporary folder, gone when the reading ends."""

import errno
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path


def is_full(error: BaseException) -> bool:
    """Returns whether the disk had no room; polars says so in words alone."""
    return f"(os error {errno.ENOSPC})" in str(error) or getattr(error, "errno", 0) == errno.ENOSPC


def no_room(path: Path) -> str:
    """Returns what to do where a copy found no room."""
    folder = path.parent.parent
    return f"no room for a copy of it in {folder}; free some, or set TMPDIR to a folder with room"


class Copy:
    """A folder for one copy that only this user can enter, removed with the last who holds it.

    make: writes the copy to a path, when `made` first asks for it.
    """

    def __init__(self, make: Callable[[Path], None] | None = None) -> None:
        self._make = make
        self._lock = threading.Lock()
        folder = tempfile.mkdtemp(prefix="grandtotal-")
        self.path = Path(folder) / "rows.parquet"
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def made(self) -> Path:
        """Returns the path of the copy, which is there."""
        with self._lock:
            if self._make:
                self._make(self.path)
                self._make = None
        return self.path
