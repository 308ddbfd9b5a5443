"""A retailer's order list: its forecast, its stock and its supply, put together at home."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows
from grandtotal.decide.orders import (
    LIMITS,
    Demand,
    Numbers,
    Orders,
    Shelf,
    Target,
    orders,
    outcome,
    whole_packs,
)
from grandtotal.durable import Json
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks import demand as demand_task
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.demand_paths import PastErrors
from grandtotal.tasks.lines import on_catalogue, titles
from grandtotal.tasks.sales import Panel, Periods

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_YEAR = 365.25


@dataclass(frozen=True)
class Ordering:
    """How orders are made.

    review: days until the next order. target, service: what the level is to reach; see Target.
    lead_time: days, of products for which the supply table names none; None refuses them.
    holding: what keeping stock for a year costs, as a share of its cost. budget: the most that all
    orders may cost, in the retailer's currency; None is any. draws: sample paths of each product.
    """

    review: float = 7.0
    target: str = "cycle"
    service: float = 0.95
    lead_time: float | None = None
    holding: float = 0.25
    budget: float | None = None
    draws: int = 400

    def __post_init__(self) -> None:
        Target(self.target, self.service)
        least = {"review": 0.01, "holding": 0.0, "draws": 10}
        least |= {name: 0.0 for name in ("lead_time", "budget") if getattr(self, name) is not None}
        for name, low in least.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= low):
                raise PlanError(f"{name} = {value!r}, expected a number from {low:g} on")


@dataclass(frozen=True)
class OrderList:
    """frame: a row a product that the retailer sells, those to order first. notes: what to know."""

    frame: pl.DataFrame
    notes: tuple[str, ...]

    def totals(self) -> Json:
        """Returns the sums that stand under the list, for these orders and for today's policy."""
        frame = self.frame
        return {
            "products": frame.height,
            "orders": int((frame["units"] > 0).sum()),
            "units": float(frame["units"].sum()),
            "cost": float(frame["cost"].sum()),
            "expected": float(frame["expected"].sum()),
            "missing": float(frame["missing"].sum()),
            "left": float(frame["left"].sum()),
            "today_units": float(frame["today_units"].sum()),
            "today_missing": float(frame["today_missing"].sum()),
            "today_left": float(frame["today_left"].sum()),
        }


def order_list(
    task: demand_task.Demand, model: Model, rows: Rows, tables: Tables, how: Ordering
) -> OrderList:
    """Returns what to order today; DataError where stock or supply cannot be used.

    Beside each order stands what today's usual rule would order: up to the mean of the recent
    periods and two standard deviations. Everything is made from the retailer's own tables.
    """
    forecast = cast(DemandModel, model)
    (now,) = cases_of(forecast, rows["now"])
    panel: Panel = rows["now"]
    past = PastErrors.of(forecast, [rows["validation"], rows["test"]])
    seed = task.common.seed
    product, paths = past.sample(forecast, panel.parts[0], now, how.draws, seed)
    sold = ~np.isin(product, task.common.absent)
    product, demand = product[sold], Demand(paths[sold])
    shelf, stocked, notes = _shelf(task, tables, panel, product, how)
    days = task.periods.days
    review, holding = how.review / days, how.holding * days / _YEAR
    budget = math.inf if how.budget is None else how.budget
    target = Target(how.target, how.service)
    made = orders(demand, shelf, review, target, holding, budget)
    usual = _usual(panel, product, task.periods, shelf, review)
    today = outcome(demand, shelf, review, usual)
    frame = _frame(task, tables, product, stocked, shelf, made, usual, today, how)
    return OrderList(frame, notes)


def _shelf(
    task: demand_task.Demand,
    tables: Tables,
    panel: Panel,
    product: NDArray[np.intp],
    how: Ordering,
) -> tuple[Shelf, NDArray[np.bool_], tuple[str, ...]]:
    """Returns the shelf of the products, which of them stock is known of, and what to know."""
    stock, counted, notes = _stock(task, tables, product)
    supply = _supply(task, tables, product)
    lead = np.where(np.isnan(supply["lead_time"]), how.lead_time or np.nan, supply["lead_time"])
    if how.lead_time == 0:
        lead = np.where(np.isnan(lead), 0.0, lead)
    if np.isnan(lead).any():
        names = [task.common.catalogue[i] for i in product[np.isnan(lead)][:3]]
        raise DataError(
            f"supply: no lead time of {int(np.isnan(lead).sum()):,} products, such as "
            f"{', '.join(names)}; add the column 'lead_time' (days), or give --lead-time for all"
        )
    cost = np.where(np.isnan(supply["unit_cost"]), supply["cost"], supply["unit_cost"])
    if np.isnan(cost).any():
        if how.target == "cost" or how.budget is not None:
            raise DataError(
                f"supply: no unit_cost of {int(np.isnan(cost).sum()):,} products, and the target "
                f'"cost" and a budget need it; add it, or cost to products, or order by "fill"'
            )
        notes.append("Products without a unit_cost count as free in the cost of the orders.")
    price = _recent_price(panel, product)
    margin = np.nan_to_num(np.maximum(price - np.nan_to_num(cost), 0.0))
    days = task.periods.days
    return (
        Shelf(
            on_hand=stock["on_hand"],
            on_order=stock["on_order"],
            lead_time=lead / days,
            pack=np.maximum(np.nan_to_num(supply["pack"], nan=1.0), 1.0),
            minimum=np.nan_to_num(supply["minimum_order"]),
            shelf_life=np.nan_to_num(supply["shelf_life"], nan=np.inf) / days,
            space=np.nan_to_num(supply["space"], nan=np.inf),
            unit_cost=np.nan_to_num(cost),
            missing=margin,
        ),
        counted,
        tuple(notes),
    )


def _stock(
    task: demand_task.Demand, tables: Tables, product: NDArray[np.intp]
) -> tuple[dict[str, Numbers], NDArray[np.bool_], list[str]]:
    """Returns the newest count of each product, over its stores; below 0 is none."""
    import polars as pl

    if "stock" not in tables:
        raise DataError(
            "no table of stock: orders need what is there; add [tables.stock] to retailer.toml "
            "with the columns product, date and on_hand"
        )
    today = task.common.today
    known = next(on_catalogue(tables, task.common, [tables["stock"]]))
    known = known.filter(pl.col("date") < today)
    place = [name for name in ("store",) if name in known.columns]
    newest = known.sort("date").group_by("i", *place, maintain_order=True).last()
    amounts = [name for name in ("on_hand", "on_order") if name in newest.columns]
    per = newest.group_by("i").agg(
        *(pl.col(name).clip(lower_bound=0).sum() for name in amounts),
        pl.col("date").min(),
        below=(pl.col("on_hand") < 0).sum(),
    )
    found = pl.DataFrame({"i": product.astype(np.uint32)}).join(
        per, on="i", how="left", maintain_order="left"
    )
    counted = found["date"].is_not_null().to_numpy()
    notes = _stock_notes(found["date"].min(), int(found["below"].sum()), counted, today)
    columns = {
        name: found[name].fill_null(0).to_numpy().astype(np.float64)
        if name in amounts
        else np.zeros(len(product))
        for name in ("on_hand", "on_order")
    }
    return columns, counted, notes


def _stock_notes(oldest: object, below: int, counted: NDArray[np.bool_], today: date) -> list[str]:
    notes = []
    if (missing := int((~counted).sum())) > 0:
        notes.append(f"{missing:,} products have no count of stock and are taken as sold out.")
    if below:
        notes.append(
            f"{below:,} counts are below 0, which no shelf can be: taken as sold out; count them."
        )
    if isinstance(oldest, date) and oldest < today - timedelta(days=7):
        notes.append(f"The oldest count of stock is of {oldest}.")
    return notes


_SUPPLY = ("lead_time", "pack", "minimum_order", "shelf_life", "space", "unit_cost")


def _supply(
    task: demand_task.Demand, tables: Tables, product: NDArray[np.intp]
) -> dict[str, Numbers]:
    """Returns the columns of supply, and the cost of products, nan where it is not said."""
    supply = _by_product(task, tables, "supply", _SUPPLY, product)
    return supply | _by_product(task, tables, "products", ("cost",), product)


def _by_product(
    task: demand_task.Demand,
    tables: Tables,
    table: str,
    columns: tuple[str, ...],
    product: NDArray[np.intp],
) -> dict[str, Numbers]:
    """Returns columns of a table by product; of several rows the largest, so the slowest."""
    import polars as pl

    if table not in tables:
        return {name: np.full(len(product), np.nan) for name in columns}
    rows = next(on_catalogue(tables, task.common, [tables[table]]))
    there = [name for name in columns if name in rows.columns]
    per = rows.group_by("i").agg(pl.col(there).cast(pl.Float64).max())
    found = pl.DataFrame({"i": product.astype(np.uint32)}).join(
        per, on="i", how="left", maintain_order="left"
    )
    return {
        name: found[name].fill_null(np.nan).to_numpy()
        if name in there
        else np.full(len(product), np.nan)
        for name in columns
    }


def _recent_price(panel: Panel, product: NDArray[np.intp]) -> Numbers:
    """Returns the last price that each product was sold for, nan where it never was."""
    price = panel.parts[0].price[product]
    known = np.isfinite(price)
    last = price.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    recent: Numbers = np.where(known.any(axis=1), price[np.arange(len(product)), last], np.nan)
    return recent


def _usual(
    panel: Panel, product: NDArray[np.intp], periods: Periods, shelf: Shelf, review: float
) -> Numbers:
    """Returns what is ordered up to the recent mean and two standard deviations."""
    recent = panel.parts[0].units[product][:, -periods.level :]
    reach = shelf.lead_time + review
    level = reach * recent.mean(axis=1) + 2 * np.sqrt(reach) * recent.std(axis=1)
    return whole_packs(level - shelf.position, shelf.pack)


def _frame(
    task: demand_task.Demand,
    tables: Tables,
    product: NDArray[np.intp],
    stocked: NDArray[np.bool_],
    shelf: Shelf,
    made: Orders,
    usual: Numbers,
    today: tuple[Numbers, Numbers],
    how: Ordering,
) -> pl.DataFrame:
    import polars as pl

    lead = shelf.lead_time * task.periods.days
    arrives = [task.common.today + timedelta(days=math.ceil(days)) for days in lead]
    return pl.DataFrame(
        {
            "product": np.array(task.common.catalogue)[product],
            "title": titles(tables, task.common)[product].astype(str),
            "units": made.units,
            "packs": (made.units / shelf.pack).round().astype(np.int64),
            "arrives": arrives,
            "on_hand": np.where(stocked, shelf.on_hand, 0.0),
            "on_order": shelf.on_order,
            "expected": made.expected.round(2),
            "level": made.level.round(2),
            "enough": made.enough.round(4),
            "missing": made.missing.round(3),
            "left": made.left.round(2),
            "cost": (made.units * shelf.unit_cost).round(2),
            "held_back": made.held_back,
            "limit": [LIMITS[i] for i in made.limit],
            "today_units": usual,
            "today_missing": today[0].round(3),
            "today_left": today[1].round(2),
            "why": [_why(shelf, made, lead, how, i) for i in range(len(product))],
        }
    ).sort("cost", "units", "product", descending=[True, True, False])


def _why(shelf: Shelf, made: Orders, lead: Numbers, how: Ordering, i: int) -> str:
    """Returns the order in a sentence that needs no statistics."""
    reach = lead[i] + how.review
    there = f"{shelf.on_hand[i]:g} there"
    coming = f", {shelf.on_order[i]:g} on the way" if shelf.on_order[i] else ""
    said = (
        f"{made.expected[i]:.0f} are expected to sell in the {reach:.0f} days until the next "
        f"order is here; {there}{coming}"
    )
    if made.limit[i]:
        reason = {
            "space": "the shelf is full then",
            "shelf life": "more would spoil",
            "budget": "the budget is better spent elsewhere",
            "minimum order": "what fits is less than the minimum order",
        }[LIMITS[made.limit[i]]]
        return f"{said}; {made.held_back[i]:g} fewer than wanted, since {reason}"
    if not made.units[i]:
        return f"{said}: enough"
    return f"{said}; with this order nobody goes without in {100 * made.enough[i]:.0f} of 100 cases"
