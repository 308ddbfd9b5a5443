"""`os` for durable.py that dies at one write and leaves a part of its bytes."""

import os
import stat
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it, and nothing is written any more."""


@dataclass
class Dying:
    """`os` for durable.py, which dies at one write and leaves a part of its bytes.

    step: "fsync", before the bytes are safe; "replace", before the file has its name; "named",
    after it. pattern: of the path in the run's folder. turn: which such write, from 0.
    part: the share of the new bytes that the disk kept.
    """

    step: str
    pattern: str
    turn: int = 0
    part: float = 0.5
    root: Path = Path("/")
    die: object = None
    dead: bool = False
    turns: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        # What lies there already is on the disk: no death now takes it back.
        files = (p for p in self.root.rglob("*") if p.is_file() and p.suffix != ".partial")
        self.sizes = {str(path): path.stat().st_size for path in files}

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, file):
        self._refuse_the_dead()
        if stat.S_ISDIR(os.fstat(file).st_mode):
            os.fsync(file)
            return
        path, size = path_of(file), os.fstat(file).st_size
        if self._is_now("fsync", path.removesuffix(".partial")):
            before = self.sizes.get(path, 0)
            os.ftruncate(file, before + int((size - before) * self.part))
            self._die()
        os.fsync(file)
        self.sizes[path] = size

    def replace(self, partial, path):
        self._refuse_the_dead()
        if self._is_now("replace", str(path)):
            self._die()
        os.replace(partial, path)
        if self._is_now("named", str(path)):
            self._die()

    def _is_now(self, step, path):
        if step != self.step or not fnmatch(path, f"{self.root}/{self.pattern}"):
            return False
        self.turns += 1
        return self.turns == self.turn + 1

    def _die(self):
        self.dead = True
        if self.die:
            self.die()
        raise Killed

    def _refuse_the_dead(self):
        if self.dead:
            raise Killed


def path_of(file):
    """Returns the path of an open file."""
    if sys.platform == "darwin":
        import fcntl

        return fcntl.fcntl(file, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\\0").decode()
    return os.readlink(f"/proc/self/fd/{file}")
