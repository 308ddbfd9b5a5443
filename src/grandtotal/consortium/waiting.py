"""The blocks of a summand that wait to be asked for: on the retailer's disk, not in its memory.

Retailers that share a machine would otherwise hold all their summands at once, gigabytes each.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import overload
from weakref import finalize


class BlocksOnDisk(Sequence[memoryview]):
    """Blocks in a file without a name: it is gone with the last reference, and after a crash."""

    def __init__(self, blocks: Sequence[memoryview], folder: Path) -> None:
        self._size = len(blocks[0])  # of every block but the last
        self._count = len(blocks)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - open until the blocks are gone
        finalize(self, self._file.close)
        for block in blocks:
            self._file.write(block)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> memoryview: ...
    @overload
    def __getitem__(self, place: slice) -> list[memoryview]: ...
    def __getitem__(self, place: int | slice) -> memoryview | list[memoryview]:
        """Returns a block as it was written, or the list of some."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        if not -self._count <= place < self._count:
            raise IndexError(place)
        self._file.seek(place % self._count * self._size)
        return memoryview(self._file.read(self._size))


def on_disk(blocks: Sequence[memoryview], folder: Path) -> Sequence[memoryview]:
    """Returns the same blocks, more than one from a file in this folder."""
    return blocks if len(blocks) < 2 else BlocksOnDisk(blocks, folder)
