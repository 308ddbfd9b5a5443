"""retailer.toml: where a retailer's tables are and how its columns are called.

    retailer = "north"
    currency = "GBP"
    time_zone = "Europe/London"
    catalogue_key = "catalogue.key"       # only for a private catalogue, relative to this file
    keep = "kept"                         # a folder for what is found once; see kept.py

    [tables.transactions]
    path = "data/transactions.parquet"    # a file, a folder or a glob, relative to this file
    columns = { product = "StockCode", time = "InvoiceDate" }   # others under their own names
    time_format = "%d/%m/%Y %H:%M"        # or { time = "..." } for one column; default ISO 8601
    separator = ","                       # of .csv
    decimal = "."                         # or ","
    encoding = "utf-8"                    # of .csv; "cp1252", "utf-16" ... are read into memory
    duplicates = "set-aside"              # or "keep": exact duplicate lines of one file
    price_is = "unit"                     # or "line", or "before-discount"; see exports.py
    fill_down = ["customer"]              # columns that only one line of a basket has filled
    final_after_days = 30                 # of a database: days after which a row never changes

    [tables.customers]
    path = "data/customers.csv"
    consent = ["consent"]                 # columns that must be true

    [tables.products]
    url = "postgresql://reader@db.example:5432/shop"    # or "sqlite:///shop.db", instead of path
    query = "select sku as product, title from items"   # or table = "items"
    password_env = "SHOP_PASSWORD"        # or password_file = "secret.txt"

    [privacy]                             # what this retailer allows; see limits.py

The file is the retailer's own and never leaves it.
"""

import codecs
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from encodings.aliases import aliases
from pathlib import Path
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

from grandtotal.errors import PlanError
from grandtotal.tables.limits import KEYS, Limits
from grandtotal.tables.schema import REGISTRY

Duplicates = Literal["set-aside", "keep"]
PriceIs = Literal["unit", "line", "before-discount"]

_RETAILER_KEYS = (
    *("retailer", "currency", "time_zone", "catalogue_key", "keep"),
    *("tables", "privacy", "rates"),
)
_DATABASE_KEYS = ("url", "query", "table", "password_env", "password_file")
_TABLE_KEYS = (
    *("path", "columns", "time_format", "separator", "decimal", "encoding", "duplicates"),
    *_DATABASE_KEYS,
)
_KEYS_OF = {
    "customers": ("consent",),
    "transactions": ("price_is", "fill_down", "final_after_days"),
}


@dataclass(frozen=True)
class Database:
    """Where a query is asked. The url holds no password: what retailer.toml names holds it."""

    url: str
    query: str
    password_env: str = ""
    password_file: str = ""


@dataclass(frozen=True)
class TableSource:
    """Where one table is and how it is written: a `path`, or a `database` and a path of "".

    `columns`: our name -> name in the file; `time_formats`: our name -> strptime format.
    `final_after_days`: after so many days a row of the database never changes; 0 if it may.
    """

    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    time_formats: Mapping[str, str] = field(default_factory=dict)
    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    duplicates: Duplicates = "set-aside"
    consent: tuple[str, ...] = ()
    price_is: PriceIs = "unit"
    fill_down: tuple[str, ...] = ()
    database: Database | None = None
    final_after_days: int = 0

    def name_in_file(self, column: str) -> str:
        """What the file calls our `column`."""
        return self.columns.get(column, column)


@dataclass(frozen=True)
class RetailerConfig:
    """What retailer.toml says; `path` is that file.

    `catalogue_key` is the file of the key that the retailers share, relative to it, or None. `keep`
    is the folder for what was found about large tables and their days, relative to it, or None.
    `rates`: what one unit of another currency is worth in the retailer's own; lines in a currency
    without a rate are set aside.
    """

    path: Path
    retailer: str
    currency: str
    time_zone: str
    tables: Mapping[str, TableSource]
    catalogue_key: str | None = None
    keep: str | None = None
    limits: Limits = field(default_factory=Limits)
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of retailer.toml, to which the tables' paths are relative."""
        return self.path.parent

    @property
    def door(self) -> Path:
        """The folder of this retailer's ledger and keys, the same in every run."""
        return self.folder / self.limits.door

    def place(self, table: str) -> str:
        """Returns where a table is, for a message: its path, or the URL of its database."""
        source = self.tables[table]
        return source.database.url if source.database else str(self.folder / source.path)

    @property
    def consent(self) -> tuple[str, ...]:
        """The columns of the customers file that must all be true; () if none are named."""
        source = self.tables.get("customers")
        return source.consent if source else ()


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the one of `names` that is most like `name`, or None if none is.

    Case, spaces and underscores do not count, and "date" is like "InvoiceDate".
    """
    plain = {"".join(_words(other)): other for other in names}
    found = difflib.get_close_matches("".join(_words(name)), plain, n=1, cutoff=0.75)
    if found:
        return plain[found[0]]
    return next(
        (other for other in plain.values() if set(_words(name)) <= set(_words(other))), None
    )


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[^\W_A-Za-z]+", name)]


def load_config(path: Path) -> RetailerConfig:
    """Reads retailer.toml; a folder means the retailer.toml in it.

    Raises PlanError with the file, the key, what was expected and the nearest valid key.
    """
    path = Path(path)
    path = path / "retailer.toml" if path.is_dir() else path
    return _Section(path, "", _parsed(path)).config()


def _has_password(url: str) -> bool:
    user = url.partition("://")[2].rpartition("@")[0]
    return ":" in user or bool(re.search(r"[?&](ssl)?password=", url))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise PlanError(
            f"{path}: no such file; `grandtotal init` writes one to start from"
        ) from None
    except OSError as error:
        raise PlanError(
            f"{path}: cannot be opened ({error.strerror}); check who may read it"
        ) from None
    except UnicodeDecodeError as error:
        raise PlanError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: not valid TOML: {error}; texts stand in double quotes") from None


@dataclass(frozen=True)
class _Section:
    """One table of the TOML file; `at` is its dotted name, "" for the file itself."""

    path: Path
    at: str
    values: Mapping[str, Any]

    def fail(self, message: str) -> NoReturn:
        raise PlanError(f"{self.path}: {f'[{self.at}] ' if self.at else ''}{message}")

    def check_keys(self, allowed: Iterable[str]) -> None:
        allowed = tuple(allowed)
        for key in self.values:
            if key not in allowed:
                near = nearest(key, allowed)
                hint = f"did you mean '{near}'?" if near else "take it out."
                self.fail(f"unknown key '{key}'; {hint} Valid: {', '.join(allowed)}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            self.fail(f"key '{key}' is missing; add a line {key} = \"...\"")
        if not isinstance(value, str) or not value:
            self.fail(f"key '{key}' is {value!r}; a text in double quotes is expected")
        return value

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key, choices[0])
        if value not in choices:
            near = nearest(value, choices) or choices[0]
            expected = " or ".join(f'"{choice}"' for choice in choices)
            self.fail(f'key \'{key}\' is "{value}"; expected {expected}; write {key} = "{near}"')
        return value

    def section(self, key: str) -> "_Section":
        at = f"{self.at}.{key}" if self.at else key
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            self.fail(f"key '{key}' is {value!r}; expected a table: [{at}] or {key} = {{ ... }}")
        return _Section(self.path, at, value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self.fail(f"key '{key}' is {value!r}; expected a list of texts: {key} = [\"consent\"]")
        return tuple(value)

    def config(self) -> RetailerConfig:
        self.check_keys(_RETAILER_KEYS)
        tables = self.section("tables")
        tables.check_keys(REGISTRY)
        return RetailerConfig(
            path=self.path,
            retailer=self._retailer(),
            currency=self._currency(),
            time_zone=self._time_zone(),
            tables={name: tables.section(name).source(name) for name in tables.values},
            catalogue_key=self.text("catalogue_key") if "catalogue_key" in self.values else None,
            keep=self._keep(),
            limits=self.section("privacy").limits(),
            rates=self.section("rates").rates(),
        )

    def rates(self) -> dict[str, float]:
        for key, value in self.values.items():
            if not re.fullmatch(r"[A-Z]{3}", key):
                self.fail(f"key '{key}'; expected three letters of a currency: USD = 0.92")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 1e-9 < value < 1e9:
                self.fail(
                    f"key '{key}' is {value!r}; expected what one {key} is worth in the "
                    f"retailer's own currency: {key} = 0.92"
                )
        return {key: float(value) for key, value in self.values.items()}

    def limits(self) -> Limits:
        self.check_keys(KEYS)
        try:
            return Limits(**self.values)
        except ValueError as error:
            self.fail(str(error))

    def _keep(self) -> str | None:
        if "keep" not in self.values:
            return None
        name = self.text("keep")
        folder = self.path.parent / name
        if folder.exists() and not folder.is_dir():
            self.fail(f"key 'keep' is \"{name}\", which is a file; name a folder, also a new one")
        return name

    def _retailer(self) -> str:
        name = self.text("retailer")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", name):
            self.fail(
                f"key 'retailer' is \"{name}\"; expected at most 63 letters, digits, - and _, "
                "because folders are named after it"
            )
        return name

    def _currency(self) -> str:
        currency = self.text("currency")
        if not re.fullmatch(r"[A-Z]{3}", currency):
            self.fail(f'key \'currency\' is "{currency}"; expected three letters such as "EUR"')
        return currency

    def _time_zone(self) -> str:
        zone = self.text("time_zone")
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            self.fail(f'key \'time_zone\' is "{zone}"; expected a name such as "Europe/London"')
        return zone

    def source(self, table: str) -> TableSource:
        self.check_keys((*_TABLE_KEYS, *_KEYS_OF.get(table, ())))
        return TableSource(
            path="" if "url" in self.values else self._path(),
            database=self._database() if "url" in self.values else None,
            columns=self._columns(table),
            time_formats=self._time_formats(table),
            separator=self._separator(),
            decimal=self.one_of("decimal", (".", ",")),
            encoding=self._encoding(),
            duplicates="keep"
            if self.one_of("duplicates", ("set-aside", "keep")) == "keep"
            else "set-aside",
            consent=self.texts("consent"),
            price_is=self._price_is(),
            fill_down=self._fill_down(table),
            final_after_days=self._final_after_days(),
        )

    def _final_after_days(self) -> int:
        days = self.values.get("final_after_days", 0)
        if "final_after_days" not in self.values:
            return 0
        if isinstance(days, bool) or not isinstance(days, int) or days < 1:
            self.fail(f"key 'final_after_days' is {days!r}; expected a whole number from 1 on")
        for key, wrong in (("url", False), ("time_format", True), ("fill_down", True)):
            if (key in self.values) == wrong:
                say = "take one of the two out" if wrong else "it is for the rows of a database"
                self.fail(f"key 'final_after_days' {'and' if wrong else 'without'} '{key}'; {say}")
        return days

    def _path(self) -> str:
        for key in _DATABASE_KEYS:
            if key in self.values:
                self.fail(f"key '{key}' without 'url'; add url = \"...\" or take '{key}' out")
        return self.text("path")

    def _database(self) -> Database:
        self._refuse_both("url", "path")
        self._refuse_both("query", "table")
        self._refuse_both("password_env", "password_file")
        secrets = {k: self.text(k) for k in ("password_env", "password_file") if k in self.values}
        url = self._url()
        if secrets and url.startswith("sqlite:"):
            self.fail(f"key '{next(iter(secrets))}': a SQLite file has no password; take it out")
        return Database(url, self._query(), **secrets)

    def _refuse_both(self, one: str, other: str) -> None:
        if one in self.values and other in self.values:
            self.fail(f"keys '{one}' and '{other}'; one of them says all, take the other out")

    def _url(self) -> str:
        url = self.text("url")
        if _has_password(url):
            self.fail(
                "key 'url' holds a password, and this file is read, copied and mailed; take it out "
                'of the url and write password_env = "SHOP_PASSWORD", the name of an environment '
                'variable that holds it, or password_file = "secret.txt"'
            )
        if not url.startswith(("sqlite:///", "postgresql://", "postgres://")):
            self.fail(
                f'key \'url\' is "{url}"; expected "sqlite:///shop.db", relative to this file, '
                'or "postgresql://user@host:5432/database"'
            )
        return url

    def _query(self) -> str:
        if "table" not in self.values:
            return self.text("query")
        parts = self.text("table").split(".")
        return "select * from " + ".".join(
            f'"{part.replace(chr(34), chr(34) * 2)}"' for part in parts
        )

    def _price_is(self) -> PriceIs:
        choices: tuple[PriceIs, ...] = ("unit", "line", "before-discount")
        return choices[choices.index(self.one_of("price_is", choices))]

    def _fill_down(self, table: str) -> tuple[str, ...]:
        names = self.texts("fill_down")
        for name in names:
            if name not in REGISTRY[table].names:
                near = nearest(name, REGISTRY[table].names) or "customer"
                self.fail(
                    f"key 'fill_down' names '{name}', which is no column of {table}; write our "
                    f'name of the column, such as "{near}"'
                )
        return names

    def _columns(self, table: str) -> dict[str, str]:
        columns = self.section("columns")
        columns.check_keys(REGISTRY[table].names)
        return {name: columns.text(name) for name in columns.values}

    def _time_formats(self, table: str) -> dict[str, str]:
        names = [c.name for c in REGISTRY[table].columns if c.kind in ("time", "date")]
        if isinstance(self.values.get("time_format"), str):
            return dict.fromkeys(names, self.text("time_format"))
        formats = self.section("time_format")
        formats.check_keys(names)
        return {name: formats.text(name) for name in formats.values}

    def _separator(self) -> str:
        separator = self.text("separator", ",")
        if len(separator.encode()) != 1 or separator in '"\n\r':
            self.fail(f'key \'separator\' is {separator!r}; expected one sign such as ";" or "\\t"')
        return separator

    def _encoding(self) -> str:
        name = self.text("encoding", "utf-8")
        try:
            "".encode(name)
        except (LookupError, UnicodeError):
            near = nearest(name, aliases) or "cp1252"
            self.fail(
                f'key \'encoding\' is "{name}"; expected one that Python knows, such as "utf-8", '
                f'"cp1252" or "utf-16"; did you mean "{near.replace("_", "-")}"?'
            )
        return codecs.lookup(name).name
