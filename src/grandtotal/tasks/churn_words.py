"""Why a customer is likely to leave or to stay, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.tasks.churn_features import Seen

SHOWN = 3

# Columns that are one reason to a person.
_CONCEPTS: Mapping[str, tuple[str, ...]] = {
    "recency": ("recency", "overdue"),
    "visits": (
        "visits",
        "once",
        "visits now",
        "visits before",
        "visits earlier",
        "visits long ago",
    ),
    "tenure": ("tenure",),
    "rhythm": ("usual gap", "gap spread", "longest gap"),
    "spend": ("spend trend", "last basket"),
    "products": ("lines", "products"),
    "returns": ("returns",),
    "promotions": ("promotions",),
    "protected": (),  # columns of facts that the plan allows, by their names
}


def concept_of(column: str) -> str:
    """Returns the concept that a column belongs to."""
    for concept, columns in _CONCEPTS.items():
        if column in columns:
            return concept
    return "protected"


def reasons_of(
    known: Seen, horizon: int, columns: Sequence[str], contributions: NDArray[np.float64]
) -> list[list[str]]:
    """Returns SHOWN lists of texts (customers,): the strongest reasons, the strongest first.

    contributions: (customers, columns) to the log odds. A reason to stay begins with "but".
    """
    concepts = list(_CONCEPTS)
    summed = np.zeros((len(contributions), len(concepts)))
    for i, column in enumerate(columns):
        summed[:, concepts.index(concept_of(column))] += contributions[:, i]
    strongest = np.argsort(-np.abs(summed), axis=1, kind="stable")[:, :SHOWN]
    says = {name: _SAYS[name] for name in concepts}
    texts: list[list[str]] = []
    for place in range(SHOWN):
        chosen = strongest[:, place]
        said = [""] * len(contributions)
        for number, name in enumerate(concepts):
            for who in np.flatnonzero(chosen == number):
                pull = summed[who, number]
                if pull:
                    text = says[name](known, horizon, int(who))
                    said[who] = text if pull > 0 else f"but {text}"
        texts.append(said)
    return texts


def _recency(known: Seen, _: int, i: int) -> str:
    usual = "" if known.visits[i] < 2 else f"; usually every {known.gap[i]:.0f}"
    return f"no purchase for {known.recency[i]:.0f} days{usual}"


def _visits(known: Seen, horizon: int, i: int) -> str:
    if known.visits[i] == 1:
        return "bought on one day only"
    recent = known.windows[:2, i].sum()
    return f"bought on {known.visits[i]:.0f} days, {recent:.0f} of them in the last {horizon}"


def _tenure(known: Seen, _: int, i: int) -> str:
    return f"first purchase {known.tenure[i]:.0f} days ago"


def _rhythm(known: Seen, _: int, i: int) -> str:
    if known.visits[i] == 1:
        return "no rhythm is known after one purchase"
    return f"usually every {known.gap[i]:.0f} days, the longest gap {known.longest[i]:.0f}"


def _spend(known: Seen, horizon: int, i: int) -> str:
    now, before = known.spend[i] / 100, known.before[i] / 100
    return f"spent {now:,.0f} in the last {horizon} days, {before:,.0f} in those before"


def _products(known: Seen, _: int, i: int) -> str:
    return f"{known.products[i]:.0f} different products so far"


def _returns(known: Seen, _: int, i: int) -> str:
    return f"sent back {known.returned[i]:.0%} of what was spent"


def _promotions(known: Seen, _: int, i: int) -> str:
    return f"{known.promoted[i]:.0%} of what was bought was in a promotion"


def _protected(*_: Any) -> str:
    return "a protected attribute that the plan allows"


_SAYS: Mapping[str, Callable[[Seen, int, int], str]] = {
    "recency": _recency,
    "visits": _visits,
    "tenure": _tenure,
    "rhythm": _rhythm,
    "spend": _spend,
    "products": _products,
    "returns": _returns,
    "promotions": _promotions,
    "protected": _protected,
}
