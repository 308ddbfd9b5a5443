"""What is known of a running visit from its events so far: the columns of purchase intent.

A visit is looked at after some of its events, and only these count: later ones, and other visits
that began later, are not known. A visit in which something was bought already is no question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]

MOMENTS = (1, 2, 3, 5, 8, 13, 21)  # events after which a visit is looked at in training
TYPES = ("view", "cart", "try-on", "search")
FEATURES = (
    "events",
    *TYPES,
    "other",
    "products",
    "seconds",
    "pause",
    "known",
    "visits before",
    "purchases before",
    "weekend",
    "evening",
)


# Under epsilon a visit is what noise hides, so that no other visit's rows may depend on it.
OF_EARLIER_VISITS = ("visits before", "purchases before")


@dataclass(frozen=True, eq=False)
class Visits:
    """Events in the order of visits and times, and what was known after each.

    sessions: (sessions,) ids, sorted. customers: (sessions,) "" where nobody is known.
    begun: (sessions,) when, in microseconds. session: (events,) whose event it is.
    nth: (events,) its place in the visit, from 1. bought: (events,) whether something was bought
    before or with it; buys: whether something was bought after it. columns: FEATURES, (events,).
    last: (sessions,) the row of each visit's last event.
    """

    sessions: NDArray[Any]
    customers: NDArray[Any]
    begun: NDArray[np.int64]
    session: NDArray[np.int64]
    nth: NDArray[np.int64]
    bought: NDArray[np.bool_]
    buys: NDArray[np.bool_]
    columns: Mapping[str, Floats]
    last: NDArray[np.int64]


def read_visits(events: pl.DataFrame) -> Visits:
    """Returns the visits of an events table; the same for any order of its rows."""
    import polars as pl

    for name in ("customer", "product"):
        if name not in events.columns:
            events = events.with_columns(pl.lit(None, pl.String).alias(name))
    rows = events.sort("session", "time", "type", "product", "customer", nulls_last=True)
    rows = rows.with_columns(s=pl.col("session").rank("dense").cast(pl.Int64) - 1)
    session = rows["s"].to_numpy()
    starts = np.flatnonzero(np.append(True, session[1:] != session[:-1])[: len(session)])
    first = starts[session] if len(session) else session
    kind, time = rows["type"].to_numpy(), rows["time"].dt.epoch("us").to_numpy()
    seen_before = rows.select(
        pl.struct("s", "product").is_first_distinct() & pl.col("product").is_not_null()
    ).to_series()
    buying = kind == "purchase"
    bought, places = _so_far(buying, first), np.arange(len(session))
    last = np.append(starts[1:], len(session)) - 1
    past = _before(rows, starts, buying)
    pause = np.where(places == first, 0, np.diff(time, prepend=time[:1])) / 1e6
    hour = time // 3_600_000_000 % 24
    counts = {name: _so_far(kind == name, first) for name in TYPES}
    columns = {
        "events": places - first + 1.0,
        **counts,
        "other": _so_far(~np.isin(kind, [*TYPES, "purchase"]), first),
        "products": _so_far(seen_before.to_numpy(), first),
        "seconds": (time - time[first]) / 1e6,
        "pause": pause,
    }
    found: dict[str, Floats] = {
        name: log(1.0 + np.maximum(values, 0.0)).astype(np.float64)
        for name, values in columns.items()
    }
    found |= {name: values[session] for name, values in past.items()}
    found["weekend"] = ((time // 86_400_000_000 + 3) % 7 >= 5).astype(np.float64)
    found["evening"] = ((hour >= 18) | (hour < 5)).astype(np.float64)
    return Visits(
        rows["session"].to_numpy()[starts],
        rows["customer"].fill_null("").to_numpy()[starts],
        time[starts],
        session,
        places - first + 1,
        bought > 0,
        bought[last][session] > bought,
        {name: found[name] for name in FEATURES},
        last,
    )


def _so_far(which: Any, first: NDArray[np.int64]) -> Floats:
    """Returns how many of these there were in the visit, up to and with each event."""
    sums = np.cumsum(which).astype(np.float64)
    before = np.where(first > 0, sums[first - 1], 0.0) if len(sums) else sums
    return sums - before


def _before(
    rows: pl.DataFrame, starts: NDArray[np.int64], buying: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Returns what is known of the customer of each visit from the visits that began before."""
    import polars as pl

    purchases = np.add.reduceat(buying.astype(np.int64), starts) if len(starts) else starts
    visits = rows[starts].select("s", "customer", "time").with_columns(purchases=purchases)
    mine = pl.col("customer").is_not_null()
    order = visits.sort("time", "s").with_columns(
        visits=pl.int_range(pl.len()).over("customer"),
        bought=(pl.col("purchases").cum_sum() - pl.col("purchases")).over("customer"),
    )
    told = order.with_columns(
        visits=pl.when(mine).then("visits").otherwise(0),
        bought=pl.when(mine).then("bought").otherwise(0),
        known=mine.cast(pl.Float64),
    ).sort("s")
    return {
        "known": told["known"].to_numpy(),
        "visits before": log(1.0 + told["visits"].to_numpy().astype(np.float64)),
        "purchases before": log(1.0 + told["bought"].to_numpy().astype(np.float64)),
    }


def said(visits: Visits, rows: NDArray[np.int64], name: str) -> list[str]:
    """Returns a feature of these events in words."""
    values = visits.columns[name][rows]
    if name in ("weekend", "evening", "known"):
        yes, no = _YES_NO[name]
        return [yes if value > 0 else no for value in values]
    counts = np.expm1(values)
    return [_COUNTS[name].format(count) for count in counts]


_YES_NO = {
    "weekend": ("at the weekend", "on a weekday"),
    "evening": ("in the evening or at night", "in the day"),
    "known": ("a known customer", "a visitor who is not known"),
}
_COUNTS = {
    "events": "{:.0f} events so far",
    "view": "{:.0f} products looked at",
    "cart": "{:.0f} put into the cart",
    "try-on": "{:.0f} tried on",
    "search": "{:.0f} searches",
    "other": "{:.0f} other events",
    "products": "{:.0f} different products",
    "seconds": "{:,.0f} seconds so far",
    "pause": "{:,.0f} seconds since the event before",
    "visits before": "{:.0f} visits before this one",
    "purchases before": "{:.0f} purchases in earlier visits",
}
