"""Walks the guides of coordinator and retailers word by word, as four system users, to a finished
run.

Every command is taken from the guides' own blocks and typed as it stands there; only `pip install`
is from a clean clone in place of an index, and the port is one that is free. It makes users and
removes them, so it needs root, and it is no test: `make guides` runs it, and it takes some minutes.

python tests/walk_guides.py [PYTHON]
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
RETAILERS = ("north", "south", "west")
IN_USE = 8  # what userdel says of a user who still has a process
BLOCK = re.compile(r"```\w*\n(.*?)```", re.DOTALL)


class Party:
    """A system user with a home that nobody else may enter, who types what a guide says."""

    def __init__(self, folder: Path, name: str, guide: str, bin_: Path) -> None:
        self.name, self.user = name, f"gt-{name}"
        self.home = folder / name
        self.blocks = BLOCK.findall((ROOT / "docs" / guide).read_text(encoding="utf-8"))
        self._path = f"{bin_}:{os.environ['PATH']}"
        self._started: list[subprocess.Popen[bytes]] = []
        subprocess.run(["useradd", "--home-dir", str(self.home), self.user], check=True)
        self.home.mkdir(mode=0o700)
        self.own()

    def own(self) -> None:
        """Gives this user what lies in its home."""
        subprocess.run(["chown", "-R", f"{self.user}:", str(self.home)], check=True)

    def type(self, command: str) -> str:
        """Types a line; returns what it printed. RuntimeError where it failed."""
        print(f"{self.name}$ {command}", flush=True)
        done = subprocess.run(
            ["bash", "-c", command], **self._as(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def begin(self, command: str) -> None:
        """Types a line that goes on until it is told to stop."""
        print(f"{self.name}$ {command} &", flush=True)
        with (self.home / "process.txt").open("ab") as log:
            words = ["bash", "-c", f"exec {command}"]
            self._started.append(subprocess.Popen(words, **self._as(), stdout=log, stderr=log))

    def leave(self) -> None:
        """Ends what was begun, and the user with it."""
        for process in self._started:
            process.terminate()
            process.wait(60)
        # What they had set aside for jobs ends a moment after them.
        for _ in range(100):
            gone = subprocess.run(["userdel", self.user], capture_output=True, check=False)
            if gone.returncode != IN_USE:
                break
            time.sleep(0.1)

    def _as(self) -> dict:
        known = pwd.getpwnam(self.user)
        env = {
            "PATH": self._path,
            "HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "LANG": "C.UTF-8",
        }
        return {
            "cwd": self.home,
            "env": env,
            "user": known.pw_uid,
            "group": known.pw_gid,
            "extra_groups": [],
        }


def lines(block: str) -> list[str]:
    """Returns the commands of a block, but for the installation, which a clone replaces."""
    found = [line.split("  #")[0].strip() for line in block.splitlines()]
    return [line for line in found if line.startswith("grandtotal")]


def hand(one: Party, file: str, other: Party, to: str) -> None:
    """Sends a file or a folder, as an e-mail would."""
    source, target = one.home / file, other.home / to
    target.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
    other.own()


def install(folder: Path, python: str) -> Path:
    """Returns the folder of the commands of an installation from a clean clone."""
    clone, venv = folder / "clone", folder / "venv"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    subprocess.run([python, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/pip"), "install", "--quiet", "-c", str(clone / "requirements.lock")]
    subprocess.run([*pip, f"{clone}[flare]"], check=True)
    return venv / "bin"


def walk(folder: Path, bin_: Path, parties: list[Party]) -> None:
    """Follows both guides, each party its own."""
    desk = Party(folder, "coordinator", "coordinator_guide.md", bin_)
    parties.append(desk)
    shops = [Party(folder, name, "retailer_it_guide.md", bin_) for name in RETAILERS]
    parties += shops
    desk.type("grandtotal init example")
    for name in ("plan.toml", "catalogue.csv"):
        desk.type(f"cp example/{name} .")
    for shop in shops:
        hand(desk, f"example/{shop.name}", shop, ".")
    install_, alliance, create, start, run = desk.blocks[:5]
    once, sign, begin, decide, after = shops[0].blocks[:5]
    for command in lines(install_):
        desk.type(command)
    for shop in shops:
        for command in lines(once):
            shop.type(command)
        hand(shop, f"door/{shop.name}.csr", desk, f"requests/{shop.name}.csr")
        hand(shop, f"door/{shop.name}.pub", desk, f"{shop.name}.pub")
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    said = alliance.replace("coordinator.example.com", "localhost").replace("8002", str(port))
    (desk.home / "alliance.toml").write_text(said)
    for command in lines(create):
        desk.type(command)
    for shop in shops:
        hand(desk, f"kits/{shop.name}", shop, "kit")
        hand(desk, "roster.json", shop, "roster.json")
        shop.type(f"{lines(sign)[0]} --yes")
        hand(shop, "roster.json", desk, "roster.json")
    for shop in shops:
        hand(desk, "roster.json", shop, "roster.json")
        shop.type(lines(sign)[1])
    hand(desk, "roster.json", desk, "kits/coordinator/roster.json")
    print(desk.type(lines(start)[0]))
    desk.begin(lines(start)[1])
    wait(lambda: port_answers(port), "the coordinator's port")
    for place, shop in enumerate(shops):
        print(shop.type(lines(begin)[0]))
        # One machine has each port only once.
        shop.begin(lines(begin)[1].replace("9465", str(9465 + place)))
    print(desk.type(lines(run)[0]))
    for shop in shops:
        wait(lambda shop=shop: "waiting" in shop.type(lines(decide)[0]), f"{shop.name} is asked")
        for command in lines(decide)[1:]:
            print(shop.type(command.split("#")[0]))
    print(desk.type(lines(run)[1]))
    for shop in shops:
        for command in lines(after):
            shop.type(command.replace("--retailer north", f"--retailer {shop.name}"))
    for words in ("runs list", "runs show latest", "report latest", "verify latest"):
        assert f"`grandtotal {words}`" in TABLE or f"`{words}`" in TABLE, words
        print(desk.type(f"grandtotal {words} --runs kits/coordinator/runs"))


TABLE = (ROOT / "docs/coordinator_guide.md").read_text(encoding="utf-8")


def port_answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def wait(ready, what: str, within_s: float = 300.0) -> None:
    """Returns when it is so; RuntimeError if it is late."""
    deadline = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {within_s:g} s: {what}")
        time.sleep(2.0)


def main() -> int:
    """Returns 0 where the guides lead to a finished run."""
    if os.getuid() != 0:
        print("only root may make users: the guides were not walked", file=sys.stderr)
        return 77
    python = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/python3"
    parties: list[Party] = []
    with TemporaryDirectory(prefix="grandtotal-guides-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        try:
            walk(folder, install(folder, python), parties)
        finally:
            for party in parties:
                party.leave()
    print("the guides lead from nothing to a finished run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
