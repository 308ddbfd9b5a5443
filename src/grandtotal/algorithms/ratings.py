"""How many stars a customer will give, of totals: biases and factors, and a chance for each star.

    expected stars = mean + b_u + b_i + p_u'q_i

Given the items, a customer's b and p are a small ridge regression that the retailer solves at
home, in which a rating counts less the more others followed it; given the customers, an item's are
one whose sums, of x x' and x e with x = (1, p), are totals of whole steps. A customer's own never
leave.

The chance of each star is a linear discriminant of the expected stars, their square, and how often
the customer and the product had each star: one total of counts, sums and products of these features
over ratings that the items were not fitted on. The most likely star is right more often than the
expected stars rounded.

Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", 2009,
https://doi.org/10.1109/MC.2009.263; penalty by how much is known: Zhou et al., "Large-scale
parallel collaborative filtering for the Netflix prize", 2008,
https://doi.org/10.1007/978-3-540-68880-8_32
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import one_thread

STARS = 5
FEATURES = 2 + 2 * STARS
_P_STEPS = 2.0**14  # of an entry of a customer's factors
_MOST_P = 8.0
_E_STEPS = 2.0**14  # of what is left of a rating
_X_STEPS = 2.0**12  # of a feature of the discriminant
_SQUARED = 2.0**20  # of a squared error
_LEAST = 0.1  # what an old rating counts at least
_CUSTOMER, _PRODUCT = 5.0, 10.0  # ratings that the mean distribution of stars is worth

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ratings:
    """Ratings of one retailer, those of a customer side by side.

    customers: (ratings,) numbers from 0 on, in order. products: places in the catalogue. stars: 1
    to 5. later: how many ratings of the customer came after this one.
    """

    customers: NDArray[np.intp]
    products: NDArray[np.intp]
    stars: NDArray[np.int64]
    later: NDArray[np.int64]

    @staticmethod
    def of(customers: Any, products: Any, stars: Any, times: Any) -> "Ratings":
        """Returns ratings in the order of customers and times."""
        columns = [np.asarray(each) for each in (customers, products, stars, times)]
        order = np.lexsort((np.arange(len(columns[0])), columns[3], columns[0]))
        who, what, given = (each[order].astype(np.int64) for each in columns[:3])
        last = np.searchsorted(who, who, side="right")
        return Ratings(who, what, given, last - np.arange(len(who)) - 1)

    @property
    def people(self) -> int:
        """How many customers there are, up to the last who rated."""
        return int(self.customers.max(initial=-1)) + 1


@dataclass(frozen=True)
class Cut:
    """known: what is learnt from. asked: what is to be said, of the same customers."""

    known: Ratings
    asked: Ratings

    @property
    def people(self) -> int:
        """How many customers there are."""
        return max(self.known.people, self.asked.people)

    @staticmethod
    def pooled(parts: Sequence["Cut"]) -> "Cut":
        """Returns the cuts of several retailers as one: for simulations."""
        first = np.cumsum([0, *(part.people for part in parts)])

        def moved(ratings: Ratings, by: int) -> Ratings:
            return replace(ratings, customers=ratings.customers + by)

        pairs = list(zip(parts, first.tolist(), strict=False))
        return Cut(
            *(
                Ratings(*(np.concatenate(each) for each in zip(*map(_columns, some), strict=True)))
                for some in (
                    [moved(part.known, by) for part, by in pairs],
                    [moved(part.asked, by) for part, by in pairs],
                )
            )
        )


def _columns(ratings: Ratings) -> tuple[NDArray[Any], ...]:
    return ratings.customers, ratings.products, ratings.stars, ratings.later


@dataclass(frozen=True)
class Home:
    """How a customer's bias and factors follow from the items'.

    bias: penalty of b, in ratings. l2: of p, for each rating. half_life: ratings after which one
    counts half, but never less than a tenth; 0 forgets nothing.
    """

    bias: float = 3.0
    l2: float = 0.12
    half_life: float = 0.0

    def weights(self, later: NDArray[np.int64]) -> Floats:
        """Returns what each rating counts."""
        if not self.half_life:
            return np.ones(len(later))
        return np.maximum(exp(-later * (log(np.array([2.0]))[0] / self.half_life)), _LEAST)

    def solve(self, known: Ratings, people: int, items: Floats, mean: float) -> Floats:
        """Returns (people, 1 + d), bias and factors; of who rated nothing 0."""
        x = items[known.products].copy()
        left = known.stars - mean - x[:, 0]
        x[:, 0] = 1.0
        found = _ridge(known.customers, people, x, left, self.weights(known.later), self)
        limit = np.abs(found[:, 1:]).max(axis=1, initial=0.0, keepdims=True)
        found[:, 1:] *= np.minimum(1.0, _MOST_P / np.maximum(limit, 1.0))
        return found


def _ridge(
    owner: NDArray[np.intp], many: int, x: Floats, y: Floats, weights: Floats, home: Home
) -> Floats:
    """Returns (many, width): each owner's regression of y on x, whose first column is 1."""
    width = x.shape[1]
    left, right = np.zeros((many, width, width)), np.zeros((many, width))
    starts = np.searchsorted(owner, np.arange(many + 1))
    with one_thread():
        for row, (first, last) in enumerate(pairwise(starts.tolist())):
            own = x[first:last]
            weighted = (own * weights[first:last, None]).T
            left[row], right[row] = weighted @ own, weighted @ y[first:last]
    return _solved(left, right, home)


def _solved(left: Floats, right: Floats, home: Home) -> Floats:
    counted = left[:, 0, 0].copy()
    every = np.arange(1, left.shape[1])
    left[:, 0, 0] += home.bias
    left[:, every, every] += home.l2 * (1.0 + counted[:, None])
    with one_thread():
        return np.asarray(np.linalg.solve(left, right[..., None])[..., 0], np.float64)


# --- what is asked ---


@dataclass(frozen=True)
class RatingCounts:
    """How many customers gave each product each star."""

    name: ClassVar[str] = "rating-counts"
    bound: ClassVar[Stated] = None

    products: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (products, 5)."""
        return {"counts": Field((self.products, STARS))}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts."""
        known: Ratings = rows[self.split].known
        cells = known.products * STARS + known.stars - 1
        counts = np.bincount(cells, minlength=self.products * STARS)
        return {"counts": counts.reshape(self.products, STARS)}


@dataclass(frozen=True)
class RatingMoments:
    """For each product, sums over its ratings of x x' and x e; x = (1, p), e = r - mean - b.

    The broadcast holds "items" (products, 1 + d) and "mean". bias, l2, half_life: see Home.
    """

    name: ClassVar[str] = "rating-moments"
    bound: ClassVar[Stated] = None

    products: int
    split: str
    bias: float
    l2: float
    half_life: float

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns moments (products, width (width + 1) / 2) and sums (products, width)."""
        width = broadcast["items"].shape[1]
        return {
            "moments": Field((self.products, width * (width + 1) // 2), int(_P_STEPS**2)),
            "sums": Field((self.products, width), int(_P_STEPS * _E_STEPS)),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums, of integers that float64 holds."""
        cut: Cut = rows[self.split]
        home, mean = Home(self.bias, self.l2, self.half_life), float(broadcast["mean"])
        solved = home.solve(cut.known, cut.people, broadcast["items"].astype(np.float64), mean)
        mine = solved[cut.known.customers]
        left = np.rint((cut.known.stars - mean - mine[:, 0]) * _E_STEPS)
        x = np.rint(mine * _P_STEPS)
        x[:, 0] = _P_STEPS
        return self._sums(cut.known.products, x, left)

    def _sums(self, products: NDArray[np.intp], x: Floats, left: Floats) -> Arrays:
        order = np.argsort(products, kind="stable")
        starts = np.searchsorted(products[order], np.arange(self.products + 1))
        lower = np.tril_indices(x.shape[1])
        moments = np.zeros((self.products, len(lower[0])), np.int64)
        sums = np.zeros((self.products, x.shape[1]), np.int64)
        with one_thread():
            for row, (first, last) in enumerate(pairwise(starts.tolist())):
                own = x[order[first:last]]
                moments[row] = (own.T @ own)[lower].astype(np.int64)
                sums[row] = (own.T @ left[order[first:last]]).astype(np.int64)
        return {"moments": moments, "sums": sums}


@dataclass(frozen=True)
class RatingClasses:
    """Of the ratings asked for: how many of each star, sums of features, their products, errors.

    The broadcast holds the arrays of a RatingModel.
    """

    name: ClassVar[str] = "rating-classes"
    bound: ClassVar[Stated] = None

    products: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (5,), sums (5, FEATURES), gram (FEATURES, FEATURES) and squared error."""
        return {
            "counts": Field((STARS,)),
            "sums": Field((STARS, FEATURES), int(_X_STEPS)),
            "gram": Field((FEATURES, FEATURES), int(_X_STEPS**2), symmetric=True),
            "squared": Field((), int(_SQUARED)),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; a rating's features are rounded before they are added."""
        model, cut = RatingModel.build(broadcast, {}), rows[self.split]
        told = model.features(cut)
        x = np.rint(told * _X_STEPS).astype(np.int64)
        which = cut.asked.stars - 1
        sums = np.zeros((STARS, FEATURES), np.int64)
        np.add.at(sums, which, x)
        error = np.rint((clipped(told[:, 0]) - cut.asked.stars) ** 2 * _SQUARED)
        return {
            "counts": np.bincount(which, minlength=STARS),
            "sums": sums,
            "gram": x.T @ x,
            "squared": np.asarray(error.astype(np.int64).sum()),
        }


def clipped(stars: Floats) -> Floats:
    """Returns expected stars inside the scale."""
    return np.clip(stars, 1.0, float(STARS))


# --- the model ---


@dataclass(frozen=True)
class RatingModel:
    """items: (products, 1 + d) bias and factors. counts: (products, 5) stars. mean: of all.

    classes: (5, 1 + FEATURES) constant and weights of each star's discriminant; zeros before.
    """

    items: Floats
    counts: Floats
    mean: float
    home: Home
    classes: Floats
    meta: Json = field(default_factory=dict)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; nothing of a customer is in them."""
        home = np.array([self.home.bias, self.home.l2, self.home.half_life])
        return {
            "items": self.items,
            "counts": self.counts,
            "mean": np.array(self.mean),
            "home": home,
            "classes": self.classes,
        }

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "RatingModel":
        """Returns the model that `arrays` and `meta` describe."""
        home = Home(*arrays["home"].tolist())
        mean = float(arrays["mean"])
        return RatingModel(arrays["items"], arrays["counts"], mean, home, arrays["classes"], meta)

    def expected(self, cut: Cut) -> Floats:
        """Returns (asked,) the expected stars, inside the scale."""
        return clipped(self._expected(cut))

    def probabilities(self, cut: Cut) -> Floats:
        """Returns (asked, 5) the chance of each star."""
        scores = self.classes[:, 0] + self.features(cut) @ self.classes[:, 1:].T
        odds = exp(scores - scores.max(axis=1, keepdims=True))
        chances: Floats = odds / odds.sum(axis=1, keepdims=True)
        return chances

    def features(self, cut: Cut) -> Floats:
        """Returns (asked, FEATURES): expected stars, their square, logs of shares of each star."""
        stars = self._expected(cut)
        usual = (self.counts.sum(axis=0) + 1.0) / (self.counts.sum() + STARS)
        own = np.zeros((cut.people, STARS))
        weights = self.home.weights(cut.known.later)
        np.add.at(own, (cut.known.customers, cut.known.stars - 1), weights)
        theirs = _shares(own, usual, _CUSTOMER)[cut.asked.customers]
        its = _shares(self.counts, usual, _PRODUCT)[cut.asked.products]
        return np.concatenate([stars[:, None], stars[:, None] ** 2, log(theirs), log(its)], axis=1)

    def _expected(self, cut: Cut) -> Floats:
        people = self.home.solve(cut.known, cut.people, self.items, self.mean)
        x, q = people[cut.asked.customers], self.items[cut.asked.products]
        stars: Floats = self.mean + x[:, 0] + q[:, 0] + (x[:, 1:] * q[:, 1:]).sum(axis=1)
        return stars


def _shares(counts: Floats, usual: Floats, worth: float) -> Floats:
    shares: Floats = (counts + worth * usual) / (counts.sum(axis=1, keepdims=True) + worth)
    return shares


@dataclass(frozen=True)
class RatingFactors:
    """Biases and factors by alternating least squares, one round an epoch.

    factors: d; 0 has biases alone. bias, l2, half_life: see Home; items have the same penalties.
    """

    factors: int = 32
    bias: float = 3.0
    l2: float = 0.12
    half_life: float = 0.0
    epochs: int = 10
    seed: int = 7

    def fit(self, totals: Totals, products: int, split: str) -> RatingModel:
        """Returns the model of what is known at the split; it gives no chances yet."""
        counts = totals.total(RatingCounts(products, split))["counts"].astype(np.float64)
        stars = counts.sum(axis=0) @ np.arange(1.0, STARS + 1)
        mean = float(stars / max(counts.sum(), 1.0))
        home = Home(self.bias, self.l2, self.half_life)
        query = RatingMoments(products, split, self.bias, self.l2, self.half_life)
        draw = np.random.Generator(np.random.Philox(self.seed))
        items = (draw.random((products, 1 + self.factors)) - 0.5) * 0.35
        items[:, 0] = 0.0
        for _ in range(self.epochs):
            found = totals.total(query, {"items": items, "mean": np.array(mean)})
            items = _solved(_square(found["moments"], 1 + self.factors), found["sums"], home)
        return RatingModel(items, counts, mean, home, np.zeros((STARS, 1 + FEATURES)), self.meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "rating-factors", **vars(self)}


def _square(moments: Floats, width: int) -> Floats:
    squares = np.zeros((len(moments), width, width))
    rows, columns = np.tril_indices(width)
    squares[:, rows, columns] = squares[:, columns, rows] = moments
    return squares


def with_chances(model: RatingModel, classes: Arrays) -> RatingModel:
    """Returns the model with the linear discriminant of the totals of RatingClasses.

    classes: of ratings that the items were not fitted on, or the chances are too sure.
    """
    counts, sums = classes["counts"].astype(np.float64), classes["sums"]
    means = sums / np.maximum(counts, 1.0)[:, None]
    many = max(counts.sum(), 1.0)
    within = (classes["gram"] - (means.T * counts) @ means) / many
    within[np.diag_indices(FEATURES)] *= 1.0 + 1e-3
    within[np.diag_indices(FEATURES)] += 1e-6
    with one_thread():
        weights = np.linalg.solve(within, means.T).T
    prior = log((counts + 1.0) / (many + STARS))
    constant = prior - 0.5 * (weights * means).sum(axis=1)
    return replace(model, classes=np.concatenate([constant[:, None], weights], axis=1))


def chosen(
    candidates: Sequence[RatingFactors], totals: Totals, products: int
) -> tuple[RatingModel, list[Json]]:
    """Returns the candidate with the least squared error on the validation, with chances of it.

    It is fitted up to the test; beside it what each candidate scored.
    """
    tried, told = [], []
    for candidate in candidates:
        model = candidate.fit(totals, products, "validation")
        found = totals.total(RatingClasses(products, "validation"), model.arrays)
        many = max(float(found["counts"].sum()), 1.0)
        tried.append({**model.meta, "rmse": float(np.sqrt(found["squared"] / many))})
        told.append(found)
    best = min(range(len(tried)), key=lambda i: tried[i]["rmse"])
    return with_chances(candidates[best].fit(totals, products, "test"), told[best]), tried
