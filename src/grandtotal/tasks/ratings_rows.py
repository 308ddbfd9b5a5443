"""What a retailer's ratings table says as of each cut. Only in a retailer's process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.ratings import Cut, Ratings
from grandtotal.errors import DataError
from grandtotal.tasks.lines import on_catalogue
from grandtotal.tasks.scope import listed_products

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common


@dataclass(frozen=True, eq=False)
class About:
    """The customers of the rows, and what became of a retailer's ratings.

    customers: (people,) ids, by the number that stands for each. sold: (products,) what the
    retailer may show. read: ratings of catalogue products before today; anonymous: without a
    customer; again: followed by another one of the same customer and product; parts: no whole star.
    """

    customers: NDArray[Any]
    sold: NDArray[np.bool_]
    read: int
    anonymous: int
    again: int
    parts: int


def rating_lines(tables: Tables, common: Common) -> tuple[pl.DataFrame, About]:
    """Returns u, i, stars, time of known customers before today, in order of u and time.

    A part of a star is rounded to the nearest whole one, a half up. DataError without a table, a
    customer column, or a rating that can be used.
    """
    import polars as pl

    lines = pl.concat(on_catalogue(tables, common, _read(tables, common.today), "ratings"))
    known = lines.filter(pl.col("customer").is_not_null())
    if known.is_empty():
        raise DataError(
            f"ratings: none of {len(lines):,} ratings of catalogue products before {common.today} "
            f"has a customer: check the mapping of 'customer' and 'time' in retailer.toml"
        )
    coded = known.with_columns(
        u=pl.col("customer").rank("dense").cast(pl.Int64) - 1,
        i=pl.col("i").cast(pl.Int64),
        stars=(pl.col("rating") + 0.5).floor().cast(pl.Int64),
    )
    # Of the same time the last line counts: of a customer's ratings no order is left to chance.
    coded = coded.sort("u", "time", maintain_order=True).select("u", "i", "stars", "time")
    about = About(
        known["customer"].unique().sort().to_numpy(),
        _sold(tables, common, lines),
        len(lines),
        len(lines) - len(known),
        len(coded) - coded.select("u", "i").n_unique(),
        int((known["rating"] != known["rating"].floor()).sum()),
    )
    return coded, about


def _read(tables: Tables, today: date) -> Iterator[pl.DataFrame]:
    from grandtotal.tables.read import columns_of, pieces

    if "ratings" not in tables or "customer" not in columns_of(tables, "ratings"):
        raise DataError(
            "ratings: this task needs the table 'ratings' with the column 'customer'; name both in "
            "retailer.toml"
        )
    for piece in pieces(tables, "ratings", ("product", "customer", "rating", "time")):
        yield piece.filter(piece["time"].dt.date() < today)


def _sold(tables: Tables, common: Common, lines: pl.DataFrame) -> NDArray[np.bool_]:
    """Returns what the products table lists; without one, what was rated here."""
    listed = listed_products(tables, common)
    sold = np.zeros(len(common.catalogue), bool) if listed is None else listed.copy()
    if listed is None:
        sold[lines["i"].unique().to_numpy()] = True
    sold[list(common.absent)] = False
    return sold


def rating_cut(lines: pl.DataFrame, cut: date, until: date) -> Cut:
    """Returns what was known before the cut, and what was then rated for the first time.

    Of several ratings of one product by one customer the latest counts, in each of the two. What
    was rated before and is rated again is no question: the answer is known.
    """
    import polars as pl

    day = pl.col("time").dt.date()
    known = _latest(lines.filter(day < cut))
    asked = _latest(lines.filter((day >= cut) & (day < until)))
    return Cut(_ratings(known), _ratings(asked.join(known, on=["u", "i"], how="anti")))


def _latest(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.unique(["u", "i"], keep="last", maintain_order=True)


def _ratings(lines: pl.DataFrame) -> Ratings:
    ordered = lines.with_columns(lines["time"].dt.epoch("us")).sort("u", "time", "i")
    return Ratings.of(*(ordered[name].to_numpy() for name in ("u", "i", "stars", "time")))


def rating_cuts(lines: pl.DataFrame, today: date, days: int) -> dict[str, Cut]:
    """Returns the cuts of the validation, the test and now; DataError where one has nothing."""
    ends = {"validation": 2, "test": 1, "now": 0}
    cuts = {name: today - k * timedelta(days=days) for name, k in ends.items()}
    found = {name: rating_cut(lines, cut, cut + timedelta(days=days)) for name, cut in cuts.items()}
    for name in ("validation", "test"):
        known, asked = len(found[name].known.stars), len(found[name].asked.stars)
        if not known or not asked:
            raise DataError(
                f"ratings: {known:,} before {cuts[name]}, the {name} cut, and {asked:,} new ones "
                f"in the {days} days after it; both are needed: a longer export, or another "
                f"horizon_days in the plan"
            )
    return found
