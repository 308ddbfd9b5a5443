"""Words as places of a table: the same word is the same place everywhere, without a common list.

Weinberger et al., "Feature hashing for large scale multitask learning", 2009,
https://arxiv.org/abs/0902.2206
"""

import hashlib


def place(word: str, first: int, places: int) -> int:
    """Returns the place of a word's hash, from `first` to below `places`."""
    found = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return first + int.from_bytes(found, "big") % (places - first)
