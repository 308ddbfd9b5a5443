"""What a retailer's FLARE refuses although the coordinator's allows it, and who may not dial in."""

import json
import re
import socket
import ssl
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from grandtotal.engine import certificates
from grandtotal.engine.certificates import (
    Root,
    issue,
    make_key,
    make_root,
    read_certificate,
    read_key,
)

SUBMIT = """
import json, shutil, sys
from pathlib import Path
from nvflare.fuel.flare_api.flare_api import new_secure_session
from nvflare.fuel.hci.client import file_transfer
from nvflare.lighter.utils import load_private_key_file
from grandtotal.engine import flare
from grandtotal.engine.kits import OFFICER, Kit

kit, foreign, folder = (Path(word) for word in sys.argv[1:])
sign = file_transfer.sign_folders

def job(name):
    made = flare.job_of("no-run", folder / name, ("north",), 1)
    made.rename(made.with_name(name))
    return made.with_name(name)

def harmful(path):
    file = path / "app/config/config_fed_client.json"
    found = json.loads(file.read_text())
    found["executors"][0]["executor"] = {"path": "subprocess.Popen", "args": {"args": "true"}}
    file.write_text(json.dumps(found))
    return path

def with_code(path):
    (path / "app/custom").mkdir()
    (path / "app/custom/mine.py").write_text("print('here')")
    return path

session = new_secure_session(OFFICER, str(kit / OFFICER), timeout=15.0)
session.submit_job(str(harmful(job("other-class"))))
session.submit_job(str(with_code(job("with-code"))))
file_transfer.sign_folders = lambda *_: None
session.submit_job(str(job("unsigned")))
key = load_private_key_file(str(foreign / "foreign.key"))
file_transfer.sign_folders = lambda path, *_: sign(path, key, str(foreign / "foreign.crt"))
session.submit_job(str(job("foreign")))
session.close()
"""

REFUSALS = {
    "names another class": "'subprocess.Popen' at config path",
    "ships code": "BYOC not permitted",
    "is not signed": "unsigned job rejected",
    "is signed by a foreign root": "does not pass signature verification",
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """Returns a folder with the certificate and key of an officer of another root."""
    folder = tmp_path_factory.mktemp("foreign")
    root = make_root("foreign", make_key(folder / "root.key"), 10)
    key = make_key(folder / "foreign.key")
    signed = issue(root, "officer", key.public_key(), 10, role="lead")
    (folder / "foreign.crt").write_bytes(signed)
    return folder


@pytest.fixture(scope="module")
def said(companies, foreign, tmp_path_factory) -> str:
    """Returns what a retailer's logs say once the four jobs were submitted."""
    kit, folder = companies.kit("coordinator"), tmp_path_factory.mktemp("jobs")
    command = [sys.executable, "-c", SUBMIT, str(kit), str(foreign), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        logs = companies.kit("north").rglob("log.jsonl")
        found = "".join(path.read_text(errors="replace") for path in logs)
        if all(words in found for words in REFUSALS.values()):
            break
        time.sleep(0.2)
    return found


@pytest.mark.parametrize("job", REFUSALS)
def test_a_site_refuses_a_job_that(said, job):
    assert REFUSALS[job] in said


def answer_to(companies, certificate: Path | None, key: Path | None) -> bytes:
    """Returns what the coordinator's port says to somebody with this certificate."""
    kit = companies.kit("coordinator")
    context = ssl.create_default_context(cafile=str(kit / "rootCA.pem"))
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    try:
        with (
            socket.create_connection(("127.0.0.1", companies.port), 5) as line,
            context.wrap_socket(line, server_hostname="127.0.0.1") as sealed,
        ):
            sealed.sendall(preface)
            return sealed.recv(1)
    except OSError:
        return b""


@pytest.fixture
def issued_as(companies, tmp_path, monkeypatch):
    """Returns a maker of certificates of north's key, by a coordinator with its own clock."""
    kit = companies.kit("coordinator")
    root = Root(read_certificate(kit / "rootCA.pem"), read_key(kit / "keys/root.key"))
    own = read_key(companies.home("north") / "door/transport.key").public_key()

    def make(name, days=30, ahead=timedelta()):
        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + ahead

        with monkeypatch.context() as patch:
            patch.setattr(certificates, "datetime", Clock)
            (tmp_path / name).write_bytes(issue(root, "north", own, days))
        return tmp_path / name

    return make


def test_only_a_certificate_of_the_consortium_is_answered(companies, foreign, issued_as):
    key = companies.home("north") / "door/transport.key"
    assert answer_to(companies, companies.kit("north") / "client.crt", key)
    assert not answer_to(companies, None, None)
    assert not answer_to(companies, foreign / "foreign.crt", foreign / "foreign.key")
    assert not answer_to(companies, issued_as("expired", days=-2), key)


def test_a_clock_that_is_wrong_by_a_day_makes_a_line_and_one_by_more_does_not(companies, issued_as):
    key, hour = companies.home("north") / "door/transport.key", timedelta(hours=1)
    for ahead in (-24 * hour, 23 * hour):
        assert answer_to(companies, issued_as("skewed", ahead=ahead), key)
    assert not answer_to(companies, issued_as("skewed", ahead=49 * hour), key)


def refused(companies, certificate: Path, key: Path) -> bool:
    """Returns whether the server ends the line of somebody with this certificate."""
    import grpc
    from nvflare.fuel.f3.drivers.grpc.streamer_pb2_grpc import StreamerStub

    root = (companies.kit("coordinator") / "rootCA.pem").read_bytes()
    own = (key.read_bytes(), certificate.read_bytes())
    sealed = grpc.ssl_channel_credentials(root, *own)
    with grpc.secure_channel(f"127.0.0.1:{companies.port}", sealed) as channel:
        call = StreamerStub(channel).Stream(iter(()), timeout=20)
        try:
            next(call, None)
        except grpc.RpcError as error:
            return error.code() == grpc.StatusCode.UNAUTHENTICATED
    return False


def lines_of(name: str, log: Path) -> set[str]:
    """Returns the lines that the server has with a retailer since it was started last."""
    said = log.read_text().rpartition("Server started")[2]
    made = re.findall(rf"\[(CN\d+) [^]]* SSL {name}\] is created", said)
    return set(made) - set(re.findall(r"\[(CN\d+) Not Connected\] is closed", said))


def test_a_revoked_line_is_cut_and_stays_out_until_it_has_another_certificate(companies):
    desk, log = companies.home("coordinator"), companies.kit("coordinator") / "log.jsonl"
    key, certificate = (
        companies.home("east") / name for name in ("door/transport.key", "kit/client.crt")
    )
    assert not refused(companies, certificate, key)
    assert lines_of("east", log)
    begun = time.monotonic()
    companies.type("coordinator", "consortium", "revoke", "east", "--kit", "kit")
    while lines_of("east", log):
        assert time.monotonic() - begun < 60
        time.sleep(0.1)
    assert refused(companies, certificate, key)
    assert not refused(
        companies,
        companies.home("north") / "kit/client.crt",
        companies.home("north") / "door/transport.key",
    )
    run = companies.submit("five.toml", "--roster", "five.roster.json")
    assert companies.wait(run) == "failed"
    said = json.loads((run.folder.coordinator / "state.json").read_text())
    assert said["why"] == "the certificate of east was revoked"
    (desk / "kits/coordinator").symlink_to(companies.kit("coordinator"))
    companies.type("coordinator", "consortium", "create", "alliance.toml")
    assert refused(companies, certificate, key)
    assert not refused(companies, desk / "kits/east/client.crt", key)


def test_no_rule_is_taken_from_what_the_coordinator_sent(companies):
    kit = companies.kit("north")
    assert json.loads((kit / "local/authorization.json").read_text())["permissions"].keys() == {
        "lead"
    }
    sent = {path.name for path in kit.iterdir()}
    assert {"alliance.json", "rootCA.pem", "client.crt"} <= sent
    assert not list(kit.glob("*.sh"))
