"""Queries about how customers behave, week by week."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from builders.asked import Asked, Holder
from builders.sales import COMMON
from grandtotal.consortium.query import Query
from grandtotal.tasks.behaviour import Behaviour, Feature, bins_of, features_of
from grandtotal.tasks.behaviour_sums import BehaviourSums, Observed, Watching
from grandtotal.tasks.loyalty import Loyal, LoyalSums, Loyalty
from grandtotal.tasks.shift_model import ShiftScores
from grandtotal.tasks.visits import STEPS as BEHAVIOUR_STEPS


def _of_loyalty(rng: np.random.Generator, folder: Path) -> Asked:
    groups = (("gold", "all"), ("gold", "tea"), ("gold", "own"))
    parts = [
        Loyal((Loyalty(groups, 2, BEHAVIOUR_STEPS * rng.poisson(9, (3, 3, 30)), np.ones(30)),), 5)
        for _ in range(3)
    ]
    holders = [Holder({"loyal": part}, folder) for part in parts]
    return Asked(LoyalSums(2, 30), {}, holders, Holder({"loyal": Loyal.pooled(parts)}, folder))


def make_behaviour(rng: np.random.Generator, weeks: int, level: float = 40.0) -> Behaviour:
    """Returns what customers did in these weeks, of two categories, a store, no change."""
    days = 7 * weeks
    visits = rng.poisson(level, days)
    sums = {"visits": visits, "customers": visits, "known": visits, "returning": visits // 3}
    sums |= {"units": 3 * visits, "returned": visits // 9, "promoted": visits // 2}
    sums |= {"spend": rng.poisson(30 * visits), "units tea": visits, "units jam": visits // 2}
    bins = {name: len(found) for name, found in bins_of(("tea", "jam")).items()}
    profiles = {name: rng.poisson(9, (n, weeks)) for name, n in bins.items()}
    spends = np.zeros((128, weeks), np.int64)
    spends[66:74] = rng.poisson(9, (8, weeks))
    features = features_of(("tea", "jam"))
    store = Feature("visits", "store S1", "visits", counts=True)
    daily = {name: BEHAVIOUR_STEPS * np.asarray(found, np.int64) for name, found in sums.items()}
    customers = np.full((3, weeks), 20)
    first = COMMON.today - timedelta(days=days)
    return Behaviour((*features, store), len(features), daily, customers, profiles, spends, first)


def _of_behaviour(query: Query, **broadcast: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        watching = Watching(change=0.2, alarms=1.0, horizon=14, least=5)
        parts = [
            Observed((make_behaviour(rng, 20, level),), 112, 140, watching)
            for level in (40.0, 8.0, 200.0)
        ]
        holders = [Holder({"test": part}, folder) for part in parts]
        return Asked(query, broadcast, holders, Holder({"test": Observed.pooled(parts)}, folder))

    return build_asked


BUILDERS = {
    "behaviour-sums": _of_behaviour(BehaviourSums(13, 30, 112, "test")),
    "loyal-sums": _of_loyalty,
    "shift-scores": _of_behaviour(
        ShiftScores("cusum", "test"),
        happened=np.full((13, 112), 30.0),
        exposed=np.full((13, 112), 30.0),
    ),
}
