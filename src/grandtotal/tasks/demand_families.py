"""The kinds of demand models that a plan can choose among. A new kind is one entry of FAMILIES.

A family says how to fit from totals and how to forecast cases; which one is best is decided by the
task, on summed validation scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import GLM, mean
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.demand_neural import NETWORKS
from grandtotal.tasks.demand_trees import TREES
from grandtotal.tasks.sales import Cases

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand

BASELINES = ("mean", "seasonal-naive")


class Family(Protocol):
    """One kind of demand model."""

    @property
    def settings(self) -> Json:
        """Returns its hyper-parameters, as they are told beside its scores."""
        ...

    def fit(self, totals: Totals, task: Demand, split: str, given: Arrays) -> tuple[Arrays, Json]:
        """Returns the shared arrays of a model of the rows before the split's cut, and how it went.

        given: "series", the consortium's units (products, periods) or (1, periods); and the arrays
            of a fit on an earlier split, where there is one, to begin with. The names of what is
            returned are neither "series" nor "spread" and do not begin with "before ".
        """
        ...

    def forecast(self, parts: Arrays, cases: Cases) -> NDArray[np.float64]:
        """Returns the expected units of each case, (cases,); parts: the arrays of a fit."""
        ...


@dataclass(frozen=True)
class Regression:
    """A regression from totals, relative to each series' level; the only kind under epsilon."""

    glm: GLM

    @property
    def settings(self) -> Json:
        """The penalty."""
        return {"l2": self.glm.l2}

    def fit(self, totals: Totals, task: Demand, split: str, given: Arrays) -> tuple[Arrays, Json]:
        """Returns "coefficients" (features,), and the rounds and the loss of the fit."""
        # A period is the target of two origins.
        units = 2 * float(given["series"].sum())
        coefficients, fit = self.glm.fit(totals, task.width, split, given, units)
        return {"coefficients": coefficients}, fit

    def forecast(self, parts: Arrays, cases: Cases) -> NDArray[np.float64]:
        """Returns the mean of the regression, not below 0."""
        design = cases.design
        found = mean(self.glm.family, design.x, design.offset, parts["coefficients"])
        return np.maximum(found, 0.0)


@dataclass(frozen=True)
class Baseline:
    """What needs no totals: the mean of recent periods, or the same period of the last season."""

    name: str

    @property
    def settings(self) -> Json:
        """It has none."""
        return {}

    def fit(
        self,
        totals: Totals,  # noqa: ARG002
        task: Demand,  # noqa: ARG002
        split: str,  # noqa: ARG002
        given: Arrays,  # noqa: ARG002
    ) -> tuple[Arrays, Json]:
        """Returns nothing: a baseline is not fitted."""
        return {}, {}

    def forecast(self, parts: Arrays, cases: Cases) -> NDArray[np.float64]:  # noqa: ARG002
        """Returns one of the two columns of the cases."""
        return cases.mean if self.name == "mean" else np.maximum(cases.seasonal, 0.0)


GRID: Mapping[str, GLM] = {"ridge": GLM("ridge"), "poisson": GLM("poisson")}
FAMILIES: dict[str, Family] = {
    **{name: Regression(glm) for name, glm in GRID.items()},
    **{name: Baseline(name) for name in BASELINES},
    **TREES,
    **NETWORKS,
}
# Names in a plan that stand for several.
AUTO = ("ridge", "poisson", "trees", *BASELINES)
SEVERAL: Mapping[str, tuple[str, ...]] = {"auto": AUTO, "glm": tuple(GRID)}


def spelled_out(models: tuple[str, ...] | str) -> tuple[str, ...]:
    """Returns the names of families that a plan's `models` stand for, each once."""
    given = (models,) if isinstance(models, str) else models
    if not isinstance(given, tuple) or not all(isinstance(name, str) for name in given):
        return given
    names = [name for each in given for name in SEVERAL.get(each, (each,))]
    return tuple(dict.fromkeys(names))
