"""Mistakes put into the production code on purpose, each with the detectors that must see it.

A bug replaces functions of `grandtotal.privacy`, as a wrong commit would, in this process and in
those that the audit starts.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.privacy import clipping
from grandtotal.privacy.noise import KEY_BYTES, NoiseStream

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bug:
    """replaced: functions by where they are. seen_by: the detectors that must fire."""

    replaced: Mapping[str, Callable[..., Any]]
    seen_by: tuple[str, ...]


def _narrower(factor: float) -> Bug:
    def noise(sigma: float, key: bytes) -> NoiseStream:
        return NoiseStream(sigma / factor, key)

    seen_by = ("noise", "estimate", *(["sound bound"] if factor >= 4 else []))
    return Bug({"grandtotal.privacy.egress.NoiseStream": noise}, seen_by)


_drawn = count()


def _seeded(sigma: float, key: bytes) -> NoiseStream:  # noqa: ARG001
    return NoiseStream(sigma, next(_drawn).to_bytes(KEY_BYTES, "big"))


_clip = clipping._clip


def _all_but_the_first(
    steps: NDArray[Any], norm: float, by_row: Callable[..., Any], of_row: Callable[..., Any]
) -> NDArray[np.int64]:
    clipped = _clip(steps, norm, by_row, of_row)
    units = len(by_row(np.zeros(steps.shape)))
    whole = np.rint(np.clip(np.nan_to_num(steps), -1e9, 1e9)).astype(np.int64)
    return np.where(of_row(np.arange(units) == 0), whole, clipped)


def _rounded_last(
    steps: NDArray[Any], norm: float, by_row: Callable[..., Any], of_row: Callable[..., Any]
) -> NDArray[np.int64]:
    x = np.clip(np.nan_to_num(steps.astype(np.float64)), -1e100, 1e100)
    length = np.sqrt(by_row(x**2))
    return np.rint(x * of_row(norm / np.maximum(length, norm))).astype(np.int64)


def _unchecked(whole: NDArray[np.int64] | csr_array, norm: float) -> NDArray[np.int64]:  # noqa: ARG001
    return np.asarray(whole.sum(axis=0, dtype=np.int64))


_CLIP = "grandtotal.privacy.clipping._clip"
_CHECK = "grandtotal.privacy.clipping.checked_sum"
BUGS: Mapping[str, Bug] = {
    "noise / 1.5": _narrower(1.5),
    "noise / 2": _narrower(2),
    "noise / 4": _narrower(4),
    "one customer not clipped": Bug({_CLIP: _all_but_the_first}, ("clipping",)),
    "one customer not clipped, norms not checked": Bug(
        {_CLIP: _all_but_the_first, _CHECK: _unchecked}, ("clipping",)
    ),
    "no customer clipped, norms not checked": Bug(
        {
            _CLIP: lambda steps, *_: np.rint(np.clip(np.nan_to_num(steps), -1e9, 1e9)).astype(int),
            _CHECK: _unchecked,
        },
        ("clipping", "sound bound", "estimate"),
    ),
    "rounded after the norm was checked": Bug(
        {_CLIP: _rounded_last, _CHECK: _unchecked}, ("clipping",)
    ),
    "noise seeded": Bug({"grandtotal.privacy.egress.NoiseStream": _seeded}, ("repetition",)),
}


@contextmanager
def planted(name: str) -> Iterator[Bug]:
    """Has one of BUGS in the code, here and in every Python process that is started from here."""
    bug = BUGS[name]
    with ExitStack() as changes, tempfile.TemporaryDirectory() as folder:
        for where, wrong in bug.replaced.items():
            changes.enter_context(patch(where, wrong))
        # A process of Python runs a file of this name before anything else.
        (Path(folder) / "sitecustomize.py").write_text(
            f"from benchmarks.planted_bugs import plant_for_good\nplant_for_good({name!r})\n"
        )
        search = os.pathsep.join([folder, str(ROOT), *os.environ.get("PYTHONPATH", "").split()])
        changes.enter_context(patch.dict(os.environ, {"PYTHONPATH": search}))
        yield bug


def plant_for_good(name: str) -> None:
    """Has one of BUGS in the code of this process until it ends."""
    for where, wrong in BUGS[name].replaced.items():
        patch(where, wrong).start()
