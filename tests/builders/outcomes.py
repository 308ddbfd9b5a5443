"""Queries about what customers and visitors did next."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from builders.asked import Asked, Holder
from grandtotal.algorithms.trees_in_noise import TreeLeaves, TreesInNoise
from grandtotal.consortium.query import Query, shared
from grandtotal.tasks.outcome_queries import GroupGaps, OutcomeScores
from grandtotal.tasks.outcomes import OUTCOME, Cases, Split, in_steps

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


def _of_outcomes(query: Query, split: str = "test", **given: Any) -> Callable[..., Asked]:
    def build_asked(rng: np.random.Generator, folder: Path) -> Asked:
        parts = [make_split(rng, units) for units in (17, 30, 4)]
        holders = [Holder({split: part}, folder) for part in parts]
        broadcast = given or {"coefficients": np.array([0.2, 1.0, -0.5])}
        return Asked(query, broadcast, holders, Holder({split: Split.pooled(parts)}, folder))

    return build_asked


class _Asking:
    """Totals that keep what is asked first, and answer with zeros."""

    first: dict[str, Any] | None = None

    def total(self, query: Query, broadcast: Any) -> Any:
        self.first = self.first or dict(broadcast)
        fields = query.fields(broadcast)
        return {name: np.zeros(field.shape) for name, field in fields.items()}


def drawn_trees(names: tuple[str, ...], **settings: Any) -> dict[str, Any]:
    """Returns what is asked first about trees with drawn splits."""
    asking = _Asking()
    TreesInNoise(**settings).fit(asking, names, OUTCOME, "test")
    assert asking.first is not None
    return asking.first


BUILDERS = {
    "group-gaps": _of_outcomes(GroupGaps("logistic", "test", ("tier = gold", "tier = basic"), 3)),
    "tree-leaves": _of_outcomes(
        TreeLeaves(OUTCOME, "test", "logistic", 0.0, 2.0),
        shared("test"),
        **drawn_trees(OUTCOMES[1:], releases=1, trees=3, depth=2),
    ),
    "outcome-scores": _of_outcomes(OutcomeScores("logistic", "test")),
}
