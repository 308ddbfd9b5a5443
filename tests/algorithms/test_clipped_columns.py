"""Statistics of columns with a limit on the rows of one customer."""

import numpy as np
import pytest

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import QuantileCounts
from grandtotal.algorithms.target_statistics import CategoryCounts, TargetSums
from grandtotal.consortium.totals import Local
from grandtotal.errors import AnswerError, PlanError

DICTIONARY = {"dictionary": np.arange(0, 2**16, 3)}
ENOUGH = 10**6


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    price = rng.lognormal(2, 1, 400)
    price[::9] = np.nan
    brands = rng.integers(1, 2**63, 9).astype(np.uint64)[rng.integers(0, 9, 400)]
    keys = rng.integers(0, 30, 400).astype(np.uint64)
    return {"test": Columns({"price": price}, {"brand": brands}, keys)}


@pytest.mark.parametrize(
    ("exact", "limited", "broadcast"),
    [
        (CategoryCounts("brand", "test"), CategoryCounts("brand", "test", ENOUGH), {}),
        (QuantileCounts("price", "test"), QuantileCounts("price", "test", most=ENOUGH), {}),
        (
            TargetSums("brand", "price", "test", 3),
            TargetSums("brand", "price", "test", 3, ENOUGH, 500.0),
            DICTIONARY,
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_limit_that_nobody_reaches_changes_no_total(rows, exact, limited, broadcast):
    known, found = (Local(rows).total(query, broadcast) for query in (exact, limited))
    for name in known:
        # A target is rounded to steps of 1/131 here, and there are 400 of them.
        assert found[name] == pytest.approx(known[name], abs=400 / 131 / 2)
        assert exact.fields(broadcast)[name].shape == limited.fields(broadcast)[name].shape
    assert exact.bound is None


def test_the_last_rows_of_each_customer_count(rows):
    columns = rows["test"]
    total = Local(rows).total(CategoryCounts("brand", "test", 2))["counts"]
    assert total.sum() == 2 * len(np.unique(columns.keys))
    last = {key: place for place, key in enumerate(columns.keys.tolist())}
    one = Columns({}, {"brand": columns.categories["brand"][sorted(last.values())]})
    assert (
        Local(rows).total(CategoryCounts("brand", "test", 1))["counts"]
        == Local({"test": one}).total(CategoryCounts("brand", "test"))["counts"]
    ).all()


def test_a_target_is_cut_to_the_largest(rows):
    cut = Local(rows).total(TargetSums("brand", "price", "test", 3, ENOUGH, 2.0), DICTIONARY)
    price = rows["test"].number("price")
    whole = np.minimum(price[~np.isnan(price)], 2.0).sum()
    assert cut["sums"].sum() == pytest.approx(whole, rel=1e-3)
    assert cut["counts"].sum() == (~np.isnan(price)).sum()


def test_rows_without_customers_cannot_be_limited():
    rows = {"test": Columns({"price": np.ones(5)})}
    with pytest.raises(AnswerError, match="5 rows with 0 keys"):
        Local(rows).total(QuantileCounts("price", "test", most=1))
    assert Local(rows).total(QuantileCounts("price", "test"))["counts"].sum() == 5


@pytest.mark.parametrize(("most", "largest"), [(3, 0.0), (0, 2.0), (-1, -2.0), (3, -2.0)])
def test_half_a_limit_is_refused(most, largest):
    with pytest.raises(PlanError, match="needs both above 0"):
        TargetSums("brand", "price", "test", 3, most, largest)
