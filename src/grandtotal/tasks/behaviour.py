"""What a retailer's customers do, day by day: how many come, what they spend, return and choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.visits import STEPS, Lines

_NOBODY = 9.2  # visits expected: none at all has the probability e^-9.2


@dataclass(frozen=True)
class Feature:
    """One series: how much of `above` there is for each of `below`.

    what, where: for readers. below: "" where it is a day on which the retailer was open.
    counts: whether `above` counts single events. group: which group's customers it is about, 0 is
    all of them.
    """

    what: str
    where: str
    above: str
    below: str = ""
    counts: bool = False
    group: int = 0


COMMON_FEATURES = (
    Feature("visits", "all", "visits", counts=True),
    Feature("customers", "all", "customers", counts=True),
    Feature("units", "all", "units"),
    Feature("spend", "all", "spend"),
    Feature("units a visit", "all", "units", "visits"),
    Feature("spend a visit", "all", "spend", "visits"),
    Feature("share of units returned", "all", "returned", "units"),
    Feature("share of units in promotions", "all", "promoted", "units"),
    Feature("share of visits by customers of the last 28 days", "all", "returning", "known"),
)
PROFILES = {
    "basket size": ("1", "2", "3-4", "5-8", "9-16", "17-32", "33 and more"),
    "basket spend": ("1/8 or less", "1/4", "1/2", "usual", "2 times", "4 times", "8 times or more"),
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "hour": ("0-3", "4-7", "8-11", "12-15", "16-19", "20-23"),
}
"""Distributions of visits, and their bins. Spend is in usual visits of the same retailer."""


def features_of(categories: Sequence[str]) -> tuple[Feature, ...]:
    """Returns the features that all retailers share: of all customers, and of each category."""
    found = list(COMMON_FEATURES)
    for number, name in enumerate(categories, 1):
        found.append(Feature("units", name, f"units {name}", group=number))
        found.append(Feature("share of units", name, f"units {name}", "units", group=number))
    return tuple(found)


def bins_of(categories: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the bins of every distribution; of categories only where some are agreed."""
    return {**PROFILES, **({"category": (*categories, "other")} if categories else {})}


@dataclass(frozen=True, eq=False)
class Behaviour:
    """One retailer's sums by day, and distributions by week.

    features: those that all share come first, `shared` of them; then the retailer's own.
    daily: (days,) each, in STEPS, by the words of the features; spend is in money.
    customers: (groups, weeks) different customers; an anonymous visit is one.
    profiles: of each distribution (bins, weeks) visits.
    spends: (128, weeks) visits by the power of two of their spend in money: how many times the
        usual spend that is is known only as of a cut.
    first: the first day.
    """

    features: tuple[Feature, ...]
    shared: int
    daily: dict[str, NDArray[np.int64]]
    customers: NDArray[np.int64]
    profiles: dict[str, NDArray[np.int64]]
    spends: NDArray[np.int64]
    first: date

    @property
    def days(self) -> int:
        """How many days there are."""
        return len(self.daily["visits"])

    @property
    def weekday(self) -> int:
        """Of the first day."""
        return self.first.weekday()

    def bins(self) -> Iterator[tuple[str, tuple[str, ...], slice]]:
        """Yields each distribution's name, its bins, and their place in `profiles_of`."""
        first = 0
        named = [f.where for f in self.features[len(COMMON_FEATURES) : self.shared : 2]]
        for name, bins in bins_of(named).items():
            yield name, bins, slice(first, first + len(bins))
            first += len(bins)

    def open_days(self, cut: int) -> NDArray[np.bool_]:
        """Returns on which days there is data, as of the cut: (days,)."""
        return open_days(self.daily["visits"] / STEPS, self.weekday, cut)


def open_days(visits: NDArray[np.float64], weekday: int, cut: int) -> NDArray[np.bool_]:
    """Returns on which days there is data, as far as the days before `cut` tell: (days,).

    A run of days without a visit is a gap, and no change, where so many were usual on its weekdays
    that nobody coming would have a probability below one in 10,000.
    """
    found: NDArray[np.bool_] = visits > 0
    seen = np.flatnonzero(found[:cut])
    if not len(seen):
        return np.zeros(len(visits), np.bool_)
    weekdays = (weekday + np.arange(len(visits))) % 7
    known = np.arange(seen[0], cut)
    usual = np.array([_mean(visits[known[weekdays[known] == day]]) for day in range(7)])
    after = [(first + cut, last + cut) for first, last in _runs(~found[cut:])]
    for first, last in (*_runs(~found[:cut]), *after):
        found[first:last] = usual[weekdays[first:last]].sum() < _NOBODY
    found[: seen[0]] = False
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Returns (first, after the last) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def read_behaviour(lines: Lines, categories: tuple[str, ...], before: int) -> Behaviour:
    """Returns what the lines say.

    before: the day as of which the retailer's own largest categories and stores are chosen.
    """
    daily = lines.by_day()
    own = [name for name in lines.categories(before) if name not in categories]
    for name in (*categories, *own):
        daily[f"units {name}"] = lines.units_of(name)
    own_features = [
        *(Feature("units", name, f"units {name}") for name in own),
        *(Feature("share of units", name, f"units {name}", "units") for name in own),
    ]
    for store, visits in lines.by_store(before).items():
        daily[f"visits {store}"] = visits
        own_features.append(Feature("visits", f"store {store}", f"visits {store}", counts=True))
    shared = features_of(categories)
    return Behaviour(
        (*shared, *own_features),
        len(shared),
        daily,
        lines.customers(categories),
        lines.profiles(categories),
        lines.spends(),
        lines.first,
    )
