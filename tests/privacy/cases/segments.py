"""Segments: a customer whose habits become any others, in rows of any other customers."""

import numpy as np
from hypothesis import strategies as st

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.kmeans import CellCounts, LloydSums
from grandtotal.algorithms.points import STEPS, FeatureSums
from grandtotal.tasks.segments_queries import SegmentProfiles
from grandtotal.tasks.traits import NEXT_PURCHASES, NEXT_SPEND

FEATURES = ("recency", "spend")
JOINED = ",".join(FEATURES)
BOX = {"low": np.zeros(2), "high": np.ones(2)}
CENTRES = np.array([[0.2, 0.5], [0.8, 0.5]]) * STEPS // 1
VALUES = st.sampled_from([np.nan, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, -1e9, 1.7e308])
NEXT = st.sampled_from([0.0, 0.1, 1.0, 10.0, 14.0, 1e100])


def both(draw):
    """Returns the customers before and after one of them changed, was added or removed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    others = rng.random((draw(st.sampled_from([0, 20])), 4))

    def with_customer():
        own = [[draw(VALUES), draw(VALUES), draw(NEXT), draw(NEXT)]][: draw(st.integers(0, 1))]
        # A retailer whose rows name a customer twice counts it once all the same.
        rows = np.concatenate([others, *[np.array(own)] * 2]) if own else others
        keys = np.concatenate([np.arange(len(others)), np.full(len(rows) - len(others), 99)])
        names = (*FEATURES, NEXT_PURCHASES, NEXT_SPEND)
        return {"test": Columns(dict(zip(names, rows.T, strict=True)), {}, keys.astype(np.uint64))}

    return with_customer(), with_customer()


def cell_counts(draw, folder):  # noqa: ARG001
    return CellCounts(JOINED, "test", draw(st.sampled_from([2, 5])), most=1), BOX, *both(draw)


def feature_sums(draw, folder):  # noqa: ARG001
    return FeatureSums(JOINED, "test", most=1), {"widths": np.full(2, 0.5)}, *both(draw)


def lloyd_sums(draw, folder):  # noqa: ARG001
    radius = draw(st.sampled_from([0.1, 0.2])) * STEPS
    broadcast = {**BOX, "centres": CENTRES, "ends": np.array([2])}
    return LloydSums(JOINED, "test", radius, most=1), broadcast, *both(draw)


def segment_profiles(draw, folder):  # noqa: ARG001
    broadcast = {**BOX, "centres": CENTRES, "shares": np.empty(0), "variances": np.empty(0)}
    largest = draw(st.sampled_from([0.5, 2.0]))
    return SegmentProfiles("kmeans", JOINED, "test", largest, most=1), broadcast, *both(draw)


CASES = {
    "cell-counts": cell_counts,
    "feature-sums": feature_sums,
    "lloyd-sums": lloyd_sums,
    "segment-profiles": segment_profiles,
}
