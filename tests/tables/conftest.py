"""A retailer's folder that a test fills with real files."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

    def query(self, url: str, query: str, more: str = "") -> "Shop":
        """Declares the transactions as what a query of a database returns."""
        self.toml = f'[tables.transactions]\nurl = "{url}"\nquery = """{query}"""\n{more}\n'
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


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server of this test session; `url` names its only user, who has a password."""

    url: str
    port: int
    password: str

    def execute(self, *statements: str) -> None:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.url.replace("@", f":{quote(self.password, safe='')}@")) as opened:
            with opened.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            opened.commit()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Starts a server on 127.0.0.1 in a folder of its own, and stops it at the end."""
    folder, port = Path(tempfile.mkdtemp(prefix="postgresql-")), _free_port()
    # PostgreSQL refuses to run as root.
    user = _postgresql_user() if os.geteuid() == 0 else {}
    if user:
        os.chown(folder, user["user"], user["group"])
    server = Server(f"postgresql://shop@127.0.0.1:{port}/postgres", port, "s3cret/@:pass")
    process = _started(folder, server, user)
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _postgresql_user() -> dict[str, Any]:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _started(folder: Path, server: Server, user: dict[str, Any]) -> "subprocess.Popen[bytes]":
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    found = programs[-1] if programs else shutil.which("initdb")
    if not found:
        pytest.fail("PostgreSQL is missing; install it with: sh tests/install-packages.sh")
    (folder / "password").write_text(server.password)
    for path in (folder, folder / "password") if user else ():
        os.chown(path, user["user"], user["group"])
    options = ["-U", "shop", "-A", "scram-sha-256", "--pwfile", folder / "password"]
    command = [found, "-D", folder / "data", "-N", "--no-locale", "-E", "UTF8", *options]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **user)
    listen = ["-h", "127.0.0.1", "-p", str(server.port), "-k", folder, "-F"]
    command = [Path(found).with_name("postgres"), "-D", folder / "data", *listen]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **user)


def _wait_for(server: Server, process: "subprocess.Popen[bytes]") -> None:
    from adbc_driver_manager import Error

    for _ in range(600):
        try:
            return server.execute("select 1")
        except Error:
            assert process.poll() is None, "the server stopped at once"
            time.sleep(0.05)
    pytest.fail("the server did not answer within 30 s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
