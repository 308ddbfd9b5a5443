"""Queries about what customers and visitors did next."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.consortium.query import Query
from grandtotal.tasks.outcome_queries import GroupGaps, OutcomeScores
from grandtotal.tasks.outcomes import Cases, Split, in_steps

OUTCOMES = ("one", "recency", "visits")


def make_split(rng: np.random.Generator, units: int) -> Split:
    """Returns two training rows and a scored one of each unit, which has a tier."""

    def cases(times: int) -> Cases:
        unit = np.repeat(np.arange(units), times)
        recency, visits = rng.normal(size=(2, len(unit)))
        left = (rng.random(len(unit)) < 1 / (1 + np.exp(visits - recency))).astype(np.float64)
        x = in_steps({"recency": recency, "visits": visits})
        return Cases(OUTCOMES, x, left, unit)

    tiers = np.where(rng.random(units) < 0.3, "gold", "basic").astype(object)
    return Split(cases(2), cases(1), {"tier": tiers})


def _of_outcomes(query: Query) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_split(rng, units) for units in (17, 30, 4)]
        holders = [Holder({"test": part}, folder) for part in parts]
        given = {"coefficients": np.array([0.2, 1.0, -0.5])}
        return Asked(query, given, holders, Holder({"test": Split.pooled(parts)}, folder))

    return build_asked


BUILDERS = {
    "group-gaps": _of_outcomes(GroupGaps("logistic", "test", ("tier = gold", "tier = basic"), 3)),
    "outcome-scores": _of_outcomes(OutcomeScores("logistic", "test")),
}
