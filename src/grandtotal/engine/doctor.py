"""What a party needs for a run across companies, checked one by one, each with its remedy."""

import platform
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from grandtotal import __version__
from grandtotal.durable import read_json
from grandtotal.engine.certificates import (
    days_left,
    of_key,
    read_certificate,
    read_key,
    signed_by_root,
)
from grandtotal.engine.kits import COORDINATOR, FLARE, OFFICER, Kit, transport_key
from grandtotal.engine.parties import running
from grandtotal.engine.site import CLOCK
from grandtotal.engine.workspace import broken_rules
from grandtotal.errors import GrandtotalError
from grandtotal.participate import tables_of
from grandtotal.privacy.identity import read_roster, read_unverified
from grandtotal.retailer_file import door_of, name_of
from grandtotal.versions import code_digest

SOON_DAYS = 30
_LEAST_GB = 5.0
_DIAL_S = 5.0
_CLOCKS_S = 300


@dataclass(frozen=True)
class Finding:
    """One point: "yes" it is well, "look" somebody should, "no" it must be mended."""

    point: str
    verdict: str
    found: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """Returns it as a line, with a second one for what to do."""
        line = f"{self.verdict:<5} {self.point}: {self.found}"
        return f"{line}\n      {self.remedy}" if self.remedy else line


def examine(kit: Kit, config: Path | None = None) -> Iterator[Finding]:
    """Yields every finding about a party; config: a retailer's own file, for what is at home."""
    yield from _software()
    yield from _certificates(kit, config)
    yield _port(kit)
    if kit.me != COORDINATOR:
        yield clock(kit)
    yield _disk(kit)
    yield _rules(kit)
    if kit.me == COORDINATOR:
        yield _roster(kit.path / "roster.json", "the coordinator's kit")
    elif config is None:
        remedy = "say --config retailer.toml to have its tables and keys checked as well"
        yield Finding("at home", "look", "no retailer.toml was named", remedy)
    else:
        yield from _at_home(kit, config)


def _software() -> Iterator[Finding]:
    yield Finding("grandtotal", "yes", f"{__version__}, code {code_digest()[:12]}")
    yield Finding("python", "yes", platform.python_version())
    try:
        found = version("nvflare")
    except PackageNotFoundError:
        found = "not installed"
    remedy = "" if found == FLARE else f"pip install 'grandtotal[flare]' brings {FLARE}"
    yield Finding("nvflare", "no" if remedy else "yes", found, remedy)


def _certificates(kit: Kit, config: Path | None) -> Iterator[Finding]:
    names = ["rootCA.pem", "client.crt"]
    if kit.me == COORDINATOR:
        names = ["rootCA.pem", "server.crt", f"{OFFICER}.crt"]
    for name in names:
        yield _certificate(kit, name)
    if kit.me != COORDINATOR and config is not None:
        yield _own_key(kit, config)


def _certificate(kit: Kit, name: str) -> Finding:
    again = "the coordinator runs `grandtotal consortium create` again and sends the kit"
    try:
        found, root = (read_certificate(kit.path / each) for each in (name, "rootCA.pem"))
    except GrandtotalError as error:
        return Finding(name, "no", str(error), again)
    left, now = days_left(found), datetime.now(UTC)
    until = f"valid until {found.not_valid_after_utc:%Y-%m-%d}, {left} days"
    if not signed_by_root(found, root):
        return Finding(name, "no", "not signed by the root of this kit", again)
    if now < found.not_valid_before_utc:
        wrong = f"valid only from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, now is {now:%c}"
        return Finding(name, "no", wrong, "set the clock of this machine, or of the coordinator's")
    if left < 0:
        return Finding(name, "no", f"{until}: expired; or the clock is wrong", again)
    return Finding(name, "look" if left <= SOON_DAYS else "yes", until, again * (left <= SOON_DAYS))


def _own_key(kit: Kit, config: Path) -> Finding:
    again = "send the request of `grandtotal retailer certificate` and ask for the kit again"
    try:
        same = of_key(read_certificate(kit.path / "client.crt"), read_key(transport_key(config)))
    except GrandtotalError as error:
        return Finding("key of the line", "no", str(error), again)
    found = "that of the certificate" if same else "not that of the certificate"
    return Finding("key of the line", "yes" if same else "no", found, "" if same else again)


def _port(kit: Kit) -> Finding:
    host, port = kit.alliance.host, kit.alliance.port
    point = f"port {port}"
    if kit.me == COORDINATOR and running(kit) is None:
        return _free(point, port)
    where = "127.0.0.1" if kit.me == COORDINATOR else host
    try:
        with closing(socket.create_connection((where, port), _DIAL_S)):
            return Finding(point, "yes", f"{where} answers")
    except OSError as error:
        remedy = (
            f"is the coordinator started, and may this machine dial {host}:{port} (TCP, outgoing)?"
        )
        return Finding(point, "no", f"{where}: {error}", remedy)


def _free(point: str, port: int) -> Finding:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError as error:
            remedy = "another program has it: end that, or change alliance.toml and the kits"
            return Finding(point, "no", str(error), remedy)
    return Finding(point, "yes", "free; the coordinator is not started")


def clock(kit: Kit) -> Finding:
    """Returns how far the coordinator's clock was from a retailer's when it asked last."""
    if not (kit.path / CLOCK).exists():
        return Finding("clock", "yes", "not compared yet: the coordinator has asked nothing")
    ahead = read_json(kit.path / CLOCK)["ahead_s"]
    found = f"the coordinator's was {abs(ahead):,} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) <= _CLOCKS_S:
        return Finding("clock", "yes", found)
    remedy = "set the clocks of both machines; beyond a day no line is made"
    return Finding("clock", "look", f"{found} when it asked last", remedy)


def _disk(kit: Kit) -> Finding:
    free = shutil.disk_usage(kit.path).free / 1e9
    remedy = "" if free >= _LEAST_GB else "remove old runs, or give this folder more room"
    return Finding("disk", "look" if remedy else "yes", f"{free:.1f} GB free", remedy)


def _rules(kit: Kit) -> Finding:
    broken = broken_rules(kit)
    if broken is None:
        return Finding("policy", "yes", "written at every start; this kit was not started yet")
    remedy = "started again, the rules are written anew; find out who changed them"
    if broken:
        return Finding("policy", "no", f"changed: {', '.join(broken)}", remedy)
    return Finding(
        "policy", "yes", "signed jobs, no custom code, our classes only, no log streamed"
    )


def _roster(path: Path, where: str) -> Finding:
    if not path.exists():
        remedy = "secure sums need it: `grandtotal consortium roster`, signed by all members"
        return Finding("roster", "look", f"none in {where}", remedy)
    try:
        roster = read_roster(path, date.today())
    except GrandtotalError as error:
        return Finding("roster", "no", str(error), "have a roster of the next epoch signed")
    left = (roster.valid_until - date.today()).days
    remedy = "have a roster of the next epoch signed" if left <= SOON_DAYS else ""
    found = f"{len(roster.members)} members, valid until {roster.valid_until}"
    return Finding("roster", "look" if remedy else "yes", found, remedy)


def _at_home(kit: Kit, config: Path) -> Iterator[Finding]:
    try:
        name = name_of(config)
        remedy = "" if name == kit.me else "take the retailer.toml, or the kit, that belongs here"
        yield Finding("retailer.toml", "no" if remedy else "yes", f"of '{name}'", remedy)
        door = door_of(config)
        door.identity()
        yield Finding("identity key", "yes", str(door.key_path))
        for path in sorted((door.folder / "rosters").glob("*.json")):
            yield _roster(path, read_unverified(path).consortium)
        tables = tables_of(config, None)
        rows = sum(piece.height for piece in tables.pieces("transactions", ["time"]))
        yield Finding("tables", "yes" if rows else "no", f"{rows:,} transactions can be read")
    except GrandtotalError as error:
        yield Finding("at home", "no", str(error), "`grandtotal check retailer.toml` says more")
