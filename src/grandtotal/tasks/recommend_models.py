"""Which recommenders a plan can name, and how one of them, or a blend of several, is chosen.

Everything is decided by summed validation scores: of each kind the best candidate of its grid, and
with "auto" also how the best kinds are weighed against each other.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.blend import (
    Blended,
    Candidate,
    built_parts,
    mixed,
    parts_arrays,
    shares_of,
    standardised,
)
from grandtotal.algorithms.content import Hybrid
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import CoPurchases, Purchases
from grandtotal.algorithms.sequential import Sequential
from grandtotal.algorithms.towers import Towers
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code, PlanError, RefusedError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.ranking import METRICS, RankingScores, ranking_scores, scored_customers
from grandtotal.tasks.task import Fitted, check_models
from grandtotal.threads import LARGE, each, one_thread

AUTO = "auto"
HYBRID = "hybrid"
TWO_TOWER = "two-tower"
READS_WORDS = (HYBRID, TWO_TOWER)
GRIDS: Mapping[str, tuple[Candidate, ...]] = {
    "popularity": tuple(Popularity(days) for days in (0, 28, 91)),
    "item-knn": tuple(ItemKNN(shrink) for shrink in (0.0, 10.0, 30.0)),
    "ease": tuple(EASE(l2) for l2 in (30.0, 100.0, 300.0, 1000.0, 3000.0)),
    "edlae": tuple(
        EDLAE(l2, dropout) for dropout in (0.15, 0.33, 0.5) for l2 in (50.0, 150.0, 500.0, 1500.0)
    ),
    "als": tuple(
        ALS(factors, l2, unobserved=0.3, epochs=8, steps=3)
        for factors, l2 in ((32, 0.01), (64, 0.01), (64, 0.02), (128, 0.01))
    ),
    "hybrid": tuple(Hybrid(ridge=ridge, worth=w) for ridge in (3.0, 30.0) for w in (2.0, 10.0)),
    "transitions": tuple(
        Transitions(half_life, follows)
        for half_life in (2.0, 5.0, 20.0)
        for follows in (2.0, 8.0, 32.0)
    ),
    "sasrec": (Sequential("sasrec", spread=0.02),),
    "gru": (Sequential("gru"),),
    "two-tower": (Towers(),),
}
CORE = ("popularity", "item-knn", "ease", "als", "transitions")  # what "auto" alone stands for
BOUNDED = ("popularity", "item-knn", "ease", "edlae")  # what a plan under epsilon may name
MOST_PARTS = 4  # of a blend
Mix = tuple[tuple[float, ...], Json]  # the share of each part, and scores


def check_named(models: tuple[str, ...]) -> None:
    """Raises PlanError for a list of models that no choice can be made of."""
    check_models(models, {**GRIDS, AUTO: ()})
    if len(set(models)) < len(models):
        raise PlanError(f"models = {list(models)}: a model is named twice")


def kinds_of(models: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the kinds that a choice is made of; "auto" alone stands for the core ones."""
    return tuple(model for model in models if model != AUTO) or CORE


def refuse_unbounded(models: tuple[str, ...]) -> None:
    """Raises RefusedError under epsilon for a model whose totals have no bound."""
    if unbounded := [model for model in models if model not in BOUNDED]:
        raise RefusedError(
            f"models: {', '.join(unbounded)} cannot be had under epsilon, since what they ask has "
            f"no bound for a customer or is chosen by shared scores; name some of "
            f"{', '.join(BOUNDED)} instead, or take epsilon out of the plan"
        )


@dataclass(frozen=True)
class BlendScores:
    """Sums over customers of ndcg, recall and hit at `top`, for every blend in the broadcast.

    The broadcast holds the arrays of the parts, and "grid" (blends, parts), the share of each.

    clipped: whether what one customer adds, each score and the count, is cut to the norm LARGEST,
        which it never passes with as many blends as four parts have.
    """

    name: ClassVar[str] = "blend-scores"
    LARGEST: ClassVar[float] = math.sqrt(35 * len(METRICS) + 1)

    products: int
    top: int
    split: str
    clipped: bool = False

    @property
    def bound(self) -> Stated:
        """No score is negative or above 1."""
        largest = self.LARGEST if self.clipped else 0.0
        return bound_by_group(largest, "customer", signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns a sum of each score for each blend, and the number of customers scored."""
        blends = (len(broadcast["grid"]),)
        if self.clipped:
            scale = scale_of(self.LARGEST)
            return {
                **{metric.name: Field(blends, scale) for metric in METRICS},
                "customers": Field((), scale),
            }
        sums = {metric.name: Field(blends, scale=metric.steps) for metric in METRICS}
        return {**sums, "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each customer's score is rounded before it is added."""
        grid = broadcast["grid"]
        parts = built_parts(broadcast, {})
        check_shares(grid, parts)
        sums = np.zeros(len(grid) * len(METRICS) + 1, np.int64)
        steps = np.tile([metric.steps for metric in METRICS], len(grid))
        for block, wanted in scored_customers(rows[self.split]):
            scores = self._scores(parts, grid, block, wanted)
            if self.clipped:
                counted = np.hstack([scores, np.ones((len(scores), 1))])
                sums += sum_of_clipped(counted, self.LARGEST)
            else:
                whole = np.rint(scores * steps).astype(np.int64)
                sums += np.append(whole.sum(axis=0), len(wanted))
        by_blend = sums[:-1].reshape(len(grid), len(METRICS))
        named = {metric.name: by_blend[:, i] for i, metric in enumerate(METRICS)}
        return {**named, "customers": sums[-1]}

    def _scores(
        self,
        parts: tuple[Recommender, ...],
        grid: NDArray[np.float64],
        block: Purchases,
        wanted: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Returns (customers, blends x metrics)."""
        history = block.history
        customers = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
        standard = standardised(parts, history, block.context)
        found = []
        for shares in grid:
            scores = mixed(standard, shares)
            scores[customers, history.indices] = -np.inf
            found.append(ranking_scores(top(block.only_sold(scores), self.top), wanted))
        return np.hstack(found)


def check_shares(grid: NDArray[np.float64], parts: Sequence[Recommender]) -> None:
    """Raises AnswerError where the blends are not of these parts."""
    if grid.ndim != 2 or grid.shape[1] != len(parts):
        raise AnswerError(
            Code.MALFORMED, f"shares of {grid.shape[1:]} parts, but {len(parts)} models"
        )


# --- the choice ---


def validated(totals: Totals, candidates: Sequence[Candidate], products: int, k: int) -> list[Json]:
    """Returns the candidates' settings and their summed validation scores."""
    models = _fitted(totals, candidates, products, "validation")
    return [_validated(totals, model, products, k) for model in models]


def _fitted(
    totals: Totals, candidates: Sequence[Candidate], products: int, split: str
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


def _validated(totals: Totals, model: Recommender, products: int, k: int) -> Json:
    sums = totals.total(RankingScores(products, k, "validation"), model.arrays)
    customers = max(float(sums["customers"]), 1.0)
    return {
        **model.meta,
        **{metric.name: float(sums[metric.name]) / customers for metric in METRICS},
    }


def choose(totals: Totals, candidates: Sequence[Candidate], products: int, k: int) -> Fitted:
    """Returns the candidate with the best summed validation NDCG, fitted up to the test cut."""
    tried: list[Json] = []
    models = _fitted(totals, candidates, products, "validation")
    for candidate, fitted in zip(candidates, models, strict=True):
        tried.append(_validated(totals, fitted, products, k))
        # Of equal ones the first; models of a large catalogue are held no longer than needed.
        if tried[-1]["ndcg"] > max((other["ndcg"] for other in tried[:-1]), default=-1.0):
            best, before = candidate, fitted
    model = best.fit(totals, products, "test")
    return Fitted(model, {"chosen": model.meta, "tried": tried}, before)


def choose_and_blend(
    totals: Totals, grids: Sequence[Sequence[Candidate]], products: int, k: int
) -> Fitted:
    """Returns the best blend of the best candidate of each grid, or that one if it is better."""
    chosen, choice = best_blend(
        grids,
        lambda grid: zip(validated(totals, grid, products, k), grid, strict=True),
        lambda candidates, _: _mixes(totals, candidates, products, k),
    )
    before, model = (chosen.fit(totals, products, split) for split in ("validation", "test"))
    return Fitted(model, {"chosen": model.meta, **choice}, before)


def best_blend(
    grids: Sequence[Sequence[Candidate]],
    validate: Callable[[Sequence[Candidate]], Iterable[tuple[Json, Candidate]]],
    mix: Callable[[list[Candidate], Json], list[Mix]],
) -> tuple[Candidate, Json]:
    """Returns what has the best validation NDCG, and how it was chosen.

    The best candidates of up to MOST_PARTS grids are blended in every way to share 1 in quarters.
    "why" says in a sentence what was chosen and how it compares.

    validate: what was tried of a grid, with scores, and of which candidate. mix: the scores of each
    blend, given what was best of all candidates.
    """
    tried: list[Json] = []
    best: list[tuple[Json, Candidate]] = []
    for grid in grids:
        found = list(validate(grid))
        tried += [scores for scores, _ in found]
        best.append(max(found, key=lambda pair: pair[0]["ndcg"]))
    best.sort(key=lambda pair: -pair[0]["ndcg"])
    first = best[:MOST_PARTS]
    mixes = mix([candidate for _, candidate in first], first[0][0])
    # Of equal ones the first: grids begin with the parts alone.
    shares, scores = max(mixes, key=lambda mixed: mixed[1]["ndcg"])
    used = [(c, s) for (_, c), s in zip(first, shares, strict=True) if s]
    chosen: Candidate = used[0][0]
    if len(used) > 1:
        chosen = Blended(tuple(c for c, _ in used), tuple(s for _, s in used))
    return chosen, {
        "tried": tried,
        "blended": [{"shares": list(s), **found} for s, found in mixes],
        "why": _why([scores["model"] for scores, _ in first], shares, scores, best),
    }


def _mixes(totals: Totals, candidates: Sequence[Candidate], products: int, k: int) -> list[Mix]:
    parts = tuple(c.fit(totals, products, "validation") for c in candidates)
    grid = list(shares_of(len(parts)))
    broadcast = {**parts_arrays(parts), "grid": np.array(grid)}
    sums = totals.total(BlendScores(products, k, "validation"), broadcast)
    customers = max(float(sums["customers"]), 1.0)
    return [
        (shares, {m.name: float(sums[m.name][i]) / customers for m in METRICS})
        for i, shares in enumerate(grid)
    ]


def _why(
    named: list[str],
    shares: tuple[float, ...],
    scores: Json,
    best: list[tuple[Json, Candidate]],
) -> str:
    alone, second = best[0][0], best[min(1, len(best) - 1)][0]
    used = [f"{s:.0%} {name}" for name, s in zip(named, shares, strict=True) if s]
    if len(used) > 1:
        gain = scores["ndcg"] / alone["ndcg"] - 1 if alone["ndcg"] else 0.0
        return (
            f"{' + '.join(used)}: validation NDCG {scores['ndcg']:.4f}, {gain:.1%} above the best "
            f"one alone, {alone['model']} with {alone['ndcg']:.4f}"
        )
    return (
        f"{alone['model']} alone: validation NDCG {alone['ndcg']:.4f}, no blend is better; next is "
        f"{second['model']} with {second['ndcg']:.4f}"
    )
