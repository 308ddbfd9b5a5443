"""What retailers of different products learn from each other: by words, or not at all.

Online Retail II (UCI), every second customer; three retailers by a hash of the customer, and
products dealt to them by a hash: none in common, or half of them. A retailer scores and shows only
what it sells. "alone" is the retailer's own choice and fit, "federated" the consortium's; als is
the hybrid with words worth nothing. New products: those that nobody bought before the test's cut,
recall@10 of them by customers who bought one. P4 of docs/evaluation.md.

Amazon 5-core Beauty, Toys and Sports have no customer, product or attribute number in common, so
that federated counts are those of each alone: shown on a part of the users, P1, NDCG@10.

The same users once more, as customers of five retailers that sell all three departments: dealt by
a hash, which makes retailers alike, and by shares of each department drawn from a Dirichlet
distribution with 0.3, which makes them differ. Four rows each; "smallest" is the retailer with the
fewest customers.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from benchmarks.leave_one_out import Sequences, World, listed, purchases_of
from benchmarks.protocols import CARDS, Scorer, full_ranking, leave_out
from benchmarks.recommend_amazon import GRID, SOURCE
from benchmarks.recommend_ml1m import SHARES, _owners
from benchmarks.retail import online_retail
from benchmarks.rows import Row, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.content import Hybrid
from grandtotal.algorithms.item_model import Recommender, top
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.tables.demo import make_demo
from grandtotal.tasks.ranking import scored_customers
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.scores import UnitScores

NAMES = ("north", "south", "west")
GRIDS = {
    "als": (Hybrid(worth=0.0),),
    "hybrid": (Hybrid(worth=2.0), Hybrid(worth=10.0), Hybrid(worth=10.0, ridge=30.0)),
}
DEPARTMENTS = ("Beauty", "Toys_and_Games", "Sports_and_Outdoors")


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the rows of both splits and of the departments; with --quick of a part of it."""
    print(f"  P4: {CARDS['P4']}\n  P1: {CARDS['P1']}")
    rows = []
    for shared in (0.0,) if quick else (0.0, 0.5):
        rows += _retail(shared, quick)
    parts, firsts = _sequences(data, 64 if quick else 8)
    return [*rows, *_departments(parts, firsts), *_unlike(parts, firsts[-1])]


# --- Online Retail II ---


def _retail(shared: float, quick: bool) -> list[Row]:
    task, holders = _world(shared, quick)
    label = "no product in common" if not shared else "half of the products in common"
    rows = []
    for name, grid in GRIDS.items():
        with federated(holders) as consortium:
            together = task.choose(consortium.of(TASK), grid).model
        alone = {who: task.choose(Local(part), grid).model for who, part in holders.items()}
        for setting, models in {
            "alone": alone,
            "federated": dict.fromkeys(holders, together),
        }.items():
            rows += _measured(f"{label}, {name}, {setting}", task, models, holders)
    return rows


def _measured(
    label: str, task: Recommend, models: Mapping[str, Any], holders: Mapping[str, Rows]
) -> list[Row]:
    scores = UnitScores.joined([task.score(models[w], rows, "test") for w, rows in holders.items()])
    new = np.concatenate([_of_new(models[who], rows, task.top) for who, rows in holders.items()])
    return [
        Row(f"{label}: NDCG@10", scores.values()["ndcg"]),
        Row(f"{label}: recall@10 of new products", float(new.mean()) if len(new) else 0.0),
    ]


def _of_new(model: Recommender, rows: Rows, k: int) -> np.ndarray:
    """Returns for each customer who bought new products the share of them in the list."""
    test = rows["test"]
    known = np.asarray(rows["counts"]) > 0
    found = []
    for block, wanted in scored_customers(test):
        scores = block.only_sold(model.scores(block.history))
        ranked = top(scores, k)
        fresh = wanted & ~known
        hits = np.take_along_axis(fresh, ranked, axis=1).sum(axis=1)
        many = fresh.sum(axis=1)
        found.append(hits[many > 0] / many[many > 0])
    return np.concatenate(found)


def _world(shared: float, quick: bool) -> tuple[Recommend, dict[str, Rows]]:
    retail = online_retail()
    titles = _titles()
    lines = retail.lines.filter(pl.col("customer").is_not_null())
    lines = lines.filter(pl.col("customer").hash(1) % (4 if quick else 2) == 0)
    products = sorted(set(lines["product"].to_list()) & set(titles["product"].to_list()))
    common = replace(retail.common, catalogue=tuple(products))
    task = Recommend(common, ("hybrid",), horizon_days=91)
    place = np.random.default_rng(4)
    owner = np.where(place.random(len(products)) < shared, -1, place.integers(0, 3, len(products)))
    holders = {}
    for number, name in enumerate(NAMES):
        mine = [p for p, who in zip(products, owner.tolist(), strict=True) if who in (-1, number)]
        tables = {
            "transactions": lines.filter(
                pl.col("customer").hash(7) % 3 == number, pl.col("product").is_in(mine)
            ),
            "products": titles.filter(pl.col("product").is_in(mine)),
        }
        holders[name] = task.rows(cast(Any, tables))
    counts = sum(
        np.bincount(rows["test"].history.indices, minlength=len(products))
        for rows in holders.values()
    )
    return task, {name: {**rows, "counts": counts} for name, rows in holders.items()}


def _titles() -> pl.DataFrame:
    with tempfile.TemporaryDirectory() as name:
        folder = make_demo(Path(name))
        parts = [pl.read_parquet(path) for path in sorted(folder.glob("*/products.parquet"))]
    columns = {"StockCode": "product", "stock_code": "product", "Description": "title"}
    found = pl.concat(parts)
    known = {old: new for old, new in columns.items() if old in found.columns}
    return found.rename(known).select("product", "title").unique("product", keep="first")


# --- Amazon ---


def _departments(parts: Mapping[str, Sequences], firsts: list[int]) -> list[Row]:
    products = firsts[-1]
    model = Transitions(half_life=2.0, follows=2.0)
    everybody = leave_out([each for part in parts.values() for each in part], products, 1)
    together = model.fit(Local({"test": purchases_of(everybody)}), products, "test")
    rows, apart = [], 0.0
    for (name, sequences), first, after in zip(parts.items(), firsts, firsts[1:], strict=False):
        cut = leave_out(sequences, products, 1)
        own = model.fit(Local({"test": purchases_of(cut)}), products, "test")
        for setting, each in {"alone": own, "federated": together}.items():
            score = full_ranking(_sold(each, first, after), cut)[:, 1].mean()
            rows.append(Row(f"{name}, {setting}: NDCG@10", float(score)))
        apart = max(apart, float(np.abs(own.weights - _block(together, own)).max()))
    return [*rows, at_most(0, "departments: weights that others change", apart)]


def _sold(model: Recommender, first: int, after: int) -> Scorer:
    """Returns the scores of a model, -inf outside the department's products."""

    def score(history: csr_array) -> np.ndarray:
        scores = model.affinities(history)
        scores[:, :first] = scores[:, after:] = -np.inf
        return scores

    return score


def _block(together: Any, own: Any) -> Any:
    """Returns the shared weights where the department has a product."""
    mine = np.asarray(own.weights.sum(axis=1)).ravel() != 0
    rows = np.repeat(np.arange(len(mine)), np.diff(together.weights.indptr))
    kept = together.weights.copy()
    kept.data = np.where(mine[rows], kept.data, 0)
    return kept


def _sequences(data: Path, every: int) -> tuple[dict[str, Sequences], list[int]]:
    """Returns the sequences of each department, and where its products begin, and end."""
    found, firsts = {}, [0]
    for name in DEPARTMENTS:
        sequences, products = listed(need(data / "amazon-5core" / f"{name}.txt.gz", SOURCE))
        found[name.split("_")[0]] = [each + firsts[-1] for each in sequences[::every]]
        firsts.append(firsts[-1] + products)
    return found, firsts


def _unlike(parts: Mapping[str, Sequences], products: int) -> list[Row]:
    """Returns the rows of retailers that are alike, and of ones that are not."""
    seen = np.unique(np.concatenate([each for part in parts.values() for each in part]))
    place = np.searchsorted(seen, np.arange(products))
    rows = []
    for label, owner in {
        "five alike": lambda many, draw: _owners(many),  # noqa: ARG005
        "five unlike": lambda many, draw: draw.choice(5, many, p=draw.dirichlet(np.full(5, 0.3))),
    }.items():
        draw = np.random.default_rng(6)
        retailers: dict[str, Sequences] = {name: [] for name in SHARES}
        for sequences in parts.values():
            for who, sequence in zip(owner(len(sequences), draw), sequences, strict=True):
                retailers[list(SHARES)[who]].append(place[sequence])
        print(f"  {label}: {', '.join(f'{n} {len(s):,}' for n, s in retailers.items())}")
        rows += _four(label, World(retailers, len(seen)))
    return rows


def _four(label: str, world: World) -> list[Row]:
    task, holders = world.task(("transitions",)), world.holders()
    with federated(holders) as consortium:
        together = task.choose(consortium.of(TASK), GRID).model
    pooled = task.choose(Local(task.pooled(list(holders.values()))), GRID).model
    models: dict[str, Mapping[str, Any]] = {
        "baseline": {name: task.baseline(rows)[0] for name, rows in holders.items()},
        "alone": {name: task.choose(Local(rows), GRID).model for name, rows in holders.items()},
        "federated": dict.fromkeys(holders, together),
        "pooled": dict.fromkeys(holders, pooled),
    }
    some = [name for name, sequences in world.retailers.items() if sequences]
    few = min(some, key=lambda name: len(world.retailers[name]))
    rows = []
    for setting, each in models.items():
        found = {name: _ndcg(each[name], part, world) for name, part in world.retailers.items()}
        everybody = float(np.concatenate(list(found.values())).mean())
        rows.append(Row(f"{label}, {setting}: NDCG@10", everybody))
        if setting in ("alone", "federated"):
            rows.append(Row(f"{label}, {setting}: NDCG@10, smallest", float(found[few].mean())))
    return rows


def _ndcg(model: Recommender, sequences: Sequences, world: World) -> np.ndarray:
    """Returns the score of each customer."""
    return full_ranking(model.affinities, leave_out(sequences, world.products, 1))[:, 1]
