"""A retailer's folder that a test fills with real files."""

from pathlib import Path

import polars as pl
import pytest

from grandtotal.errors import DataError
from grandtotal.tables import Account, RetailerConfig, Tables, load_config

HEAD = 'retailer = "north"\ncurrency = "GBP"\ntime_zone = "Europe/London"\n'
LINES = """\
product,time,quantity,price,customer
tea,2024-03-01 09:00:00,2,1.50,c1
jam,2024-03-01 09:05:00,1,3.25,c2
tea,2024-03-02 10:00:00,-1,1.50,c1
rye,2024-03-03 11:00:00,4,2.00,
oat,2024-03-04 12:00:00,3,0.00,c3
"""


class Shop:
    """The folder of one retailer; `set_aside` is where its unusable rows are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set_aside = folder / "aside"
        self.toml = ""

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def declare(self, table: str, path: str, more: str = "") -> "Shop":
        self.toml += f'[tables.{table}]\npath = "{path}"\n{more}\n'
        return self

    def config(self) -> RetailerConfig:
        return load_config(self.write("retailer.toml", HEAD + self.toml))

    def tables(self) -> Tables:
        return Tables(self.config(), self.set_aside)

    def lines(self, content: str | bytes, more: str = "", name: str = "lines.csv") -> pl.DataFrame:
        """Reads `content` as the transactions."""
        self.write(name, content)
        self.toml = ""
        return self.declare("transactions", name, more).tables()["transactions"]

    def account(self, content: str | bytes, more: str = "", name: str = "lines.csv") -> Account:
        self.write(name, content)
        self.toml = ""
        tables = self.declare("transactions", name, more).tables()
        tables["transactions"]
        return tables.accounts["transactions"]

    def refusal(self, content: str | bytes, more: str = "", name: str = "lines.csv") -> str:
        """Returns the message with which `content` is refused as the transactions."""
        with pytest.raises(DataError) as refused:
            self.lines(content, more, name)
        return str(refused.value)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def good() -> str:
    return LINES
