"""How soon a change of level is seen, and how often one is seen that is none.

Generated: daily counts with a week, half a year in which nothing changes, then 20 % more or less
from a day on; volume a day, and the coefficient of variation of a day, Poisson noise included.
Delay: days from the change to the alarm, the median over the series; a series without an alarm
within a year counts as 364. False alarms: per series and year, of the same kind of series without a
change. No rule sees a change of one standard deviation a day within a week at one false alarm a
year: the mean delay is at least about log(365) over half the squared size of the change in standard
deviations (Lorden 1971), 12 days for a size of 1.

River: its Page-Hinkley and ADWIN get each day over what its weekday was in the half year before,
and the first threshold (PH) or delta (ADWIN) of a grid, the most sensitive first, that raises at
most one false alarm a year on other series of that kind.

Semi-synthetic: the change is planted in customers a day of 200 Rossmann shops (closed days are
gaps) and in visits a day of the five retailers of the demo. Alarms without a planted change are
told as such there: real levels do change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from benchmarks.retail import online_retail
from benchmarks.rows import Row, at_least, at_most
from grandtotal.algorithms.distribution_shift import compared, psi
from grandtotal.algorithms.level_change import Daily, dated, noise_of, watch
from grandtotal.algorithms.level_detectors import DETECTORS, Floats
from grandtotal.algorithms.level_thresholds import YEAR, thresholds_of
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.behaviour_sums import daily_of
from grandtotal.tasks.scores import UnitScores
from grandtotal.tasks.shift import Shift
from grandtotal.tasks.task import Common

BEFORE = 182  # days without a change
CHANGE = 0.2
_WEEK = np.array([0.9, 0.8, 0.9, 1.0, 1.2, 1.5, 0.7])


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the curve, river beside it, PSI, the two real sets, the task and its time."""
    series = 60 if quick else 300
    volumes = (5, 60, 300) if quick else (1, 5, 20, 60, 100, 300, 1000)
    rows = [row for v in volumes for cv in (0.0, 0.1, 0.2) for row in _curve(v, cv, series)]
    rows += _river(series // 3, quick)
    rows += _psi(200 if quick else 2000)
    rows += _rossmann(data, 40 if quick else 200)
    rows += _retail(quick)
    return [*rows, *_time(100_000 if quick else 1_000_000)]


# --- generated ---


def made(volume: float, extra: float, series: int, seed: int) -> Daily:
    """Returns series with a week and no change: negative-binomial-like, `extra` beyond Poisson."""
    rng = np.random.default_rng([seed, int(volume)])
    shape = (series, BEFORE + YEAR)
    mean = volume * _WEEK[np.arange(shape[1]) % 7]
    if extra:
        mean = rng.gamma(1 / extra**2, mean * extra**2, shape)
    happened = rng.poisson(mean, shape).astype(float)
    return Daily(happened, np.ones(shape), np.ones(series, bool))


def planted(daily: Daily, seed: int) -> tuple[Daily, Any]:
    """Returns the series with 20 % more or less from a day on, and the days: each event's own."""
    rng = np.random.default_rng(seed)
    begins = BEFORE + rng.integers(0, 56, len(daily.happened))
    happened = daily.happened.copy()
    for s, first in enumerate(begins):
        after = happened[s, first:].astype(int)
        moved = rng.binomial(after, CHANGE)
        happened[s, first:] += moved if s % 2 else -moved
    return Daily(happened, daily.exposed, daily.counts, daily.weekday), begins


def alarms_of(daily: Daily, name: str = "cusum") -> tuple[list[list[Any]], Any]:
    """Returns the alarms, and how the series vary as the days before the change say."""
    noise = noise_of(daily.until(BEFORE))
    thresholds = thresholds_of(noise, daily.counts, name, CHANGE, 1.0)
    return watch(daily, noise, DETECTORS[name](CHANGE), thresholds)[0], noise


def delays(found: list[list[Any]], begins: Any) -> Any:
    """Returns the days from each change to its alarm, YEAR where there is none."""
    return np.array(
        [
            min((a.raised - first + 1 for a in of if a.raised >= first), default=YEAR)
            for of, first in zip(found, begins, strict=True)
        ]
    )


def _false(found: list[list[Any]]) -> float:
    return float(np.mean([sum(a.raised >= BEFORE for a in of) for of in found]))


def _curve(volume: float, extra: float, series: int) -> list[Row]:
    whole = float(np.hypot(extra, volume**-0.5))
    what = f"{volume} a day, cv {whole:.2f}" + (f" ({extra:g} beyond Poisson)" if extra else "")
    false = _false(alarms_of(made(volume, extra, series, 1))[0])
    daily, begins = planted(made(volume, extra, series, 2), 3)
    found, noise = alarms_of(daily)
    median = float(np.median(delays(found, begins)))
    asked = volume > 50
    rows = [
        at_most(7, f"{what}: delay", median, "days")
        if asked
        else Row(f"{what}: delay", median, "days"),
        at_most(1, f"{what}: false alarms", false, "a year"),
    ]
    if extra == 0.1 and volume in (60, 300):
        rows += _dates(daily, noise, found, begins, what)
    return rows


def _dates(daily: Daily, noise: Any, found: Any, begins: Any, what: str) -> list[Row]:
    """Returns how often the interval of the date, four weeks later, holds the day of the change."""
    inside, width = [], []
    for s, first in enumerate(begins):
        alarm = next((a for a in found[s] if a.raised >= first), None)
        if alarm is not None:
            last = min(alarm.raised + 28, daily.happened.shape[1])
            when = dated(daily, noise, s, alarm, 0, last)
            inside.append(when.low <= first <= when.high)
            width.append(when.high - when.low + 1)
    share = float(np.mean(inside))
    return [
        Row(f"{what}: 90 % intervals of the date that hold it", share, "share"),
        Row(f"{what}: their median width", float(np.median(width)), "days"),
    ]


# --- river ---


def _river(series: int, quick: bool) -> list[Row]:
    try:
        from river import drift
    except ImportError:
        return [Row("river is not installed: pip install 'grandtotal[streams]'", None)]
    grids: dict[str, list[Callable[[], Any]]] = {
        "Page-Hinkley of river": [
            lambda h=h: drift.PageHinkley(min_instances=28, delta=0.05, threshold=h)  # type: ignore[misc]
            for h in np.geomspace(0.3, 20, 24).tolist()
        ],
        "ADWIN of river": [
            lambda d=d: drift.ADWIN(delta=d, clock=1, min_window_length=5, grace_period=28)  # type: ignore[misc]
            for d in (0.99, 0.9, 0.7, 0.5, 0.2, 0.05, 0.01, 1e-3, 1e-5)
        ],
    }
    rows = []
    for volume, extra in ((60, 0.0),) if quick else ((60, 0.0), (60, 0.2), (300, 0.1)):
        what = f"{volume} a day, cv {np.hypot(extra, volume**-0.5):.2f}"
        for name, makers in grids.items():
            calibrating = _scaled(made(volume, extra, series, 4))
            chosen = next(
                (m for m in makers if _false(_streamed(m, calibrating)) <= 1.0), makers[-1]
            )
            false = _false(_streamed(chosen, _scaled(made(volume, extra, series, 5))))
            daily, begins = planted(made(volume, extra, series, 2), 3)
            median = float(np.median(delays(_streamed(chosen, _scaled(daily)), begins)))
            rows.append(Row(f"{what}: delay, {name}", median, "days"))
            rows.append(Row(f"{what}: false alarms, {name}", false, "a year"))
    return rows


def _scaled(daily: Daily) -> Floats:
    """Returns every day over its weekday's mean in the days before the change."""
    days = np.arange(daily.happened.shape[1]) % 7
    usual = np.stack(
        [daily.happened[:, :BEFORE][:, days[:BEFORE] == w].mean(axis=1) for w in range(7)], axis=1
    )
    return daily.happened / usual[:, days]


def _streamed(make: Callable[[], Any], values: Floats) -> list[list[Any]]:
    from grandtotal.algorithms.level_change import Alarm

    found = []
    for row in values:
        detector, alarms = make(), []
        for t, value in enumerate(row.tolist()):
            detector.update(value)
            if detector.drift_detected:
                alarms.append(Alarm(t, t, 0.0))
        found.append(alarms)
    return found


# --- distributions ---


def _psi(draws: int) -> list[Row]:
    """Returns how often PSI of ten bins is called a change: by 0.1, and by its own threshold."""
    rng, rows = np.random.default_rng(8), []
    same = np.full(10, 0.1)
    moved = same + np.array([0.02, *[0.0] * 8, -0.02])
    for n in (100, 1000, 10_000):
        for what, law, each in (
            ("nothing changed", same, 1),
            ("each customer five times", same, 5),
            ("two bins 20 % more and less", moved, 1),
        ):
            fixed = own = 0
            for _ in range(draws):
                weeks = each * rng.multinomial(n // 8 // each, same, 8)
                recent = each * rng.multinomial(n // each, law)
                found = compared(weeks, recent)
                fixed += psi(weeks.sum(axis=0), recent) > 0.1
                own += found is not None and found.p < 0.05
            name = f"PSI, {n:,} cases, {what}"
            rows.append(Row(f"{name}: above 0.1", fixed / draws, "share"))
            if law is same:
                rows.append(at_most(0.06, f"{name}: p < 0.05", own / draws, "share"))
            else:
                rows.append(Row(f"{name}: p < 0.05", own / draws, "share"))
    return rows


# --- real series with a planted change ---


def _rossmann(data: Path, shops: int) -> list[Row]:
    path = data / "rossmann" / "rossmann.parquet"
    if not path.exists():
        return [Row("Rossmann: skipped, data missing", None)]
    frame = pl.read_parquet(path, columns=["Store", "Date", "Customers"])
    frame = frame.with_columns(pl.col("Date").cast(pl.Date))
    first = date(2013, 2, 4)
    frame = frame.with_columns(t=(pl.col("Date") - pl.lit(first)).dt.total_days())
    frame = frame.filter(pl.col("t") >= 0, pl.col("t") < BEFORE + YEAR)
    stores = frame["Store"].unique().sort().head(shops)
    happened = np.zeros((len(stores), BEFORE + YEAR))
    place = np.searchsorted(stores.to_numpy(), frame["Store"].to_numpy())
    known = (place < len(stores)) & frame["Store"].is_in(stores.implode()).to_numpy()
    happened[place[known], frame["t"].to_numpy()[known]] = frame["Customers"].to_numpy()[known]
    return _semi(f"{len(stores)} Rossmann shops", happened, (happened > 0).astype(float))


def _semi(what: str, happened: Floats, exposed: Floats) -> list[Row]:
    bare = Daily(happened, exposed, np.ones(len(happened), bool))
    found, noise = alarms_of(bare)
    cv = float(np.median(np.sqrt(noise.dispersion / np.maximum(noise.volume, 1e-9))))
    daily, begins = planted(bare, 6)
    again, _ = alarms_of(daily)
    days = float(np.median(delays(again, begins)))
    return [
        Row(f"{what}: median volume", float(np.median(noise.volume)), "a day"),
        Row(f"{what}: median cv of a day", cv),
        Row(f"{what}: delay of the planted change", days, "days"),
        Row(f"{what}: alarms without it", _false(found), "a year"),
    ]


def _retail(quick: bool) -> list[Row]:
    """Returns the planted change in five retailers' visits, and the task on them."""
    retail = online_retail()
    task = Shift(retail.common, models=("cusum",) if quick else Shift.models, history=78)
    holders = retail.holders(task, 5)
    parts = list(holders.values())
    dailies = [daily_of(rows["test"].parts[0], BEFORE).of(slice(0, 1)) for rows in parts]
    happened, exposed = (
        np.concatenate([getattr(d, name)[:, : BEFORE + YEAR] for d in dailies])
        for name in ("happened", "exposed")
    )
    rows = _semi("visits of five retailers of Online Retail II", happened, exposed)
    pooled = task.pooled(parts)
    fit = task.fit(Local(pooled))

    def wape(model_of: Callable[[Any], Any]) -> float:
        return UnitScores.joined(
            [task.score(model_of(part), part, "test") for part in parts]
        ).values()["level_error"]

    baseline = wape(lambda part: task.baseline(part)[0])
    federated = wape(lambda _: fit.model)
    rows += [
        Row(
            "Online Retail II, level of the next two weeks: all weeks so far",
            baseline,
            "level error",
        ),
        Row("the same: alone", wape(lambda part: task.fit(Local(part)).model), "level error"),
        at_most(baseline, "the same: federated", federated, "level error"),
    ]
    return [*rows, *_exact(task, parts, fit)]


def _exact(task: Shift, parts: list[Any], fit: Any) -> list[Row]:
    """Returns whether the sums of the parts' answers give the very model of the pooled rows."""

    class Summed:
        def total(self, query: Any, broadcast: Any = None) -> Any:
            found = [Local(rows).total(query, broadcast) for rows in parts]
            return {name: sum(one[name] for one in found) for name in found[0]}

    federated = task.fit(Summed())
    same = arrays_digest(federated.model.arrays) == arrays_digest(fit.model.arrays)
    return [at_least(1, "federated is pooled, bit for bit", float(same), "1 is yes")]


# --- time ---


def _time(customers: int) -> list[Row]:
    """Returns how long five retailers take to read and fit the lines of so many customers."""
    rng, count = np.random.default_rng(3), 5 * customers
    today = date(2024, 7, 15)
    names = [f"P{i:03}" for i in range(200)]
    day = rng.integers(0, 364, count)
    start = datetime(2024, 7, 14, 12)
    customer = rng.integers(0, customers, count)
    lines = pl.DataFrame(
        {
            "product": pl.Series(names).gather(rng.integers(0, 200, count)),
            "time": pl.Series(np.datetime64(start, "ms") - day * np.timedelta64(86_400_000, "ms")),
            "quantity": rng.integers(1, 5, count).astype(float),
            "price": rng.integers(100, 2000, count) / 100,
            "customer": pl.Series(customer).cast(pl.String),
            "basket": pl.Series(np.arange(count) // 2).cast(pl.String),
        }
    ).with_columns(owner=pl.Series(customer % 5))
    task = Shift(Common(today, tuple(names)), models=("cusum",))
    began = time.monotonic()
    rows = [
        task.rows(cast(Any, {"transactions": lines.filter(pl.col("owner") == i).drop("owner")}))
        for i in range(5)
    ]
    read = time.monotonic() - began
    task.fit(Local(task.pooled(rows)))
    whole = time.monotonic() - began
    what = f"{customers:,} customers, {count:,} lines, five retailers one after the other"
    return [Row(f"{what}: rows", read, "s"), Row(f"{what}: rows and fit", whole, "s")]
