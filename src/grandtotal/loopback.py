"""A consortium of companies on one machine: real processes, mutual TLS, a folder for each.

Each party has its own home, which nobody else may enter where the machine lets this process give it
a user id of its own. Everything is done with the commands that people type.

python -m grandtotal.loopback [PLAN.TOML]
"""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import chdir, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from grandtotal.cli import main as main_group
from grandtotal.durable import Json, read_json, write_json
from grandtotal.engine.conduct import Held
from grandtotal.engine.kits import COORDINATOR
from grandtotal.errors import RunError
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.versions import code_digest

_FIRST_USER = 20001
_START_S = 60.0


@dataclass
class Loopback:
    """The parties of one plan. homes: of each retailer, with its retailer.toml in it.

    users: give every party a user id of its own; only root may. host: what retailers dial.
    through: the ports that they dial in place of the coordinator's, such as that of a relay.
    """

    folder: Path
    plan: Path
    homes: Mapping[str, Path]
    users: bool = False
    patience_s: float = 10.0
    port: int = 0
    host: str = "127.0.0.1"
    through: Mapping[str, int] = field(default_factory=dict)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def parties(self) -> tuple[str, ...]:
        """The coordinator and all retailers."""
        return (COORDINATOR, *self.homes)

    def home(self, party: str) -> Path:
        """Returns the folder of a party."""
        return self.homes.get(party, self.folder / COORDINATOR)

    def kit(self, party: str) -> Path:
        """Returns the folder of a party's kit."""
        return self.home(party) / "kit"

    @property
    def runs(self) -> Path:
        """The runs of the coordinator."""
        return self.kit(COORDINATOR) / "runs"

    # --- what people do once ---

    def prepare(self) -> None:
        """Makes keys at home, certificates, kits, and a roster that all have signed."""
        self.port = self.port or free_port()
        desk = self.home(COORDINATOR)
        desk.mkdir(parents=True, exist_ok=True)
        self._own_homes()
        for name in self.homes:
            self.type(name, "retailer", "keygen", "retailer.toml")
            self.type(name, "retailer", "certificate", "retailer.toml")
        self._kits(desk)
        self._hand_over(self.enrol(self.plan), self.kit(COORDINATOR) / "roster.json")

    def _kits(self, desk: Path) -> None:
        for name in self.homes:
            self._hand(name, f"door/{name}.csr", desk / "requests" / f"{name}.csr", COORDINATOR)
        members = json.dumps(list(self.homes))
        alliance = (
            f'name = "loopback"\nmembers = {members}\nhost = "{self.host}"\n'
            f"port = {self.port}\npatience_s = {self.patience_s:g}\n"
        )
        (desk / "alliance.toml").write_text(alliance)
        self.type(COORDINATOR, "consortium", "create", "alliance.toml")
        os.rename(desk / "kits" / COORDINATOR, self.kit(COORDINATOR))
        for name in self.homes:
            shutil.move(desk / "kits" / name, self.kit(name))
            self.lead(name)
            self._give(self.kit(name), name)

    def lead(self, name: str) -> None:
        """Has a retailer dial the port that it is to go through."""
        file = self.kit(name) / "alliance.json"
        said = read_json(file)
        said["alliance"]["port"] = self.through.get(name, self.port)
        write_json(file, said)

    def enrol(self, plan: Path) -> Path:
        """Has the members of a plan sign a roster; returns the coordinator's copy of it."""
        desk, members = self.home(COORDINATOR), Plan.read(plan).members
        for name in members:
            self._hand(name, f"door/{name}.pub", desk / f"{name}.pub", COORDINATOR)
        self._hand_over(plan, desk / plan.name)
        for table in plan.parent.glob("*.csv"):
            self._hand_over(table, desk / table.name)
        roster = desk / f"{plan.stem}.roster.json"
        keys = [f"{name}.pub" for name in members]
        words = ("consortium", "roster", plan.name, *keys, "--out", roster.name)
        self.type(COORDINATOR, *words)
        for name in members:
            self._hand_over(roster, self.home(name) / "roster.json", name)
            self.type(name, "retailer", "sign", "roster.json", "retailer.toml", "--yes")
            self._hand_over(self.home(name) / "roster.json", roster)
        for name in members:
            self._hand_over(roster, self.home(name) / "roster.json", name)
            self.type(name, "retailer", "pin", "roster.json", "retailer.toml")
        return roster

    # --- processes ---

    def start(self, *parties: str) -> None:
        """Starts the processes of these parties, or of all."""
        for party in parties or self.parties:
            log = (self.home(party) / "process.txt").open("ab")
            self._processes[party] = subprocess.Popen(
                self.command(party),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as(party),
            )
            log.close()

    def command(self, party: str) -> list[str]:
        """Returns what starts the process of a party, in its home."""
        group = COORDINATOR if party == COORDINATOR else "retailer"
        return [sys.executable, "-m", "grandtotal.cli", group, "start", "kit"]

    def kill(self, party: str) -> None:
        """Kills the process of a party, as a power cut would."""
        self._processes[party].send_signal(signal.SIGKILL)
        self._processes.pop(party).wait()

    def stop(self) -> None:
        """Ends all that was started."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def alive(self, party: str) -> bool:
        """Whether the process of a party runs."""
        return party in self._processes and self._processes[party].poll() is None

    # --- a run ---

    def submit(self, plan: str = "", *words: str) -> Held:
        """Submits a plan in the coordinator's home, by default its own; returns its run."""
        typed = ("submit", plan or self.plan.name, "--kit", "kit", "--json", *words)
        found: Json = json.loads(self.type(COORDINATOR, *typed))
        return Held(RunFolder(Path(found["folder"])))

    def decide(
        self, run: Held, word: str = "approve", *names: str, within_s: float = 180.0
    ) -> None:
        """Approves, or refuses, a run at these retailers, or at all, once they were asked."""
        wanted = json.loads((run.folder.coordinator / "run.json").read_text())["run"]
        waiting = list(names or run.folder.plan().members)
        deadline = time.monotonic() + within_s
        while waiting:
            for name in tuple(waiting):
                for request in sorted(self.kit(name).glob("requests/*/proposal.json")):
                    if wanted in request.read_text():
                        self.type(name, "retailer", word, request.parent.name, "--kit", "kit")
                        waiting.remove(name)
            if time.monotonic() > deadline:
                raise RunError(f"{run.folder.path}: {', '.join(waiting)} were not asked in time")
            time.sleep(0.1)

    def wait(self, run: Held, *states: str, within_s: float = 600.0) -> str:
        """Returns the state of a run once it is one of these, or over; RunError if it is late."""
        deadline = time.monotonic() + within_s
        while (state := run.state) not in (*states, "finished", "failed", "refused", "stopped"):
            if time.monotonic() > deadline:
                raise RunError(f"{run.folder.path}: still {state} after {within_s:g} s")
            time.sleep(0.1)
        return state

    # --- as whom ---

    def type(self, party: str, *words: str) -> str:
        """Types a command as a party, in its home; returns what it printed."""
        if not self.users:
            return self._typed_here(party, words)
        done = subprocess.run(
            [sys.executable, "-m", "grandtotal.cli", *words],
            capture_output=True,
            text=True,
            check=False,
            **self._as(party),
        )
        if done.returncode != 0:
            raise RunError(f"{party}: grandtotal {' '.join(words)}: {done.stderr or done.stdout}")
        printed: str = done.stdout
        return printed

    def _typed_here(self, party: str, words: tuple[str, ...]) -> str:
        printed = io.StringIO()
        with chdir(self.home(party)), redirect_stdout(printed):
            status = main_group.main(list(words), standalone_mode=False)
        if status:
            raise RunError(f"{party}: grandtotal {' '.join(words)}: exit status {status}")
        return printed.getvalue()

    def _as(self, party: str) -> Any:
        """Returns what makes a process one of this party."""
        user = self._user(party)
        env = {**os.environ, "HOME": str(self.home(party)), "OMP_NUM_THREADS": "1"}
        # As where it is installed: the next start finds what this one has compiled.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        return {
            "cwd": self.home(party),
            "env": env,
            "user": user,
            "group": user,
            "extra_groups": None if user is None else [],
        }

    def _user(self, party: str) -> int | None:
        return _FIRST_USER + self.parties.index(party) if self.users else None

    def _own_homes(self) -> None:
        for party in self.parties:
            self._give(self.home(party), party)
            os.chmod(self.home(party), 0o700)

    def _give(self, path: Path, party: str) -> None:
        if self.users:
            user = self._user(party)
            assert user is not None
            for each in (path, *path.rglob("*")):
                os.chown(each, user, user)

    def _hand(self, name: str, file: str, to: Path, party: str) -> None:
        self._hand_over(self.home(name) / file, to, party)

    def _hand_over(self, file: Path, to: Path, party: str = COORDINATOR) -> None:
        """Copies a file that is no secret from one party to another, as an e-mail would."""
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
        self._give(to.parent if to.parent != self.home(party) else to, party)


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def why_not_users() -> str:
    """Returns why parties cannot have user ids of their own here; "" where they can."""
    if os.getuid() != 0:
        return "only root may start processes under other user ids"
    for path in (Path(sys.executable), Path(sys.executable).resolve(), Path(__file__)):
        for above in path.parents:
            if not above.stat().st_mode & 0o001:
                return f"other users may not enter {above}, and {path} is in it"
    return ""


def main(plan: Path | None) -> int:
    """Runs a plan, the demo's by default, across companies and in one process; 0 where they agree.

    plan: each member's retailer.toml is in a folder of its name beside it, with the tables in it.
    """
    from grandtotal import api

    reason = why_not_users()
    print(f"user ids: {'all parties have this one: ' + reason if reason else 'one for each party'}")
    path = plan or api.demo()
    embedded = _embedded(path)
    with TemporaryDirectory(prefix="grandtotal-") as folder:
        os.chmod(folder, 0o711)
        parties = Loopback(Path(folder), path, _copies(path, Path(folder)), not reason)
        parties.prepare()
        begun = time.monotonic()
        parties.start()
        try:
            across = _across(parties, begun)
        finally:
            parties.stop()
            print("stopped everything that was started")
    same = across["models"] == embedded["models"] and across["totals"] == embedded["totals"]
    for name, found in embedded["models"].items():
        print(f"{name}: one process {found[:16]}, across companies {across['models'][name][:16]}")
    print("the same totals and models" if same else "NOT the same")
    return 0 if same else 1


def _copies(plan: Path, folder: Path) -> dict[str, Path]:
    """Returns a home for each retailer, with a copy of its tables and no key yet."""
    homes = {}
    for name in Plan.read(plan).members:
        homes[name] = folder / name
        keys = shutil.ignore_patterns("door", "kit")
        shutil.copytree(plan.parent / name, homes[name], ignore=keys)
    return homes


def _embedded(path: Path) -> Json:
    """Returns how the plan ended in one process, in the newest run of it, or a new one."""
    from grandtotal import api

    plan = Plan.read(path)
    for run in api.runs():
        found = run.finished()
        if found and run.plan().content == plan.content and _code_of(run) == code_digest():
            print(f"one process: {run.path}, {found['rounds']} rounds")
            return found
    begun = time.monotonic()
    run = api.run(path).folder
    found = run.finished()
    assert found is not None
    print(f"one process: {run.path}, {found['rounds']} rounds, {time.monotonic() - begun:.1f} s")
    return found


def _code_of(run: RunFolder) -> str:
    return str(read_json(run.coordinator / "versions.json")["code"])


def _across(parties: Loopback, begun: float) -> Json:
    run = parties.submit()
    parties.decide(run)
    while not run.folder.rounds() and run.open:
        time.sleep(0.05)
    print(f"across companies: first round {time.monotonic() - begun:.1f} s after the start")
    state = parties.wait(run, within_s=1800.0)
    found = run.folder.finished()
    if state != "finished" or found is None:
        with suppress(OSError):
            print((run.folder.coordinator / "state.json").read_text())
        raise RunError(f"{run.folder.path}: {state}")
    print(f"across companies: {found['rounds']} rounds in {found['seconds']:.1f} s")
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
