"""One consortium of three companies for all tests: real processes, mutual TLS on loopback."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from grandtotal.loopback import Loopback

RETAILERS = ("north", "south", "west")
CLEAR = "\n[privacy]\nsecure_sum = false\n"


@pytest.fixture(scope="session")
def companies(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """Returns the started parties of the example's small plan, and of clear.toml without masks."""
    if find_spec("nvflare") is None:
        pytest.skip("NVIDIA FLARE is not installed: pip install 'grandtotal[flare]'")
    folder = tmp_path_factory.mktemp("companies")
    homes = {name: folder / name for name in RETAILERS}
    for name, home in homes.items():
        shutil.copytree(example / name, home, ignore=shutil.ignore_patterns("door"))
    parties = Loopback(folder, example / "plan.toml", homes, patience_s=9.0)
    parties.prepare()
    text = (example / "plan.toml").read_text()
    (parties.home("coordinator") / "clear.toml").write_text(text + CLEAR)
    parties.start()
    yield parties
    parties.stop()
