"""Levels of behaviour: which changes are believed, and what a level is expected to be next.

The consortium tells two things that no retailer knows of itself: which way of looking for changes
was right most often, and whether the others saw the same. A change of one's own that is still
uncertain is moved towards theirs, by as much as was right on validation; a retailer alone has
nothing to move it to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.level_change import SETTLE, Alarm, Daily, Noise, noise_of, watch
from grandtotal.algorithms.level_detectors import DETECTORS
from grandtotal.algorithms.level_thresholds import thresholds_of
from grandtotal.consortium.query import Rows, State
from grandtotal.durable import Json, arrays_digest
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.behaviour import Behaviour
from grandtotal.tasks.behaviour_sums import Observed, Watching, daily_of

Floats = NDArray[np.float64]
REFERENCE = "reference"  # the level of all days so far goes on
RECENT = "recent"  # the level of the last eight weeks goes on
SPREADS = (0.1, 0.3, 1.0)  # standard deviations of log changes from one retailer to another
_RECENT = 56
_SCORE_STEPS = 2**20
_SMALLEST = 1e-9


@dataclass(frozen=True)
class ShiftModel:
    """The detector that was chosen, and the consortium's sums.

    name: one of DETECTORS, REFERENCE or RECENT. happened, exposed: (features, days) totals before
    the cut that scores are about; now_*: until today, and profiles (bins, weeks).
    """

    meta: Json
    arrays: Arrays

    @property
    def name(self) -> str:
        """Which way of looking for changes."""
        return str(self.meta["model"])

    @property
    def spread(self) -> float:
        """How far changes of retailers are taken to lie around those of all."""
        return float(self.meta.get("spread", SPREADS[-1]))

    def series(self, now: bool = False) -> tuple[Floats, Floats]:
        """Returns happened and exposed of the consortium, without days where there are none."""
        prefix = "now_" if now else ""
        empty = np.zeros((0, 0))
        return (
            np.asarray(self.arrays.get(f"{prefix}happened", empty)),
            np.asarray(self.arrays.get(f"{prefix}exposed", empty)),
        )


def without_totals(name: str) -> ShiftModel:
    """Returns a model that needs no consortium."""
    return ShiftModel({"model": name}, {})


# --- one retailer, watched ---


@dataclass(frozen=True, eq=False)
class Watched:
    """A retailer's series, how they vary, and the alarms of one detector.

    monitored: (series,) whether there is enough before the cut to watch it.
    """

    daily: Daily
    noise: Noise
    thresholds: Floats
    monitored: NDArray[np.bool_]
    alarms: list[list[Alarm]]


def watched(behaviour: Behaviour, cut: int, until: int, watching: Watching, name: str) -> Watched:
    """Returns what a detector finds; what is after the cut moves no threshold and no gap."""
    daily = daily_of(behaviour, cut).until(until)
    noise = noise_of(daily.until(cut))
    thresholds, monitored, alarms = raised(daily, name, watching, cut)
    return Watched(daily, noise, thresholds, monitored, alarms)


def raised(
    daily: Daily, name: str, watching: Watching, cut: int | None = None
) -> tuple[Floats, NDArray[np.bool_], list[list[Alarm]]]:
    """Returns thresholds, which series are monitored, and the alarms of each.

    A series with too few days before the cut is not monitored and has no threshold.
    """
    before = daily.until(daily.happened.shape[1] if cut is None else cut)
    noise = noise_of(before)
    monitored = ((before.exposed > 0).sum(axis=1) >= 2 * SETTLE) & _enough(before)
    series = len(daily.counts)
    thresholds, alarms = np.full(series, np.inf), [list[Alarm]() for _ in range(series)]
    chosen = np.flatnonzero(monitored)
    if name in DETECTORS and len(chosen):
        some = daily.of(chosen)
        of_some = Noise(noise.volume[chosen], noise.dispersion[chosen], noise.memory[chosen])
        change = watching.change
        thresholds[chosen] = thresholds_of(of_some, some.counts, name, change, watching.alarms)
        found, _ = watch(some, of_some, DETECTORS[name](change), thresholds[chosen])
        for s, of_series in zip(chosen, found, strict=True):
            alarms[s] = of_series
    return thresholds, monitored, alarms


def _enough(daily: Daily) -> NDArray[np.bool_]:
    """Returns for which series something happened in at least as many days as settle a level."""
    found: NDArray[np.bool_] = (daily.happened > 0).sum(axis=1) >= SETTLE
    return found


def watched_once(observed: Observed, part: int, name: str) -> Watched:
    """Returns what `watched` does; what was found before is kept with the rows."""
    if (part, name) not in observed.kept:
        behaviour, watching = observed.parts[part], observed.watching
        found = watched(behaviour, observed.cut, observed.until, watching, name)
        observed.kept[part, name] = found
    kept: Watched = observed.kept[part, name]
    return kept


def consortium_alarms(model: ShiftModel, observed: Observed) -> list[list[Alarm]]:
    """Returns the alarms of the consortium's own series before the cut, none where it has none."""
    happened, exposed = model.series()
    if model.name not in DETECTORS or not len(happened):
        return [[] for _ in observed.parts[0].features]
    key = ("consortium", model.name, arrays_digest({"y": happened, "e": exposed}))
    if key not in observed.kept:
        counts = np.zeros(len(happened), np.bool_)
        daily = Daily(happened, exposed, counts, observed.parts[0].weekday)
        observed.kept[key] = raised(daily, model.name, observed.watching)[2]
    kept: list[list[Alarm]] = observed.kept[key]
    return kept


# --- levels ---


@dataclass(frozen=True)
class Step:
    """A change of level: log(after / before), its variance, and the level before.

    variance: of the series' own noise, its memory counted.
    """

    change: float
    variance: float
    before: float


def step_of(daily: Daily, noise: Noise, s: int, days: tuple[int, int, int]) -> Step:
    """Returns the change of series s at the middle one of three days: from, when, until."""
    first, began, last = days
    y, e = daily.happened[s], daily.exposed[s]
    sums = [(y[a:b].sum(), e[a:b].sum()) for a, b in ((first, began), (began, last))]
    (y0, e0), (y1, e1) = sums
    if min(e0, e1) <= 0 or y0 <= 0:
        return Step(0.0, np.inf, y0 / e0 if e0 > 0 else 0.0)
    spread = noise.dispersion[s] * (1 + noise.memory[s]) / (1 - noise.memory[s])
    # Half an event more keeps a level of zero finite.
    after, before = (y1 + spread / 2) / e1, (y0 + spread / 2) / e0
    variance = spread / (y1 + spread / 2) + spread / (y0 + spread / 2)
    return Step(float(np.log(after / before)), float(variance), float(y0 / e0))


def consortium_change(
    happened: Floats, exposed: Floats, feature: int, days: tuple[int, int, int]
) -> float | None:
    """Returns log(after / before) of the consortium's level, None where it has no such days."""
    if feature >= len(happened) or days[1] >= happened.shape[1]:
        return None
    first, began, last = days
    y, e = happened[feature], exposed[feature]
    levels = [(y[a:b].sum(), e[a:b].sum()) for a, b in ((first, began), (began, min(last, len(y))))]
    if min(min(pair) for pair in levels) <= 0:
        return None
    return float(np.log(levels[1][0] / levels[1][1]) - np.log(levels[0][0] / levels[0][1]))


def believed(step: Step, consortium: float | None, spread: float) -> float:
    """Returns the log change that is acted on: the own one, moved to the consortium's.

    The posterior mean where changes of retailers lie around that of all of them with this standard
    deviation; around no change where the consortium does not say.
    """
    if not np.isfinite(step.variance):
        return consortium or 0.0
    weight = spread**2 / (spread**2 + step.variance)
    return weight * step.change + (1 - weight) * (consortium or 0.0)


def segment(alarms: list[Alarm], origin: int) -> tuple[int, int] | None:
    """Returns from when the level before held, and since when the one after, as known at origin.

    None where no alarm was raised before it.
    """
    known = [alarm for alarm in alarms if alarm.raised < origin]
    if not known:
        return None
    first = known[-2].began if len(known) > 1 else 0
    return min(first, known[-1].began), known[-1].began


def level_at(
    model: ShiftModel, found: Watched, s: int, origin: int, everywhere: list[list[Alarm]]
) -> float:
    """Returns the level that series s is expected to have from `origin` on.

    everywhere: the alarms of the consortium's series. A change that is plain in the total may hide
    in the noise of one retailer: where it raised no alarm of its own, theirs date the change.
    """
    y, e = found.daily.happened[s], found.daily.exposed[s]
    first = max(origin - _RECENT, 0) if model.name == RECENT else 0
    theirs = everywhere[s] if s < len(everywhere) else []
    changed = segment(found.alarms[s], origin) or segment(theirs, origin)
    if changed is None:
        return float(y[first:origin].sum() / max(e[first:origin].sum(), _SMALLEST))
    days = (*changed, origin)
    step = step_of(found.daily, found.noise, s, days)
    theirs_too = consortium_change(*model.series(), s, days)
    return step.before * float(np.exp(believed(step, theirs_too, model.spread)))


# --- scores ---


@dataclass(frozen=True)
class SeriesScore:
    """What one series adds: sums over origins, relative to its level before the cut.

    error: |level - forecast|; level; alarms raised in the scored days, those of them after which
    the horizon was nearer to the level before (false), and those that could be judged.
    """

    error: float
    level: float
    alarms: int
    false: int
    judged: int


def score_series(
    model: ShiftModel, observed: Observed, found: Watched, s: int
) -> SeriesScore | None:
    """Returns what series s scores from the cut on, None where it has no level before it."""
    y, e = found.daily.happened[s], found.daily.exposed[s]
    cut, until, horizon = observed.cut, observed.until, observed.watching.horizon
    usual = y[:cut].sum() / max(e[:cut].sum(), _SMALLEST)
    if not found.monitored[s] or usual <= 0:
        return None
    error = level = 0.0
    theirs = consortium_alarms(model, observed)
    for origin in range(cut, until - horizon + 1, horizon):
        days = slice(origin, origin + horizon)
        if e[days].sum() > 0:
            actual = y[days].sum() / e[days].sum()
            error += abs(actual - level_at(model, found, s, origin, theirs)) / usual
            level += actual / usual
    new = [alarm for alarm in found.alarms[s] if cut <= alarm.raised < until]
    judged = [_was_false(model, found, s, alarm, horizon) for alarm in new]
    known = [false for false in judged if false is not None]
    return SeriesScore(error, level, len(new), sum(known), len(known))


def _was_false(
    model: ShiftModel, found: Watched, s: int, alarm: Alarm, horizon: int
) -> bool | None:
    """Returns whether the days after an alarm were nearer to the level before it."""
    origin = alarm.raised + 1
    y, e = (v[s, origin : origin + horizon] for v in (found.daily.happened, found.daily.exposed))
    changed = segment(found.alarms[s], origin)
    if len(y) < horizon or e.sum() <= 0 or changed is None:
        return None
    before = step_of(found.daily, found.noise, s, (*changed, origin)).before
    actual = y.sum() / e.sum()
    return bool(abs(actual - before) < abs(actual - level_at(model, found, s, origin, [])))


@dataclass(frozen=True)
class ShiftScores:
    """How far forecasts of the level were off when the alarms of one detector are acted on.

    The broadcast holds the consortium's "happened" and "exposed" before the cut. Sums over all
    customers, which no one of them bounds: not asked under epsilon.
    """

    name: ClassVar[str] = "shift-scores"
    bound: ClassVar[Stated] = None

    model: str
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns error of each of SPREADS and level: sums over the shared series, relative."""
        return {
            "error": Field((len(SPREADS),), scale=_SCORE_STEPS),
            "level": Field((), scale=_SCORE_STEPS),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each series is rounded before it is added."""
        observed: Observed = rows[self.split]
        sums = [self._sums(observed, spread, dict(broadcast)) for spread in SPREADS]
        return {"error": np.array([error for error, _ in sums]), "level": np.asarray(sums[0][1])}

    def _sums(self, observed: Observed, spread: float, totals: Arrays) -> tuple[int, int]:
        model = ShiftModel({"model": self.model, "spread": spread}, totals)
        error = level = 0
        for part, behaviour in enumerate(observed.parts):
            found = watched_once(observed, part, self.model)
            for s in range(behaviour.shared):
                score = score_series(model, observed, found, s)
                if score is not None:
                    error += round(score.error * _SCORE_STEPS)
                    level += round(score.level * _SCORE_STEPS)
        return error, level
