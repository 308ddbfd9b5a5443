"""A finished ensemble: what it predicts, and the arrays that rebuild it anywhere."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_bins import Bins
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_shape import Trees
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, over, under


@dataclass(frozen=True)
class TreesModel:
    """The score of a row is base + the value of its leaf in each tree.

    objective: says what is predicted at a score. bins: the features. trees: in their order.
    """

    objective: Objective
    bins: Bins
    base: float
    trees: Trees

    @property
    def arrays(self) -> Arrays:
        """The arrays that are saved."""
        return {
            **over("bins ", self.bins.arrays),
            **over("trees ", self.trees.arrays),
            "base": np.asarray(self.base),
        }

    @property
    def meta(self) -> Json:
        """What is needed to read the arrays."""
        return {
            "model": "trees",
            "objective": self.objective.name,
            "shape": self.objective.shape,
            "features": [feature.name for feature in self.bins.features],
            "trees": len(self.trees),
        }

    @staticmethod
    def of(arrays: Arrays, meta: Json) -> "TreesModel":
        """Returns the model of these arrays."""
        bins = Bins.of(under("bins ", arrays))
        return TreesModel(
            Objective(meta["objective"], meta["shape"]),
            bins,
            float(arrays["base"]),
            Trees.of(under("trees ", arrays)).checked(len(bins.features)),
        )

    def scores(self, columns: Columns) -> NDArray[np.float64]:
        """Returns the score of each row, (rows,)."""
        matrix = self.bins.matrix(columns)
        scores = np.full(len(matrix), self.base)
        self.trees.add_scores(matrix, scores)
        return scores

    def predict(self, columns: Columns) -> NDArray[np.float64]:
        """Returns the mean, or the quantile, that is predicted for each row, (rows,).

        A missing number takes its own way at each split; a category that was not seen in training
        counts as "other".
        """
        return self.objective.mean(self.scores(columns))

    def inputs(self, columns: Columns) -> NDArray[np.float64]:
        """Returns the features as numbers, (rows, features): what an exported model is given.

        nan is missing; a grouped category is its place in the dictionary, an encoded one the mean
        of the target.
        """
        return np.stack([f.values(columns, training=False) for f in self.bins.features], axis=1)
