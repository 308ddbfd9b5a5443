"""A copy of rows as Parquet in the machine's temporary folder, gone when the reading ends."""

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path


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
