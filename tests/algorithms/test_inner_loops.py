"""Inner loops are compiled where numba is installed, and of NumPy elsewhere."""

import pytest

from grandtotal.algorithms import als_kernels, als_numpy, inner_loops, tree_kernels, tree_numpy


@pytest.mark.parametrize(
    ("what", "compiled", "plain"),
    [("tree", tree_kernels, tree_numpy), ("als", als_kernels, als_numpy)],
)
def test_without_numba_numpy_is_used(what, compiled, plain, monkeypatch):
    assert inner_loops.of.__wrapped__(what) is compiled
    monkeypatch.setattr(inner_loops, "find_spec", lambda _: None)
    assert inner_loops.of.__wrapped__(what) is plain
