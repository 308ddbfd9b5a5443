"""Why trees forecast what they do: the features that moved a forecast most, in words.

A feature's share is its Shapley value, a factor on the usual sales of the series: see
`algorithms.tree_reasons`. Shares of all features, and what trees add to every case, multiply to the
forecast.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_reasons import contributions
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.demand_trees import TREES, TreesOfDemand
from grandtotal.tasks.sales import Cases

MOST = 2000  # forecasts that are explained, those of the largest: the Shapley values take time
_NAMED = 3
_LEAST = 0.005  # of the usual sales: what moves a forecast less is not named


def reasons(model: DemandModel, cases: Cases, forecast: NDArray[np.float64]) -> list[str] | None:
    """Returns for each case the features that moved it most, and by how much; None without trees.

    "" where the forecast is not among the MOST largest, or nothing moved it.
    """
    trees = trees_of(model)
    if not trees:
        return None
    largest = np.sort(np.argsort(-forecast, kind="stable")[:MOST])
    chosen = np.isin(np.arange(len(forecast)), largest)
    columns = cast(Columns, cases.chosen(chosen).seen)
    names = list(dict.fromkeys(f.name for _, each in trees for f in each.bins.features))
    shares = np.zeros((len(largest), len(names)))
    for part, each in trees:
        places = [names.index(feature.name) for feature in each.bins.features]
        shares[:, places] += part * contributions(each, columns)[:, :-1]
    told = [""] * len(forecast)
    for place, row in zip(largest.tolist(), shares, strict=True):
        told[place] = _words(names, row)
    return told


def trees_of(model: DemandModel) -> list[tuple[float, TreesModel]]:
    """Returns the trees that forecast, and how much of the forecast they are.

    Of a mix also those that the retailer has alone; what is on top counts as much as what is below.
    """
    family = FAMILIES[model.meta["model"]]
    alone = [] if model.alone is None else trees_of(model.alone)
    theirs = [(part * (1 - model.share), trees) for part, trees in alone]
    if not isinstance(family, TreesOfDemand):
        return theirs
    share = 1.0 if model.alone is None else model.share
    on_top = [(share, TREES["trees-log"].model(model.own))] if model.own else []
    return [(share, family.model(model.parts)), *on_top, *theirs]


def _words(names: list[str], shares: NDArray[np.float64]) -> str:
    """Returns such as "promotion +34 %; holiday -8 %", the largest first."""
    order = np.argsort(-np.abs(shares), kind="stable")[:_NAMED]
    factors = [(names[i], float(np.expm1(np.clip(shares[i], -9, 9)))) for i in order]
    return "; ".join(
        f"{name} {share:+.0%}".replace("%", " %") for name, share in factors if abs(share) >= _LEAST
    )
