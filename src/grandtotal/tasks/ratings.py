"""How many stars each customer will give what it has not rated, and how likely each star is.

One global cut in time: the model sees the ratings before it and is scored on what customers rated
for the first time within the horizon after it. A task of its own beside `recommend`: a rating says
how much something was liked, a purchase only that it was bought, so that what is scored, by whom
and from which table are other things.

Under epsilon it is refused by name: nothing bounds what a customer who rated much adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.algorithms.ratings import STARS, Cut, RatingModel, Ratings, Tastes
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import Json
from grandtotal.tasks.lines import titles
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.ratings_models import GRIDS, check_named, choose, kinds_of, rating_model
from grandtotal.tasks.ratings_rows import About, rating_cuts, rating_lines
from grandtotal.tasks.ratings_scores import METRICS, star_scores
from grandtotal.tasks.scores import Metric, UnitScores
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_ABOUT = "about"
_CELLS = 2**21  # customers x products that are looked at together: bounds the memory
_KNOWN = (0, 1, 5, 20)  # ratings from which on more is known of a customer
_SURE = (0.0, 0.3, 0.4, 0.5, 0.7, 1.0)  # chances of the likeliest star


@dataclass(frozen=True)
class Stars:
    """Settings of `kind = "ratings"`.

    models: what the choice is made of, some of item-mean, factors, ncf; "auto" stands for the first
        two. The least summed squared error on the validation wins. ncf needs the extra [neural].
    horizon_days: the test is the last so many days, the validation as many before; a fifth of the
        ratings in the test is usual.
    """

    kind: ClassVar[str] = "ratings"
    units: ClassVar[str] = "customers"
    headline: ClassVar[str] = "stars_rmse"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    needs: ClassVar[tuple[Need, ...]] = (
        Need("ratings", "rating", True, "how much it was liked"),
        Need("ratings", "customer", True, "whose ratings, and for whom"),
        Need("products", "title", False, "lists that a person can read"),
    )

    common: Common
    models: tuple[str, ...] = ("item-mean", "factors")
    horizon_days: int = 91

    def __post_init__(self) -> None:
        check_named(self.models)
        check_numbers(horizon_days=(self.horizon_days, 1, LONGEST))

    @property
    def products(self) -> int:
        """The catalogue's length."""
        return len(self.common.catalogue)

    @property
    def shown(self) -> int:
        """No list is scored, only what was rated."""
        return 0

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the model with the least validation error, fitted up to the test cut."""
        candidates = [candidate for kind in kinds_of(self.models) for candidate in GRIDS[kind]]
        return choose(totals, candidates, self.products)

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns the ratings at the validation cut, the test cut and now."""
        lines, about = rating_lines(tables, self.common)
        return {**rating_cuts(lines, self.common.today, self.horizon_days), _ABOUT: about}

    def build(self, arrays: Any, meta: Json) -> RatingModel:
        """Returns the delivered model."""
        return rating_model(arrays, meta)

    def adapt(self, model: Model, rows: Rows) -> Model:  # noqa: ARG002
        """Returns the model as it is: what is personal is read from the customer's own ratings."""
        return model

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the means of the retailer's own ratings of each product."""
        own = replace(self, models=("item-mean",)).fit(Local(rows)).model
        return own, "mean of the product's own ratings"

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each customer who rated something new adds to each metric."""
        cut: Cut = rows[split]
        return star_scores(_tastes(model, cut), cut.asked)

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:
        """Returns customer, rank, product, title, rating, p_1 to p_5: the best `top` products.

        Of what the retailer sells and the customer has not rated, by expected stars.
        """
        import polars as pl

        about, cut = cast(About, rows[_ABOUT]), cast(Cut, rows["now"])
        tastes, named = _tastes(model, cut), titles(tables, self.common)
        keys, people = np.array(self.common.catalogue, dtype=object), len(about.customers)
        frames = []
        for who, ranks, what in _best(tastes, cut.known, people, about.sold, top):
            chances = tastes.chances(who, what).round(4)
            frames.append(
                {
                    "customer": about.customers[who].astype(str),
                    "rank": ranks.astype(np.int32),
                    "product": keys[what],
                    "title": named[what],
                    "rating": tastes.expected(who, what).round(4),
                    **{f"p_{star}": chances[:, star - 1] for star in range(1, STARS + 1)},
                }
            )
        texts = dict.fromkeys(("customer", "product", "title"), pl.String)
        return pl.concat([pl.DataFrame(frame, schema_overrides=texts) for frame in frames])

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns how far off the test was, by star, by what was known, and by how sure it was."""
        cut: Cut = rows["test"]
        asked, tastes = cut.asked, _tastes(model, cut)
        expected = tastes.expected(asked.customers, asked.products)
        chances = tastes.chances(asked.customers, asked.products)
        likely, surest = chances.argmax(axis=1) + 1, chances.max(axis=1)
        many = np.bincount(cut.known.customers, minlength=cut.people)[asked.customers]

        def told(rows: NDArray[np.bool_]) -> Json:
            error = expected[rows] - asked.stars[rows]
            return {
                "ratings": int(rows.sum()),
                "rmse": round(float(np.sqrt((error**2).mean())), 4),
                "right": round(float((likely == asked.stars)[rows].mean()), 4),
                "expected": round(float(expected[rows].mean()), 4),
                "sure": round(float(surest[rows].mean()), 4),
            }

        def parts(values: NDArray[Any], edges: tuple[float, ...]) -> Iterator[Json]:
            place = np.searchsorted(edges, values, side="right") - 1
            for i, least in enumerate(edges):
                if (place == i).any():
                    yield {"least": least, **told(place == i)}

        return {
            "by_star": list(parts(asked.stars, tuple(range(1, STARS + 1)))),
            "by_known": list(parts(many, _KNOWN)),
            "by_sureness": list(parts(surest, _SURE[:-1])),
        }

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many ratings there are to learn from and to score, and what was left out."""
        test, about = cast(Cut, rows["test"]), cast(About, rows[_ABOUT])
        known, asked = len(test.known.stars), len(test.asked.stars)
        share = asked / (known + asked)
        cut = self.common.today - timedelta(days=self.horizon_days)
        found = f"{known:,} before {cut}, the test cut, and {asked:,} ({share:.0%}) after it"
        fine = _FEW <= share <= _MANY
        verdict: Verdict = "yes" if fine else "look"
        remedy = "" if fine else "another horizon_days in the plan: about a fifth is usual"
        expected = f"{_FEW:.0%} to {_MANY:.0%} of the ratings in the test"
        left = (
            f"of {about.read:,} ratings {about.anonymous:,} without a customer left out, "
            f"{about.again:,} replaced by a later one, {about.parts:,} rounded to a whole star"
        )
        return (
            Standing("ratings", verdict, found, expected, remedy),
            Standing("ratings used", "yes", left, "one whole star for a customer and product"),
        )

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the ratings as if one company held them."""
        return {name: Cut.pooled([part[name] for part in rows]) for name in ("validation", "test")}


_FEW, _MANY = 0.05, 0.4  # of all ratings, in the test


def _tastes(model: Model, cut: Cut) -> Tastes:
    return cast(RatingModel, model).tastes(cut.known, cut.people)


def _best(
    tastes: Tastes, known: Ratings, people: int, sold: NDArray[np.bool_], top: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Yields customers, ranks and products of lists, of some customers after the other."""
    many = max(_CELLS // len(sold), 1)
    for first in range(0, people, many):
        who = np.arange(first, min(first + many, people))
        stars = np.where(sold, tastes.table(who), -np.inf)
        mine = slice(*np.searchsorted(known.customers, (first, first + many)))
        stars[known.customers[mine] - first, known.products[mine]] = -np.inf
        # Equal ones in the order of the catalogue.
        best = np.argsort(-stars, axis=1, kind="stable")[:, :top]
        row, rank = np.nonzero(np.isfinite(np.take_along_axis(stars, best, axis=1)))
        yield who[row], rank + 1, best[row, rank]
