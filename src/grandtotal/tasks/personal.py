"""What a retailer adds to a shared recommender at home, kept only where its own validation says so.

    Bestsellers   of any model: a bias by what the retailer's own customers buy
    Items         of a network: a change of low rank of its products' numbers, and of their biases,
                  learned from the retailer's own rows with all the rest as it is

All are tried on the shared model as it was before the validation, which that has not seen, over the
retailer's own customers. The best one is kept where its mean gain in NDCG, customer by customer, is
above CLEARLY standard errors of that mean, of LEAST customers or more; otherwise the shared model
stays as it is. Nothing is asked for it, and nothing of it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product as every
from typing import ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.networks import network_of
from grandtotal.algorithms.next_basket import NextBasket
from grandtotal.algorithms.personal import (
    Biased,
    deviations,
    low_rank,
    moved,
    scorer,
    table_of,
    within,
)
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.sequential import SequenceModel
from grandtotal.consortium.query import Rows
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from grandtotal.tasks.task import Layer
from grandtotal.tasks.wishes import standard

Lists = Recommender | NextBasket
# Standard errors: the best of many candidates wins by chance, even where all shops are alike.
CLEARLY = 2.5
LEAST = 30  # customers scored at home: the deviation of fewer gains says little of their error
_STEPS = 2**16  # of a score, which is then added in any order; squares of 16 M customers fit


class Candidate(Protocol):
    """A way to add something at home."""

    kept: ClassVar[str]

    def arrays(self, model: Recommender, rows: Rows, split: str) -> Arrays:
        """Returns what is added to this model, of the rows before the split's cut."""
        ...


@dataclass(frozen=True)
class Bestsellers:
    """How much a product is moved up by what the retailer's own customers buy.

    days: how far back it is counted, 0 for ever. weight: in deviations of a customer's scores, for
    a product that sells one deviation of log(customers + 1) better than the retailer's others.
    """

    kept: ClassVar[str] = "own bestsellers"

    days: int
    weight: float

    def arrays(self, model: Recommender, rows: Rows, split: str) -> Arrays:  # noqa: ARG002
        """Returns bias (products,); 0 for what the retailer does not sell."""
        held: Purchases = rows[split]
        history = held.history
        recent = history.data <= self.days if self.days else np.ones(history.nnz, bool)
        counts = np.bincount(history.indices[recent], minlength=history.shape[1])
        often = log(counts.astype(np.float64) + 1.0)
        if held.sold is not None:
            often[~held.sold.any(axis=0)] = np.nan
        return {"bias": (self.weight * standard(often)).astype(np.float32)}


@dataclass(frozen=True)
class Items:
    """What a network's products become when they alone go on learning from the retailer's rows.

    rank: of the change that is kept. epochs: of the training.
    """

    kept: ClassVar[str] = "own numbers of products"

    rank: int = 8
    epochs: int = 5

    def arrays(self, model: Recommender, rows: Rows, split: str) -> Arrays:
        """Returns left (products, rank), right (rank, width) and bias (products,)."""
        from grandtotal.algorithms.neural_at_home import AtHome

        assert isinstance(model, SequenceModel)
        local: Json = {n: model.meta[n] for n in ("rate", "batch") if n in model.meta}
        table, network = table_of(model), network_of(model.network, model.settings)
        own = AtHome({**local, "epochs": self.epochs}).with_own_items(
            network, model.weights, rows, split, (table, "bias")
        )
        left, right = low_rank(own[table] - model.weights[table], self.rank)
        return {"left": left, "right": right, "bias": own["bias"] - model.weights["bias"]}


BESTSELLERS = tuple(Bestsellers(*each) for each in every((0, 28, 91), (0.125, 0.25, 0.5, 1.0)))
ITEMS = Items()


def best_layer(before: Lists, model: Lists, rows: Rows, k: int) -> Layer:
    """Returns the candidate with the best validation NDCG@k if it is clearly better than none.

    before: the shared model before the validation; model: as it was delivered. "kept" says what;
    "gain" by how much a customer gained on the validation, "error" the standard error of that,
    "customers" of how many.
    """
    candidates: list[Candidate] = [*BESTSELLERS]
    if isinstance(scorer(before), SequenceModel):
        candidates.append(ITEMS)
    added = [one.arrays(scorer(before), rows, "validation") for one in candidates]
    gains = _gains(before, added, rows["validation"], k)
    best = int(gains.sum(axis=0).argmax())
    found = _judged(gains[:, best])
    if found["customers"] < LEAST or not found["gain"] > CLEARLY * found["error"]:
        return Layer({}, {"kept": "", **found})
    chosen = candidates[best]
    arrays = chosen.arrays(scorer(model), rows, "test")
    if not all(np.isfinite(array).all() for array in arrays.values()):  # a training that diverged
        return Layer({}, {"kept": "", **found})
    return Layer(arrays, {"kept": chosen.kept, **vars(chosen), **found})


def with_layer(model: Lists, arrays: Arrays) -> Lists:
    """Returns the model with what is kept of the retailer's own; itself where nothing is."""
    if "left" in arrays:
        return within(model, lambda items: moved(cast(SequenceModel, items), **arrays))
    return within(model, lambda items: Biased(items, arrays["bias"])) if arrays else model


def _gains(model: Lists, added: Sequence[Arrays], held: Purchases, k: int) -> NDArray[np.int64]:
    """Returns (customers, candidates) by how much NDCG@k is better than without, in whole steps."""
    nothing = np.zeros(held.history.shape[1], np.float32)
    biases = [nothing, *(each["bias"] for each in added if "left" not in each)]
    others = [with_layer(model, each) for each in added if "left" in each]
    found = [np.empty((0, len(added)), np.int64)]
    for block, wanted in scored_customers(held):
        lists = [*_lists(model, block, biases, k)]
        lists += [ranked for other in others for ranked in _lists(other, block, [nothing], k)]
        ndcg = np.stack([ranking_scores(ranked, wanted)[:, 0] for ranked in lists], axis=1)
        whole = np.rint(ndcg * _STEPS).astype(np.int64)
        found.append(whole[:, 1:] - whole[:, :1])
    return np.concatenate(found)


def _lists(
    model: Lists, block: Purchases, biases: Sequence[NDArray[np.float32]], k: int
) -> Iterator[NDArray[np.intp]]:
    """Yields (customers, k) lists with each of the biases; the shared scores are made once."""
    history = block.history
    items = model.items if isinstance(model, NextBasket) else model
    shared = items.knowing(history, block.context)
    spread = deviations(shared, history)
    customers = np.repeat(np.arange(len(shared)), np.diff(history.indptr))
    for bias in biases:
        scores = shared + spread * bias
        if isinstance(model, NextBasket):
            scores = model.habit.blend(scores, block)
        else:
            scores[customers, history.indices] = -np.inf
        yield top(block.only_sold(scores, model.offered), k)


def _judged(gains: NDArray[np.int64]) -> Json:
    """Returns the mean of whole steps and its standard error, in units; sums have no order."""
    many = len(gains)
    mean = int(gains.sum()) / max(many, 1)
    variance = max(int((gains**2).sum()) - many * mean**2, 0.0) / max(many - 1, 1)
    error = float(np.sqrt(variance / max(many, 1)))
    return {"gain": mean / _STEPS, "error": error / _STEPS, "customers": many}
