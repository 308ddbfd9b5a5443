"""Weekly units of every product, eight weeks ahead: Online Retail II at five retailers.

Customers are divided by a hash; the test is the last twelve weeks, before Christmas, with an origin
every second week. The kinds of model that forecast a mean are chosen among on summed validation
scores alone; a median would have the smaller WAPE and forecast far too little. AutoETS of
statsforecast is fitted anew to every series of a sample at every origin, without a season: a year
of weeks is longer than it takes. Bias is judged by its size. The coverage table is of all products.
With --quick: regressions alone, and a smaller sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.demand_coverage import coverage_rows, covered
from benchmarks.retail import online_retail
from benchmarks.rows import Row
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import DemandModel, baseline_model, cases_of
from grandtotal.tasks.demand_scores import series_scores
from grandtotal.tasks.sales import Cases, Panel, Sales
from grandtotal.tasks.scores import UnitScores

RETAILERS = 5
JUDGED = ("wape", "bias", "rmsse")
KINDS = ("ridge", "poisson", "trees")


@dataclass(frozen=True)
class Told:
    """Forecasts that were made elsewhere, by origin: (series, horizon)."""

    made: dict[int, NDArray[np.float64]]
    ratios: NDArray[np.float64]

    def forecast(self, cases: Cases) -> NDArray[np.float64]:
        """Returns what was told of each case."""
        found = np.empty(len(cases.series))
        for t in np.unique(cases.origin):
            here = cases.origin == t
            found[here] = self.made[int(t)][cases.series[here], cases.ahead[here] - 1]
        return found


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns the scores of ours and of three others, and the coverage of our intervals."""
    retail = online_retail()
    kinds = KINDS[:2] if quick else KINDS
    task = Demand(retail.common, models=kinds, **({} if quick else {"trees": 150, "leaves": 32}))
    parts = list(retail.holders(task, RETAILERS).values())
    fitted = task.fit(Local(task.pooled(parts)))
    ours = [cast(DemandModel, task.adapt(fitted.model, part)) for part in parts]
    rows = [Row(f"validation WAPE: {t['model']}", t["wape"]) for t in fitted.choice["tried"]]
    others: dict[str, list[Any]] = {
        name: [baseline_model(kind)] * RETAILERS
        for name, kind in (("8-week mean", "mean"), ("seasonal naive", "seasonal-naive"))
    }
    rows += _compared("all products", parts, {"ours": ours, **others}, None)
    sample = _sample(parts, 10 if quick else 150)
    ets = _ets(parts, sample)
    if ets is None:
        rows.append(Row("AutoETS: skipped, pip install 'grandtotal[reference]'", None))
    else:
        name = f"sample of {sum(map(len, sample))} series"
        rows += _compared(name, parts, {"ours": ours, **others, "AutoETS": ets}, sample)
    panels = [part["test"] for part in parts]
    return rows + coverage_rows(covered(zip(ours, panels, strict=True)))


def _compared(
    name: str,
    parts: list[Rows],
    models: dict[str, list[Any]],
    sample: list[NDArray[np.intp]] | None,
) -> Iterator[Row]:
    """Yields each model's scores; ours are judged by the best of the others."""
    scores = {
        who: UnitScores.joined(
            [
                _scored(model, part["test"], None if sample is None else sample[i])
                for i, (model, part) in enumerate(zip(each, parts, strict=True))
            ]
        ).values()
        for who, each in models.items()
    }
    for metric in JUDGED:
        values = {who: found[metric] for who, found in scores.items()}
        best = min(abs(value) for who, value in values.items() if who != "ours")
        for who, value in values.items():
            label = f"{name}: {metric.upper()}: {who}"
            if who == "ours":
                yield Row(label, value, "", f"within {best:.4g}", bool(abs(value) < best))
            else:
                yield Row(label, value)


def _scored(model: Any, panel: Panel, sample: NDArray[np.intp] | None) -> UnitScores:
    sales: Sales = panel.parts[0]
    (cases,) = cases_of(model, panel) if isinstance(model, DemandModel) else _cases(panel)
    if sample is not None:
        cases = cases.chosen(np.isin(cases.series, sample))
    return series_scores(model, sales, cases, panel.cut)


def _cases(panel: Panel) -> list[Cases]:
    return panel.cases(np.asarray(panel.parts[0].capped()))


def _sample(parts: list[Rows], most: int) -> list[NDArray[np.intp]]:
    """Returns so many products of each retailer, drawn among those that are forecast."""
    rng = np.random.default_rng(1)
    found = []
    for part in parts:
        (cases,) = _cases(part["test"])
        found.append(np.sort(rng.permutation(np.unique(cases.series))[:most]))
    return found


def _ets(parts: list[Rows], sample: list[NDArray[np.intp]]) -> list[Told] | None:
    """Returns the forecasts of AutoETS; None where statsforecast is not installed."""
    try:
        from statsforecast.models import AutoETS
    except ImportError:
        return None
    told = []
    for part, chosen in zip(parts, sample, strict=True):
        panel: Panel = part["test"]
        sales = panel.parts[0]
        made = {}
        for t in panel.scored:
            made[t] = np.zeros((len(sales.units), sales.horizon))
            for s in chosen:
                model = AutoETS(season_length=1)
                found = model.forecast(sales.units[s, :t], h=sales.horizon)["mean"]
                made[t][s] = np.maximum(found, 0.0)
        told.append(Told(made, np.empty(0)))
    return told
