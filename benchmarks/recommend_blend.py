"""The best of EDLAE, of ALS, and of both together on MovieLens 1M, as recommend-ml1m measures.

The task chooses the settings of each kind and the share of each in quarters by NDCG@20 on 20 % of
each user's training items; then all is fitted on all of them. "alone" is the mean over users of
each of the five retailers' own choice and fit of the same grid. Remembered from the literature:
UltraGCN .279 / .264 (https://arxiv.org/abs/2110.15114), LightGCN .258 / .243.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.recommend_ml1m import SOURCE, load, score
from benchmarks.rows import Row, at_least, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json, arrays_digest
from grandtotal.tasks.own_products import same_kind
from grandtotal.tasks.recommend_models import GRIDS

MODELS = ("auto", "edlae", "als")
BARS = {"recall@20": 0.283, "ndcg@20": 0.273}


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the rows of the blend; with --quick only federated and pooled, among EDLAEs."""
    folder = data / "movielens"
    need(folder / "ml-1m_train.txt", SOURCE)
    world = load(folder)
    task = replace(world.task("ease"), models=MODELS[:2] if quick else MODELS)
    rounds: list[Json] = []
    with federated(world.holders, listener=rounds.append) as consortium:
        shared = task.fit(consortium.of(TASK))
    print(f"  {shared.choice['why']}")
    chosen = same_kind(shared.model.meta, GRIDS)
    assert chosen is not None
    pooled = chosen.fit(Local(world.pooled), world.products, "test")
    differs = arrays_digest(shared.model.arrays) != arrays_digest(pooled.arrays)
    found = score(shared.model, world.pooled["test"]).mean(axis=0)
    rows = []
    if not quick:
        own = [score(task.fit(Local(held)).model, held["test"]) for held in world.holders.values()]
        rows += _rows("alone", np.concatenate(own).mean(axis=0), {})
    return [
        *rows,
        *_rows("federated", found, {} if quick else BARS),
        at_most(0, "federated models that are not the pooled one", int(differs)),
        Row("choice and fit: rounds", len(rounds)),
        Row(
            "choice and fit: out of each retailer",
            sum(record["bytes_out"]["north"] for record in rounds) / 2**20,
            "MiB",
        ),
    ]


def _rows(label: str, found: NDArray[np.float64], bars: dict[str, float]) -> list[Row]:
    values = {"recall@20": float(found[0]), "ndcg@20": float(found[2])}
    return [
        at_least(bars[name], f"{label}: {name}", value)
        if name in bars
        else Row(f"{label}: {name}", value)
        for name, value in values.items()
    ]
