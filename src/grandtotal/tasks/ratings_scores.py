"""What each customer's ratings after a cut say of a model of stars."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.ratings import Floats, Ratings, Tastes
from grandtotal.tasks.scores import Metric, UnitScores

TOP = 10
_LEAST = 1e-6  # chance: a star that was taken to be impossible costs no more than this
METRICS = (
    Metric("stars_rmse", False, "RMSE: root of the mean squared error of the expected stars", True),
    Metric("stars_right", True, "share of ratings whose star was the likeliest one"),
    Metric("stars_log_loss", False, "mean -log of the chance of the star given; a guess has 1.609"),
    Metric("stars_ndcg", True, f"NDCG@{TOP} of the customer's rated products, gain 2^stars - 1"),
    Metric("stars_random", True, "NDCG of a random order of the same products"),
    Metric(
        "stars_lift",
        True,
        "sum (NDCG - random) / sum (1 - random); the best has 1",
    ),
)


def star_scores(tastes: Tastes, asked: Ratings) -> UnitScores:
    """Returns the scores of every customer with a rating asked for.

    Orders are scored where a customer has two ratings or more: a single one is always in order.
    """
    who, unit = np.unique(asked.customers, return_inverse=True)
    expected = tastes.expected(asked.customers, asked.products)
    chances = tastes.chances(asked.customers, asked.products)
    given = np.maximum(chances[np.arange(len(unit)), asked.stars - 1], _LEAST)

    def summed(values: NDArray[Any]) -> Floats:
        return np.bincount(unit, values, minlength=len(who)).astype(np.float64)

    rated = summed(np.ones(len(unit)))
    several = (rated > 1).astype(np.float64)
    found = ndcg(unit, expected, asked.stars) * several
    random = ndcg(unit, np.zeros(len(unit)), asked.stars) * several
    right = chances.argmax(axis=1) + 1 == asked.stars
    return UnitScores.of(
        METRICS,
        [
            summed((expected - asked.stars) ** 2),
            summed(right),
            summed(-log(given)),
            found,
            random,
            found - random,
        ],
        [rated, rated, rated, several, several, several - random],
    )


def ndcg(unit: NDArray[np.intp], scores: Floats, stars: NDArray[np.int64], k: int = TOP) -> Floats:
    """Returns (units,) the NDCG@k of each unit's products in the order of their scores.

    unit: (ratings,) from 0 on, none left out. The gain of a product is 2^stars - 1. Among equal
    scores it is the mean over all orders, so that one score for everything is a random order.
    """
    gains = (2.0**stars - 1.0).astype(np.float64)
    best = _dcg(unit, gains, gains, k)
    return np.divide(_dcg(unit, scores, gains, k), best, out=np.ones_like(best), where=best > 0)


def _dcg(unit: NDArray[np.intp], scores: Floats, gains: Floats, k: int) -> Floats:
    order = np.lexsort((-scores, unit))
    mine, ranked = unit[order], scores[order]
    place = np.arange(len(order)) - np.searchsorted(mine, mine)
    discount = np.where(place < k, math.log(2.0) / log(place.astype(np.float64) + 2.0), 0.0)
    new = np.ones(len(order), np.bool_)
    new[1:] = (mine[1:] != mine[:-1]) | (ranked[1:] != ranked[:-1])
    tied = np.cumsum(new) - 1
    mean = np.bincount(tied, discount) / np.maximum(np.bincount(tied), 1)
    units = int(unit.max(initial=-1)) + 1
    return np.bincount(mine, gains[order] * mean[tied], minlength=units).astype(np.float64)
