"""Trees of a task for any other stack: LightGBM's file, what its inputs are, and rows to score."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.tree_bins import CATEGORY, NUMBER
from grandtotal.algorithms.tree_export import lightgbm_text
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.consortium.query import Rows
from grandtotal.errors import RunError
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_families import FAMILIES
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.demand_predict import name_of
from grandtotal.tasks.demand_trees import LOG, TreesOfDemand
from grandtotal.tasks.outcome_model import OutcomeModel

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tasks.task import Task

_KINDS = {
    NUMBER: "a number",
    CATEGORY: "the place of the text in the model's list; the last one is any other text",
}
_ENCODED = "the mean of the target of that text in training"


def shared_trees(model: Model) -> TreesModel:
    """Returns the trees that all received; RunError where the model that was chosen has none."""
    if isinstance(model, DemandModel):
        family = FAMILIES[model.meta["model"]]
        if isinstance(family, TreesOfDemand):
            return family.model(model.parts)
    if isinstance(model, OutcomeModel) and model.meta["model"] == "trees":
        return model.trees
    chosen = model.meta.get("model", type(model).__name__)
    raise RunError(
        f"the model that was chosen, {chosen}, has no trees, and only trees are exported; see "
        f"`models` in the plan"
    )


def as_files(task: Task, model: Model, rows: Rows) -> dict[str, str]:
    """Returns the text of "model.txt", "inputs.csv" and, of demand, "rows.csv".

    rows.csv has a row for each forecast: what it is of, the inputs by the names that the model
    file calls them, `usual`, and `units`, the shared forecast: usual * the prediction of the file,
    or, of trees of logarithms, usual * exp(prediction) - 1; each times `factor`.
    """
    import polars as pl

    trees = shared_trees(model)
    features = trees.bins.features
    named = {
        "input": [f"feature_{i}" for i in range(len(features))],
        "name": [feature.name for feature in features],
        "what": [_KINDS.get(feature.kind, _ENCODED) for feature in features],
    }
    made = {"model.txt": lightgbm_text(trees), "inputs.csv": pl.DataFrame(named).write_csv()}
    if isinstance(task, Demand):
        made["rows.csv"] = _rows(task, cast(DemandModel, model), trees, rows).write_csv()
    return made


def _rows(task: Demand, model: DemandModel, trees: TreesModel, rows: Rows) -> pl.DataFrame:
    import polars as pl

    (cases,) = cases_of(model, rows["now"])
    family = cast(TreesOfDemand, FAMILIES[model.meta["model"]])
    (sales,) = rows["now"].parts
    inputs = trees.inputs(cast(Columns, cases.seen))
    usual = np.exp(cases.seen.level) if family.target == LOG else cases.seen.scale
    factor = float(model.parts.get("factor", np.ones(())))
    return pl.DataFrame(
        {
            "of": [name_of(task, sales, int(s)) for s in cases.series],
            "start": [task.periods.start(int(t)) for t in cases.origin + cases.ahead - 1],
            **{f"feature_{i}": inputs[:, i] for i in range(inputs.shape[1])},
            "usual": usual,
            "factor": np.full(len(usual), factor),
            "units": factor * family.forecast(model.parts, cases),
        }
    )
