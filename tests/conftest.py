"""Rows for every query, consortiums in this process, and one small consortium on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from scipy.sparse import csr_array, random_array

from grandtotal.algorithms.catalogue import CataloguePresence
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.double_ml import PriceNuisance, PriceResiduals
from grandtotal.algorithms.elasticity_in_noise import PricePairs
from grandtotal.algorithms.glm import GLMMoments
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.price_moments import PriceMoments, PricePresence
from grandtotal.algorithms.price_rows import PriceRows, whole
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts, Purchases
from grandtotal.algorithms.quantiles import QuantileCounts
from grandtotal.algorithms.target_statistics import CategoryCounts, TargetSums
from grandtotal.algorithms.tree_bins import Binning
from grandtotal.algorithms.tree_histograms import (
    TreeHistograms,
    TreeProgress,
    TreeResiduals,
    TreeTarget,
)
from grandtotal.algorithms.tree_rows import chained
from grandtotal.consortium import query as queries
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.envelope import Message, unseal
from grandtotal.consortium.query import Query, Rows, installed
from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.totals import Local
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.durable import canonical, write
from grandtotal.plan import Plan
from grandtotal.privacy.agreement import promised
from grandtotal.privacy.bound import NoCustomers
from grandtotal.privacy.door import Door
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.privacy.identity import Roster, make_identity, write_roster
from grandtotal.tables import Tables, load_config
from grandtotal.tables.example import make_example
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.intervals import ForecastErrors
from grandtotal.tasks.next_basket import BasketScores
from grandtotal.tasks.price_queries import PriceScores
from grandtotal.tasks.price_sales import Cases, PriceHistory
from grandtotal.tasks.recommend import RankingScores
from grandtotal.tasks.sales import Panel, Periods, Sales
from grandtotal.tasks.scores import ROWS, Metric, TestScores, UnitScores, save_scores
from grandtotal.tasks.task import Common

settings.register_profile(
    "same-every-time",
    derandomize=True,
    database=None,
    deadline=None,
    # Fixtures hold nothing that an example changes: folders are made anew where files matter.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("same-every-time")

MEMBERS = ("north", "south", "west", "east", "abroad", "coast", "hills", "lakes", "city", "isles")
PLAN = b'{"privacy":{"secure_sum":false},"what":"all agree on"}'
TASK = "task"


# --- a consortium in this process ---


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


# --- rows ---


def make_purchases(rng: np.random.Generator, customers: int, products: int) -> Purchases:
    history = random_array((customers, products), density=0.3, rng=rng, format="csr")
    future = random_array((customers, products), density=0.15, rng=rng, format="csr").toarray() > 0
    bought = history.toarray() > 0
    days = (bought * rng.integers(1, 200, bought.shape)).astype(np.int32)
    return Purchases(csr_array(days), csr_array((future & ~bought).astype(np.int32)))


def with_baskets(rng: np.random.Generator, purchases: Purchases) -> Purchases:
    """Returns the purchases with one to three baskets of each product, and hits among the old."""
    times = rng.integers(1, 4, purchases.history.nnz)
    ago = np.concatenate([np.arange(1, n + 1) for n in times]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(times)])[purchases.history.indptr]
    again = random_array(purchases.future.shape, density=0.2, rng=rng, format="csr")
    baskets = csr_array(
        (ago, np.repeat(purchases.history.indices, times), starts), shape=purchases.history.shape
    )
    wanted = (purchases.future + again > 0).astype(np.int32)
    return Purchases(purchases.history, csr_array(wanted), baskets)


def make_sales(rng: np.random.Generator, products: int, periods: Periods, horizon: int) -> Sales:
    level = rng.gamma(1.5, 4.0, (products, 1))
    season = 1 + 0.4 * np.sin(2 * np.pi * np.arange(periods.count) / periods.season)
    units = rng.poisson(level * season).astype(np.float64)
    price = np.where(units > 0, rng.uniform(1.0, 9.0, units.shape).round(2), np.nan)
    return Sales(
        periods=periods,
        horizon=horizon,
        units=units,
        price=price,
        promoted=(rng.random(units.shape) < 0.1) * (units > 0) * 1.0,
        holidays=tuple(() for _ in range(periods.count + horizon)),
        cap=4.0,
    )


COMMON = Common(np.datetime64("2024-07-15").item(), tuple(f"P{i:02}" for i in range(8)))
PERIODS = Periods(COMMON.today, 7, 70)
HORIZON = 3


def make_panel(parts: list[Sales], cut: int = 60) -> Panel:
    origins = tuple(range(8, cut - HORIZON + 1, 4))
    return Panel(tuple(parts), origins, tuple(range(cut, 68, 2)), cut, 70)


@pytest.fixture
def build() -> SimpleNamespace:
    """Returns the builders of rows: purchases, sales, panel, and how panels are cut."""
    return SimpleNamespace(
        purchases=make_purchases,
        with_baskets=with_baskets,
        sales=lambda rng, products=8, periods=PERIODS, horizon=HORIZON: make_sales(
            rng, products, periods, horizon
        ),
        panel=make_panel,
        prices=make_prices,
        common=COMMON,
        periods=PERIODS,
        horizon=HORIZON,
    )


# --- every installed query, with rows that it can be asked about ---


@dataclass(frozen=True)
class Holder:
    """Rows, and the folder of whoever holds them."""

    rows: Rows
    folder: Path
    memory: dict[str, Any] = field(default_factory=dict)

    def keep(self, name: str, content: Callable[[], bytes]) -> None:
        write(self.folder / name, content())

    def kept(self, name: str) -> bytes | None:
        return (self.folder / name).read_bytes()


@dataclass(frozen=True)
class Asked:
    """A question, several holders of rows, and one who holds them all."""

    query: Query
    broadcast: Arrays
    parts: list[Holder]
    pooled: Holder

    def answer(self, holder: Holder) -> Arrays:
        return self.query.answer(holder.rows, holder, self.broadcast)


def _of_purchases(query: Query, model: bool = False) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_purchases(rng, customers, 12) for customers in (17, 30, 5)]
        pooled = {"test": Purchases.pooled(parts)}
        broadcast = ItemKNN(shrink=2.0).fit(Local(pooled), 12, "test").arrays if model else {}
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder(pooled, folder))

    return build_asked


def _of_panels(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        panels = [make_panel([make_sales(rng, 8, PERIODS, HORIZON)]) for _ in range(3)]
        series = sum(panel.parts[0].capped() for panel in panels)
        given = {"series": series, **broadcast} if broadcast else {}
        holders = [Holder({"test": panel}, folder) for panel in panels]
        return Asked(query, given, holders, Holder({"test": Panel.pooled(panels)}, folder))

    return build_asked


def make_columns(rng: np.random.Generator, rows: int) -> Columns:
    price = rng.lognormal(2, 1, rows) - 3
    price[rng.random(rows) < 0.2] = np.nan
    categories = rng.integers(1, 2**63, 9).astype(np.uint64)[rng.integers(0, 9, rows)]
    keys = rng.integers(2**63, size=rows).astype("u8")
    units = np.random.default_rng(rows).poisson(3.0, rows).astype(np.float64)
    return Columns({"price": price, "units": units}, {"brand": categories}, keys)


def _of_columns(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_columns(rng, rows) for rows in (17, 30, 0)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Columns.pooled(parts)}, folder))

    return build_asked


def _of_trees(query: Callable[[int], Query], **broadcast: Any) -> Callable[..., Asked]:
    """Returns rows on which two splits of one tree were made, of `units` by price and brand.

    query: from the number of bins.
    """

    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        asked = _of_columns(QuantileCounts("price", "test"))(rng, folder)
        bins = Binning().fit(Local(asked.pooled.rows), ("price",), ("brand",), "units", "test")
        _, chain = chained(None, {**bins.arrays, "base": np.asarray(1.0)})
        given = {**chain, **broadcast} if broadcast else chain
        return Asked(query(int(bins.counts.sum())), given, asked.parts, asked.pooled)

    return build_asked


def make_prices(rng: np.random.Generator, series: int, products: int = 6) -> PriceHistory:
    """Returns 40 weeks of series with an elasticity of -2, promotions and other prices, and cases.

    Some weeks are missing, and nothing sold in some.
    """
    product = rng.integers(0, products, series)
    there = rng.random((series, 40)) < 0.9
    of, week = np.nonzero(there)
    promoted = (rng.random(len(of)) < 0.2).astype(np.float64)
    price = rng.normal(1.0, 0.2, len(of)) - 0.1 * promoted + product[of]
    other = rng.normal(0, 0.1, len(of))
    x = np.stack([whole(price), whole(other), promoted], axis=1)
    units = rng.poisson(np.exp(2 - 2 * (price - product[of] - 1) + 0.4 * promoted)).astype(float)
    buckets = (1 + np.arange(products) % 3).astype(np.int16)
    rows = PriceRows(x, units, of, week, product, 26, buckets)
    known = np.unique(of, return_index=True)[1]
    past = x - x[known][np.searchsorted(of[known], of)]
    cases = Cases(past[::3], units[::3], of[::3], product, past, units, of)
    return PriceHistory((rows,), 0, (cases,), ())


def _of_prices(
    query: Query, asked: bool = True, columns: int = 3, nuisance: bool = False
) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_prices(rng, series) for series in (20, 31, 5)]
        slopes = np.array([-1.5, 0.25, 0.5])[:columns] + np.zeros((6, columns))
        given: Arrays = {"asked": np.array([0, 1, 2, 5]), "coefficients": slopes[[0, 1, 2, 5]]}
        broadcast = given if asked else {"coefficients": slopes}
        if nuisance:
            broadcast = {"asked": given["asked"], "nuisance": np.full((4, 5, 2), 0.1)}
        if isinstance(query, PricePresence):
            broadcast = {}
        holders = [Holder(_splits(part), folder) for part in parts]
        pooled = Holder(_splits(PriceHistory.joined(parts)), folder)
        return Asked(query, broadcast, holders, pooled)

    return build_asked


def _splits(panel: Any) -> Rows:
    return {"test": panel, "shared test": panel}


def _of_assortments(query: CataloguePresence) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        products = rng.integers(0, 2**63, 40).astype(np.uint64)
        parts = [rng.choice(products, count, replace=False) for count in (25, 30, 0)]
        holders = [Holder({"now": (part,)}, folder) for part in parts]
        prefixes = np.unique(products[:30] >> np.uint64(64 - query.known))
        pooled = Holder({"now": tuple(parts)}, folder)
        return Asked(query, {"prefixes": prefixes}, holders, pooled)

    return build_asked


def _of_scores(rng: np.random.Generator, folder: Path) -> Asked:
    metrics = (Metric("recall", True, "share found"), Metric("rmse", False, "error", root=True))

    def kept(name: str, scores: dict[str, UnitScores]) -> Holder:
        for row, found in scores.items():
            save_scores(folder / name, TASK, row, found)
        return Holder({}, folder / name)

    parts = [
        {
            row: UnitScores.of(
                metrics,
                list(rng.random((2, units))),
                list(rng.random((2, units))),
                rng.integers(0, 9, 5),
            )
            for row in ROWS
        }
        for units in (4, 9, 1)
    ]
    pooled = {row: UnitScores.joined([part[row] for part in parts]) for row in ROWS}
    holders = [kept(str(number), part) for number, part in enumerate(parts)]
    return Asked(TestScores(TASK, len(metrics), 5), {}, holders, kept("pooled", pooled))


_SLOPES = np.linspace(-0.5, 0.5, 22).round(3)


def _of_baskets(rng: np.random.Generator, folder: Path) -> Asked:
    asked = _of_purchases(BasketScores(12, 4, "test"), model=True)(rng, folder)
    parts = [with_baskets(rng, holder.rows["test"]) for holder in asked.parts]
    grid = np.array([[1.0, 0.5], [0.8, 0.25]])
    holders = [Holder({"test": part}, folder) for part in parts]
    pooled = Holder({"test": Purchases.pooled(parts)}, folder)
    return Asked(asked.query, {**asked.broadcast, "habits": grid}, holders, pooled)


_LOW_HALF = np.repeat([255, 0], 16).astype(np.uint8)
_TREE = {
    "splits": np.array([[0, 0, 0], [0, 2, 0]], np.int32),
    "left": np.stack([_LOW_HALF, np.roll(_LOW_HALF, 8)]),
    "asked": np.array([[0, 1], [0, 3]], np.int32),
    "columns": np.array([[0, 1]], np.int32),
}
_ABOUT_TREES = ("units", "test", "poisson", 0.0, "", 10)
_ABOUT_NODES = (*_ABOUT_TREES, 0.8, False, 7, 0)

BUILDERS: dict[str, Callable[[np.random.Generator, Path], Asked]] = {
    "basket-scores": _of_baskets,
    "catalogue-presence": _of_assortments(CataloguePresence(known=6, step=3)),
    "category-counts": _of_columns(CategoryCounts("brand", "test")),
    "co-purchases": _of_purchases(CoPurchases(12, "test")),
    "purchase-counts": _of_purchases(PurchaseCounts(12, "test", days=90)),
    "quantile-counts": _of_columns(QuantileCounts("price", "test", alpha=0.1)),
    "ranking-scores": _of_purchases(RankingScores(12, 4, "test"), model=True),
    "demand-series": _of_panels(DemandSeries(8, PERIODS.count)),
    "forecast-errors": _of_panels(ForecastErrors("poisson", "test", 2), coefficients=_SLOPES),
    "forecast-scores": _of_panels(ForecastScores("poisson", "test"), coefficients=_SLOPES),
    "price-moments": _of_prices(PriceMoments("ppml", 3, "test")),
    "price-nuisance": _of_prices(PriceNuisance(3, "test", 4)),
    "price-residuals": _of_prices(PriceResiduals(3, "test", 4), nuisance=True),
    "price-pairs": _of_prices(PricePairs(6, 3, "test", 26, 52, 0.4), False, 2),
    "price-presence": _of_prices(PricePresence(6, "test")),
    "price-scores": _of_prices(PriceScores("ppml", "test"), False),
    "glm-moments": _of_panels(GLMMoments("poisson", 22, "test"), coefficients=_SLOPES),
    "target-sums": _of_columns(
        TargetSums("brand", "price", "test", 3), dictionary=np.arange(0, 2**16, 3)
    ),
    "test-scores": _of_scores,
    "tree-histograms": _of_trees(
        # Two nodes, two words a bin: gradient and count share one, the hessian has its own.
        lambda bins: TreeHistograms(*_ABOUT_NODES, 47, 2 * bins * 2, 4, 4, True),
        **_TREE,
    ),
    "tree-progress": _of_trees(lambda _: TreeProgress(*_ABOUT_TREES)),
    "tree-residuals": _of_trees(
        lambda _: TreeResiduals(*_ABOUT_NODES, 2, 0.1, 0.1, 100.0), **_TREE
    ),
    "tree-target": _of_columns(TreeTarget("price", "test", "poisson", 0.0, 20)),
}


@pytest.fixture(params=sorted(installed("queries")))
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Asked:
    """Returns each installed query in turn, with rows; a query without a builder fails."""
    assert request.param in BUILDERS, f"tests/conftest.py builds no rows for '{request.param}'"
    return BUILDERS[request.param](np.random.default_rng(5), tmp_path)


# --- a consortium on disk ---

SMALL = """\
[consortium]
name = "small"
members = ["north", "south", "west"]
today = 2024-07-15
catalogue = "few.csv"

[tasks.recommend]
kind = "recommend"
models = ["ease"]
horizon_days = 42
top = 5

[tasks.demand]
kind = "demand"
models = ["ridge"]
horizon = 2
test = 4
history = 30
"""


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
