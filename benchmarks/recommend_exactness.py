"""Recommenders from totals: federated is pooled, and both are what other programs say.

MovieLens 1M, given split, five retailers by a hash of the user (--quick: a tenth of the users).
Counting models are compared by digest; factors by the largest difference over the largest entry,
with `implicit` (https://github.com/benfred/implicit), where it is installed, from the same first
factors in float64, and with the textbook's own least squares of every row in NumPy. implicit has
no penalty scaled by frequency, so here none is. Conjugate gradients take enough steps to arrive.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from benchmarks import reference
from benchmarks.recommend_ml1m import SOURCE, World, load
from benchmarks.rows import Row, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.blend import Blended, Candidate
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

BAR = 1e-6
FACTORS = ALS(factors=64, l2=1.0, unobserved=0.1, scaled=0.0, epochs=3, spread=1.0)
COUNTING: dict[str, Candidate] = {
    "popularity": Popularity(),
    "item-knn": ItemKNN(),
    "ease": EASE(),
    "edlae": EDLAE(),
    "transitions": Transitions(),
    "transitions with ease": Blended((Transitions(), EASE()), (0.5, 0.5)),
}


def run(data: Path, quick: bool) -> list[Row]:
    """Returns digests that differ, and relative differences of factors."""
    folder = data / "movielens"
    need(folder / "ml-1m_train.txt", SOURCE)
    world = _some(load(folder)) if quick else load(folder)
    return [*_counting(world), *_factors(world)]


def _some(world: World) -> World:
    def tenth(held: Purchases) -> Purchases:
        return held.of(np.arange(0, held.history.shape[0], 10))

    holders: dict[str, Rows] = {
        name: {split: tenth(held) for split, held in rows.items()}
        for name, rows in world.holders.items()
    }
    return World(holders, world.products)


def _counting(world: World) -> list[Row]:
    rows = []
    with federated(world.holders) as consortium:
        for name, candidate in COUNTING.items():
            shared = candidate.fit(consortium.of(TASK), world.products, "test")
            pooled = candidate.fit(Local(world.pooled), world.products, "test")
            differs = arrays_digest(shared.arrays) != arrays_digest(pooled.arrays)
            rows.append(at_most(0, f"{name}: federated models that are not pooled", int(differs)))
    return rows


def _factors(world: World) -> list[Row]:
    bought = world.pooled["test"].history
    others = {"every row's own least squares": _textbook(bought.toarray() > 0)}
    if (found := _implicit(bought)) is not None:
        others["implicit"] = found
    else:
        print("  implicit is not installed: pip install 'grandtotal[reference]'")
    rows = []
    stepped = replace(FACTORS, steps=40)
    with federated(world.holders) as consortium:
        for name, candidate in {"als": FACTORS, "als by conjugate gradients": stepped}.items():
            shared = candidate.fit(consortium.of(TASK), world.products, "test").factors
            pooled = candidate.fit(Local(world.pooled), world.products, "test").factors
            rows.append(at_most(BAR, f"{name}: federated from pooled", _apart(shared, pooled)))
            rows += [
                at_most(BAR, f"{name}: from {other}", _apart(shared, expected))
                for other, expected in others.items()
            ]
    return rows


def _textbook(bought: NDArray[np.bool_]) -> NDArray[np.float64]:
    first = FACTORS.first(bought.shape[1])
    fold = (FACTORS.l2, FACTORS.unobserved, FACTORS.scaled, FACTORS.epochs)
    return reference.als(bought, first, *fold)


def _implicit(bought: Any) -> NDArray[np.float64] | None:
    """Returns implicit's factors of the items: its confidence and penalty are ours / unobserved."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        return None
    confidence = 1.0 + 1.0 / FACTORS.unobserved
    users = csr_matrix(
        (np.full(bought.nnz, confidence), bought.indices, bought.indptr), shape=bought.shape
    )
    model = AlternatingLeastSquares(
        factors=FACTORS.factors,
        regularization=FACTORS.l2 / FACTORS.unobserved,
        alpha=1.0,
        dtype=np.float64,
        use_cg=False,
        iterations=FACTORS.epochs,
        num_threads=1,
    )
    model.item_factors = FACTORS.first(bought.shape[1])
    model.user_factors = np.zeros((bought.shape[0], FACTORS.factors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(users, show_progress=False)
    found: NDArray[np.float64] = model.item_factors
    return found


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
