"""Networks that forecast Rossmann's last 42 days, by day and shop, beside trees; RMSPE.

Five retailers by German states. Windows of 56 days; all settings are the same for every row of the
table, and rounds, the factor of a forecast and whether a retailer's network goes on learning at
home are chosen on the 42 days before the test. `baseline` is each shop's geometric mean of the same
weekday with or without a promotion. Federated runs over a consortium in this process; seconds are
of both fits, the one before the validation and the one before the test. Which days a shop is closed
and has a promotion is known beforehand, as in the competition. Trees: 200 of 64 leaves on the 45
features of `trees-speed`, with neither validation nor factor. With --quick: every sixteenth shop,
no trees.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rossmann import HORIZON, TARGET, rossmann
from benchmarks.rossmann_windows import SEEN, TRAITS, Shops, shops
from benchmarks.rows import MissingDataError, Row, at_most
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.trees import Boosting
from grandtotal.algorithms.windows import Windows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.threads import workers

RETAILERS, HISTORY, STEP, FEATURES, ROUNDS = 5, 56, 21, 30, 4
BASELINE, TARGET_RMSPE = 0.1455, 0.125


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the four rows of each network, seconds and bytes, and trees beside them."""
    try:
        from grandtotal.algorithms.cnn import CNN
        from grandtotal.algorithms.lstm import LSTM
        from grandtotal.algorithms.mlp import MLP
    except ModuleNotFoundError:
        raise MissingDataError("torch is not installed: pip install 'grandtotal[neural]'") from None
    whole = shops(data, HISTORY, STEP)
    if quick:
        whole = whole.some(16)
    shape = (HISTORY, HORIZON, FEATURES, TRAITS, SEEN)
    about: dict[str, Any] = {"lags": (364,), "sampled": 14, "embedding": 4}
    rows = [Row("baseline", _rmspe(_baseline(whole.test), whole.test))]
    for network in (MLP(*shape, **about), LSTM(*shape, **about), CNN(*shape, **about)):
        rows += _Race(network, whole).rows()
    return rows if quick else [*rows, *_trees(data, whole)]


@dataclass
class _Race:
    network: Any
    shops: Shops

    def rows(self) -> list[Row]:
        """Returns alone, federated and pooled, with seconds."""
        parts = [
            {"validation": before, "test": after}
            for before, after in zip(
                self.shops.parts(RETAILERS, "validation"),
                self.shops.parts(RETAILERS, "test"),
                strict=True,
            )
        ]
        whole = [{"validation": self.shops.validation, "test": self.shops.test}]
        name = self.network.name.upper()
        sent: list[Any] = []
        made = {
            "alone": self._timed(lambda: self._alone(parts)),
            "federated": self._timed(lambda: self._federated(parts, sent)),
            "pooled": self._timed(lambda: self._alone(whole)),
        }
        rows = []
        for row, (seconds, forecasts) in made.items():
            holders = whole if row == "pooled" else parts
            error = _joined([(f, h["test"]) for f, h in zip(forecasts, holders, strict=True)])
            bar = TARGET_RMSPE if row == "federated" else BASELINE
            rows += [at_most(bar, f"{name}: {row}", error), Row(f"{name}: {row}", seconds, "s")]
        size = max(record["bytes_out"]["0"] for record in sent)
        parameters = sum(p.numel() for p in self._build().parameters())
        rows.append(
            at_most(1.05, f"{name}: bytes of a round over 4 a parameter", size / parameters / 4)
        )
        return rows

    def _build(self) -> Any:
        return replace(self.network, embedding=0).build({})

    def _timed(self, make: Callable[[], Any]) -> tuple[float, Any]:
        started = time.perf_counter()
        made = make()
        return time.perf_counter() - started, made

    def _alone(self, holders: list[Any]) -> list[Any]:
        def one(rows: Any) -> Any:
            return self._at_home(rows, *self._fitted(Local(rows)))

        with ThreadPoolExecutor(workers()) as threads:
            return list(threads.map(one, holders))

    def _federated(self, parts: list[Any], sent: list[Any]) -> list[Any]:
        holders = {str(i): part for i, part in enumerate(parts)}

        def heard(record: Any) -> None:
            if record.get("query") == "network-updates":
                sent.append(record)

        with federated(holders, listener=heard) as consortium:
            weights = self._fitted(consortium.of(TASK))
        with ThreadPoolExecutor(workers()) as threads:
            return list(threads.map(lambda rows: self._at_home(rows, *weights), parts))

    def _fitted(self, totals: Totals) -> tuple[Any, Any]:
        """Returns the weights before the validation and those before the test."""
        from grandtotal.algorithms.neural import FederatedTraining

        training = FederatedTraining(ROUNDS, 0, cooled=0.2, local=self._local)
        before = training.fit(totals, self.network, "validation")
        rounds = max(before.report["best"], 1)
        training = replace(training, rounds=rounds)
        return before.arrays, training.fit(totals, self.network, "test", watch=False).arrays

    @property
    def _local(self) -> dict[str, Any]:
        return {"batch": 64, "rate": 4e-3}

    def _at_home(self, rows: Any, before: Any, weights: Any) -> Any:
        """Returns the forecast of the test, (shops, days): the factor is from the validation."""
        from grandtotal.algorithms.neural_at_home import AtHome

        home = AtHome(self._local)
        whole = home.better_whole(self.network, before, rows, "validation")
        module = home.fitted(self.network, before, rows, "validation", whole)
        factor = _factor(self._forecast(module, rows, "validation"), rows["validation"])
        module = home.fitted(self.network, weights, rows, "test", whole)
        return factor * self._forecast(module, rows, "test")

    def _forecast(self, module: Any, rows: Any, split: str) -> Any:
        from grandtotal.algorithms.neural_local import Loaded

        scored = Loaded.of(self.network.examples(rows, split, True))
        (batch,) = scored.ordered(scored.count)
        return self.network.quantiles(module, batch)[:, :, 2]


def _sold(windows: Windows) -> Any:
    """Returns what was sold in the scored days, (shops, days)."""
    origin = int(windows.scored[0, 1])
    return windows.units[windows.scored[:, 0], origin : origin + HORIZON]


def _factor(forecast: Any, windows: Windows) -> float:
    """Returns by what the forecast is multiplied for the smallest RMSPE."""
    ratio = (forecast / _sold(windows))[~np.isnan(_sold(windows))]
    return float(ratio.sum() / (ratio**2).sum())


def _joined(pairs: list[tuple[Any, Windows]]) -> float:
    squares = [(1 - forecast / _sold(windows)) ** 2 for forecast, windows in pairs]
    return float(np.sqrt(np.nanmean(np.concatenate(squares))))


def _rmspe(forecast: Any, windows: Windows) -> float:
    return _joined([(forecast, windows)])


def _baseline(windows: Windows) -> Any:
    """Returns the geometric mean of the same shop, weekday and promotion before the test."""
    cut = int(windows.scored[0, 1])
    logs = np.log(windows.units)
    promotion = windows.known[:, :, 0] > 0
    found = np.zeros((len(logs), HORIZON))
    for day in range(HORIZON):
        same = (np.arange(cut) - cut - day) % 7 == 0
        for of in (False, True):
            chosen = same & (promotion[:, :cut] == of)
            mean = np.where(chosen & ~np.isnan(logs[:, :cut]), logs[:, :cut], 0).sum(axis=1)
            count = (chosen & ~np.isnan(logs[:, :cut])).sum(axis=1)
            whole = np.nanmean(logs[:, :cut], axis=1)
            mean = np.where(count > 0, mean / np.maximum(count, 1), whole)
            asked = promotion[:, cut + day] == of
            found[asked, day] = mean[asked]
    return np.exp(found)


def _trees(data: Path, whole: Shops) -> list[Row]:
    """Returns the error of trees on the same days."""
    table = rossmann(data)
    started = time.perf_counter()
    boosting = Boosting(trees=200, rate=0.08, growth=Growth(by="leaf"), sampling=0.7, columns=0.5)
    model, _ = boosting.fit(Local({"train": table.train}), Data(TARGET, table.features))
    seconds = time.perf_counter() - started
    found = np.full(_sold(whole.test).shape, np.nan)
    found[~np.isnan(_sold(whole.test))] = np.exp(model.predict(table.test))
    return [
        Row("trees, pooled and federated alike", _rmspe(found, whole.test)),
        Row("trees", seconds, "s"),
    ]
