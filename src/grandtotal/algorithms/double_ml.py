"""A check of elasticities by double machine learning, from totals: the partially linear model.

log units = theta_p log price + g(z), log price = m(z) + v, within store x product x season. What
promotions, other prices and the year explain of both, g and m, is learned for all products at once
from a wide basis of z, each fold of weeks by the rows of the others; the elasticity is the slope of
what is left of units on what is left of the price. Where it is far from the regression's,
promotions and seasons act in a way that the regression has no columns for.

Chernozhukov et al., "Double/debiased machine learning for treatment and structural parameters",
2018, https://arxiv.org/abs/1608.00060: the cross-fitted, partialling-out score.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elasticity import unpacked
from grandtotal.algorithms.elasticity_model import Elasticities
from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.price_moments import MOMENT_STEPS
from grandtotal.algorithms.price_rows import OWN, PriceRows
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

_BLOCK = 4  # weeks that are in one fold together
_SQUARE_STEPS = 2**30


def basis(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns what is held constant, (rows, columns): squares and products too, not the price."""
    z = np.delete(x, OWN, axis=1)
    one, other = np.triu_indices(z.shape[1])
    return np.concatenate([z, z[:, one] * z[:, other]], axis=1)


def width(columns: int) -> int:
    """Returns how many columns `basis` has."""
    k = columns - 1
    return k + k * (k + 1) // 2


@dataclass(frozen=True)
class PriceNuisance:
    """Sums by fold of Z'Z and Z'(x, y) within groups, over the products in "asked"."""

    name: ClassVar[str] = "price-nuisance"
    bound: ClassVar[Stated] = None

    columns: int
    split: str
    folds: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns gram (folds, packed) and right (folds, 2 widths)."""
        z = width(self.columns)
        return {
            "gram": Field((self.folds, z * (z + 1) // 2), scale=MOMENT_STEPS),
            "right": Field((self.folds, 2 * z), scale=MOMENT_STEPS),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; what a series adds in a fold is rounded first."""
        fields = self.fields(broadcast)
        total = {name: np.zeros(field.shape, np.int64) for name, field in fields.items()}
        for part in rows[self.split].parts:
            used = part.sold
            x, y, z = _within(used, self.columns)
            keep = np.isin(used.product, broadcast["asked"])[used.series]
            cell = (used.series * self.folds + fold_of(used, self.folds))[keep]
            cells, at = np.unique(cell, return_inverse=True)
            z, price, units = np.ascontiguousarray(z[keep].T), x[keep, 0], y[keep, 0]
            # A product of columns at a time: all of them would be a hundred columns of the rows.
            columns = {
                "gram": (z[i] * z[j] for i, j in zip(*np.triu_indices(len(z)), strict=True)),
                "right": (column * side for side in (price, units) for column in z),
            }
            for name, products in columns.items():
                of_cell = [np.bincount(at, column, len(cells)) for column in products]
                steps = np.rint(np.stack(of_cell, axis=1) * MOMENT_STEPS).astype(np.int64)
                np.add.at(total[name], cells % self.folds, steps)
        return total


@dataclass(frozen=True)
class PriceResiduals:
    """Sums by product of what is left of price and units, once z is taken out of both.

    The broadcast holds "asked" and "nuisance" (folds, width, 2): what z says of x and of y.
    """

    name: ClassVar[str] = "price-residuals"
    bound: ClassVar[Stated] = None

    columns: int
    split: str
    folds: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns slope (asked, 2), sums of v v and v u, and scatter (asked, 3), of the products
        of a series' two sums with each other.
        """
        asked = len(broadcast["asked"])
        return {
            "slope": Field((asked, 2), scale=MOMENT_STEPS),
            "scatter": Field((asked, 3), scale=_SQUARE_STEPS),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; what a series adds is rounded before it is added."""
        asked = broadcast["asked"]
        slope, scatter = np.zeros((len(asked), 2), np.int64), np.zeros((len(asked), 3), np.int64)
        for part in rows[self.split].parts:
            used = part.sold
            x, y, z = _within(used, self.columns)
            said = np.einsum("rz,rzc->rc", z, broadcast["nuisance"][fold_of(used, self.folds)])
            v, u = x[:, 0] - said[:, 0], y[:, 0] - said[:, 1]
            both = used.per_series(used.per_group(np.stack([v * v, v * u], axis=1)))
            squares = both[:, [0, 0, 1]] * both[:, [0, 1, 1]]
            at = np.searchsorted(asked, used.product)
            known = np.isin(used.product, asked)
            for total, values, steps in (
                (slope, both, MOMENT_STEPS),
                (scatter, squares, _SQUARE_STEPS),
            ):
                np.add.at(total, at[known], np.rint(values[known] * steps).astype(np.int64))
        return {"slope": slope, "scatter": scatter}


def fold_of(rows: PriceRows, folds: int) -> NDArray[np.intp]:
    """Returns the fold of each row, (rows,): weeks in blocks, the same at every retailer."""
    return np.asarray(rows.week // _BLOCK % folds)


def _within(rows: PriceRows, columns: int) -> tuple[NDArray[np.float64], ...]:
    """Returns price (rows, 1), log units (rows, 1) and the basis less their groups' means."""
    y = rows.centred(log(np.maximum(rows.y, 1e-9)))
    z = rows.centred(basis(rows.x[:, :columns]))
    return rows.within[:, [OWN]], y[:, None], z


def compared(totals: Totals, model: Elasticities, columns: int, split: str) -> Json:
    """Returns the mean elasticity by this check and by the regression, weighted alike.

    Of the products that have an elasticity of their own; both None where there is none.
    """
    asked = np.flatnonzero(model.estimated)
    theta, sd = DoubleML(columns).fit(totals, asked, split)
    known = np.isfinite(theta) & (sd > 0)
    if not known.any():
        return {"double_ml": None, "regression": None}
    weight = sd[known] ** -2 / (sd[known] ** -2).sum()
    means = (float(weight @ values[known]) for values in (theta, model.raw[asked]))
    return dict(zip(("double_ml", "regression"), (round(mean, 4) for mean in means), strict=True))


@dataclass(frozen=True)
class DoubleML:
    """Settings of the check. folds: of the weeks. l2: of the nuisances, in units of Z'Z."""

    columns: int = 3
    folds: int = 5
    l2: float = 1e-3

    def fit(
        self, totals: Totals, asked: NDArray[np.intp], split: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns elasticities and their standard deviations (asked,); nan without variation."""
        sums = totals.total(PriceNuisance(self.columns, split, self.folds), {"asked": asked})
        z = width(self.columns)
        grams, rights = unpacked(sums["gram"], z), sums["right"].reshape(self.folds, 2, z)
        # Each fold is seen by what the others say.
        others = grams.sum(axis=0) - grams + self.l2 * np.eye(z)
        nuisance = np.linalg.solve(others, (rights.sum(axis=0) - rights).swapaxes(1, 2))
        given = {"asked": asked, "nuisance": nuisance}
        left = totals.total(PriceResiduals(self.columns, split, self.folds), given)
        vv, vu = left["slope"].T
        some = vv > 1e-6
        theta = np.divide(vu, vv, out=np.full(len(asked), np.nan), where=some)
        of_vv, of_both, of_vu = left["scatter"].T
        square = of_vu - 2 * theta * of_both + theta**2 * of_vv
        sd = np.divide(
            np.sqrt(np.maximum(square, 0.0)), vv, out=np.full_like(theta, np.nan), where=some
        )
        return theta, sd
