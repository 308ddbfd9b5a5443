"""The table of shifts: what changed, where, since when, by how much, and whether elsewhere too.

Every series and every distribution is one test, whether an alarm was raised or not, so that the
false discovery rate is over all that was looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from grandtotal.algorithms.distribution_shift import compared, false_discovery, shares
from grandtotal.algorithms.level_change import SETTLE, Daily, dated, noise_of
from grandtotal.consortium.query import Rows
from grandtotal.durable import Json
from grandtotal.tasks.behaviour import Behaviour
from grandtotal.tasks.behaviour_sums import Observed, profiles_of, shared_profiles, shared_sums
from grandtotal.tasks.loyalty import Loyal
from grandtotal.tasks.shift_model import (
    ShiftModel,
    Step,
    Watched,
    segment,
    step_of,
    watched_once,
)
from grandtotal.tasks.trends import Trend, trends_of
from grandtotal.tasks.visits import STEPS

CHANGED, PERHAPS, SAME, LITTLE, GAP = (
    "changed",
    "may have changed",
    "no change",
    "too little data",
    "no data",
)
TREND, STEADY = "trend", "no trend"
_ORDER = (CHANGED, TREND, PERHAPS, GAP, LITTLE, SAME, STEADY)
_SPREAD_OVER = "distribution of "
_RECENT = 4  # weeks of a distribution that are compared with those before
_SAME = 1.645  # standard errors from which the others' change is one, in the same direction
_CLEAR = 1.96  # standard errors of a trend that is clear by itself
_GAP = 3  # days without data that are told
_OWN, _NOBODY, _NOTHING = "not shared", "nobody else", "-"


@dataclass(frozen=True)
class Finding:
    """One series or distribution.

    before, after: level, or share of visits in the bin `where`. change: after / before - 1, and
    consortium_change that of all others, nan where it is not known. statistic, threshold: of what
    raised the alarm. p: that so large a change is found on any day though there was none; q: of
    all findings with a q up to this one, this share is expected to be false.
    """

    feature: str
    where: str
    since: date
    earliest: date
    latest: date
    before: float
    after: float
    change: float
    statistic: float
    threshold: float
    p: float
    q: float
    also_in_consortium: str
    consortium_change: float
    verdict: str
    trend: Trend | None = None

    @property
    def words(self) -> str:
        """The finding as a sentence."""
        if self.trend:
            return self.trend.words(self.verdict == TREND)
        name, when = self._what, self._when
        if self.verdict == GAP:
            return f"No line at all from {self.since} to {self.latest}: missing data, no change."
        if self.verdict == LITTLE:
            return f"Too few days of {name} to say, the first on {self.since}."
        if self.verdict == SAME:
            return f"No change of {name} since {self.since}."
        how = "rose" if self.change > 0 else "fell"
        perhaps = "may have " if self.verdict == PERHAPS else ""
        how = {"rose": "risen", "fell": "fallen"}[how] if perhaps else how
        return (
            f"{name[0].upper()}{name[1:]} {perhaps}{how} by {abs(self.change):.0%} {when}, from "
            f"{self.before:.4g} to {self.after:.4g}; {_elsewhere(self.also_in_consortium)}."
        )

    @property
    def _what(self) -> str:
        if self.feature.startswith(_SPREAD_OVER):
            return f"share of visits with {self.feature.removeprefix(_SPREAD_OVER)} {self.where}"
        return self.feature if self.where == "all" else f"{self.feature} of {self.where}"

    @property
    def _when(self) -> str:
        if self.feature.startswith(_SPREAD_OVER):
            return f"in the last {_RECENT} weeks with all data, from {self.since}"
        if self.earliest == self.latest:
            return f"about {self.since}"
        return f"about {self.since} (between {self.earliest} and {self.latest})"

    @property
    def row(self) -> Json:
        """The finding for a table."""
        told = {name: getattr(self, name) for name in _TOLD}
        low, high = self.trend.own.interval() if self.trend else (np.nan, np.nan)
        rate = np.expm1(self.trend.rate) if self.trend else np.nan
        told |= {"a_week": float(rate), "a_week_low": low, "a_week_high": high}
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in told.items()}
        return {**rounded, "words": self.words}


_TOLD = tuple(one.name for one in fields(Finding) if one.name != "trend")


def _elsewhere(also: str) -> str:
    return {
        "yes": "the other retailers saw the same",
        "no": "the other retailers did not",
        _OWN: "of the others this is not known",
        _NOBODY: "of the others this is not known",
    }[also]


def findings(model: ShiftModel, rows: Rows, discovery: float) -> list[Finding]:
    """Returns all that was looked at as of today, what changed first."""
    observed: Observed = rows["now"]
    loyal: Loyal = rows["loyal"]
    behaviour = observed.parts[0]
    found = watched_once(observed, 0, model.name)
    others = _Others(model, behaviour, observed)
    levels = [_level(behaviour, found, others, s, observed.cut) for s in range(len(found.alarms))]
    trends = _trends(behaviour, trends_of(loyal.parts[0], model.arrays, loyal.least))
    tested = [*levels, *_distributions(behaviour, others, observed.cut), *trends]
    q = false_discovery(np.array([one.p for one in tested]))
    judged = [_judged(one, float(each), discovery) for one, each in zip(tested, q, strict=True)]
    told = [*judged, *_gaps(behaviour, observed.cut)]
    return sorted(told, key=lambda f: (_ORDER.index(f.verdict), f.p, f.feature, f.where))


def _judged(finding: Finding, q: float, discovery: float) -> Finding:
    if finding.verdict == LITTLE:
        return finding
    if finding.trend:
        verdict = TREND if q <= discovery else STEADY
        return replace(finding, q=q, verdict=verdict)
    alarm = finding.statistic > finding.threshold
    verdict = (CHANGED if q <= discovery else PERHAPS) if alarm else SAME
    return replace(finding, q=q, verdict=verdict)


class _Others:
    """All retailers but this one, where it is one of several."""

    def __init__(self, model: ShiftModel, behaviour: Behaviour, observed: Observed) -> None:
        cut, least = observed.cut, observed.watching.least
        happened, exposed = model.series(now=True)
        self.known = happened.shape == (behaviour.shared, cut)
        if not self.known:
            return
        own = [v / STEPS for v in shared_sums(behaviour, cut, least)]
        rest = [np.maximum(a - b, 0.0) for a, b in zip((happened, exposed), own, strict=True)]
        rest = [v * (rest[1] > 1 / STEPS) for v in rest]
        counts = np.zeros(behaviour.shared, np.bool_)
        self.daily = Daily(rest[0], rest[1], counts, behaviour.weekday)
        self.noise = noise_of(self.daily)
        profiles = np.asarray(model.arrays["profiles"], np.int64)
        self.profiles = np.maximum(profiles - shared_profiles(behaviour, cut, least), 0)

    def same(self, s: int, days: tuple[int, int, int], change: float) -> tuple[str, float]:
        """Returns whether the others' level changed likewise, and by how much."""
        if not self.known or s >= len(self.daily.counts):
            return _OWN, float("nan")
        if not self.daily.exposed[s].any():
            return _NOBODY, float("nan")
        step = step_of(self.daily, self.noise, s, days)
        if not np.isfinite(step.variance):
            return _NOBODY, float("nan")
        likewise = np.sign(change) * step.change / np.sqrt(step.variance) > _SAME
        return ("yes" if likewise else "no"), float(np.expm1(step.change))


def _level(behaviour: Behaviour, found: Watched, others: _Others, s: int, today: int) -> Finding:
    """Returns what became of one series; its q is not known yet."""
    feature, alarms = behaviour.features[s], found.alarms[s]
    y, e = found.daily.happened[s], found.daily.exposed[s]
    seen = np.flatnonzero(y > 0)
    start = behaviour.first + timedelta(days=int(seen[0]) if len(seen) else 0)
    usual = float(y.sum() / max(e.sum(), 1e-9))
    threshold = float(found.thresholds[s]) if np.isfinite(found.thresholds[s]) else 0.0
    quiet = Finding(
        feature.what,
        feature.where,
        *(start, start, start),
        *(usual, usual, 0.0, 0.0, threshold, 1.0, 1.0),
        _NOTHING,
        float("nan"),
        LITTLE if not found.monitored[s] else SAME,
    )
    changed = segment(alarms, today)
    if changed is None:
        return quiet
    when = dated(found.daily, found.noise, s, alarms[-1], changed[0], today)
    days = (min(changed[0], when.day - 1), when.day, today)
    step = step_of(found.daily, found.noise, s, days)
    also, elsewhere = others.same(s, days, step.change)
    day = [behaviour.first + timedelta(days=d) for d in (when.day, when.low, when.high)]
    return replace(
        quiet,
        since=day[0],
        earliest=day[1],
        latest=day[2],
        before=step.before,
        after=float(step.before * np.exp(step.change)),
        change=float(np.expm1(step.change)),
        statistic=alarms[-1].statistic,
        p=_chance(step, today - SETTLE),
        also_in_consortium=also,
        consortium_change=elsewhere,
        verdict=PERHAPS,
    )


def _chance(step: Step, looked: int) -> float:
    """Returns the probability of a change this large on any of the days that were looked at."""
    z = abs(step.change) / np.sqrt(step.variance) if np.isfinite(step.variance) else 0.0
    return float(min(1.0, 2 * norm.sf(z) * max(looked, 1)))


def _distributions(behaviour: Behaviour, others: _Others, today: int) -> Iterator[Finding]:
    """Yields each distribution of the last four weeks against all weeks before them.

    A week with days without data is in neither: it would be a change of the weekdays.
    """
    open_ = behaviour.open_days(today)[:today]
    whole = np.flatnonzero(open_.reshape(-1, 7).all(axis=1))
    if len(whole) <= _RECENT:
        return
    profiles = profiles_of(behaviour, today)[:, whole]
    since = behaviour.first + timedelta(days=7 * int(whole[-_RECENT]))
    for name, bins, place in behaviour.bins():
        mine = profiles[place]
        tested = compared(mine[:, :-_RECENT].T, mine[:, -_RECENT:].sum(axis=1))
        if tested is None:
            continue
        most, before, after = _moved(mine)
        also, elsewhere = _OWN, float("nan")
        if others.known:
            theirs = others.profiles[place][:, whole]
            also, elsewhere = _likewise(theirs, most, after > before)
        yield Finding(
            f"{_SPREAD_OVER}{name}",
            bins[most],
            *(since, since, since),
            *(before, after, after / before - 1),
            *(tested.psi, tested.threshold, tested.p, 1.0),
            also,
            elsewhere,
            SAME,
        )


def _moved(weeks: NDArray[np.int64]) -> tuple[int, float, float]:
    """Returns the bin whose share changed most, and its share before and in the recent weeks."""
    before, after = shares(weeks[:, :-_RECENT].sum(axis=1)), shares(weeks[:, -_RECENT:].sum(axis=1))
    most = int(np.abs(after - before).argmax())
    return most, float(before[most]), float(after[most])


def _likewise(weeks: NDArray[np.int64], most: int, rose: bool) -> tuple[str, float]:
    """Returns whether the others' distribution changed, the share of that bin in that direction."""
    tested = compared(weeks[:, :-_RECENT].T, weeks[:, -_RECENT:].sum(axis=1))
    if tested is None:
        return _NOBODY, float("nan")
    before, after = (
        float(shares(part.sum(axis=1))[most]) for part in (weeks[:, :-_RECENT], weeks[:, -_RECENT:])
    )
    same = tested.psi > tested.threshold and (after > before) == rose
    return ("yes" if same else "no"), after / before - 1


def _trends(behaviour: Behaviour, trends: list[Trend]) -> Iterator[Finding]:
    """Yields the trends among loyal customers, over all weeks with data."""
    for trend in trends:
        whole = trend.own.rate * trend.weeks
        z = abs(trend.own.rate) / trend.own.error
        yield Finding(
            f"trend of {trend.measure}, {trend.tier}",
            trend.category,
            *(behaviour.first, behaviour.first, behaviour.first),
            *(trend.level * float(np.exp(-whole)), trend.level, float(np.expm1(whole))),
            *(z, _CLEAR, trend.own.p, 1.0),
            trend.likewise,
            float(np.expm1(trend.others.rate * trend.weeks)),
            STEADY,
            trend,
        )


def _gaps(behaviour: Behaviour, today: int) -> Iterator[Finding]:
    """Yields the runs of days that are taken as missing data."""
    open_ = behaviour.open_days(today)[:today]
    seen = np.flatnonzero(open_)
    first = int(seen[0]) if len(seen) else today
    edges = np.flatnonzero(np.diff(np.concatenate([[1], open_[first:].astype(np.int8), [1]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= _GAP:
            days = [behaviour.first + timedelta(days=first + int(d)) for d in (start, end - 1)]
            yield Finding(
                "data",
                "all",
                *(days[0], days[0], days[1]),
                *(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0),
                _NOTHING,
                float("nan"),
                GAP,
            )
