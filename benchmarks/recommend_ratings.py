"""Ratings of MovieLens 100K, 1 to 5 stars: biases and factors from totals, a chance for each star.

P5 of docs/evaluation.md, two splits: a random fifth of all ratings, and each user's last fifth. The
class is the star with the largest chance; RMSE is of the expected stars. NDCG@10 ranks a user's
rated test items, gain 2^stars - 1, over users with ten or more, and is shown with what a random
order and item means get, and as lift (NDCG - random) / (1 - random): a random order alone passes
0.8 where all rated items count. The half-life is chosen by RMSE on a part of the training
ratings held out in the same way, on which the chances are made as well.

Five retailers by a hash of the user. "alone": each one's own choice and fit. The last rows are the
often quoted targets, with the protocol under which each is met and what knowing nothing gets there.
"""

import csv
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.recommend_ml1m import SHARES, _owners
from benchmarks.rows import Row, at_least, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.rating_factors import FactorModel, RatingFactors
from grandtotal.algorithms.ratings import Cut, RatingModel, Ratings
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json, arrays_digest
from grandtotal.tasks.ratings_models import choose

SOURCE = "github.com/Zhangcx19/IJCAI-23-PFedRec, data/ml-100k.csv"
BARS = {"random": (0.45, 0.915), "last": (0.43, 0.965)}
GRID = tuple(
    RatingFactors(factors=32, l2=0.13, half_life=half_life, epochs=12) for half_life in (0.0, 100.0)
)
_K = 10
Lines = NDArray[np.int64]  # (ratings, 4): user, item, stars, time


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the rows of both splits and of the targets; with --quick eight factors, one split."""
    lines = _numbered(need(data / "movielens" / "ml-100k.csv", SOURCE))
    grid = (RatingFactors(factors=8, epochs=6),) if quick else GRID
    rows, best = [], {}
    for split in ("random",) if quick else BARS:
        found, best[split] = _measured(lines, split, grid, barred=not quick)
        rows += found
    return [*rows, *_targets(best["random"])]


def _numbered(path: Path) -> Lines:
    lines = np.array([[int(cell) for cell in line] for line in csv.reader(path.open())])
    for column in (0, 1):
        lines[:, column] = np.unique(lines[:, column], return_inverse=True)[1]
    return lines


def _held_out(lines: Lines, split: str, seed: int) -> NDArray[np.bool_]:
    """Returns which ratings are kept for scoring: a fifth."""
    if split == "random":
        return np.random.default_rng(seed).random(len(lines)) < 0.2
    order = np.lexsort((np.arange(len(lines)), lines[:, 3], lines[:, 0]))
    users = lines[order, 0]
    place = np.arange(len(users)) - np.searchsorted(users, users)
    held = np.zeros(len(lines), bool)
    held[order] = place >= np.floor(0.8 * np.bincount(users)[users])
    return held


def _rows_of(train: Lines, test: Lines, split: str) -> Rows:
    held = _held_out(train, split, 5)
    parts = {"validation": (train[~held], train[held]), "test": (train, test)}
    return {name: Cut(Ratings.of(*a.T), Ratings.of(*b.T)) for name, (a, b) in parts.items()}


def _measured(
    lines: Lines, split: str, grid: tuple[RatingFactors, ...], barred: bool
) -> tuple[list[Row], dict[str, float]]:
    products = int(lines[:, 1].max()) + 1
    held = _held_out(lines, split, 1)
    owner = _owners(int(lines[:, 0].max()) + 1)[lines[:, 0]]
    holders = {
        name: _rows_of(lines[(owner == i) & ~held], lines[(owner == i) & held], split)
        for i, name in enumerate(SHARES)
    }
    pooled: Rows = {
        cut: Cut.pooled([rows[cut] for rows in holders.values()]) for cut in ("validation", "test")
    }
    rounds: list[Json] = []
    with federated(holders, listener=rounds.append) as consortium:
        chosen = choose(consortium.of(TASK), grid, products)
    print(f"  {split}: chose {chosen.choice['chosen']}")
    shared = cast(FactorModel, chosen.model)
    everybody = choose(Local(pooled), grid, products).model
    differs = arrays_digest(shared.arrays) != arrays_digest(everybody.arrays)
    alone = {
        name: cast(FactorModel, choose(Local(rows), grid, products).model)
        for name, rows in holders.items()
    }
    own = _scores([(alone[name], rows["test"]) for name, rows in holders.items()])
    found = _scores([(shared, rows["test"]) for rows in holders.values()])
    return [
        *(Row(f"{split}, alone: {name}", value) for name, value in own.items()),
        *(_row(split, name, value, barred) for name, value in found.items()),
        at_most(0, f"{split}: federated models that are not the pooled one", int(differs)),
        Row(f"{split}: rounds", len(rounds)),
        Row(f"{split}: out of each retailer", _out(rounds), "MiB"),
    ], found


def _row(split: str, name: str, value: float, barred: bool) -> Row:
    label, (accuracy, error) = f"{split}, federated: {name}", BARS[split]
    if barred and name == "accuracy":
        return at_least(accuracy, label, value)
    return at_most(error, label, value) if barred and name == "RMSE" else Row(label, value)


def _out(rounds: list[Json]) -> float:
    return float(sum(max(record["bytes_out"].values()) for record in rounds)) / 2**20


def _scores(parts: list[tuple[FactorModel, Cut]]) -> dict[str, float]:
    """Returns accuracy, RMSE and NDCG of all retailers' test ratings, and of who knows nothing."""
    stars = np.concatenate([cut.asked.stars for _, cut in parts])
    told = [_told(model, cut) for model, cut in parts]
    expected = np.concatenate([each for each, _ in told])
    likely = np.concatenate([chances.argmax(axis=1) + 1 for _, chances in told])
    draw = np.random.default_rng(3)
    ranked: list[list[float]] = []
    everybody: list[list[float]] = []
    whole: list[float] = []
    for (model, cut), (mine_expected, _) in zip(parts, told, strict=True):
        means = (model.counts @ np.arange(1.0, 6.0) + 17.5) / (model.counts.sum(axis=1) + 5)
        chance = draw.random(len(cut.asked.stars))
        orders = (mine_expected, means[cut.asked.products], chance)
        for user in np.unique(cut.asked.customers):
            mine = cut.asked.customers == user
            given = cut.asked.stars[mine]
            whole.append(_ndcg(chance[mine], given, len(given)))
            everybody.append([_ndcg(scores[mine], given, _K) for scores in orders])
            if len(given) >= _K:
                ranked.append([_ndcg(scores[mine], given, _K) for scores in orders])
    ndcg, means_, random = np.mean(ranked, axis=0).tolist()
    of_all, _, random_of_all = np.mean(everybody, axis=0).tolist()
    return {
        "accuracy": float((likely == stars).mean()),
        "accuracy, expected stars rounded": float((np.rint(expected) == stars).mean()),
        "accuracy, always 4": float((stars == 4).mean()),
        "RMSE": float(np.sqrt(((expected - stars) ** 2).mean())),
        "NDCG@10 of rated items": ndcg,
        "NDCG@10, item means": means_,
        "NDCG@10, random": random,
        "NDCG@10, lift": (ndcg - random) / (1 - random),
        "NDCG@10, users with fewer too": of_all,
        "NDCG@10, users with fewer too, random": random_of_all,
        "NDCG of all rated items, random": float(np.mean(whole)),
    }


def _told(model: RatingModel, cut: Cut) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the expected stars of the ratings asked for, and the chance of each star."""
    tastes, pairs = model.tastes(cut.known, cut.people), (cut.asked.customers, cut.asked.products)
    return tastes.expected(*pairs), tastes.chances(*pairs)


def _ndcg(scores: NDArray[np.float64], stars: NDArray[np.int64], k: int) -> float:
    gains = 2.0**stars - 1
    discount = 1.0 / np.log2(np.arange(2, min(k, len(stars)) + 2))
    best = np.sort(gains)[::-1][: len(discount)] @ discount
    order = np.argsort(-scores, kind="stable")[: len(discount)]
    return float(gains[order] @ discount / best)


def _targets(found: dict[str, float]) -> list[Row]:
    """Returns each often quoted target, where it is met, and what knowing nothing gets there."""
    strict, loose = found["NDCG@10 of rated items"], found["NDCG@10, users with fewer too"]
    return [
        at_least(0.40, "target accuracy > 40 %: P5, a random fifth", found["accuracy"]),
        Row("... always 4 stars gets", found["accuracy, always 4"]),
        at_least(0.8, "target NDCG > 0.8: P5, NDCG@10, users of ten or more rated", strict),
        Row("... a random order gets", found["NDCG@10, random"]),
        at_least(0.8, "target NDCG > 0.8: NDCG@10, all users", loose),
        Row("... a random order gets", found["NDCG@10, users with fewer too, random"]),
        Row("... and of all rated items, not ten", found["NDCG of all rated items, random"]),
        Row("target hit rate > 0.7: P2, see recommend-ml100k; a random order gets", 0.1),
    ]
