"""Retailers, keys and a finished run for attacks that need more than a secure sum."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from tests.conftest import MEMBERS, PLAN, SMALL, Held, make_purchases

from grandtotal import __version__
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.consortium.envelope import Message, seal, unseal
from grandtotal.consortium.query import parameters, question_digest
from grandtotal.consortium.retailer import Retailer
from grandtotal.durable import digest
from grandtotal.errors import AnswerError, Code
from grandtotal.plan import Plan
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start
from grandtotal.tables.example import make_example
from grandtotal.versions import code_digest

ASKED = PurchaseCounts(12, "test", days=90)


def _scratch() -> Path:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def example() -> Path:
    """Returns a folder of three retailers' tables and a plan; it is not to be changed."""
    folder = make_example(_scratch())
    few = (folder / "catalogue.csv").read_text().splitlines()[:13]
    (folder / "few.csv").write_text("\n".join(few) + "\n")
    (folder / "plan.toml").write_text(SMALL)
    return folder


@cache
def _finished() -> Path:
    plan = Plan.read(example() / "plan.toml")
    folder = start(plan, find_configs(plan, example()), _scratch(), False)
    simulate(folder)
    return folder.path


def finished(folder: Path) -> RunFolder:
    """Returns a copy of the coordinator's folder of an honest run."""
    for part in ("coordinator", "launch.json"):
        copy = shutil.copytree if part == "coordinator" else shutil.copy
        copy(_finished() / part, folder / part)
    return RunFolder(folder)


class Home:
    """One retailer, asked by messages; what it refuses is raised."""

    def __init__(self, folder: Path, plan: bytes = PLAN) -> None:
        self.folder, self.plan = folder, plan
        self.held = Held({"test": make_purchases(np.random.default_rng(3), 30, 12)})
        self.retailer = Retailer("north", folder / "north", lambda _: {"task": self.held})

    def say(self, kind, body, **arrays):
        """Returns the reply to a message; AnswerError where the retailer refuses."""
        found = unseal(self.retailer.handle(seal(Message(kind, body, arrays))))
        if found.kind == "error":
            raise AnswerError(Code(found.body["code"]), Code(found.body["code"]).meaning)
        return found

    def open(self, **changed):
        """Opens the plan, with what the coordinator says changed."""
        about = {"version": __version__, "code": code_digest(), "run": "run"}
        body = {"plan": self.plan.decode(), "members": list(MEMBERS[:3]), **about}
        return self.say("open", {**body, **changed})

    def ask(self, **changed):
        """Asks for the purchases of the last 90 days, with what is asked changed."""
        plan = digest(self.plan)
        about = {"plan": plan, "round": 1, "task": "task", "block": 0}
        asked = {"query": ASKED.name, "parameters": parameters(ASKED)}
        named = {"question": question_digest(plan, "task", ASKED, {})}
        return self.say("ask", {**about, **asked, **named, **changed})
