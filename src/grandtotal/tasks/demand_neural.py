"""Networks of a demand forecast: a window of each series, and what is known of the periods ahead.

The quantile that is forecast is the median. Facts of the calendar count where they were always
known, and promotions as they are planned; a period before a series' first sale or in which nothing
could sell is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.networks import network_of
from grandtotal.algorithms.neural import FederatedTraining
from grandtotal.algorithms.neural_queries import as_json, training
from grandtotal.algorithms.windows import Windows
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, over, under
from grandtotal.tasks.covariates import ALWAYS, KINDS

if TYPE_CHECKING:
    from grandtotal.tasks.demand import Demand
    from grandtotal.tasks.sales import Cases, Panel, Sales

Floats = NDArray[np.float64]
_WEIGHTS, _ROUNDS = "network ", "rounds"
_HISTORY = {7: 26, 1: 56}  # periods of a window, of weeks and of days
_MEDIAN = 2


@dataclass(frozen=True)
class NetworkOfDemand:
    """kind: the installed network. rounds, patience: as in `FederatedTraining`.

    rate, batch: of the training at home.
    """

    kind: str
    rounds: int = 20
    patience: int = 4
    rate: float = 3e-3
    batch: int = 64

    @property
    def settings(self) -> Json:
        """What its training is limited to."""
        return {"rounds": self.rounds, "rate": self.rate}

    def network(self, days: int, horizon: int) -> Any:
        """Returns the network for periods of so many days."""
        year = 364 // days
        settings = {
            "history": _HISTORY[days],
            "horizon": horizon,
            "features": len(KINDS) + 5 + (7 if days == 1 else 0),
            "seen": len(KINDS) + 1,
            "period": 7 if days == 1 else 1,
            "lags": [year] if year >= horizon else [],
            "sampled": min(horizon, 14),
            # A number of its own for each series would have to be found again in every forecast.
            "embedding": 0,
        }
        return network_of(self.kind, as_json(settings))

    def fit(self, totals: Totals, task: Demand, split: str, given: Arrays) -> tuple[Arrays, Json]:
        """Returns the weights, and how many rounds were best; the test is fitted for as many."""
        validating = split == "validation"
        rounds = int(given.get(_ROUNDS, self.rounds))
        local = {"rate": self.rate, "batch": self.batch}
        plan = FederatedTraining(rounds, self.patience if validating else 0, local=local)
        network = self.network(task.periods.days, task.horizon)
        found = plan.fit(totals, network, rows_of_networks(split), watch=validating)
        best = np.asarray(max(found.report["best"], 1))
        return {**over(_WEIGHTS, found.arrays), _ROUNDS: best}, found.report

    def forecast(self, parts: Arrays, cases: Cases) -> Floats:
        """Returns the median of each case, in units."""
        neural, sales = training(), cases.of
        network = self.network(sales.periods.days, sales.horizon)
        origins, place = np.unique(
            np.stack([cases.series, cases.origin], axis=1), axis=0, return_inverse=True
        )
        windows = windows_of(sales, origins[:0], origins)
        module = neural.built(network, {}, 0)
        neural.Trainer(network, module, neural.LocalTraining()).put(under(_WEIGHTS, parts))
        examples = neural.Loaded.of(network.examples({"now": windows}, "now", True))
        found = [network.quantiles(module, batch) for batch in examples.ordered(4096)]
        units = np.concatenate(found)[place.ravel(), cases.ahead - 1, _MEDIAN]
        return np.asarray(units, np.float64)


def rows_of_networks(split: str) -> str:
    """Returns the name of the rows of a split that networks learn from."""
    return f"{split} windows"


class WindowRows:
    """The series of a panel as windows, made when a network asks for them."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    @cached_property
    def windows(self) -> Windows:
        """The series of all parts, with the origins before and after the cut."""
        panel = self._panel
        return Windows.pooled([_windows(sales, panel) for sales in panel.parts])


def with_networks(panels: dict[str, Any]) -> dict[str, Any]:
    """Returns the panels, and beside those that are fitted on the rows of networks."""
    splits = ("validation", "test")
    return {**panels, **{rows_of_networks(s): WindowRows(panels[s]) for s in splits}}


def _windows(sales: Sales, panel: Panel) -> Windows:
    step = max(1, sales.horizon // 4)
    first = sales.periods.level
    learned = np.arange(panel.cut - sales.horizon, first - 1, -step)[::-1]
    sold = sales.units > 0

    def origins(times: Any) -> NDArray[np.int64]:
        parts = [
            (series, np.full(len(series), t))
            for t in times
            for series in [np.flatnonzero(sold[:, max(t - _usual(sales), 0) : t].any(axis=1))]
        ]
        pairs = [np.stack(part, axis=1) for part in parts]
        return np.concatenate([np.zeros((0, 2), np.int64), *pairs]).astype(np.int64)

    return windows_of(sales, origins(learned), origins(panel.scored))


def _usual(sales: Sales) -> int:
    return sales.periods.windows[-1]


def windows_of(sales: Sales, learned: NDArray[np.integer], scored: NDArray[np.integer]) -> Windows:
    """Returns the series with these (records, 2) of series and origin, in periods of the panel.

    Before the first period lies a window of gaps, so that every origin has a whole one.
    """
    room = _HISTORY[sales.periods.days]
    count, ahead = sales.units.shape[1], sales.horizon
    started = np.cumsum(sales.units > 0, axis=1) > 0
    open_ = started & sales.past.open_now
    units = np.where(open_, sales.past.units, np.nan)
    padded = np.pad(units, ((0, 0), (room, ahead)), constant_values=np.nan)
    known = np.pad(_known(sales, count + ahead), ((0, 0), (room, 0), (0, 0)))
    moved = (np.asarray(records) + np.array([0, room]) for records in (learned, scored))
    return Windows(padded, known, np.zeros((len(units), 0)), *moved)


def _known(sales: Sales, length: int) -> Floats:
    """Returns (series, periods + horizon, features) what was always known of each period."""
    past = sales.past
    parts = [past.promotion, *(_always(sales, kind, length) for kind in KINDS)]
    week, day = past.dates["week"], past.dates["weekday"]
    waves = [f(2 * np.pi * k * week / 52.18) for k in (1, 2) for f in (np.sin, np.cos)]
    if sales.periods.days == 1:
        waves += [day == k for k in range(7)]
    shape = past.promotion.shape
    parts += [np.broadcast_to(wave, shape) for wave in waves]
    return np.stack(parts, axis=2).astype(np.float64)


def _always(sales: Sales, kind: str, length: int) -> Floats:
    if sales.known is None:
        return np.zeros((len(sales.units), length))
    known = sales.known.since[kind] == ALWAYS
    return np.where(known, sales.known.shares[kind], 0.0)[sales.known.group]


NETWORKS = {kind: NetworkOfDemand(kind) for kind in ("mlp", "lstm", "cnn")}
