"""The models once more, in float and by the textbook. Nothing here is shared with the package.

Everything works on rows that lie in one place: `bought` is the 0/1 matrix (customers, products),
`x` (rows, features), `y` (rows,) and `level` (rows,) are those of a regression.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import PoissonRegressor  # type: ignore[import-untyped]

Floats = NDArray[np.float64]


def popularity(bought: Floats) -> Floats:
    """Returns the number of customers of each product."""
    return np.array([sum(1.0 for cell in product if cell > 0) for product in bought.T])


def item_knn(bought: Floats, shrink: float, neighbours: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns weights (products, products), and which stand so near the last place that is kept
    that the rounding of a division decides whether they are.
    """
    together = bought.T @ bought
    length = np.sqrt(np.diagonal(together))
    weights, contested = np.zeros_like(together), np.zeros(together.shape, bool)
    for product in range(len(length)):
        cosine = together[:, product] / np.maximum(length * length[product] + shrink, 1e-300)
        cosine[product] = 0.0
        last = np.sort(cosine)[::-1][min(neighbours, len(length)) - 1] if neighbours else 0.0
        weights[:, product] = np.where(cosine >= last, cosine, 0.0)
        contested[:, product] = np.abs(cosine - last) <= 1e-12 * last
    return weights, contested


def ease(bought: Floats, l2: float) -> Floats:
    """Returns B of Steck 2019, equation 8: -P_ij / P_jj off the diagonal."""
    return _without_themselves(bought.T @ bought + l2 * np.eye(bought.shape[1]))


def edlae(bought: Floats, l2: float, dropout: float) -> Floats:
    """Returns B of Steck 2020: that of EASE with p / (1 - p) n_j added to each product's l2."""
    penalty = l2 + dropout / (1.0 - dropout) * bought.sum(axis=0)
    return _without_themselves(bought.T @ bought + np.diag(penalty))


def _without_themselves(normal: Floats) -> Floats:
    inverse = np.linalg.inv(normal)
    weights = np.empty_like(inverse)
    for product in range(len(inverse)):
        weights[:, product] = -inverse[:, product] / inverse[product, product]
    np.fill_diagonal(weights, 0.0)
    return weights


def als(
    bought: NDArray[np.bool_],
    items: Floats,
    l2: float,
    unobserved: float,
    scaled: float,
    epochs: int,
) -> Floats:
    """Returns the items' factors after some epochs from `items`, each row's own least squares."""
    for _ in range(epochs):
        customers = _least_squares(bought, items, l2, unobserved, scaled)
        items = _least_squares(bought.T, customers, l2, unobserved, scaled)
    return items


def _least_squares(
    bought: NDArray[np.bool_], other: Floats, l2: float, unobserved: float, scaled: float
) -> Floats:
    found = np.zeros((len(bought), other.shape[1]))
    everything = unobserved * other.T @ other
    for row, known in enumerate(bought):
        seen = other[known]
        penalty = l2 * (len(seen) + unobserved * len(other)) ** scaled
        left = everything + seen.T @ seen + penalty * np.eye(other.shape[1])
        found[row] = np.linalg.solve(left, (1 + unobserved) * seen.sum(axis=0))
    return found


def transitions(days: Floats, follows: float, window: int, shrink: float) -> Floats:
    """Returns weights (products, products): customers of both, and who bought what before what."""
    worth = np.array([60, 30, 20, 15, 12, 10, 9, 8, 7, 6][:window]) / 60
    counted = np.zeros((days.shape[1], days.shape[1]))
    for row in days:
        own = np.flatnonzero(row)
        moment = np.unique(row[own], return_inverse=True)[1]
        apart = moment[:, None] - moment[None, :]
        near = (apart >= 1) & (apart <= window)
        counted[np.ix_(own, own)] += 1 + follows * np.where(near, worth[apart * near - 1], 0.0)
    np.fill_diagonal(counted, 0.0)
    length = np.sqrt((days > 0).sum(axis=0))
    return counted / np.maximum(np.outer(length, length) + shrink, 1e-300)


def ridge(x: Floats, y: Floats, level: Floats, l2: float) -> Floats:
    """Returns the b with least sum (y - level x'b)^2 / (2 level) + l2 |b|^2 / 2."""
    normal = x.T @ (x * level[:, None]) + l2 * np.eye(x.shape[1])
    coefficients: Floats = np.linalg.solve(normal, x.T @ y).astype(np.float64)
    return coefficients


def poisson(x: Floats, y: Floats, level: Floats, l2: float) -> Floats:
    """Returns the penalised maximum likelihood of y ~ Poisson(level exp(x'b)), by scikit-learn.

    The level is an exposure: y / level with weight level has the same likelihood.
    """
    model = PoissonRegressor(
        alpha=l2 / level.sum(),
        fit_intercept=False,
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=200,
    )
    coefficients: Floats = model.fit(x, y / level, sample_weight=level).coef_
    return coefficients


REGRESSIONS: Mapping[str, Any] = {"ridge": ridge, "poisson": poisson}


def forecast(family: str, x: Floats, level: Floats, coefficients: Floats) -> Floats:
    """Returns the expected units, not below 0."""
    predictor = x @ coefficients
    return np.maximum(level * (predictor if family == "ridge" else np.exp(predictor)), 0.0)


def ndcg(scores: Floats, wanted: NDArray[np.bool_], k: int) -> float:
    """Returns NDCG@k of one customer; the products that may not be listed have the score -inf."""
    ranked = np.argsort(-scores, kind="stable")[:k]
    gained = sum(1.0 / np.log2(rank + 2) for rank, i in enumerate(ranked) if wanted[i])
    best = sum(1.0 / np.log2(rank + 2) for rank in range(min(k, int(wanted.sum()))))
    return float(gained / best)


def capped_units(units: Floats, cap: float, room: float, window: int, steps: int) -> Floats:
    """Returns units (products, periods) cut at cap x the mean of up to `window` periods before,
    plus room, in whole steps.
    """
    capped = np.empty_like(units)
    for product, period in np.ndindex(*units.shape):
        before = units[product, max(period - window, 0) : period]
        usual = before.mean() if period else units[product, 0]
        capped[product, period] = min(units[product, period], cap * usual + room)
    return np.rint(capped * steps) / steps
