"""How recommendations are scored, so that a number means the same everywhere.

Every protocol has a card, which is printed with its numbers. What they have in common:

    ties        a place among equal scores is expected, not lucky: all orders of equals count alike
    batches     a customer's score does not depend on who else is in the block
    negatives   only what a customer had in training is left out of what is drawn or ranked; what
                will be tested may be drawn, or else its absence gives it away
    choice      hyper-parameters are chosen on the validation, the last but one product; the test
                is looked at once

P1 ranks the whole catalogue, P2 one product among 99 drawn ones, P4 what comes after one day for
everybody. `Drawn` finds out who leaks: it only counts how often a product was drawn as a negative.

Krichene and Rendle, "On sampled metrics for item recommendation", 2020,
https://doi.org/10.1145/3394486.3403226
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Scorer = Callable[[csr_array], NDArray[np.floating]]
"""(customers, products) scores of histories, whose entries say how many steps ago."""

K = 10
NEGATIVES = 99
BLOCK = 1024

CARDS = {
    "P1": "leave one out, full ranking: a customer's last product among all not in the history; "
    "HR@10, NDCG@10 = 1 / log2(rank + 1); expected over ties; all customers with two products",
    "P2": "leave one out, 1 + 99: a customer's last product among 99 others, drawn once without "
    "repeats from all not in the history; HR@10, NDCG@10; expected over ties",
    "P4": "one cut in time for all: what a customer first bought after it, among all not bought "
    "before; recall@10, NDCG@10 over the best that was possible; expected over ties; customers "
    "with a history and something new",
}


@dataclass(frozen=True)
class Cut:
    """history: (customers, products), how many steps ago. wanted: (customers, products), 1."""

    history: csr_array
    wanted: csr_array

    def of(self, customers: NDArray[np.intp]) -> "Cut":
        """Returns some of the customers."""
        return Cut(self.history[customers], self.wanted[customers])


def leave_out(sequences: Sequence[NDArray[np.int64]], products: int, last: int = 1) -> Cut:
    """Returns each customer's products before the `last` one from the end, and that one.

    Customers with no history are left out. Of a product that comes twice the later place counts.
    """
    kept = [s for s in sequences if len(s) > last]
    wanted = np.array([s[-last] for s in kept])
    shape = (len(kept), products)
    ones = csr_array((np.ones(len(kept), np.int32), (np.arange(len(kept)), wanted)), shape=shape)
    return Cut(steps_ago([s[:-last] for s in kept], products), ones)


def steps_ago(sequences: Sequence[NDArray[np.int64]], products: int) -> csr_array:
    """Returns (customers, products) histories of sequences, the latest last."""
    lengths = [len(s) for s in sequences]
    rows = np.repeat(np.arange(len(sequences)), lengths)
    items = np.concatenate([*sequences, np.empty(0, np.int64)]).astype(np.int64)
    ago = np.concatenate([*(np.arange(n, 0, -1) for n in lengths), np.empty(0, int)])
    # Sorted by how long ago, the first of each product is its latest.
    order = np.lexsort((ago, items, rows))
    first = np.append(True, (np.diff(rows[order]) != 0) | (np.diff(items[order]) != 0))
    chosen = order[first[: len(order)]]
    entries = (ago[chosen].astype(np.int32), (rows[chosen], items[chosen]))
    history = csr_array(entries, shape=(len(sequences), products))
    history.sort_indices()
    return history


# --- expected scores ---


def expected(
    above: NDArray[np.int64], equal: NDArray[np.int64], k: int = K
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the chance to be among the k, and the expected 1 / log2(rank + 1) there.

    above: how many score more. equal: how many others score the same; all their orders are alike.
    """
    gained = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])
    first, after = np.minimum(above, k), np.minimum(above + equal + 1, k)
    return (after - first) / (equal + 1), (gained[after] - gained[first]) / (equal + 1)


def full_ranking(score: Scorer, cut: Cut, k: int = K) -> NDArray[np.float64]:
    """Returns (customers, 2) recall and NDCG over all products that are not in the history.

    With one wanted product (P1) these are hit rate and NDCG; with several (P4) NDCG is over the
    best that was possible.
    """
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))
    found = [np.empty((0, 2))]
    for block in _blocks(cut):
        scores = score(block.history).astype(np.float64)
        rows, bought = block.history.nonzero()
        scores[rows, bought] = -np.inf
        rows, wanted = block.wanted.nonzero()
        own = scores[rows, wanted]
        above = _counted(scores, rows, own, np.greater)
        equal = _counted(scores, rows, own, np.equal) - 1
        hits, gains = expected(above, equal, k)
        many = np.bincount(rows, minlength=len(scores))
        recall = np.bincount(rows, hits, len(scores)) / many
        ndcg = np.bincount(rows, gains, len(scores)) / ideal[np.minimum(many, k) - 1]
        found.append(np.stack([recall, ndcg], axis=1))
    return np.concatenate(found)


def sampled_ranking(
    score: Scorer, cut: Cut, negatives: NDArray[np.intp], k: int = K
) -> NDArray[np.float64]:
    """Returns (customers, 2) hit rate and NDCG of the wanted product among `negatives`."""
    found, start = [], 0
    for block in _blocks(cut):
        scores = score(block.history).astype(np.float64)
        rows = np.arange(len(scores))
        own = scores[rows, block.wanted.indices]
        others = np.take_along_axis(scores, negatives[start : start + len(scores)], axis=1)
        above = (others > own[:, None]).sum(axis=1)
        equal = (others == own[:, None]).sum(axis=1)
        found.append(np.stack(expected(above, equal, k), axis=1))
        start += len(scores)
    return np.concatenate(found)


def _blocks(cut: Cut) -> Iterator[Cut]:
    customers = cut.history.shape[0]
    for start in range(0, customers, BLOCK):
        yield cut.of(np.arange(start, min(start + BLOCK, customers)))


def _counted(
    scores: NDArray[np.float64],
    rows: NDArray[np.intp],
    own: NDArray[np.float64],
    compared: np.ufunc,
) -> NDArray[np.int64]:
    """Returns for each wanted product how many of its customer's scores compare so with its own."""
    counts = [compared(scores[row], value).sum() for row, value in zip(rows, own, strict=True)]
    return np.array(counts, np.int64)


# --- negatives ---


def draw_negatives(cut: Cut, count: int = NEGATIVES, seed: int = 1) -> NDArray[np.intp]:
    """Returns (customers, count) different products that are neither in the history nor wanted."""
    draw = np.random.default_rng(seed)
    customers, products = cut.history.shape
    found = np.empty((customers, count), np.intp)
    for row in range(customers):
        free = np.ones(products, bool)
        free[cut.history.indices[cut.history.indptr[row] : cut.history.indptr[row + 1]]] = False
        free[cut.wanted.indices[cut.wanted.indptr[row] : cut.wanted.indptr[row + 1]]] = False
        found[row] = draw.choice(np.flatnonzero(free), count, replace=False)
    return found


@dataclass(frozen=True)
class Drawn:
    """The leak detector: a product is better the less often it was drawn as a training negative.

    It knows no other customer and no product, so that what it scores beyond chance is what the
    choice of negatives gives away.

    spared: (customers, products), what is not drawn. Honest is the history alone; with what is
    wanted among it, as in some published code, the wanted product is the only one never drawn.
    rounds, each: how often negatives are drawn, and how many for each product of the history.
    """

    spared: csr_array
    rounds: int = 100
    each: int = 4
    seed: int = 1

    def scores(self, history: csr_array) -> NDArray[np.float64]:
        """Returns (customers, products) minus the number of times each was drawn."""
        draw = np.random.default_rng(self.seed)
        customers, products = history.shape
        counts = np.zeros((customers, products))
        for row in range(customers):
            free = np.ones(products, bool)
            spared = slice(self.spared.indptr[row], self.spared.indptr[row + 1])
            free[self.spared.indices[spared]] = False
            pool = np.flatnonzero(free)
            drawn = self.rounds * self.each * int(history.indptr[row + 1] - history.indptr[row])
            counts[row, pool] = draw.multinomial(drawn, np.full(len(pool), 1.0 / len(pool)))
        return -counts
