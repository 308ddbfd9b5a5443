"""Waits for the coordinator's port, for as long as it takes.

FLARE dials again after one second, then two, four, eight and ten: who was started a moment before
the coordinator would come in seconds after it. Here it is looked at five times a second.
"""

import logging
import socket
import ssl
import time
from pathlib import Path

from grandtotal.engine.kits import Kit

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.2
_DIAL_S = 5.0


def until_answered(kit: Kit, key: Path) -> None:
    """Returns once somebody at the coordinator's address speaks TLS; who it is, FLARE will check.

    key: the private key of this retailer's certificate.
    """
    context = _context(kit, key)
    said = ""
    while why := _why_not(kit, context):
        if why != said:
            _LOG.warning("%s:%d: %s; waiting", kit.alliance.host, kit.alliance.port, why)
            said = why
        time.sleep(_LOOK_S)


def _context(kit: Kit, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(kit.path / "rootCA.pem"))
    context.check_hostname = False
    context.load_cert_chain(kit.path / "client.crt", key)
    context.set_alpn_protocols(["h2"])
    return context


def _why_not(kit: Kit, context: ssl.SSLContext) -> str:
    address = (kit.alliance.host, kit.alliance.port)
    try:
        with socket.create_connection(address, _DIAL_S) as line, context.wrap_socket(line):
            return ""
    except ssl.SSLCertVerificationError:
        return ""  # there, and FLARE says what is wrong with it
    except OSError as error:
        return str(error)
