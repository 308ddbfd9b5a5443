"""What hiding every customer costs recommendations: NDCG against epsilon.

Five retailers, clipped totals with the noise of the product (discrete Gaussian, sized for one
colluder and no dropout, `privacy/noise.py`) through messages, egress and ledger; sums are not
masked, which changes no total. Epsilon covers the whole task, its test score included; a customer
counts as hidden who is removed, added or becomes anybody else. S is how many retailers one
customer may be known to: 1, or all five. delta is 1e-5, for a million customers 1e-7.

"shared" is the model that is released. "at home" is what a retailer uses: the shared model joined
with its own exact rows, which never leave, as its own validation chose; mean over all customers.
"alone" is the best own model without the consortium, "exact" the federated one without epsilon.
"of exact" divides by the latter.

Of what a plan under epsilon may name, popularity asks for counts alone: the rows "counts alone".
item-knn, ease and edlae all become the EDLAE of clipped counts and co-purchases: the other rows.

MovieLens 1M, given split, NDCG@20, as in recommend-ml1m. Online Retail II as the package ships it,
NDCG@10 of what was new to the customer in the last 91 days. Generated: customers of three of 60
groups of products each, NDCG@20 of 20,000 of them; exact is the best of six EASE and EDLAE on
these very customers. With --quick: MovieLens at one epsilon, 100,000 generated customers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.recommend_ml1m import SHARES, SOURCE, load
from benchmarks.retail import online_retail
from benchmarks.rows import Row, at_least, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.item_similarity import EASE, EDLAE
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Remembering
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import ALL, Agreement
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_in_noise import joined
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.task import Common

EPSILONS = (8.0, 4.0, 2.0, 1.0)
DRAWS = 3  # of the noise, where that is all that differs


def run(data: Path, quick: bool) -> list[Row]:
    """Returns NDCG for every epsilon and S of three sets of customers."""
    folder = data / "movielens"
    for part in ("train", "test"):
        need(folder / f"ml-1m_{part}.txt", SOURCE)
    world = load(folder)
    movies = World("ml-1m", world.task("ease" if quick else "edlae"), world.holders, 1e-5)
    if quick:
        return [
            *movies.rows((8.0,), (1,), 0.9, draws=1),
            *_generated(100_000, (8.0,), (1,), None),
        ]
    counts = World("ml-1m, counts alone", world.task("popularity"), world.holders, 1e-5)
    return [
        *movies.rows(EPSILONS, (1, ALL), 0.9),
        *counts.rows((8.0, 4.0, 2.0), (1,), None, draws=1),
        *_online_retail().rows(EPSILONS, (1, ALL), None),
        *_generated(1_000_000, EPSILONS, (1, ALL), 0.98),
    ]


@dataclass(frozen=True)
class World:
    """Retailers' rows and the exact task over them."""

    name: str
    task: Recommend
    holders: Mapping[str, Rows]
    delta: float

    def rows(
        self,
        epsilons: tuple[float, ...],
        known_to: tuple[int | str, ...],
        bar: float | None,
        draws: int = DRAWS,
    ) -> list[Row]:
        """Returns exact, alone, and for every epsilon and S what is shared and at home.

        bar: of the model that is released at epsilon 8 and S = 1, as a share of exact; at home the
            comparison is with alone.
        """
        with federated(self.holders) as consortium:
            exact = self._ndcg(
                dict.fromkeys(self.holders, self.task.fit(consortium.of(TASK)).model)
            )
        own = {name: self.task.fit(Local(rows)) for name, rows in self.holders.items()}
        base = {name: self.task.baseline(rows)[0] for name, rows in self.holders.items()}
        alone = self._ndcg({name: fitted.model for name, fitted in own.items()})
        found = [
            Row(f"{self.name}: ndcg, baseline", self._ndcg(base)),
            Row(f"{self.name}: ndcg, alone", alone),
            Row(f"{self.name}: ndcg, exact", exact),
            Row(f"{self.name}: alone, of exact", alone / exact),
        ]
        for known in known_to:
            for epsilon in epsilons:
                shared = [private(self.task, self.holders, self.delta, epsilon, known)]
                shared += [
                    private(self.task, self.holders, self.delta, epsilon, known)
                    for _ in range(draws - 1)
                ]
                scores = [self._ndcg(dict.fromkeys(self.holders, model)) for model in shared]
                home = {
                    name: joined(self.task, own[name], shared[0], rows)  # type: ignore[arg-type]
                    for name, rows in self.holders.items()
                }
                label = f"{self.name}, epsilon {epsilon:g}, S = {known}"
                released, *rest = _shared(label, scores, exact, shared[0])
                if bar is not None and (epsilon, known) == (8.0, 1):
                    released = at_least(bar, released.name, released.value or 0.0)
                home_of_exact = Row(f"{label}: at home, of exact", self._ndcg(home) / exact)
                found += [released, *rest, home_of_exact]
        return found

    def _ndcg(self, models: Mapping[str, Model]) -> float:
        """Returns the mean over all customers of each retailer's model."""
        parts = [self.task.score(models[name], rows, "test") for name, rows in self.holders.items()]
        above = sum(part.numerators[:, 0].sum() for part in parts)
        return float(above / sum(part.denominators[:, 0].sum() for part in parts))


def private(
    task: Recommend,
    holders: Mapping[str, Rows],
    delta: float,
    epsilon: float,
    known_to: int | str,
) -> Model:
    """Returns the model of the task under epsilon, of totals with noise."""
    agreement = Agreement(epsilon=epsilon, delta=delta, retailers_per_customer=known_to)
    hidden = replace(task, common=replace(task.common, privacy=agreement))
    budget = Budget.of(agreement, {TASK: hidden.releases()}, len(holders))
    with federated(holders, budget=budget) as consortium:
        return hidden.fit(consortium.of(TASK)).model


def _shared(label: str, scores: list[float], exact: float, model: Model) -> list[Row]:
    """Returns the mean over draws of the noise, and says where bestsellers are all that is left."""
    why = model.meta["in_noise"].get("why")
    if why:
        print(f"  {label}: {why}")
    told = " (bestsellers)" if why else ""
    return [
        Row(f"{label}: shared{told}, of exact", float(np.mean(scores)) / exact),
        *(
            [Row(f"{label}: shared, from lowest to highest", float(np.ptp(scores)) / exact)]
            if len(scores) > 1
            else []
        ),
    ]


def _online_retail() -> World:
    retail = online_retail()
    task = Recommend(retail.common)
    return World("online retail", task, retail.holders(task, 5), 1e-5)


# --- a million customers ---

_PRODUCTS, _GROUPS, _SCORED = 2000, 60, 20_000


def _generated(
    customers: int,
    epsilons: tuple[float, ...],
    known_to: tuple[int | str, ...],
    bar: float | None,
) -> list[Row]:
    """Returns exact, and for every epsilon and S what is shared; the bar is of that."""
    common = Common(date(2024, 1, 1), tuple(str(i) for i in range(_PRODUCTS)))
    task = Recommend(common, ("ease",), top=20)
    holders = generated(customers)
    pooled = Local(task.pooled(list(holders.values())))
    some = {"test": next(iter(holders.values()))["test"].of(np.arange(_SCORED))}

    def ndcg(model: Model) -> float:
        return task.score(model, some, "test").values()["ndcg"]

    totals = Remembering(pooled)
    fits = [fit(l2 * customers / 1e6) for l2 in (300.0, 3000.0, 30_000.0) for fit in (EASE, EDLAE)]
    exact = max(ndcg(each.fit(totals, _PRODUCTS, "test")) for each in fits)
    bestsellers = ndcg(GRIDS["popularity"][0].fit(pooled, _PRODUCTS, "test"))
    name = f"{customers:,} generated"
    found = [Row(f"{name}: ndcg, baseline", bestsellers), Row(f"{name}: ndcg, exact", exact)]
    for known in known_to:
        for epsilon in epsilons:
            model = private(task, holders, 0.1 / customers, epsilon, known)
            label = f"{name}, epsilon {epsilon:g}, S = {known}"
            (row,) = _shared(label, [ndcg(model)], exact, model)
            barred = bar is not None and (epsilon, known) == (8.0, 1)
            found.append(at_least(bar, row.name, row.value or 0.0) if barred else row)  # type: ignore[arg-type]
    return found


def generated(customers: int) -> dict[str, Rows]:
    """Returns retailers of customers who buy from three of 60 groups of products; always the same.

    Of 16 purchases each the last four are what comes after the cut. A product is in one group, and
    the more popular the smaller its number is in it; one purchase in five is of anything.
    """
    draw = np.random.default_rng(60)
    holders: dict[str, Rows] = {}
    for name, share in SHARES.items():
        many = round(customers * share)
        liked = draw.integers(0, _GROUPS, (many, 3), dtype=np.int16)
        group = np.take_along_axis(liked, draw.integers(0, 3, (many, 16)), axis=1).astype(np.int32)
        anything = draw.random((many, 16), dtype=np.float32) < 0.2
        group[anything] = draw.integers(0, _GROUPS, np.count_nonzero(anything))
        size = _PRODUCTS // _GROUPS
        within = (draw.random((many, 16), dtype=np.float32) ** 2 * size).astype(np.int32)
        bought = group * size + within
        history, future = _matrix(bought[:, :12]), _matrix(bought[:, 12:])
        holders[name] = {"test": Purchases(history, _new(future, history))}
    return holders


def _matrix(bought: NDArray[np.int32]) -> csr_array:
    """Returns 1 where a customer, a row of `bought`, has the product at all."""
    ordered = np.sort(bought, axis=1)
    first = np.diff(ordered, axis=1, prepend=-1) > 0
    starts = np.concatenate([[0], np.cumsum(first.sum(axis=1))])
    ones = np.ones(starts[-1], np.int32)
    return csr_array((ones, ordered[first], starts), shape=(len(bought), _PRODUCTS))


def _new(future: csr_array, history: csr_array) -> csr_array:
    """Returns the future without what is in the history."""
    new = csr_array(future - future.multiply(history))
    new.eliminate_zeros()
    new.sort_indices()
    return new
