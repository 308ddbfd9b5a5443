"""Transaction files of any size whose truth is known, written in pieces of a million lines.

Products come in groups of fifty, in ten at least. A customer has two groups of taste, from which
most of the lines are drawn, so that a model of co-purchases has something to find. Given how often
a product is bought, the week of a line is drawn in proportion to exp(x'effects): season, price
against the product's usual one, promotion, with one vector of effects for each group. Retailers
share products, groups and effects; each has its own customers, assortment, prices and promotions.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

FIRST_DAY = date(2023, 1, 2)  # a Monday
WEEKS = 104
TODAY = FIRST_DAY + timedelta(weeks=WEEKS)
EFFECTS = ("season, cosine", "season, sine", "price", "promotion")
PIECE = 1_000_000  # lines of one file

_GROUP = 50  # products
_TASTES = 2  # of a customer
_OF_TASTE = 0.75  # share of a customer's lines
_SORTED_OUT = 0.15  # share of the products that a retailer does not sell
_PROMOTED = 0.06  # share of the (product, week) cells
_STEP = 13  # weeks between changes of the usual price
_OF_WEEK = np.cumsum([0.9, 0.8, 0.9, 1.0, 1.4, 1.6, 0.4]) / 7.0  # demand by day, Monday first
_DAY_S = 86_400

CONFIG = """\
retailer = "{name}"
currency = "EUR"
time_zone = "UTC"

[tables.transactions]
path = "transactions/*.parquet"
"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """How much is generated, over all retailers together."""

    lines: int = 20_000_000
    customers: int = 2_000_000
    products: int = 20_000
    retailers: int = 5

    @property
    def names(self) -> tuple[str, ...]:
        """The retailers."""
        return tuple(f"retailer-{number:02}" for number in range(self.retailers))

    @property
    def catalogue(self) -> tuple[str, ...]:
        """The products' ids, in the order of every array."""
        return tuple(f"P{number:06}" for number in range(self.products))


@dataclass(frozen=True)
class Shelf:
    """What one retailer sells at what price, both (product, week); weight (product,), 0 if not."""

    price: Floats
    promoted: NDArray[np.bool_]
    weight: Floats


@dataclass(frozen=True)
class Planted:
    """The truth behind the files, equal for equal sizes and seeds."""

    size: Size
    seed: int = 7

    @property
    def groups(self) -> int:
        """How many groups of products there are."""
        return max(10, self.size.products // _GROUP)

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """The group of each product, (products,); products of one group lie side by side."""
        return np.arange(self.size.products) * self.groups // self.size.products

    @cached_property
    def effects(self) -> Floats:
        """What is planted: (groups, 4), in the order of EFFECTS; the price's is its elasticity."""
        rng = np.random.default_rng([self.seed, 1])
        peak = rng.uniform(0, 2 * np.pi, self.groups)
        height = rng.uniform(0.1, 0.5, self.groups)
        elasticity = -rng.uniform(0.5, 3.0, self.groups)
        uplift = rng.uniform(0.2, 0.8, self.groups)
        return np.stack([height * np.cos(peak), height * np.sin(peak), elasticity, uplift], axis=1)

    @cached_property
    def usual(self) -> tuple[Floats, Floats]:
        """Price in euros and weight of each product, both (products,)."""
        rng = np.random.default_rng([self.seed, 2])
        price = np.exp(rng.normal(1.5, 0.7, self.size.products)).round(2) + 0.5
        return price, np.exp(rng.normal(0.0, 0.8, self.size.products))

    def shelf(self, retailer: int) -> Shelf:
        """Returns what a retailer sells, and when at what price."""
        rng = np.random.default_rng([self.seed, 3, retailer])
        shape = (self.size.products, WEEKS)
        price, weight = self.usual
        steps = rng.choice([0.85, 0.95, 1.0, 1.1], (shape[0], -(-WEEKS // _STEP)))
        promoted = rng.random(shape) < _PROMOTED
        depth = rng.choice([0.0, 0.1, 0.25], shape)
        charged = price[:, None] * np.repeat(steps, _STEP, axis=1)[:, :WEEKS]
        charged *= 1.0 - depth * promoted
        sold = rng.random(shape[0]) >= _SORTED_OUT
        return Shelf(charged.round(2), promoted, weight * sold)

    def features(self, shelf: Shelf, products: slice) -> Floats:
        """Returns x of some products, (products, weeks, 4), in the order of EFFECTS."""
        angle = 2 * np.pi * np.arange(WEEKS) / 52
        price = shelf.price[products]
        x = np.empty((*price.shape, len(EFFECTS)))
        x[:, :, 0], x[:, :, 1] = np.cos(angle), np.sin(angle)
        x[:, :, 2] = np.log(price / self.usual[0][products, None])
        x[:, :, 3] = shelf.promoted[products]
        return x

    def write(self, folder: Path) -> None:
        """Writes <folder>/<retailer>/retailer.toml and its transactions/*.parquet."""
        for number, name in enumerate(self.size.names):
            files = folder / name / "transactions"
            files.mkdir(parents=True)
            (folder / name / "retailer.toml").write_text(CONFIG.format(name=name))
            self._write_lines(number, files)

    def _write_lines(self, retailer: int, folder: Path) -> None:
        shelf = self.shelf(retailer)
        lines = _parts(self.size.lines, self.size.retailers)[retailer]
        customers = _parts(self.size.customers, self.size.retailers)[retailer]
        pieces = -(-lines // PIECE)
        draw = _Draw.of(self, shelf)
        known = 0
        for piece in range(pieces):
            rng = np.random.default_rng([self.seed, 4, retailer, piece])
            here = _parts(customers, pieces)[piece]
            frame = draw.lines(rng, _parts(lines, pieces)[piece], here)
            frame = frame.with_columns(
                product=pl.Series(self.size.catalogue).gather(frame["product"]),
                customer=pl.format("C{}-{}", pl.lit(retailer), pl.col("customer") + known),
            )
            frame.sort("time").write_parquet(folder / f"part-{piece:04}.parquet")
            known += here


@dataclass(frozen=True)
class _Draw:
    """Tables to draw lines from by their cumulative sums."""

    shelf: Shelf
    group: NDArray[np.int64]
    weights: Floats  # (products + 1,) cumulative
    edges: Floats  # (groups + 1,) where each group begins in `weights`
    weeks: Floats  # (products * weeks,) cumulative, product p from p to p + 1

    @staticmethod
    def of(planted: Planted, shelf: Shelf) -> "_Draw":
        weights = np.concatenate([[0.0], np.cumsum(shelf.weight)])
        starts = np.searchsorted(planted.group, np.arange(planted.groups + 1))
        demand = np.empty(shelf.price.shape)
        for number, effects in enumerate(planted.effects):
            some = slice(starts[number], starts[number + 1])
            demand[some] = np.exp(planted.features(shelf, some) @ effects)
        share = np.cumsum(demand, axis=1)
        share /= share[:, -1:]
        weeks = share + np.arange(len(share))[:, None]
        return _Draw(shelf, planted.group, weights, weights[starts], weeks.ravel())

    def lines(self, rng: np.random.Generator, lines: int, customers: int) -> pl.DataFrame:
        """Returns so many lines of so many customers, each with one at least."""
        activity = rng.gamma(2.0, size=customers)
        more = rng.multinomial(max(lines - customers, 0), activity / activity.sum())
        customer = np.repeat(np.arange(customers), 1 + more)[:lines]
        product = self._products(rng, customer, customers)
        place = np.searchsorted(self.weeks, product + rng.random(lines), side="right")
        week = np.minimum(place, len(self.weeks) - 1) - product * WEEKS
        day = week * 7 + np.searchsorted(_OF_WEEK, rng.random(lines) * _OF_WEEK[-1])
        second = day * _DAY_S + rng.integers(8 * 3600, 20 * 3600, lines)
        epoch = (FIRST_DAY - date(1970, 1, 1)).days * _DAY_S
        return pl.DataFrame(
            {
                "time": pl.from_epoch(pl.Series(second + epoch), "s").cast(pl.Datetime("us")),
                "customer": customer,
                "product": product,
                "quantity": 1 + rng.poisson(0.3, lines),
                "price": self.shelf.price[product, week],
                "promotion": pl.Series(np.where(self.shelf.promoted[product, week], 1, 0)),
            }
        )

    def _products(
        self, rng: np.random.Generator, customer: NDArray[np.int64], customers: int
    ) -> NDArray[np.int64]:
        taste = rng.integers(len(self.edges) - 1, size=(customers, _TASTES))
        group = taste[customer, rng.integers(_TASTES, size=len(customer))]
        loyal = rng.random(len(customer)) < _OF_TASTE
        low = np.where(loyal, self.edges[group], 0.0)
        high = np.where(loyal, self.edges[group + 1], self.weights[-1])
        drawn = np.searchsorted(
            self.weights, low + (high - low) * rng.random(len(customer)), side="right"
        )
        return np.minimum(drawn - 1, len(self.group) - 1)


def _parts(whole: int, parts: int) -> list[int]:
    """Returns `whole` as so many nearly equal whole numbers."""
    return [(part + 1) * whole // parts - part * whole // parts for part in range(parts)]
