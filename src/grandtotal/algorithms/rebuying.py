"""How likely a customer is to buy a product again: a chance, of rates that are counted in totals.

    chance = rate[times, baskets, since] x ratio[product]

A customer who bought a product `times` times in so many `baskets`, and not in the last `since` - 1
of them, is in one of CELLS; a cell's rate is the share of its customers and products with the
product in the basket that followed. A product's ratio is how often it was bought again, over how
often the rates expected it. Rates and ratios with little behind them are pulled towards those of
more. Both are counted on the last basket before the cut and what came before it, so that nothing
after the cut is seen; of the consortium there are only totals, a customer's chances stay at home.

Bhagat et al., "Buy it again: modeling repeat purchase recommendations", 2018,
https://doi.org/10.1145/3219819.3219891
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

# The least of each class of times, baskets and since.
TIMES = np.array([1, 2, 3, 4, 5, 7])
BASKETS = np.array([1, 2, 3, 4, 6, 9, 16])
SINCE = np.array([1, 2, 3, 4, 6, 9])
SHAPE = (len(TIMES), len(BASKETS), len(SINCE))
CELLS = len(TIMES) * len(BASKETS) * len(SINCE)
PULL = 5.0  # customers and products, or purchases, that count as the rate, or ratio, of more
RARELY = 0.05  # the rate of everything where nobody has a second basket
_STEPS = 2**20
_BLOCK = 2**16  # customers counted at once


@dataclass(frozen=True)
class Held:
    """What customers have bought, one entry a customer and product, by customer and product.

    cells: which of CELLS each is in. again: whether it is in the basket that followed.
    """

    customers: NDArray[np.intp]
    products: NDArray[np.intp]
    cells: NDArray[np.intp]
    again: NDArray[np.bool_]


def held(purchases: Purchases, until: int = 0) -> Held:
    """Returns what was bought before the last `until` baskets of each customer, 0 or 1."""
    baskets = purchases.baskets
    assert baskets is not None
    customers = np.repeat(np.arange(baskets.shape[0]), np.diff(baskets.indptr))
    ago = baskets.data.astype(np.int64) - until
    place = customers * baskets.shape[1] + baskets.indices
    starts = np.flatnonzero(np.diff(place, prepend=-1))  # baskets of one product lie side by side
    whose, what = customers[starts], baskets.indices[starts].astype(np.intp)
    many = np.ones(baskets.shape[0], np.int64)
    np.maximum.at(many, customers, ago)
    before = ago > 0
    times, since = np.zeros((2, len(starts)), np.int64)
    if len(starts):
        times = np.add.reduceat(before.astype(np.int64), starts)
        since = np.minimum.reduceat(np.where(before, ago, np.iinfo(np.int64).max), starts)
        again = np.logical_or.reduceat(~before, starts)
    else:
        again = np.zeros(0, bool)
    known = times > 0
    classes = [
        np.searchsorted(edges, of[known], "right") - 1
        for edges, of in ((TIMES, times), (BASKETS, many[whose]), (SINCE, since))
    ]
    cells = np.ravel_multi_index(tuple(classes), SHAPE)
    return Held(whose[known], what[known], cells, again[known])


@dataclass(frozen=True)
class RebuyCounts:
    """How many customers held a product before their last basket, and had it in that one again.

    Of each of CELLS; with "rates" (CELLS,) in the broadcast of each product, beside how many of
    them the rates expect.
    """

    name: ClassVar[str] = "rebuy-counts"
    bound: ClassVar[Stated] = None  # a customer of many products adds many

    products: int
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns again and held (CELLS,), or again and expected (products,)."""
        if "rates" in broadcast:
            of_products = (self.products,)
            return {"again": Field(of_products), "expected": Field(of_products, scale=_STEPS)}
        return {"again": Field((CELLS,)), "held": Field((CELLS,))}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's counts; what is expected is rounded before it is added."""
        found = {name: np.zeros(f.shape, np.int64) for name, f in self.fields(broadcast).items()}
        for some in _blocks(rows[self.split]):
            one = held(some, until=1)
            if "rates" in broadcast:
                steps = np.rint(_rates(broadcast) * _STEPS).astype(np.int64)
                np.add.at(found["expected"], one.products, steps[one.cells])
                found["again"] += np.bincount(one.products[one.again], minlength=self.products)
            else:
                found["held"] += np.bincount(one.cells, minlength=CELLS)
                found["again"] += np.bincount(one.cells[one.again], minlength=CELLS)
        return found


def _rates(broadcast: Arrays) -> NDArray[np.float64]:
    rates = broadcast["rates"]
    if rates.shape != (CELLS,) or not ((rates >= 0) & (rates <= 1)).all():
        raise AnswerError(
            Code.MALFORMED, f"'rates' of shape {rates.shape}, expected {CELLS} shares from 0 to 1"
        )
    return rates


def _blocks(purchases: Purchases) -> Iterator[Purchases]:
    customers = purchases.history.shape[0]
    for start in range(0, customers, _BLOCK):
        yield purchases.of(np.arange(start, min(start + _BLOCK, customers)))


@dataclass(frozen=True)
class Rebuying:
    """rates: (CELLS,) float64 shares. ratios: (products,) float64."""

    rates: NDArray[np.float64]
    ratios: NDArray[np.float64]

    @staticmethod
    def fit(totals: Totals, products: int, split: str) -> "Rebuying":
        """Returns rates and ratios of the baskets before the split's cut. Two rounds."""
        query = RebuyCounts(products, split)
        cells = totals.total(query)
        rates = rates_of(cells["again"].astype(np.float64), cells["held"].astype(np.float64))
        found = totals.total(query, {"rates": rates})
        return Rebuying(rates, (found["again"] + PULL) / (found["expected"] + PULL))

    @staticmethod
    def of(broadcast: Arrays, products: int) -> "Rebuying":
        """Returns what a broadcast holds; AnswerError where it is of other cells or products."""
        rates, ratios = _rates(broadcast), broadcast["ratios"]
        if ratios.shape != (products,):
            raise AnswerError(
                Code.MALFORMED, f"'ratios' of shape {ratios.shape}, expected {products:,} products"
            )
        return Rebuying(rates, ratios)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; nothing of a customer is in them."""
        return {"rates": self.rates, "ratios": self.ratios}

    def chances(self, purchases: Purchases) -> csr_array:
        """Returns (customers, products) float32, for what each customer has bought."""
        one = held(purchases)
        values = (self.rates[one.cells] * self.ratios[one.products]).astype(np.float32)
        customers, products = purchases.history.shape
        starts = np.searchsorted(one.customers, np.arange(customers + 1))
        return csr_array((values, one.products, starts), shape=(customers, products))


def rates_of(again: NDArray[np.float64], held: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (CELLS,) shares; a cell is pulled to those of its times, these to that of all.

    Where nothing is known of some times, what was bought more often is likelier in proportion.
    """
    of_all = (again.sum() + RARELY) / (held.sum() + 1.0)
    shape = (len(TIMES), -1)
    more = PULL * of_all * TIMES
    of_times = (again.reshape(shape).sum(axis=1) + more) / (held.reshape(shape).sum(axis=1) + PULL)
    pulled = PULL * np.repeat(of_times, CELLS // len(TIMES))
    rates: NDArray[np.float64] = np.minimum((again + pulled) / (held + PULL), 1.0)
    return rates
