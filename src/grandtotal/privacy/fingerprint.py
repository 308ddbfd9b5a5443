"""Keyed hashes: what a text is called where only the holders of a key may know what it says.

A fingerprint is the first 64 bits of HMAC-SHA256. To whoever has no key it is a random number; to
whoever has it, a text that can be guessed (every product number can) is as good as told.

HMAC: Krawczyk, Bellare and Canetti, 1997, https://www.rfc-editor.org/rfc/rfc2104
"""

import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import write_private
from grandtotal.errors import PlanError

KEY_BYTES = 32


def fingerprints(key: bytes, purpose: str, texts: Iterable[str]) -> NDArray[np.uint64]:
    """Returns (texts,) fingerprints; those of one purpose tell nothing about another's."""
    words = (hmac.digest(key, f"{purpose}\0{text}".encode(), "sha256")[:8] for text in texts)
    return np.frombuffer(b"".join(words), ">u8").astype(np.uint64)


def new_key() -> bytes:
    """Returns KEY_BYTES random bytes."""
    return secrets.token_bytes(KEY_BYTES)


def write_key(path: Path, key: bytes) -> None:
    """Writes a key that only its owner may read; PlanError if the file exists."""
    try:
        write_private(path, key)
    except FileExistsError:
        raise PlanError(
            f"{path}: exists already; what was hashed with it is lost with it, so it is not "
            f"overwritten: give another name"
        ) from None


def read_key(path: Path) -> bytes:
    """Returns the key in a file; PlanError if it is no key of KEY_BYTES bytes."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise PlanError(
            f"{path}: the catalogue key cannot be read ({error.strerror}); `grandtotal "
            f"catalogue-key FILE` makes one, which all retailers need and the coordinator must "
            f"not have"
        ) from None
    if len(key) != KEY_BYTES:
        raise PlanError(f"{path}: {len(key)} bytes, expected a key of {KEY_BYTES} random bytes")
    return key
