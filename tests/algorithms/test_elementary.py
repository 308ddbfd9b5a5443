"""exp and log against the library's, to a few units in the last place."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.algorithms.elementary import exp, log

LAST_PLACES = 4 * np.finfo(np.float64).eps


@given(st.floats(-600, 600))
def test_exp_is_the_exponential(x: float) -> None:
    assert exp(np.array([x]))[0] == pytest.approx(math.exp(x), rel=LAST_PLACES)


@given(st.floats(1e-300, 1e300))
def test_log_is_the_natural_logarithm(x: float) -> None:
    found = log(np.array([x]))[0]
    assert found == pytest.approx(math.log(x), rel=LAST_PLACES, abs=LAST_PLACES)


def test_known_values_are_exact() -> None:
    assert exp(np.array([0.0]))[0] == 1.0
    assert log(np.array([1.0]))[0] == 0.0


def test_a_value_does_not_depend_on_its_place_in_the_array() -> None:
    x = np.random.default_rng(7).normal(0, 5, 1001)
    for f in (exp, lambda v: log(np.abs(v))):
        whole = f(x)
        assert all(f(x[i : i + 1])[0] == whole[i] for i in range(len(x)))
