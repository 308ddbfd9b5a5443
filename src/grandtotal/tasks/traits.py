"""What segments are made of: each customer's habits up to a cut, one number each.

Only in a retailer's process. Counts, days and money are logarithms, so that twice as much is as far
anywhere on the scale; a customer's numbers come from its own rows alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.elementary import log
from grandtotal.tasks.histories import MONEY_STEPS, Histories
from grandtotal.tasks.value_rows import Known, known_at

Values = NDArray[np.float64]
LATER = "later "  # of a feature's name: as it was one horizon after the cut
NEXT_PURCHASES, NEXT_SPEND = "next purchases", "next spend"


@dataclass(frozen=True)
class Feature:
    """One habit. label: what the number is; low, high: words for a customer with little or much.

    shown: from the feature to the number that a person reads. width: how far customers are apart,
    about: the yardstick of scores, and of segments where noise would hide the range itself.
    """

    label: str
    low: str
    high: str
    shown: Callable[[Values], Values]
    width: float


def _above_zero(values: Values) -> Values:
    return np.expm1(values)


def _as_it_is(values: Values) -> Values:
    return values


FEATURES: Mapping[str, Feature] = {
    "recency": Feature("days since the last purchase", "recent", "long silent", np.exp, 6.0),
    "purchases": Feature("purchases", "rare", "frequent", np.exp, 4.0),
    "spend": Feature("spend at a purchase", "small baskets", "large baskets", _above_zero, 5.0),
    "tenure": Feature("days since the first purchase", "new", "long known", np.exp, 6.0),
    "variety": Feature("different products", "few products", "many products", _above_zero, 6.0),
    "promoted": Feature("share bought in promotions", "full price", "promotions", _as_it_is, 1.0),
    "returned": Feature("share sent back", "keeps all", "sends back", _as_it_is, 1.0),
}


def traits_at(histories: Histories, cut: int, horizon: int, features: Sequence[str]) -> Columns:
    """Returns the features as of day `cut`, a row for each customer who bought before it.

    Also the same customers' features one horizon later, or today if that is earlier, and their
    purchases and the logarithm of 1 + spend in between: to score, and to tell what followed.
    """
    known = known_at(histories, cut, horizon)
    end = min(cut + horizon, 0)
    now, later = (_numbers(histories, known.place, day, features) for day in (cut, end))
    numbers = {
        **now,
        **{LATER + name: values for name, values in later.items()},
        NEXT_PURCHASES: known.bought,
        NEXT_SPEND: log(1 + known.bought_spent),
    }
    # A row is a customer: each has a key of its own, which says nothing and stays here.
    return Columns(numbers, {}, np.arange(len(known), dtype=np.uint64))


def _numbers(
    histories: Histories, place: NDArray[np.int64], day: int, features: Sequence[str]
) -> dict[str, Values]:
    known = known_at(histories, day, 1)
    chosen = np.searchsorted(known.place, place)
    return {name: _MADE[name](histories.until(day), known)[chosen] for name in features}


def _sum(histories: Histories, known: Known, name: str) -> Values:
    steps = np.zeros(len(histories.customers), np.int64)
    np.add.at(steps, histories.customer, getattr(histories, name))
    return steps[known.place].astype(np.float64)


def _share(part: Values, whole: Values) -> Values:
    found: Values = np.clip(part / np.maximum(whole, 1.0), 0.0, 1.0)
    return found


_MADE: Mapping[str, Callable[[Histories, Known], Values]] = {
    "recency": lambda _, k: log(k.repeats.age - k.repeats.last),
    "purchases": lambda _, k: log(k.purchases.astype(np.float64)),
    "spend": lambda _, k: log(1 + k.spends.mean),
    "tenure": lambda _, k: log(k.repeats.age),
    "variety": lambda h, k: log(1 + _sum(h, k, "new_products")),
    "promoted": lambda h, k: _share(_sum(h, k, "promoted"), _sum(h, k, "lines")),
    "returned": lambda h, k: _share(
        _sum(h, k, "returned") / MONEY_STEPS, _sum(h, k, "spend") / MONEY_STEPS
    ),
}
