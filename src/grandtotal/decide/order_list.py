"""A retailer's order list: its forecast, its stock and its supply, put together at home.

With a warehouse there are two steps. What it holds goes to the stores, and what it lacks is ordered
for all of them together: up to what the stores may sell until its next order has reached them, less
all that is in the warehouse, in the stores and on its way. Eppen & Schrage, "Centralized ordering
policies in a multi-warehouse system with lead times and random demand", 1981.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows
from grandtotal.decide.allocation import allocated, divided, proportional, shares
from grandtotal.decide.order_course import Course, courses_of
from grandtotal.decide.order_rows import Part, frame_of
from grandtotal.decide.orders import (
    Demand,
    Numbers,
    Shelf,
    Target,
    Terms,
    instead,
    needed,
    orders,
    outcome,
    whole_packs,
)
from grandtotal.decide.places import Places, Stocked, of_products, stocked
from grandtotal.durable import Json
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks import demand as demand_task
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.demand_paths import PastErrors
from grandtotal.tasks.sales import Panel

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_YEAR = 365.25
_CELLS = 2**27  # of sample paths that are kept at once, 1 GiB: with many stores there are fewer
_FEWEST = 50  # paths


@dataclass(frozen=True)
class Ordering:
    """How orders are made.

    review: days until the next order. target, service: what the level is to reach; see Target.
    lead_time: days, of products for which the supply table names none; None refuses them.
    holding: what keeping stock for a year costs, as a share of its cost. budget: the most that all
    orders may cost, in the retailer's currency; None is any. draws: sample paths of each product.
    line: what placing the order of one product costs; see Terms. warehouse: the store, as the stock
    table calls it, that supplies the others. together: one order for all stores.
    """

    review: float = 7.0
    target: str = "cycle"
    service: float = 0.95
    lead_time: float | None = None
    holding: float = 0.25
    budget: float | None = None
    draws: int = 400
    line: float = 0.0
    warehouse: str | None = None
    together: bool = False

    def __post_init__(self) -> None:
        Target(self.target, self.service)
        least = {"review": 0.01, "holding": 0.0, "draws": 10, "line": 0.0}
        least |= {name: 0.0 for name in ("lead_time", "budget") if getattr(self, name) is not None}
        for name, low in least.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= low):
                raise PlanError(f"{name} = {value!r}, expected a number from {low:g} on")
        if self.together and self.warehouse is not None:
            raise PlanError("together and a warehouse exclude each other: a warehouse has stores")

    def terms(self, days: int, budget: bool = True) -> Terms:
        """Returns the terms for periods of so many days; of what is not bought, without budget."""
        most = math.inf if self.budget is None or not budget else self.budget
        return Terms(self.holding * days / _YEAR, self.line if budget else 0.0, most)


@dataclass(frozen=True)
class OrderList:
    """frame: a row a product and store, those to order first. notes: what to know.

    courses: of the largest orders. currency: of all money. warehouse: its name, if it supplies the
    stores.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...]
    courses: Course
    currency: str = ""
    warehouse: str | None = None

    def totals(self) -> Json:
        """Returns the sums that stand under the list, for these orders and for today's policy.

        Units wanted, missing and left are counted where customers are: not in the warehouse.
        """
        frame = self.frame
        shops = frame.filter(frame["store"] != (self.warehouse or "\0"))
        bought = frame if self.warehouse is None else frame.filter(frame["from"] == "supplier")
        return {
            "products": frame["product"].n_unique(),
            "orders": int((bought["units"] > 0).sum()),
            "units": float(bought["units"].sum()),
            "cost": float(bought["cost"].sum()),
            "today_units": float(bought["today_units"].sum()),
            "today_cost": float(bought["today_cost"].sum()),
            **{
                name: float(shops[name].sum())
                for name in ("expected", "lost_before", "missing", "left", "left_cost")
            },
            **{
                name: float(shops[name].sum())
                for name in ("today_missing", "today_left", "today_left_cost")
            },
        }

    def found(self, retailer: str, run: str, how: Ordering) -> Json:
        """Returns what the page of orders shows, as JSON."""
        courses = {
            name: value.tolist() if isinstance(value, np.ndarray) else list(value)
            for name, value in vars(self.courses).items()
        }
        return {
            "retailer": retailer,
            "run": run,
            "how": asdict(how),
            "totals": self.totals(),
            "notes": list(self.notes),
            "currency": self.currency,
            "rows": [
                {
                    name: str(value) if isinstance(value, date) else value
                    for name, value in row.items()
                }
                for row in self.frame.iter_rows(named=True)
            ],
            "courses": courses,
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
    names = panel.parts[0].names
    if task.by == "store":
        raise PlanError(
            'by = "store": a forecast of whole stores orders no product; take a task by "product" '
            'or "product-store"'
        )
    sold = now.series if names is None else names.product[now.series]
    product = np.setdiff1d(sold, task.common.absent)
    where = stocked(task, tables, panel, product, how.warehouse, how.together)
    past = PastErrors.joined(
        [
            PastErrors.of(forecast.validated, [rows["validation"]]),
            PastErrors.of(forecast, [rows["test"]]),
        ]
    )
    places = max(len(where.shops), len(product), 1)
    draws = min(how.draws, max(_CELLS // (places * task.horizon), _FEWEST))
    series, paths = past.sample(forecast, panel.parts[0], now, draws, task.common.seed)
    return _Maker(task, tables, panel, how, where).made(product, series, paths)


@dataclass(frozen=True)
class _Maker:
    """Puts the list together from what is where and what may sell."""

    task: demand_task.Demand
    tables: Tables
    panel: Panel
    how: Ordering
    where: Stocked

    def made(
        self, product: NDArray[np.intp], series: NDArray[np.intp], paths: Numbers
    ) -> OrderList:
        shops, notes = self.where.shops, list(self.where.notes)
        demand = Demand(self._of_places(product, series, paths))
        if self.where.warehouse is None:
            parts = [self._ordered(shops, demand)]
        else:
            whole = self._of_products(product, series, paths)
            parts = self._through_the_warehouse(product, whole, demand)
        notes += self._not_sold(product)
        if np.isnan(_cost(shops)).any():
            notes.append("Products without a unit_cost count as free in the cost of the orders.")
        frame = frame_of(self.task, self.tables, parts, self.how)
        courses = courses_of(self.task, parts[0], demand)
        config = getattr(self.tables, "config", None)
        currency = config.currency if config is not None else ""
        return OrderList(frame, tuple(notes), courses, currency, self.how.warehouse)

    def _of_products(
        self, product: NDArray[np.intp], series: NDArray[np.intp], paths: Numbers
    ) -> Numbers:
        """Returns (products, draws, periods): the paths of its series, added up."""
        names = self.panel.parts[0].names
        whose = series if names is None else names.product[series]
        if np.array_equal(whose, product):
            return paths
        sums = np.zeros((len(product), *paths.shape[1:]))
        kept = np.isin(whose, product)
        np.add.at(sums, np.searchsorted(product, whose[kept]), paths[kept])
        return sums

    def _of_places(
        self, product: NDArray[np.intp], series: NDArray[np.intp], paths: Numbers
    ) -> Numbers:
        """Returns (places, draws, periods): forecast so, or a product's divided by what sold."""
        shops, names = self.where.shops, self.panel.parts[0].names
        if (shops.store == "").all():
            return self._of_products(product, series, paths)
        if names is not None and names.store:
            whose = zip(names.product[series].tolist(), np.array(names.store)[series], strict=True)
            place = {(p, str(store)): i for i, (p, store) in enumerate(whose)}
            pairs = zip(shops.product.tolist(), shops.store, strict=True)
            at = np.array([place.get((p, str(store)), len(paths)) for p, store in pairs])
            known: Numbers = np.concatenate([paths, np.zeros((1, *paths.shape[1:]))])[at]
            return known
        stores, store = np.unique(shops.store, return_inverse=True)
        weight = shares(shops.recent.sum(axis=1), store)
        at = np.searchsorted(product, shops.product)
        whole = self._of_products(product, series, paths)
        return divided(whole, at, weight, self.task.common.seed + len(stores))

    def _ordered(self, places: Places, demand: Demand) -> Part:
        """Returns what each place orders from the supplier."""
        shelf, review = self._shelf(places), self._review
        target, terms = Target(self.how.target, self.how.service), self.how.terms(self._days)
        made = orders(demand, shelf, review, target, terms)
        usual = _usual(places, shelf, review)
        today = outcome(demand, shelf, review, usual)
        return Part(places, shelf, made, usual, today, "supplier")

    def _through_the_warehouse(
        self, product: NDArray[np.intp], paths: Numbers, demand: Demand
    ) -> list[Part]:
        """Returns what the stores get from the warehouse, and what it orders for all of them."""
        shops, depot = self.where.shops, cast(Places, self.where.warehouse)
        shelf, review, at = (
            self._shelf(shops),
            self._review,
            np.searchsorted(product, shops.product),
        )
        target = Target(self.how.target, self.how.service)
        made = orders(demand, shelf, review, target, self.how.terms(self._days, budget=False))
        until = needed(demand, shelf, review)
        sent = allocated(made.units, shelf.pack, at, until, depot.on_hand, shelf.position)
        made = instead(made, sent, "warehouse", demand, shelf, review)
        usual = proportional(_usual(shops, shelf, review), shelf.pack, at, depot.on_hand)
        today = outcome(demand, shelf, review, usual)
        stores = Part(shops, shelf, made, usual, today, str(self.how.warehouse))
        return [stores, self._bought(depot, paths, at, stores)]

    def _bought(self, depot: Places, paths: Numbers, at: NDArray[np.intp], stores: Part) -> Part:
        """Returns the warehouse's orders: for the stores together, seen as one shelf behind it."""
        own, review, count = self._shelf(depot), self._review, len(depot)
        outside = np.bincount(at, stores.shelf.position, minlength=count)
        further = np.zeros(count)
        np.maximum.at(further, at, stores.shelf.lead_time)
        whole = replace(
            own,
            on_hand=own.on_hand + outside,
            lead_time=own.lead_time + further,
            space=own.space + outside + np.bincount(at, stores.made.units, minlength=count),
        )
        target = Target(self.how.target, self.how.service)
        made = orders(Demand(paths), whole, review, target, self.how.terms(self._days))
        usual = _usual(depot, own, review)
        today = outcome(Demand(paths), whole, review, usual)
        return Part(depot, own, made, usual, today, "supplier")

    @property
    def _days(self) -> int:
        return self.task.periods.days

    @property
    def _review(self) -> float:
        return self.how.review / self._days

    def _shelf(self, places: Places) -> Shelf:
        lead = self._lead_time(places)
        cost = _cost(places)
        if np.isnan(cost).any() and (self.how.target == "cost" or self.how.budget is not None):
            raise DataError(
                f"supply: no unit_cost of {int(np.isnan(cost).sum()):,} products, and the target "
                f'"cost" and a budget need it; add it, or cost to products, or order by "fill"'
            )
        price, supply = _recent_price(self.panel, places.product), places.supply
        return Shelf(
            on_hand=places.on_hand,
            on_order=places.on_order,
            lead_time=lead / self._days,
            pack=np.maximum(np.nan_to_num(supply["pack"], nan=1.0), 1.0),
            minimum=np.nan_to_num(supply["minimum_order"]),
            shelf_life=np.nan_to_num(supply["shelf_life"], nan=np.inf) / self._days,
            space=np.nan_to_num(supply["space"], nan=np.inf),
            unit_cost=np.nan_to_num(cost),
            missing=np.nan_to_num(np.maximum(price - np.nan_to_num(cost), 0.0)),
        )

    def _lead_time(self, places: Places) -> Numbers:
        """Returns days; DataError where none is said, or where the forecast ends before."""
        lead = places.supply["lead_time"]
        if self.how.lead_time is not None:
            lead = np.where(np.isnan(lead), self.how.lead_time, lead)
        if np.isnan(lead).any():
            raise DataError(
                f"supply: no lead time of {int(np.isnan(lead).sum()):,} products, such as "
                f"{self._named(places, np.isnan(lead))}; add the column 'lead_time' (days), or "
                f"give --lead-time for all"
            )
        reach = self.task.horizon * self._days
        if (late := lead + self.how.review > reach + 1e-6).any():
            raise PlanError(
                f"{int(late.sum()):,} products take up to {lead.max():g} days to arrive, such as "
                f"{self._named(places, late)}; with {self.how.review:g} days until the next order "
                f"that is beyond the forecast of {reach:g} days: train with a longer horizon, or "
                f"order more often"
            )
        return lead

    def _named(self, places: Places, which: NDArray[np.bool_]) -> str:
        names = [
            self.task.common.catalogue[i] + (f" ({store})" if store else "")
            for i, store in zip(places.product[which], places.store[which], strict=True)
        ]
        return ", ".join(names[:3])

    def _not_sold(self, product: NDArray[np.intp]) -> list[str]:
        """Returns a word on products that have stock or supply and no forecast: none sold yet."""
        from grandtotal.tasks.lines import on_catalogue

        known: set[int] = set()
        for name in ("stock", "supply"):
            if name in self.tables:
                found = next(on_catalogue(self.tables, self.task.common, [self.tables[name]]))
                known |= set(found["i"].to_list())
        new = sorted(known - set(product.tolist()))
        if not new:
            return []
        names = ", ".join(self.task.common.catalogue[i] for i in new[:3])
        return [
            f"{len(new):,} products are stocked or can be ordered and have not sold for half a "
            f"year or ever, such as {names}: order them by hand; for those that begin, "
            f"`grandtotal predict` says what products like them sell."
        ]


def _cost(places: Places) -> Numbers:
    supply = places.supply
    return np.where(np.isnan(supply["unit_cost"]), supply["cost"], supply["unit_cost"])


def _recent_price(panel: Panel, product: NDArray[np.intp]) -> Numbers:
    """Returns the last price of each product, the mean of its stores, nan where it never sold."""
    price = panel.parts[0].price
    known = np.isfinite(price)
    last: NDArray[np.intp] = price.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    ever = np.asarray(known.any(axis=1))
    recent = price[np.arange(len(price)), last]
    recent[~ever] = 0.0
    total = of_products(panel, recent, product)
    count = of_products(panel, ever.astype(np.float64), product)
    mean: Numbers = np.divide(total, count, out=np.full(len(product), np.nan), where=count > 0)
    return mean


def _usual(places: Places, shelf: Shelf, review: float) -> Numbers:
    """Returns what is ordered up to the recent mean and two standard deviations."""
    reach = shelf.lead_time + review
    mean, sd = places.recent.mean(axis=1), places.recent.std(axis=1)
    level = reach * mean + 2 * np.sqrt(reach) * sd
    return whole_packs(level - shelf.position, shelf.pack)
