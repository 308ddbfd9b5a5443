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

from grandtotal.algorithms.als_totals import ALSMoments, ALSProducts
from grandtotal.algorithms.bandit import PriceTrials, Trials
from grandtotal.algorithms.bgnbd import Repeats
from grandtotal.algorithms.blend import parts_arrays
from grandtotal.algorithms.catalogue import CataloguePresence
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.elasticity_in_noise import PricePairs
from grandtotal.algorithms.glm import GLMMoments
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.kmeans import CellCounts, LloydSums
from grandtotal.algorithms.likelihood import LikelihoodSums
from grandtotal.algorithms.mixture import MixtureSums
from grandtotal.algorithms.pair_counts import PairCounts
from grandtotal.algorithms.points import STEPS, FeatureSums
from grandtotal.algorithms.price_moments import PriceMoments, PricePresence
from grandtotal.algorithms.price_rows import PriceRows, whole
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts, Purchases
from grandtotal.algorithms.quantiles import QuantileCounts
from grandtotal.algorithms.segment_response import SegmentLines, SegmentMoments
from grandtotal.algorithms.target_statistics import CategoryCounts, TargetSums
from grandtotal.algorithms.transitions import Transitions
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
from grandtotal.tasks.behaviour import Behaviour, Feature, bins_of, features_of
from grandtotal.tasks.behaviour_sums import BehaviourSums, Observed, Watching
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.intervals import ForecastErrors
from grandtotal.tasks.loyalty import Loyal, LoyalSums, Loyalty
from grandtotal.tasks.next_basket import BasketScores
from grandtotal.tasks.outcome_queries import GroupGaps, OutcomeScores
from grandtotal.tasks.outcomes import Cases, Split, in_steps
from grandtotal.tasks.price_queries import PriceScores
from grandtotal.tasks.price_sales import Cases as PriceCases
from grandtotal.tasks.price_sales import PriceHistory
from grandtotal.tasks.ranking import RankingScores
from grandtotal.tasks.recommend_models import BlendScores
from grandtotal.tasks.sales import Panel, Periods, Sales
from grandtotal.tasks.scores import ROWS, Metric, TestScores, UnitScores, save_scores
from grandtotal.tasks.season import SeasonSums
from grandtotal.tasks.segments_queries import SegmentProfiles, SegmentScores
from grandtotal.tasks.shift_model import ShiftScores
from grandtotal.tasks.task import Common
from grandtotal.tasks.traits import LATER, NEXT_PURCHASES, NEXT_SPEND
from grandtotal.tasks.value import SpendCorrelation, ValueScores
from grandtotal.tasks.value_rows import DAYS, Known
from grandtotal.tasks.visits import STEPS as BEHAVIOUR_STEPS

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
        split=make_split,
        known=make_known,
        traits=make_traits,
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


def _of_purchases(query: Query, model: bool = False, **given: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_purchases(rng, customers, 12) for customers in (17, 30, 5)]
        pooled = {"test": Purchases.pooled(parts)}
        broadcast = ItemKNN(shrink=2.0).fit(Local(pooled), 12, "test").arrays if model else given
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


OUTCOMES = ("one", "recency", "visits")


def make_split(rng: np.random.Generator, units: int) -> Split:
    """Returns two training rows and a scored one of each unit, which has a tier."""

    def cases(times: int) -> Cases:
        unit = np.repeat(np.arange(units), times)
        recency, visits = rng.normal(size=(2, len(unit)))
        left = (rng.random(len(unit)) < 1 / (1 + np.exp(visits - recency))).astype(np.float64)
        x = in_steps({"recency": recency, "visits": visits})
        return Cases(OUTCOMES, x, left, unit)

    tiers = np.where(rng.random(units) < 0.3, "gold", "basic").astype(object)
    return Split(cases(2), cases(1), {"tier": tiers})


def _of_outcomes(query: Query) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_split(rng, units) for units in (17, 30, 4)]
        holders = [Holder({"test": part}, folder) for part in parts]
        given = {"coefficients": np.array([0.2, 1.0, -0.5])}
        return Asked(query, given, holders, Holder({"test": Split.pooled(parts)}, folder))

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
    cases = PriceCases(past[::3], units[::3], of[::3], product, past, units, of)
    return PriceHistory((rows,), 0, (cases,), ())


def _of_prices(query: Query, asked: bool = True, columns: int = 3) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_prices(rng, series) for series in (20, 31, 5)]
        slopes = np.array([-1.5, 0.25, 0.5])[:columns] + np.zeros((6, columns))
        given: Arrays = {"asked": np.array([0, 1, 2, 5]), "coefficients": slopes[[0, 1, 2, 5]]}
        broadcast = given if asked else {"coefficients": slopes}
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


def _of_trials(rng: np.random.Generator, folder: Path) -> Asked:
    def made(rows: int, store: int) -> Trials:
        product, moved, sold = (
            rng.integers(0, 8, rows),
            rng.normal(0, 1, rows),
            rng.normal(0, 3, rows),
        )
        return Trials(product, moved, sold, np.arange(rows) // 4 + 1000 * store)

    parts = [made(rows, store) for store, rows in enumerate((17, 30, 0))]
    holders = [Holder({"2024-w1": part}, folder) for part in parts]
    pooled = Holder({"2024-w1": Trials.pooled(parts)}, folder)
    return Asked(PriceTrials(8, "2024-w1"), {}, holders, pooled)


def _of_segments(rng: np.random.Generator, folder: Path) -> Asked:
    def made(rows: int, first: int) -> SegmentLines:
        customer = np.arange(rows) // 5
        moved, weight = rng.normal(0, 0.3, (4, 9)), rng.random((4, 9))
        series, week = rng.integers(0, 4, rows), rng.integers(0, 9, rows)
        return SegmentLines(customer % 3, customer + first, series, week, moved, weight)

    parts = [made(rows, 1000 * i) for i, rows in enumerate((17, 30, 0))]
    holders = [Holder({"now": part}, folder) for part in parts]
    pooled = Holder({"now": SegmentLines.pooled(parts)}, folder)
    return Asked(SegmentMoments(3, "now"), {"shift": np.array([0.5, 0.0, -2.0])}, holders, pooled)


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


def make_known(rng: np.random.Generator, customers: int) -> Known:
    """Returns customers of all kinds: new and old, bought once or often, spent nothing or much."""
    repeats = rng.integers(0, 30, customers) * (rng.random(customers) < 0.6)
    age = rng.integers(1, 600, customers).astype(np.float64)
    last = np.where(repeats > 0, np.ceil(age * rng.random(customers)), 0.0)
    spent = (repeats + 1) * rng.lognormal(3, 1, customers).round(2)
    spent[rng.random(customers) < 0.1] = 0.0
    recent, bought = (rng.poisson(1.0, customers).astype(np.float64) for _ in range(2))
    return Known(
        cut=-20,
        place=np.arange(customers),
        repeats=Repeats(repeats, last, age),
        spent=spent,
        recent=recent,
        recent_spent=recent * 9.5,
        bought=bought,
        bought_spent=bought * 12.25,
        by_week=np.array([bought.sum(), 0.0]),
        between=np.bincount(rng.integers(3000, 3600, customers), minlength=DAYS),
    )


def _of_known(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_known(rng, customers) for customers in (17, 30, 0)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Known.pooled(parts)}, folder))

    return build_asked


TRAITS = ("recency", "spend")


def make_traits(rng: np.random.Generator, customers: int) -> Columns:
    """Returns customers of three kinds: two features, now and later, and what followed."""
    kind = rng.integers(0, 3, customers)
    numbers = {
        prefix + name: np.array([0.5, 3.0, 5.0])[(kind + i) % 3] + rng.normal(0, 0.3, customers)
        for prefix in ("", LATER)
        for i, name in enumerate(TRAITS)
    }
    bought = rng.poisson(1.0 + kind).astype(np.float64)
    next_ = {NEXT_PURCHASES: bought, NEXT_SPEND: np.log1p(10 * bought)}
    return Columns({**numbers, **next_}, {}, np.arange(customers, dtype=np.uint64))


def _of_traits(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_traits(rng, customers) for customers in (17, 30, 0)]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Columns.pooled(parts)}, folder))

    return build_asked


_BOX = {"low": np.zeros(2), "high": np.full(2, 6.0)}
_CENTRES = {"centres": np.array([[0.1, 0.5], [0.5, 0.8], [0.8, 0.1], [0.4, 0.4]]) * STEPS // 1}
_SETS = {"ends": np.array([3, 4])}
_NO_MIXTURE = {"shares": np.empty(0), "variances": np.empty(0)}
_COMPONENTS = {
    "shares": np.array([0.5, 0.25, 0.25, 1.0]),
    "centres": _CENTRES["centres"] / STEPS,
    "variances": np.full((4, 2), 0.01),
}


def _of_loyalty(rng: np.random.Generator, folder: Path) -> Asked:
    groups = (("gold", "all"), ("gold", "tea"), ("gold", "own"))
    parts = [
        Loyal((Loyalty(groups, 2, BEHAVIOUR_STEPS * rng.poisson(9, (3, 3, 30)), np.ones(30)),), 5)
        for _ in range(3)
    ]
    holders = [Holder({"loyal": part}, folder) for part in parts]
    return Asked(LoyalSums(2, 30), {}, holders, Holder({"loyal": Loyal.pooled(parts)}, folder))


_SLOPES = np.linspace(-0.5, 0.5, 22).round(3)


def _of_baskets(rng: np.random.Generator, folder: Path) -> Asked:
    asked = _of_purchases(BasketScores(12, 4, "test"), model=True)(rng, folder)
    parts = [with_baskets(rng, holder.rows["test"]) for holder in asked.parts]
    grid = np.array([[1.0, 0.5], [0.8, 0.25]])
    holders = [Holder({"test": part}, folder) for part in parts]
    pooled = Holder({"test": Purchases.pooled(parts)}, folder)
    return Asked(asked.query, {**asked.broadcast, "habits": grid}, holders, pooled)


def _of_blends(rng: np.random.Generator, folder: Path) -> Asked:
    asked = _of_purchases(BlendScores(12, 4, "test"))(rng, folder)
    totals = Local(asked.pooled.rows)
    parts = tuple(c.fit(totals, 12, "test") for c in (ItemKNN(shrink=2.0), Transitions()))
    grid = np.array([[1.0, 0.0], [0.25, 0.75]])
    given = {**parts_arrays(parts), "grid": grid}
    return Asked(asked.query, given, asked.parts, asked.pooled)


_FACTORS = np.random.default_rng(3).normal(size=(12, 5)) / 2
_FOLD = {"l2": 0.1, "unobserved": 0.2, "scaled": 1.0, "bits": 20, "most": 24}
_LOW_HALF = np.repeat([255, 0], 16).astype(np.uint8)
_TREE = {
    "splits": np.array([[0, 0, 0], [0, 2, 0]], np.int32),
    "left": np.stack([_LOW_HALF, np.roll(_LOW_HALF, 8)]),
    "asked": np.array([[0, 1], [0, 3]], np.int32),
    "columns": np.array([[0, 1]], np.int32),
}
_ABOUT_TREES = ("units", "test", "poisson", 0.0, "", 10)
_ABOUT_NODES = (*_ABOUT_TREES, 0.8, False, 7, 0)


def make_behaviour(rng: np.random.Generator, weeks: int, level: float = 40.0) -> Behaviour:
    """Returns what customers did in these weeks, of two categories, a store, no change."""
    days = 7 * weeks
    visits = rng.poisson(level, days)
    sums = {"visits": visits, "customers": visits, "known": visits, "returning": visits // 3}
    sums |= {"units": 3 * visits, "returned": visits // 9, "promoted": visits // 2}
    sums |= {"spend": rng.poisson(30 * visits), "units tea": visits, "units jam": visits // 2}
    bins = {name: len(found) for name, found in bins_of(("tea", "jam")).items()}
    profiles = {name: rng.poisson(9, (n, weeks)) for name, n in bins.items()}
    spends = np.zeros((128, weeks), np.int64)
    spends[66:74] = rng.poisson(9, (8, weeks))
    features = features_of(("tea", "jam"))
    store = Feature("visits", "store S1", "visits", counts=True)
    daily = {name: BEHAVIOUR_STEPS * np.asarray(found, np.int64) for name, found in sums.items()}
    customers = np.full((3, weeks), 20)
    first = COMMON.today - timedelta(days=days)
    return Behaviour((*features, store), len(features), daily, customers, profiles, spends, first)


def _of_behaviour(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        watching = Watching(change=0.2, alarms=1.0, horizon=14, least=5)
        parts = [
            Observed((make_behaviour(rng, 20, level),), 112, 140, watching)
            for level in (40.0, 8.0, 200.0)
        ]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Observed.pooled(parts)}, folder))

    return build_asked


BUILDERS: dict[str, Callable[[np.random.Generator, Path], Asked]] = {
    "als-moments": _of_purchases(ALSMoments(12, "test", **_FOLD), factors=_FACTORS),
    "als-products": _of_purchases(
        ALSProducts(12, "test", **_FOLD, fine=20, first=True),
        factors=_FACTORS,
        directions=_FACTORS[::-1],
    ),
    "basket-scores": _of_baskets,
    "cell-counts": _of_traits(CellCounts(",".join(TRAITS), "test", 5), **_BOX),
    "behaviour-sums": _of_behaviour(BehaviourSums(13, 30, 112, "test")),
    "blend-scores": _of_blends,
    "catalogue-presence": _of_assortments(CataloguePresence(known=6, step=3)),
    "category-counts": _of_columns(CategoryCounts("brand", "test")),
    "co-purchases": _of_purchases(CoPurchases(12, "test")),
    "pair-counts": _of_purchases(PairCounts(12, "test")),
    "purchase-counts": _of_purchases(PurchaseCounts(12, "test", days=90)),
    "quantile-counts": _of_columns(QuantileCounts("price", "test", alpha=0.1)),
    "price-trials": _of_trials,
    "segment-moments": _of_segments,
    "ranking-scores": _of_purchases(RankingScores(12, 4, "test"), model=True),
    "group-gaps": _of_outcomes(GroupGaps("logistic", "test", ("tier = gold", "tier = basic"), 3)),
    "outcome-scores": _of_outcomes(OutcomeScores("logistic", "test")),
    "demand-series": _of_panels(DemandSeries(8, PERIODS.count)),
    "forecast-errors": _of_panels(ForecastErrors("poisson", "test", 2), coefficients=_SLOPES),
    "forecast-scores": _of_panels(ForecastScores("poisson", "test"), coefficients=_SLOPES),
    "price-moments": _of_prices(PriceMoments("ppml", 3, "test")),
    "price-pairs": _of_prices(PricePairs(6, 3, "test", 26, 52, 0.4), False, 2),
    "price-presence": _of_prices(PricePresence(6, "test")),
    "price-scores": _of_prices(PriceScores("ppml", "test"), False),
    "glm-moments": _of_panels(GLMMoments("poisson", 22, "test"), coefficients=_SLOPES),
    "feature-sums": _of_traits(FeatureSums(",".join(TRAITS), "test"), widths=np.array([6.0, 5.0])),
    "likelihood-sums": _of_known(
        LikelihoodSums("bg-nbd", "test"), parameters=np.array([-0.2, 4.1, -0.3, 0.9])
    ),
    "lloyd-sums": _of_traits(LloydSums(",".join(TRAITS), "test"), **_BOX, **_CENTRES, **_SETS),
    "mixture-sums": _of_traits(
        MixtureSums(",".join(TRAITS), "test"), **_BOX, **_COMPONENTS, **_SETS
    ),
    "segment-profiles": _of_traits(
        SegmentProfiles("kmeans", ",".join(TRAITS), "test"), **_BOX, **_CENTRES, **_NO_MIXTURE
    ),
    "segment-scores": _of_traits(
        SegmentScores("kmeans", ",".join(TRAITS), "test"), **_BOX, **_CENTRES, **_NO_MIXTURE
    ),
    "season-sums": _of_known(
        SeasonSums("test"), months=np.arange(DAYS) // 30 % 12, season=np.linspace(0.5, 1.5, 12)
    ),
    "spend-correlation": _of_known(SpendCorrelation("test")),
    "value-scores": _of_known(
        ValueScores("bg-nbd", "test", 60),
        purchases=np.array([0.8, 60.0, 0.7, 2.5]),
        clock=np.empty(0),
    ),
    "loyal-sums": _of_loyalty,
    "shift-scores": _of_behaviour(
        ShiftScores("cusum", "test"),
        happened=np.full((13, 112), 30.0),
        exposed=np.full((13, 112), 30.0),
    ),
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
