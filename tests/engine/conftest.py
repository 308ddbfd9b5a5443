"""One consortium of three companies for all tests: real processes, mutual TLS on loopback.

Its coordinator lies: its own FLARE server allows everything. What is refused, the retailers refuse.
"""

import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from grandtotal.loopback import Loopback

RETAILERS = ("north", "south", "west")
CLEAR = "\n[privacy]\nsecure_sum = false\n"

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

    def command(self, party: str) -> list[str]:
        if party == "coordinator":
            return [sys.executable, "-c", LIES]
        return super().command(party)


@pytest.fixture(scope="session")
def companies(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """Returns the started parties; their plans are plan.toml, and clear.toml without masks."""
    if find_spec("nvflare") is None:
        pytest.skip("NVIDIA FLARE is not installed: pip install 'grandtotal[flare]'")
    folder = tmp_path_factory.mktemp("companies")
    homes = {name: folder / name for name in RETAILERS}
    for name, home in homes.items():
        shutil.copytree(example / name, home, ignore=shutil.ignore_patterns("door"))
    parties = Lying(folder, example / "plan.toml", homes, patience_s=6.0)
    parties.prepare()
    text = (example / "plan.toml").read_text()
    (parties.home("coordinator") / "clear.toml").write_text(text + CLEAR)
    parties.start()
    yield parties
    parties.stop()
