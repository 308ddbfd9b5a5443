"""The message: a versioned envelope of JSON and raw arrays. No pickle, no code, no surprises.

    "GTOT" · version (1 byte) · header length (4 bytes, little-endian) · header (JSON, UTF-8)
    · for each array, in the header's order: its bytes, little-endian, row by row

The header is {"kind": ..., "body": {...}, "arrays": [{"name", "dtype", "shape"}, ...]}.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from grandtotal.durable import Json, canonical
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays

MAGIC = b"GTOT"
VERSION = 1
KINDS = frozenset(
    {
        *("open", "opened", "ask", "summand", "deliver", "delivered", "close", "closed", "error"),
        *("propose", "proposed"),
        *("advertise", "share", "receive", "survivors", "unmask", "signed"),
    }
)
DTYPES = frozenset({"|u1", "<i4", "<u4", "<f4", "<i8", "<u8", "<f8"})
_PREFIX = len(MAGIC) + 1 + 4


@dataclass(frozen=True)
class Message:
    """One message: what it is, its JSON body, its arrays."""

    kind: str
    body: Json = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


def seal(message: Message) -> bytes:
    """Returns the bytes of a message."""
    return b"".join(_parts(message))


def _parts(message: Message) -> Iterator[bytes | memoryview]:
    arrays = {name: np.asarray(array, order="C") for name, array in message.arrays.items()}
    header = canonical(
        {
            "kind": message.kind,
            "body": message.body,
            "arrays": [
                {"name": name, "dtype": array.dtype.str, "shape": list(array.shape)}
                for name, array in arrays.items()
            ],
        }
    )
    yield MAGIC + bytes([VERSION]) + len(header).to_bytes(4, "little") + header
    for array in arrays.values():
        yield array.reshape(-1).view(np.uint8).data


def unseal(content: bytes | memoryview) -> Message:
    """Returns the message of these bytes; AnswerError MALFORMED or OTHER_VERSION if it is none.

    The arrays are read-only views of the bytes.
    """
    view = memoryview(content)
    if bytes(view[: len(MAGIC)]) != MAGIC or len(view) < _PREFIX:
        raise AnswerError(Code.MALFORMED, "the message does not begin like one of ours")
    _refuse_other_version(view[len(MAGIC)])
    start = _PREFIX + int.from_bytes(view[_PREFIX - 4 : _PREFIX], "little")
    header = _header(bytes(view[_PREFIX:start]))
    return Message(header["kind"], header["body"], _arrays(header["arrays"], view[start:]))


def _header(text: bytes) -> Json:
    try:
        header = json.loads(text)
        _refuse_unknown(header)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AnswerError(Code.MALFORMED, f"the message's header cannot be read: {error}") from None
    found: Json = header
    return found


def _refuse_other_version(version: int) -> None:
    if version != VERSION:
        raise AnswerError(
            Code.OTHER_VERSION, f"message of version {version}, this is version {VERSION}"
        )


def _refuse_unknown(header: Json) -> None:
    known = header["kind"] in KINDS and isinstance(header["body"], dict)
    arrays = all(
        isinstance(a["name"], str)
        and a["dtype"] in DTYPES
        and isinstance(a["shape"], list)
        and all(type(n) is int and n >= 0 for n in a["shape"])
        for a in header["arrays"]
    )
    if not (known and arrays):
        raise AnswerError(Code.MALFORMED, "the message's header names an unknown kind or type")


def _arrays(described: list[Json], content: memoryview) -> Arrays:
    arrays: Arrays = {}
    for item in described:
        dtype = np.dtype(item["dtype"])
        size = math.prod(item["shape"]) * dtype.itemsize
        _refuse_cut_or_repeated(item["name"], arrays, size, len(content))
        try:
            array = np.frombuffer(content[:size], dtype).reshape(item["shape"])
        except ValueError as error:  # more dimensions, or a longer one, than an array can have
            raise AnswerError(Code.MALFORMED, f"array {len(arrays)}: {error}") from None
        array.flags.writeable = False
        arrays[item["name"]] = array
        content = content[size:]
    _refuse_more(len(content))
    return arrays


def _refuse_cut_or_repeated(name: str, before: Arrays, size: int, left: int) -> None:
    if size > left or name in before:
        raise AnswerError(Code.MALFORMED, f"array {len(before)} is cut off or named twice")


def _refuse_more(left: int) -> None:
    if left:
        raise AnswerError(Code.MALFORMED, f"{left} bytes follow the last array")
