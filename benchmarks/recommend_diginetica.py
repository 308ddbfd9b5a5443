"""The next click of a session, Diginetica, as preprocessed for GCE-GNN, by counts in order.

P@20: share of the test's prefixes whose next item is among 20 of all 43,097; MRR@20: its expected
1 / rank there. Items of the prefix are ranked as well, as in Wang et al., "Global context enhanced
graph neural networks for session-based recommendation", 2020, https://arxiv.org/abs/2106.05081;
expected over ties. Nothing of a customer is known: a session is a list of items.

Settings are chosen by P@20 on the last 5 % of the training sessions, which the counts are then
taken with. A fifth of the test's targets is in its prefix: `again` is what an item says for
itself. Five retailers by a hash of the session. Remembered from the papers: NARM .497 / .162,
SR-GNN .507 / .176, GCE-GNN .542 / .190.
"""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.leave_one_out import Sequences
from benchmarks.protocols import BLOCK, Cut, leave_out, steps_ago
from benchmarks.recommend_ml1m import SHARES, _owners
from benchmarks.rows import Row, at_least, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import TransitionModel, Transitions
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json, arrays_digest

SOURCE = "github.com/CCIIPLab/GCE-GNN, datasets/diginetica/{all_train_seq,test}.txt as lines"
K = 20
GRID = tuple(
    Transitions(half_life, 1.0, shrink=shrink, again=again)
    for half_life in (2.0, 4.0)
    for shrink in (10.0, 30.0)
    for again in (0.3, 1.0)
)


def run(data: Path, quick: bool) -> list[Row]:
    """Returns P@20 and MRR@20; with --quick of a tenth of the sessions."""
    folder = data / "diginetica"
    train = need(folder / "diginetica_train_sessions.txt.gz", SOURCE)
    test = need(folder / "diginetica_test_prefix_tab_target.txt.gz", SOURCE)
    every = 10 if quick else 1
    sessions = [_items(line) for line in _lines(train)[::every]]
    pairs = [line.split("\t") for line in _lines(test)[::every]]
    asked = [np.append(_items(prefix), int(target) - 1) for prefix, target in pairs]
    products = 1 + max(int(s.max()) for s in sessions + asked)
    known = len(sessions) - len(sessions) // 20
    tried = {}
    for candidate in GRID:
        model = candidate.fit(Local({"test": _rows(sessions[:known], products)}), products, "test")
        tried[candidate] = scored(model, leave_out(sessions[known:], products))
        print(f"  {candidate}: P@20 {tried[candidate][0]:.4f}, MRR@20 {tried[candidate][1]:.4f}")
    best = max(tried, key=lambda candidate: tried[candidate][0])
    return _measured(best, sessions, leave_out(asked, products), products, quick)


def _measured(
    chosen: Transitions, sessions: Sequences, test: Cut, products: int, quick: bool
) -> list[Row]:
    owner = _owners(len(sessions))
    parts = [[sessions[s] for s in np.flatnonzero(owner == r)] for r in range(len(SHARES))]
    holders: dict[str, Rows] = {
        name: {"test": _rows(part, products)} for name, part in zip(SHARES, parts, strict=True)
    }
    rounds: list[Json] = []
    with federated(holders, listener=rounds.append) as consortium:
        shared = chosen.fit(consortium.of(TASK), products, "test")
    pooled = chosen.fit(Local({"test": _rows(sessions, products)}), products, "test")
    largest = chosen.fit(Local(holders["north"]), products, "test")
    differs = arrays_digest(shared.arrays) != arrays_digest(pooled.arrays)
    hit, mrr = scored(shared, test)
    alone = scored(largest, test)
    bars = (0.0, 0.0) if quick else (0.54, 0.19)
    return [
        Row("the largest retailer alone, 46 % of the sessions: P@20", alone[0]),
        Row("the largest retailer alone, 46 % of the sessions: MRR@20", alone[1]),
        at_least(bars[0], "federated: P@20", hit),
        at_least(bars[1], "federated: MRR@20", mrr),
        at_most(0, "federated models that are not the pooled one", int(differs)),
        Row("rounds", len(rounds)),
        Row(
            "out of each retailer",
            sum(max(record["bytes_out"].values()) for record in rounds) / 2**20,
            "MiB",
        ),
        Row("weights in the model", shared.weights.nnz),
    ]


def scored(model: TransitionModel, cut: Cut) -> tuple[float, float]:
    """Returns P@20 and MRR@20 of the wanted items among all, each order of equals alike."""
    inverse = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, K + 1))])
    hits, gains = [], []
    for start in range(0, cut.history.shape[0], BLOCK):
        block = cut.of(np.arange(start, min(start + BLOCK, cut.history.shape[0])))
        scores = model.affinities(block.history)
        own = scores[np.arange(len(scores)), block.wanted.indices][:, None]
        above, equal = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
        first, after = np.minimum(above, K), np.minimum(above + equal, K)
        hits.append((after - first) / equal)
        gains.append((inverse[after] - inverse[first]) / equal)
    return float(np.concatenate(hits).mean()), float(np.concatenate(gains).mean())


def _rows(sessions: Sequences, products: int) -> Purchases:
    history = steps_ago(sessions, products)
    return Purchases(history, csr_array(history.shape, dtype=np.int32))


def _items(line: str) -> NDArray[np.int64]:
    return np.array(line.split(), np.int64) - 1


def _lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()
