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

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.ratings import (
    EACH,
    STARS,
    Cut,
    Floats,
    Places,
    RatingCounts,
    Ratings,
    clipped,
    shares,
    usual_shares,
)
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals, once
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import one_thread

FEATURES = 2 + 2 * STARS
_P_STEPS = 2.0**14  # of an entry of a customer's factors
_MOST_P = 8.0
_E_STEPS = 2.0**14  # of what is left of a rating
_X_STEPS = 2.0**12  # of a feature of the discriminant
_LEAST = 0.1  # what an old rating counts at least
_CUSTOMER, _PRODUCT = 5.0, 10.0  # ratings that the mean distribution of stars is worth
_SOLVED = 4096  # customers or products whose equations are solved at once: bounds the memory


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
    starts = np.searchsorted(owner, np.arange(many + 1)).tolist()
    found = np.zeros((many, x.shape[1]))
    for first in range(0, many, _SOLVED):
        ends = starts[first : first + _SOLVED + 1]
        found[first : first + _SOLVED] = _ridge_of(ends, x, y, weights, home)
    return found


def _ridge_of(ends: list[int], x: Floats, y: Floats, weights: Floats, home: Home) -> Floats:
    many, width = len(ends) - 1, x.shape[1]
    left, right = np.zeros((many, width, width)), np.zeros((many, width))
    with one_thread():
        for row, (first, last) in enumerate(pairwise(ends)):
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
    """Of the ratings asked for: how many of each star, sums of features, and of their products.

    The broadcast holds the arrays of a FactorModel.
    """

    name: ClassVar[str] = "rating-classes"
    bound: ClassVar[Stated] = None

    products: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns counts (5,), sums (5, FEATURES) and gram (FEATURES, FEATURES)."""
        return {
            "counts": Field((STARS,)),
            "sums": Field((STARS, FEATURES), int(_X_STEPS)),
            "gram": Field((FEATURES, FEATURES), int(_X_STEPS**2), symmetric=True),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; a rating's features are rounded before they are added."""
        model, cut = FactorModel.build(broadcast, {}), rows[self.split]
        asked: Ratings = cut.asked
        told = model.tastes(cut.known, cut.people).features(asked.customers, asked.products)
        x = np.rint(told * _X_STEPS).astype(np.int64)
        which = asked.stars - 1
        sums = np.zeros((STARS, FEATURES), np.int64)
        np.add.at(sums, which, x)
        return {
            "counts": np.bincount(which, minlength=STARS),
            "sums": sums,
            "gram": x.T @ x,
        }


# --- the model ---


@dataclass(frozen=True)
class FactorModel:
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
    def build(arrays: Arrays, meta: Json) -> "FactorModel":
        """Returns the model that `arrays` and `meta` describe."""
        home = Home(*arrays["home"].tolist())
        mean = float(arrays["mean"])
        return FactorModel(arrays["items"], arrays["counts"], mean, home, arrays["classes"], meta)

    def tastes(self, known: Ratings, people: int) -> "FactorTastes":
        """Returns every customer's bias and factors, and how often it gave each star."""
        solved = self.home.solve(known, people, self.items, self.mean)
        own = np.zeros((people, STARS))
        np.add.at(own, (known.customers, known.stars - 1), self.home.weights(known.later))
        return FactorTastes(self, solved, own)


@dataclass(frozen=True)
class FactorTastes:
    """customers: (people, 1 + d) bias and factors. own: (people, 5) how often each star."""

    model: FactorModel
    customers: Floats
    own: Floats

    def expected(self, customers: Places, products: Places) -> Floats:
        """Returns the expected stars of each pair, inside the scale."""
        return clipped(self._expected(customers, products))

    def chances(self, customers: Places, products: Places) -> Floats:
        """Returns (pairs, 5) the chance of each star."""
        classes = self.model.classes
        scores = classes[:, 0] + self.features(customers, products) @ classes[:, 1:].T
        odds = exp(scores - scores.max(axis=1, keepdims=True))
        found: Floats = odds / odds.sum(axis=1, keepdims=True)
        return found

    def table(self, customers: Places) -> Floats:
        """Returns (customers, products) the expected stars, inside the scale."""
        x, q = self.customers[customers], self.model.items
        with one_thread():
            stars = self.model.mean + x[:, :1] + q[:, 0] + x[:, 1:] @ q[:, 1:].T
        return clipped(stars)

    def features(self, customers: Places, products: Places) -> Floats:
        """Returns (pairs, FEATURES): expected stars, their square, logs of shares of each star."""
        stars = self._expected(customers, products)
        usual = usual_shares(self.model.counts)
        theirs = shares(self.own, usual, _CUSTOMER)[customers]
        its = shares(self.model.counts, usual, _PRODUCT)[products]
        return np.concatenate([stars[:, None], stars[:, None] ** 2, log(theirs), log(its)], axis=1)

    def _expected(self, customers: Places, products: Places) -> Floats:
        x, q = self.customers[customers], self.model.items[products]
        stars: Floats = self.model.mean + x[:, 0] + q[:, 0] + (x[:, 1:] * q[:, 1:]).sum(axis=1)
        return stars


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

    def fit(self, totals: Totals, products: int, split: str) -> FactorModel:
        """Returns the model of what is known at the split.

        That of the validation gives no chances: they are made of the ratings that it is judged by,
        for a model that did not see these.
        """
        model = self.biases_and_factors(totals, products, split)
        if split == "validation":
            return model
        before = self.biases_and_factors(totals, products, "validation")
        classes = totals.total(RatingClasses(products, "validation"), before.arrays)
        return with_chances(model, classes)

    def biases_and_factors(self, totals: Totals, products: int, split: str) -> FactorModel:
        """Returns the model without chances. A choice asks for the same one more than once."""
        return once(totals, (self, products, split), lambda: self._fit(totals, products, split))

    def _fit(self, totals: Totals, products: int, split: str) -> FactorModel:
        counts = totals.total(RatingCounts(products, split))["counts"].astype(np.float64)
        mean = float(counts.sum(axis=0) @ EACH / max(counts.sum(), 1.0))
        home = Home(self.bias, self.l2, self.half_life)
        query = RatingMoments(products, split, self.bias, self.l2, self.half_life)
        draw = np.random.Generator(np.random.Philox(self.seed))
        items = (draw.random((products, 1 + self.factors)) - 0.5) * 0.35
        items[:, 0] = 0.0
        for _ in range(self.epochs):
            found = totals.total(query, {"items": items, "mean": np.array(mean)})
            items = _solved(_square(found["moments"], 1 + self.factors), found["sums"], home)
        return FactorModel(items, counts, mean, home, np.zeros((STARS, 1 + FEATURES)), self.meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "factors", **vars(self)}


def _square(moments: Floats, width: int) -> Floats:
    squares = np.zeros((len(moments), width, width))
    rows, columns = np.tril_indices(width)
    squares[:, rows, columns] = squares[:, columns, rows] = moments
    return squares


def with_chances(model: FactorModel, classes: Arrays) -> FactorModel:
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
