"""Statistics of columns: a customer with none, few or thousands of rows, and any values."""

import numpy as np
from hypothesis import strategies as st

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import QuantileCounts
from grandtotal.algorithms.target_statistics import CategoryCounts, TargetSums

CUSTOMER = 77
VALUES = [np.nan, 0.0, 1.0, -1.0, 5e-324, 1e-7, 3.5, -1e9, 1e9, 1.7e308, -1.7e308]
LENGTHS = st.sampled_from([0, 1, 2, 7, 4000])
MOST = st.sampled_from([1, 2, 5, 1000])


def some_rows(draw, rng, rows):
    """Returns values, categories: all alike, from the extremes, or like any."""
    kind = draw(st.sampled_from(["alike", "extreme", "plain"]))
    brands = rng.integers(1, 2**63, 6).astype(np.uint64)
    if kind == "alike":
        value = draw(st.sampled_from(VALUES))
        return np.full(rows, value), np.full(rows, brands[0])
    values = rng.choice(VALUES, rows) if kind == "extreme" else rng.lognormal(2, 2, rows) - 3
    return values, rng.choice(brands, rows)


def both(draw):
    """Returns the columns before and after; the rows of the others keep their order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    others = draw(st.sampled_from([0, 30]))
    places, keys = rng.random(others), rng.integers(0, 5, others).astype(np.uint64)
    given = some_rows(draw, rng, others)

    def with_customer():
        rows = draw(LENGTHS)
        own = some_rows(draw, rng, rows)
        order = np.argsort(np.concatenate([places, rng.random(rows)]), kind="stable")
        values, brands = (np.concatenate(pair)[order] for pair in zip(given, own, strict=True))
        owner = np.concatenate([keys, np.full(rows, CUSTOMER, np.uint64)])[order]
        return {"test": Columns({"price": values}, {"brand": brands}, owner)}

    return with_customer(), with_customer()


def category_counts(draw, folder):  # noqa: ARG001
    return CategoryCounts("brand", "test", draw(MOST)), {}, *both(draw)


def quantile_counts(draw, folder):  # noqa: ARG001
    return QuantileCounts("price", "test", alpha=0.2, most=draw(MOST)), {}, *both(draw)


def target_sums(draw, folder):  # noqa: ARG001
    largest = draw(st.sampled_from([0.01, 1.0, 99.5, 1e6]))
    query = TargetSums("brand", "price", "test", 3, draw(MOST), largest)
    return query, {"dictionary": np.arange(0, 2**16, 2)}, *both(draw)


CASES = {
    "category-counts": category_counts,
    "quantile-counts": quantile_counts,
    "target-sums": target_sums,
}
