"""Cholesky factor and inverse by scipy's own LAPACK, without Python's lock.

scipy.linalg.lapack holds the lock while LAPACK works, so that retailers in threads wait for each
other: two inverses of 2,752 rows in two threads took as long as one after the other. The same
functions, called through the pointers that scipy publishes for Cython, let other threads run.
"""

from ctypes import (
    CFUNCTYPE,
    PYFUNCTYPE,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_void_p,
    py_object,
    pythonapi,
)
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cython_lapack

_Routine = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
"""uplo, n, a, lda, info."""


def _routine(name: str) -> Any:
    capsules: dict[str, Any] = {**cython_lapack.__pyx_capi__}
    capsule = capsules[name]
    signature = PYFUNCTYPE(c_char_p, py_object)(("PyCapsule_GetName", pythonapi))(capsule)
    pointer = PYFUNCTYPE(c_void_p, py_object, c_char_p)(("PyCapsule_GetPointer", pythonapi))
    return _Routine(pointer(capsule, signature))


_POTRF, _POTRI = _routine("dpotrf"), _routine("dpotri")


def invert_upper(matrix: NDArray[np.float64]) -> bool:
    """Replaces the upper half of a positive definite C-ordered matrix by that of its inverse.

    Returns whether it is positive definite; what is below the diagonal is left alone.
    """
    assert matrix.flags.c_contiguous
    assert matrix.dtype == np.float64
    # The upper half of a C-ordered matrix is the lower half in LAPACK's own order.
    size, info = c_int(len(matrix)), c_int(0)
    if not len(matrix):
        return True
    for routine in (_POTRF, _POTRI):
        routine(byref(c_char(b"L")), byref(size), matrix.ctypes.data, byref(size), byref(info))
        if info.value:
            return False
    return True
