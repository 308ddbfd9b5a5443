"""What a retailer's data must look like. Importable only in a retailer's process.

`schema` declares the tables, `config` reads retailer.toml, `read` gives the tables as frames and
accounts for every row, `check` says the same to a person; `demo` and `example` write data.
"""

from grandtotal.tables.config import RetailerConfig, load_config
from grandtotal.tables.read import Account, Cause, Tables
from grandtotal.tables.schema import REGISTRY, Column, Table

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
