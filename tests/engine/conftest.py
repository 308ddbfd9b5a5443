"""One consortium of five companies for all tests: real processes, mutual TLS on loopback.

Its coordinator lies: its own FLARE server allows everything. What is refused, the retailers refuse.
plan.toml and clear.toml are of three of them; five.toml of all, one of whom may drop out, and
five_clear.toml of all without masks.
The line of `coast` is one that can be cut.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.slow_line import SlowLine

from conftest import SMALL
from grandtotal.loopback import Loopback, free_port
from grandtotal.tables.example import make_example

RETAILERS = ("north", "south", "west")
FIVE = (*RETAILERS, "east", "coast")
CLEAR = "\n[privacy]\nsecure_sum = false\n"
PATIENCE_S = 6.0
# A customer and a price that are in no log; the second line is set aside, which is told at home.
PLANTED = {
    "customers.csv": "planted-customer,45-59,suburb,basic,2019-04-05,yes\n",
    "transactions.csv": "planted-receipt,2024-01-02 11:42,S4,planted-customer,P25,1,7777.31,,\n"
    "planted-receipt,no time,S4,planted-customer,P25,1,7777.31,,\n",
}
FIVE_PLAN = """\
[consortium]
name = "five"
members = ["north", "south", "west", "east", "coast"]
today = 2024-07-15
catalogue = "few.csv"
patience_s = 6

[privacy]
dropouts = 1

[tasks.demand]
kind = "demand"
models = ["ridge"]
horizon = 2
test = 4
history = 30
"""

# The one whose line can be slow is asked first, and answers last.
FIVE_CLEAR = FIVE_PLAN.replace(
    '["north", "south", "west", "east", "coast"]', json.dumps(FIVE[::-1])
).replace("dropouts = 1", "secure_sum = false")

LIES = """
import json, sys
from pathlib import Path
from nvflare.private.fed.server import job_runner
from nvflare.private.fed.utils import app_deployer
from grandtotal.engine import parties, workspace
from grandtotal.engine.kits import Kit

def lying(kit):
    workspace.of_coordinator(kit)
    for file, said in (
        ("startup/fed_server.json", {"require_signed_jobs": False}),
        ("local/resources.json", {"class_allow_list": ["*"]}),
        ("local/authorization.json", {"permissions": {"lead": "any"}}),
    ):
        path = kit.path / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))

job_runner.verify_folder_signature = lambda *_: True
app_deployer.verify_folder_signature_and_get_signers = lambda *_: (
    True, [("officer", "officer", "lead")]
)
parties.of_coordinator = lying
sys.exit(parties.start_coordinator(Kit.read(Path("kit"))))
"""


class Lying(Loopback):
    """Parties whose coordinator does not keep to FLARE's rules."""

    line: SlowLine
    """What `coast` dials."""

    def command(self, party: str) -> list[str]:
        if party == "coordinator":
            return [sys.executable, "-c", LIES]
        return super().command(party)


@pytest.fixture(scope="session")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with five retailers and the four plans."""
    folder = make_example(tmp_path_factory.mktemp("alliance"), FIVE)
    few = (folder / "catalogue.csv").read_text().splitlines()[:13]
    (folder / "few.csv").write_text("\n".join(few) + "\n")
    for table, lines in PLANTED.items():
        with (folder / "west/data" / table).open("a") as file:
            file.write(lines)
    (folder / "plan.toml").write_text(SMALL)
    (folder / "clear.toml").write_text(SMALL + CLEAR)
    (folder / "five.toml").write_text(FIVE_PLAN)
    (folder / "five_clear.toml").write_text(FIVE_CLEAR)
    return folder


@pytest.fixture(scope="session")
def companies(alliance: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """Returns the started parties."""
    if find_spec("nvflare") is None:
        pytest.skip("NVIDIA FLARE is not installed: pip install 'grandtotal[flare]'")
    folder = tmp_path_factory.mktemp("companies")
    homes = {name: folder / name for name in FIVE}
    for name, home in homes.items():
        shutil.copytree(alliance / name, home, ignore=shutil.ignore_patterns("door"))
    port = free_port()
    line = SlowLine(port)
    through = {"coast": line.port}
    parties = Lying(
        folder, alliance / "plan.toml", homes, patience_s=PATIENCE_S, port=port, through=through
    )
    parties.prepare()
    parties.enrol(alliance / "five.toml")
    # Nobody answers what plan.toml asks for another cohort as well, unless its people say so.
    for name in RETAILERS:
        for cohort in (RETAILERS, FIVE, FIVE[:-1]):
            parties.type(name, "ledger", "retailer.toml", "--consent", ",".join(cohort))
    for plan in ("clear.toml", "five.toml", "five_clear.toml"):
        shutil.copy(alliance / plan, parties.home("coordinator"))
    parties.line = line
    parties.start()
    log, deadline = parties.kit("coordinator") / "log.jsonl", time.monotonic() + 300
    while not log.exists() or any(
        f"client {name} registered" not in log.read_text() for name in FIVE
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield parties
    parties.stop()
    parties.line.close()
