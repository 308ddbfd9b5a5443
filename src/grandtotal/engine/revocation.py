"""Certificates that are not valid any more, at the coordinator: whom its port has to turn away.

certificates.jsonl     in the coordinator's folder: every certificate it issued, and every one it
                       revoked, by serial number

There is one server and it is the coordinator's, so one list at the coordinator is enough: members
never dial each other. A revoked line is cut within seconds, not at the next start.
"""

from datetime import datetime
from pathlib import Path

from cryptography import x509

from grandtotal.durable import Log, read_log
from grandtotal.errors import PlanError

FILE = "certificates.jsonl"


def issued(coordinator: Path, name: str, pem: bytes) -> None:
    """Writes down that a certificate was issued in this name."""
    _note(coordinator, "issued", name, x509.load_pem_x509_certificate(pem).serial_number)


def revoke(coordinator: Path, name: str) -> tuple[int, ...]:
    """Revokes every certificate that was issued in a name so far; returns their serial numbers.

    PlanError where there is none left. A certificate that is issued afterwards is valid.
    """
    valid = tuple(serial for serial, whose in _valid(coordinator).items() if whose == name)
    if not valid:
        known = ", ".join(sorted(set(_valid(coordinator).values()))) or "nobody"
        raise PlanError(
            f"{coordinator / FILE}: no valid certificate of '{name}'; there are some of {known}"
        )
    for serial in valid:
        _note(coordinator, "revoked", name, serial)
    return valid


def revoked(coordinator: Path) -> frozenset[int]:
    """Returns the serial numbers of all certificates that were revoked."""
    found = read_log(coordinator / FILE)
    return frozenset(int(each["serial"]) for each in found if each["event"] == "revoked")


def without_certificate(coordinator: Path) -> frozenset[str]:
    """Returns who had certificates and has no valid one left."""
    ever = {str(each["name"]) for each in read_log(coordinator / FILE)}
    return frozenset(ever - set(_valid(coordinator).values()))


def _valid(coordinator: Path) -> dict[int, str]:
    gone = revoked(coordinator)
    found = read_log(coordinator / FILE)
    return {int(e["serial"]): str(e["name"]) for e in found if int(e["serial"]) not in gone}


def _note(coordinator: Path, event: str, name: str, serial: int) -> None:
    at = datetime.now().astimezone().isoformat(timespec="seconds")
    # As text: a serial number has more digits than a number in JSON may have.
    Log(coordinator / FILE).append({"event": event, "name": name, "serial": str(serial), "at": at})
