import numpy as np
import pytest
from scipy.linalg.lapack import dpotrf, dpotri

from grandtotal.algorithms.lapack import invert_upper


def definite(size):
    drawn = np.random.default_rng(size).normal(size=(size, size))
    return drawn @ drawn.T + size * np.eye(size)


@pytest.mark.parametrize("size", [0, 1, 2, 33, 200])
def test_it_is_what_scipys_own_functions_give(size):
    matrix = definite(size)
    found = matrix.copy()
    assert invert_upper(found)
    if size:
        factor, _ = dpotrf(matrix.T, lower=1)
        expected, _ = dpotri(factor, lower=1)
        assert (np.triu(found) == np.triu(expected.T)).all()
        np.testing.assert_allclose(np.triu(found), np.triu(np.linalg.inv(matrix)), rtol=1e-9)


def test_what_is_below_the_diagonal_is_neither_read_nor_written():
    matrix = definite(9)
    spoilt = np.triu(matrix) + np.tril(np.full((9, 9), np.nan), -1)
    assert invert_upper(matrix)
    assert invert_upper(spoilt)
    assert (np.triu(spoilt) == np.triu(matrix)).all()
    assert np.isnan(spoilt[np.tril_indices(9, -1)]).all()


def test_a_matrix_that_is_not_positive_definite_is_told():
    assert not invert_upper(-np.eye(3))
