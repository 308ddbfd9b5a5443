"""Rossmann through the demand task: 42 days of every shop, states in five retailers.

Series are shops, days are forecast from one origin, the last 42 days are the test and the 42 before
them the validation, on which everything is chosen; RMSPE over open days, as in the competition.
Trees learn every day from three origins, of which there is one every 14 days. `delivered` is the
shared model at its validated factor, `federated` what each retailer keeps after its own validation,
`alone` the same task on its own rows. LightGBM's trees and forest are not ours: the same features
of the same pooled rows, the same budget, each at the factor of its own validation. The geometric
mean is of shop, weekday and promotion, of all days before the test. With --quick: few shops and
trees.
"""

import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.rossmann_tables import Shops, shops
from benchmarks.rows import Row, at_least, at_most
from benchmarks.trees import Together
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_facts import text_names
from grandtotal.tasks.demand_features import feature_names
from grandtotal.tasks.demand_trees import LOG
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import metric_of

_DAYS = 42
_TEXTS = text_names("store")
_LIGHTGBM = {
    "objective": "l2",
    "num_leaves": 64,
    "learning_rate": 0.05,
    "lambda_l2": 1.0,
    "min_data_in_leaf": 20,
    "bagging_fraction": 0.6,
    "bagging_freq": 1,
    "feature_fraction": 0.4,
    "max_bin": 128,
    "verbose": -1,
    "num_threads": 2,
}
_FOREST = {
    **_LIGHTGBM,
    "boosting": "rf",
    "num_leaves": 4096,
    "lambda_l2": 0.0,
    "min_data_in_leaf": 5,
    "bagging_fraction": 0.632,
    "feature_fraction": 0.6,
}


def run(data: Path, quick: bool) -> list[Row]:
    """Returns RMSPE of all models, and seconds."""
    found = shops(data, 60 if quick else 0)
    trees = 40 if quick else 300
    task = _task(found, "trees-log", trees)
    parts = {name: task.rows(tables) for name, tables in found.tables.items()}
    pooled = task.pooled(list(parts.values()))
    rows = [Row("geometric mean of shop, weekday and promotion: RMSPE", _geometric(pooled))]
    rows += _boosted(task, parts, pooled)
    rows += _against(rows, "LightGBM", _theirs(pooled, _LIGHTGBM, trees), 0.002, "delivered: RMSPE")
    forest = _task(found, "forest", trees)
    start = time.perf_counter()
    model = forest.fit(_five(parts)).model
    rows.append(Row("forest: seconds of fitting, validation and test", time.perf_counter() - start))
    rows.append(at_most(0.119, "forest, delivered: RMSPE", _rmspe(forest, model, parts)))
    theirs = _theirs(pooled, _FOREST, trees // 10)
    return rows + _against(rows, "LightGBM's forest", theirs, 0.001, "forest, delivered: RMSPE")


def _task(found: Shops, model: str, trees: int) -> Demand:
    return Demand(
        found.common,
        models=(model,),
        every="day",
        by="store",
        horizon=_DAYS,
        test=_DAYS,
        history=found.days,
        trees=trees,
        judged_by="rmspe",
        grow="leaf",
        learned_from=3,
    )


def _five(parts: dict[str, Rows]) -> Together:
    return Together([Local(rows) for rows in parts.values()])


def _boosted(task: Demand, parts: dict[str, Rows], pooled: Rows) -> list[Row]:
    """Returns the four rows of the table, and by how much each retailer's choice beat alone."""
    start = time.perf_counter()
    shared = task.fit(_five(parts)).model
    seconds = time.perf_counter() - start
    same = arrays_digest(shared.arrays) == arrays_digest(task.fit(Local(pooled)).model.arrays)
    rows = [
        Row("fitting over five retailers, validation and test", seconds, "s"),
        at_most(0, "digests of five retailers that differ from pooled", float(not same)),
        at_most(0.112, "delivered: RMSPE", _rmspe(task, shared, parts)),
    ]
    federated, alone = {}, {}
    for name, mine in parts.items():
        kept = task.adapt(shared, mine)
        federated[name] = task.score(kept, mine, "test")
        own = task.adapt(task.fit(Local(mine)).model, mine)
        alone[name] = task.score(own, mine, "test")
        rows += _of_retailer(
            task, f"{name} keeps {kept.keeps or 'shared trees'}", federated[name], alone[name]
        )
    together = {
        who: UnitScores.joined(list(scores.values()))
        for who, scores in (("federated", federated), ("alone", alone))
    }
    rows += [Row(f"{who}: RMSPE", scores.values()["rmspe"]) for who, scores in together.items()]
    gain = together["federated"].gain_over(together["alone"], metric_of(task), seed=1)
    rows.append(at_least(0.03, "federated better than alone, relatively", gain["relative"]))
    rows.append(Row("... its 95 % interval from", gain["relative_low"]))
    return [*rows, Row("... to", gain["relative_high"])]


def _of_retailer(task: Demand, name: str, federated: UnitScores, alone: UnitScores) -> list[Row]:
    """Returns the gain over alone, whose interval should not lie below 0."""
    gain = federated.gain_over(alone, metric_of(task), seed=1)
    return [
        Row(f"{name}: better than alone, relatively", gain["relative"]),
        at_least(0.0, f"{name}: upper end of its 95 % interval", gain["relative_high"]),
    ]


def _rmspe(task: Demand, model: Any, parts: dict[str, Rows]) -> float:
    """Returns the score of the shared model as it is delivered."""
    scores = [task.score(model, rows, "test") for rows in parts.values()]
    return float(UnitScores.joined(scores).values()["rmspe"])


def _cases(pooled: Rows, split: str) -> tuple[Any, Any, Any]:
    """Returns features, usual logarithm and sold of the open cases of a split."""
    panel = pooled[split]
    parts = panel.cases(np.ones((1, panel.parts[0].periods.count)))
    parts = [cases.chosen(cases.sold > 0) for cases in parts]
    names = feature_names(1)
    columns = [np.concatenate([cases.seen.number(name) for cases in parts]) for name in names]
    columns += [
        _coded(np.concatenate([cases.seen.category(name) for cases in parts])) for name in _TEXTS
    ]
    level = np.concatenate([cases.seen.level for cases in parts])
    return np.stack(columns, axis=1), level, np.concatenate([cases.sold for cases in parts])


def _coded(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Returns a small number for each hash, the same wherever it is met."""
    return (hashes >> np.uint64(48)).astype(np.float64)


def _theirs(pooled: Rows, settings: dict[str, Any], trees: int) -> float:
    """Returns the RMSPE of LightGBM on the same features, at the factor of its validation."""
    factor = 1.0
    for split in ("validation", "test"):
        learned = pooled[f"{split} trees"]
        columns = [learned.number(name) for name in feature_names(1)]
        x = np.stack(columns + [_coded(learned.category(name)) for name in _TEXTS], axis=1)
        texts = list(range(len(columns), len(columns) + len(_TEXTS)))
        rows = lightgbm.Dataset(x, learned.number(LOG), categorical_feature=texts)
        model = lightgbm.train(settings, rows, trees)
        features, level, sold = _cases(pooled, split)
        ratio = (np.exp(np.asarray(model.predict(features)) + level) - 1) / sold
        if split == "validation":
            factor = float(ratio.sum() / (ratio**2).sum())
    return float(np.sqrt(np.mean((1 - factor * ratio) ** 2)))


def _against(rows: list[Row], name: str, theirs: float, within: float, ours: str) -> list[Row]:
    mine = next(row.value for row in rows if row.name == ours)
    assert mine is not None
    return [
        Row(f"{name}, pooled, same budget: RMSPE", theirs),
        at_most(within, f"{ours}, over that of {name}", mine - theirs),
    ]


def _geometric(pooled: Rows) -> float:
    """Returns the RMSPE of the geometric mean of shop, weekday and promotion."""
    ratios = []
    for sales in pooled["test"].parts:
        past, cut = sales.past, pooled["test"].cut
        kinds, open_ = past.kinds, past.open_now
        for kind in np.unique(kinds):
            before = (kinds[:, :cut] == kind) & open_[:, :cut]
            mean = np.exp(
                (past.log_units[:, :cut] * before).sum(axis=1) / np.maximum(before.sum(axis=1), 1)
            )
            last = slice(cut, sales.units.shape[1])
            now = (kinds[:, last] == kind) & (sales.units[:, last] > 0)
            s, t = np.nonzero(now)
            known = before.any(axis=1)[s]
            ratios.append((mean[s] / sales.units[s, cut + t])[known])
    return float(np.sqrt(np.mean((1 - np.concatenate(ratios)) ** 2)))
