"""Trees of a demand forecast: boosted or a forest, of what a series sells relative to its level.

Series of all sizes are one model, since each is scaled by its own level at home. Boosting for the
mean (Poisson, Tweedie) takes sold / usual units. For the squared error of the logarithm it takes
log (sold + 1) less its usual value; its forecast is below the mean, and near 0 where most periods
sell nothing: for series that sell in every period, such as stores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.elementary import exp, log
from grandtotal.algorithms.tree_bins import Binning, Bins
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting, Forest
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, under
from grandtotal.tasks.demand_facts import text_names
from grandtotal.tasks.demand_features import LIST_PRICE, Seen, feature_names

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand
    from grandtotal.tasks.sales import Cases, Panel

Floats = NDArray[np.float64]
RATIO, LOG, LEFT = "sold / usual", "log of sold / usual", "left over"
_SHARE_OF_FOREST = 10  # a tree of a forest is larger
_SHARE_ON_TOP = 6  # a retailer's own trees on top are a sixth of what all grow together
_BINS = Binning(bins=128)


@dataclass(frozen=True)
class TreesOfDemand:
    """algorithm: how trees are grown; of boosting, the task says how many and how large.

    target: RATIO or LOG.
    """

    algorithm: Boosting | Forest
    target: str

    @property
    def objective(self) -> Objective:
        """What the trees make small."""
        return self.algorithm.objective if isinstance(self.algorithm, Boosting) else Objective()

    @property
    def settings(self) -> Json:
        """The objective, and what it is about."""
        return {"objective": self.objective.name, "target": self.target}

    def sized(self, task: Demand) -> Boosting | Forest:
        """Returns the algorithm with the number and size of trees of the plan."""
        if isinstance(self.algorithm, Forest):
            return replace(self.algorithm, trees=max(task.trees // _SHARE_OF_FOREST, 1))
        growth = replace(self.algorithm.growth, leaves=task.leaves, by=task.grow)
        # A step of 0.05 for 300 trees, which is larger where there are fewer.
        rate = min(max(15 / task.trees, 0.05), 0.3)
        return replace(self.algorithm, trees=task.trees, rate=rate, growth=growth)

    def fit(self, totals: Totals, task: Demand, split: str, given: Arrays) -> tuple[Arrays, Json]:
        """Returns the arrays of the trees; the edges of an earlier fit are taken again."""
        data = _data(task, self.target, rows_of_trees(split))
        known = "bins features" in given
        bins = Bins.of(under("bins ", given)) if known else _binned(totals, data)
        model, report = _falling(self.sized(task), bins).fit(totals, data, bins)
        return model.arrays, {"trees": len(model.trees), "rows": report["rows"]}

    def model(self, parts: Arrays) -> TreesModel:
        """Returns the trees that these arrays describe."""
        meta: Any = {"objective": self.objective.name, "shape": self.objective.shape}
        return TreesModel.of(parts, meta)

    def forecast(self, parts: Arrays, cases: Cases) -> Floats:
        """Returns the expected units of each case, not below 0."""
        model = self.model(parts)
        return self.units(model.scores(cast(Columns, cases.seen)), cases.seen)

    @property
    def can_be_on_top(self) -> bool:
        """Whether what these trees leave over is a target of trees of the same kind."""
        return self.target == LOG

    def fit_on_top(self, parts: Arrays, rows: TreeRows, task: Demand) -> Arrays:
        """Returns a few trees of what the trees in `parts` leave over on a retailer's own rows."""
        shared = self.model(parts)
        left = LeftOver(rows, shared.scores(cast(Columns, rows)))
        base = TREES["trees-log"].sized(task)
        assert isinstance(base, Boosting)
        few = replace(base, trees=max(base.trees // _SHARE_ON_TOP, 1))
        data = _data(task, LEFT, "own")
        return _falling(few, shared.bins).fit(Local({"own": left}), data, shared.bins)[0].arrays

    def forecast_on_top(self, parts: Arrays, own: Arrays, cases: Cases) -> Floats:
        """Returns the expected units of each case by the trees of both."""
        columns = cast(Columns, cases.seen)
        left = TREES["trees-log"].model(own).scores(columns)
        return self.units(self.model(parts).scores(columns) + left, cases.seen)

    def units(self, scores: Floats, seen: Seen) -> Floats:
        """Returns the units that scores stand for."""
        if self.target == LOG:
            return np.maximum(exp(np.clip(scores + seen.level, -30.0, 30.0)) - 1.0, 0.0)
        return np.maximum(self.objective.mean(scores) * seen.scale, 0.0)


def knows_list_prices(bins: Bins) -> bool:
    """Returns whether list prices are among what trees look at: somebody had some."""
    return any(feature.name == LIST_PRICE for feature in bins.features)


def _binned(totals: Totals, data: Data) -> Bins:
    """Returns the bins; list prices that nobody has take no place that another feature could."""
    bins = _BINS.fit(totals, data.numbers, data.categories, data.target, data.split)
    there = (f for f in bins.features if f.name != LIST_PRICE or len(f.edges))
    return Bins(tuple(there))


def _falling(algorithm: Boosting | Forest, bins: Bins) -> Boosting | Forest:
    """Returns how trees grow where nothing sells more for a higher list price."""
    if not knows_list_prices(bins):
        return algorithm
    return replace(algorithm, growth=replace(algorithm.growth, falling=(LIST_PRICE,)))


def _data(task: Demand, target: str, split: str) -> Data:
    return Data(target, feature_names(task.periods.days), text_names(task.by), split)


def rows_of_trees(split: str) -> str:
    """Returns the name of the rows of a split that trees learn from."""
    return f"{split} trees"


class TreeRows:
    """The training cases of a panel as columns, made when trees ask for them.

    Their origins are counted back from the cut. One horizon apart every period is a target once; as
    near to each other as `learned_from` says it is one of as many origins, so that how far ahead a
    case lies tells nothing of when it was.
    """

    def __init__(self, panel: Panel, learned_from: int) -> None:
        self._panel, self._learned_from = panel, learned_from

    @cached_property
    def _parts(self) -> list[tuple[Seen, Floats]]:
        step = max(self._panel.parts[0].horizon // self._learned_from, 1)
        return [_learned(self._panel, sales, step) for sales in self._panel.parts]

    @property
    def numbers(self) -> dict[str, Floats]:
        """All columns by name: for whoever wants to look at them."""
        days = self._panel.parts[0].periods.days
        return {name: self.number(name) for name in (*feature_names(days), RATIO, LOG)}

    def number(self, name: str) -> Floats:
        """Returns a feature, or one of the two targets."""
        return np.concatenate([_column(seen, sold, name) for seen, sold in self._parts])

    def category(self, name: str) -> NDArray[np.uint64]:
        """Returns what is told in words."""
        return np.concatenate([seen.category(name) for seen, _ in self._parts])

    @property
    def rows(self) -> int:
        """How many cases there are."""
        return sum(seen.rows for seen, _ in self._parts)

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """A hash of each case."""
        return np.concatenate([seen.keys for seen, _ in self._parts])

    def counted(self, most: int) -> NDArray[np.bool_]:  # noqa: ARG002
        """All cases count: nothing of trees is asked under epsilon."""
        return np.ones(self.rows, np.bool_)


class LeftOver:
    """Rows of trees with what others leave over of the target."""

    def __init__(self, rows: TreeRows, scores: Floats) -> None:
        self._whole = rows
        self._left = rows.number(LOG) - scores
        self.rows, self.keys, self.counted = rows.rows, rows.keys, rows.counted
        self.category = rows.category

    def number(self, name: str) -> Floats:
        """Returns a feature, or what is left over."""
        return self._left if name == LEFT else self._whole.number(name)


def with_trees(panels: dict[str, Any], learned_from: int) -> dict[str, Any]:
    """Returns the panels, and beside those that are fitted on the rows of trees."""
    splits = ("validation", "test")
    rows = {rows_of_trees(split): TreeRows(panels[split], learned_from) for split in splits}
    return {**panels, **rows}


def _column(seen: Seen, sold: Floats, name: str) -> Floats:
    if name == RATIO:
        return sold / seen.scale
    if name == LOG:
        found: Floats = log(sold + 1.0) - seen.level
        return found
    return seen.number(name)


def _learned(panel: Panel, sales: Any, step: int) -> tuple[Seen, Floats]:
    """Returns the open cases of origins before the cut, and what was sold, without outliers.

    step: periods from one origin to the next.
    """
    past, horizon, periods = sales.past, sales.horizon, sales.periods
    # Cases without a whole year before them teach what a day of the month is worth all the same.
    first = periods.windows[3] if panel.cut - periods.windows[3] > 2 * horizon else periods.level
    parts = []
    for t in range(panel.cut - horizon, first - 1, -step):
        recent = past.units[:, max(t - periods.windows[-1], 0) : t]
        s = np.flatnonzero(recent.sum(axis=1) > 0)
        for ahead in range(1, horizon + 1):
            open_ = s[past.open_now[s, t + ahead - 1]]
            parts.append((open_, np.full(len(open_), t), np.full(len(open_), ahead)))
    series, origin, ahead_ = (
        np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)
    )
    sold = past.units[series, origin + ahead_ - 1]
    return Seen(sales, series, origin, ahead_), sold


FOREST = Forest(
    trees=30, growth=Growth(leaves=4096, rows=5, l2=0.0), binning=_BINS, columns=0.6, together=6
)


def _boosted(objective: Objective, target: str, step: float) -> TreesOfDemand:
    growth = Growth(leaves=64, rows=20, step=step)
    grown = Boosting(objective, growth=growth, binning=_BINS, sampling=0.6, columns=0.4)
    return TreesOfDemand(grown, target)


# A leaf under a log link may not move far at once: where little sold, its curvature is small.
TREES = {
    "trees": _boosted(Objective("poisson"), RATIO, step=1.0),
    "trees-tweedie": _boosted(Objective("tweedie", 1.5), RATIO, step=1.0),
    "trees-log": _boosted(Objective("squared"), LOG, step=0.0),
    "forest": TreesOfDemand(FOREST, LOG),
}
