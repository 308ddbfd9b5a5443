"""How much a product will sell that has not sold yet: what products like it sell.

The logarithm of a product's level is a sum of what its category adds, each part of the path and all
of it, its brand, its price, and how much of it the other retailers sell, which the model knows as a
total. Ridge regression draws a category or brand of few products to the others; how much is decided
by leaving out each product in turn, and so is how far off a level may be. From one period to the
next a new product moves as its category is forecast to. All of it is made at home.

Hoerl and Kennard, "Ridge regression", 1970, https://doi.org/10.1080/00401706.1970.10488634. Allen,
"The relationship between variable selection and data augmentation and a method for prediction",
1974, https://doi.org/10.1080/00401706.1974.10489157: the error with each row left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import exp, log
from grandtotal.tasks.along_periods import divided, mean_of_rows
from grandtotal.tasks.demand_facts import read_facts
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.intervals import in_units
from grandtotal.tasks.lines import positions
from grandtotal.tasks.sales import Cases, Sales
from grandtotal.tasks.sales_stores import product_series

if TYPE_CHECKING:
    from grandtotal.tables.read import Tables
    from grandtotal.tasks.demand import Demand
    from grandtotal.tasks.task import Common

Floats = NDArray[np.float64]
LEAST = 8  # products that sell, from which on another one can be like them
_LITTLE = 0.1  # units: what a logarithm sees of a product that did not sell
_HALF = 0.5  # of a unit, as in intervals.py
_PENALTIES = (0.5, 2.0, 8.0, 32.0)  # of a category or a brand; that many products weigh as much
_MOST = 500  # words that tell products apart
_NEAREST = 100  # products of about the same level, whose errors make the range
_LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Described:
    """What is known of products besides what the retailer sold of them.

    words: of each product, such as its brand and every part of its category's path. numbers:
    (products, any), such as the logarithm of its price; nan where unknown.
    """

    words: tuple[tuple[str, ...], ...]
    numbers: Floats

    def count(self, products: NDArray[np.intp]) -> Counter[str]:
        """Returns how many of these products have each word."""
        return Counter(word for i in products for word in self.words[i])

    def columns(self, known: NDArray[np.intp]) -> tuple[Floats, int]:
        """Returns (products, 1 + numbers + words), and how many of the first are no words.

        Of words those that at least two of the known products have, the most frequent; numbers in
        their deviations, 0 where unknown.
        """
        count = self.count(known).items()
        several = sorted((-n, word) for word, n in count if n > 1)[:_MOST]
        place = {word: j for j, (_, word) in enumerate(several)}
        marks = np.zeros((len(self.words), len(place)))
        for i, words in enumerate(self.words):
            marks[i, [place[word] for word in words if word in place]] = 1.0
        mean = mean_of_rows(self.numbers[known].T)
        from_mean = self.numbers - mean
        spread = np.sqrt(mean_of_rows(from_mean[known].T ** 2))
        scaled = np.nan_to_num(divided(from_mean, np.broadcast_to(spread, from_mean.shape)))
        whole = np.concatenate([np.ones((len(marks), 1)), scaled, marks], axis=1)
        return whole, 1 + scaled.shape[1]


@dataclass(frozen=True)
class Like:
    """level: (products,) units a period of products like it. without: (known,) the same of each
    known product, made without it."""

    level: Floats
    without: Floats


def levels_like(described: Described, level: Floats, known: NDArray[np.intp]) -> Like:
    """Returns what is expected of every product by what is known of it.

    level: (products,) units a period, looked at for the known ones only.
    """
    x, plain = described.columns(known)
    y = log(level[known] + _LITTLE)
    fits = [_ridge(x[known], y, plain, penalty) for penalty in _PENALTIES]
    coefficients, left_out = min(fits, key=lambda fit: float(((y - fit[1]) ** 2).sum()))
    without = _units(left_out)
    # The mean of logarithms is below the logarithm of the mean.
    factor = float(level[known].sum()) / max(float(without.sum()), _LITTLE)
    return Like(factor * _units(x @ coefficients), factor * without)


def _ridge(x: Floats, y: Floats, plain: int, penalty: float) -> tuple[Floats, Floats]:
    """Returns the coefficients, and each row's prediction by the others."""
    weights = np.full(x.shape[1], penalty)
    weights[:plain] = 1.0
    weights[0] = 1e-6
    solved = np.linalg.solve(x.T @ x + np.diag(weights), x.T)
    coefficients: Floats = solved @ y
    lever = np.einsum("ij,ji->i", x, solved)
    left_out = y - (y - x @ coefficients) / np.maximum(1.0 - lever, 1e-3)
    return coefficients, np.clip(left_out, y.min(), y.max())


def _units(logs: Floats) -> Floats:
    return np.maximum(exp(np.clip(logs, -30.0, 30.0)) - _LITTLE, 0.0)


@dataclass(frozen=True)
class Launches:
    """Forecasts of products that have not sold yet, one for each product and period.

    product: (rows,) its place in the catalogue. ahead: (rows,). units: (rows,). quantiles: (rows,
    3) p10, p50 and p90. like: (rows,) which products it is like, in words.
    """

    product: NDArray[np.intp]
    ahead: NDArray[np.int64]
    units: Floats
    quantiles: Floats
    like: list[str]


def launches(
    task: Demand, model: DemandModel, cases: Cases, forecast: Floats, tables: Tables
) -> Launches | None:
    """Returns what the products will sell that begin; None where there is none, or none like it.

    forecast: (cases,) of those that sell. A product begins if the retailer's table of products has
    it, nothing of it was sold in all of the history, and, where there is a table of stock or
    supply, it is in one of them. Its category, its brand or the other retailers must tell of it.
    """
    sales, common = cases.of, task.common
    units = sales.of_products(len(common.catalogue))
    level = _levels(sales, units)
    known = np.flatnonzero(level > 0)
    new = _begin(tables, common, units)
    if len(known) < LEAST or not len(new):
        return None
    others = _of_others(model, units, sales)
    described = _described(tables, common, others)
    told = described.count(known)
    new = np.array([i for i in new if told.keys() & described.words[i] or others[i] > 0], np.intp)
    if not len(new):
        return None
    like = levels_like(described, level, known)
    ahead, moves = _moves(cases, forecast, described, level)
    product, step = (part.ravel() for part in np.meshgrid(new, range(len(ahead)), indexing="ij"))
    found = like.level[product] * np.array([moves(i) for i in new]).ravel()
    ratios = np.stack([_ratios(like, units[known], sales, like.level[i]) for i in new])
    quantiles = (found[:, None] + _HALF) * np.repeat(ratios, len(ahead), axis=0) - _HALF
    whole = np.full(len(found), bool(sales.whole.all()))
    words = {int(i): _words(described.words[i], told, others[i] > 0) for i in new}
    rounded = in_units(quantiles, whole)
    return Launches(product, ahead[step], found, rounded, [words[int(i)] for i in product])


def _levels(sales: Sales, units: Floats) -> Floats:
    """Returns units a period of each product, in the longest window, from its first sale on."""
    recent = units[:, -sales.periods.windows[-1] :]
    first = (units > 0).argmax(axis=1)
    there = np.minimum(units.shape[1] - first, recent.shape[1])
    level: Floats = recent.sum(axis=1) / there
    return level


def _begin(tables: Tables, common: Common, units: Floats) -> NDArray[np.intp]:
    """Returns the products that have never sold and are about to."""
    if "products" not in tables:
        return np.empty(0, np.intp)
    places = positions(tables, common)

    def among(name: str) -> set[int]:
        listed = tables[name].select("product").join(places, on="product")
        return {*listed["i"].to_list()}

    found = among("products") - {*np.flatnonzero(units.any(axis=1)).tolist(), *common.absent}
    coming = [among(name) for name in ("stock", "supply") if name in tables]
    return np.array(sorted(found & set().union(*coming) if coming else found), np.intp)


def _of_others(model: DemandModel, units: Floats, sales: Sales) -> Floats:
    """Returns what the other retailers sold of each product in a period, from their first sale on.

    0 where not known. They may have begun with it only a week before.
    """
    if model.series.shape != units.shape:
        return np.zeros(len(units))
    return _levels(sales, np.maximum(model.series - units, 0.0))


def _described(tables: Tables, common: Common, others: Floats) -> Described:
    facts = read_facts(tables, common, product_series(common))
    words = []
    for path, brand in zip(facts.texts["category"], facts.texts["brand"], strict=True):
        parts = [part.strip() for part in path.split(">")] if path else []
        paths = [f"of {' > '.join(parts[: i + 1])}" for i in range(len(parts))]
        words.append((*paths, *([f"by {brand}"] if brand else [])))
    # What nobody else sells is new to all, or made for this retailer: that tells no level.
    elsewhere = np.where(others > 0, log(others + _LITTLE), np.nan)
    return Described(tuple(words), np.stack([_log_prices(tables, common), elsewhere], axis=1))


def _log_prices(tables: Tables, common: Common) -> Floats:
    """Returns the logarithm of each product's list price, nan where it is not known."""
    import polars as pl

    found = np.full(len(common.catalogue), np.nan)
    if "list_price" in tables["products"].columns:
        rows = tables["products"].join(positions(tables, common), on="product")
        rows = rows.filter(pl.col("list_price") > 0)
        found[rows["i"].to_numpy()] = log(rows["list_price"].to_numpy().astype(np.float64))
    return found


def _moves(
    cases: Cases, forecast: Floats, described: Described, level: Floats
) -> tuple[NDArray[np.int64], Moves]:
    """Returns the periods ahead, and how a product's category moves in each against its level."""
    names = cases.of.names
    product = cases.series if names is None else names.product[cases.series]
    ahead, step = np.unique(cases.ahead, return_inverse=True)
    table = np.zeros((len(level), len(ahead)))
    np.add.at(table, (product, step), forecast)
    return ahead, Moves(table, level, described)


@dataclass(frozen=True)
class Moves:
    """forecast: (products, periods ahead) of those that sell, level: (products,) of each."""

    forecast: Floats
    level: Floats
    described: Described

    def __call__(self, product: int) -> Floats:
        """Returns (periods ahead,): what the narrowest group of enough products sells of its level.

        A group is a part of the path of its category; the widest is all products.
        """
        for path in reversed(_paths(self.described.words[product])):
            if path in self._groups:
                return self._groups[path]
        return self._all

    @cached_property
    def _groups(self) -> dict[str, Floats]:
        """What each group of enough products sells of its level, (periods ahead,)."""
        members = defaultdict(list)
        for i in self._sells.tolist():
            for path in {*_paths(self.described.words[i])}:
                members[path].append(i)
        return {path: self._of(np.array(i)) for path, i in members.items() if len(i) >= LEAST}

    @cached_property
    def _all(self) -> Floats:
        return self._of(self._sells)

    @cached_property
    def _sells(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.forecast.any(axis=1))

    def _of(self, group: NDArray[np.intp]) -> Floats:
        moved: Floats = self.forecast[group].sum(axis=0) / max(self.level[group].sum(), _LITTLE)
        return moved


def _ratios(like: Like, units: Floats, sales: Sales, level: float) -> Floats:
    """Returns what products of about this level sold over what was expected without them, (3,)."""
    distance = np.abs(log(like.without + _LITTLE) - log(np.asarray(level + _LITTLE)))
    near = np.argsort(distance, kind="stable")[:_NEAREST]
    sold = units[near, -sales.periods.level :] + _HALF
    ratios: Floats = np.quantile(sold / (like.without[near, None] + _HALF), _LEVELS)
    return ratios


def _paths(words: tuple[str, ...]) -> list[str]:
    """Returns the parts of a category's path, the widest first."""
    return [word for word in words if word.startswith("of ")]


def _words(mine: tuple[str, ...], count: Counter[str], others: bool) -> str:
    """Returns such as "like 11 products of garden > balcony, 4 by Grow"; mine: a product's words.

    count: how many products have each word.
    """
    paths = [path for path in _paths(mine) if count[path]]
    brands = [word for word in mine if word.startswith("by ") and count[word]]
    parts = [f"{count[word]} products {word}" for word in paths[-1:]]
    parts += [f"{count[word]} products {word}" for word in brands]
    parts += ["itself at other retailers"] if others else []
    return f"like {', '.join(parts)}"
