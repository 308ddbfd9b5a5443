"""How much will be sold: units per product and period, some periods ahead, with quantiles.

Rolling origin: features as of each origin, targets after it. One model for all retailers and
products, relative to each product's own level; what a retailer adds at home (its own level, its own
quantiles) never leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows, shared
from grandtotal.consortium.totals import Local, Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.demand_families import BASELINES, FAMILIES, GRID, spelled_out
from grandtotal.tasks.demand_in_noise import (
    fit_in_noise,
    largest_score,
    private_models,
    releases_in_noise,
)
from grandtotal.tasks.demand_model import (
    DemandModel,
    adapted,
    baseline_model,
    cases_of,
    wape,
)
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.demand_trees import with_trees
from grandtotal.tasks.intervals import ForecastErrors, spread
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.own_products import whole_assortment, with_model
from grandtotal.tasks.sales import Cases, Panel, Periods, Sales
from grandtotal.tasks.sales_read import read_sales
from grandtotal.tasks.sales_stores import BY
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_models, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_EVERY = {"week": 7, "day": 1}


@dataclass(frozen=True)
class Demand:
    """Settings of `kind = "demand"`.

    models: what the choice is made of, the best on validation wins: "ridge" and "poisson" are
        regressions ("glm": both); "trees" boost for the median, "trees-poisson" and "trees-tweedie"
        for the mean, "forest" is a random forest; "mean" and "seasonal-naive" need no model; "auto"
        stands for all but tweedie and the forest.
    by: what a series is: a "product", a "store", or a product in a store, "product-store".
    trees, leaves: how many trees are boosted, and how large they are.
    judged_by: the error that choices are made on, "wape" or "rmspe", summed over the validation.
    every: "week" or "day", the length of a period.
    horizon: how many periods ahead; test: how many periods are kept for the test, and as many
        before them for validation; history: how many periods are looked at in all.
    outlier: how many times its usual sales a period may have before it is cut in training.
    products_per_customer: under epsilon, how many products the lines of one customer count for in
        what is shared: the customer is then what noise hides. 0: lines carry no customer, and noise
        hides all that a retailer sold of one product.
    """

    kind: ClassVar[str] = "demand"
    units: ClassVar[str] = "products"
    headline: ClassVar[str] = "wape"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("wape", False, "WAPE: sum |sold - forecast| / sum sold"),
        Metric("bias", False, "bias: sum (forecast - sold) / sum sold; 0 is best"),
        Metric("rmsse", False, "RMSSE: error over the history's period-to-period change, squared"),
        Metric("mase", False, "MASE: error over the history's period-to-period change"),
        Metric("mape", False, "MAPE: mean of |sold - forecast| / sold where something was sold"),
        Metric("mae", False, "MAE: mean |sold - forecast|, in units"),
        Metric("rmse", False, "RMSE: root of the mean squared error, in units", True, 2**6),
        Metric("coverage_80", True, "share of periods inside the 80 % interval; 0.8 is best"),
        Metric("coverage_95", True, "share of periods inside the 95 % interval; 0.95 is best"),
    )

    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "quantity", True, "what is forecast"),
        Need("transactions", "promotion", False, "demand in a promotion told from demand without"),
        Need("transactions", "discount", False, "the same, where no promotion is named"),
        Need("calendar", "holiday", False, "demand on and around holidays"),
        Need("calendar", "known_at", False, "a past forecast that knows only what was known"),
        Need("products", "title", False, "tables that a person can read"),
    )

    common: Common
    models: tuple[str, ...] = tuple(GRID)
    every: str = "week"
    horizon: int = 8
    test: int = 12
    history: int = 104
    outlier: float = 4.0
    products_per_customer: int = 8
    by: str = "product"
    trees: int = 300
    leaves: int = 64
    judged_by: str = "wape"

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", spelled_out(self.models))
        check_models(self.models, FAMILIES)
        for name, known in (("by", BY), ("judged_by", ("wape", "rmspe"))):
            if getattr(self, name) not in known:
                raise PlanError(f"{name} = {getattr(self, name)!r}, expected {' or '.join(known)}")
        check_numbers(trees=(self.trees, 1, 2000), leaves=(self.leaves, 2, 4096))
        if self.common.privacy.private and self.by != "product":
            raise PlanError(
                f'by = "{self.by}": under epsilon only series of products are hidden; take '
                f'by = "product"'
            )
        if self.common.privacy.private and not private_models(self):
            raise PlanError(
                f"models = {list(self.models)}: under epsilon at least one of {', '.join(GRID)}"
            )
        if self.every not in tuple(_EVERY):
            raise PlanError(f'every = {self.every!r}, expected "week" or "day"')
        check_numbers(horizon=(self.horizon, 1, LONGEST))
        check_numbers(test=(self.test, self.horizon, LONGEST))
        least = 2 * self.test + self.horizon + self.periods.windows[2]
        check_numbers(history=(self.history, least, LONGEST))
        check_numbers(products_per_customer=(self.products_per_customer, 0, 1000))
        if not isinstance(self.outlier, int | float) or not 1 <= self.outlier < math.inf:
            raise PlanError(f"outlier = {self.outlier!r}, expected a number from 1 on")

    @property
    def periods(self) -> Periods:
        """The grid of time."""
        return Periods(self.common.today, _EVERY[self.every], self.history)

    @property
    def shown(self) -> int:
        """Nothing is recommended here."""
        return 0

    @property
    def width(self) -> int:
        """How many features there are."""
        return 22 + (6 if self.every == "day" else 0)

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the model with the best summed validation WAPE, fitted up to the test cut."""
        if self.common.privacy.private:
            return fit_in_noise(self, totals)
        totals = Remembering(totals)
        series = totals.total(DemandSeries(len(self.common.catalogue), self.history))["units"]
        tried = [self._validate(totals, name, series) for name in self.models]
        best = min(range(len(tried)), key=lambda i: tried[i][0]["wape"])
        name, before = self.models[best], tried[best][1]
        given = {"series": series, **before}
        parts, fit = FAMILIES[name].fit(totals, self, "test", given)
        meta = {"model": name, **FAMILIES[name].settings, "fit": fit, "near": self.near}
        errors = self._errors(totals, name, given)
        model = DemandModel(meta, parts, series, spread=errors, before=before)
        return Fitted(model, {"chosen": meta, "tried": [score for score, _ in tried]})

    @property
    def near(self) -> int:
        """How many periods ahead are near; intervals of far ones are of their own."""
        return -(-self.horizon // 2)

    def _errors(self, totals: Totals, name: str, given: Arrays) -> NDArray[np.float64]:
        """Returns what sold / forecast was on the validation: its early half, and all of it.

        given: of the model that was fitted before it.
        """
        counts = totals.total(ForecastErrors(name, "validation", self.near), given)["counts"]
        return np.stack([spread(counts[0]), spread(counts.sum(axis=0))])

    def _validate(self, totals: Totals, name: str, series: NDArray[Any]) -> tuple[Json, Arrays]:
        parts, fit = FAMILIES[name].fit(totals, self, "validation", {"series": series})
        sums = totals.total(ForecastScores(name, "validation"), {"series": series, **parts})
        wape = float(sums["error"]) / max(float(sums["sold"]), 1.0)
        return {"model": name, **FAMILIES[name].settings, "fit": fit, "wape": wape}, parts

    def releases(self) -> tuple[Release, ...]:
        """Returns what is asked under epsilon; the sums of two numbers need little of it."""
        return releases_in_noise(self)

    @property
    def scored(self) -> Scored:
        """The WAPE of the delivered model, product by product."""
        largest = largest_score(self, "test")
        return Scored(shared("test"), largest, "product", self.products_per_customer)

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns the panel as seen from the validation cut, the test cut and now.

        Under epsilon also "shared validation" and "shared test", in which a customer's lines count
        for few products: only these are asked about.
        """
        given = (tables, self.common, self.periods, self.horizon, self.outlier)
        sales = read_sales(*given, by=self.by)
        rows = with_trees(self._panels(sales))
        now = self.history
        rows["now"] = replace(self._panel(sales, now, now + self.horizon), scored=(now,), kept={})
        if self.common.privacy.private:
            few = self.products_per_customer
            of_few = self._panels(read_sales(*given, few) if few else sales, few)
            rows |= {shared(split): panel for split, panel in of_few.items()}
        return rows

    def _panels(self, sales: Sales, per_customer: int = 0) -> dict[str, Any]:
        test = self.history - self.test
        return {
            "validation": self._panel(sales, test - self.test, test, per_customer),
            "test": self._panel(sales, test, self.history, per_customer),
        }

    def _panel(self, sales: Sales, cut: int, until: int, per_customer: int = 0) -> Panel:
        return Panel((sales,), *self.origins(cut, until), cut, until, per_customer)

    def origins(self, cut: int, until: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the origins of training, all of whose targets lie before the cut, and of scoring.

        Those of scoring are from the cut on, their targets before `until`.
        """
        step = max(1, self.horizon // 4)
        year = self.periods.year + self.periods.level
        first = year if cut - year > 2 * self.horizon else self.periods.level
        training = tuple(range(cut - self.horizon, first - 1, -2 * step))[::-1]
        return training, tuple(range(cut, until - self.horizon + 1, step))

    def build(self, arrays: Arrays, meta: Json) -> DemandModel:
        """Returns the delivered model."""
        return DemandModel.of(arrays, meta)

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model with what the retailer learns at home; it stays at home."""
        return adapted(cast(DemandModel, model), rows["validation"], rows["test"])

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the better on validation of the mean of recent periods and last season."""
        best = min(BASELINES, key=lambda name: wape(baseline_model(name), rows["validation"]))
        return baseline_model(best), self._label(best)

    def _label(self, baseline: str) -> str:
        return {
            "mean": f"mean of the last {self.periods.level} {self.every}s",
            "seasonal-naive": f"same {self.every} of the last season",
        }[baseline]

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each of the retailer's products adds to each metric."""
        demand = cast(DemandModel, model)
        panel: Panel = rows[split]
        parts = [
            _series_scores(demand, part, cases, panel.cut)
            for part, cases in zip(panel.parts, cases_of(demand, panel), strict=True)
        ]
        return UnitScores.joined(parts)

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns product, title, start, ahead, units, quantiles and the two baselines.

        Products that the retailer is known not to sell have no row. Where products lie outside a
        private catalogue, also `model`, the "shared" one or its "own".
        """
        import polars as pl

        shared = self._forecasts(model, rows, tables)
        if not self.common.own:
            return shared
        whole = replace(self, common=whole_assortment(self.common))
        mine = whole.rows(tables)
        own = whole._forecasts(whole.adapt(whole.fit(Local(mine)).model, mine), mine, tables)
        return with_model(shared, own.filter(pl.col("product").is_in(self.common.own)))

    def _forecasts(self, model: Model, rows: Rows, tables: Tables) -> pl.DataFrame:
        import polars as pl

        from grandtotal.tasks.lines import titles

        demand = cast(DemandModel, model)
        (cases,) = cases_of(demand, rows["now"])
        forecast = demand.forecast(cases)
        quantiles = demand.quantiles(forecast, cases.ahead)
        sold = ~np.isin(cases.series, self.common.absent)
        starts = [self.periods.start(int(t)) for t in cases.origin + cases.ahead - 1]
        return (
            pl.DataFrame(
                {
                    "product": np.array(self.common.catalogue)[cases.series],
                    "title": titles(tables, self.common)[cases.series].astype(str),
                    "start": starts,
                    "ahead": cases.ahead.astype(np.int32),
                    "units": forecast.round(3),
                    **{
                        name: quantiles[:, i].round(3)
                        for i, name in enumerate(("p10", "p50", "p90"), 1)
                    },
                    "recent_mean": cases.mean.round(3),
                    "last_season": cases.seasonal.round(3),
                }
            )
            .filter(sold)
            .sort("product", "start")
        )

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many of the plan's periods have sales, and how many the test needs."""
        sold = np.flatnonzero(rows["test"].parts[0].units.sum(axis=0) > 0)
        tested = int((sold >= self.history - self.test).sum())
        length = self.history - int(sold[0]) if len(sold) else 0
        found = (
            f"{length} {self.every}s since the first sale, {tested} of the last {self.test} sold"
        )
        expected = f"{self.history} {self.every}s, of which the last {self.test} are the test"
        if not tested or tested == len(sold):
            remedy = "a longer export, or an earlier today or a shorter test in the plan"
            return (Standing("history", "no", found, expected, remedy),)
        verdict: Verdict = "look" if length < self.history or tested < self.test else "yes"
        remedy = "" if verdict == "yes" else "missing periods count as nothing sold"
        return (Standing("history", verdict, found, expected, remedy),)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns sold and forecast by period ahead, and the largest product's curve."""
        demand = cast(DemandModel, model)
        (cases,) = cases_of(demand, rows["test"])
        forecast = demand.forecast(cases)
        error = np.abs(forecast - cases.sold)
        by_ahead = [
            round(
                float(error[cases.ahead == a].sum() / max(cases.sold[cases.ahead == a].sum(), 1)), 6
            )
            for a in range(1, self.horizon + 1)
        ]
        return {
            "wape_by_period_ahead": by_ahead,
            "own_level": bool(demand.level.size),
            "baselines": {
                self._label(name): round(wape(baseline_model(name), rows["test"]), 6)
                for name in BASELINES
            },
            "curve": self._curve(demand, cases, forecast, rows["test"]),
        }

    def _curve(
        self, model: DemandModel, cases: Cases, forecast: NDArray[np.float64], panel: Panel
    ) -> Json:
        """Returns the history and the forecast of the product that sold most before the test."""
        sales = panel.parts[0]
        series = int(sales.units[:, : panel.cut].sum(axis=1).argmax())
        first = max(panel.cut - 26, 0)
        chosen = (cases.series == series) & (cases.origin == panel.cut)
        quantiles = model.quantiles(forecast[chosen], cases.ahead[chosen])
        return {
            "product": self.common.catalogue[series],
            "starts": [str(self.periods.start(t)) for t in range(first, panel.cut + self.horizon)],
            "sold": sales.units[series, first : panel.cut + self.horizon].tolist(),
            "from": panel.cut - first,
            "forecast": forecast[chosen].round(2).tolist(),
            "low": quantiles[:, 1].round(2).tolist(),
            "high": quantiles[:, 3].round(2).tolist(),
        }

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the panels as if one company held them."""
        return with_trees(
            {
                split: Panel.pooled([part[split] for part in rows])
                for split, panel in rows[0].items()
                if split != "now" and isinstance(panel, Panel)
            }
        )


def _series_scores(model: DemandModel, sales: Sales, cases: Cases, cut: int) -> UnitScores:
    """Returns the scores of one retailer's products that had a case."""
    forecast = model.forecast(cases)
    sold, error = cases.sold, forecast - cases.sold
    count = np.bincount(cases.series, minlength=len(sales.units))
    present = np.flatnonzero(count)
    n = count[present].astype(np.float64)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(cases.series, values, minlength=len(sales.units))
        return sums[present].astype(np.float64)

    change, square = _naive_error(sales.units[present, :cut])
    scaled = change > 0
    positive = sold > 0
    relative = np.divide(np.abs(error), sold, out=np.zeros_like(sold), where=positive)
    inside = np.zeros((2, len(sold)))
    if model.ratios.size:
        q = model.quantiles(forecast, cases.ahead)
        inside[0] = (sold >= q[:, 1]) & (sold <= q[:, 3])
        inside[1] = (sold >= q[:, 0]) & (sold <= q[:, 4])
    known = n if model.ratios.size else np.zeros_like(n)
    mase = np.divide(total(np.abs(error)) / n, change, out=np.zeros_like(n), where=scaled)
    rmsse = np.sqrt(np.divide(total(error**2) / n, square, out=np.zeros_like(n), where=scaled))
    units = total(sold)
    return UnitScores.of(
        Demand.metrics,
        [
            total(np.abs(error)),
            total(error),
            rmsse,
            mase,
            total(relative),
            total(np.abs(error)),
            total(error**2),
            total(inside[0]),
            total(inside[1]),
        ],
        [units, units, scaled, scaled, total(positive.astype(float)), n, n, known, known],
    )


def _naive_error(history: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns mean |y_t - y_(t-1)| and mean (y_t - y_(t-1))^2 from each series' first sale on."""
    started = np.cumsum(history > 0, axis=1)[:, :-1] > 0
    change = np.diff(history, axis=1) * started
    count = np.maximum(started.sum(axis=1), 1)
    return np.abs(change).sum(axis=1) / count, (change**2).sum(axis=1) / count
