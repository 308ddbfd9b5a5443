"""Which models of stars a plan can name, and how one of them is chosen.

The choice is made by summed squared errors on the validation, so that a model from totals and a
network are judged by the same number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from grandtotal.algorithms.rating_factors import FactorModel, RatingFactors
from grandtotal.algorithms.rating_network import NetworkModel, NeuralRatings
from grandtotal.algorithms.ratings import Cut, ItemMeans, MeanModel, RatingAlgorithm, RatingModel
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.task import Fitted, check_models

AUTO = "auto"
GRIDS: Mapping[str, tuple[RatingAlgorithm, ...]] = {
    "item-mean": (ItemMeans(2.0), ItemMeans(5.0), ItemMeans(20.0)),
    "factors": (
        RatingFactors(factors=0, epochs=6),
        RatingFactors(factors=8, l2=0.13, epochs=8),
        RatingFactors(factors=32, l2=0.13, epochs=12),
        RatingFactors(factors=32, l2=0.13, half_life=100.0, epochs=12),
    ),
    "ncf": (NeuralRatings(),),
}
CORE = ("item-mean", "factors")  # what "auto" stands for
_SQUARED = 2**20  # steps of a squared error


def check_named(models: tuple[str, ...]) -> None:
    """Raises PlanError for a list of models that no choice can be made of."""
    check_models(models, {**GRIDS, AUTO: ()})
    if len(set(models)) < len(models):
        raise PlanError(f"models = {list(models)}: a model is named twice")


def kinds_of(models: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the kinds that the choice is made of: "auto" stands for the core ones."""
    named = [CORE if model == AUTO else (model,) for model in models]
    return tuple(dict.fromkeys(kind for kinds in named for kind in kinds))


def rating_model(arrays: Arrays, meta: Json) -> RatingModel:
    """Returns the model that these arrays are of."""
    if "network" in arrays:
        return NetworkModel.build(arrays, meta)
    return (FactorModel if "items" in arrays else MeanModel).build(arrays, meta)


@dataclass(frozen=True)
class RatingErrors:
    """The squared error of expected stars, of the ratings asked for at a split.

    The broadcast holds the arrays of a model.
    """

    name: ClassVar[str] = "rating-errors"
    bound: ClassVar[Stated] = None

    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns squared, the sum, and how many ratings."""
        return {"squared": Field((), _SQUARED), "ratings": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each error is rounded before it is added."""
        cut: Cut = rows[self.split]
        asked = cut.asked
        tastes = rating_model(broadcast, {}).tastes(cut.known, cut.people)
        error = tastes.expected(asked.customers, asked.products) - asked.stars
        steps = np.rint(error**2 * _SQUARED).astype(np.int64)
        return {"squared": np.asarray(steps.sum()), "ratings": np.asarray(len(steps))}


def choose(totals: Totals, candidates: Sequence[RatingAlgorithm], products: int) -> Fitted:
    """Returns the candidate with the least summed validation error, fitted up to the test cut."""
    totals = Remembering(totals)
    tried: list[Json] = []
    for candidate in candidates:
        model = candidate.fit(totals, products, "validation")
        sums = totals.total(RatingErrors("validation"), model.arrays)
        mean = float(sums["squared"]) / max(int(sums["ratings"]), 1)
        tried.append({**model.meta, "stars_rmse": float(np.sqrt(mean))})
    best = min(range(len(tried)), key=lambda i: tried[i]["stars_rmse"])
    model = candidates[best].fit(totals, products, "test")
    return Fitted(model, {"chosen": model.meta, "tried": tried})
