"""What a retailer wants of a list beside its customers' tastes, and what that does to the scores.

Filters leave products out; weights move them. A weight is in standard deviations of a customer's
own scores, so that it means the same for every model: with margin = 0.5, a product whose margin is
one deviation above the others gains half a deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks.lines import catalogue_lines, positions

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common


@dataclass(frozen=True)
class Wishes:
    """What may be on a list, and what is moved up or down in it.

    in_stock: only what the last count of the stock table found. least_price, most_price: of the
    last price that was paid. category: only what is in it; "food > dairy" holds "food > dairy >
    cheese". again: whether products bought before may be on the list; None as the task says.
    margin: weight of (price - cost) / price. reach: weight against what sells most anyhow.
    diversity: what a product loses for each one of its category before it, in shares of the list.
    """

    in_stock: bool = False
    least_price: float | None = None
    most_price: float | None = None
    category: str = ""
    again: bool | None = None
    margin: float = 0.0
    reach: float = 0.0
    diversity: float = 0.0

    def __post_init__(self) -> None:
        least, most = self.least_price, self.most_price
        for price in (least, most):
            if price is not None and not 0 <= price < np.inf:
                raise PlanError(f"a price of {price!r}, expected a number from 0 on")
        if least is not None and most is not None and least > most:
            raise PlanError(f"prices from {least:g} to {most:g}: no price is in this band")
        for name in ("margin", "reach", "diversity"):
            if not 0 <= getattr(self, name) < np.inf:
                raise PlanError(f"{name} = {getattr(self, name)!r}, expected a weight from 0 on")

    @property
    def priced(self) -> bool:
        """Whether prices are asked for."""
        return self.least_price is not None or self.most_price is not None or self.margin > 0


NO_WISHES = Wishes()


def allowed(wishes: Wishes, tables: Tables, common: Common) -> NDArray[np.bool_]:
    """Returns (products,) what the filters leave; DataError names a table or column that lacks."""
    found = np.ones(len(common.catalogue), bool)
    if wishes.in_stock:
        found &= _in_stock(tables, common)
    if wishes.category:
        found &= _in_category(wishes.category, tables, common)
    if wishes.least_price is not None or wishes.most_price is not None:
        price = last_prices(tables, common)
        least, most = wishes.least_price, wishes.most_price
        found &= price >= (-np.inf if least is None else least)
        found &= price <= (np.inf if most is None else most)
    return found


def lift(
    wishes: Wishes, tables: Tables, common: Common, customers: NDArray[Any]
) -> NDArray[np.float32]:
    """Returns (products,) what the weights add, in deviations of a customer's scores.

    customers: (products,) how many of the retailer's own bought each.
    """
    moved = np.zeros(len(common.catalogue))
    if wishes.margin:
        moved += wishes.margin * standard(_margins(tables, common))
    if wishes.reach:
        moved -= wishes.reach * standard(log(customers + 1.0))
    return moved.astype(np.float32)


def moved(scores: NDArray[np.float32], lift: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns (customers, products) scores in their own deviations, plus what each is lifted.

    What is -inf stays so. Where all scores of a customer are equal, the lift alone decides.
    """
    return next(each_moved(scores, [lift])) if lift.any() else scores


def each_moved(
    scores: NDArray[np.float32], lifts: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """Yields what `moved` returns for each of several lifts of the same scores."""
    shown = np.isfinite(scores)
    many = np.maximum(shown.sum(axis=1, keepdims=True), 1)
    values = np.where(shown, scores, 0).astype(np.float64)
    values -= np.where(shown, values.sum(axis=1, keepdims=True) / many, 0)
    spread = np.sqrt((values**2).sum(axis=1, keepdims=True) / many)
    standard = np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
    standard[~shown] = -np.inf
    for lift in lifts:
        yield (standard + lift).astype(np.float32) if lift.any() else scores


POOL = 5  # a varied list of k is picked from so many times k


def varied(frame: pl.DataFrame, kinds: pl.DataFrame, weight: float, k: int) -> pl.DataFrame:
    """Returns the k rows of each customer with fewer of one category, ranked anew.

    frame: customer, rank, product and more, some times k rows each. kinds: product, category. One
    place after the other goes to the product with the largest (share of the list below it) -
    weight x (products of its category above it); one without a category is alone in its own.
    """
    import polars as pl

    coded = frame.join(kinds, on="product", how="left", maintain_order="left").with_columns(
        category=pl.coalesce("category", "product").cast(pl.Categorical).to_physical()
    )
    whose = coded["customer"].rle_id().to_numpy()
    ranks = coded["rank"].to_numpy().astype(np.intp)
    most = int(ranks.max()) if len(ranks) else 0
    shape = (int(whose[-1]) + 1 if len(whose) else 0, most)
    value, kind = np.full(shape, -np.inf), np.full(shape, -1, np.int64)
    value[whose, ranks - 1] = 1 - (ranks - 1) / max(most, 1)
    kind[whose, ranks - 1] = coded["category"].to_numpy()
    place = np.zeros(shape, np.int32)
    every = np.arange(shape[0])
    for rank in range(1, min(k, most) + 1):
        best = value.argmax(axis=1)
        left = np.isfinite(value[every, best])  # False where a shorter list is used up
        place[every[left], best[left]] = rank
        value -= weight * (kind == kind[every, best][:, None])
        value[every, best] = -np.inf
    ranked = frame.with_columns(rank=pl.Series(place[whose, ranks - 1], dtype=pl.Int32))
    return ranked.filter(pl.col("rank") > 0).sort("customer", "rank", maintain_order=True)


# --- what the tables know of a product ---


def categories(tables: Tables) -> pl.DataFrame:
    """Returns product, category of the products table; DataError if it has none."""
    products = _products(tables, "category", "categories")
    return products.select("product", "category").drop_nulls()


def last_prices(tables: Tables, common: Common) -> NDArray[np.float64]:
    """Returns (products,) the last price that was paid for each; nan where none was."""
    import polars as pl

    newest: pl.DataFrame | None = None
    for lines in catalogue_lines(tables, common, ("time", "price", "quantity")):
        sold = lines.filter(pl.col("quantity") > 0).select("i", "time", "price")
        both = sold if newest is None else pl.concat([newest, sold])
        newest = both.sort("time").group_by("i").agg(pl.col("time", "price").last())
    found = np.full(len(common.catalogue), np.nan)
    if newest is not None:
        found[newest["i"].to_numpy()] = newest["price"].to_numpy()
    return found


def _products(tables: Tables, column: str, what: str) -> pl.DataFrame:
    if "products" not in tables or column not in tables["products"].columns:
        raise DataError(
            f"{what}: this retailer has no products table with the column '{column}'; add it to "
            f"[tables.products] of retailer.toml, or ask without {what}"
        )
    return tables["products"]


def _in_stock(tables: Tables, common: Common) -> NDArray[np.bool_]:
    import polars as pl

    if "stock" not in tables:
        raise DataError(
            "in stock: this retailer has no table 'stock'; add [tables.stock] with product, date "
            "and on_hand to retailer.toml, or ask without it"
        )
    counts = tables["stock"]
    where = [name for name in ("product", "store") if name in counts.columns]
    latest = counts.sort("date").group_by(where).agg(pl.col("on_hand").last())
    there = latest.group_by("product").agg(pl.col("on_hand").clip(0).sum())
    return _marked(there.filter(pl.col("on_hand") > 0), tables, common)


def _in_category(category: str, tables: Tables, common: Common) -> NDArray[np.bool_]:
    import polars as pl

    named = categories(tables)
    wanted = " > ".join(part.strip() for part in category.split(">"))
    path = pl.col("category").str.replace_all(r"\s*>\s*", " > ")
    inside = named.filter((path == wanted) | path.str.starts_with(f"{wanted} > "))
    if inside.is_empty():
        first = ", ".join(sorted(named["category"].unique().to_list())[:5])
        raise DataError(
            f"category '{category}': no product is in it; the products table has {first} ..."
        )
    return _marked(inside, tables, common)


def _marked(rows: pl.DataFrame, tables: Tables, common: Common) -> NDArray[np.bool_]:
    found = np.zeros(len(common.catalogue), bool)
    found[rows.join(positions(tables, common), on="product")["i"].to_numpy()] = True
    return found


def _margins(tables: Tables, common: Common) -> NDArray[np.float64]:
    costs = _products(tables, "cost", "margin").select("product", "cost").drop_nulls()
    cost = np.full(len(common.catalogue), np.nan)
    known = costs.join(positions(tables, common), on="product")
    cost[known["i"].to_numpy()] = known["cost"].to_numpy()
    price = last_prices(tables, common)
    margins: NDArray[np.float64] = np.full(len(price), np.nan)
    np.divide(price - cost, price, out=margins, where=price > 0)
    return margins


def standard(values: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the values with mean 0 and deviation 1; 0 where nothing is known."""
    known = np.isfinite(values)
    if not known.any() or values[known].std() == 0:
        return np.zeros(len(values))
    standard: NDArray[np.float64] = np.zeros(len(values))
    standard[known] = (values[known] - values[known].mean()) / values[known].std()
    return standard
