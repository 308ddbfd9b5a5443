"""Clipping in integer steps: no row passes the bound, whatever it holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.sparse import csr_array

from grandtotal.errors import AnswerError
from grandtotal.privacy.clipping import (
    MOST_NORM,
    by_unit,
    changed,
    checked_sum,
    clip,
    clip_sparse,
    equal_steps,
    latest,
    most_squares,
)

ANY = st.floats(allow_nan=True, allow_infinity=True)
NORMS = st.one_of(
    st.floats(0.01, MOST_NORM), st.sampled_from([1.0, 2**0.5, 3**0.5, 7.0, MOST_NORM])
)


def squares(whole):
    """Returns the exact sum of squares of each row, in Python's integers."""
    return [sum(int(entry) ** 2 for entry in row) for row in whole]


def cases(rng, rows, width):
    """Returns rows near, inside and far beyond any bound: steps of ten sizes."""
    size = 10.0 ** rng.integers(-3, 12, (rows, 1))
    return rng.normal(size=(rows, width)) * size


@pytest.mark.parametrize("norm", [0.5, 1.0, 2**0.5, 3**0.5, 10.0, 4096.0, 1e6 + 0.1, MOST_NORM])
def test_no_row_of_a_hundred_thousand_passes_the_bound(norm):
    rng = np.random.default_rng(3)
    for width in (1, 3, 40, 275):
        whole = clip(cases(rng, 3200, width), norm)
        assert max(squares(whole)) <= most_squares(norm)
        checked_sum(whole, norm)


def test_the_largest_sum_of_squares_is_the_square_of_the_bound():
    assert [most_squares(norm) for norm in (1.0, 2**0.5, 3**0.5, 0.9, 2.5)] == [1, 2, 3, 0, 6]
    for whole in range(1, 5000):
        assert most_squares(whole**0.5) == whole
    assert most_squares(MOST_NORM) == 2**52


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(1, 9)), elements=ANY), NORMS
)
def test_whatever_floats_a_row_holds_the_bound_holds(steps, norm):
    whole = clip(steps, norm)
    assert all(found <= most_squares(norm) for found in squares(whole))
    clip_sparse(csr_array(steps), norm)


@given(
    arrays.arrays(np.int64, (4, 6), elements=st.integers(-(2**63), 2**63 - 1)),
    NORMS,
)
def test_whatever_integers_a_row_holds_the_bound_holds(steps, norm):
    assert max(squares(clip(steps, norm))) <= most_squares(norm)


def test_integers_inside_the_bound_are_left_alone():
    rng = np.random.default_rng(5)
    steps = rng.integers(-1000, 1000, (500, 7))
    norm = float(np.sqrt((steps**2).sum(axis=1).max()))
    assert (clip(steps, norm) == steps).all()
    assert (clip_sparse(csr_array(steps), norm).toarray() == steps).all()


def test_a_row_keeps_its_direction():
    whole = clip(np.array([[3e9, -4e9], [3.0, -4.0]]), 5e6)
    assert whole.tolist() == [[3_000_000, -4_000_000], [3, -4]]


def test_a_missing_value_is_nothing_and_an_infinite_one_is_all_there_is():
    whole = clip(np.array([[np.nan, 3.0], [np.inf, 5.0], [-np.inf, np.inf]]), 100.0)
    assert whole.tolist() == [[0, 3], [100, 0], [-70, 70]]


def test_a_row_depends_on_no_other_row():
    rng = np.random.default_rng(6)
    steps = cases(rng, 50, 8)
    together, apart = clip(steps, 33.3), [clip(row[None], 33.3)[0] for row in steps]
    assert (together == np.stack(apart)).all()
    assert (clip(steps[::-1], 33.3)[::-1] == together).all()


def test_sparse_and_dense_are_the_same():
    rng = np.random.default_rng(7)
    steps = cases(rng, 400, 12) * (rng.random((400, 12)) < 0.3)
    for norm in (1.0, 20.0, 3e5):
        sparse = clip_sparse(csr_array(steps), norm)
        assert (sparse.toarray() == clip(steps, norm)).all()
        assert (checked_sum(sparse, norm) == checked_sum(clip(steps, norm), norm)).all()
        assert (sparse.data != 0).all()


def test_entries_of_one_cell_are_one_entry():
    twice = csr_array((np.array([3.0, 3.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 2))
    assert clip_sparse(twice, 4.0).toarray().tolist() == [[4, 0]]
    with pytest.raises(AnswerError, match=r"norm 6\.000 steps, the bound is 4\.000"):
        checked_sum(csr_array(twice.astype(np.int64)), 4.0)


def test_rounding_is_right_in_the_mean_inside_and_inwards_at_the_bound():
    rng = np.random.default_rng(8)
    steps = rng.normal(size=(100_000, 4)) * 30
    inside = np.linalg.norm(steps, axis=1) < 990
    error = clip(steps, 1000.0) - steps
    # The mean of n errors, uniform in +-1/2, has the standard deviation 1 / sqrt(12 n).
    assert np.abs(error[inside]).max() <= 0.5
    assert abs(error[inside].mean()) < 6 / np.sqrt(12 * error[inside].size)
    beyond = steps * 1e6
    exact = beyond * (1000 / np.linalg.norm(beyond, axis=1, keepdims=True))
    lost = np.abs(exact) - np.abs(clip(beyond, 1000.0))
    assert lost.max() < 1
    assert lost.min() >= -0.5
    assert 0 < lost.mean() < 0.5


def test_a_row_that_was_not_clipped_is_not_added():
    with pytest.raises(AnswerError, match="nothing is released"):
        checked_sum(np.array([[1, 1], [1, 2]]), 2.0)
    assert checked_sum(np.array([[1, 1], [1, 2]]), 5**0.5).tolist() == [2, 3]
    assert checked_sum(np.zeros((0, 3), np.int64), 1.0).tolist() == [0, 0, 0]
    assert checked_sum(csr_array((0, 3), dtype=np.int64), 1.0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan"), float("inf"), MOST_NORM * 2])
def test_a_bound_that_is_none_is_refused(norm):
    with pytest.raises(ValueError, match="expected steps above 0"):
        clip(np.ones((1, 1)), norm)


@given(
    arrays.arrays(np.float64, (2, 5), elements=ANY), arrays.arrays(np.float64, (2, 5), elements=ANY)
)
def test_two_clipped_rows_are_no_farther_apart_than_stated(ours, theirs):
    for signed in (True, False):
        one, other = (clip(x if signed else np.abs(x), 77.0) for x in (ours, theirs))
        assert max(squares(one - other)) <= most_squares(changed(77.0, signed))
        assert max(squares(one)) <= most_squares(changed(77.0, signed))


def test_rows_of_one_unit_are_added_before_they_are_clipped():
    units = np.array([7, 2, 7, 7])
    found = by_unit(units, np.array([0, 1, 2, 0]), np.array([1.0, 2.0, 3.0, 4.0]), 3)
    assert found.toarray().tolist() == [[0, 2, 0], [5, 0, 3]]


def test_a_sum_of_a_unit_does_not_depend_on_where_its_rows_stand_among_others():
    rng = np.random.default_rng(9)
    own = rng.lognormal(size=40)
    alone = by_unit(np.full(40, 3), np.zeros(40, np.int64), own, 1).toarray()
    units = rng.permutation(np.repeat(np.arange(9), 40))
    values = rng.lognormal(size=360)
    values[units == 3] = own
    among = by_unit(units, np.zeros(360, np.int64), values, 1).toarray()[3]
    assert among == alone[0]


def test_the_last_rows_of_each_unit_are_kept():
    units = np.array([5, 5, 1, 5, 1, 9])
    assert latest(units, 2).tolist() == [False, True, True, True, True, True]
    assert latest(units, 1).tolist() == [False, False, False, True, True, True]
    assert latest(units, 9).all()
    assert latest(np.empty(0, np.uint64), 2).shape == (0,)


@given(st.lists(st.integers(0, 10**6), max_size=9), NORMS)
def test_equal_entries_are_as_large_as_the_norm_allows(entries, norm):
    steps = equal_steps(np.array(entries, np.int64), norm)
    for count, step in zip(entries, steps.tolist(), strict=True):
        assert step**2 * count <= most_squares(norm)
        assert (step + 1) ** 2 * count > most_squares(norm) if count else step == 0
