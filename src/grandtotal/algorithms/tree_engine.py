"""Which of the two sets of inner loops is used: numba's if it is installed, else NumPy's."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType


@cache
def loops() -> ModuleType:
    """Returns `tree_kernels` or, where the extra "trees" is not installed, `tree_numpy`."""
    if find_spec("numba") is None:
        from grandtotal.algorithms import tree_numpy

        return tree_numpy
    from grandtotal.algorithms import tree_kernels

    return tree_kernels
