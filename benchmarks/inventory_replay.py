"""Orders replayed on weeks of real demand that no model has seen, at the same fill rate.

Every week each policy orders up to a level that must last three weeks (two of lead time, one until
the next order); sales are lost when short. The policies differ in the level only: the forecast's
sample paths, the mean of eight weeks and its standard deviation, and AutoETS of statsforecast,
fitted to every series anew in every week. Ours is the model as it was delivered 26 weeks before the
end, with the errors of the last year of forecasts, as far as they have happened; its level is that
of the target "cost". Each is run at many settings, ours with lost margins counted so many times,
so that all can be compared at the fill rate that the eight-week rule reaches with two standard
deviations. Holding a unit costs 25 % of its cost a year, a lost sale its margin. Online Retail II
holds no costs: 60 % of the price is taken for all; Dominick's come from its profit column. Products
are drawn with replacement for the intervals.
"""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.retail import online_retail
from benchmarks.rows import Row, at_least, need
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.decide.replay import Outcome, clairvoyant, replay
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.demand_model import DemandModel
from grandtotal.tasks.demand_paths import PastErrors
from grandtotal.tasks.sales import Panel, Sales, build_cases
from grandtotal.tasks.task import Common

_LEAD, _REACH = 2, 3  # weeks
_HOLDING = 0.25 * 7 / 365.25
_DRAWS = 2000
_DRAWN = 400
_TIMES = (0.006, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)  # a margin
_YEAR = 52  # weeks of past forecasts
_DEVIATIONS = tuple(np.arange(-1.0, 6.01, 0.5))
_OUNCES = 64  # of a carton
_SOURCE = "cran.r-project.org/package=bayesm, data orangeJuice"


@dataclass(frozen=True)
class Series:
    """What is replayed: (series, weeks) units, price and cost of each, and which weeks count."""

    units: NDArray[np.float64]
    price: NDArray[np.float64]
    cost: NDArray[np.float64]
    cut: int

    @property
    def origins(self) -> range:
        """The weeks from which on an order must last, as far as there is a whole horizon."""
        return range(self.cut, self.units.shape[1] - _REACH + 1)


Levels = list[NDArray[np.float64]]  # of each setting: (series, origins)
Products = list[list[tuple[int, int]]]  # of each part: (row of the series, product)


def run(data: Path, quick: bool) -> list[Row]:
    """Returns what the forecast's orders save against each other policy at the same fill rate."""
    rows = _compared("Online Retail II", *_online_retail(12 if quick else 60))
    return rows + _compared("Dominick's", *_dominicks(data, 10 if quick else 30))


def _compared(name: str, series: Series, ours: Levels) -> list[Row]:
    recent = _recent(series)
    others: dict[str, Levels | None] = {"8-week mean + sd": recent, "AutoETS + sd": _ets(series)}
    fills = [_replayed(series, level).fill for level in recent]
    fill = fills[_DEVIATIONS.index(2.0)]
    count = len(series.units)
    rng = np.random.default_rng(1)
    drawn = [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(_DRAWN)]
    weights = np.stack([np.ones(count, np.int64), *drawn])
    mine = _cost_at(fill, series, ours, weights)
    rows = [
        Row(f"{name}: fill rate at which all are compared", fill),
        Row(f"{name}: series", float(count)),
    ]
    rows.append(Row(f"{name}: cost of ours at its cheapest", _cheapest(series, ours), "currency"))
    for which, levels in others.items():
        if levels is None:
            rows.append(Row(f"{name}: {which}: skipped, pip install 'grandtotal[reference]'", None))
            continue
        saved = 1 - mine / _cost_at(fill, series, levels, weights)
        low, high = np.nanquantile(saved[1:], [0.025, 0.975])
        rows.append(at_least(0.1, f"{name}: cost saved against {which}", float(saved[0])))
        rows.append(Row(f"{name}: ... its 95 % interval from", float(low)))
        rows.append(Row(f"{name}: ... to", float(high)))
        cheapest = 1 - _cheapest(series, ours) / _cheapest(series, levels)
        rows.append(Row(f"{name}: saved against {which}, each at its cheapest", cheapest))
    known, margin = _money(series, _perfect(series)).sum(), _margin(series)
    for which, cost in (
        ("at that fill rate", mine[0]),
        ("at its cheapest", _cheapest(series, ours)),
    ):
        gap = float((cost - known) / margin)
        rows.append(Row(f"{name}: ours {which} above who knows the demand", gap, "of the margin"))
    return rows


def _margin(series: Series) -> float:
    """Returns what all that was wanted would have earned."""
    wanted = series.units[:, series.cut + _REACH :].sum(axis=1)
    return float(wanted @ np.maximum(series.price - series.cost, 0.0))


def _cheapest(series: Series, levels: Levels) -> float:
    return min(float(_money(series, _replayed(series, level)).sum()) for level in levels)


def _cost_at(
    fill: float, series: Series, levels: Levels, weights: NDArray[Any]
) -> NDArray[np.float64]:
    """Returns the cost at that fill rate for each weighting of the series, between settings."""
    found = [_replayed(series, level) for level in levels]
    sold = np.stack([weights @ one.sold for one in found], axis=1)
    wanted = weights @ found[0].demand
    cost = np.stack([weights @ _money(series, one) for one in found], axis=1)
    fills = sold / wanted[:, None]
    return np.array([np.interp(fill, f, c) for f, c in zip(fills, cost, strict=True)])


def _money(series: Series, found: Outcome) -> NDArray[np.float64]:
    margin = np.maximum(series.price - series.cost, 0.0)
    return found.cost(_HOLDING * series.cost, margin, series.cost)


def _replayed(series: Series, level: NDArray[np.float64]) -> Outcome:
    last = level.shape[1] - 1

    def up_to(t: int, position: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ceil(np.maximum(level[:, min(t + 1, last)] - position, 0.0) - 1e-9)

    demand = series.units[:, series.cut :]
    return replay(demand, up_to, _LEAD, np.ceil(level[:, 0]), first=_REACH)


def _perfect(series: Series) -> Outcome:
    demand = series.units[:, series.cut :]
    policy = clairvoyant(demand, _LEAD, np.ones(len(demand)))
    return replay(demand, policy, _LEAD, demand[:, :_REACH].sum(axis=1), first=_REACH)


# --- levels ---


def _recent(series: Series) -> Levels:
    """Returns three weeks of the mean of eight weeks, and so many standard deviations."""
    past = [series.units[:, t - 8 : t] for t in series.origins]
    mean = np.stack([each.mean(axis=1) for each in past], axis=1)
    sd = np.stack([each.std(axis=1) for each in past], axis=1)
    return [np.maximum(_REACH * mean + z * np.sqrt(_REACH) * sd, 0) for z in _DEVIATIONS]


def _ets(series: Series) -> Levels | None:
    """Returns the sum of AutoETS's forecasts, and so many of its standard deviations.

    None where statsforecast is not installed.
    """
    try:
        from statsforecast.models import AutoETS
    except ImportError:
        return None
    mean = np.empty((len(series.units), len(series.origins)))
    sd = np.empty_like(mean)
    for j, t in enumerate(series.origins):
        for i, sales in enumerate(series.units):
            found = AutoETS(season_length=1).forecast(sales[:t], h=_REACH, level=[68.27])
            mean[i, j] = found["mean"].sum()
            sd[i, j] = np.linalg.norm(found["hi-68.27"] - found["mean"])
    return [np.maximum(mean + z * sd, 0) for z in _DEVIATIONS]


def _forecast(model: DemandModel, panel: Panel, series: Series, products: Products) -> Levels:
    """Returns, for each worth of a margin, the levels of least cost over the sample paths."""
    found = np.zeros((len(_TIMES), len(series.units), len(series.origins)))
    until = series.units.shape[1]
    origins = tuple(range(series.cut - _YEAR, until - _REACH + 1))
    past = PastErrors.of(model, [replace(panel, scored=origins, until=until, kept={})])
    held, margin = _HOLDING * series.cost, np.maximum(series.price - series.cost, 0.0)
    for part, chosen in zip(panel.parts, products, strict=True):
        for j, t in enumerate(series.origins):
            cases = build_cases(part, model.series, (t,), min(t + _REACH, until))
            cases = cases.chosen(np.isin(cases.series, [p for _, p in chosen]))
            product, paths = past.before(t).sample(model, part, cases, _DRAWS, t)
            sold = np.sort(paths.sum(axis=2), axis=1)
            place = {p: i for i, p in enumerate(product)}
            rows, at = np.array([(row, place[p]) for row, p in chosen if p in place]).T
            for k, times in enumerate(_TIMES):
                worth = times * margin[rows]
                rank = np.ceil(worth / (worth + held[rows]) * _DRAWS).astype(np.int64) - 1
                found[k, rows, j] = sold[at, np.maximum(rank, 0)]
    return list(found)


# --- data ---


def _online_retail(most: int) -> tuple[Series, Levels]:
    retail = online_retail()
    task = Demand(retail.common, horizon=_REACH, test=26, history=104)
    parts = list(retail.holders(task, 5).values())
    series, products = _chosen(task, [part["test"].parts[0] for part in parts], most)
    shared = task.fit(Local(task.pooled(parts))).model
    levels = [np.zeros((len(series.units), len(series.origins))) for _ in _TIMES]
    for part, chosen in zip(parts, products, strict=True):
        model = cast(DemandModel, task.adapt(shared, part))
        for level, more in zip(
            levels, _forecast(model, part["validation"], series, [chosen]), strict=True
        ):
            level += more
    return series, levels


def _chosen(task: Demand, sales: list[Sales], most: int) -> tuple[Series, Products]:
    """Returns the best sellers of each part before the cut, with a price of their own."""
    cut = task.history - task.test
    units, price, products = [], [], []
    for part in sales:
        usual = np.nanmedian(np.where(part.price > 0, part.price, np.nan), axis=1)
        rank = np.argsort(-np.where(np.isfinite(usual), part.units[:, :cut].sum(axis=1), -1))
        rank = rank[:most]
        products.append([(len(units) * most + i, int(p)) for i, p in enumerate(rank)])
        units.append(part.units[rank])
        price.append(usual[rank])
    prices = np.concatenate(price)
    return Series(np.concatenate(units), prices, 0.6 * prices, cut), products


def _dominicks(data: Path, stores: int) -> tuple[Series, Levels]:
    """Returns units of store x brand, in cartons; ten groups of stores are the retailers."""
    frame = pl.read_csv(need(data / "dominicks-orange-juice" / "yx.csv.gz", _SOURCE))
    known = sorted(frame["store"].unique())[:stores]
    first = int(cast(int, frame["week"].min()))
    weeks = int(cast(int, frame["week"].max())) - first + 1
    common = Common(date(1992, 6, 1), tuple(f"brand {b}" for b in range(1, 12)))
    task = Demand(common, horizon=_REACH, test=26, history=weeks)
    found = [_store(task, frame.filter(pl.col("store") == s), first) for s in known]
    series, products = _chosen(task, [sales for sales, _ in found], 11)
    rows = [(store, product) for store, chosen in enumerate(products) for _, product in chosen]
    series = replace(series, cost=np.array([found[s][1][p] for s, p in rows]))
    groups = [range(i, len(known), 10) for i in range(10)]
    parts = [_panels(task, [found[s][0] for s in group]) for group in groups]
    shared = task.fit(Local(task.pooled(parts))).model
    levels = [np.zeros((len(series.units), len(series.origins))) for _ in _TIMES]
    for group, part in zip(groups, parts, strict=True):
        model = cast(DemandModel, task.adapt(shared, part))
        made = _forecast(model, part["validation"], series, [products[s] for s in group])
        for level, more in zip(levels, made, strict=True):
            level += more
    return series, levels


def _store(task: Demand, rows: pl.DataFrame, first: int) -> tuple[Sales, NDArray[np.float64]]:
    """Returns the sales of one store, and what a unit of each brand costs it."""
    shape = (len(task.common.catalogue), task.history)
    at = (rows["brand"].to_numpy() - 1, rows["week"].to_numpy() - first)
    units, price, promoted = np.zeros(shape), np.full(shape, np.nan), np.zeros(shape)
    paid = np.column_stack([rows[f"price{b}"].to_numpy() for b in range(1, shape[0] + 1)])
    units[at] = np.rint(np.exp(rows["logmove"].to_numpy()) / _OUNCES)
    price[at] = _OUNCES * paid[np.arange(len(paid)), at[0]]
    promoted[at] = np.maximum(rows["deal"].to_numpy() > 0, rows["feat"].to_numpy() > 0)
    margin = np.full(shape, np.nan)
    margin[at] = rows["profit"].to_numpy() / 100
    none: tuple[tuple[int, ...], ...] = ((),) * (task.history + task.horizon)
    sales = Sales(task.periods, task.horizon, units, price, promoted, none, task.outlier)
    return sales, np.nanmedian(price * (1 - margin), axis=1)


def _panels(task: Demand, parts: list[Sales]) -> Rows:
    test = task.history - task.test
    return {
        split: Panel(tuple(parts), *task.origins(cut, until), cut, until)
        for split, cut, until in (
            ("validation", test - task.test, test),
            ("test", test, task.history),
        )
    }
