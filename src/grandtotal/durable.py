"""Files that survive a crash: whole or absent, and logs of which any prefix can be read.

A process may be killed at any write, and the file system may keep any prefix of what was not yet
synchronised. So a file appears by rename only after its bytes are on the disk, and a log line
counts only if it is complete and its check sum is right.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import DamagedError

Json = dict[str, Any]


def digest(*parts: bytes | memoryview) -> str:
    """Returns the SHA-256 of the parts, each preceded by its length, as 64 hexadecimal digits."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def canonical(value: Any) -> bytes:
    """Returns the one JSON text of a value: sorted keys, no spaces, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Returns one digest over names, types, shapes and contents."""
    described = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    contents = [np.ascontiguousarray(arrays[name]).reshape(-1) for name in sorted(arrays)]
    return digest(canonical(described), *(memoryview(c.view(np.uint8).data) for c in contents))


def write(path: Path, content: bytes | memoryview) -> None:
    """Puts the content at the path, whole or not at all."""
    write_by(path, lambda partial: partial.write_bytes(content))


def write_by(path: Path, writer: Callable[[Path], object]) -> None:
    """Puts at the path, whole or not at all, the file that `writer` makes where it is told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    writer(partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_folder(path.parent)


def write_private(path: Path, content: bytes) -> None:
    """Puts a secret into a new file that only its owner may read; FileExistsError if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def partial_path(path: Path) -> Path:
    """Returns where `write` puts the content until all of it is on the disk."""
    return path.with_name(path.name + ".partial")


def write_json(path: Path, value: Any) -> None:
    """Puts the value at the path as indented JSON, whole or not at all."""
    write(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Returns the value that `write_json` put there; DamagedError where there is no JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedError(f"{path}: damaged, no JSON ({error}); put back a copy of it") from error


class Log:
    """JSON lines, each with a check sum, on the disk before `append` returns.

    A torn last line is what a crash leaves behind: it was never acted on, so it is cut off.
    found: is given each record that is there already, first to last. count: how many it has. They
    are on the disk alone, for `read_log`: a party that is at work for weeks would hold ever more.
    """

    def __init__(self, path: Path, found: Callable[[Json], object] = lambda _: None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.count = whole = 0
        for record, size in _whole_lines(path):
            found(record)
            self.count += 1
            whole += size
        self._cut_to(whole)

    def append(self, record: Json) -> None:
        """Adds one record; it is durable when this returns."""
        line = canonical({**record, "check": digest(canonical(record))[:16]}) + b"\n"
        created = not self.path.exists()
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, "only a part of a record could be written")
                os.fsync(file.fileno())
            except OSError:
                # The part that a full disk took would make the next record unreadable.
                file.truncate(size)
                raise
        if created:
            sync_folder(self.path.parent)
        self.count += 1

    def _cut_to(self, size: int) -> None:
        if self.path.exists() and self.path.stat().st_size > size:
            os.truncate(self.path, size)


def read_log(path: Path) -> list[Json]:
    """Returns the whole records of a log without touching it; none where there is no log."""
    return [record for record, _ in _whole_lines(path)]


def _whole_lines(path: Path) -> Iterator[tuple[Json, int]]:
    for line in _lines(path):
        try:
            record = json.loads(line)
            check = record.pop("check")
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if not line.endswith(b"\n") or check != digest(canonical(record))[:16]:
            return
        yield record, len(line)


def _lines(path: Path) -> Iterable[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else ()


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: files that were created, renamed or removed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
