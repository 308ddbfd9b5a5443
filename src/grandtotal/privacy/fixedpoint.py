"""Integers on the wire: fixed point modulo 2^32 or 2^64.

Integer sums have no order, so a total is the same digit for digit on any split of the rows, for
any order of arrival, in one process or in fifty. A sum that could leave the range is refused
before it is made, because a wrapped total looks like a number.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import AnswerError, Code, RefusedError

Arrays = dict[str, NDArray[Any]]
Words = NDArray[Any]

_TILE = 256  # rows and columns of a matrix that are mirrored at once


@dataclass(frozen=True)
class Field:
    """One array of a summand, agreed before anyone answers.

    shape: of the array; () is a single number.
    scale: integer steps per unit; an entry of the total is the integer sum divided by it.
    modulus: 2**64 or 2**32, the range of the sum on the wire.
    symmetric: a square matrix equal to its transpose; only the upper triangle travels.
    largest: the largest integer that one retailer may contribute to an entry, where it is known
        beforehand; the round is refused if the members together could pass half of the modulus.
    """

    shape: tuple[int, ...]
    scale: int = 1
    modulus: int = 2**64
    symmetric: bool = False
    largest: int | None = None

    def __post_init__(self) -> None:
        if self.modulus not in (2**32, 2**64):
            raise ValueError(f"modulus {self.modulus}: only 2**32 and 2**64 exist on the wire")
        if self.symmetric and (len(self.shape) != 2 or self.shape[0] != self.shape[1]):
            raise ValueError(f"shape {self.shape}: only a square matrix can be symmetric")

    @property
    def length(self) -> int:
        """Words that travel."""
        n = self.shape[0] if self.shape else 1
        return n * (n + 1) // 2 if self.symmetric else math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes that travel; a whole number of 8-byte steps, so that every field starts aligned."""
        return -(-self.length * self.word.itemsize // 8) * 8

    @property
    def described(self) -> dict[str, object]:
        """Shape, modulus and scale, for a log that people read."""
        modulus = f"2^{self.modulus.bit_length() - 1}"
        return {"shape": list(self.shape), "modulus": modulus, "scale": self.scale}

    @property
    def word(self) -> np.dtype[np.generic]:
        """The unsigned little-endian integer of the wire."""
        return np.dtype("<u4" if self.modulus == 2**32 else "<u8")

    def capacity(self, retailers: int) -> int:
        """The largest magnitude that each of so many retailers may contribute to one entry."""
        return (self.modulus // 2 - 1) // retailers


def under(prefix: str, arrays: Arrays) -> Arrays:
    """Returns the arrays whose names begin so, by the rest of their names."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def over(prefix: str, arrays: Arrays) -> Arrays:
    """Returns the arrays with names that begin so."""
    return {prefix + name: array for name, array in arrays.items()}


def refuse_overflow(fields: dict[str, Field], retailers: int) -> None:
    """Raises RefusedError, with the arithmetic, if the sum of a field could leave its range."""
    for name, field in fields.items():
        if field.largest is not None and field.largest > field.capacity(retailers):
            raise RefusedError(
                f"field '{name}': {retailers} retailers x {field.largest:,} steps = "
                f"{retailers * field.largest:,}, but a sum modulo "
                f"2^{field.modulus.bit_length() - 1} must stay below {field.modulus // 2:,}; lower "
                f"the scale (now {field.scale:,} steps a unit) or use the modulus 2^64"
            )


def quantise(values: NDArray[np.floating], scale: int) -> NDArray[np.int64]:
    """Returns the values in integer steps of 1/scale, halves to even."""
    steps: NDArray[np.int64] = np.rint(values * scale).astype(np.int64)
    return steps


def encode(
    name: str, values: NDArray[np.generic], field: Field, retailers: int, room: int = 0
) -> Words:
    """Returns the summand's entries as words, shape (field.length,), that nobody else holds.

    Integer arrays hold steps already (each row was rounded before it was added); float arrays
    hold units and are rounded here, which adds up to half a step per retailer to the total.
    A symmetric field may be answered by its upper triangle, packed as `pack` does; integers of the
    wire's size are then not copied, so whoever made them gives them away.
    room: steps of each retailer's capacity that are left to its noise.
    """
    packed = field.symmetric and values.shape == (field.length,)
    if not packed:
        _refuse_other_shape(name, values, field)
    flat = pack(values) if field.symmetric and not packed else values.reshape(-1)
    if flat.dtype.kind == "f":
        _refuse_not_finite(name, flat)
        with np.errstate(over="ignore"):  # what overflows here is refused as too large below
            flat = np.rint(flat.astype(np.float64) * field.scale)
    elif flat.dtype.kind not in "iu":
        raise AnswerError(Code.FIELDS_DIFFER, f"field '{name}': {flat.dtype} is not a number")
    _refuse_too_large(name, flat, field, retailers, room)
    # A packed triangle was made for this answer; anything else may be the retailer's own array.
    word = "<i4" if field.modulus == 2**32 else "<i8"
    return flat.astype(word, copy=not field.symmetric).view(field.word)


def _refuse_other_shape(name: str, values: NDArray[np.generic], field: Field) -> None:
    if values.shape != field.shape:
        raise AnswerError(
            Code.FIELDS_DIFFER,
            f"field '{name}': the answer has shape {values.shape}, agreed was {field.shape}",
        )


def _refuse_not_finite(name: str, flat: NDArray[Any]) -> None:
    if not np.isfinite(flat).all():
        raise AnswerError(Code.NOT_FINITE, f"field '{name}': the answer is not finite")


def _refuse_too_large(
    name: str, flat: NDArray[np.generic], field: Field, retailers: int, room: int
) -> None:
    if not flat.size:
        return
    largest = max(abs(flat.max().item()), abs(flat.min().item()))
    allowed = field.capacity(retailers) - room
    if field.largest is not None:
        allowed = min(allowed, field.largest)
    if largest > allowed:
        # A format of floats would round an integer beyond 2^53.
        spelled = f"{largest:,}" if isinstance(largest, int) else f"{largest:,.0f}"
        raise AnswerError(
            Code.OVERFLOW,
            f"field '{name}': an entry is {spelled} steps of 1/{field.scale:,}, but "
            f"{retailers} retailers may contribute at most {allowed:,} each"
            + (f", with room for noise of {room:,}" if room else ""),
        )


def decode(words: Words, field: Field) -> NDArray[np.generic]:
    """Returns the total in units: integers where the scale is 1, else float64."""
    signed = words.view("<i4" if field.modulus == 2**32 else "<i8")
    entries = signed if field.scale == 1 else signed / field.scale
    return unpack(entries, field.shape[0]) if field.symmetric else entries.reshape(field.shape)


def pack(matrix: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the upper triangle of an n x n matrix row by row, shape (n (n + 1) / 2,)."""
    n = len(matrix)
    flat = np.empty(n * (n + 1) // 2, matrix.dtype)
    start = 0
    for row in range(n):
        flat[start : start + n - row] = matrix[row, row:]
        start += n - row
    return flat


def unpack(flat: NDArray[np.generic], n: int) -> NDArray[np.generic]:
    """Returns the symmetric n x n matrix whose upper triangle `pack` made."""
    matrix = np.empty((n, n), flat.dtype)
    start = 0
    for row in range(n):
        matrix[row, row:] = flat[start : start + n - row]
        start += n - row
    mirror(matrix)
    return matrix


def mirror(matrix: NDArray[np.generic]) -> None:
    """Copies the upper triangle of a square matrix onto the lower one."""
    # Tiles that fit into the cache: column by column, every entry would be a line of memory.
    for start in range(0, len(matrix), _TILE):
        rows = slice(start, start + _TILE)
        for left in range(0, start, _TILE):
            columns = slice(left, left + _TILE)
            matrix[rows, columns] = matrix[columns, rows].T
        tile = matrix[rows, rows]
        below = np.tril_indices(len(tile), -1)
        tile[below] = tile.T[below]
