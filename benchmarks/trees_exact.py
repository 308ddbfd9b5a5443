"""Federated trees are the pooled trees, by digest, and predict what LightGBM's do on the same bins.

Every fourth row of Rossmann, 45 features; 3, 5 and 10 retailers answer through messages, envelope
and egress, with and without masks, one holder of all rows answers the same questions. Four trees of
31 leaves, by level; "sampled" is 0.7 of the rows and 0.5 of the columns. NumPy's inner loops make
the same trees as numba's. LightGBM grows by leaf from the same first score, and so do we beside it;
a distance is the mean distance of two scores in standard deviations of LightGBM's. The trees are
the same until two cuts are equally good but for LightGBM's rounding: from there on the distance
grows and the loss does not. With --quick: every fortieth row, two trees.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import lightgbm
import numpy as np

from benchmarks.rossmann import TARGET, Rossmann, rossmann
from benchmarks.rows import Row, at_most
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms import inner_loops, tree_numpy
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_bins import Binning, Bins
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting, Forest
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

RETAILERS = (3, 5, 10)
OBJECTIVES = {
    "squared": (Objective("squared"), TARGET, {"objective": "l2"}),
    "poisson": (
        Objective("poisson"),
        "thousands",
        {"objective": "poisson", "poisson_max_delta_step": 1e-12},
    ),
    "tweedie": (
        Objective("tweedie", 1.5),
        "thousands",
        {"objective": "tweedie", "tweedie_variance_power": 1.5},
    ),
    "logistic": (Objective("logistic"), "good day", {"objective": "binary"}),
    "quantile": (Objective("quantile", 0.8), TARGET, {"objective": "quantile", "alpha": 0.8}),
}
TREES = 50
FIRST_BAR = 1e-5
QUANTILE_BAR = 0.02  # a leaf's quantile is that of buckets 2 % wide
LOSS_BAR = 0.005
_SETTINGS = {
    "num_leaves": 31,
    "learning_rate": 0.1,
    "lambda_l2": 1.0,
    # It estimates counts from hessians: with hessians as the limit both do the same.
    "min_data_in_leaf": 1,
    "min_sum_hessian_in_leaf": 20.0,
    "min_data_in_bin": 1,
    "max_bin": 256,
    "num_threads": 1,
    "verbose": -1,
}


def run(data: Path, quick: bool) -> list[Row]:
    """Returns digests that differ, and distances from LightGBM."""
    rows = rossmann(data)
    step = 40 if quick else 4
    pooled, *parts = (_thinned(part, step) for part in (rows.train, *_dealt(rows)))
    bins = Binning(bins=64).fit(Local({"train": pooled}), rows.features, (), TARGET, "train")
    found = _digests(rows, pooled, parts, bins, 2 if quick else 4)
    return [*found, *_distances(rows, pooled, bins)]


def _dealt(rows: Rossmann) -> list[Columns]:
    return [part for count in RETAILERS for part in rows.parts(count)]


def _thinned(columns: Columns, step: int) -> Columns:
    # By key, so that the parts of any number of retailers are the same rows.
    kept = columns.keys % np.uint64(step) == 0
    numbers = {name: values[kept] for name, values in columns.numbers.items()}
    logs = numbers[TARGET]
    more = {"thousands": np.exp(logs) / 1000, "good day": (logs > 8.75).astype(np.float64)}
    return Columns({**numbers, **more}, {}, columns.keys[kept])


def _digests(
    rows: Rossmann, pooled: Columns, parts: list[Columns], bins: Bins, trees: int
) -> list[Row]:
    growth = Growth(leaves=31)
    fits: dict[str, tuple[Any, str]] = {}
    for name, (aim, target, _) in OBJECTIVES.items():
        plain = Boosting(aim, trees=trees, growth=growth)
        fits[name] = (plain, target)
        fits[f"{name}, sampled"] = (replace(plain, sampling=0.7, columns=0.5), target)
    fits["forest"] = (Forest(trees=10, growth=Growth(leaves=63, rows=5, l2=0.0)), TARGET)
    expected, found = {}, []
    for name, (algorithm, target) in fits.items():
        data = Data(target, rows.features)
        expected[name] = _digest(algorithm, Local({"train": pooled}), data, bins)
        with mock.patch.object(inner_loops, "of", return_value=tree_numpy):
            other = _digest(algorithm, Local({"train": pooled}), data, bins)
        found.append(at_most(0, f"{name}: NumPy's trees differ", other != expected[name]))
    for count in RETAILERS:
        mine, parts = parts[:count], parts[count:]
        holders = {f"r{i}": {"train": part} for i, part in enumerate(mine)}
        for masked in (False, True):
            with federated(holders, masked=masked) as consortium:
                for name, (algorithm, target) in fits.items():
                    data = Data(target, rows.features)
                    digest = _digest(algorithm, consortium.of(TASK), data, bins)
                    who = f"{count} retailers{', under masks' if masked else ''}"
                    what = f"{name}, {who}: trees differ from pooled"
                    found.append(at_most(0, what, digest != expected[name]))
    return found


def _digest(algorithm: Any, totals: Any, data: Data, bins: Bins) -> str:
    return arrays_digest(algorithm.fit(totals, data, bins)[0].arrays)


def _distances(rows: Rossmann, pooled: Columns, bins: Bins) -> list[Row]:
    codes = bins.matrix(pooled).astype(np.float64)
    codes[codes == 0] = np.nan
    totals, found = Local({"train": pooled}), []
    for name, (aim, target, theirs) in OBJECTIVES.items():
        settings = {**_SETTINGS, **theirs}
        y = pooled.numbers[target]
        growth = Growth(by="leaf", leaves=31, rows=1, hessian=20.0)
        ours = Boosting(aim, trees=TREES, growth=growth)
        model, _ = ours.fit(totals, Data(target, rows.features), bins)
        begin = np.full(len(y), model.base)
        dataset = lightgbm.Dataset(codes, y, params=settings, init_score=begin)
        booster = lightgbm.train(settings, dataset, TREES)
        first = TreesModel(aim, bins, model.base, model.trees.first(1))
        apart = []
        for trees, each in ((1, first), (TREES, model)):
            reference = begin + booster.predict(codes, raw_score=True, num_iteration=trees)
            scores = each.scores(pooled)
            apart.append(float(np.mean(np.abs(scores - reference)) / np.std(reference)))
        losses = [float(np.mean(aim.loss(y, s))) for s in (scores, reference)]
        fell = float(np.mean(aim.loss(y, begin))) - losses[1]
        bar = QUANTILE_BAR if name == "quantile" else FIRST_BAR
        found += [
            at_most(bar, f"{name}: distance from LightGBM's scores, one tree", apart[0]),
            Row(f"{name}: distance from LightGBM's scores, {TREES} trees", apart[1]),
            at_most(
                LOSS_BAR,
                f"{name}: difference in what the loss fell by, {TREES} trees",
                abs(losses[0] - losses[1]) / fell,
            ),
        ]
    return found
