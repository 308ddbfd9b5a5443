"""Series for networks, and the questions that training them asks."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.mlp import MLP
from grandtotal.algorithms.networks import settings_of
from grandtotal.algorithms.neural_local import LocalTraining, initial
from grandtotal.algorithms.neural_queries import (
    NetworkRecords,
    NetworkScores,
    NetworkUpdates,
    as_json,
)
from grandtotal.algorithms.windows import Windows, origins
from grandtotal.consortium.query import Query
from grandtotal.privacy.fixedpoint import over

NETWORK = MLP(history=6, horizon=2, features=3, traits=1, period=3, embedding=2, width=4)


def make_windows(rng: np.random.Generator, series: int, times: int = 24) -> Windows:
    """Returns series of three kinds of days that sell more or less, with gaps."""
    kind = np.arange(times) % 3
    units = rng.poisson(rng.lognormal(3, 1, (series, 1)) * (1 + kind / 2)).astype(np.float64)
    units[rng.random(units.shape) < 0.05] = np.nan
    known = np.broadcast_to(np.eye(3)[kind], (series, times, 3))
    training, scored = origins(series, np.arange(6, times - 3)), origins(series, np.array([22]))
    return Windows(units, known, np.ones((series, 1)), training, scored)


def _of_windows(query: Query) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        # Training at home is not additive: whoever has no rows adds nothing, that is all.
        sizes = (4, 0) if isinstance(query, NetworkUpdates) else (4, 3, 0)
        parts = [make_windows(rng, series) for series in sizes]
        holders = [Holder({"test": part}, folder) for part in parts]
        weights = over("weights ", initial(NETWORK, 3))
        broadcast = {**weights, "previous": np.zeros(32, np.uint8)}
        if isinstance(query, NetworkRecords):
            broadcast = {}
        return Asked(query, broadcast, holders, Holder({"test": Windows.pooled(parts)}, folder))

    return build_asked


_HOW = as_json(asdict(LocalTraining(batch=16)))
_ABOUT = (NETWORK.name, settings_of(NETWORK), "test", _HOW, 3, True)


BUILDERS = {
    "network-records": _of_windows(NetworkRecords(*_ABOUT)),
    "network-scores": _of_windows(NetworkScores(*_ABOUT)),
    "network-updates": _of_windows(NetworkUpdates(*_ABOUT, round=0, everyone=60)),
}
