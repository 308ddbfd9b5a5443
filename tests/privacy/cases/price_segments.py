"""Lines of customers' segments: one customer's become any others, in any segment and week."""

import numpy as np
from hypothesis import strategies as st

from grandtotal.algorithms.segment_response import SegmentLines, SegmentMoments

SEGMENTS, SERIES, WEEKS, OTHERS = 3, 4, 6, 20


def lines_of_a_customer(draw, folder):  # noqa: ARG001
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    moved = rng.normal(0, draw(st.sampled_from([0.1, 1.0, 50.0])), (SERIES, WEEKS))
    moved[rng.random(moved.shape) < 0.2] = np.nan
    weight = rng.random((SERIES, WEEKS)) * draw(st.sampled_from([0.0, 1.0, 1e9]))

    def drawn(rows, segment):
        return np.full(rows, segment), rng.integers(0, SERIES, rows), rng.integers(0, WEEKS, rows)

    others = [drawn(4, rng.integers(0, SEGMENTS)) for _ in range(OTHERS)]

    def lines():
        rows = draw(st.sampled_from([0, 1, 7, 2000]))
        parts = [*others, drawn(rows, draw(st.integers(0, SEGMENTS - 1)))]
        segment, series, week = (np.concatenate(column) for column in zip(*parts, strict=True))
        customer = np.repeat(np.arange(OTHERS + 1), [len(part[0]) for part in parts])
        return {"now": SegmentLines(segment, customer, series, week, moved, weight)}

    query = SegmentMoments(SEGMENTS, "now", draw(st.sampled_from([0.05, 1.0, 30.0])))
    shift = rng.normal(0, draw(st.sampled_from([0.0, 1.0, 1e3])), SEGMENTS)
    return query, {"shift": shift}, lines(), lines()


CASES = {"segment-moments": lines_of_a_customer}
