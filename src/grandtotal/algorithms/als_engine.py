"""Which of the two sets of inner loops of ALS is used: numba's if it is installed, else NumPy's."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType


@cache
def loops() -> ModuleType:
    """Returns `als_kernels` or, where the extra "trees" is not installed, `als_numpy`."""
    if find_spec("numba") is None:
        from grandtotal.algorithms import als_numpy

        return als_numpy
    from grandtotal.algorithms import als_kernels

    return als_kernels
