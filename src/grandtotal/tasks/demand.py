"""How much will be sold: units per product and period, some periods ahead, with quantiles.

Rolling origin: features as of each origin, targets after it. One model for all retailers and
products, relative to each product's own level; what a retailer adds at home (its own level, its own
quantiles) never leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows, shared
from grandtotal.consortium.totals import Local, Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.covariates import ahead_standing
from grandtotal.tasks.demand_detail import where_it_is_good
from grandtotal.tasks.demand_families import BASELINES, FAMILIES, GRID, spelled_out
from grandtotal.tasks.demand_home import at_best_factor, best_at_home, rmspe
from grandtotal.tasks.demand_in_noise import (
    fit_in_noise,
    largest_score,
    private_models,
    releases_in_noise,
)
from grandtotal.tasks.demand_model import (
    DemandModel,
    baseline_model,
    cases_of,
    wape,
)
from grandtotal.tasks.demand_neural import with_networks
from grandtotal.tasks.demand_predict import forecasts, with_totals
from grandtotal.tasks.demand_queries import DemandSeries, ForecastScores
from grandtotal.tasks.demand_scores import METRICS, series_scores
from grandtotal.tasks.demand_trees import with_trees
from grandtotal.tasks.demand_what_if import WhatIf
from grandtotal.tasks.intervals import ForecastErrors, spread
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.own_products import whole_assortment, with_model
from grandtotal.tasks.sales import Panel, Periods, Sales
from grandtotal.tasks.sales_read import read_sales
from grandtotal.tasks.sales_stores import BY
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.shelf import stock_standing
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_models, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_EVERY = {"week": 7, "day": 1}


@dataclass(frozen=True)
class Demand:
    """Settings of `kind = "demand"`.

    models: what the choice is made of, the best on validation wins: "ridge" and "poisson" are
        regressions ("glm": both); "trees" and "trees-tweedie" are boosted for the mean, "trees-log"
        and "forest", a random forest, for the logarithm: they forecast less than the mean, and
        are for series that sell in every period; "mlp", "lstm" and "cnn" are networks, which need
        the extra [neural]; "mean" and "seasonal-naive" need no model; "auto" is the regressions,
        "trees" and these two.
    by: what a series is: a "product", a "store", or a product in a store, "product-store".
    trees, leaves: how many trees are boosted, and how large they are; a forest has a tenth.
    grow: how boosted trees grow, by "level", a round for each, or by "leaf", the best leaf first:
        better trees of the same size for four times as many rounds.
    learned_from: from how many origins trees learn each period: 1 is fast, and 2 or 3, from nearer
        and from farther away, forecast better where the horizon is long.
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
    metrics: ClassVar[tuple[Metric, ...]] = METRICS

    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "quantity", True, "what is forecast"),
        Need("transactions", "promotion", False, "demand in a promotion told from demand without"),
        Need("transactions", "discount", False, "the same, where no promotion is named"),
        Need("calendar", "holiday", False, "demand on and around holidays"),
        Need("calendar", "known_at", False, "a past forecast that knows only what was known"),
        Need("prices", "list_price", False, "what a higher or a lower price would do"),
        Need("stock", "on_hand", False, "periods without stock told from periods without demand"),
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
    grow: Literal["level", "leaf"] = "level"
    learned_from: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", spelled_out(self.models))
        check_models(self.models, FAMILIES)
        known_of = {"by": BY, "judged_by": ("wape", "rmspe"), "grow": ("level", "leaf")}
        for name, known in known_of.items():
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
        check_numbers(learned_from=(self.learned_from, 1, self.horizon))
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
    def units(self) -> str:
        """What is counted: one series of each."""
        return {"product": "products", "store": "stores"}.get(self.by, "products in stores")

    @property
    def headline(self) -> str:
        """The error that choices are made on."""
        return self.judged_by

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
        """Returns the model with the least summed validation error, fitted up to the test cut."""
        if self.common.privacy.private:
            return fit_in_noise(self, totals)
        if isinstance(totals, Local):
            # What a retailer has alone is a row of the table, and what it may keep at home.
            panel: Panel = totals.rows["test"]
            return panel.once(("fitted", self), lambda: self._fitted(Remembering(totals)))
        return self._fitted(Remembering(totals))

    def _fitted(self, totals: Totals) -> Fitted:
        series = totals.total(DemandSeries(self.products, self.history))["units"]
        tried = [self._validate(totals, name, series) for name in self.models]
        best = min(range(len(tried)), key=lambda i: tried[i][0][self.judged_by])
        name, before = self.models[best], tried[best][1]
        given = {"series": series, **before}
        parts, fit = FAMILIES[name].fit(totals, self, "test", given)
        parts |= {key: before[key] for key in before if key == "factor"}
        meta = {"model": name, **FAMILIES[name].settings, "fit": fit}
        errors = self._errors(totals, name, given)
        model = DemandModel(meta, parts, series, spread=errors, before=before)
        return Fitted(model, {"chosen": meta, "tried": [score for score, _ in tried]})

    def _errors(self, totals: Totals, name: str, given: Arrays) -> NDArray[np.float64]:
        """Returns what sold / forecast was on the validation: its early half, and all of it.

        given: of the model that was fitted before it.
        """
        counts = totals.total(ForecastErrors(name, "validation"), given)["counts"]
        return np.stack([spread(counts[0]), spread(counts.sum(axis=0))])

    def _validate(self, totals: Totals, name: str, series: NDArray[Any]) -> tuple[Json, Arrays]:
        parts, fit = FAMILIES[name].fit(totals, self, "validation", {"series": series})
        asked = ForecastScores(name, "validation", periods=self.test)
        sums = totals.total(asked, {"series": series, **parts})
        of_periods = [np.asarray(sums[key], np.float64) for key in ("cases", "ratio", "square")]
        if self.judged_by == "rmspe":
            of_periods, factor = at_best_factor(*of_periods)
            parts = {**parts, "factor": np.asarray(factor)}
        wape = float(sums["error"]) / max(float(sums["sold"]), 1.0)
        score = {"wape": wape, "rmspe": rmspe(*of_periods)}
        return {"model": name, **FAMILIES[name].settings, "fit": fit, **score}, parts

    @property
    def products(self) -> int:
        """How many series the consortium adds up: products, or all of them together for stores."""
        return 1 if self.by == "store" else len(self.common.catalogue)

    def releases(self) -> tuple[Release, ...]:
        """Returns what is asked under epsilon; the sums of two numbers need little of it."""
        return releases_in_noise(self)

    @property
    def scored(self) -> Scored:
        """The error of the delivered model that choices are made on, product by product."""
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
        rows = with_networks(with_trees(self._panels(sales), self.learned_from))
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
        return best_at_home(self, cast(DemandModel, model), rows)

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
            series_scores(demand, part, cases, panel.cut)
            for part, cases in zip(panel.parts, cases_of(demand, panel), strict=True)
        ]
        return UnitScores.joined(parts)

    def predict(
        self,
        model: Model,
        rows: Rows,
        tables: Tables,
        top: int,  # noqa: ARG002
        what_if: WhatIf | None = None,
    ) -> pl.DataFrame:
        """Returns product, title, store where asked, start, ahead, units, quantiles, baselines.

        See `demand_predict`. Where products lie outside a private catalogue, also `model`, the
        "shared" one or its "own". By product and store also "level": rows of sums that add up.
        what_if: then also `units_what_if`.
        """
        found = self._predicted(model, rows, tables, what_if)
        if self.by != "product-store":
            return found
        return with_totals(self, cast(DemandModel, model), rows["validation"], tables, found)

    def _predicted(
        self, model: Model, rows: Rows, tables: Tables, what_if: WhatIf | None
    ) -> pl.DataFrame:
        import polars as pl

        shared = forecasts(self, cast(DemandModel, model), rows["now"], tables, what_if)
        if not self.common.own:
            return shared
        whole = replace(self, common=whole_assortment(self.common))
        mine = whole.rows(tables)
        local = whole.adapt(whole.fit(Local(mine)).model, mine)
        own = forecasts(whole, cast(DemandModel, local), mine["now"], tables, what_if)
        return with_model(shared, own.filter(pl.col("product").is_in(self.common.own)))

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many periods have sales, whether stock was there, and what is known ahead."""
        stock = stock_standing(rows["test"].parts[0].shelf, self.every)
        return (self._history(rows), stock, *ahead_standing(rows["now"].parts[0], self.every))

    def _history(self, rows: Rows) -> Standing:
        sold = np.flatnonzero(rows["test"].parts[0].units.sum(axis=0) > 0)
        tested = int((sold >= self.history - self.test).sum())
        length = self.history - int(sold[0]) if len(sold) else 0
        found = (
            f"{length} {self.every}s since the first sale, {tested} of the last {self.test} sold"
        )
        expected = f"{self.history} {self.every}s, of which the last {self.test} are the test"
        if not tested or tested == len(sold):
            remedy = "a longer export, or an earlier today or a shorter test in the plan"
            return Standing("history", "no", found, expected, remedy)
        verdict: Verdict = "look" if length < self.history or tested < self.test else "yes"
        remedy = "" if verdict == "yes" else "missing periods count as nothing sold"
        return Standing("history", verdict, found, expected, remedy)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns where the forecast is good and where not, examples, and the baselines."""
        demand = cast(DemandModel, model)
        return {
            **where_it_is_good(self, demand, rows["test"]),
            "own_level": bool(demand.level.size),
            "kept": demand.keeps,
            "baselines": {
                self._label(name): round(wape(baseline_model(name), rows["test"]), 6)
                for name in BASELINES
            },
        }

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the panels as if one company held them."""
        panels = {
            split: Panel.pooled([part[split] for part in rows])
            for split, panel in rows[0].items()
            if split != "now" and isinstance(panel, Panel)
        }
        return with_networks(with_trees(panels, self.learned_from))
