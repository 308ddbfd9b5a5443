"""Expected purchases and spend of customers: Online Retail II, and a million generated customers.

Five retailers by a hash of the customer, through messages, envelopes and egress in the clear. The
test is the last 90 and, apart, the last 180 days, of customers known before; error is expected over
real purchases of all these customers together, added up to the end of a week, as is "spend". RMSE
is of each customer's purchases; top tenth: share of all spend by the tenth expected to spend most.
"alone" and "baseline" are fitted and chosen by each retailer; all rows are over all customers.

Generated: two years of customers who behave as the model says (`shoppers.py`); seconds are of all
five retailers in one process, from lines to rows, of the fit, and of all forecasts. A doubling is
the seconds for all customers over those for half of them. --quick: 20,000 customers, 90 days.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.retail import Retail, online_retail
from benchmarks.rows import Row, at_most
from benchmarks.shoppers import (
    COMMON,
    PURCHASES,
    RETAILERS,
    SPEND,
    holders,
    peak_gib,
    shoppers,
    timed,
)
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.durable import Json
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.task import Fitted
from grandtotal.tasks.value import Value
from grandtotal.tasks.value_model import ValueModel

SAME, CUMULATIVE, MINUTES, TWICE = 1e-6, 0.05, 5.0, 2.3
_SHOWN = ("purchases_rmse", "purchases_mae", "spend_wape", "top_decile", "coverage_80")


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns exactness, the four rows, errors by week, and what a million customers cost."""
    retail = online_retail()
    lines = retail.lines.with_columns(pl.col("quantity").cast(pl.Float64))
    retail = Retail(lines, retail.common)
    rows = [row for days in ((90,) if quick else (90, 180)) for row in _retail(retail, days)]
    return [*rows, *_generated(20_000 if quick else 1_000_000, quick)]


def _retail(retail: Retail, days: int) -> Iterator[Row]:
    task = Value(retail.common, horizon_days=days)
    held = retail.holders(task, RETAILERS)
    with federated(held) as consortium:
        found = task.fit(consortium.of(TASK))
    pooled = task.fit(Local(task.pooled(list(held.values()))))
    about = f"Online Retail II, {days} days"
    yield from _same(about, found, pooled)
    fits: dict[str, dict[str, Model]] = {
        "baseline": {who: task.baseline(rows)[0] for who, rows in held.items()},
        "alone": {who: task.fit(Local(rows)).model for who, rows in held.items()},
        "federated": dict.fromkeys(held, found.model),
    }
    for name, models in fits.items():
        scores = _scores(task, held, models)
        for metric in _SHOWN:
            if np.isfinite(scores[metric]):
                yield Row(f"{about}: {name}, {metric}", scores[metric])
    yield from _by_week(about, task, held, found.model)


def _scores(task: Value, held: dict[str, Rows], models: dict[str, Model]) -> dict[str, float]:
    adapted = {
        who: task.adapt(model, held[who]) if model.arrays["purchases"].size else model
        for who, model in models.items()
    }
    parts = [task.score(model, held[who], "test") for who, model in adapted.items()]
    return UnitScores.joined(parts).values()


def _same(about: str, found: Fitted, pooled: Fitted) -> Iterator[Row]:
    parameters = [
        np.concatenate([one.model.arrays[name] for name in ("purchases", "spend")])
        for one in (found, pooled)
    ]
    apart = float(np.abs(parameters[0] / parameters[1] - 1).max())
    yield at_most(SAME, f"{about}: parameters, federated / pooled - 1 at most", apart)
    likelihoods = [_likelihoods(one.choice["chosen"]) for one in (found, pooled)]
    apart = float(np.abs(np.divide(*likelihoods) - 1).max())
    yield at_most(SAME, f"{about}: log-likelihoods, federated / pooled - 1 at most", apart)
    chosen = found.choice["chosen"]
    yield Row(f"{about}: model is bg-nbd", float(chosen["model"] == "bg-nbd"))
    rounds = chosen["fit"]["rounds"], chosen["spend"]["rounds"]
    yield at_most(60, f"{about}: rounds of one fit at most", max(rounds))
    yield Row(f"{about}: correlation of purchases and spend", chosen["spend"]["correlation"])


def _likelihoods(chosen: Json) -> np.ndarray:
    return np.array([chosen["fit"]["likelihood"], chosen["spend"]["likelihood"]])


def _by_week(about: str, task: Value, held: dict[str, Rows], model: Model) -> Iterator[Row]:
    weeks = [task.detail(model, rows)["by_week"] for rows in held.values()]
    expected, bought = (np.sum([w[name] for w in weeks], axis=0) for name in ("expected", "bought"))
    days = weeks[0]["days"]
    error = expected / bought - 1
    for place in range(1, len(days) - 1, 4):
        yield Row(f"{about}: error of all purchases up to day {days[place]}", error[place])
    last = f"{about}: |error| of all purchases up to day {days[-1]}"
    yield at_most(CUMULATIVE, last, abs(float(error[-1])))
    scores = _scores(task, held, dict.fromkeys(held, model))
    yield Row(f"{about}: error of all spend", scores["spend_bias"])


def _generated(customers: int, quick: bool) -> Iterator[Row]:
    half = _cost(customers // 2)
    whole = _cost(customers)
    about = f"{customers:,} generated customers"
    for what in ("rows", "fit", "forecasts"):
        yield Row(f"{about}: {what}", whole[what], "s")
    every = sum(whole[what] for what in ("rows", "fit", "forecasts"))
    yield at_most(MINUTES, f"{about}: all of these", every / 60, "min")
    twice = every / sum(half[what] for what in ("rows", "fit", "forecasts"))
    name = f"{about}: a doubling"
    yield Row(name, twice) if quick else at_most(TWICE, name, twice)
    yield Row(f"{about}: memory at most, retailers and coordinator together", peak_gib(), "GiB")
    yield Row(f"{about}: planted parameters, missed at most", whole["missed"])


def _cost(customers: int) -> dict[str, float]:
    task = Value(COMMON)
    lines = shoppers(customers)
    rows, held = timed(lambda: holders(task, lines))
    with federated(held) as consortium:
        fit, found = timed(lambda: task.fit(consortium.of(TASK)))
    model = found.model
    assert isinstance(model, ValueModel)
    forecasts, _ = timed(lambda: [model.forecast(part["now"]) for part in held.values()])
    planted = np.array([*PURCHASES.values(), *SPEND.values()])
    missed = np.abs(np.concatenate([model.purchases, model.spend]) / planted - 1)
    return {"rows": rows, "fit": fit, "forecasts": forecasts, "missed": float(missed.max())}
