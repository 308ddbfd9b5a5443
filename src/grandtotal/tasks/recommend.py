"""What to recommend: products new to each customer, out of a shared catalogue.

One global cut in time: the model sees what was bought before it and is scored on what each
customer bought for the first time within the horizon after it. Full ranking of the catalogue;
only the customer's own history is excluded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import ItemModel, top
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Local, Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import DataError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.lines import catalogue_lines, titles
from grandtotal.tasks.needs import Need, Standing
from grandtotal.tasks.scores import Metric, UnitScores
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_models, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_GROUPED = 2**18  # customers whose lines are grouped at once: bounds the memory of the groups
_BLOCK = 1024  # customers scored at once: bounds the dense (customers, products) block

Candidate = Popularity | ItemKNN | EASE | EDLAE

GRIDS: Mapping[str, tuple[Candidate, ...]] = {
    "popularity": tuple(Popularity(days) for days in (0, 28, 91)),
    "item-knn": tuple(ItemKNN(shrink) for shrink in (0.0, 10.0, 30.0)),
    "ease": tuple(EASE(l2) for l2 in (30.0, 100.0, 300.0, 1000.0, 3000.0)),
    "edlae": tuple(
        EDLAE(l2, dropout) for dropout in (0.15, 0.33, 0.5) for l2 in (50.0, 150.0, 500.0, 1500.0)
    ),
}


@dataclass(frozen=True)
class Recommend:
    """Settings of `kind = "recommend"`.

    models: what the choice is made of; the best on summed validation scores wins. "edlae", twelve
        more candidates, only where the plan names it.
    horizon_days: how long after a cut a purchase counts as a hit.
    top: the length k of the list that is scored.
    """

    kind: ClassVar[str] = "recommend"
    units: ClassVar[str] = "customers"
    headline: ClassVar[str] = "ndcg"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "ndcg", True, "NDCG@k: hits count 1/log2(rank + 1), over the best that was possible"
        ),
        Metric("recall", True, "recall@k: share of a customer's new products among the k"),
        Metric("hit_rate", True, "hit rate@k: share of customers with at least one hit"),
    )

    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "customer", True, "whose purchases, and for whom"),
        Need("products", "title", False, "lists that a person can read"),
        Need("products", "gtin", False, "a plan that knows products by their bar code"),
    )

    common: Common
    models: tuple[str, ...] = ("popularity", "item-knn", "ease")
    horizon_days: int = 91
    top: int = 10

    def __post_init__(self) -> None:
        check_models(self.models, GRIDS)
        check_numbers(horizon_days=(self.horizon_days, 1, LONGEST), top=(self.top, 1))

    @property
    def products(self) -> int:
        """The catalogue's length."""
        return len(self.common.catalogue)

    @property
    def shown(self) -> int:
        """The length of UnitScores.shown: the catalogue's."""
        return self.products

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the model with the best summed validation NDCG, fitted up to the test cut."""
        totals = Remembering(totals)
        candidates = [candidate for model in self.models for candidate in GRIDS[model]]
        tried = [self._validate(totals, candidate) for candidate in candidates]
        best = max(range(len(tried)), key=lambda i: tried[i]["ndcg"])
        model = candidates[best].fit(totals, self.products, "test")
        return Fitted(model, {"chosen": model.meta, "tried": tried})

    def _validate(self, totals: Totals, candidate: Candidate) -> Json:
        model = candidate.fit(totals, self.products, "validation")
        query = RankingScores(self.products, self.top, "validation")
        sums = totals.total(query, model.arrays)
        customers = max(float(sums["customers"]), 1.0)
        return {
            **model.meta,
            **{metric.name: float(sums[metric.name]) / customers for metric in self.metrics},
        }

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns Purchases at the validation cut, the test cut and now."""
        horizon = timedelta(days=self.horizon_days)
        today = self.common.today
        lines, customers = _customer_lines(tables, self.common)
        cuts = {"validation": today - 2 * horizon, "test": today - horizon, "now": today}
        shape = (len(customers), self.products)
        return {split: _purchases(lines, cut, cut + horizon, *shape) for split, cut in cuts.items()}

    def build(self, arrays: Arrays, meta: Json) -> ItemModel:
        """Returns the delivered item model."""
        return ItemModel.build(arrays, meta)

    def adapt(self, model: Model, rows: Rows) -> Model:  # noqa: ARG002
        """Returns the model unchanged: what is personal is the customer's own history."""
        return model

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the retailer's own most popular products, with the better recency window."""
        own = Recommend(self.common, ("popularity",), self.horizon_days, self.top)
        model = own.fit(Local(rows)).model
        days = model.meta["days"]
        return model, f"own bestsellers of the last {days} days" if days else "own bestsellers"

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns the ranking scores of every customer with a history and a new purchase."""
        purchases: Purchases = rows[split]
        scored, shown = [], np.zeros(self.products, np.int64)
        for ranked, wanted, new in _ranked(cast(ItemModel, model), purchases, self.top):
            scored.append(ranking_scores(ranked, wanted))
            shown += np.bincount(ranked[new], minlength=self.products)
        parts = np.concatenate(scored) if scored else np.empty((0, len(self.metrics)))
        ones = np.ones(len(parts))
        return UnitScores.of(self.metrics, list(parts.T), [ones] * len(self.metrics), shown)

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:
        """Returns customer, rank, product, title, score, because: the best `top` new products.

        Products that the retailer is known not to sell are never among them.
        """
        import polars as pl

        _, customers = _customer_lines(tables, self.common)
        listed = _lists(cast(ItemModel, model), rows["now"], top, list(self.common.absent))
        keys = np.array(self.common.catalogue)
        named = titles(tables, self.common)
        columns = list(zip(*listed, strict=True)) or [(), (), (), (), ()]
        return pl.DataFrame(
            {
                "customer": customers.gather(pl.Series(columns[0], dtype=pl.UInt32)),
                "rank": columns[1],
                "product": keys[list(columns[2])],
                "title": named[list(columns[2])],
                "score": columns[3],
                "because": [" | ".join(named[list(bought)]) for bought in columns[4]],
            },
            schema_overrides={"rank": pl.Int32, "score": pl.Float32, "because": pl.String},
        )

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns how the hits spread over the ranks, for the report's plot."""
        ranks = np.zeros(self.top)
        customers = 0
        for ranked, wanted, _ in _ranked(cast(ItemModel, model), rows["test"], self.top):
            ranks[: ranked.shape[1]] += np.take_along_axis(wanted, ranked, axis=1).sum(axis=0)
            customers += len(ranked)
        return {"hits_by_rank": (ranks / max(customers, 1)).round(6).tolist()}

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many customers have a history, and how many can be scored."""
        test: Purchases = rows["test"]
        known = np.diff(test.history.indptr) > 0
        scored = int((known & (np.diff(test.future.indptr) > 0)).sum())
        cut = self.common.today - timedelta(days=self.horizon_days)
        expected = f"some with purchases before {cut}, the test cut, and new ones after it"
        found = f"{int(known.sum()):,} with a history, {scored:,} of them scored"
        remedy = "" if scored else "a longer history, a shorter horizon_days or an earlier today"
        return (Standing("customers", "yes" if scored else "no", found, expected, remedy),)

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the rows as if one company held them."""
        return {split: Purchases.pooled([part[split] for part in rows]) for split in rows[0]}


@dataclass(frozen=True)
class RankingScores:
    """Sums over customers of ndcg, recall and hit at `top`, for a model in the broadcast."""

    name: ClassVar[str] = "ranking-scores"
    bound: ClassVar[Stated] = None

    products: int
    top: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns a sum for each metric and the number of customers scored."""
        sums = {metric.name: Field((), scale=metric.steps) for metric in Recommend.metrics}
        return {**sums, "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's score is rounded before it is added."""
        model = ItemModel.build(broadcast, {})
        sums = np.zeros(len(Recommend.metrics), np.int64)
        customers = 0
        for ranked, wanted, _ in _ranked(model, rows[self.split], self.top):
            steps = ranking_scores(ranked, wanted) * [m.steps for m in Recommend.metrics]
            sums += np.rint(steps).astype(np.int64).sum(axis=0)
            customers += len(ranked)
        named = {metric.name: sums[i] for i, metric in enumerate(Recommend.metrics)}
        return {**named, "customers": np.asarray(customers)}


def ranking_scores(ranked: NDArray[np.intp], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns (customers, 3) ndcg, recall, hit of lists `ranked` (customers, k), best first.

    wanted: (customers, products), each with at least one product.
    NDCG = sum over hits 1/log2(rank + 1), over the same sum for a list of hits only.
    """
    hits = np.take_along_axis(wanted, ranked, axis=1)
    discount = math.log(2.0) / log(np.arange(2.0, ranked.shape[1] + 2))
    relevant = wanted.sum(axis=1)
    ideal = np.cumsum(discount)[np.minimum(relevant, ranked.shape[1]) - 1]
    return np.stack(
        [(hits * discount).sum(axis=1) / ideal, hits.sum(axis=1) / relevant, hits.any(axis=1)],
        axis=1,
    )


def _ranked(
    model: ItemModel, purchases: Purchases, k: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yields the k best products, the products wanted, and which of the k are new to the customer.

    Block by block of scored customers. Only where fewer than k are left to buy are some not new.
    """
    known = np.diff(purchases.history.indptr) > 0
    wanting = np.diff(purchases.future.indptr) > 0
    customers = np.flatnonzero(known & wanting)
    for start in range(0, len(customers), _BLOCK):
        block = customers[start : start + _BLOCK]
        scores = model.scores(purchases.history[block])
        ranked = top(scores, k)
        new = np.isfinite(np.take_along_axis(scores, ranked, axis=1))
        yield ranked, purchases.future[block].toarray() > 0, new


def _lists(
    model: ItemModel, purchases: Purchases, k: int, absent: list[int]
) -> Iterator[tuple[int, int, int, float, tuple[int, ...]]]:
    """Yields (customer, rank, product, score, bought products that speak for it)."""
    history = purchases.history
    for start in range(0, history.shape[0], _BLOCK):
        scores = model.scores(history[start : start + _BLOCK])
        scores[:, absent] = -np.inf
        best = top(scores, k)
        for row, products in enumerate(best):
            customer = start + row
            bought = history.indices[history.indptr[customer] : history.indptr[customer + 1]]
            for rank, product in enumerate(products, start=1):
                score = float(scores[row, product])
                if np.isfinite(score):
                    because = model.because(bought, int(product))
                    yield customer, rank, int(product), score, because


def _customer_lines(tables: Tables, common: Common) -> tuple[pl.DataFrame, pl.Series]:
    """Returns the lines u, i, day, quantity of known customers, and the customers in order of u."""
    import polars as pl

    lines = pl.concat(_coded_lines(tables, common))
    if lines.is_empty():
        raise DataError(
            "transactions: every line of a catalogue product is anonymous; recommend needs lines "
            "with a customer: check the mapping of 'customer' in retailer.toml"
        )
    customers = lines["customer"].unique().cast(pl.String).sort()
    known = pl.DataFrame({"customer": customers.cast(lines["customer"].dtype)}).with_row_index("u")
    lines = lines.join(known, on="customer", maintain_order="left")
    return lines.select("u", "i", "quantity", "day"), customers


def _coded_lines(tables: Tables, common: Common) -> Iterator[pl.DataFrame]:
    """Yields customer, i, quantity, day of known customers, a customer as a number of 4 bytes."""
    import polars as pl

    code = pl.Categorical(pl.Categories.random())
    for lines in catalogue_lines(tables, common, ("customer", "time", "quantity")):
        if "customer" not in lines.columns:
            raise DataError(
                "transactions: recommend needs the column 'customer'; map it in retailer.toml: "
                'columns = { customer = "..." }'
            )
        known = lines.filter(pl.col("customer").is_not_null())
        yield known.select(
            pl.col("customer").cast(code), "i", "quantity", day=pl.col("time").dt.date()
        )


def _purchases(
    lines: pl.DataFrame, cut: date, until: date, customers: int, products: int
) -> Purchases:
    import polars as pl

    blocks = []
    for first in range(0, customers, _GROUPED):
        rows = min(_GROUPED, customers - first)
        here = lines.filter((pl.col("u") >= first) & (pl.col("u") < first + rows))
        here = here.with_columns(pl.col("u") - first)
        blocks.append(_purchases_of(here, cut, until, (rows, products)))
    return Purchases.pooled(blocks)


def _purchases_of(lines: pl.DataFrame, cut: date, until: date, shape: tuple[int, int]) -> Purchases:
    import polars as pl

    # A product that was sent back altogether was not bought.
    kept = pl.col("quantity").sum() > 0
    before = lines.filter(pl.col("day") < cut).group_by("u", "i")
    after = lines.filter((pl.col("day") >= cut) & (pl.col("day") < until)).group_by("u", "i")
    bought = before.agg(kept=kept, age=(pl.lit(cut) - pl.col("day").max()).dt.total_days())
    bought = bought.filter("kept")
    new = after.agg(kept=kept).filter("kept").join(bought, on=["u", "i"], how="anti")
    return Purchases(
        _matrix(bought, bought["age"].to_numpy(), shape), _matrix(new, np.ones(len(new)), shape)
    )


def _matrix(pairs: pl.DataFrame, values: NDArray[Any], shape: tuple[int, int]) -> csr_array:
    matrix = csr_array(
        (values.astype(np.int32), (pairs["u"].to_numpy(), pairs["i"].to_numpy())), shape=shape
    )
    matrix.sort_indices()
    return matrix
