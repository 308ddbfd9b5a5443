"""Waits for the coordinator's port, for as long as it takes.

FLARE dials again after one second, then two, four, eight and ten: who was started a moment before
the coordinator would come in seconds after it. Here it is looked at five times a second.
"""

import logging
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from grandtotal.engine.kits import OFFICER, Kit

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.2
_DIAL_S = 5.0


@dataclass(frozen=True)
class Line:
    """Where the coordinator is dialled, and the files of who dials."""

    host: str
    port: int
    root: Path
    certificate: Path
    key: Path


def line_of(kit: Kit, key: Path) -> Line:
    """Returns the line of a retailer; key: the private key of its certificate."""
    alliance = kit.alliance
    own = kit.path / "client.crt"
    return Line(alliance.host, alliance.port, kit.path / "rootCA.pem", own, key)


def officers_line(kit: Kit) -> Line:
    """Returns the line of who submits jobs, at the coordinator itself."""
    own, key = kit.path / f"{OFFICER}.crt", kit.path / "keys" / f"{OFFICER}.key"
    return Line("127.0.0.1", kit.alliance.port, kit.path / "rootCA.pem", own, key)


def until_answered(line: Line) -> None:
    """Returns once somebody at the other end speaks TLS; who it is, FLARE will check."""
    context = _context(line)
    said = ""
    while why := _why_not(line, context):
        if why != said:
            _LOG.warning("%s:%d: %s; waiting", line.host, line.port, why)
            said = why
        time.sleep(_LOOK_S)


def _context(line: Line) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(line.root))
    context.check_hostname = False
    context.load_cert_chain(line.certificate, line.key)
    context.set_alpn_protocols(["h2"])
    return context


def _why_not(line: Line, context: ssl.SSLContext) -> str:
    address = (line.host, line.port)
    try:
        with socket.create_connection(address, _DIAL_S) as trial, context.wrap_socket(trial):
            return ""
    except ssl.SSLCertVerificationError:
        return ""  # there, and FLARE says what is wrong with it
    except OSError as error:
        return str(error)
