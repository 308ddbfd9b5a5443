"""An order list as a table, each order with its reason in words that need no statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from grandtotal.decide.orders import LIMITS, Numbers, Orders, Shelf
from grandtotal.decide.places import Places
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.lines import titles

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.decide.order_list import Ordering
    from grandtotal.tables.read import Tables


@dataclass(frozen=True)
class Part:
    """What places order from one source, and today's usual rule beside it.

    usual: units of the usual rule; today: what it leaves missing, and over. source: "supplier" or
    the name of the warehouse.
    """

    places: Places
    shelf: Shelf
    made: Orders
    usual: Numbers
    today: tuple[Numbers, Numbers]
    source: str


def frame_of(task: Demand, tables: Tables, parts: list[Part], how: Ordering) -> pl.DataFrame:
    """Returns a row a product and store, what is bought first and by its cost.

    units, pack, packs: the order. order_on, arrives: when. expected: units that may sell until the
    next order is here. lost_before: of these, units missing before this order is here, whatever is
    ordered. missing: those missing after that. enough: how likely none is missing in all cases.
    left, left_cost: units that lie there when the next order comes, and what they cost. cost: to be
    paid; what a warehouse sends is paid already. level: the units aimed at. held_back, limit: what
    was wanted and cannot be. today_...: the same for the usual rule.
    """
    import polars as pl

    frames = [_frame(task, tables, part, how) for part in parts]
    order = ["bought", "cost", "units", "product", "store"]
    down = [True, True, True, False, False]
    return pl.concat(frames).sort(order, descending=down).drop("bought")


def _frame(task: Demand, tables: Tables, part: Part, how: Ordering) -> pl.DataFrame:
    import polars as pl

    shelf, made, places = part.shelf, part.made, part.places
    today, bought = task.common.today, part.source == "supplier"
    lead = shelf.lead_time * task.periods.days
    paid = shelf.unit_cost if bought else np.zeros_like(shelf.unit_cost)
    return pl.DataFrame(
        {
            "product": np.array(task.common.catalogue)[places.product],
            "title": titles(tables, task.common)[places.product].astype(str),
            "store": places.store.astype(str),
            "from": np.full(len(places), part.source),
            "bought": np.full(len(places), bought),
            "units": made.units,
            "pack": shelf.pack,
            "packs": (made.units / shelf.pack).round().astype(np.int64),
            "order_on": [today] * len(places),
            "arrives": [today + timedelta(days=math.ceil(days)) for days in lead],
            "on_hand": np.where(places.counted, shelf.on_hand, 0.0),
            "on_order": shelf.on_order,
            "expected": made.expected.round(2),
            "level": made.level.round(2),
            "enough": made.enough.round(4),
            "lost_before": made.before.round(3),
            "missing": made.missing.round(3),
            "left": made.left.round(2),
            "left_cost": (made.left * shelf.unit_cost).round(2),
            "cost": (made.units * paid).round(2),
            "held_back": made.held_back,
            "limit": [LIMITS[i] for i in made.limit],
            "today_units": part.usual,
            "today_missing": part.today[0].round(3),
            "today_left": part.today[1].round(2),
            "today_left_cost": (part.today[1] * shelf.unit_cost).round(2),
            "today_cost": (part.usual * paid).round(2),
            "why": [_why(part, lead, how, i) for i in range(len(places))],
        }
    )


def _why(part: Part, lead: Numbers, how: Ordering, i: int) -> str:
    """Returns the order in a sentence or two."""
    shelf, made = part.shelf, part.made
    days = lead[i] + how.review
    coming = f", {shelf.on_order[i]:g} on the way" if shelf.on_order[i] else ""
    count = f"{made.expected[i]:.0f}"
    verb = "is" if count == "1" else "are"
    wanted = (
        f"the stores want {count}"
        if _is_warehouse(part, how)
        else f"{count} {verb} expected to sell"
    )
    said = [
        f"{wanted} in the {days:.0f} days until the next order is here; "
        f"{shelf.on_hand[i]:g} there{coming}"
    ]
    if made.before[i] >= 0.5:
        said.append(f"{made.before[i]:.0f} will be missed before anything ordered now is here")
    if made.limit[i]:
        said.append(f"{made.held_back[i]:g} fewer than wanted, since {_since(part, how, i)}")
    elif not made.units[i]:
        loses = how.target == "cost" and not shelf.missing[i]
        said.append("a unit costs no less than it sells for" if loses else "enough")
    else:
        said += [size] if (size := _size(shelf, made, how, i)) else []
        cases = "more than 99" if made.enough[i] > 0.99 else f"{100 * made.enough[i]:.0f}"
        said.append(f"with this order nobody goes without in {cases} of 100 cases{_asked(how)}")
    return "; ".join(said)


def _is_warehouse(part: Part, how: Ordering) -> bool:
    return how.warehouse is not None and part.source == "supplier"


def _asked(how: Ordering) -> str:
    return {
        "cycle": f", {100 * how.service:g} are asked for",
        "fill": f"; {100 * how.service:g} of 100 units from the shelf are asked for",
        "cost": ", what costs least",
    }[how.target]


def _since(part: Part, how: Ordering, i: int) -> str:
    shelf = part.shelf
    limit = LIMITS[part.made.limit[i]]
    if limit == "space" and shelf.pack[i] > shelf.space[i]:
        return f"a pack of {shelf.pack[i]:g} does not fit on a shelf for {shelf.space[i]:g}"
    return {
        "space": f"the shelf holds {shelf.space[i]:g}",
        "shelf life": "more would spoil",
        "budget": "the budget is better spent elsewhere" if how.budget else "the budget is 0",
        "minimum order": f"what fits is less than the minimum order of {shelf.minimum[i]:g}",
        "warehouse": f"{part.source} has no more, and other stores need it more",
    }[limit]


def _size(shelf: Shelf, made: Orders, how: Ordering, i: int) -> str:
    """Returns why more is ordered than is missing: the least that is delivered, fewer orders, or
    whole packs."""
    missing = max(made.level[i] - shelf.position[i], 0)
    least = max(shelf.minimum[i], shelf.pack[i])
    if made.units[i] > missing + 1 and least == shelf.minimum[i] > made.units[i] - shelf.pack[i]:
        return f"the least that can be ordered is {least:g}"
    if how.line and made.units[i] > missing + least:
        return f"more at once, since to order it costs {how.line:g} each time"
    return f"in whole packs of {shelf.pack[i]:g}" if shelf.pack[i] > 1 else ""
