"""When did the level of a daily series change.

A day is compared with what the days since the last change expect of its weekday, and the evidence
is added up until it passes a threshold. The level is then learned anew from the day on which the
change is estimated to have begun.

A day counts for little however far off it is, so no single day, such as one that was recorded
twice, is an alarm. A day without exposure (closed, or no data) counts for nothing.

Against a mean that is still being learned: Hawkins, "Self-starting cusum charts for location and
scale", 1987, https://doi.org/10.2307/2348827
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.level_detectors import Day, Detector, Floats

SETTLE = 28  # days of a new level before another change is looked for
_PSEUDO = 2.0  # days of the mean level that every weekday begins with
_LITTLE = 1e-9


@dataclass(frozen=True)
class Daily:
    """Series by day.

    happened: (series, days) what is counted. exposed: (series, days) what it is counted over, 0
        where there is no data; the level is happened / exposed.
    counts: (series,) whether single events are counted, so that the variance is at least the mean.
    weekday: of the first day, Monday is 0.
    """

    happened: Floats
    exposed: Floats
    counts: NDArray[np.bool_]
    weekday: int = 0

    def until(self, day: int) -> Daily:
        """Returns the days before `day`."""
        return Daily(self.happened[:, :day], self.exposed[:, :day], self.counts, self.weekday)

    def of(self, chosen: Any) -> Daily:
        """Returns some of the series."""
        return Daily(self.happened[chosen], self.exposed[chosen], self.counts[chosen], self.weekday)


@dataclass(frozen=True)
class Noise:
    """How a series varies around its level, each (series,).

    volume: mean of a day with exposure. dispersion: variance over mean. memory: correlation of a
    day with the day before.
    """

    volume: Floats
    dispersion: Floats
    memory: Floats


def noise_of(daily: Daily) -> Noise:
    """Returns how each series varies, from differences to the same weekday of the week before.

    Levels, slow seasons and weekdays cancel in these, and a change is in seven of them only.
    """
    y, e = daily.happened, daily.exposed
    both = (e[:, 7:] > 0) & (e[:, :-7] > 0)
    e1, e0 = np.where(both, e[:, 7:], 1.0), np.where(both, e[:, :-7], 1.0)
    level = (y[:, 7:] + y[:, :-7]) / (e1 + e0)
    variance = level * e1 * e0 / (e1 + e0)
    known = both & (variance > 0)
    apart = (y[:, 7:] - level * e1) / np.sqrt(np.where(known, variance, 1.0)) * known
    days = np.maximum(known.sum(axis=1), 1)
    square = apart**2
    for _ in range(2):  # a few wild days are not how the series varies
        usual = square.sum(axis=1) / days
        square = np.minimum(square, 12 * usual[:, None])
    dispersion = np.maximum(square.sum(axis=1) / days, np.where(daily.counts, 1.0, _LITTLE))
    seen = np.maximum((e > 0).sum(axis=1), 1)
    return Noise((y * (e > 0)).sum(axis=1) / seen, dispersion, _memory(apart, known))


def _memory(apart: Floats, known: NDArray[np.bool_]) -> Floats:
    """Returns the correlation of neighbouring days, not below 0; 0 where it may as well be that."""
    limit = 3 * np.sqrt(
        (apart**2).sum(axis=1, keepdims=True) / np.maximum(known.sum(1), 1)[:, None]
    )
    cut = np.clip(apart, -limit, limit)
    pairs = np.maximum((known[:, 1:] & known[:, :-1]).sum(axis=1), 1)
    squares = (cut**2).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    product = (cut[:, 1:] * cut[:, :-1]).sum(axis=1) / pairs
    found = product / np.maximum(squares, _LITTLE)
    return np.where(found > 2 / np.sqrt(pairs), np.minimum(found, 0.8), 0.0)


@dataclass(frozen=True)
class Alarm:
    """A change that was found.

    began: the day on which it was estimated to begin when the alarm was raised, at the end of day
    `raised`. statistic: what passed the threshold.
    """

    began: int
    raised: int
    statistic: float


@dataclass
class _Learned:
    """Sums by weekday since the last change, (series, 7), and over all of them, (series,)."""

    y: Floats
    e: Floats
    days: NDArray[np.int64]
    all_y: Floats
    all_e: Floats

    @staticmethod
    def nothing(series: int) -> _Learned:
        return _Learned(
            np.zeros((series, 7)),
            np.zeros((series, 7)),
            np.zeros(series, np.int64),
            np.zeros(series),
            np.zeros(series),
        )

    def expects(self, weekday: int, e: Floats) -> tuple[Floats, Floats]:
        """Returns the mean of a day, and by how much its variance is larger for being estimated."""
        # Each weekday begins with so many days of the mean level.
        share = _PSEUDO / np.maximum(self.days, 1)
        known = np.maximum(self.e[:, weekday] + share * self.all_e, _LITTLE)
        expected = e / known
        return (self.y[:, weekday] + share * self.all_y) * expected, 1 + expected

    def add(self, weekday: int, y: Floats, e: Floats) -> None:
        self.y[:, weekday] += y
        self.e[:, weekday] += e
        self.all_y += y
        self.all_e += e
        self.days += e > 0


def watch(
    daily: Daily, noise: Noise, detector: Detector, thresholds: Floats
) -> tuple[list[list[Alarm]], Floats]:
    """Returns the alarms of each series, and the largest statistic (series,) between them.

    After an alarm the level is learned anew from the day on which the change began.
    """
    series, days = daily.happened.shape
    learned = _Learned.nothing(series)
    detector.begin(series)
    alarms: list[list[Alarm]] = [[] for _ in range(series)]
    largest = np.zeros(series)
    scale, excess = _variance(daily.counts, noise)
    for t in range(days):
        weekday = (daily.weekday + t) % 7
        y, e = daily.happened[:, t], daily.exposed[:, t]
        y = np.where(e > 0, y, 0.0)
        mean, unsure = learned.expects(weekday, e)
        active = (e > 0) & (mean > 0) & (learned.days >= SETTLE)
        day = Day(y, np.maximum(mean, _LITTLE), scale, excess, unsure)
        found = detector.step(day, t, active)
        learned.add(weekday, np.where(active, day.believed, y), e)
        largest = np.maximum(largest, found)
        raised = np.flatnonzero(active & (found > thresholds))
        if len(raised):
            since = detector.since(t)
            for s in raised:
                alarms[s].append(Alarm(int(since[s]), t, float(found[s])))
                _learn_anew(learned, daily, int(s), int(since[s]), t)
            detector.reset(raised)
    return alarms, largest


def _variance(counts: NDArray[np.bool_], noise: Noise) -> tuple[Floats, Floats]:
    """Returns scale and excess: a count is negative binomial, other sums are quasi-Poisson."""
    excess = np.maximum(noise.dispersion - 1, 0) / np.maximum(noise.volume, _LITTLE)
    return np.where(counts, 1.0, noise.dispersion), np.where(counts, excess, 0.0)


def _learn_anew(learned: _Learned, daily: Daily, s: int, first: int, last: int) -> None:
    days = np.arange(first, last + 1)
    weekdays, e = (daily.weekday + days) % 7, daily.exposed[s, days]
    y = np.where(e > 0, daily.happened[s, days], 0.0)
    learned.y[s], learned.e[s] = (np.bincount(weekdays, v, minlength=7) for v in (y, e))
    learned.days[s], learned.all_y[s], learned.all_e[s] = (e > 0).sum(), y.sum(), e.sum()


@dataclass(frozen=True)
class Dated:
    """When a change began: the likeliest day, and days low to high that hold it 9 times in 10."""

    day: int
    low: int
    high: int


def dated(
    daily: Daily, noise: Noise, s: int, alarm: Alarm, first: int, last: int, level: float = 0.9
) -> Dated:
    """Returns when the change behind an alarm of series s began, given the days first to last.

    first: from when on the level before held. last: until when the level after does, exclusive.
    Every day from four weeks before the alarm's own guess on is as likely as another beforehand;
    what each says is its likelihood ratio, over the dispersion and the memory of the series.
    """
    e = daily.exposed[s]
    y = np.where(e > 0, daily.happened[s], 0.0)
    weekdays = (daily.weekday + np.arange(len(y))) % 7
    learned = _Learned.nothing(1)
    for t in range(first, max(alarm.began, first + 7)):
        learned.add(int(weekdays[t]), y[t : t + 1], e[t : t + 1])
    mean = np.array(
        [learned.expects(int(weekdays[t]), e[t : t + 1])[0][0] for t in range(last)], float
    )
    least = min(max(first + 7, alarm.began - SETTLE), alarm.raised)
    days = np.arange(least, alarm.raised + 1)
    after = [np.cumsum(v[:last][::-1])[::-1][days] for v in (y, mean)]
    chance = _posterior(after[0], after[1], float(noise.dispersion[s]), float(noise.memory[s]))
    order = np.argsort(-chance)
    held = order[: int(np.searchsorted(np.cumsum(chance[order]), level)) + 1]
    return Dated(int(days[order[0]]), int(days[held.min()]), int(days[held.max()]))


def _posterior(happened: Floats, expected: Floats, dispersion: float, memory: float) -> Floats:
    """Returns the probability of each day from which so much happened and was expected."""
    ratio = np.maximum(happened, _LITTLE) / np.maximum(expected, _LITTLE)
    gained = happened * np.log(ratio) - (happened - expected)
    gained = gained / (dispersion * (1 + memory) / (1 - memory))
    chance = np.exp(gained - gained.max())
    found: Floats = chance / chance.sum()
    return found
