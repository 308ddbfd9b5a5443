"""What of customers' behaviour leaves a retailer: sums by day and by week over all its customers.

A group of fewer than `least` customers in a week is left out at home, before anything is added, and
counts as days without data; what is left out is neither a fall nor a change of a share. Money is in
the retailer's own usual visits, so that neither its currency nor its prices are in a total.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.level_change import Daily
from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.behaviour import PROFILES, Behaviour, Feature
from grandtotal.tasks.visits import STEPS

_MONEY = "spend"


@dataclass(frozen=True)
class Watching:
    """What is looked for, as agreed in the plan.

    change: the smallest share by which a level changes that matters. alarms: how many false ones a
    series may raise in a year. horizon: days ahead that a level is forecast for.
    least: customers below which a group's week is left out.
    """

    change: float
    alarms: float
    horizon: int
    least: int


@dataclass(frozen=True, eq=False)
class Observed:
    """What one retailer, or in a simulation several, saw before `cut`, and until when it is scored.

    cut, until: in days from the first. kept: what was computed of it, to be quick.
    """

    parts: tuple[Behaviour, ...]
    cut: int
    until: int
    watching: Watching
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def pooled(all_: list[Observed]) -> Observed:
        """Returns the behaviour at several retailers as one: for simulations."""
        parts = tuple(part for one in all_ for part in one.parts)
        return Observed(parts, all_[0].cut, all_[0].until, all_[0].watching)


@dataclass(frozen=True)
class BehaviourSums:
    """By day what customers did and what it is counted over; by week how their visits are spread.

    features, bins: how many of each, which the plan decides. days: before the cut of the split.
    A total over all its customers is not bounded by any one of them: not asked under epsilon.
    """

    name: ClassVar[str] = "behaviour-sums"
    bound: ClassVar[Stated] = None

    features: int
    bins: int
    days: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns happened and exposed (features, days), and profiles (bins, weeks)."""
        daily = (self.features, self.days)
        return {
            "happened": Field(daily, scale=STEPS),
            "exposed": Field(daily, scale=STEPS),
            "profiles": Field((self.bins, self.days // 7)),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums, without groups of too few customers."""
        seen: Observed = rows[self.split]
        least = seen.watching.least
        sums = [shared_sums(part, seen.cut, least) for part in seen.parts]
        profiles = [shared_profiles(part, seen.cut, least) for part in seen.parts]
        return {
            "happened": np.sum([happened for happened, _ in sums], axis=0),
            "exposed": np.sum([exposed for _, exposed in sums], axis=0),
            "profiles": np.sum(profiles, axis=0),
        }


def daily_of(behaviour: Behaviour, cut: int) -> Daily:
    """Returns all series of a retailer, its own too, in units, money and shares.

    Only what is a gap is judged as of the cut; all days are there.
    """
    open_ = behaviour.open_days(cut)
    happened, exposed = zip(
        *(_series(behaviour, f, open_) for f in behaviour.features), strict=True
    )
    counts = np.array([feature.counts for feature in behaviour.features])
    return Daily(np.stack(happened) / STEPS, np.stack(exposed) / STEPS, counts, behaviour.weekday)


def _series(
    behaviour: Behaviour, feature: Feature, open_: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns what happened and what it is counted over, in STEPS; both 0 on days without data."""
    happened = behaviour.daily[feature.above]
    exposed = behaviour.daily[feature.below] if feature.below else np.full(len(open_), STEPS)
    return happened * open_, exposed * open_


def usual_spend(behaviour: Behaviour, cut: int) -> float:
    """Returns the mean spend of a visit before the cut, in money; 1 where there is none."""
    spend, visits = (float(behaviour.daily[name][:cut].sum()) for name in (_MONEY, "visits"))
    return spend / visits if spend > 0 and visits > 0 else 1.0


def shared_sums(
    behaviour: Behaviour, cut: int, least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns happened and exposed (shared features, cut), in STEPS.

    A day counts for what is usual there, so that a retailer that is closed takes its usual visits
    out of what the consortium's are compared with. Spend is in usual visits.
    """
    open_, spend = behaviour.open_days(cut), usual_spend(behaviour, cut)
    found = []
    for feature in behaviour.features[: behaviour.shared]:
        happened, exposed = (v[:cut] for v in _series(behaviour, feature, open_))
        if feature.above == _MONEY:
            happened = np.rint(happened / spend).astype(np.int64)
        if not feature.below:
            usual = happened.sum() / max(int(open_[:cut].sum()), 1)
            exposed = np.rint(open_[:cut] * usual).astype(np.int64)
        shown = _shown(behaviour, feature.group, cut, least)
        found.append((happened * shown, exposed * shown))
    return np.stack([f for f, _ in found]), np.stack([f for _, f in found])


def _shown(behaviour: Behaviour, group: int, cut: int, least: int) -> NDArray[np.bool_]:
    """Returns on which days before the cut enough customers of a group came in the week."""
    enough = behaviour.customers[group, : cut // 7] >= least
    return np.repeat(enough, 7)


def profiles_of(behaviour: Behaviour, cut: int) -> NDArray[np.int64]:
    """Returns (bins, weeks before the cut): visits in the bins of all distributions."""
    _, usual = np.frexp(usual_spend(behaviour, cut))
    place = np.clip(np.arange(128) - 64 - usual + 3, 0, len(PROFILES["basket spend"]) - 1)
    spends = np.zeros((len(PROFILES["basket spend"]), behaviour.spends.shape[1]), np.int64)
    np.add.at(spends, place, behaviour.spends)
    tables = {**behaviour.profiles, "basket spend": spends}
    names = [*PROFILES, *(["category"] if "category" in tables else [])]
    return np.concatenate([tables[name] for name in names])[:, : cut // 7]


def shared_profiles(behaviour: Behaviour, cut: int, least: int) -> NDArray[np.int64]:
    """Returns what `profiles_of` does, without weeks of too few customers."""
    return profiles_of(behaviour, cut) * _shown(behaviour, 0, cut, least)[::7]
