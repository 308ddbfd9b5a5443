"""How sales follow prices: an elasticity per product, with how sure it is.

Learned from how the same product sold in the same store at other prices; what other retailers'
shops tell is a total over at least `retailers` of them, of differences alone. Current and planned
prices stay at home: what a retailer should charge is decided there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.double_ml import compared
from grandtotal.algorithms.elasticity import Elasticity
from grandtotal.algorithms.elasticity_in_noise import STORE_WEEK, ElasticityInNoise
from grandtotal.algorithms.elasticity_model import Elasticities
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.price_moments import FAMILIES
from grandtotal.consortium.query import Rows, shared
from grandtotal.consortium.totals import Local, Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.price_adapt import adapted, level_only, loss, rounded
from grandtotal.tasks.price_model import PriceModel
from grandtotal.tasks.price_queries import PriceScores, deviance
from grandtotal.tasks.price_sales import CHANGED, COLUMNS, PriceHistory
from grandtotal.tasks.price_weekly import Weekly, read_weekly
from grandtotal.tasks.price_words import curves, predictions
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_models, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

GRID = {name: Elasticity(name, COLUMNS) for name in FAMILIES}
_RECENT = 13  # weeks whose mean is what sold recently
_LARGEST = 100.0  # units: deviance and sold of a series, under epsilon, count as if no larger


@dataclass(frozen=True)
class Price:
    """Settings of `kind = "price"`.

    models: what the choice is made of; the best on summed validation WAPE wins. Under epsilon only
        "log-log" is asked.
    history: how many weeks are looked at in all; test: how many of them are kept for the test, and
        as many before them for validation.
    season: weeks after which a store's level of a product may be another, so that seasons and
        trends are not taken for effects of prices.
    retailers: how many must sell a product for its elasticity to be shared; 3 at least.
    rows_per_customer: under epsilon, in how many (product, store, week) the lines of one customer
        count: the customer is then what noise hides. 0: lines carry no customer, and noise hides
        what a store sold of a product in a week.
    """

    kind: ClassVar[str] = "price"
    units: ClassVar[str] = "products in a store"
    headline: ClassVar[str] = "deviance"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("deviance", False, "Poisson deviance a unit sold, in weeks with another price"),
        Metric("wape", False, "WAPE: sum |sold - forecast| / sum sold, in the same weeks"),
        Metric("bias", False, "bias: sum (forecast - sold) / sum sold; 0 is best"),
        Metric("direction", True, "share of price changes after which sales moved as was forecast"),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "quantity", True, "what follows the price"),
        Need("transactions", "price", True, "the price"),
        Need("transactions", "store", False, "each store compared with itself"),
        Need("transactions", "promotion", False, "a promotion's effect told from the price's"),
        Need("transactions", "discount", False, "the same, where no promotion is named"),
        Need("products", "category", False, "products drawn to their like, and cross-prices"),
        Need("products", "cost", False, "margins"),
        Need("products", "title", False, "tables that a person can read"),
    )

    common: Common
    models: tuple[str, ...] = tuple(GRID)
    history: int = 104
    test: int = 12
    season: int = 26
    retailers: int = 3
    rows_per_customer: int = 8

    def __post_init__(self) -> None:
        check_models(self.models, GRID)
        check_numbers(test=(self.test, 1, LONGEST), season=(self.season, 2, LONGEST))
        check_numbers(history=(self.history, 2 * self.test + 2 * _RECENT, LONGEST))
        check_numbers(retailers=(self.retailers, 3, 1000))
        check_numbers(rows_per_customer=(self.rows_per_customer, 0, 1000))
        if self.common.privacy.private and "log-log" not in self.models:
            raise PlanError(f"models = {list(self.models)}: under epsilon only log-log is asked")

    @property
    def shown(self) -> int:
        """Nothing is recommended here."""
        return 0

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the elasticities with the best summed validation deviance, as of the test cut."""
        if self.common.privacy.private:
            noisy = self._in_noise().fit(totals, self._products, "test")
            return Fitted(noisy, {"chosen": noisy.meta, "tried": []})
        if not isinstance(totals, Local):
            totals = Remembering(totals)
        tried = [self._validate(totals, name) for name in self.models]
        best = min(tried, key=lambda score: score["deviance"])
        model = self._elasticities(totals, best["model"], "test")
        check = compared(totals, model, COLUMNS, "test")
        return Fitted(model, {"chosen": model.meta, "tried": tried, "check": check})

    def _elasticities(self, totals: Totals, name: str, split: str) -> Elasticities:
        """Returns the model of a family; of a retailer alone, for whom two rows need it, once."""
        algorithm, products = replace(GRID[name], retailers=self.retailers), self._products
        if not isinstance(totals, Local):
            return algorithm.fit(totals, products, split)
        history: PriceHistory = totals.rows[split]
        return history.once(algorithm, lambda: algorithm.fit(totals, products, split))

    @property
    def _products(self) -> int:
        return len(self.common.catalogue)

    def _in_noise(self) -> ElasticityInNoise:
        return ElasticityInNoise(
            retailers=self.retailers,
            window=self.season,
            weeks=self.history,
            per_customer=self.rows_per_customer,
        )

    def _validate(self, totals: Totals, name: str) -> Json:
        model = self._elasticities(totals, name, "validation")
        given = {"coefficients": PriceModel.delivered(model).coefficients}
        sums = totals.total(PriceScores(name, "validation"), given)
        lost = float(sums["deviance"]) / max(float(sums["sold"]), 1.0)
        return {"model": name, "fit": model.meta["fit"], "deviance": lost}

    def releases(self) -> tuple[Release, ...]:
        """Returns what is asked under epsilon: two rounds of pairs, and the test's deviance."""
        pairs = Release("price-pairs", len(self._in_noise().clips))
        return pairs, Release("test-scores", 1, 0.1)

    @property
    def scored(self) -> Scored:
        """The deviance of the delivered model, series by series; a row is in one series."""
        unit = "customer" if self.rows_per_customer else STORE_WEEK
        return Scored(shared("test"), _LARGEST, unit, self.rows_per_customer)

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns the series as seen from the validation cut, the test cut and now.

        Under epsilon also "shared test", in which a row knows of no other series, and a customer's
        lines count in few rows: only it is asked about.
        """
        weekly = read_weekly(tables, self.common, self.history)
        test = self.history - self.test
        rows = {
            "validation": self._history(weekly, test - self.test, test),
            "test": self._history(weekly, test, self.history),
            "now": self._history(weekly, self.history, self.history),
        }
        if self.common.privacy.private:
            few = self.rows_per_customer
            own = read_weekly(tables, self.common, self.history, few) if few else weekly
            rows[shared("test")] = self._history(own, test, self.history, few, apart=True)
        return rows

    def _history(
        self, weekly: Weekly, cut: int, until: int, per_customer: int = 0, apart: bool = False
    ) -> PriceHistory:
        return PriceHistory.of(weekly, cut, until, self.season, _RECENT, per_customer, apart)

    def build(self, arrays: Arrays, meta: Json) -> PriceModel:
        """Returns the delivered model."""
        return PriceModel.delivered(Elasticities.of(arrays, meta))

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model with the retailer's prices and, where better, its own elasticities."""
        given = as_price_model(model)
        # Of a retailer alone the model is its own already.
        alone = given.meta["fit"].get("members") == 1
        own = None
        if not alone:
            family, home = _family(given), Local(rows)
            own = [self._elasticities(home, family, split) for split in ("validation", "test")]
        return adapted(given, own, rows["validation"], _prices_of(rows))

    def baseline(self, rows: Rows) -> tuple[Model, str]:  # noqa: ARG002
        """Returns what sold recently, whatever the price."""
        return level_only(self._products), f"mean of the last {_RECENT} weeks"

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each series with a changed price adds to each metric."""
        given = as_price_model(model).coefficients
        return UnitScores.joined([_scores(given, cases) for cases in rows[split].cases])

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns product, title, elasticity, low, high, observations, prices and what it says."""
        from grandtotal.tasks.lines import titles

        return predictions(as_price_model(model), self.common, titles(tables, self.common))

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many price changes there are to learn from, and to test on."""
        history: PriceHistory = rows["test"]
        moved = sum(int((np.abs(part.within[:, 0]) > CHANGED).sum()) for part in history.parts)
        tested = sum(len(cases.sold) for cases in history.cases)
        found = f"{moved} weeks with another price than usual, {tested} in the test weeks"
        free = sum(prices.free for prices in history.prices)
        found += f"; {free} lines at a price of zero are not used" if free else ""
        expected = "prices that change, before the test weeks and in them"
        if not moved:
            remedy = "the export needs weeks with other prices; or test prices in a few stores"
            return (Standing("prices", "no", found, expected, remedy),)
        verdict: Verdict = "yes" if tested else "look"
        remedy = "" if tested else "without a change in the test weeks nothing is scored here"
        return (Standing("prices", verdict, found, expected, remedy),)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns on what the elasticities rest, and demand curves of what sells most."""
        given = as_price_model(model)
        choices = {"at_home": given.at_home, "deviance": rounded(loss(given, rows["test"]))}
        return {**choices, **curves(given, self.common)}

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the series as if one company held them."""
        return {
            split: PriceHistory.joined([part[split] for part in rows])
            for split in rows[0]
            if split != "now"
        }


def as_price_model(model: Model) -> PriceModel:
    """Returns a fitted model as the one that retailers go by."""
    if isinstance(model, Elasticities):
        return PriceModel.delivered(model)
    return cast(PriceModel, model)


def _family(model: PriceModel) -> str:
    name = str(model.meta.get("model", ""))
    return name if name in GRID else FAMILIES[0]


def _prices_of(rows: Rows) -> Any:
    return rows["now" if "now" in rows else "test"].prices[0]


def _scores(coefficients: NDArray[np.float64], cases: Any) -> UnitScores:
    """Returns the scores of one retailer's series that had a case."""
    forecast, recent = cases.forecast(coefficients), cases.recent()
    count = np.bincount(cases.series, minlength=len(cases.product))
    present = np.flatnonzero(count)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(cases.series, values, minlength=len(cases.product))
        return sums[present].astype(np.float64)

    moved = cases.sold != recent
    # Who says that nothing follows is right about half of the changes.
    agreed = np.sign(forecast - recent) * np.sign(cases.sold - recent)
    right = np.where(np.abs(forecast - recent) > 1e-9, agreed > 0, 0.5)
    sold = total(cases.sold)
    return UnitScores.of(
        Price.metrics,
        [
            total(deviance(cases.sold, forecast)),
            total(np.abs(forecast - cases.sold)),
            total(forecast - cases.sold),
            total(right * moved),
        ],
        [sold, sold, sold, total(moved.astype(np.float64))],
    )
