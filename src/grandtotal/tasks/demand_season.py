"""The season of everything together: how all sales went on, last year, from the same time on.

A season such as Christmas is hardly seen in the weeks that a model learns from, and a single
product's last year is mostly chance. The sum of all products is not: what a forecast of the same
products would have needed to be right a year ago is the factor that this year's begins with.

How much of it comes back is not chosen, it is what can be known before the origin. Weeks that were
seen in two years tell how far years differ by chance, their noise; the whole of last year, with its
Christmas, tells how far its weeks differ at all. What is left of that without the noise is signal,
and the factor is shrunk by signal / (signal + noise / years). Without weeks of two years there is
none. Empirical Bayes: Efron and Morris, "Stein's estimation rule and its competitors", 1973,
https://doi.org/10.1080/01621459.1973.10481350
"""

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.tasks.periods import Periods

Floats = NDArray[np.float64]
_STEPS = 2.0**16  # of a logarithm: squares of whole steps add up to the same in any order


class Season:
    """What the sums of all series tell.

    units: (series, periods), in whole steps; what is said of origin t depends on periods before it.
    """

    def __init__(self, units: Floats, periods: Periods, horizon: int) -> None:
        self._periods, self._horizon = periods, horizon
        self._rises = _rises(units, periods, horizon)

    def ahead(self, t: int) -> Floats:
        """Returns the logarithm of the factor on each period from t on, (horizon,); 0: none."""
        year, first = self._periods.year, self._periods.level
        known = self._rises[: t + 1].copy()
        unseen = np.arange(len(known))[:, None] + np.arange(self._horizon)
        known[unseen + self._periods.near >= t] = np.nan
        years = [known[then] for then in range(t - year, first - 1, -year)]
        if not years:
            return np.zeros(self._horizon)
        usual = _mean(known, axis=0)
        strength = self._strength(known - usual, len(years))
        found: Floats = strength * (_mean(np.stack(years), axis=0) - usual)
        return np.rint(np.nan_to_num(found) * _STEPS) / _STEPS

    def _strength(self, above: Floats, years: int) -> float:
        """Returns which part of so many years' mean comes back, from 0 to 1."""
        year = self._periods.year
        twice = above[year:] - above[:-year]
        seen = ~np.isnan(twice)
        # A noise of fewer weeks than a quarter of a year is as good as unknown.
        if seen.any(axis=1).sum() < self._periods.windows[3]:
            return 0.0
        noise = float((twice[seen] ** 2).mean()) / 2
        signal = max(float(np.nanmean(above**2)) - noise, 0.0)
        return signal / (signal + noise / years) if signal else 0.0


def _rises(units: Floats, periods: Periods, horizon: int) -> Floats:
    """Returns for each origin how far the periods ahead lay above the level before it, as a log.

    (periods + 1, horizon); nan where that is not known. Of the series that a forecast of the origin
    would have had: those that had sold of late. A period is the mean of those around it.
    """
    count, level, half = units.shape[1], periods.level, periods.near
    sums = np.concatenate([np.zeros((len(units), 1)), np.cumsum(units, axis=1)], axis=1)
    found = np.full((count + 1, horizon), np.nan)
    for t in range(level, count + 1):
        sold = sums[:, t] > sums[:, max(t - periods.windows[-1], 0)]
        ahead = np.arange(t, min(t + horizon, count - half))
        total = sold.astype(np.float64) @ sums[:, t - level : t + horizon + half + 1]
        usual = (total[level] - total[0]) / level
        at = ahead - t + level
        around = (total[at + half + 1] - total[at - half]) / (2 * half + 1)
        found[t, : len(ahead)] = np.rint(log((around + 1) / (usual + 1)) * _STEPS) / _STEPS
    return found


def _mean(values: Floats, axis: int) -> Floats:
    """Returns the mean of what is known; nan where nothing is."""
    there = ~np.isnan(values)
    many = there.sum(axis=axis)
    sums: Floats = np.where(there, values, 0.0).sum(axis=axis)
    found: Floats = np.divide(sums, many, out=np.full(sums.shape, np.nan), where=many > 0)
    return found
