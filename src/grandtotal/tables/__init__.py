"""What a retailer's data must look like. Importable only in a retailer's process.

`schema` declares the tables, `config` reads retailer.toml, `read` gives the tables as frames and
accounts for every row, `check` says the same to a person; `demo` and `example` write data.
"""

from typing import TYPE_CHECKING, Any

from grandtotal.tables.config import RetailerConfig, load_config
from grandtotal.tables.schema import REGISTRY, Column, Table

if TYPE_CHECKING:
    from grandtotal.tables.read import Account, Cause, Tables

__all__ = [
    "REGISTRY",
    "Account",
    "Cause",
    "Column",
    "RetailerConfig",
    "Table",
    "Tables",
    "load_config",
]


def __getattr__(name: str) -> Any:
    # What reads rows comes with the engine of frames: not for who reads a retailer.toml alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from grandtotal.tables import read

    return getattr(read, name)
