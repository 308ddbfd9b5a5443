"""What a retailer's tables were when a run began: one digest for each.

A total and its resumption must be made of the same rows. A database has no files: what its query
returns may change unseen, and then the retailer's egress refuses the question that comes again.
"""

import hashlib
from pathlib import Path

from grandtotal.tables.config import RetailerConfig
from grandtotal.tables.files import find_files


def snapshot(config: RetailerConfig) -> dict[str, str]:
    """Returns a digest of retailer.toml and of the files of every table, by name."""
    digests = {config.path.name: _digest([config.path])}
    for name, source in config.tables.items():
        if source.path:
            digests[name] = _digest(find_files(config, name))
    return digests


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Returns the names of what differs."""
    return sorted(name for name in before | now if before.get(name) != now.get(name))


def _digest(files: list[Path]) -> str:
    state = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            state.update(path.name.encode() + b"\0")
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()
