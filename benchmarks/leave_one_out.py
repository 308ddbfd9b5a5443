"""Customers' products in order, dealt to five retailers, and the four rows under one protocol."""

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocols import (
    Cut,
    K,
    Scorer,
    draw_negatives,
    full_ranking,
    leave_out,
    sampled_ranking,
)
from benchmarks.recommend_ml1m import SHARES, _owners
from benchmarks.rows import Row, at_most
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.blend import Blend, Candidate
from grandtotal.algorithms.content import CONTENT, Content
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.sequential import SequenceModel
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import Json, arrays_digest
from grandtotal.tasks.own_products import same_kind
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.task import Common, Fitted

Sequences = list[NDArray[np.int64]]
Bars = Mapping[str, float]


@dataclass(frozen=True)
class World:
    """Each retailer's customers: their products in order, the latest last."""

    retailers: dict[str, Sequences]
    products: int
    listings: Content | None = None  # of every retailer alike: what the products are called

    @property
    def everybody(self) -> Sequences:
        """All customers, retailer after retailer."""
        return [s for part in self.retailers.values() for s in part]

    def holders(self) -> dict[str, Rows]:
        """Returns each retailer's rows: the last product is the test, the one before validation."""
        said = {CONTENT: self.listings} if self.listings else {}
        return {n: {**rows_of(part, self.products), **said} for n, part in self.retailers.items()}

    def task(self, models: tuple[str, ...], top: int = K) -> Recommend:
        """Returns the task that chooses among these models by NDCG over so many places."""
        catalogue = tuple(str(i) for i in range(self.products))
        return Recommend(Common(date(2003, 3, 1), catalogue), models, top=top)


def rows_of(sequences: Sequences, products: int) -> Rows:
    """Returns the rows of customers at the two cuts."""
    return {
        "validation": purchases_of(leave_out(sequences, products, 2)),
        "test": purchases_of(leave_out(sequences, products, 1)),
    }


def purchases_of(cut: Cut) -> Purchases:
    """Returns the same as rows of a task; a product that was bought before is not wanted again."""
    new = cut.wanted - cut.wanted * (cut.history > 0)
    new.eliminate_zeros()
    return Purchases(cut.history, new)


def dealt(sequences: Sequences, products: int) -> World:
    """Returns the customers of five unequal retailers, by a hash of their place."""
    owner = _owners(len(sequences))
    parts = {n: [sequences[c] for c in np.flatnonzero(owner == r)] for r, n in enumerate(SHARES)}
    return World(parts, products)


def rated(path: Path) -> tuple[Sequences, int]:
    """Returns sequences of user, item, rating, time lines, equal times in the file's order."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = list(csv.reader(raw.decode().splitlines()))
    users, items = (np.unique([ln[i] for ln in lines], return_inverse=True)[1] for i in (0, 1))
    order = np.lexsort((np.arange(len(lines)), [float(ln[3]) for ln in lines], users))
    users, items = users[order], items[order]
    starts = np.searchsorted(users, np.arange(users.max() + 2))
    return [items[a:b] for a, b in pairwise(starts)], int(items.max()) + 1


def listed(path: Path) -> tuple[Sequences, int]:
    """Returns sequences of lines of a user and the user's items, numbered from 1."""
    text = gzip.decompress(path.read_bytes()).decode()
    sequences = [np.array(line.split()[1:], np.int64) - 1 for line in text.splitlines()]
    return sequences, 1 + max(int(s.max()) for s in sequences)


# --- the four rows ---

TRAINING = "statistics from training only"


def measured(
    world: World,
    label: str,
    models: tuple[str, ...],
    bars: Bars,
    sampled: bool,
    grids: Mapping[str, tuple[Candidate, ...]] | None = None,
    top: int = K,
) -> list[Row]:
    """Returns baseline, alone, federated and pooled under P1, and P2 where `sampled`.

    bars: of a federated row, by metric; with grids, of the one that has learned nothing from the
    validation's products, though histories hold them. grids: of each kind, in place of the models'
    own, and blended. top: places of the list by whose NDCG is chosen.
    """
    task, holders = world.task(models, top), world.holders()

    def fitted(totals: Totals) -> Fitted:
        if grids is None:
            return task.fit(totals)
        if len(grids) == 1:
            return task.choose(totals, *grids.values())
        return task.choose_and_blend(totals, list(grids.values()))

    rounds: list[Json] = []
    with federated(holders, listener=rounds.append) as consortium:
        shared = fitted(consortium.of(TASK))
    print(f"  {label}: {shared.choice.get('why') or _named(shared)}")
    chosen = same_kind(shared.choice["chosen"], grids or GRIDS)
    assert chosen is not None
    everything = Local(task.pooled(list(holders.values())))
    pooled = chosen.fit(everything, world.products, "test")
    rows = {
        "baseline": {name: task.baseline(part)[0] for name, part in holders.items()},
        "alone": {name: fitted(Local(part)).model for name, part in holders.items()},
        "federated": dict.fromkeys(holders, shared.model),
    }
    if grids is not None:
        stale = chosen.fit(everything, world.products, "validation")
        rows[f"federated, {TRAINING}"] = dict.fromkeys(holders, stale)
    barred = list(rows)[-1]
    if _trained(shared.model):
        rows["pooled"] = dict.fromkeys(holders, pooled)
    return [
        *(
            _row(f"{label}, {row}: {name}", value, bars if row == barred else {}, name)
            for row, each in rows.items()
            for name, value in _scored(world, each, sampled).items()
        ),
        _exact(label, shared.model, pooled),
        Row(f"{label}: rounds", len(rounds)),
        Row(f"{label}: out of each retailer", _out(rounds), "MiB"),
    ]


def _trained(model: Any) -> list[Any]:
    """Returns the networks of a model or blend."""
    return [part for part in _parts(model) if isinstance(part, SequenceModel)]


def _parts(model: Any) -> tuple[Any, ...]:
    return model.parts if isinstance(model, Blend) else (model,)


def _exact(label: str, shared: Any, pooled: Any) -> Row:
    """Returns how many models are not the pooled one; networks are trained, not exact."""
    named = f"{label}: federated models that are not the pooled one"
    if networks := _trained(shared):
        kinds = ", ".join(each.network for each in networks)
        named += f" ({kinds} left out: a mean of training at home is not exact)"
    pairs = zip(_parts(shared), _parts(pooled), strict=True)
    counted = [(a, b) for a, b in pairs if not isinstance(a, SequenceModel)]
    return at_most(
        0, named, sum(arrays_digest(a.arrays) != arrays_digest(b.arrays) for a, b in counted)
    )


def _out(rounds: list[Json]) -> float:
    return float(sum(max(record["bytes_out"].values()) for record in rounds)) / 2**20


def _named(found: Fitted) -> str:
    return f"chose {found.choice['chosen']} of {len(found.choice['tried'])}"


def _row(label: str, value: float, bars: Bars, name: str) -> Row:
    bar = bars.get(name)
    return Row(label, value, "", f">= {bar:g}" if bar else None, value >= bar if bar else None)


def _scored(world: World, models: Mapping[str, Any], sampled: bool) -> dict[str, float]:
    """Returns the mean over all customers; each one's scores are of its own retailer's model."""
    full, drawn = [], []
    for name, sequences in world.retailers.items():
        cut = leave_out(sequences, world.products, 1)
        score: Scorer = models[name].affinities
        full.append(full_ranking(score, cut))
        if sampled:
            drawn.append(sampled_ranking(score, cut, draw_negatives(cut)))
    found = dict(zip(("HR@10", "NDCG@10"), np.concatenate(full).mean(axis=0).tolist(), strict=True))
    if sampled:
        names = ("1+99 HR@10", "1+99 NDCG@10")
        found |= dict(zip(names, np.concatenate(drawn).mean(axis=0).tolist(), strict=True))
    return found
