"""Who gave which product how many stars, and what every model of stars is.

A model is two things: arrays that travel, and what it reads out of a retailer's own ratings at
home, the customers' tastes. These say for any customer and product how many stars to expect and how
likely each is; nothing of a customer is in the arrays.

The simplest model is here: what other customers gave the product. Its expected stars are the mean
of the product's ratings, drawn to that of all where there are few; its chances are their shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

STARS = 5
EACH = np.arange(1.0, STARS + 1)  # the stars

Floats = NDArray[np.float64]
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
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


# --- what a model is ---


class Tastes(Protocol):
    """What a model knows of a retailer's customers, whose numbers are those of the ratings read."""

    def expected(self, customers: Places, products: Places) -> Floats:
        """Returns the expected stars of each pair, 1 to 5."""
        ...

    def chances(self, customers: Places, products: Places) -> Floats:
        """Returns (pairs, 5) the chance of each star."""
        ...

    def table(self, customers: Places) -> Floats:
        """Returns (customers, products) the expected stars of all products."""
        ...


class RatingModel(Protocol):
    """Arrays that travel, and how tastes are read at home."""

    @property
    def arrays(self) -> Arrays: ...

    @property
    def meta(self) -> Json: ...

    def tastes(self, known: Ratings, people: int) -> Tastes:
        """Returns what the model makes of the ratings of customers 0 to people - 1."""
        ...


class RatingAlgorithm(Protocol):
    """Hyper-parameters, and how a model of what was known at a cut is made of totals."""

    def fit(self, totals: Totals, products: int, split: str) -> RatingModel:
        """Returns the model. That of the validation need not give chances."""
        ...


def clipped(stars: Floats) -> Floats:
    """Returns expected stars inside the scale."""
    return np.clip(stars, 1.0, float(STARS))


def shares(counts: Floats, usual: Floats, worth: float) -> Floats:
    """Returns (rows, 5) the share of each star; the usual ones count as so many ratings."""
    found: Floats = (counts + worth * usual) / (counts.sum(axis=1, keepdims=True) + worth)
    return found


def usual_shares(counts: Floats) -> Floats:
    """Returns (5,) the share of each star over all products."""
    found: Floats = (counts.sum(axis=0) + 1.0) / (counts.sum() + STARS)
    return found


# --- the mean of a product ---


@dataclass(frozen=True)
class MeanModel:
    """counts: (products, 5) how many gave each star. worth: ratings that the mean of all counts as.

    Every customer is told the same.
    """

    counts: Floats
    worth: Floats
    meta: Json = field(default_factory=dict)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {"counts": self.counts, "worth": self.worth}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "MeanModel":
        """Returns the model that `arrays` and `meta` describe."""
        return MeanModel(arrays["counts"], arrays["worth"], meta)

    def tastes(self, known: Ratings, people: int) -> "OneTaste":  # noqa: ARG002
        """Returns the same for all customers."""
        return OneTaste(shares(self.counts, usual_shares(self.counts), float(self.worth)))


@dataclass(frozen=True)
class OneTaste:
    """shares: (products, 5) the chance of each star, whoever asks."""

    shares: Floats

    def expected(self, customers: Places, products: Places) -> Floats:  # noqa: ARG002
        """Returns the mean of each product."""
        found: Floats = self._means[products]
        return found

    def chances(self, customers: Places, products: Places) -> Floats:  # noqa: ARG002
        """Returns the shares of each product's stars."""
        found: Floats = self.shares[products]
        return found

    def table(self, customers: Places) -> Floats:
        """Returns the means once for each customer."""
        return np.tile(self._means, (len(customers), 1))

    @property
    def _means(self) -> Floats:
        found: Floats = (self.shares * EACH).sum(axis=1)
        return found


@dataclass(frozen=True)
class ItemMeans:
    """The mean of each product. worth: ratings that the mean of all products counts as."""

    worth: float = 5.0

    def fit(self, totals: Totals, products: int, split: str) -> MeanModel:
        """Returns the model. One round."""
        counts = totals.total(RatingCounts(products, split))["counts"].astype(np.float64)
        return MeanModel(counts, np.array(self.worth), self.meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "item-mean", **vars(self)}
