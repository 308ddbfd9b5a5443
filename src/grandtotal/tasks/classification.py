"""Whether something will happen, for each unit: what churn and purchase intent have in common.

A regression and trees are fitted on the same rows; the lower summed log loss on validation wins.
What a unit is, what is known of it at a cut and what came after is for each task to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import GLM, log_loss
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees_in_noise import TreesInNoise
from grandtotal.consortium.query import Rows, shared
from grandtotal.consortium.totals import Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.outcome_groups import calibration, found_gaps, shared_gaps
from grandtotal.tasks.outcome_model import (
    GRID,
    TREES,
    OutcomeModel,
    leveled,
    named,
    table,
)
from grandtotal.tasks.outcome_queries import GroupGaps, OutcomeScores, calibration_error, highest
from grandtotal.tasks.outcomes import OUTCOME, Cases, Split
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.task import Common, Fitted, check_models, check_numbers

PROTECTED = ("age_band", "region")
ATTRIBUTES = (*PROTECTED, "tier")
_ROUNDS = 5  # Newton steps under epsilon
_LARGEST_LOSS = 2.0  # norm of (log loss, 1) of one unit under epsilon; a loss above is cut
_LIGHT = 0.1  # weight of a release of a few sums, which stand out of noise that hides a matrix
METRICS = (
    Metric("log-loss", False, "log loss: minus the mean log of the probability of what came"),
    Metric(
        "auc",
        True,
        "AUC within a retailer: how often one of the two is ranked above the other; over retailers "
        "the mean by their units",
    ),
    Metric("lift", True, "lift: share found in each retailer's highest tenth, times ten"),
    Metric("average-precision", True, "mean precision at the rank of each unit that was right"),
    Metric("brier", False, "Brier score: mean squared error of the probability"),
    Metric("bias", False, "sum (probability - outcome) / sum outcome; 0 is best"),
)


@dataclass(frozen=True)
class Classification:
    """Settings that all tasks of an outcome share.

    models: what the choice is made of; under epsilon the regression if it is named, else trees
        whose splits are drawn. trees: how many trees, where they are tried without epsilon.
    protected: facts of a customer, of PROTECTED, that may be features; else they measure gaps only.
    groups: whose gaps all learn, as "tier = gold"; a retailer's own report has all groups.
    least_group: units that a group has at least, at a retailer, before anything is said of it.
    """

    units: ClassVar[str] = "customers"
    unit: ClassVar[str] = "customer"
    headline: ClassVar[str] = "log-loss"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    rule: ClassVar[tuple[str, str]] = ("", "")  # column and name of the baseline

    common: Common
    models: tuple[str, ...] = tuple(GRID)
    trees: int = TREES.trees
    protected: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    least_group: int = 50

    def __post_init__(self) -> None:
        check_models(self.models, GRID)
        check_numbers(least_group=(self.least_group, 1), trees=(self.trees, 1, 2000))
        for name in self.protected:
            if name not in PROTECTED:
                raise PlanError(
                    f"protected names '{name}', expected some of {', '.join(PROTECTED)}"
                )
        for group in self.groups:
            if not isinstance(group, str) or group.partition("=")[0].strip() not in ATTRIBUTES:
                raise PlanError(
                    f'groups has {group!r}, expected texts such as "tier = gold", of '
                    f"{', '.join(ATTRIBUTES)}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the cases, the constant first; for each task to say."""
        raise NotImplementedError

    @property
    def rows_of_unit(self) -> int:
        """How many training rows a unit has at most."""
        return 1

    @property
    def largest(self) -> float:
        """Under epsilon, the norm of a unit's X'WX and X'r: about the median, as measured."""
        return math.sqrt(len(self.names)) * self.rows_of_unit

    @property
    def _in_noise(self) -> TreesInNoise:
        """The trees that are fitted under epsilon, where the plan names no regression."""
        return TreesInNoise(rows=self.rows_of_unit, group=self.unit)

    @property
    def seasonal(self) -> bool:
        """Whether rows of the same time of the year before are asked about; see `season_of`."""
        return False

    @property
    def shown(self) -> int:
        """Nothing is recommended here."""
        return 0

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the candidate with the lower summed log loss, fitted up to the test cut."""
        if self.common.privacy.private:
            return self._fit_in_noise(totals)
        totals = Remembering(totals)
        tried = [self._validate(totals, name) for name in self.models]
        best = min(range(len(tried)), key=lambda i: tried[i][0]["log-loss"])
        score, start = tried[best]
        chosen: dict[str, Any] = {key: score[key] for key in ("model", "l2") if key in score}
        parts, fit = self._fitted(totals, chosen["model"], "test", start)
        meta: Json = {**chosen, "fit": fit}
        choice: Json = {"chosen": meta, "tried": [score for score, _ in tried]}
        gaps = self._gaps(totals, chosen["model"], start)
        return Fitted(OutcomeModel(meta, parts), {**choice, **gaps})

    def _fitted(
        self, totals: Totals, name: str, split: str, start: Arrays | None = None
    ) -> tuple[Arrays, Json]:
        candidate = GRID[name]
        if isinstance(candidate, GLM):
            given = {"coefficients": start["coefficients"]} if start else {}
            coefficients, fit = candidate.fit(totals, len(self.names), split, given)
            return self._in_season(totals, name, split, {"coefficients": coefficients}), fit
        boosting = replace(candidate, trees=self.trees)
        trees, grown = boosting.fit(totals, Data(OUTCOME, self.names[1:], split=split))
        found = {"trees": len(trees.trees), "rows": grown["rows"]}
        return self._in_season(totals, name, split, trees.arrays), found

    def _in_season(self, totals: Totals, name: str, split: str, parts: Arrays) -> Arrays:
        """Returns the arrays with what this time of the year added the year before."""
        if not self.seasonal:
            return parts
        rows = season_of(split)
        season, _ = GLM("logistic", l2=1.0).fit(totals, 1, rows, named(name, parts))
        return {**parts, "season": season}

    def _validate(self, totals: Totals, name: str) -> tuple[Json, Arrays]:
        parts, fit = self._fitted(totals, name, "validation")
        sums = totals.total(OutcomeScores(name, "validation"), parts)
        candidate = GRID[name]
        score: dict[str, Any] = {"model": name}
        if isinstance(candidate, GLM):
            score["l2"] = candidate.l2
        units = max(float(sums["units"].sum()), 1.0)
        return {
            **score,
            "fit": fit,
            "log-loss": float(sums["loss"]) / units,
            "calibration-error": calibration_error(sums),
            "calibration": calibration(sums),
        }, parts

    def _gaps(self, totals: Totals, name: str, parts: Arrays) -> Json:
        """Returns {"gaps": how the candidate treats the agreed groups}; {} without any.

        On validation; under epsilon on the test, of which no other question is asked before.
        """
        if not self.groups:
            return {}
        query = GroupGaps(name, "validation", self.groups, self.least_group)
        if self.common.privacy.private:
            most = len({group.partition("=")[0].strip() for group in self.groups})
            query = replace(query, split="test", per_unit=most, group=self.unit)
        return {"gaps": shared_gaps(self.groups, totals.total(query, parts), self.least_group)}

    def _fit_in_noise(self, totals: Totals) -> Fitted:
        """Returns the regression after `_ROUNDS` Newton steps on clipped units, or drawn trees."""
        if "logistic" not in self.models:
            trees, grown = self._in_noise.fit(totals, self.names[1:], OUTCOME, "test")
            chosen: Json = {"model": "trees", "fit": grown}
            of_trees = OutcomeModel(chosen, trees.arrays)
            gaps = self._gaps(totals, "trees", trees.arrays)
            return Fitted(of_trees, {"chosen": chosen, "tried": [], "left_out": {}, **gaps})
        glm = replace(
            cast(GLM, GRID["logistic"]), rounds=_ROUNDS, largest=self.largest, group=self.unit
        )
        coefficients, fit = glm.fit(totals, len(self.names), "test", {})
        meta: Json = {"model": "logistic", "l2": glm.l2, "fit": fit}
        left_out = {"trees": _ONE_MODEL} if "trees" in self.models else {}
        choice: Json = {"chosen": meta, "tried": [], "left_out": left_out}
        parts = {"coefficients": coefficients}
        return Fitted(
            OutcomeModel(meta, parts), {**choice, **self._gaps(totals, "logistic", parts)}
        )

    def releases(self) -> tuple[Release, ...]:
        """Returns what is asked under epsilon: of the model, group gaps if any, and one score."""
        gaps = (Release("group-gaps", 1, _LIGHT),) if self.groups else ()
        steps = Release("glm-moments", _ROUNDS)
        fit = steps if "logistic" in self.models else self._in_noise.asked(_ROUNDS)
        return (fit, *gaps, Release("test-scores", 1, _LIGHT))

    @property
    def scored(self) -> Scored:
        """The log loss of the delivered model, unit by unit."""
        return Scored(shared("test"), _LARGEST_LOSS, self.unit)

    # --- the retailer's half ---

    def build(self, arrays: Arrays, meta: Json) -> OutcomeModel:
        """Returns the delivered model."""
        return OutcomeModel(meta, arrays)

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model with a level of the retailer's own where one helps; it stays at home.

        Level: what is added to all log odds, where things happen more or less often than
        elsewhere.
        """
        validation, test = rows["validation"], rows["test"]
        return leveled(cast(OutcomeModel, model), (validation.train, validation.scored), test.train)

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the share of outcomes in each tenth of one column, as the retailer counts it."""
        column, label = self.rule
        return table(rows["test"].train, column), label

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each unit adds to each metric."""
        return unit_scores(rows[split].scored, cast(OutcomeModel, model))

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns lift and calibration on the test, what weighs most, and gaps between groups."""
        split: Split = rows["test"]
        outcome = cast(OutcomeModel, model)
        p, y = outcome.probabilities(split.scored), split.scored.y
        return {
            "share": round(float(y.mean()), 6),
            "lift": lift_by_tenth(y, p),
            "calibration": calibration(tenths(y, p)),
            "calibration_error": round(calibration_error(tenths(y, p)), 6),
            "weights": weights(outcome, split.scored),
            "own_level": float(outcome.level[0]) if outcome.level.size else None,
            "gaps": found_gaps(split, p, self.least_group),
            "least_group": self.least_group,
            "protected": list(self.protected),
        }

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the splits as if one company held them."""
        pooled = {s: Split.pooled([part[s] for part in rows]) for s in ("validation", "test")}
        return {split: pooled[split.removeprefix("shared ")] for split in rows[0] if _is(split)}


_ONE_MODEL = (
    "under epsilon one model is fitted, since a choice between two would be paid for: for trees "
    'name them alone, models = ["trees"]'
)


def _is(split: str) -> bool:
    return split.removeprefix("shared ") in ("validation", "test")


def season_of(split: str) -> str:
    """Returns the name of the rows of the same time of the year before a split's cut."""
    return f"{split} season"


def unit_scores(cases: Cases, model: OutcomeModel) -> UnitScores:
    """Returns what each case adds to METRICS.

    AUC: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated
    receiver operating characteristic curves", 1988, https://doi.org/10.2307/2531595. A unit of
    class c adds theta + n / n_c (u - theta), u the share of the other class that is on the right
    side of it: the mean is the AUC, and its variance over draws of units that of the AUC.
    """
    y, odds = cases.y, model.log_odds(cases)
    p = model.probabilities(cases)
    each = np.ones(len(y))
    both = each * (0 < y.sum() < len(y))
    high = highest(p)
    return UnitScores.of(
        METRICS,
        [
            log_loss(y, odds),
            pseudo_values(y, odds) * both,
            y * high / max(float(high.mean()), 1e-9) if len(y) else y,
            y * precision_at_rank(y, odds),
            (p - y) ** 2,
            p - y,
        ],
        [each, both, y, y, each, y],
    )


def pseudo_values(y: NDArray[np.float64], rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns what each unit adds to the AUC, (units,); zeros where one class is empty."""
    ones, zeros = np.sort(rank[y > 0]), np.sort(rank[y == 0])
    if not len(ones) or not len(zeros):
        return np.zeros(len(y))
    below = (np.searchsorted(zeros, rank, "left") + np.searchsorted(zeros, rank, "right")) / 2
    above = (
        len(ones) - (np.searchsorted(ones, rank, "left") + np.searchsorted(ones, rank, "right")) / 2
    )
    right = np.where(y > 0, below / len(zeros), above / len(ones))
    auc = right[y > 0].mean()
    share = np.where(y > 0, len(ones), len(zeros)) / len(y)
    values: NDArray[np.float64] = auc + (right - auc) / share
    return values


def precision_at_rank(y: NDArray[np.float64], rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the share of ones among the units ranked as high as each or higher, (units,)."""
    everyone, ones = np.sort(rank), np.sort(rank[y > 0])
    as_high = len(everyone) - np.searchsorted(everyone, rank, "left")
    found: NDArray[np.float64] = (len(ones) - np.searchsorted(ones, rank, "left")) / as_high
    return found


def tenths(y: NDArray[np.float64], p: NDArray[np.float64]) -> Arrays:
    """Returns units, ones and expected ones in each tenth of the units by their probability."""
    order = np.argsort(p, kind="stable")
    place = np.empty(len(p), np.int64)
    place[order] = np.arange(len(p)) * 10 // max(len(p), 1)
    return {
        "units": np.bincount(place, minlength=10),
        "ones": np.bincount(place, y, minlength=10),
        "expected": np.bincount(place, p, minlength=10),
    }


def lift_by_tenth(y: NDArray[np.float64], p: NDArray[np.float64]) -> list[float]:
    """Returns for each tenth, the highest first, its share of ones over that of all."""
    sums = tenths(y, p)
    mean = max(float(y.mean()), 1e-9) if len(y) else 1.0
    rate = sums["ones"] / np.maximum(sums["units"], 1) / mean
    return [round(float(value), 4) for value in rate[::-1]]


def weights(model: OutcomeModel, cases: Cases, most: int = 2000) -> list[Json]:
    """Returns by how much each column moves the log odds on average, the strongest first."""
    few = cases.chosen(slice(0, most))
    size = np.abs(model.reasons(few)).mean(axis=0)
    order = np.argsort(-size, kind="stable")
    named: Sequence[str] = cases.names[1:]
    return [{"column": named[i], "size": round(float(size[i]), 6)} for i in order if size[i] > 0]
