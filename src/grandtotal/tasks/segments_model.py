"""Segments of customers: where their middles are, what they are called, what they buy next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.mixture import Mixture
from grandtotal.algorithms.points import STEPS, Box, Points, nearest, squared_distances
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.traits import FEATURES

Values = NDArray[np.float64]
MODELS = ("kmeans", "mixture")
HALVES = "halves"
_TELLING = 0.5  # spreads between the segments' middles: what is nearer to all is not worth a word
_WORDS = 3


@dataclass(frozen=True)
class SegmentModel:
    """K segments in a box of features; the first is the one whose customers spend most next.

    meta: "model", "features", "names" (K,).
    centres: (K, features) in steps of the box; sizes: (K,) customers.
    shares (K,), variances (K, features): of a mixture; empty otherwise.
    next_purchases, next_spend: (K,) means of what followed, the latter of log(1 + spend); 0 before
        anybody was asked.
    """

    meta: Json
    box: Box
    centres: Points
    sizes: Values
    shares: Values
    variances: Values
    next_purchases: Values
    next_spend: Values

    @staticmethod
    def of(
        kind: str,
        features: Sequence[str],
        box: Box,
        centres: Points,
        sizes: Values,
        mixture: Mixture | None = None,
    ) -> SegmentModel:
        """Returns the segments before anybody was asked what their customers do next."""
        none, unknown = np.empty(0), np.zeros(len(centres))
        shares = none if mixture is None else mixture.shares
        variances = none if mixture is None else mixture.variances
        meta = {"model": kind, "features": list(features), "names": []}
        return SegmentModel(meta, box, centres, sizes, shares, variances, unknown, unknown)

    @staticmethod
    def delivered(arrays: Arrays, meta: Json) -> SegmentModel:
        """Returns the model that travelled."""
        rest = {name: values for name, values in arrays.items() if name not in ("low", "high")}
        return SegmentModel(meta, Box.of(arrays), **rest)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        parts = ("centres", "sizes", "shares", "variances", "next_purchases", "next_spend")
        return {**self.box.arrays, **{name: getattr(self, name) for name in parts}}

    @property
    def broadcast(self) -> Arrays:
        """What a question about the segments' customers needs to know."""
        parts = {name: getattr(self, name) for name in ("centres", "shares", "variances")}
        return {**self.box.arrays, **parts}

    def points(self, columns: Columns, prefix: str = "") -> Points:
        """Returns the customers in the box; prefix: LATER, or nothing."""
        return self.box.points(columns, [prefix + name for name in self.meta["features"]])

    def measured(self, values: Values) -> Points:
        """Returns features (any, features) in whole steps of their widths: where distances between
        customers and middles are measured, the same for segments made in any box."""
        widths = np.array([FEATURES[name].width for name in self.meta["features"]])
        found: Points = np.rint(np.nan_to_num(values) / widths * STEPS)
        return found

    def described(self, columns: Columns, prefix: str = "") -> Described:
        """Returns the customers with their segments; prefix: LATER, or nothing."""
        names_ = [prefix + name for name in self.meta["features"]]
        values = np.stack([columns.number(name) for name in names_], axis=1)
        segment = self.segment(self.box.points_of(values))
        return Described(
            segment, self.measured(values), self.measured(self.box.values(self.centres))
        )

    def memberships(self, points: Points) -> Values:
        """Returns the customers' shares in segments, (customers, K): 0 or 1 unless a mixture."""
        if self.shares.size:
            mixture = Mixture(self.shares, self.centres / STEPS, self.variances)
            return mixture.memberships(points)[0]
        found: Values = np.eye(len(self.centres))[nearest(points, self.centres)]
        return found

    def segment(self, points: Points) -> NDArray[np.intp]:
        """Returns each customer's segment, (customers,)."""
        if self.shares.size:
            found: NDArray[np.intp] = self.memberships(points).argmax(axis=1)
            return found
        return nearest(points, self.centres)

    def without_few(self, share: float) -> SegmentModel:
        """Returns the segments that have at least this share of the customers, one at least."""
        least = min(share * self.sizes.sum(), self.sizes.max())
        kept = self.sizes >= least
        return replace(self, centres=self.centres[kept], sizes=self.sizes[kept])

    @property
    def middle(self) -> Points:
        """The mean of all customers that the segments were made of, (features,)."""
        sizes = np.maximum(self.sizes, 0.0)
        weights = sizes / sizes.sum() if sizes.sum() > 0 else np.full(len(sizes), 1 / len(sizes))
        found: Points = (weights[:, None] * self.centres).sum(axis=0)
        return found

    def known(self, purchases: Values, spend: Values) -> SegmentModel:
        """Returns the model with what its customers do next, in order of spend, and with names."""
        order = np.lexsort((-self.sizes, -spend))
        parts = ("centres", "sizes", "shares", "variances")
        ordered: dict[str, Any] = {name: _ordered(getattr(self, name), order) for name in parts}
        found = replace(self, **ordered, next_purchases=purchases[order], next_spend=spend[order])
        return replace(found, meta={**self.meta, "names": names(found)})


def _ordered(values: Values, order: NDArray[np.intp]) -> Values:
    return values[order] if len(values) else values


@dataclass(frozen=True)
class Described:
    """Customers as scores see them. segment: (customers,); places: (customers, features) and
    middles: (K, features), in whole steps of the features' widths."""

    segment: NDArray[np.intp]
    places: Points
    middles: Points

    @property
    def silhouettes(self) -> Values:
        """How clearly each customer falls into its segment, (customers,)."""
        return silhouettes(self.places, self.segment, self.middles)

    @property
    def inertia(self) -> Values:
        """The squared distance of each to the middle of its segment, (customers,), in widths."""
        apart = squared_distances(self.places, self.middles)
        found: Values = apart[np.arange(len(apart)), self.segment] / STEPS**2
        return found


def silhouettes(points: Points, segment: NDArray[np.intp], centres: Points) -> Values:
    """Returns (b - a) / max(a, b) of each customer, (customers,), in [-1, 1].

    a: the distance to the middle of its own segment, b: to the nearest other one. 0 where they are
    equally near, and where there is one segment alone. Hruschka et al., "Evolving clusters in
    gene-expression data", 2006: the simplified silhouette, which needs no pairs of customers.
    """
    if len(centres) < 2:
        return np.zeros(len(points))
    distances = np.sqrt(squared_distances(points, centres))
    rows = np.arange(len(points))
    own = distances[rows, segment]
    distances[rows, segment] = np.inf
    other = distances.min(axis=1)
    most = np.maximum(own, other)
    found: Values = np.divide(other - own, most, out=np.zeros(len(points)), where=most > 0)
    return found


def names(model: SegmentModel) -> list[str]:
    """Returns a name of each segment: in what it differs most from all customers, in words.

    The same segments have the same names whoever computes them; equal ones are told by a number.
    """
    spread = model.centres.std(axis=0)
    apart = (model.centres - model.middle) / np.where(spread > 0, spread, 1.0)
    found: list[str] = []
    for differences in apart:
        name = _described(differences, model.meta["features"])
        like = sum(other.split(" (")[0] == name for other in found)
        found.append(f"{name} ({like + 1})" if like else name)
    return found


def _described(differences: Values, features: Sequence[str]) -> str:
    order = np.argsort(-np.abs(differences), kind="stable")[:_WORDS]
    telling = [int(i) for i in order if abs(differences[i]) >= _TELLING]
    words = [
        FEATURES[features[i]].high if differences[i] > 0 else FEATURES[features[i]].low
        for i in telling
    ]
    return ", ".join(words) or "like most"


def adjusted_rand(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Returns how far two partitions of the same customers agree: 1 fully, 0 as by chance.

    Hubert and Arabie, "Comparing partitions", 1985, https://doi.org/10.1007/BF01908075
    """

    def pairs(counts: NDArray[np.integer]) -> float:
        return float((counts * (counts - 1) // 2).sum())

    both = np.zeros((int(one.max(initial=0)) + 1, int(other.max(initial=0)) + 1), np.int64)
    np.add.at(both, (one, other), 1)
    joint, left, right = pairs(both), pairs(both.sum(axis=1)), pairs(both.sum(axis=0))
    by_chance = left * right / max(pairs(np.array([len(one)])), 1.0)
    most = (left + right) / 2
    return (joint - by_chance) / (most - by_chance) if most > by_chance else 1.0
