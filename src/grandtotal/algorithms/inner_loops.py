"""Which of two sets of inner loops is used: numba's if it is installed, else NumPy's."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


@cache
def of(what: str) -> ModuleType:
    """Returns `<what>_kernels` or, where the extra "trees" is not installed, `<what>_numpy`.

    what: "tree" or "als".
    """
    made = "numpy" if find_spec("numba") is None else "kernels"
    return import_module(f"grandtotal.algorithms.{what}_{made}")
