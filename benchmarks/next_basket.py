"""The next basket of a grocer's customers: Ta-Feng, given split, last basket of 13,858 customers.

As in Li et al., "A next basket recommendation reality check", 2023, https://arxiv.org/abs/2109.14233:
11,997 products, each customer's baskets but the last are known. recall@k: share of the basket that
is among the k; PHR@k: share of customers with a hit. Repeat and explore: recall of what the
customer had bought before and of what is new, over customers who bought any. Model, blend and what
a deviation of its scores is worth beside the chance of buying again are chosen by NDCG@k on the
last known basket; then the model is fitted on all known ones.

Five retailers by a hash of the customer; "alone" is the mean over their customers of each one's
own choice and fit of the same grid. The baseline is each customer's most frequent products, then
the retailer's bestsellers. There are no dates: a basket stands for a day, so that bestsellers are
those of the last few baskets of each customer. The models are popularity, ItemKNN and transitions,
and blends of them; with --quick popularity alone, on a fifth of the customers.

Bars: recall@10 of .132, where Hu et al., "Modeling personalized item frequency information for
next-basket recommendation", 2020, https://arxiv.org/abs/2006.00556, have .1301 and a reproduction
.1277; and of what is new to a customer 1.2 times the recall of alone. How far that can be is seen
in lists that hold new products only: a fifth of the customers knows the bestsellers as well as all.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from benchmarks.recommend_ml1m import _owners
from benchmarks.rows import Row, at_least, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.blend import Candidate
from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.next_basket import Chances, NextBasket
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import BASKETS, SHAPE
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json, arrays_digest
from grandtotal.tasks.ranking import ranked_lists, ranking_scores
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import Common

SOURCE = "github.com/liming-7/A-Next-Basket-Recommendation-Reality-Check, jsondata/tafeng_*.json"
RETAILERS = 5
GRIDS: Mapping[str, tuple[Candidate, ...]] = {
    "popularity": tuple(Popularity(baskets) for baskets in (1, 2)),
    "item-knn": tuple(ItemKNN(shrink, 0) for shrink in (300.0, 1000.0)),
    "transitions": tuple(Transitions(5.0, 8.0, shrink=shrink) for shrink in (300.0, 1000.0)),
}
_RECALL = "federated: recall@10"
Baskets = list[list[int]]


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the four rows at k = 10, and rounds and bytes."""
    folder = data / "ta-feng"
    for part in ("history", "future"):
        need(folder / f"{part}.json.gz", SOURCE)
    holders, products = load(folder, quick)
    catalogue = tuple(str(i) for i in range(products))
    task = Recommend(Common(date(2001, 3, 1), catalogue), ("auto",), top=10, repeat=True)
    rows = measured(task, holders, [GRIDS["popularity"]] if quick else list(GRIDS.values()))
    return rows if quick else [*rows, *barred(rows)]


def barred(rows: Sequence[Row]) -> list[Row]:
    """Returns what is asked of the federated model."""
    value = {row.name: row.value or 0.0 for row in rows}
    new = value["federated: recall, explore@10"] / max(value["alone: recall, explore@10"], 1e-9)
    return [
        at_least(0.132, "federated: recall@10, TIFU-KNN has .128 to .130", value[_RECALL]),
        at_least(1.2, "recall of new products@10, federated over alone", new),
    ]


def load(folder: Path, quick: bool) -> tuple[dict[str, Rows], int]:
    """Returns each retailer's rows, and how many products there are."""
    known, following = (
        json.loads(gzip.decompress((folder / f"{part}.json.gz").read_bytes()))
        for part in ("history", "future")
    )
    customers = sorted(known, key=int)[:: 5 if quick else 1]
    before: list[Baskets] = [known[c][1:-1] for c in customers]
    after: list[list[int]] = [following[c][1] for c in customers]
    products = 1 + max(max(map(max, known[c][1:-1] + following[c][1:-1])) for c in known)
    owner = _owners(len(customers))
    return {
        f"retailer {r}": {
            "validation": purchases(
                [before[c][:-1] for c in np.flatnonzero(owner == r)],
                [before[c][-1] for c in np.flatnonzero(owner == r)],
                products,
            ),
            "test": purchases(
                [before[c] for c in np.flatnonzero(owner == r)],
                [after[c] for c in np.flatnonzero(owner == r)],
                products,
            ),
        }
        for r in range(RETAILERS)
    }, products


def purchases(known: list[Baskets], following: list[list[int]], products: int) -> Purchases:
    """Returns the customers of these baskets, oldest first, and of the one that followed."""
    shape = (len(known), products)
    entries = np.array(
        [
            (customer, product, ago)
            for customer, baskets in enumerate(known)
            for ago, basket in enumerate(reversed(baskets), start=1)
            for product in set(basket)
        ],
        np.int32,
    )
    entries = entries[np.lexsort(entries.T[::-1])]
    starts = np.searchsorted(entries[:, 0], np.arange(len(known) + 1))
    baskets = csr_array((entries[:, 2], entries[:, 1], starts), shape=shape)
    # Sorted by customer, product and age: the first of equal places is the latest purchase.
    latest = np.r_[True, (np.diff(entries[:, :2], axis=0) != 0).any(axis=1)]
    starts = np.searchsorted(entries[latest, 0], np.arange(len(known) + 1))
    history = csr_array((entries[latest, 2], entries[latest, 1], starts), shape=shape)
    wanted = np.array([(c, p) for c, basket in enumerate(following) for p in set(basket)])
    future = csr_array((np.ones(len(wanted), np.int32), tuple(wanted.T)), shape=shape)
    return Purchases(history, future, baskets)


def measured(
    task: Recommend, holders: Mapping[str, Rows], grids: Sequence[Sequence[Candidate]]
) -> list[Row]:
    """Returns every metric of baseline, alone, federated and pooled, and what federation costs."""
    rounds: list[Json] = []
    with federated(holders, listener=rounds.append) as consortium:
        shared = task.choose_and_blend(consortium.of(TASK), grids)
    pooled = task.choose_and_blend(Local(task.pooled(list(holders.values()))), grids)
    alone = {who: task.choose_and_blend(Local(rows), grids) for who, rows in holders.items()}
    for name, fitted in {"federated": shared, **alone}.items():
        deviation = fitted.choice["chosen"]["deviation"]
        print(f"  {name}: {fitted.choice['why']}; a deviation is worth {deviation:.5f}")
    print(f"  {bought_once(shared.model)}")
    models: Mapping[str, Mapping[str, Model]] = {
        "baseline": {name: task.baseline(rows)[0] for name, rows in holders.items()},
        "alone": {name: fitted.model for name, fitted in alone.items()},
        "federated": dict.fromkeys(holders, shared.model),
        "pooled": dict.fromkeys(holders, pooled.model),
    }
    differs = arrays_digest(shared.model.arrays) != arrays_digest(pooled.model.arrays)
    return [
        *(row for name, each in models.items() for row in _scores(task, name, each, holders)),
        *(
            Row(f"{name}: recall, explore@{task.top}, of lists of new products alone", found)
            for name in ("alone", "federated")
            for found in [new_alone(models[name], holders, task.top)]
        ),
        at_most(0, "federated models that are not the pooled one", int(differs)),
        Row("choice and fit: rounds", len(rounds)),
        Row("choice and fit: out of each retailer", _out(rounds) / 2**20, "MiB"),
        Row("choice and fit: to each retailer", sum(r["bytes_in"] for r in rounds) / 2**20, "MiB"),
    ]


def new_alone(models: Mapping[str, Model], holders: Mapping[str, Rows], k: int) -> float:
    """Returns the recall of new products of lists that hold nothing else, over who bought any."""
    found, customers = 0.0, 0
    for name, rows in holders.items():
        model, held = models[name], rows["test"]
        assert isinstance(model, NextBasket)
        again = held.future.multiply(held.history > 0)
        sought = csr_array(held.future - again)
        sought.eliminate_zeros()
        for ranked, wanted, _ in ranked_lists(model.items, replace(held, future=sought), k):
            found += float(ranking_scores(ranked, wanted)[:, 1].sum())
            customers += len(ranked)
    return found / max(customers, 1)


def bought_once(model: Model) -> str:
    """Returns how likely a product is bought again that was bought once, in the last basket."""
    assert isinstance(model, NextBasket)
    assert isinstance(model.habit, Chances)
    rates = model.habit.again.rates.reshape(SHAPE)[0, :, 0].tolist()
    told = [f"{rate:.3f} of {least}" for rate, least in zip(rates, BASKETS.tolist(), strict=True)]
    return f"bought once, in the last of so many baskets or more, and again: {', '.join(told)}"


def _scores(
    task: Recommend, name: str, models: Mapping[str, Model], holders: Mapping[str, Rows]
) -> list[Row]:
    found = UnitScores.joined([task.score(models[r], rows, "test") for r, rows in holders.items()])
    named = {
        "hit_rate": "PHR",
        "recall_repeat": "recall, repeat",
        "recall_explore": "recall, explore",
    }
    return [
        Row(f"{name}: {named.get(metric, metric)}@{task.top}", value)
        for metric, value in found.values().items()
        if metric != "coverage"
    ]


def _out(rounds: list[Any]) -> float:
    return float(sum(max(record["bytes_out"].values()) for record in rounds))
