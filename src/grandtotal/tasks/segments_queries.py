"""What the segments task asks of customers in given segments."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.points import Box, apart
from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.segments_model import SegmentModel
from grandtotal.tasks.traits import LATER, NEXT_PURCHASES, NEXT_SPEND

_STEPS = 2**20
LARGEST = 2.0  # norm of a customer under epsilon, once purchases and spend are divided by _USUAL
_USUAL = (10.0, 10.0)


def model_of(kind: str, features: str, broadcast: Arrays) -> SegmentModel:
    """Returns the segments in a broadcast, whose sizes and profiles do not matter."""
    unknown = np.zeros(len(broadcast["centres"]))
    parts = {name: broadcast[name] for name in ("centres", "shares", "variances")}
    rest = {"sizes": unknown, "next_purchases": unknown, "next_spend": unknown}
    meta = {"model": kind, "features": list(apart(features)), "names": []}
    return SegmentModel(meta, Box.of(broadcast), **parts, **rest)


@dataclass(frozen=True)
class SegmentScores:
    """The sum of the customers' silhouettes one horizon after the cut, for segments of the cut.

    model: "kmeans" or "mixture"; the broadcast holds the segments.
    """

    name: ClassVar[str] = "segment-scores"
    bound: ClassVar[Stated] = None

    model: str
    features: str  # joined
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns the sum of silhouettes, and how many customers there are."""
        return {"silhouette": Field((), _STEPS), "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums."""
        model = model_of(self.model, self.features, broadcast)
        found = model.described(rows[self.split], LATER).silhouettes
        steps = np.rint(found * _STEPS).astype(np.int64)
        return {"silhouette": np.asarray(steps.sum()), "customers": np.asarray(len(found))}


@dataclass(frozen=True)
class SegmentProfiles:
    """How many customers each segment has, and what they bought and spent after the cut.

    largest: norm to which a customer's 1, purchases and log(1 + spend), the latter two divided by
        _USUAL, are cut; 0 is not at all. most: 1 where a customer, who is one row, is to be hidden.
    """

    name: ClassVar[str] = "segment-profiles"

    model: str
    features: str  # joined
    split: str
    largest: float = 0.0
    most: int = 0

    @property
    def bound(self) -> Stated:
        """A customer leaves one segment for another."""
        return bound_by_group(self.largest, "customer", signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns sums (segments, 3): customers, purchases, log(1 + spend), the latter two in
        units of _USUAL."""
        scale = scale_of(self.largest) if self.largest else _STEPS
        return {"sums": Field((len(broadcast["centres"]), 3), scale)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums."""
        columns: Columns = rows[self.split]
        counted = columns.counted(self.most)
        model = model_of(self.model, self.features, broadcast)
        segment = model.segment(model.points(columns)[counted])
        next_ = [columns.number(name)[counted] for name in (NEXT_PURCHASES, NEXT_SPEND)]
        told = np.stack([np.ones(len(segment)), *next_], axis=1) / (1.0, *_USUAL)
        shape = (len(broadcast["centres"]), 3)
        if self.largest:
            cells = 3 * segment[:, None] + np.arange(3)
            starts = np.arange(0, 3 * len(segment) + 1, 3)
            rows_ = csr_array((told.ravel(), cells.ravel(), starts), (len(segment), 3 * shape[0]))
            return {"sums": sum_of_clipped(rows_, self.largest).reshape(shape)}
        sums = np.zeros(shape, np.int64)
        np.add.at(sums, segment, np.rint(told * _STEPS).astype(np.int64))
        return {"sums": sums}


def profiled(model: SegmentModel, sums: Arrays) -> SegmentModel:
    """Returns the model with the means that `SegmentProfiles` tells of; 0 of empty segments."""
    customers, purchases, spend = np.asarray(sums["sums"]).T
    held = np.maximum(customers, 1.0)
    means = (
        np.maximum(each / held, 0.0) * usual
        for each, usual in zip((purchases, spend), _USUAL, strict=True)
    )
    return model.known(*means)
