"""The probability of an outcome: a logistic regression, trees, or a table of the retailer's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import GLM, X_STEPS, Design, linear, log_loss, probability
from grandtotal.algorithms.tree_bins import Binning
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_reasons import contributions
from grandtotal.algorithms.trees import Boosting
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, under
from grandtotal.tasks.outcomes import Cases

LOGISTIC = GLM("logistic", l2=1.0)
TREES = Boosting(
    Objective("logistic"),
    trees=60,
    rate=0.12,
    growth=Growth(leaves=16, depth=4, rows=40, l2=2.0),
    binning=Binning(bins=64),
)
GRID: Mapping[str, GLM | Boosting] = {"logistic": LOGISTIC, "trees": TREES}
_STEPS = 2**16  # of an offset
_TENTHS = 10  # groups of the table
_AT_ONCE = 2**14  # rows whose reasons are found at once
_NONE = np.empty(0)


@dataclass(frozen=True)
class OutcomeModel:
    """parts: the arrays of the regression or of the trees; of a table its edges and log odds.

    "season" of them, where it was asked, is what this time of the year adds to all log odds.
    At home only: level, what the retailer adds to all log odds, empty where it does not help.
    """

    meta: Json
    parts: Arrays
    level: NDArray[np.float64] = field(default_factory=lambda: _NONE)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return self.parts

    def log_odds(self, cases: Cases) -> NDArray[np.float64]:
        """Returns log p / (1 - p) of each case."""
        own = float(self.level[0]) if self.level.size else 0.0
        season = float(self.parts["season"][0]) if "season" in self.parts else 0.0
        return self.of_a_usual_time(cases) + season + own

    def of_a_usual_time(self, cases: Cases) -> NDArray[np.float64]:
        """Returns the log odds without the season and without what is added at home."""
        if self.meta["model"] == "logistic":
            return linear(cases.known(), self.parts["coefficients"])
        if self.meta["model"] == "trees":
            return self.trees.scores(cases.columns)
        column = cases.numbers(self.meta["column"])
        found: NDArray[np.float64] = self.parts["log odds"]
        return found[np.searchsorted(self.parts["edges"], column)]

    def probabilities(self, cases: Cases) -> NDArray[np.float64]:
        """Returns the probability of a 1 of each case."""
        return probability(self.log_odds(cases))

    def reasons(self, cases: Cases) -> NDArray[np.float64]:
        """Returns what each column adds to the log odds beside a usual case, (rows, columns).

        Of the regression, beside the mean of these cases; of trees, the Shapley values. Without
        the constant, in the order of the names.
        """
        if not len(cases):
            return np.zeros((0, len(cases.names) - 1))

        if self.meta["model"] == "logistic":
            x = cases.known()[:, 1:] / X_STEPS
            pulled: NDArray[np.float64] = (x - x.mean(axis=0)) * self.parts["coefficients"][1:]
            return pulled
        if self.meta["model"] == "trees":
            parts = [
                contributions(self.trees, cases.chosen(slice(i, i + _AT_ONCE)).columns)[:, :-1]
                for i in range(0, len(cases), _AT_ONCE)
            ]
            return np.concatenate(parts)
        return np.zeros((len(cases), len(cases.names) - 1))

    @property
    def trees(self) -> TreesModel:
        """The trees, where the model is of trees."""
        return TreesModel.of(self.parts, {"objective": "logistic", "shape": 0.0})


def model_of(name: str, parts: Arrays) -> OutcomeModel:
    """Returns a candidate with these arrays: what a query is asked about."""
    return OutcomeModel({"model": name}, parts)


@dataclass(frozen=True, eq=False)
class SameSeason:
    """Cases of the same time of the year before, whose outcome is known: what a season adds.

    The broadcast holds the arrays of a candidate as "NAME ARRAY", see `named`.
    """

    parts: tuple[Cases, ...]

    def training(self, broadcast: Arrays) -> Iterator[Design]:
        """Yields a design whose one column is the season, beside what the candidate says."""
        name = next(key for key in broadcast if " " in key).split(" ")[0]
        model = model_of(name, under(f"{name} ", broadcast))
        for cases in self.parts:
            offset = np.rint(model.of_a_usual_time(cases) * _STEPS) / _STEPS
            yield Design(np.full((len(cases), 1), X_STEPS, np.int16), cases.y, offset)

    @staticmethod
    def joined(parts: Sequence[SameSeason]) -> SameSeason:
        """Returns the cases of several retailers as one: for simulations."""
        return SameSeason(tuple(cases for part in parts for cases in part.parts))


def named(name: str, parts: Arrays) -> Arrays:
    """Returns the arrays of a candidate under names that no other array of a broadcast has."""
    return {f"{name} {key}": array for key, array in parts.items()}


def table(cases: Cases, column: str) -> OutcomeModel:
    """Returns the share of ones in each tenth of a column, as the retailer itself counts it.

    One more of each outcome than there was stands in every tenth, so that no share is 0 or 1.
    """
    values = cases.numbers(column)
    edges = np.unique(np.quantile(values, np.arange(1, _TENTHS) / _TENTHS))
    place = np.searchsorted(edges, values)
    units = np.bincount(place, minlength=len(edges) + 1)
    ones = np.bincount(place, cases.y, minlength=len(edges) + 1)
    odds = (ones + 1.0) / (units - ones + 1.0)
    meta = {"model": "table", "column": column}
    return OutcomeModel(meta, {"edges": edges, "log odds": log(odds.astype(np.float64))})


def leveled(model: OutcomeModel, validation: tuple[Cases, Cases], test: Cases) -> OutcomeModel:
    """Returns the model with a level of the retailer's own, if one helped on the validation.

    validation: the training rows before that cut, whose level it was, and the scored ones, which
    say whether it helped. test: the training rows whose level the model then has.
    """
    train, scored = validation
    if loss(with_level(model, train), scored) < loss(model, scored):
        return with_level(model, test)
    return model


def with_level(model: OutcomeModel, cases: Cases) -> OutcomeModel:
    """Returns the model with the level at which as many ones are expected as there were."""
    # Training rows are of all seasons.
    shared, ones = model.of_a_usual_time(cases), float(cases.y.sum())
    level, prior = 0.0, 1.0
    for _ in range(20):
        p = probability(shared + level)
        step = (ones - float(p.sum()) - prior * level) / (float((p * (1 - p)).sum()) + prior)
        level = float(np.clip(level + np.clip(step, -2.0, 2.0), -5.0, 5.0))
    return replace(model, level=np.array([level]))


def loss(model: OutcomeModel, cases: Cases) -> float:
    """Returns the mean log loss of the cases."""
    return float(log_loss(cases.y, model.log_odds(cases)).mean())
