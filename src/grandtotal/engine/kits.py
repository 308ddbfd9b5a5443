"""What the members get to find each other: a kit is three small files, and no secret is in it.

alliance.json     who the members are, where the coordinator is reached, its public key
rootCA.pem        the root of the consortium's certificates
client.crt        this retailer's certificate, for the key that never left it

Nothing in a kit is run, and no rule is taken from it: what FLARE may do at a retailer is written
anew by this retailer's own installation at every start (`workspace.py`).
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandtotal import __version__
from grandtotal.consortium.consortium import refuse_too_few
from grandtotal.durable import Json, read_json, write, write_json
from grandtotal.engine.certificates import (
    Root,
    issue,
    make_key,
    make_root,
    read_certificate,
    read_key,
    read_request,
    request,
)
from grandtotal.engine.revocation import issued
from grandtotal.errors import PlanError
from grandtotal.privacy.identity import KEY_BYTES, make_identity, read_identity
from grandtotal.retailer_file import door_of, name_of

if TYPE_CHECKING:
    from grandtotal.plan import Plan

FLARE = "2.9.0"
COORDINATOR = "coordinator"
OFFICER = "officer"  # in whose name the coordinator submits jobs
OFFICER_ROLE = "lead"
FILE = "alliance.json"
_FORMAT = 1
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Alliance:
    """alliance.toml: who works together, and where the coordinator is reached.

    host: a name or address that every retailer can dial. patience_s: for how long a retailer may
    be silent before a round goes on, or waits, without it. days: how long certificates are valid.
    """

    name: str
    members: tuple[str, ...]
    host: str
    port: int = 8002
    patience_s: float = 60.0
    days: int = 360

    def __post_init__(self) -> None:
        for key in ("name", "host"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise PlanError(f"{key} = {getattr(self, key)!r}, expected a text")
        if not all(isinstance(member, str) for member in self.members):
            raise PlanError(f"members = {list(self.members)!r}, expected a list of texts")
        for name in (self.name, *self.members):
            _refuse_no_site(name)
        if len(set(self.members)) < len(self.members):
            raise PlanError(f"a member is named twice in {list(self.members)}")
        refuse_too_few(self.members)
        self._check_numbers()

    def _check_numbers(self) -> None:
        for key, least, most in (("port", 1, 65535), ("days", 1, 3650)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise PlanError(f"{key} = {value!r}, expected a whole number, {least} to {most}")
        value = self.patience_s
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 86400:
            raise PlanError(f"patience_s = {value!r}, expected seconds, 1 to 86400")

    @staticmethod
    def read(path: Path) -> Alliance:
        """Returns what a TOML file says; PlanError says what is wrong with it."""
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise PlanError(f"{path}: no such file; docs/coordinator_guide.md shows one") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PlanError(f"{path}: not a TOML file: {error}") from error
        return Alliance.of(found, str(path))

    @staticmethod
    def of(found: Json, where: str) -> Alliance:
        """Returns the alliance of a JSON value; `where` names it in messages."""
        known = tuple(Alliance.__dataclass_fields__)
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise PlanError(f"{where}: unknown '{key}', expected {', '.join(known)}{hint}")
        try:
            return Alliance(**{**found, "members": tuple(found.get("members", ()))})
        except TypeError as error:
            missing = [key for key in ("name", "members", "host") if key not in found]
            raise PlanError(f"{where}: missing {', '.join(missing) or error}") from None
        except PlanError as error:
            raise PlanError(f"{where}: {error}") from None


@dataclass(frozen=True)
class Kit:
    """A party's folder: what `create` wrote, and what its process keeps."""

    path: Path
    alliance: Alliance
    me: str
    coordinator: bytes  # its public key, 32 bytes

    @staticmethod
    def read(path: Path) -> Kit:
        """Returns the kit in a folder; PlanError where there is none that can be used."""
        file = path / FILE
        try:
            found = read_json(file)
            alliance = Alliance.of(found["alliance"], str(file))
            kit = Kit(path.resolve(), alliance, found["me"], bytes.fromhex(found["coordinator"]))
            _refuse_other_format(file, found["format"])
        except FileNotFoundError:
            raise PlanError(
                f"{path}: no kit, it has no {FILE}; `grandtotal consortium create` writes kits"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise PlanError(f"{file}: not the file of a kit ({error!r})") from None
        if kit.me not in (COORDINATOR, *alliance.members) or len(kit.coordinator) != KEY_BYTES:
            raise PlanError(f"{file}: not a kit of a member of '{alliance.name}'")
        return kit

    @property
    def runs(self) -> Path:
        """The folder of all runs of this party."""
        return self.path / "runs"

    def own(self, role: str) -> Kit:
        """Returns itself; PlanError unless it is the kit of a "coordinator", or of a "retailer"."""
        found = COORDINATOR if self.me == COORDINATOR else "retailer"
        if found != role:
            raise PlanError(f"{self.path}: the kit of a {found}, expected that of a {role}")
        return self


def patience_of(kit: Kit, plan: Plan) -> float:
    """Returns for how many seconds a member may be silent: as the plan says, or the alliance."""
    return kit.alliance.patience_s if plan.patience_s is None else plan.patience_s


def ask(config: Path) -> Path:
    """Makes the transport key of a retailer, if it has none, and returns its request's file."""
    door, name = door_of(config), name_of(config)
    _refuse_no_site(name)
    path = transport_key(config)
    key = read_key(path) if path.exists() else make_key(path)
    file = door.folder / f"{name}.csr"
    write(file, request(key, name))
    return file


def transport_key(config: Path) -> Path:
    """Where a retailer keeps the private key of its certificate."""
    return door_of(config).folder / "transport.key"


def create(alliance: Alliance, requests: Path, out: Path) -> dict[str, Path]:
    """Writes a kit for each member and the coordinator's folder; returns them by name.

    Root and coordinator's key are made once; who runs it again renews every certificate.
    """
    here = out / COORDINATOR
    asked = {name: read_request(requests / f"{name}.csr", name) for name in alliance.members}
    root, public = _root(alliance, here), _identity(here)
    folders = {COORDINATOR: here}
    for name, key in asked.items():
        folders[name] = out / name
        signed = issue(root, name, key, alliance.days)
        issued(here, name, signed)
        write(folders[name] / "client.crt", signed)
    _own(root, here, "server", COORDINATOR, alliance)
    _own(root, here, OFFICER, OFFICER, alliance)
    for name, folder in folders.items():
        write(folder / "rootCA.pem", root.pem)
        write_json(folder / FILE, _described(alliance, name, public))
    return folders


def _described(alliance: Alliance, me: str, public: bytes) -> Json:
    return {
        "format": _FORMAT,
        "me": me,
        "alliance": asdict(alliance),
        "coordinator": public.hex(),
        "written_by": {"grandtotal": __version__, "nvflare": FLARE},
    }


def _root(alliance: Alliance, here: Path) -> Root:
    key, path = here / "keys" / "root.key", here / "rootCA.pem"
    if key.exists() and path.exists():
        return Root(read_certificate(path), read_key(key))
    made = make_root(alliance.name, make_key(key), 10 * alliance.days)
    write(path, made.pem)
    return made


def _identity(here: Path) -> bytes:
    path = here / "keys" / "identity.key"
    return (read_identity(path) if path.exists() else make_identity(path)).public


def _own(root: Root, here: Path, file: str, name: str, alliance: Alliance) -> None:
    path = here / "keys" / f"{file}.key"
    key = (read_key(path) if path.exists() else make_key(path)).public_key()
    hosts = tuple(dict.fromkeys((alliance.host, "localhost", "127.0.0.1")))
    signed = (
        issue(root, name, key, alliance.days, hosts)
        if name == COORDINATOR
        else issue(root, name, key, alliance.days, role=OFFICER_ROLE)
    )
    issued(here, name, signed)
    write(here / f"{file}.crt", signed)


def _refuse_no_site(name: str) -> None:
    if not _SITE.fullmatch(name) or name.lower() in ("server", COORDINATOR, OFFICER):
        raise PlanError(
            f"the name {name!r}: expected up to 63 letters, digits, '-' and '_' for a party of a "
            f"consortium of companies, and none of 'server', '{COORDINATOR}', '{OFFICER}'"
        )


def _refuse_other_format(file: Path, found: Any) -> None:
    if found != _FORMAT:
        raise PlanError(f"{file}: of format {found!r}, expected {_FORMAT}; ask for a kit again")
