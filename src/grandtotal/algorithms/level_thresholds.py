"""How much evidence is too much: thresholds simulated for series like the one that is watched.

A threshold that is the same for all series raises hundreds of alarms on one and none on another:
what the statistic reaches without a change depends on volume, dispersion, memory, and on how well
the level is known. Series of these are drawn that do not change, and the threshold is the least
with which they raise no more than a stated number of alarms in a year, half a year being drawn.

Paths without a change: Zeger, "A regression model for time series of counts", 1988,
https://doi.org/10.1093/biomet/75.4.621
"""

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.level_change import SETTLE, Daily, Noise, noise_of, watch
from grandtotal.algorithms.level_detectors import DETECTORS, MOST, Floats

YEAR = 364
_PATHS = 300
_HALF = YEAR // 2  # days that are drawn: the level is known least in the first of them
_MANY = 64.0  # events a day: a Poisson count is as good as normal
_HALVINGS = 3
_MARGIN = 0.8  # of the alarms: the series at hand is not quite like any that is drawn

_KNOWN: dict[tuple[Any, ...], float] = {}
_ONE_AT_A_TIME = Lock()


def thresholds_of(
    noise: Noise, counts: NDArray[np.bool_], name: str, change: float, alarms: float
) -> Floats:
    """Returns for each series what its statistic passes `alarms` times a year without a change.

    Volume and dispersion are rounded to powers of two and memory to fifths, and each
    combination is simulated once in a process; the same numbers are drawn every time.
    """
    # The others see standard deviations, in which large counts all look alike.
    kinds = _kinds(noise, counts, 2.0**12 if name == "cusum" else 1.0)
    with _ONE_AT_A_TIME:  # retailers in threads often ask for the same kinds
        missing = sorted({kind for kind in kinds if (name, change, alarms, *kind) not in _KNOWN})
        for start in range(0, len(missing), 32):
            some = missing[start : start + 32]
            for kind, found in zip(some, _calibrated(some, name, change, alarms), strict=True):
                _KNOWN[(name, change, alarms, *kind)] = found
    return np.array([_KNOWN[(name, change, alarms, *kind)] for kind in kinds])


def _calibrated(
    kinds: list[tuple[Any, ...]], name: str, change: float, alarms: float
) -> list[float]:
    """Returns the least threshold of each kind with which no more than these alarms are raised.

    Of the largest statistic of a path the quantile is found by bisection, with the alarms of all
    paths counted: after one alarm the level is known less well, and others come sooner. The mean
    number is below by twice its standard error.
    """
    alarms = alarms * _HALF / YEAR
    paths = _paths(kinds)
    noise = noise_of(paths)
    never = np.full(len(paths.counts), np.inf)
    _, largest = watch(paths, noise, DETECTORS[name](change), never)
    largest = np.sort(largest.reshape(len(kinds), _PATHS), axis=1)
    low, high = np.full(len(kinds), np.exp(-alarms)), np.ones(len(kinds))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        alarmed, _ = watch(
            paths, noise, DETECTORS[name](change), np.repeat(_at(largest, middle), _PATHS)
        )
        counted = np.array([len(a) for a in alarmed], float).reshape(len(kinds), _PATHS)
        many = counted.mean(axis=1) + 2 * counted.std(axis=1) / np.sqrt(_PATHS) > _MARGIN * alarms
        low, high = np.where(many, middle, low), np.where(many, high, middle)
    found: list[float] = np.maximum(_at(largest, high), 2 * MOST).tolist()
    return found


def _at(sorted_: Floats, quantile: Floats) -> Floats:
    place = np.minimum((quantile * sorted_.shape[1]).astype(int), sorted_.shape[1] - 1)
    found: Floats = sorted_[np.arange(len(sorted_)), place]
    return found


def _kinds(noise: Noise, counts: NDArray[np.bool_], largest: float) -> list[tuple[Any, ...]]:
    """Returns log2 of volume and of dispersion, memory, and whether events are counted: rounded.

    Only variance over squared mean matters of a sum, and of counts above _MANY a day.
    largest: of the dispersions that are told apart.
    """
    many = ~counts | (noise.volume > _MANY)
    scale = np.where(many, _MANY / np.maximum(noise.volume, 1e-9), 1.0)
    volume = np.clip(noise.volume * scale, 2.0**-4, _MANY)
    least = np.where(counts, 1.0, 2.0**-8)
    dispersion = np.clip(noise.dispersion * scale, np.minimum(least, largest), largest)
    logs = (np.rint(np.log2(x)).tolist() for x in (volume, dispersion))
    memory = np.ceil(5 * noise.memory - 0.25) / 5  # rather too long than too short
    return list(zip(*logs, memory.tolist(), counts.tolist(), strict=True))


def _paths(kinds: list[tuple[Any, ...]]) -> Daily:
    """Returns SETTLE days and half a year without a change, _PATHS of each kind."""
    # Each kind has its own generator: its threshold is the same whatever else is asked for.
    drawn = [
        simulate(2.0**volume, 2.0**dispersion, memory, counts, (_PATHS, SETTLE + _HALF))
        for volume, dispersion, memory, counts in kinds
    ]
    happened = np.concatenate([path.happened for path in drawn])
    counts = np.concatenate([path.counts for path in drawn])
    return Daily(happened, np.ones_like(happened), counts)


def simulate(
    volume: float,
    dispersion: float,
    memory: float,
    counts: bool,
    shape: tuple[int, int],
    seed: int = 11,
) -> Daily:
    """Returns paths (series, days) of this shape that do not change.

    Poisson steps around a mean that moves as a log-normal autoregression: its share of the variance
    is what exceeds the mean, of other sums as much as the memory needs.
    """
    rng = np.random.default_rng(seed)
    share = (dispersion - 1) / dispersion if counts else memory / 0.8
    share = min(max(share, 0.0), 1.0)
    slow = min(memory / share, 0.95) if share else 0.0
    sigma = np.sqrt(np.log1p(share * dispersion / volume))
    moving = np.exp(sigma * _autoregression(rng, slow, shape) - sigma**2 / 2)
    step = 1.0 if counts else max(dispersion * (1 - share), 1e-5 * volume)
    happened = step * rng.poisson(np.minimum(volume * moving / step, 2.0**40))
    return Daily(happened.astype(np.float64), np.ones(shape), np.full(shape[0], counts))


def _autoregression(rng: np.random.Generator, slow: float, shape: tuple[int, int]) -> Floats:
    drawn: Floats = rng.standard_normal(shape)
    if slow:
        fresh = np.sqrt(1 - slow**2)
        for t in range(1, shape[1]):
            drawn[:, t] = slow * drawn[:, t - 1] + fresh * drawn[:, t]
    return drawn
