"""How far one customer can move a summand: declared by every query, or the reason why none can.

A query without either is refused as soon as a plan asks for differential privacy.
"""

from dataclasses import dataclass

CUSTOMER = "customer"


@dataclass(frozen=True)
class Bound:
    """One unit (by default one customer) moves the summand of one retailer by at most `norm`.

    norm: the largest Euclidean distance, in integer steps over all fields of the summand together,
        between the answers with and without one unit, and with all of its rows changed; of
        integers, after rounding.
    unit: whose presence is hidden, e.g. "customer" or "store-week"; units are never mixed.
    """

    norm: float
    unit: str = CUSTOMER


@dataclass(frozen=True)
class NoCustomers:
    """The answer does not depend on any customer's rows, for the stated reason."""

    reason: str


Stated = Bound | NoCustomers | None
"""What a query says of itself. None, nothing, is refused as soon as a plan asks for epsilon."""


@dataclass(frozen=True)
class Release:
    """What a task will ask under differential privacy, known before anything is asked.

    query: its name. times: at most how often. weight: of the task's budget, of one release,
    relative to its other releases.
    """

    query: str
    times: int
    weight: float = 1.0
