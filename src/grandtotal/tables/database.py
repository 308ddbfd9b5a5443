"""The rows of a query as a file: copied once, in the order of the result, then read like any other.

The copy is a Parquet file in a folder that only this user can enter, gone when the reading ends.
What the columns hold is asked first, so that each is copied as it was meant: PostgreSQL's driver
gives an amount of type money as a number of cents, and SQLite's believes its first rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, unquote, urlsplit

import polars as pl

from grandtotal.errors import DataError
from grandtotal.tables.config import Database, RetailerConfig
from grandtotal.tables.copies import Copy, is_full, no_room
from grandtotal.tables.files import UNREADABLE, SourceFile

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

_CONNECT_TIMEOUT_S = 10
_EXTRA = "install it with: pip install 'grandtotal[sql]'"

# What arrives as the same plain Arrow type; anything else is copied as the database writes it.
_PLAIN = (
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "text",
    "character varying",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
)


# What SQLite's typeof() says of a cell, as a number; a column is what its widest cell is.
_KIND = "case typeof({}) when 'null' then 0 when 'integer' then 1 when 'real' then 2 else 3 end"
_SQLITE_TYPES = ("text", "integer", "real", "text")  # by that number; 0: every cell is null


_DRIVERS_WORDS = re.compile(r"\[libpq\] |\[SQLite\] |FATAL: |ERROR: |Failed to prepare query: ")


def open_query(config: RetailerConfig, table: str, database: Database) -> SourceFile:
    """Runs the query of a table and returns its rows as a file.

    Raises DataError where the database, the password or the query fails, with the remedy and
    without the password.
    """
    asked = _Asked(config, table, database, _password(config, table, database))
    copy = Copy()
    with asked.connected() as connection:
        asked.copy(connection, copy.path)
    columns = list(pl.scan_parquet(copy.path).collect_schema().names())
    return SourceFile(
        table, copy.path, config.tables[table], columns, label=database.url, kept=copy
    )


def _password(config: RetailerConfig, table: str, database: Database) -> str:
    """Returns the password, "" where retailer.toml names none."""
    if database.password_env:
        if database.password_env not in os.environ:
            raise DataError(
                f"{table}: {database.url}: no password; {config.path} says password_env = "
                f'"{database.password_env}" and there is no such environment variable; set it'
            )
        return os.environ[database.password_env]
    if not database.password_file:
        return ""
    path = config.folder / database.password_file
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(
            f"{table}: {database.url}: no password; {path} cannot be read ({reason}); correct "
            f"password_file in {config.path}, or who may read the file"
        ) from None


class _Asked:
    """One query to one database, and how its failures are told."""

    def __init__(
        self, config: RetailerConfig, table: str, database: Database, password: str
    ) -> None:
        self.config, self.table, self.database = config, table, database
        self.password = password
        self.is_sqlite = database.url.startswith("sqlite:")

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Yields a connection that only reads."""
        connection = self._sqlite() if self.is_sqlite else self._postgresql()
        with connection:
            if not self.is_sqlite:
                with connection.cursor() as cursor:
                    cursor.execute("set transaction isolation level repeatable read, read only")
            yield connection

    def _sqlite(self) -> Connection:
        path = self.config.folder / unquote(self.database.url.removeprefix("sqlite:///"))
        if not path.is_file():
            self._fail("no such file", "correct `url`; it is relative to retailer.toml")
        try:
            from adbc_driver_sqlite import dbapi
        except ImportError:
            self._fail("SQLite needs the package adbc-driver-sqlite", _EXTRA)
        try:
            return dbapi.connect(f"file:{quote(str(path))}?mode=ro")
        except dbapi.Error as error:
            self._fail_to_connect(error)

    def _postgresql(self) -> Connection:
        try:
            from adbc_driver_postgresql import dbapi
        except ImportError:
            self._fail("PostgreSQL needs the package adbc-driver-postgresql", _EXTRA)
        try:
            connection: Connection = dbapi.connect(self._with_password())
        except dbapi.Error as error:
            self._fail_to_connect(error)
        return connection

    def _with_password(self) -> str:
        parts = urlsplit(self.database.url)
        user, at, host = parts.netloc.rpartition("@")
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        query = parts.query
        if "connect_timeout" not in query:
            query += f"{'&' if query else ''}connect_timeout={_CONNECT_TIMEOUT_S}"
        return parts._replace(netloc=f"{user}{secret}{at}{host}", query=query).geturl()

    def copy(self, connection: Connection, path: Path) -> None:
        """Writes the rows of the query to a Parquet file; refuses a result without rows."""
        query = f"(\n{self.database.query.rstrip().rstrip(';')}\n) as q"
        with connection.cursor() as cursor:
            names = self._names(cursor, query)
            select = self._sqlite_select if self.is_sqlite else self._postgresql_select
            chosen, above = select(cursor, names, query)
            self._execute(cursor, f"{above}select {chosen} from {query}")
            self._sink(cursor, path, 1 if above else 0)

    def _names(self, cursor: Cursor, query: str) -> list[str]:
        self._execute(cursor, f"select * from {query} limit 0")
        try:
            return pl.Schema(cursor.fetch_arrow()).names()
        except pl.exceptions.DuplicateError as error:
            self._fail(f"a column occurs twice ({self._reason(error)})", "rename one with `as`")

    def _postgresql_select(self, cursor: Cursor, names: list[str], query: str) -> tuple[str, str]:
        """Returns what to select, so that every column arrives as a number, a time or a text."""
        types = [f"pg_typeof({_quoted(name)})::text" for name in names]
        found = self._answer(cursor, f"select {_numbered(types)} from {query} limit 1").rows()
        if not found:
            self._fail_without_rows()
        return ", ".join(map(_as_text, names, found[0])), ""

    def _sqlite_select(self, cursor: Cursor, names: list[str], query: str) -> tuple[str, str]:
        """Returns what to select, and a row to put first that shows the driver each type.

        Any cell of SQLite may hold any type, and the driver takes the first it sees for all.
        """
        kinds = [f"max({_KIND.format(_quoted(name))})" for name in names]
        count, *found = self._answer(
            cursor, f"select count(*) as n, {_numbered(kinds)} from {query}"
        ).row(0)
        if not count:
            self._fail_without_rows()
        types = [_SQLITE_TYPES[kind or 0] for kind in found]
        first = [
            f"cast(0 as {kind}) as {_quoted(name)}" for name, kind in zip(names, types, strict=True)
        ]
        rows = [f"cast({_quoted(name)} as {kind})" for name, kind in zip(names, types, strict=True)]
        return ", ".join(rows), f"select {', '.join(first)} union all "

    def _answer(self, cursor: Cursor, sql: str) -> pl.DataFrame:
        self._execute(cursor, sql)
        return pl.DataFrame(cursor.fetch_arrow())

    def _execute(self, cursor: Cursor, sql: str) -> None:
        from adbc_driver_manager import Error

        try:
            cursor.execute(sql)
        except Error as error:
            self._fail_to_read(error)

    def _sink(self, cursor: Cursor, path: Path, skip: int) -> None:
        try:
            pl.scan_arrow_c_stream(cursor.fetch_arrow()).slice(skip).sink_parquet(path)
        except UNREADABLE as error:
            if is_full(error):
                self._fail(*no_room(path).split("; "))
            self._fail_to_read(error)

    def _fail_without_rows(self) -> NoReturn:
        self._fail("the query returns no rows", "correct it, or take the table out")

    def _fail_to_connect(self, error: BaseException) -> NoReturn:
        reason = self._reason(error)
        if "password" in reason:
            remedy = (
                'correct the user in `url`, or the password: password_env = "SHOP_PASSWORD" names '
                "the environment variable that holds it, password_file a file"
            )
        else:
            remedy = "see that the server runs, and that host, port and database in `url` are right"
        self._fail(f"no connection ({reason})", remedy)

    def _fail_to_read(self, error: BaseException) -> NoReturn:
        self._fail(f"the query fails ({self._reason(error)})", "correct `query` or `table`")

    def _reason(self, error: BaseException) -> str:
        """Returns what the database says, in one line and without the password."""
        text = re.split(r"\n\s*(?:LINE \d+|Query was|query):", str(error))[0]
        text = " ".join(_DRIVERS_WORDS.split(text)[-1].split())
        for secret in {self.password, quote(self.password, safe="")} - {""}:
            text = text.replace(secret, "***")
        return text

    def _fail(self, found: str, remedy: str) -> NoReturn:
        # Without the cause: a driver's own error may hold the connection's words.
        raise DataError(
            f"{self.table}: {self.database.url}: {found}; {remedy} "
            f"([tables.{self.table}] in {self.config.path})"
        ) from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _numbered(expressions: list[str]) -> str:
    return ", ".join(f'{text} as "{number}"' for number, text in enumerate(expressions))


def _as_text(name: str, kind: str) -> str:
    quoted = _quoted(name)
    if kind in _PLAIN:
        return quoted
    return f"{quoted}{'::numeric' if kind == 'money' else ''}::text as {quoted}"
