"""Transaction lines added up by product and period, in whatever pieces they come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class SalesSums:
    """Sums by product and period, each (products, periods).

    units: sold less returned. price: of the lines that are no return; sold: how many these are.
    promoted: how many lines are in a promotion; lines: how many there are.
    Lines are added one after the other: the same sums, to the last bit, for any cut into pieces.
    """

    units: NDArray[np.float64]
    price: NDArray[np.float64]
    sold: NDArray[np.int64]
    promoted: NDArray[np.int64]
    lines: NDArray[np.int64]

    @staticmethod
    def zero(products: int, periods: int) -> SalesSums:
        """Returns the sums of no line."""
        shape = (products, periods)
        counts = (np.zeros(shape, np.int64) for _ in range(3))
        return SalesSums(np.zeros(shape), np.zeros(shape), *counts)

    def add(self, lines: pl.DataFrame, today: date, days: int) -> None:
        """Adds lines with i, time, quantity, price; those after or long before today are left out.

        days: length of a period; the last one ends with the day before today.
        """
        import polars as pl

        back = (pl.lit(today) - pl.col("time").dt.date()).dt.total_days() - 1
        t = self.units.shape[1] - 1 - back // days
        lines = lines.with_columns(t=t, promoted=_promoted(lines)).filter((back >= 0) & (t >= 0))
        cell = np.ravel_multi_index(
            (lines["i"].to_numpy(), lines["t"].to_numpy()), self.units.shape
        )
        quantity = lines["quantity"].to_numpy()
        sold = quantity > 0
        np.add.at(self.units.reshape(-1), cell, quantity)
        np.add.at(self.price.reshape(-1), cell[sold], lines["price"].to_numpy()[sold])
        _count(self.sold, cell[sold])
        _count(self.promoted, cell[lines["promoted"].to_numpy()])
        _count(self.lines, cell)


def _count(counts: NDArray[np.int64], cells: NDArray[Any]) -> None:
    counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)


def _promoted(lines: pl.DataFrame) -> pl.Expr:
    """Returns whether a line is in a promotion, by its own column or by its discount."""
    import polars as pl

    if "promotion" in lines.columns:
        return pl.col("promotion").is_not_null()
    if "discount" in lines.columns:
        return pl.col("discount").fill_null(0.0) > 0
    return pl.lit(False)


def ratio(total: NDArray[Any], count: NDArray[np.int64], empty: float) -> NDArray[np.float64]:
    """Returns total / count, and `empty` where nothing was counted."""
    found = np.full(total.shape, empty)
    np.divide(total, count, out=found, where=count > 0)
    return found
