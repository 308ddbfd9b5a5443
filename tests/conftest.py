"""Rows for every query, consortiums in this process, and one small consortium on disk."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from builders import BUILDERS
from builders.asked import TASK, Asked
from builders.outcomes import make_split
from builders.prices import make_prices
from builders.purchases import make_content, make_purchases, with_baskets
from builders.sales import COMMON, HORIZON, PERIODS, make_panel, make_sales
from builders.value import make_known, make_traits
from grandtotal.consortium import query as queries
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.envelope import Message, unseal
from grandtotal.consortium.query import Rows, installed
from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.durable import Json, canonical, read_log
from grandtotal.plan import Plan
from grandtotal.privacy.agreement import promised
from grandtotal.privacy.bound import NoCustomers
from grandtotal.privacy.door import Door
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.privacy.identity import Roster, make_identity, write_roster
from grandtotal.tables import Tables, load_config
from grandtotal.tables.example import make_example

settings.register_profile(
    "same-every-time",
    derandomize=True,
    database=None,
    deadline=None,
    # Fixtures hold nothing that an example changes: folders are made anew where files matter.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


settings.load_profile("same-every-time")


# Each takes half a minute or more, with the fixtures that it begins. They come first, so that at
# the end no worker is left alone with one.
LONG = (
    "tests/engine/test_across_companies.py",
    "tests/engine/test_refusals.py",
    "tests/test_cli.py",
    "tests/test_crash_points.py",
    "tests/test_dropouts.py",
    "tests/test_run.py",
    "tests/benchmarks/",
)


def pytest_configure() -> None:
    """Has linear algebra use one thread, here and in the processes that tests start.

    The workers share the cores already: threads that wait for each other cost the most.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threadpool_limits(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the long tests before all others."""

    def place(item: pytest.Item) -> int:
        return next((n for n, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG))

    items.sort(key=place)


MEMBERS = ("north", "south", "west", "east", "abroad", "coast", "hills", "lakes", "city", "isles")


PLAN = b'{"privacy":{"secure_sum":false},"what":"all agree on"}'


@dataclass
class Held:
    """The retailer half of a task that a test gives its rows to."""

    rows: Rows
    received: list[tuple[Any, Arrays]] = field(default_factory=list)

    def receive(self, meta: Any, arrays: Arrays) -> None:
        self.received.append((meta, arrays))


class Recording(EmbeddedTransport):
    """Keeps every message that was sent and every reply, in order."""

    def __init__(self, retailers: Mapping[str, Any]) -> None:
        super().__init__(retailers)
        self.sent: list[Message] = []
        self.replies: list[dict[str, Any]] = []

    def exchange(self, messages: Mapping[str, bytes], may_miss: int = 0) -> dict[str, Any]:
        self.sent.append(unseal(next(iter(messages.values()))))
        self.replies.append(super().exchange(messages, may_miss))
        return self.replies[-1]

    @property
    def kinds(self) -> list[str]:
        return [message.kind for message in self.sent]


@dataclass
class Federation:
    """An opened consortium and everyone in it."""

    consortium: Consortium
    transport: Recording
    retailers: dict[str, Retailer]
    held: dict[str, Held]
    folder: Path

    @property
    def totals(self) -> Any:
        return self.consortium.of(TASK)

    def rounds(self) -> list[Json]:
        """Returns the coordinator's record."""
        return read_log(self.folder / "coordinator" / "rounds.jsonl")


@pytest.fixture
def federate(tmp_path: Path) -> Callable[..., Federation]:
    """Returns a maker of consortiums from the rows of three to ten retailers."""

    def make(
        parts: list[Rows], folder: str = "run", transport: Any = Recording, plan: bytes = PLAN
    ) -> Federation:
        path = tmp_path / folder
        held = {name: Held(rows) for name, rows in zip(MEMBERS, parts, strict=False)}
        doors = {name: Door(path / name / "door") for name in held}
        retailers = {
            name: Retailer(name, path / name, lambda _, half=half: {TASK: half}, doors[name])
            for name, half in held.items()
        }
        sent = transport(retailers)
        roster = enrolled(doors) if promised(plan).secure_sum else None
        consortium = Consortium(tuple(held), sent, path / "coordinator", roster=roster)
        consortium.open(plan)
        return Federation(consortium, sent, retailers, held, path)

    return make


def masked_plan(members: int, **privacy: Any) -> bytes:
    """Returns a plan with secure sums for the first of MEMBERS."""
    agreed = {"name": "test", "members": list(MEMBERS[:members])}
    return canonical({"consortium": agreed, "privacy": {"secure_sum": True, **privacy}})


def enrolled(doors: Mapping[str, Door]) -> Roster:
    """Gives each of these a key, all the same roster, and returns it."""
    keys = {name: make_identity(door.key_path) for name, door in doors.items()}
    public = {name: key.public for name, key in keys.items()}
    roster = Roster("test", 1, public, date.today() + timedelta(days=1))
    for name, key in keys.items():
        roster = roster.signed(name, key)
    for door in doors.values():
        write_roster(door.roster_path("test"), roster)
    return roster


@dataclass(frozen=True)
class Given:
    """Answers with the arrays that a test put into the rows.

    columns: of each field its name, shape, bits of the modulus and scale.
    """

    name: ClassVar[str] = "given"
    bound: ClassVar[NoCustomers] = NoCustomers("the rows are made for a test")

    columns: tuple[Any, ...] = (("sum", (3,), 64, 1),)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        return {
            name: Field(tuple(shape), scale=scale, modulus=2**bits)
            for name, shape, bits, scale in self.columns
        }

    def answer(self, rows: Rows, state: Any, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        found = rows["answer"]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def given_query(monkeypatch: pytest.MonkeyPatch) -> type[Given]:
    """Returns `Given`, installed for this test as any other query is."""
    monkeypatch.setattr(queries, "installed", lambda _: {"given": Given})
    return Given


@pytest.fixture
def build() -> SimpleNamespace:
    """Returns the builders of rows: purchases, sales, panel, and how panels are cut."""
    return SimpleNamespace(
        purchases=make_purchases,
        content=make_content,
        with_baskets=with_baskets,
        sales=lambda rng, products=8, periods=PERIODS, horizon=HORIZON: make_sales(
            rng, products, periods, horizon
        ),
        panel=make_panel,
        prices=make_prices,
        split=make_split,
        known=make_known,
        traits=make_traits,
        common=COMMON,
        periods=PERIODS,
        horizon=HORIZON,
    )


@pytest.fixture(params=sorted(installed("queries")))
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Asked:
    """Returns each installed query in turn, with rows; a query without a builder fails."""
    assert request.param in BUILDERS, f"tests/conftest.py builds no rows for '{request.param}'"
    return BUILDERS[request.param](np.random.default_rng(5), tmp_path)


SMALL = (Path(__file__).parent.parent / "benchmarks/small_plan.toml").read_text()


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with three retailers, catalogue.csv, and few.csv with 12 of its keys."""
    folder = make_example(tmp_path_factory.mktemp("example"))
    few = (folder / "catalogue.csv").read_text().splitlines()[:13]
    (folder / "few.csv").write_text("\n".join(few) + "\n")
    (folder / "plan.toml").write_text(SMALL)
    return folder


@pytest.fixture(scope="session")
def tables(example: Path) -> dict[str, Tables]:
    """Returns the tables of each retailer of the example."""
    return {name: Tables(load_config(example / name / "retailer.toml")) for name in MEMBERS[:3]}


@pytest.fixture
def plan(example: Path) -> Plan:
    """Returns a small plan over the example: a task of each kind, one model each."""
    return Plan.read(example / "plan.toml")
