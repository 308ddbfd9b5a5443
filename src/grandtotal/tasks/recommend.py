"""What to recommend: products new to each customer, or the next basket, of a shared catalogue.

One global cut in time: the model sees what was bought before it and is scored on what each
customer bought for the first time within the horizon after it. Full ranking of the catalogue;
only the customer's own history is excluded. With `repeat`, products bought before may be
recommended and count as hits: half of a grocer's basket was in an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.blend import Candidate, recommender
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.next_basket import NextBasket
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks import next_basket, own_products, recommend_in_noise, recommend_models
from grandtotal.tasks.customers import customer_lines, purchases_at, with_baskets
from grandtotal.tasks.lines import titles
from grandtotal.tasks.needs import Need, Standing
from grandtotal.tasks.ranking import BLOCK, METRICS, ranked_lists, ranking_scores
from grandtotal.tasks.recommend_models import AUTO, GRIDS
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.task import LONGEST, Common, Fitted, at_home, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_Listed = tuple[int, int, int, float, tuple[int, ...]]


@dataclass(frozen=True)
class Recommend:
    """Settings of `kind = "recommend"`.

    models: what the choice is made of, some of popularity, item-knn, ease, edlae, als, transitions;
        the best on summed validation scores wins. With "auto" among them, the best of each kind are
        also blended where that is better; "auto" alone stands for all but edlae. The next basket
        is chosen, not blended: it is a blend with each customer's habits.
    horizon_days: how long after a cut a purchase counts as a hit.
    top: the length k of the list that is scored.
    repeat: whether products bought before may be recommended and count as hits; each customer's own
        frequencies, computed at home, are then blended with the shared model.
    """

    kind: ClassVar[str] = "recommend"
    units: ClassVar[str] = "customers"
    headline: ClassVar[str] = "ndcg"
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "customer", True, "whose purchases, and for whom"),
        Need("products", "title", False, "lists that a person can read"),
        Need("products", "gtin", False, "a plan that knows products by their bar code"),
    )

    common: Common
    models: tuple[str, ...] = ("popularity", "item-knn", "ease")
    horizon_days: int = 91
    top: int = 10
    repeat: bool = False

    def __post_init__(self) -> None:
        recommend_models.check_named(self.models)
        check_numbers(horizon_days=(self.horizon_days, 1, LONGEST), top=(self.top, 1))
        if not isinstance(self.repeat, bool):
            raise PlanError(f"repeat = {self.repeat!r}, expected true or false")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is scored; the next basket also by what was bought before and what is new."""
        return (*METRICS, *next_basket.METRICS) if self.repeat else METRICS

    @property
    def products(self) -> int:
        """The catalogue's length."""
        return len(self.common.catalogue)

    @property
    def shown(self) -> int:
        """The length of UnitScores.shown: the catalogue's."""
        return self.products

    @property
    def scored(self) -> Scored:
        """The NDCG of the delivered model: at most 1 for each customer, who counts 1."""
        return Scored("test", math.sqrt(2.0))

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the model with the best summed validation NDCG, fitted up to the test cut."""
        if self.common.privacy.private:
            return recommend_in_noise.fit(self, totals)
        kinds = recommend_models.kinds_of(self.models)
        if AUTO in self.models and not self.repeat:
            remembering = Remembering(totals)
            return recommend_models.choose_and_blend(remembering, kinds, self.products, self.top)
        return self.choose(totals, [candidate for kind in kinds for candidate in GRIDS[kind]])

    def choose(self, totals: Totals, candidates: Sequence[Candidate]) -> Fitted:
        """Returns the candidate with the best summed validation NDCG, fitted up to the test cut."""
        totals = Remembering(totals)
        if self.repeat:
            return next_basket.choose(totals, candidates, self.products, self.top)
        return recommend_models.choose(totals, candidates, self.products, self.top)

    def releases(self) -> tuple[Release, ...]:
        """Returns what is asked under epsilon: two totals of purchases and the test's."""
        return recommend_in_noise.releases(self)

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns Purchases at the validation cut, the test cut and now."""
        horizon = timedelta(days=self.horizon_days)
        today = self.common.today
        lines, customers = customer_lines(tables, self.common)
        cuts = {"validation": today - 2 * horizon, "test": today - horizon, "now": today}
        shape = (len(customers), self.products)
        held = {
            split: purchases_at(lines, cut, cut + horizon, *shape).without(self.common.absent)
            for split, cut in cuts.items()
        }
        if not self.repeat:
            return held
        return {
            split: with_baskets(held[split], lines, cut, cut + horizon)
            for split, cut in cuts.items()
        }

    def build(self, arrays: Arrays, meta: Json) -> Recommender | NextBasket:
        """Returns the delivered model."""
        return NextBasket.build(arrays, meta) if self.repeat else recommender(arrays, meta)

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model, of noisy totals joined with the retailer's own exact rows.

        An exact model is returned as it is: what is personal is the customer's own history.
        """
        if "in_noise" not in model.meta:
            return model
        home = cast(Recommend, at_home(self))
        own = home.fit(Local(rows))
        return recommend_in_noise.joined(home, own, cast(Recommender | NextBasket, model), rows)

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the retailer's own most popular products, with the better recency window."""
        if self.repeat:
            favourites = next_basket.own_favourites(Local(rows), self.products)
            return favourites, "each customer's own most frequent products, then own bestsellers"
        own = Recommend(self.common, ("popularity",), self.horizon_days, self.top)
        model = own.fit(Local(rows)).model
        days = model.meta["days"]
        return model, f"own bestsellers of the last {days} days" if days else "own bestsellers"

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns the ranking scores of every customer with a history and a new purchase."""
        purchases: Purchases = rows[split]
        if isinstance(model, NextBasket):
            return self._basket_scores(model, purchases)
        scored, shown = [], np.zeros(self.products, np.int64)
        for ranked, wanted, new in ranked_lists(cast(Recommender, model), purchases, self.top):
            scored.append(ranking_scores(ranked, wanted))
            shown += np.bincount(ranked[new], minlength=self.products)
        parts = np.concatenate(scored) if scored else np.empty((0, len(self.metrics)))
        ones = np.ones(len(parts))
        return UnitScores.of(self.metrics, list(parts.T), [ones] * len(self.metrics), shown)

    def _basket_scores(self, model: NextBasket, purchases: Purchases) -> UnitScores:
        above, below = np.empty((0, len(self.metrics))), np.empty((0, len(self.metrics)))
        shown = np.zeros(self.products, np.int64)
        for found in next_basket.lists(model, purchases, self.top):
            whole = ranking_scores(found.ranked, found.wanted)
            share, known = found.parts()
            above = np.concatenate([above, np.hstack([whole, share])])
            below = np.concatenate([below, np.hstack([np.ones_like(whole), known])])
            shown += np.bincount(found.ranked.ravel(), minlength=self.products)
        return UnitScores.of(self.metrics, list(above.T), list(below.T), shown)

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:
        """Returns customer, rank, product, title, score, because: the best `top` products.

        Products that the retailer is known not to sell are never among them. Where products lie
        outside a private catalogue, also `model`, the "shared" one or its "own".
        """
        lists = cast(Recommender | NextBasket, model)
        shared = self._frame(_lists(lists, rows["now"], top, list(self.common.absent)), tables)
        if not self.common.own:
            return shared
        whole = replace(self, common=own_products.whole_assortment(self.common))
        first = whole.products - len(self.common.own)
        mine = whole.rows(tables)
        candidate = own_products.same_kind(lists.meta, GRIDS)
        if candidate is None:  # what was delivered is no longer what the totals alone made
            candidate = own_products.same_kind(whole.fit(Local(mine)).model.meta, GRIDS)
            assert candidate is not None
        tried = own_products.local_model(lists, candidate, mine, "validation")
        weight = own_products.validated_weight(tried, mine["validation"], first, self.top)
        local = own_products.local_model(lists, candidate, mine, "test")
        own = whole._frame(own_products.own_lists(local, mine["now"], first, top), tables)
        return own_products.blended_frames(shared, own, weight, top)

    def _frame(self, listed: Iterator[_Listed], tables: Tables) -> pl.DataFrame:
        import polars as pl

        _, customers = customer_lines(tables, self.common)
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
        for ranked, wanted in self._test_lists(model, rows["test"]):
            ranks[: ranked.shape[1]] += np.take_along_axis(wanted, ranked, axis=1).sum(axis=0)
            customers += len(ranked)
        return {"hits_by_rank": (ranks / max(customers, 1)).round(6).tolist()}

    def _test_lists(
        self, model: Model, purchases: Purchases
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
        if isinstance(model, NextBasket):
            for found in next_basket.lists(model, purchases, self.top):
                yield found.ranked, found.wanted
        else:
            for ranked, wanted, _ in ranked_lists(cast(Recommender, model), purchases, self.top):
                yield ranked, wanted

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


def _lists(
    model: Recommender | NextBasket, purchases: Purchases, k: int, absent: list[int]
) -> Iterator[_Listed]:
    """Yields (customer, rank, product, score, bought products that speak for it)."""
    history = purchases.history
    for start in range(0, history.shape[0], BLOCK):
        block = purchases.of(np.arange(start, min(start + BLOCK, history.shape[0])))
        if isinstance(model, NextBasket):
            scores = model.scores(block)
        else:
            scores = model.scores(block.history)
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
