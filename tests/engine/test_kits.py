"""Kits, certificates, requests and what the doctor says of them; no FLARE is started."""

import json
import re
import shutil
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from grandtotal import __version__, cli, members
from grandtotal.durable import canonical, write_json
from grandtotal.engine import certificates, doctor, kits
from grandtotal.engine.certificates import Root, issue, read_certificate, read_key, request
from grandtotal.engine.conduct import Held, conduct, submit
from grandtotal.engine.consent import Decision, Proposal, Requests, cohorts, shown
from grandtotal.engine.dialling import line_of, until_answered
from grandtotal.engine.doctor import examine
from grandtotal.engine.kits import Alliance, Kit, ask, create, patience_of, transport_key
from grandtotal.engine.metrics import metrics_text, serve_metrics
from grandtotal.engine.parties import _at_work, know_coordinator
from grandtotal.engine.revocation import revoke, revoked, without_certificate
from grandtotal.engine.workspace import of_coordinator, of_retailer
from grandtotal.errors import AnswerError, PlanError, RefusedError
from grandtotal.loopback import free_port
from grandtotal.plan import Plan
from grandtotal.privacy.identity import make_identity

RETAILERS = ("north", "south", "west")
GOOD = {"name": "grocers", "members": list(RETAILERS), "host": "localhost"}
RUN = "0123456789abcdef" * 2


@pytest.fixture(scope="module", autouse=True)
def short_keys():
    """Makes keys quickly: how long they are is not what is tested."""
    length, certificates.KEY_BITS = certificates.KEY_BITS, 2048
    yield
    certificates.KEY_BITS = length


@pytest.fixture(scope="module")
def homes(tmp_path_factory, example) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("homes")
    found = {}
    for name in RETAILERS:
        found[name] = folder / name / "retailer.toml"
        found[name].parent.mkdir()
        text = (example / name / "retailer.toml").read_text()
        found[name].write_text(text.replace("data/", f"{example / name / 'data'}/"))
        members.keygen(found[name])
    return found


@pytest.fixture(scope="module")
def written(homes, tmp_path_factory) -> dict[str, Path]:
    """Returns the kits of an alliance, by name."""
    folder = tmp_path_factory.mktemp("alliance")
    (folder / "requests").mkdir()
    for name, config in homes.items():
        (folder / "requests" / f"{name}.csr").write_bytes(ask(config).read_bytes())
    return create(Alliance.of(GOOD, "a"), folder / "requests", folder / "kits")


def test_a_kit_is_three_files_without_a_secret(written):
    for name in RETAILERS:
        assert {path.name for path in written[name].iterdir()} == {
            "alliance.json",
            "rootCA.pem",
            "client.crt",
        }
        content = b"".join(path.read_bytes() for path in written[name].iterdir())
        assert b"PRIVATE" not in content


def test_who_runs_create_again_renews_the_certificates_and_keeps_root_and_key(written, homes):
    kit = Kit.read(written["north"])
    before, root = (read_certificate(kit.path / name) for name in ("client.crt", "rootCA.pem"))
    folder = written["north"].parent
    create(kit.alliance, folder.parent / "requests", folder)
    after = read_certificate(kit.path / "client.crt")
    assert after.serial_number != before.serial_number
    assert certificates.of_key(after, read_key(transport_key(homes["north"])))
    assert read_certificate(kit.path / "rootCA.pem") == root
    assert Kit.read(written["north"]).coordinator == kit.coordinator


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"port": 0}, "port = 0, expected a whole number, 1 to 65535"),
        ({"members": ["north", "south"]}, "at least 3 are needed"),
        ({"members": ["north", "south", "south"]}, "named twice"),
        ({"members": ["north", "south", "a b"]}, "'a b': expected up to 63 letters"),
        ({"members": ["north", "south", "server"]}, "none of 'server'"),
        ({"days": 0}, "days = 0"),
        ({"patience_s": "long"}, "patience_s = 'long', expected seconds"),
        ({"hots": "x"}, "unknown 'hots', .*did you mean 'host'"),
        ({"host": 3}, "host = 3, expected a text"),
    ],
)
def test_an_alliance_that_cannot_be_is_refused_by_name(said, expected):
    with pytest.raises((PlanError, RefusedError), match=expected):
        Alliance.of({**GOOD, **said}, "alliance.toml")


def test_a_missing_key_of_an_alliance_is_named(tmp_path):
    (tmp_path / "alliance.toml").write_text('name = "a"\nmembers = ["north", "south", "west"]\n')
    with pytest.raises(PlanError, match="missing host"):
        Alliance.read(tmp_path / "alliance.toml")


def test_a_request_in_another_name_or_without_signature_is_refused(homes, tmp_path):
    requests = tmp_path / "requests"
    requests.mkdir()
    for name in RETAILERS:
        (requests / f"{name}.csr").write_bytes(ask(homes[name]).read_bytes())
    key = read_key(transport_key(homes["south"]))
    (requests / "north.csr").write_bytes(request(key, "south"))
    with pytest.raises(PlanError, match="a request of 'south', expected 'north'"):
        create(Alliance.of(GOOD, "a"), requests, tmp_path / "kits")
    (requests / "north.csr").write_text("nothing")
    with pytest.raises(PlanError, match="no request for a certificate"):
        create(Alliance.of(GOOD, "a"), requests, tmp_path / "kits")
    (requests / "north.csr").unlink()
    with pytest.raises(PlanError, match="no such file; 'north' makes it"):
        create(Alliance.of(GOOD, "a"), requests, tmp_path / "kits")


def test_a_kit_with_another_coordinator_is_refused_until_its_key_was_compared(written, homes):
    kit = Kit.read(written["north"])
    know_coordinator(kit, homes["north"])
    know_coordinator(kit, homes["north"])
    other = replace(kit, coordinator=bytes(32))
    with pytest.raises(PlanError, match="knows another; have the fingerprint read"):
        know_coordinator(other, homes["north"])
    know_coordinator(other, homes["north"], trust=True)
    know_coordinator(kit, homes["north"], trust=True)


def test_a_certificate_of_another_key_is_not_started_with(written, homes):
    kit = Kit.read(written["north"])
    with pytest.raises(PlanError, match="of another key than"):
        of_retailer(kit, homes["north"], transport_key(homes["south"]))


def test_a_retailer_waits_for_a_coordinator_that_is_not_there_yet(written, homes, caplog):
    port, here = free_port(), written["coordinator"]
    kit = Kit.read(written["north"])
    kit = replace(kit, alliance=replace(kit.alliance, port=port))
    sealed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    sealed.load_cert_chain(here / "server.crt", here / "keys/server.key")
    line = line_of(kit, transport_key(homes["north"]))
    waiting = threading.Thread(target=until_answered, args=(line,), daemon=True)
    waiting.start()
    while "refused; waiting" not in caplog.text:
        time.sleep(0.01)
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.accept()[0].close()  # as a relay does that finds nobody behind it
        with suppress(OSError), sealed.wrap_socket(listener.accept()[0], server_side=True):
            waiting.join(20)
    assert not waiting.is_alive()


def verdicts(kit, config=None):
    return {finding.point: finding.verdict for finding in examine(kit, config)}


def test_the_doctor_finds_what_is_wrong_and_says_the_remedy(written, homes):
    kit = Kit.read(written["north"])
    of_retailer(kit, homes["north"], transport_key(homes["north"]))
    found = verdicts(kit, homes["north"])
    assert found.pop("port 8002") == "no"  # nobody is started
    assert set(found.values()) <= {"yes", "look"}
    keys = written["coordinator"] / "keys"
    root = Root(read_certificate(kit.path / "rootCA.pem"), read_key(keys / "root.key"))
    own = read_key(transport_key(homes["north"])).public_key()
    good = (kit.path / "client.crt").read_bytes()
    for days, verdict in ((-2, "no"), (29, "look"), (60, "yes")):
        (kit.path / "client.crt").write_bytes(issue(root, "north", own, days))
        (finding,) = (f for f in examine(kit, homes["north"]) if f.point == "client.crt")
        assert finding.verdict == verdict
        assert bool(finding.remedy) == (verdict != "yes")
    (kit.path / "client.crt").write_bytes(good)
    path = kit.path / "local/resources.json"
    rules = json.loads(path.read_text())
    write_json(path, {**rules, "class_allow_list": ["*"]})
    assert verdicts(kit, homes["north"])["policy"] == "no"
    write_json(path, rules)
    done = CliRunner().invoke(cli.main, ["doctor", "--kit", str(kit.path)])
    assert done.exit_code == 1
    assert "may this machine dial localhost:8002" in done.output


def test_the_doctor_looks_at_the_coordinator_as_well(written):
    kit = Kit.read(written["coordinator"])
    of_coordinator(kit)
    found = verdicts(kit)
    assert found["server.crt"] == found["officer.crt"] == found["policy"] == "yes"
    assert found["roster"] == "look"


@pytest.fixture
def finding(written, homes):
    """Returns what the doctor says of one point of north, or of somebody else's kit."""

    def examined(point, name="north", at_home=True):
        config = homes[name] if at_home and name in homes else None
        (found,) = (
            each
            for each in examine(Kit.read(written[name]), config)
            if each.point == point or each.point.startswith(f"{point} ")
        )
        assert bool(found.remedy) == (found.verdict != "yes")
        return found

    return examined


def test_the_doctor_compares_the_version_of_flare(finding, monkeypatch):
    assert finding("grandtotal").found.startswith(f"{__version__}, code ")
    for found, verdict in ((kits.FLARE, "yes"), ("2.8.0", "no")):
        monkeypatch.setattr(doctor, "version", lambda _, found=found: found)
        assert (finding("nvflare").verdict, finding("nvflare").found) == (verdict, found)

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert finding("nvflare").found == "not installed"


def test_the_doctor_dials_the_port_or_looks_whether_it_is_free(finding, written):
    file = written["coordinator"] / kits.FILE
    kept, said = file.read_bytes(), json.loads(file.read_text())
    try:
        with socket.create_server(("127.0.0.1", 0)) as other:
            said["alliance"]["port"] = other.getsockname()[1]
            write_json(file, said)
            assert "end that, or change" in finding("port", "coordinator").remedy
            with _at_work(Kit.read(written["coordinator"])):
                assert finding("port", "coordinator").found == "127.0.0.1 answers"
        assert finding("port", "coordinator").found.startswith("free")
    finally:
        file.write_bytes(kept)


def test_the_doctor_says_when_the_disk_is_nearly_full(finding, monkeypatch):
    for free, verdict in ((1_000_000_000, "look"), (50_000_000_000, "yes")):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert finding("disk").verdict == verdict


def test_the_doctor_reads_the_tables_and_the_keys_where_it_is_told_what_they_are(
    finding, homes, monkeypatch
):
    assert re.fullmatch(r"[\d,]+ transactions can be read", finding("tables").found)
    assert finding("identity key").verdict == finding("key of the line").verdict == "yes"
    assert "say --config retailer.toml" in finding("at home", at_home=False).remedy
    text = homes["north"].read_text()
    homes["north"].write_text(text.replace("transactions.csv", "none.csv"))
    try:
        assert "none.csv" in finding("at home").found
    finally:
        homes["north"].write_text(text)
    monkeypatch.setitem(homes, "north", homes["south"])
    assert finding("key of the line").verdict == "no"
    assert finding("retailer.toml").found == "of 'south'"


def test_a_file_that_is_no_kit_is_said_to_be_none(tmp_path, written):
    with pytest.raises(PlanError, match="no kit, it has no"):
        Kit.read(tmp_path)
    (tmp_path / kits.FILE).write_text("[]")
    with pytest.raises(PlanError, match="not the file of a kit"):
        Kit.read(tmp_path)
    with pytest.raises(PlanError, match="the kit of a retailer, expected that of a coordinator"):
        Kit.read(written["north"]).own("coordinator")


# --- consent ---


@pytest.fixture
def signed(plan, tmp_path):
    identity = make_identity(tmp_path / "coordinator.key")
    return identity, Proposal(plan.content.decode(), RUN, "c" * 64, "grocers").signed(identity)


@pytest.mark.parametrize("part", ["plan", "run", "code", "consortium", "signature"])
def test_a_proposal_that_was_changed_on_the_way_is_refused(signed, part):
    identity, proposal = signed
    body = proposal.body
    assert Proposal.of(body, identity.public, "grocers") == proposal
    with pytest.raises(AnswerError):
        Proposal.of({**body, part: f"{body[part]}0"}, identity.public, "grocers")
    with pytest.raises(AnswerError):
        Proposal.of({**body, part: 3}, identity.public, "grocers")


def test_a_request_keeps_its_number_and_its_last_decision(signed, tmp_path):
    requests = Requests(tmp_path / "requests")
    first = requests.of(signed[1])
    assert (first.number, first.decision) == (1, Decision.WAITING)
    first.decide(Decision.APPROVED)
    assert requests.of(signed[1]).decision == Decision.APPROVED
    again = replace(signed[1], run=RUN[::-1])
    assert requests.of(again).number == 2
    assert requests.of(again).decision == Decision.WAITING
    requests.get(1).decide(Decision.REFUSED)
    assert requests.last_approved(requests.get(2)) is None


def test_what_differs_from_the_last_approved_plan_is_shown(signed, tmp_path, example):
    requests = Requests(tmp_path / "requests")
    requests.of(signed[1]).decide(Decision.APPROVED)
    text = (example / "plan.toml").read_text().replace("top = 5", "top = 7")
    text = text.replace('catalogue = "few.csv"', 'catalogue = "few.csv"\nseed = 99')
    path = tmp_path / "other.toml"
    shutil.copy(example / "few.csv", tmp_path)
    path.write_text(f"{text}\n[privacy]\nsecure_sum = false\n")
    asked = replace(signed[1], plan=Plan.read(path).content.decode())
    request = requests.of(asked)
    told = shown(request, requests.last_approved(request))
    assert "What differs from request 1" in told
    differing = told.partition("What differs")[2]
    assert "consortium seed: " in differing
    assert "top = 5" in differing
    assert "top = 7" in differing
    assert "NO: the coordinator sees each summand" in differing
    assert "members" not in differing
    same = requests.of(replace(asked, run=RUN[::-1]))
    same.decide(Decision.APPROVED)
    last = requests.of(replace(asked, run="1" * 32))
    assert "Nothing differs from request 3" in shown(last, requests.last_approved(last))


def test_no_word_of_a_plan_looks_like_another_line_of_what_is_asked(signed, tmp_path, plan):
    source = json.loads(plan.content)
    source["consortium"]["name"] = "small\nepsilon  4\x1b[8m\u202e"
    asked = replace(signed[1], plan=canonical(source).decode())
    told = shown(Requests(tmp_path / "requests").of(asked), None)
    assert "\x1b" not in told
    assert "\u202e" not in told
    (line,) = (line for line in told.splitlines() if line.startswith("epsilon"))
    assert "none: totals are exact" in line


def test_what_was_approved_holds_for_the_plan_that_was_shown_alone(signed, tmp_path, plan):
    requests = Requests(tmp_path / "requests")
    request = requests.of(signed[1])
    request.decide(Decision.APPROVED)
    shutil.copytree(request.folder, requests.folder / "1 (copy)")
    source = json.loads(plan.content)
    source["consortium"]["seed"] = 99
    other = replace(signed[1], plan=canonical(source).decode())
    write_json(request.folder / "proposal.json", {"came": request.came, "proposal": other.body})
    assert [each.decision for each in requests.all()] == [Decision.WAITING]


# --- the coordinator's runs ---


class Refusing:
    """A line at whose end everybody refuses."""

    def exchange(self, messages, may_miss=0):
        raise AssertionError(f"{messages} {may_miss}: nothing may be asked")

    def close(self):
        pass


def test_a_run_of_strangers_is_not_submitted_and_a_stopped_one_asks_nothing(
    written, example, tmp_path
):
    kit = Kit.read(written["coordinator"])
    text = (example / "plan.toml").read_text()
    path = tmp_path / "clear.toml"
    shutil.copy(example / "few.csv", tmp_path)
    path.write_text(text.replace('"west"]', '"east"]') + "\n[privacy]\nsecure_sum = false\n")
    with pytest.raises(PlanError, match=r"\['east'\] are not in the alliance"):
        submit(kit, Plan.read(path), None)
    with pytest.raises(PlanError, match="roster cannot be read"):
        submit(kit, Plan.read(example / "plan.toml"), tmp_path / "none.json")
    path.write_text(f"{text}\n[privacy]\nsecure_sum = false\n")
    run = Held(submit(kit, Plan.read(path), None))
    assert run.state == "submitted"
    where = ["--runs", str(kit.runs)]
    CliRunner().invoke(cli.main, ["runs", "stop", "latest", *where], catch_exceptions=False)
    assert (run.state, run.open) == ("stopped", False)
    conduct(kit, run.folder.path.name, Refusing())
    assert run.segments == []
    CliRunner().invoke(cli.main, ["runs", "resume", "latest", *where], catch_exceptions=False)
    assert run.state == "submitted"
    with run.lock(), pytest.raises(BlockingIOError):
        conduct(kit, run.folder.path.name, Refusing())
    text = metrics_text(kit)
    assert 'grandtotal_runs{state="submitted"} 1' in text
    assert "grandtotal_certificate_days 359" in text


def test_metrics_are_answered_on_loopback_alone(written):
    port = serve_metrics(Kit.read(written["north"]), 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"# TYPE grandtotal_certificate_days gauge" in answer.read()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/else", timeout=5)


def test_a_revoked_name_is_known_until_another_certificate_is_issued(written):
    folder = written["coordinator"]
    assert without_certificate(folder) == set()
    done = CliRunner().invoke(
        cli.main, ["consortium", "revoke", "south", "--kit", str(folder)], catch_exceptions=False
    )
    assert "certificates revoked" in done.output
    serial = read_certificate(written["south"] / "client.crt").serial_number
    assert serial in revoked(folder)
    assert without_certificate(folder) == {"south"}
    with pytest.raises(PlanError, match="no valid certificate of 'south'; there are some of"):
        revoke(folder, "south")
    kit = Kit.read(written["north"])
    create(kit.alliance, folder.parent.parent / "requests", folder.parent)
    assert without_certificate(folder) == set()
    assert serial in revoked(folder)


def test_what_two_cohorts_reveal_is_said_before_it_happens(signed, tmp_path, example):
    requests = Requests(tmp_path / "requests")
    requests.of(signed[1]).decide(Decision.APPROVED)
    text = (example / "plan.toml").read_text().replace('"west"]', '"west", "east"]')
    shutil.copy(example / "few.csv", tmp_path)
    (tmp_path / "four.toml").write_text(text)
    four = Plan.read(tmp_path / "four.toml")
    request = requests.of(replace(signed[1], plan=four.content.decode()))
    told = shown(request, requests.last_approved(request))
    assert "the difference is the summand of east alone: masks do not hide it" in told
    assert cohorts(("a", "b", "c"), ("b", "c", "a")) == []
    assert "the summand of a, d together" in cohorts(("a", "b", "c"), ("b", "c", "d"))[0]


def test_a_plan_says_how_long_a_member_is_waited_for(written, example, tmp_path):
    kit = Kit.read(written["north"])
    shutil.copy(example / "few.csv", tmp_path)
    text = (example / "plan.toml").read_text()
    said = {"": 60.0, "patience_s = 600": 600.0}
    for line, seconds in said.items():
        (tmp_path / "plan.toml").write_text(text.replace("\n\n", f"\n{line}\n\n", 1))
        assert patience_of(kit, Plan.read(tmp_path / "plan.toml")) == seconds
    for wrong in ("0.5", "true", '"long"', "1e9"):
        lines = text.replace("\n\n", f"\npatience_s = {wrong}\n\n", 1)
        (tmp_path / "plan.toml").write_text(lines)
        with pytest.raises(PlanError, match=r"patience_s = .*, expected seconds, 1 to 86400"):
            Plan.read(tmp_path / "plan.toml")


@pytest.mark.parametrize("words", [("requests",), ("show", "1"), ("approve", "1"), ("refuse", "1")])
def test_a_coordinator_decides_nothing_for_a_retailer(written, words):
    kit = ["--kit", str(written["coordinator"])]
    done = CliRunner().invoke(cli.main, ["retailer", *words, *kit])
    assert "the kit of a coordinator, expected that of a retailer" in done.output


def test_a_retailer_submits_and_revokes_nothing(written, example):
    kit = ["--kit", str(written["north"])]
    for words in (["submit", str(example / "plan.toml")], ["consortium", "revoke", "south"]):
        done = CliRunner().invoke(cli.main, [*words, *kit])
        assert "the kit of a retailer, expected that of a coordinator" in done.output
