"""Quantiles against numpy on the same rows, and the sketch of many against the sketch of one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.quantiles import LogBuckets, QuantileSketch
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, Code, PlanError

SMALLEST, LARGEST = 1e-6, 1e9
magnitudes = st.floats(SMALLEST * 1.001, LARGEST)
values = hnp.arrays(
    np.float64,
    st.integers(1, 60),
    elements=st.one_of(magnitudes, magnitudes.map(lambda x: -x), st.just(0.0)),
)


def rows(*numbers):
    return {"test": Columns({"price": np.asarray(numbers, np.float64)})}


def sketch(numbers, alpha=0.01):
    return QuantileSketch(alpha).fit(Local(rows(*numbers)), "price", "test")


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.2])
@given(numbers=values, q=st.floats(0, 1))
def test_a_quantile_is_within_alpha_of_the_true_one(alpha, numbers, q):
    true = np.sort(numbers)[int(np.floor(q * (len(numbers) - 1)))]
    found = sketch(numbers, alpha).quantile(q)
    assert abs(found - true) <= alpha * abs(true) * (1 + 1e-9)


@pytest.mark.parametrize("q", [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_numpys_lower_quantile(q):
    numbers = np.random.default_rng(3).lognormal(1, 2, 10_001) - 2.0
    true = np.quantile(numbers, q, method="lower")
    assert sketch(numbers).quantile(q) == pytest.approx(true, rel=0.01)


@given(numbers=values)
def test_every_bucket_lies_within_alpha_and_in_order(numbers):
    buckets = LogBuckets(0.05, SMALLEST, LARGEST)
    places = buckets.places(numbers)
    assert (np.abs(buckets.values[places] - numbers) <= 0.05 * np.abs(numbers) * (1 + 1e-9)).all()
    assert (numbers <= buckets.greatest[places]).all()
    assert (numbers > buckets.greatest[places - 1]).all()


def test_federated_is_pooled_digest_for_digest(federate):
    rng = np.random.default_rng(1)
    numbers = rng.normal(0, 100, 900)
    numbers[::7] = np.nan
    fit = QuantileSketch(0.02).fit
    expected = arrays_digest(fit(Local(rows(*numbers)), "price", "test").arrays)
    for seed, cuts in enumerate(([0, 1], [300, 600], [10, 20, 30, 899])):
        shuffled = np.random.default_rng(seed).permutation(numbers)
        parts = [rows(*part) for part in np.split(shuffled, cuts)]
        federated = fit(federate(parts, str(seed)).totals, "price", "test")
        assert arrays_digest(federated.arrays) == expected


def test_missing_values_are_counted_and_decide_nothing():
    numbers = [3.0, np.nan, 5.0, np.nan]
    found = sketch(numbers)
    assert (found.rows, found.missing) == (2, 2)
    assert found.quantile(1.0) == sketch([3.0, 5.0]).quantile(1.0)


@pytest.mark.parametrize(("numbers", "missing"), [([], 0), ([np.nan] * 3, 3)])
def test_a_column_without_values_has_no_quantile_and_no_edge(numbers, missing):
    found = sketch(numbers)
    assert np.isnan(found.quantile(0.5))
    assert found.edges(10).tolist() == []
    assert found.missing == missing


@pytest.mark.parametrize("value", [0.0, 7.5, -7.5])
def test_a_constant_column_is_its_value_and_has_no_edge(value):
    found = sketch([value] * 9)
    assert found.quantile(0.3) == pytest.approx(value, rel=0.01)
    assert found.edges(10).tolist() == []


def test_what_is_beyond_the_range_is_infinite_and_what_is_tiny_is_zero():
    found = sketch([-2e9, SMALLEST, -SMALLEST / 2, 2e9])
    assert [found.quantile(q) for q in (0, 0.4, 0.7, 1)] == [-np.inf, 0.0, 0.0, np.inf]
    assert np.isfinite(found.edges(4)).all()


@given(numbers=values, bins=st.integers(1, 12))
def test_edges_cut_the_rows_as_the_counts_say(numbers, bins):
    found = sketch(numbers, 0.05)
    edges = found.edges(bins)
    assert len(edges) < bins
    assert (np.diff(edges) > 0).all()
    cumulated = dict(zip(found.buckets.greatest, np.cumsum(found.counts), strict=True))
    for edge in edges:
        assert cumulated[edge] == np.count_nonzero(numbers <= edge)
        assert 0 < cumulated[edge] < len(numbers)


def test_edges_cut_into_nearly_equal_parts():
    numbers = np.random.default_rng(5).gamma(2.0, 10.0, 20_000)
    edges = sketch(numbers, 0.005).edges(10)
    shares = np.bincount(np.searchsorted(edges, numbers)) / len(numbers)
    assert len(shares) == 10
    assert np.abs(shares - 0.1).max() < 0.01


def test_an_infinite_value_and_an_unknown_column_are_refused_by_name():
    with pytest.raises(AnswerError, match="'price' holds an infinite") as infinite:
        sketch([1.0, np.inf])
    assert infinite.value.code == Code.NOT_FINITE
    with pytest.raises(AnswerError, match="no column 'cost', there are: price"):
        QuantileSketch().fit(Local(rows(1.0)), "cost", "test")


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"smallest": 0.0}, {"smallest": 2e9}]
)
def test_buckets_that_cannot_be_are_refused(wrong):
    with pytest.raises(PlanError, match=next(iter(wrong))):
        LogBuckets(**wrong)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_and_1_is_refused(q):
    with pytest.raises(ValueError, match="from 0 to 1"):
        sketch([1.0]).quantile(q)
