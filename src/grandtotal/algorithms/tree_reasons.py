"""What each feature adds to one prediction: Shapley values of an ensemble. They add up exactly.

Lundberg et al., "Consistent Individualized Feature Attribution for Tree Ensembles", 2018,
https://arxiv.org/abs/1802.03888: a feature that is not known sends a row both ways, in the shares
in which the training rows went.
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_shape import Trees, spread

Floats = NDArray[np.float64]


def contributions(model: TreesModel, columns: Columns) -> Floats:
    """Returns (rows, features + 1) in units of the score; the last column is the same in each row.

    Their sum along a row is the score of that row, except for rounding. For thousands of rows, not
    for millions: a row takes some milliseconds.
    """
    matrix = model.bins.matrix(columns)
    found = np.zeros((len(matrix), len(model.bins.features) + 1))
    found[:, -1] = model.base
    for tree in model.trees:
        _add_tree(tree, matrix, found)
    return found


def _add_tree(tree: Trees, matrix: NDArray[np.uint8], found: Floats) -> None:
    """Adds one tree: each leaf gives its value to the features on its path."""
    split = {int(parent): i for i, parent in enumerate(tree.parent)}
    left = spread(tree.left)
    # By node: of each feature on the path, the share of rows that go this way without knowing it,
    # and whether a row goes this way.
    paths: list[tuple[int, dict[int, tuple[float, NDArray[np.bool_]]]]] = [(0, {})]
    while paths:
        node, path = paths.pop()
        if node not in split:
            _add_leaf(float(tree.values[node]), path, found)
            continue
        i = split[node]
        feature = int(tree.feature[i])
        goes = left[i][matrix[:, feature]]
        share, here = path.get(feature, (1.0, np.ones(len(matrix), np.bool_)))
        for child, way in ((2 * i + 1, goes), (2 * i + 2, ~goes)):
            kept = float(tree.rows[child]) / float(tree.rows[node])
            paths.append((child, {**path, feature: (share * kept, here & way)}))


def _add_leaf(
    value: float, path: dict[int, tuple[float, NDArray[np.bool_]]], found: Floats
) -> None:
    """Adds value (o_j - z_j) sum_S |S|! (d - |S| - 1)! / d! prod_S o prod_others z for each j.

    o says whether the row goes the way of the leaf by that feature, z is the share that does; S are
    the subsets of the other d - 1 features, summed as the coefficients of prod (z + o t).
    """
    d = len(path)
    weights = [factorial(s) * factorial(d - s - 1) / factorial(d) for s in range(d)]
    product = np.zeros((d + 1, len(found)))
    product[0] = 1.0
    for z, o in path.values():
        product[1:] = z * product[1:] + o * product[:-1]
        product[0] *= z
    for feature, (z, o) in path.items():
        # Division by (z + o t): from the highest power down where o is 1, by z where it is 0.
        total, above = np.zeros(len(found)), np.zeros(len(found))
        for s in range(d - 1, -1, -1):
            above = product[s + 1] - z * above
            total += weights[s] * np.where(o, above, product[s] / z)
        found[:, feature] += value * (o - z) * total
    expected = float(np.prod([z for z, _ in path.values()]))
    found[:, -1] += value * expected
