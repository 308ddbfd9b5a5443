"""A small generated consortium, to run at once and to replace table by table with real data.

Every customer prefers one or two of five categories, so that recommendations have something to
find; sales have a week and a year, prices move every few weeks, at a price that is 1 % higher those
who buy take about 2.5 % fewer, and a promotion doubles demand beside what its lower price does.
Stock is what happened to be there on the last evening.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from grandtotal.tables.example_events import example_events
from grandtotal.tables.example_text import CONFIG, PRODUCTS

_FIRST_DAY = date(2023, 1, 2)  # a Monday
_WEEKS = 80
_TODAY = _FIRST_DAY + timedelta(weeks=_WEEKS)
_CUSTOMERS = 400
_BASKETS = 1900
_MAX_LINES = 5  # of one basket
_STORES = 4
_OF_WEEK = np.array([0.9, 0.8, 0.9, 1.0, 1.4, 1.6, 0.4])  # demand by day, Monday first
_ANONYMOUS = 0.08  # share of the baskets
_RETURNED = 0.02  # share of the lines
_CONSENT = 0.95  # share of the customers
_PROMOTED = 0.05  # share of the (product, week) cells
_REDUCTION = 0.2
_SPELL = 5  # weeks for which a price holds
_MOVES = [0.82, 0.92, 1.0, 1.0, 1.08, 1.18]  # of a price, from one spell to another
_ELASTICITY = -2.5  # of how many a customer takes, who takes one at least
_HOLIDAYS = {
    "2023-04-07": "Good Friday",
    "2023-04-10": "Easter Monday",
    "2023-12-25": "Christmas Day",
    "2023-12-26": "Boxing Day",
    "2024-01-01": "New Year's Day",
    "2024-03-29": "Good Friday",
    "2024-04-01": "Easter Monday",
}

_NAMES = [f"P{number:02}" for number in range(1, len(PRODUCTS) + 1)]
_CATEGORY = np.unique([row[0] for row in PRODUCTS], return_inverse=True)[1]


@dataclass(frozen=True)
class _Shelf:
    """What all retailers share, each (week, product).

    price: in euros. promoted: True or False. pull: how many are taken for one at the list price.
    """

    price: np.ndarray
    promoted: np.ndarray
    pull: np.ndarray


def make_example(
    folder: Path, retailers: tuple[str, ...] = ("north", "south", "west"), seed: int = 7
) -> Path:
    """Writes <folder>/<retailer>/ with retailer.toml and data/, and <folder>/catalogue.csv.

    About 300 KB a retailer; equal for equal seeds. Files of the same names are replaced.
    Returns `folder`.
    """
    shelf = _shelf(np.random.default_rng(seed))
    for number, name in enumerate(retailers):
        rng = np.random.default_rng([seed, number])
        warehouse = np.random.default_rng([seed, number, 1])
        data = folder / name / "data"
        data.mkdir(parents=True, exist_ok=True)
        (folder / name / "retailer.toml").write_text(CONFIG.format(name=name), encoding="utf-8")
        events = example_events(
            np.random.default_rng([seed, number, 2]), _TODAY, _CUSTOMERS, _NAMES
        )
        tables = (*_tables(rng, shelf), *_warehouse(warehouse), ("events", events))
        for table, frame in tables:
            frame.write_csv(data / f"{table}.csv")
    pl.DataFrame({"product": _NAMES}).write_csv(folder / "catalogue.csv")
    return folder


def gtin(number: int) -> str:
    """Returns the GTIN-13 of a number below 10^9, under 952, which is kept for examples.

    The check digit makes sum(digit * weight) a multiple of 10, weights 1, 3, 1, 3, ... from the
    left; GS1 General Specifications, 7.9.1.
    """
    digits = f"952{number:09}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def _shelf(rng: np.random.Generator) -> _Shelf:
    list_prices = np.array([row[3] for row in PRODUCTS])
    half_years = rng.choice([0.95, 1.0, 1.05, 1.1], size=(_WEEKS // 26 + 1, len(PRODUCTS)))
    price = np.repeat(list_prices * half_years, 26, axis=0)[:_WEEKS]
    promoted = rng.random(price.shape) < _PROMOTED
    moves = rng.choice(_MOVES, size=(_WEEKS // _SPELL + 1, len(PRODUCTS)))
    price = (price * np.repeat(moves, _SPELL, axis=0)[:_WEEKS]).round(2)
    paid = price * (1 - _REDUCTION * promoted)
    return _Shelf(price, promoted, (paid / list_prices) ** _ELASTICITY)


def _tables(rng: np.random.Generator, shelf: _Shelf) -> Iterator[tuple[str, pl.DataFrame]]:
    yield "transactions", _transactions(rng, shelf)
    yield "products", _products()
    yield "customers", _customers(rng)
    yield "stores", _stores(rng)
    yield "calendar", pl.DataFrame({"date": [*_HOLIDAYS], "holiday": [*_HOLIDAYS.values()]})


def _transactions(rng: np.random.Generator, shelf: _Shelf) -> pl.DataFrame:
    """Returns the lines in the order of their time; a return follows within two weeks."""
    customer = rng.choice(_CUSTOMERS, _BASKETS, p=_shares(rng, _CUSTOMERS))
    day = _days(rng)
    lines_of = rng.integers(1, _MAX_LINES + 1, _BASKETS)
    basket = np.repeat(np.arange(_BASKETS), lines_of)
    week = day[basket] // 7
    product = _chosen(rng, _tastes(rng)[customer[basket]], shelf.promoted[week])
    promoted = shelf.promoted[week, product]
    lines = pl.DataFrame(
        {
            "basket": basket,
            "time": _times(rng, day)[basket],
            "store": rng.integers(_STORES, size=_BASKETS)[basket],
            "customer": np.where(rng.random(_BASKETS) < _ANONYMOUS, -1, customer)[basket],
            "product": product,
            "quantity": _taken(
                rng, 1 + rng.poisson(0.3 + 0.7 * promoted), shelf.pull[week, product]
            ),
            "price": shelf.price[week, product],
            "promoted": promoted,
        }
    ).unique(["basket", "product"], keep="first", maintain_order=True)
    return _as_written(pl.concat([lines, _returns(rng, lines)]))


def _shares(rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns probabilities (size,): some customers come ten times as often as others."""
    weights = rng.lognormal(sigma=0.8, size=size)
    return np.asarray(weights / weights.sum())


def _days(rng: np.random.Generator) -> np.ndarray:
    """Returns the day of every basket, counted from the first, more of them before Christmas."""
    days = np.arange(_WEEKS * 7)
    weights = _OF_WEEK[days % 7] * (1 + 0.3 * np.cos(2 * np.pi * (days - 350) / 365.25))
    return rng.choice(days, _BASKETS, p=weights / weights.sum())


def _times(rng: np.random.Generator, day: np.ndarray) -> np.ndarray:
    minutes = rng.integers(9 * 60, 19 * 60, len(day))
    return np.datetime64(_FIRST_DAY, "ms") + (day * 1440 + minutes) * np.timedelta64(60_000, "ms")


def _tastes(rng: np.random.Generator) -> np.ndarray:
    """Returns weights (customer, product): nine tenths in the one or two preferred categories."""
    categories = int(_CATEGORY.max()) + 1
    preferred = np.zeros((_CUSTOMERS, categories))
    for _ in range(2):
        preferred[np.arange(_CUSTOMERS), rng.integers(categories, size=_CUSTOMERS)] = 1
    liking = 0.9 * preferred / preferred.sum(axis=1, keepdims=True) + 0.1 / categories
    rank = np.array([list(_CATEGORY[:i]).count(c) for i, c in enumerate(_CATEGORY)])
    return np.asarray(liking[:, _CATEGORY] / (rank + 2))


def _chosen(rng: np.random.Generator, tastes: np.ndarray, promoted: np.ndarray) -> np.ndarray:
    """Returns one product a line, drawn by the customer's tastes (line, product)."""
    cumulated = np.cumsum(tastes * (1 + promoted), axis=1)
    drawn = rng.random((len(tastes), 1)) * cumulated[:, -1:]
    return np.asarray((cumulated < drawn).sum(axis=1))


def _taken(rng: np.random.Generator, wanted: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """Returns whole numbers, one at least, whose mean is wanted * pull."""
    (apart,) = rng.spawn(1)
    taken = np.floor(wanted * pull + apart.random(len(wanted)))
    return np.asarray(np.maximum(taken, 1).astype(np.int64))


def _returns(rng: np.random.Generator, lines: pl.DataFrame) -> pl.DataFrame:
    back = lines.filter(rng.random(lines.height) < _RETURNED, pl.col("customer") >= 0)
    days = pl.Series(rng.integers(1, 14, back.height)) * timedelta(days=1)
    back = back.with_columns(
        pl.col("time") + days, quantity=-pl.col("quantity"), basket=pl.col("basket") + _BASKETS
    )
    return back.filter(pl.col("time") < _FIRST_DAY + timedelta(weeks=_WEEKS))


def _as_written(lines: pl.DataFrame) -> pl.DataFrame:
    customer = pl.format("C{}", pl.col("customer").cast(pl.String).str.zfill(4))
    reduction = (pl.col("price") * _REDUCTION).round(2)
    return lines.sort("time", "basket", maintain_order=True).select(
        receipt=pl.format("R{}", pl.col("basket").cast(pl.String).str.zfill(5)),
        time=pl.col("time").dt.strftime("%Y-%m-%d %H:%M"),
        store=pl.format("S{}", pl.col("store") + 1),
        customer=pl.when(pl.col("customer") >= 0).then(customer),
        product=pl.lit(pl.Series(_NAMES)).gather(pl.col("product")),
        quantity="quantity",
        price=(pl.col("price") - pl.when("promoted").then(reduction).otherwise(0.0)).round(2),
        discount=pl.when("promoted").then(reduction),
        promotion=pl.when("promoted").then(pl.lit("week offer")),
    )


def _products() -> pl.DataFrame:
    category, title, brand, price = zip(*PRODUCTS, strict=True)
    return pl.DataFrame(
        {
            "product": _NAMES,
            "gtin": [gtin(number) for number in range(1, len(PRODUCTS) + 1)],
            "title": title,
            "category": category,
            "brand": brand,
            "list_price": price,
        }
    )


def _customers(rng: np.random.Generator) -> pl.DataFrame:
    joined = rng.integers(0, 4 * 365, _CUSTOMERS)
    return pl.DataFrame(
        {
            "customer": [f"C{number:04}" for number in range(_CUSTOMERS)],
            "age_band": rng.choice(["18-29", "30-44", "45-59", "60+"], _CUSTOMERS),
            "region": rng.choice(["city", "suburb", "country"], _CUSTOMERS),
            "tier": rng.choice(["basic", "silver", "gold"], _CUSTOMERS, p=[0.7, 0.2, 0.1]),
            "joined": [_FIRST_DAY - timedelta(days=int(days)) for days in joined],
            "consent": np.where(rng.random(_CUSTOMERS) < _CONSENT, "yes", "no"),
        }
    )


def _stores(rng: np.random.Generator) -> pl.DataFrame:
    opened = rng.integers(365, 20 * 365, _STORES)
    return pl.DataFrame(
        {
            "store": [f"S{number}" for number in range(1, _STORES + 1)],
            "region": ["city", "city", "suburb", "country"],
            "opened": [_FIRST_DAY - timedelta(days=int(days)) for days in opened],
            "format": ["flagship", "city", "city", "outlet"],
        }
    )


def _warehouse(rng: np.random.Generator) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields what is in stock on the last evening, of all stores together, and how more comes."""
    size = len(_NAMES)
    pack = rng.choice([1, 2, 6], size)
    yield (
        "stock",
        pl.DataFrame(
            {
                "product": _NAMES,
                "date": [_FIRST_DAY + timedelta(days=7 * _WEEKS - 1)] * size,
                "on_hand": rng.integers(0, 9, size),
                "on_order": pack * rng.binomial(1, 0.2, size),
            }
        ),
    )
    yield (
        "supply",
        pl.DataFrame(
            {
                "product": _NAMES,
                "lead_time": rng.choice([7, 14], size),
                "pack": pack,
                "minimum_order": pack * rng.choice([0, 2], size),
                "unit_cost": [round(0.6 * row[3], 2) for row in PRODUCTS],
            }
        ),
    )
