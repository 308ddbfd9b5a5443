"""Three ways to add up the evidence that the level of a daily series is another one.

Each has one number for how much it has seen, and forgets it after an alarm; what is too much is a
matter of the series, see `level_thresholds.py`.

CUSUM: Page, "Continuous inspection schemes", 1954, https://doi.org/10.2307/2333009; with negative
binomial likelihood ratios: Höhle and Paul, "Count data regression charts for the monitoring of
surveillance time series", 2008, https://doi.org/10.1016/j.csda.2008.02.015
Page-Hinkley: Hinkley, "Inference about the change-point from cumulative sum tests", 1971,
https://doi.org/10.1093/biomet/58.3.509
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

MOST = 2.0  # of a day's evidence; thresholds are at least twice as much
_WINDOW = 28  # days that PSI calls recent
_ALLOWED = 0.25  # standard deviations a day that Page-Hinkley takes for no change
_EDGES = np.asarray(norm.ppf([0.2, 0.4, 0.6, 0.8]))  # bins of PSI, equally filled without a change
_WILD = 4.0  # standard deviations from which on a day is no evidence of a level
_LITTLE = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Day:
    """What a detector sees of one day, each (series,).

    scale, excess: variance = scale mean + excess mean^2. unsure: by how much the variance of a
    difference is larger since the mean is an estimate, from 1 on.
    """

    y: Floats
    mean: Floats
    scale: Floats
    excess: Floats
    unsure: Floats

    @property
    def deviation(self) -> Floats:
        """Standard deviation of a day from the mean."""
        variance = (self.scale * self.mean + self.excess * self.mean**2) * self.unsure
        found: Floats = np.sqrt(np.maximum(variance, _LITTLE))
        return found

    @property
    def apart(self) -> Floats:
        """Standard deviations from the mean."""
        return (self.y - self.mean) / self.deviation

    @property
    def believed(self) -> Floats:
        """What is learned from the day: what is farther from the mean than _WILD is cut."""
        reach = _WILD * self.deviation
        return np.clip(self.y, self.mean - reach, self.mean + reach)


class Detector(Protocol):
    """Evidence of many series at once, day after day."""

    def begin(self, series: int) -> None:
        """Forgets everything."""
        ...

    def step(self, day: Day, t: int, active: NDArray[np.bool_]) -> Floats:
        """Returns the statistic (series,) after day t, which counts where `active`."""
        ...

    def since(self, t: int) -> NDArray[np.int64]:
        """Returns for each series on which day what is now seen may have begun."""
        ...

    def reset(self, chosen: NDArray[np.intp]) -> None:
        """Forgets what was seen of some series."""
        ...


@dataclass
class _Sided:
    """Sums of evidence for more and for less, which never fall below 0."""

    sums: Floats = field(default_factory=lambda: np.zeros((2, 0)))
    began: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 0), np.int64))

    def begin(self, series: int) -> None:
        self.sums, self.began = np.zeros((2, series)), np.zeros((2, series), np.int64)

    def add(self, evidence: Floats, t: int, active: NDArray[np.bool_]) -> Floats:
        self.began = np.where(self.sums <= 0, t, self.began)
        gained = np.minimum(np.maximum(evidence, -MOST), MOST) * active
        self.sums = np.maximum(self.sums + gained, 0.0)
        most: Floats = self.sums.max(axis=0)
        return most

    def since(self, t: int) -> NDArray[np.int64]:  # noqa: ARG002
        side = self.sums.argmax(axis=0)
        found: NDArray[np.int64] = self.began[side, np.arange(len(side))]
        return found

    def reset(self, chosen: NDArray[np.intp]) -> None:
        self.sums[:, chosen] = 0.0


@dataclass
class Cusum(_Sided):
    """Log likelihood ratios of a level `change` higher, and lower, against the level so far."""

    change: float = 0.2

    def step(self, day: Day, t: int, active: NDArray[np.bool_]) -> Floats:
        """Returns the larger of both sums."""
        scale = day.scale * day.unsure
        y, mean = day.y / scale, day.mean / scale
        excess = np.maximum(day.excess, _LITTLE)
        # y log(c / (1 + x)) - log(1 + x) / excess, x = excess mean (c - 1) / (1 + excess mean)
        factor = excess * mean
        factor /= 1 + factor
        ratios = np.array([[1 + self.change], [1 - self.change]])
        grown = np.log1p((ratios - 1) * factor)
        return self.add(y * (np.log(ratios) - grown) - grown / excess, t, active)


@dataclass
class PageHinkley(_Sided):
    """Standard deviations from the level so far, less what is allowed a day."""

    change: float = 0.2

    def step(self, day: Day, t: int, active: NDArray[np.bool_]) -> Floats:
        """Returns the larger of both sums."""
        apart = day.apart
        return self.add(np.stack([apart, -apart]) - _ALLOWED, t, active)


@dataclass
class RecentPSI:
    """The distribution of the last 28 days around the level, against all days before them.

    The statistic is PSI over (1 / recent + 1 / before): about chi-squared without a change.
    """

    change: float = 0.2

    def begin(self, series: int) -> None:
        """Forgets everything."""
        self.before, self.recent = (np.zeros((len(_EDGES) + 1, series)) for _ in range(2))
        self.last: list[NDArray[np.bool_]] = []

    def step(self, day: Day, t: int, active: NDArray[np.bool_]) -> Floats:  # noqa: ARG002
        """Returns how far the recent days are from those before, 0 before there are both."""
        place = np.searchsorted(_EDGES, day.apart)
        now = (place == np.arange(len(_EDGES) + 1)[:, None]) & active
        self.last.append(now)
        self.recent += now
        if len(self.last) > _WINDOW:
            old = self.last.pop(0)
            self.recent -= old
            self.before += old
        n, m = self.recent.sum(axis=0), self.before.sum(axis=0)
        p, q = ((c + 0.5) / (c.sum(axis=0) + 2.5) for c in (self.recent, self.before))
        psi = ((p - q) * np.log(p / q)).sum(axis=0)
        enough = (n >= _WINDOW // 2) & (m >= _WINDOW)
        return np.where(enough, psi * n * m / np.maximum(n + m, 1), 0.0)

    def since(self, t: int) -> NDArray[np.int64]:
        """Returns the first of the recent days."""
        return np.full(self.recent.shape[1], max(t + 1 - _WINDOW, 0))

    def reset(self, chosen: NDArray[np.intp]) -> None:
        """Forgets what was seen of some series."""
        for counted in (self.before, self.recent, *self.last):
            counted[:, chosen] = 0


DETECTORS: Mapping[str, Callable[[float], Detector]] = {
    "cusum": lambda change: Cusum(change=change),
    "page-hinkley": lambda change: PageHinkley(change=change),
    "psi": lambda change: RecentPSI(change=change),
}
