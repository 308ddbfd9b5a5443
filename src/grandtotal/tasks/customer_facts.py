"""What a retailer's customers table says of customers. Only in a retailer's process."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from grandtotal.algorithms.customer_context import FACTS, Context
from grandtotal.algorithms.purchases import Purchases
from grandtotal.tasks.histories import facts_of
from grandtotal.tasks.needs import Standing, Verdict

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from grandtotal.tables.read import Tables


def with_context(
    rows: dict[str, Any], cuts: dict[str, date], tables: Tables, customers: pl.Series
) -> dict[str, Any]:
    """Returns the rows with what is known of the customers at each cut.

    The facts are those of the table today: it says of nobody since when.
    """
    texts: dict[str, NDArray[Any]] = facts_of(tables, customers.to_numpy(), FACTS)
    known = {
        split: Context.of_texts([texts[name] for name in FACTS], _days(cut))
        for split, cut in cuts.items()
    }
    return {
        name: replace(held, context=known[name]) if isinstance(held, Purchases) else held
        for name, held in rows.items()
    }


def _days(day: date) -> int:
    return int(np.datetime64(day, "D").astype(np.int64))


def facts_standing(tables: Tables) -> Standing:
    """Returns which of FACTS the customers table has, and what is done about those it lacks."""
    there = tables["customers"].columns if "customers" in tables else ()
    lacking = [f"customers.{name}" for name in FACTS if name not in there]
    found = f"without {', '.join(lacking)}" if lacking else f"there are {', '.join(FACTS)}"
    remedy = "map them in retailer.toml; what is lacking counts as unknown, and als needs none"
    verdict: Verdict = "look" if lacking else "yes"
    return Standing("facts of customers", verdict, found, ", ".join(FACTS), remedy)
