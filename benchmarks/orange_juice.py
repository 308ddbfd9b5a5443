"""Dominick's refrigerated orange juice as weekly series: 83 stores, 11 brands, 121 weeks.

Ten retailers are made of its stores by their numbers. Promotions are two columns: the fraction of
advertising (`feat`) and the in-store coupon (`deal`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.rows import need
from grandtotal.algorithms.glm import Design, features
from grandtotal.algorithms.price_rows import PricePanel, PriceRows, of_year, whole
from grandtotal.consortium.query import Rows, shared

SOURCE = "github.com/cran/bayesm, data/orangeJuice.rda"
PUBLISHED = (10, 5, 1)  # Dominick's, Minute Maid and Tropicana Premium, all of 64 ounces
WEEKS, RETAILERS = 121, 10
COLUMNS, SEASON = 4, 6  # prices and promotions; and with the year's season
_SCALE = 96.0  # of a log price in the steps of a feature: resolution 0.00004


@dataclass(frozen=True)
class Sales:
    """Rows sorted by store, brand and week, each (rows,)."""

    store: NDArray[np.int64]
    brand: NDArray[np.int64]
    week: NDArray[np.int64]
    price: NDArray[np.float64]
    others: NDArray[np.float64]
    feat: NDArray[np.float64]
    deal: NDArray[np.float64]
    log_units: NDArray[np.float64]

    def of(self, keep: NDArray[np.bool_]) -> "Sales":
        """Returns some of the rows."""
        return Sales(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def holders(self, brands: tuple[int, ...], season: int = WEEKS, cross: bool = False) -> dict:
        """Returns ten retailers' rows of these brands, which are the products 0, 1, ..."""
        mine = self.of(np.isin(self.brand, brands))
        owner = np.unique(mine.store, return_inverse=True)[1] % RETAILERS
        return {
            f"retailer {i}": _splits(mine.of(owner == i).rows(brands, season, cross))
            for i in range(RETAILERS)
        }

    def rows(self, brands: tuple[int, ...], season: int, cross: bool) -> PriceRows:
        """Returns one retailer's rows: log price, others' log price, feat, deal, the year."""
        place = np.searchsorted(np.sort(brands), self.brand)
        product = np.argsort(brands)[place]
        key = self.store * 100 + self.brand
        series = np.unique(key, return_inverse=True)[1]
        first = np.unique(series, return_index=True)[1]
        others = whole(self.others) if cross else np.zeros(len(self.price))
        return PriceRows(
            np.stack(
                [whole(self.price), others, self.feat, self.deal, *of_year(self.week).T], axis=1
            ),
            np.exp(self.log_units),
            series,
            self.week,
            product[first],
            season,
            np.ones(len(brands), np.int16),
        )

    def designs(self, brands: tuple[int, ...], by_brand: bool) -> dict:
        """Returns ten retailers' rows of a regression with a level for every brand."""
        mine = self.of(np.isin(self.brand, brands))
        owner = np.unique(mine.store, return_inverse=True)[1] % RETAILERS
        levels = [(mine.brand == brand).astype(np.float64) for brand in brands]
        # Of prices near zero more digits are kept; a brand's level takes up its mean.
        means = [mine.price[mine.brand == brand].mean() for brand in brands]
        price = (mine.price - np.dot(means, levels)) * _SCALE
        prices = [price * level for level in levels] if by_brand else [price]
        x = features([*levels, *prices])
        return {
            f"retailer {i}": {
                "test": _Designs(
                    Design(x[owner == i], mine.log_units[owner == i], np.zeros((owner == i).sum()))
                )
            }
            for i in range(RETAILERS)
        }

    @staticmethod
    def slopes(coefficients: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
        """Returns elasticities from the coefficients of `designs`."""
        return coefficients[levels:] * _SCALE


@dataclass(frozen=True)
class _Designs:
    design: Design

    def training(self, broadcast: dict) -> list[Design]:  # noqa: ARG002
        return [self.design]


def _splits(rows: PriceRows) -> Rows:
    panel = PricePanel((rows,))
    return {"test": panel, shared("test"): panel}


def orange_juice(data: Path) -> Sales:
    """Returns the table; raises MissingDataError where it is not."""
    path = need(data / "dominicks-orange-juice" / "yx.csv.gz", SOURCE)
    frame = pl.read_csv(path).sort("store", "brand", "week")
    prices = np.log(frame.select(f"price{i}" for i in range(1, 12)).to_numpy())
    brand = frame["brand"].to_numpy()
    own = prices[np.arange(len(brand)), brand - 1]
    return Sales(
        frame["store"].to_numpy(),
        brand,
        frame["week"].to_numpy() - 40,
        own,
        (prices.sum(axis=1) - own) / 10,
        frame["feat"].to_numpy().astype(np.float64),
        frame["deal"].to_numpy().astype(np.float64),
        frame["logmove"].to_numpy(),
    )
