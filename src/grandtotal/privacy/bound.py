"""How far one customer can move a summand: declared by every query, or the reason why none can.

A query without either is refused as soon as a plan asks for differential privacy.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """One unit (by default one customer) moves the summand by at most `norm` in the given order.

    norm: in integer steps of the summand, over all its fields together, after rounding.
    order: 1 or 2, which norm.
    unit: whose presence is hidden, e.g. "customer" or "store-week"; units are never mixed.
    """

    norm: float
    order: int = 2
    unit: str = "customer"


@dataclass(frozen=True)
class NoCustomers:
    """The answer does not depend on any customer's rows, for the stated reason."""

    reason: str


Stated = Bound | NoCustomers | None
"""What a query says of itself. None, nothing, is refused as soon as a plan asks for epsilon."""
