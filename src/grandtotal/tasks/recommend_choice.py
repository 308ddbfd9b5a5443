"""How a recommender, or a blend of several, is chosen; each candidate is fitted once.

Everything is decided by summed validation scores: of each kind the best candidate of its grid, and
with "auto" also how the best kinds are weighed against each other. What the lists hold, what is new
to a customer or the next basket, is one object; it says in which ways lists are made of a model,
and every way is tried with every candidate and every blend.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from grandtotal.algorithms.blend import Blend, Blended, Candidate, shares_of
from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.purchases import CoPurchases
from grandtotal.consortium.totals import Remembering, Totals
from grandtotal.durable import Json
from grandtotal.tasks.personal import LEAST, Lists
from grandtotal.tasks.task import Fitted
from grandtotal.threads import LARGE, each, one_thread

MOST_PARTS = 4  # of a blend


@dataclass(frozen=True)
class Way:
    """A way to make lists of an item model, and how they scored.

    tried: settings and validation scores. customers: how many were scored. settings: of the way.
    """

    tried: Json
    customers: int
    settings: Any = None

    @property
    def ndcg(self) -> float:
        """What decides."""
        return float(self.tried["ndcg"])


class Listing(Protocol):
    """What lists hold: how they are made of an item model, and scored on the validation."""

    @property
    def products(self) -> int:
        """The catalogue's length."""
        ...

    @property
    def grids(self) -> Mapping[str, tuple[Candidate, ...]]:
        """The candidates of each kind of model."""
        ...

    def scored(self, totals: Totals, items: Recommender) -> list[Way]:
        """Returns every way to make lists of a model."""
        ...

    def mixed(
        self, totals: Totals, parts: tuple[Recommender, ...], grid: Sequence[tuple[float, ...]]
    ) -> list[list[Way]]:
        """Returns the same of each blend of the grid."""
        ...

    def model(self, totals: Totals, items: Recommender, way: Way, split: str) -> Lists:
        """Returns what makes lists, of an item model up to the split's cut."""
        ...


@dataclass(frozen=True)
class Trial:
    """A candidate, fitted up to the validation's cut, and its best way. items: None once let go."""

    candidate: Candidate
    items: Recommender | None
    way: Way


def choose(listing: Listing, totals: Totals, candidates: Sequence[Candidate]) -> Fitted:
    """Returns the candidate with the best summed validation NDCG, fitted up to the test cut."""
    best, tried = _best(listing, totals, candidates)
    return _delivered(listing, totals, best, {"tried": tried})


def choose_and_blend(
    listing: Listing, totals: Totals, grids: Iterable[Sequence[Candidate]]
) -> Fitted:
    """Returns the best blend of the best candidate of each grid, or that one if it is better.

    The best candidates of up to MOST_PARTS grids are blended in every way to share 1 in quarters.
    "why" says in a sentence what was chosen and how it compares.
    """
    tried: list[Json] = []
    best: list[Trial] = []
    for grid in grids:
        found, of_grid = _best(listing, totals, grid)
        tried += of_grid
        best = sorted([*best, found], key=lambda trial: -trial.way.ndcg)
        best[MOST_PARTS:] = [replace(trial, items=None) for trial in best[MOST_PARTS:]]
    first = best[:MOST_PARTS]
    parts = tuple(trial.items for trial in first if trial.items is not None)
    shares = list(shares_of(len(parts)))
    # Of equal ones the first: grids begin with the parts alone.
    mixes = [max(ways, key=lambda way: way.ndcg) for ways in listing.mixed(totals, parts, shares)]
    place = max(range(len(mixes)), key=lambda i: mixes[i].ndcg)
    chosen = _mixed(first, shares[place], mixes[place])
    choice = {
        "tried": tried,
        "blended": [{"shares": list(s), **m.tried} for s, m in zip(shares, mixes, strict=True)],
        "why": _why(best, shares[place], mixes[place]),
    }
    return _delivered(listing, totals, chosen, choice)


def _best(
    listing: Listing, totals: Totals, candidates: Sequence[Candidate]
) -> tuple[Trial, list[Json]]:
    """Returns the best candidate, of equal ones the first, and all that was tried."""
    best, tried = None, []
    models = fitted(totals, candidates, listing.products, "validation")
    for candidate, items in zip(candidates, models, strict=True):
        for way in listing.scored(totals, items):
            tried.append(way.tried)
            # Models of a large catalogue are held no longer than needed.
            if best is None or way.ndcg > best.way.ndcg:
                best = Trial(candidate, items, way)
    assert best is not None
    return best, tried


def fitted(
    totals: Totals, candidates: Iterable[Candidate], products: int, split: str
) -> Iterator[Recommender]:
    """Yields each candidate's model; those that are made of one and the same total side by side."""
    shared = totals if isinstance(totals, Remembering) else Remembering(totals)

    def fit(candidate: Candidate) -> Recommender:
        return candidate.fit(shared, products, split)

    for alike, some in groupby(candidates, lambda one: isinstance(one, (ItemKNN, EASE, EDLAE))):
        if alike and products < LARGE:
            shared.total(CoPurchases(products, split))  # before they go apart
            with one_thread():
                yield from each(fit, some)
        else:
            yield from map(fit, some)


def _mixed(first: Sequence[Trial], shares: tuple[float, ...], way: Way) -> Trial:
    used = [(trial, share) for trial, share in zip(first, shares, strict=True) if share]
    if len(used) == 1:
        return replace(used[0][0], way=way)
    weights = tuple(share for _, share in used)
    parts = tuple(trial.items for trial, _ in used if trial.items is not None)
    blended = Blended(tuple(trial.candidate for trial, _ in used), weights)
    return Trial(blended, Blend(parts, np.array(weights)), way)


def _delivered(listing: Listing, totals: Totals, best: Trial, choice: Json) -> Fitted:
    """Returns the choice up to the test's cut, and as it was validated where a layer can be kept.

    With fewer customers in all than a retailer needs for a layer, nobody will keep one.
    """
    items = best.candidate.fit(totals, listing.products, "test")
    model = listing.model(totals, items, best.way, "test")
    before = None
    if best.way.customers >= LEAST and best.items is not None:
        before = listing.model(totals, best.items, best.way, "validation")
    return Fitted(model, {"chosen": model.meta, **choice}, before)


def _why(best: Sequence[Trial], shares: tuple[float, ...], way: Way) -> str:
    alone, second = best[0].way.tried, best[min(1, len(best) - 1)].way.tried
    named = [trial.way.tried["model"] for trial in best]
    used = [f"{s:.0%} {name}" for name, s in zip(named, shares, strict=False) if s]
    if len(used) > 1:
        gain = way.ndcg / alone["ndcg"] - 1 if alone["ndcg"] else 0.0
        return (
            f"{' + '.join(used)}: validation NDCG {way.ndcg:.4f}, {gain:.1%} above the best "
            f"one alone, {alone['model']} with {alone['ndcg']:.4f}"
        )
    return (
        f"{alone['model']} alone: validation NDCG {alone['ndcg']:.4f}, no blend is better; next is "
        f"{second['model']} with {second['ndcg']:.4f}"
    )
