"""A copy of rows as Parquet in the machine's temporary folder, gone when the reading ends."""

import shutil
import tempfile
import weakref
from pathlib import Path


class Copy:
    """A folder for one copy that only this user can enter, removed with the last who holds it."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="grandtotal-")
        self.path = Path(folder) / "rows.parquet"
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
