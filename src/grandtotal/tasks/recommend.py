"""What to recommend: products new to each customer, or the next basket, of a shared catalogue.

One global cut in time: the model sees what was bought before it and is scored on what each
customer bought for the first time within the horizon after it. Full ranking of the catalogue;
only the customer's own history is excluded. With `repeat`, products bought before may be
recommended and count as hits: half of a grocer's basket was in an earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.blend import Candidate, recommender
from grandtotal.algorithms.content import CONTENT, Content
from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.next_basket import NextBasket
from grandtotal.algorithms.personal import OfWords, of_words
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks import (
    next_basket,
    own_products,
    personal,
    reach,
    recommend_choice,
    recommend_in_noise,
    recommend_models,
)
from grandtotal.tasks import scope as scopes
from grandtotal.tasks.customer_facts import facts_standing, with_context
from grandtotal.tasks.customers import customer_lines, purchases_at, with_baskets
from grandtotal.tasks.lines import numbers, titles
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.product_words import COLUMNS, content_of, has_words, new_products
from grandtotal.tasks.ranking import METRICS, ranked_lists, ranking_scores
from grandtotal.tasks.recommend_choice import Listing
from grandtotal.tasks.recommend_lists import Lists, Serving, Shelf, Wished, frames
from grandtotal.tasks.recommend_models import AUTO, READS_WORDS, TWO_TOWER
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.task import LONGEST, Common, Fitted, Layer, at_home, check_numbers
from grandtotal.tasks.wishes import NO_WISHES, POOL, Wishes, allowed, categories, lift, varied

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables


@dataclass(frozen=True)
class Recommend:
    """Settings of `kind = "recommend"`.

    models: what the choice is made of, some of popularity, item-knn, ease, edlae, als, transitions,
        content, hybrid, and the networks sasrec, gru and two-tower, which need the extra [neural];
        the best on summed validation scores wins. With "auto" among them, the best of each kind are
        also blended where that is better; "auto" alone stands for recommend_models.CORE. The next
        basket always has each customer's habits beside one model or several.
    horizon_days: how long after a cut a purchase counts as a hit.
    top: the length k of the list that is scored.
    repeat: whether products bought before may be recommended and count as hits; how likely each
        customer is to buy them again, computed at home, is then added to the shared model's scores.
    scope: "own", a retailer shows what it sells; "consortium", also what others offer (scope.py).
    """

    kind: ClassVar[str] = "recommend"
    units: ClassVar[str] = "customers"
    headline: ClassVar[str] = "ndcg"
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "customer", True, "whose purchases, and for whom"),
        Need("products", "title", False, "lists that a person can read"),
        Need("products", "category", False, "content and hybrid, filters and varied lists"),
        Need("products", "gtin", False, "a plan that knows products by their bar code"),
        Need(
            "customers", "age_band", False, "the model two-tower, for customers with few purchases"
        ),
        Need("customers", "region", False, "the model two-tower, for customers with few purchases"),
    )

    common: Common
    models: tuple[str, ...] = ("popularity", "item-knn", "ease")
    horizon_days: int = 91
    top: int = 10
    repeat: bool = False
    scope: str = scopes.OWN

    def __post_init__(self) -> None:
        recommend_models.check_named(self.models)
        check_numbers(horizon_days=(self.horizon_days, 1, LONGEST), top=(self.top, 1))
        if not isinstance(self.repeat, bool):
            raise PlanError(f"repeat = {self.repeat!r}, expected true or false")
        scopes.check_scope(self.scope, self.common)

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
        found = self._fitted(totals)
        if self.scope == scopes.OWN:
            return found
        offered = scopes.offers_of_all(totals, self.products)
        model, before = (scopes.with_offers(each, offered) for each in (found.model, found.before))
        return replace(found, model=cast(Lists, model), before=before)

    def _fitted(self, totals: Totals) -> Fitted:
        if self.common.privacy.private:
            return recommend_in_noise.fit(self, totals)
        kinds = recommend_models.kinds_of(self.models)
        grids = [self.listing.grids[kind] for kind in kinds]
        if AUTO in self.models:
            return self.choose_and_blend(totals, grids)
        return self.choose(totals, [candidate for grid in grids for candidate in grid])

    @property
    def listing(self) -> Listing:
        """What the lists hold: products new to a customer, or the next basket."""
        listing = next_basket.Baskets if self.repeat else recommend_models.NewProducts
        return listing(self.products, self.top)

    def choose_and_blend(self, totals: Totals, grids: Sequence[Sequence[Candidate]]) -> Fitted:
        """Returns the best blend of the best candidate of each grid, fitted up to the test cut."""
        return recommend_choice.choose_and_blend(self.listing, Remembering(totals), grids)

    def choose(self, totals: Totals, candidates: Sequence[Candidate]) -> Fitted:
        """Returns the candidate with the best summed validation NDCG, fitted up to the test cut."""
        return recommend_choice.choose(self.listing, Remembering(totals), candidates)

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
        listed = scopes.listed_products(tables, self.common)
        rows: dict[str, Any] = {}
        for split, cut in cuts.items():
            absent = scopes.absent_at(cut, lines, listed, self.common)
            held = purchases_at(lines, cut, cut + horizon, *shape).without(absent)
            again = with_baskets(held, lines, cut, cut + horizon) if self.repeat else held
            rows[split] = again
        if (brands := numbers(tables, self.common, "brand")) is not None:
            rows[reach.BRANDS] = brands
        if {*READS_WORDS} & {*self.models}:
            rows[CONTENT] = content_of(tables, self.common)
        if TWO_TOWER in self.models:
            rows |= with_context(rows, cuts, tables, customers)
        if self.scope == scopes.CONSORTIUM:
            rows[scopes.OFFERED] = scopes.offers(tables, self.common)
        return rows

    def build(self, arrays: Arrays, meta: Json) -> Recommender | NextBasket:
        """Returns the delivered model."""
        return NextBasket.build(arrays, meta) if self.repeat else recommender(arrays, meta)

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model, of noisy totals joined with the retailer's own exact rows.

        An exact model is returned as it is: its layer is chosen with what it was before.
        """
        if "in_noise" not in model.meta:
            return model
        home = cast(Recommend, at_home(self))
        own = home.fit(Local(rows))
        found = recommend_in_noise.joined(home, own, cast(Lists, model), rows)
        if found.before is None:
            return found.model
        return self.layered(found.model, self.layer(found.model, found.before, rows))

    def layer(self, model: Model, before: Model, rows: Rows) -> Layer:
        """Returns what was better on the retailer's own validation; see `personal`."""
        return personal.best_layer(cast(Lists, before), cast(Lists, model), rows, self.top)

    def layered(self, model: Model, layer: Layer) -> Lists:
        """Returns the model with what is kept of the retailer's own."""
        return personal.with_layer(cast(Lists, model), layer.arrays)

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

    def predict(
        self,
        model: Model,
        rows: Rows,
        tables: Tables,
        top: int,
        wishes: Wishes = NO_WISHES,
    ) -> pl.DataFrame:
        """Returns customer, rank, product, title, score, because: the best `top` products.

        Only what may be shown in the `scope`, and what the wishes leave. Where products lie outside
        a private catalogue, also `model`, the "shared" one or its "own".
        """
        import polars as pl

        if (words := of_words(model)) and (new := new_products(tables, self.common)):
            wider, known, more = self._with_new(words, tables, new)
            return wider.predict(known, more, tables, top, wishes)
        many = top * POOL if wishes.diversity else top
        found = pl.concat(list(self.predictions(model, rows, tables, many, wishes)))
        if self.common.own:
            found = self._with_own(cast(Lists, model), found, tables, many, wishes)
        if not wishes.diversity:
            return found
        return varied(found, categories(tables), wishes.diversity, top)

    def predictions(
        self, model: Model, rows: Rows, tables: Tables, top: int, wishes: Wishes
    ) -> Iterator[pl.DataFrame]:
        """Yields the lists of the catalogue's products, of some customers after the other."""
        _, customers = customer_lines(tables, self.common)
        wished = self._wished(cast(Lists, model), rows, tables, wishes)
        yield from frames(wished, rows["now"], top, customers, self._shelf(tables))

    def serving(self, model: Model, rows: Rows, tables: Tables, wishes: Wishes) -> Serving:
        """Returns what answers for sessions and single products, under the same wishes."""
        if (words := of_words(model)) and (new := new_products(tables, self.common)):
            wider, known, more = self._with_new(words, tables, new)
            return wider.serving(known, more, tables, wishes)
        wished = self._wished(cast(Lists, model), rows, tables, wishes)
        nobody = rows["now"].of(np.empty(0, np.intp))
        return Serving(wished, self._shelf(tables), nobody)

    def _with_new(
        self, model: OfWords, tables: Tables, new: tuple[str, ...]
    ) -> tuple[Recommend, OfWords, Rows]:
        """Returns all with products that nobody's totals hold: their words say what they are."""
        common = replace(self.common, catalogue=(*self.common.catalogue, *new))
        wider = replace(self, common=common)
        words = content_of(tables, replace(common, catalogue=new))
        return wider, model.with_products(words), wider.rows(tables)

    def _wished(self, model: Lists, rows: Rows, tables: Tables, wishes: Wishes) -> Wished:
        customers = np.bincount(rows["now"].history.indices, minlength=self.products)
        again = self.repeat if wishes.again is None else wishes.again
        return Wished(
            model,
            allowed(wishes, tables, self.common),
            lift(wishes, tables, self.common, customers),
            again,
        )

    def _shelf(self, tables: Tables) -> Shelf:
        return Shelf(np.array(self.common.catalogue, object), titles(tables, self.common))

    def _with_own(
        self, model: Lists, shared: pl.DataFrame, tables: Tables, top: int, wishes: Wishes
    ) -> pl.DataFrame:
        """Returns the lists with what the retailer alone sells, by a model of its own rows."""
        import polars as pl

        whole = replace(self, common=own_products.whole_assortment(self.common), scope=scopes.OWN)
        first = whole.products - len(self.common.own)
        mine = whole.rows(tables)
        candidate = own_products.same_kind(model.meta, self.listing.grids)
        if candidate is None:  # what was delivered is no longer what the totals alone made
            candidate = own_products.same_kind(
                whole.fit(Local(mine)).model.meta, self.listing.grids
            )
            assert candidate is not None
        tried = own_products.local_model(model, candidate, mine, "validation")
        weight = own_products.validated_weight(tried, mine["validation"], first, self.top)
        local = own_products.local_model(model, candidate, mine, "test")
        wished = whole._wished(local, mine, tables, wishes)
        _, customers = customer_lines(tables, whole.common)
        shelf = whole._shelf(tables)
        listed = own_products.own_frames(wished, mine["now"], first, top, customers, shelf)
        own = pl.concat(list(listed))
        return own_products.blended_frames(shared, own, weight, top)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns how the hits spread over the ranks, and who is reached at which cost."""
        ranks = np.zeros(self.top)
        customers = 0
        for ranked, wanted in self._test_lists(model, rows["test"]):
            ranks[: ranked.shape[1]] += np.take_along_axis(wanted, ranked, axis=1).sum(axis=0)
            customers += len(ranked)
        hits = (ranks / max(customers, 1)).round(6).tolist()
        everything, nothing = np.ones(self.products, bool), np.zeros(self.products, np.float32)
        wished = Wished(cast(Lists, model), everything, nothing, self.repeat)
        found = reach.reach(wished, rows["test"], rows.get(reach.BRANDS), self.top)
        return {"hits_by_rank": hits, "reach": found}

    def _test_lists(
        self, model: Model, purchases: Purchases
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
        if isinstance(model, NextBasket):
            for found in next_basket.lists(model, purchases, self.top):
                yield found.ranked, found.wanted
        else:
            for ranked, wanted, _ in ranked_lists(cast(Recommender, model), purchases, self.top):
                yield ranked, wanted

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:
        """Returns how many customers have a history, and how many can be scored."""
        test: Purchases = rows["test"]
        known = np.diff(test.history.indptr) > 0
        scored = int((known & (np.diff(test.future.indptr) > 0)).sum())
        cut = self.common.today - timedelta(days=self.horizon_days)
        expected = f"some with purchases before {cut}, the test cut, and new ones after it"
        found = f"{int(known.sum()):,} with a history, {scored:,} of them scored"
        remedy = "" if scored else "a longer history, a shorter horizon_days or an earlier today"
        known_by = Standing("customers", "yes" if scored else "no", found, expected, remedy)
        return (known_by, *self._words(tables))

    def _words(self, tables: Tables) -> Iterator[Standing]:
        if {*READS_WORDS} & {*self.models}:
            found = "there are" if has_words(tables) else "no such column in a products table"
            verdict: Verdict = "yes" if has_words(tables) else "look"
            remedy = (
                "add title, brand or category to [tables.products]; without them products that "
                "nobody else describes have no vector, and ease or als do as well"
            )
            some = f"some of {', '.join(COLUMNS)}"
            yield Standing("words of products", verdict, found, some, remedy)
        if TWO_TOWER in self.models:
            yield facts_standing(tables)

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the rows as if one company held them."""
        joined: dict[str, Callable[[list[Any]], Any]] = {
            CONTENT: Content.pooled,
            scopes.OFFERED: sum,
            reach.BRANDS: lambda parts: parts[0],
        }
        return {
            name: joined.get(name, Purchases.pooled)([part[name] for part in rows])
            for name in set.intersection(*({*part} for part in rows))
        }
