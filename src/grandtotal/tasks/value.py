"""What customers are worth: how often each will buy in the coming days, and for how much.

Two models of how customers behave, fitted to all of them together: how often they buy and whether
they still do (BG/NBD), and what they spend at a purchase (Gamma-Gamma). A customer is described by
three numbers of its past, so that one model serves every retailer; nobody's parameters are its own.
Intervals are made at home, of the retailer's own past errors.

Under epsilon it is refused by name: a likelihood has no bound on what one customer adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.likelihood import FAMILIES, MaximumLikelihood
from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import DataError
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.histories import read_histories
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.scores import Metric, UnitScores
from grandtotal.tasks.season import clock as clock_of
from grandtotal.tasks.season import season_of
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_models, check_numbers
from grandtotal.tasks.value_model import (
    BASELINES,
    MODELS,
    ValueModel,
    Values,
    baseline_model,
    squared_errors,
    with_intervals,
)
from grandtotal.tasks.value_rows import Known, known_at

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_ERROR_STEPS = 2**16
_LOG_STEPS = 2**20
TOP = 10  # one customer in so many


@dataclass(frozen=True)
class ValueScores:
    """Sums of squared errors of the expected purchases.

    The broadcast holds "purchases", the parameters, and the "clock". model: "bg-nbd" or "nbd";
    days: how far ahead.
    """

    name: ClassVar[str] = "value-scores"
    bound: ClassVar[Stated] = None

    model: str
    split: str
    days: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns the squared error and how many customers were scored."""
        return {"error": Field((), _ERROR_STEPS), "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each error is rounded before it is added."""
        known: Known = rows[self.split]
        meta = {"model": self.model, "days": self.days, "spend": {"customers": 0}}
        model = ValueModel(meta, broadcast["purchases"], np.empty(0), broadcast["clock"])
        steps = np.rint(squared_errors(model, known) * _ERROR_STEPS).astype(np.int64)
        return {"error": np.asarray(steps.sum()), "customers": np.asarray(len(known))}


@dataclass(frozen=True)
class SpendCorrelation:
    """Sums that tell whether customers who buy often spend more at a purchase, or less.

    Of the logarithms of purchases and of spend at a purchase: what Gamma-Gamma takes to be
    independent.
    """

    name: ClassVar[str] = "spend-correlation"
    bound: ClassVar[Stated] = None

    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns sums (5,): both, their squares, their product; and how many customers."""
        return {"sums": Field((5,), _LOG_STEPS), "customers": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums over the customers who spent anything."""
        spending = rows[self.split].spending
        often, much = log(spending.purchases.astype(np.float64)), log(spending.mean)
        terms = np.stack([often, much, often**2, much**2, often * much])
        sums = np.rint(terms * _LOG_STEPS).astype(np.int64).sum(axis=1)
        return {"sums": sums, "customers": np.asarray(len(spending))}


def correlation(sums: Arrays) -> float:
    """Returns the correlation that `SpendCorrelation` tells of; 0 where nothing varies."""
    n = max(int(sums["customers"]), 1)
    often, much, often_2, much_2, both = np.asarray(sums["sums"]) / n
    spread = max(often_2 - often**2, 0.0) * max(much_2 - much**2, 0.0)
    return float((both - often * much) / np.sqrt(spread)) if spread > 1e-12 else 0.0


@dataclass(frozen=True)
class Value:
    """Settings of `kind = "value"`.

    models: of how often customers buy, "bg-nbd" or "nbd", on the clock of the season where
        there is one; the smaller summed squared error on validation wins. What they spend at a
        purchase is Gamma-Gamma.
    horizon_days: how many days ahead; the test is the last so many days, validation those before.
    """

    kind: ClassVar[str] = "value"
    units: ClassVar[str] = "customers"
    headline: ClassVar[str] = "purchases_rmse"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "purchases_rmse",
            False,
            "RMSE: root of the mean squared error of purchases",
            True,
            2**10,
        ),
        Metric("purchases_mae", False, "MAE: mean |bought - expected|, in purchases"),
        Metric("purchases_bias", False, "bias: sum (expected - bought) / sum bought; 0 is best"),
        Metric("spend_wape", False, "sum |spent - expected| / sum spent", steps=2**10),
        Metric("spend_bias", False, "sum (expected - spent) / sum spent; 0 is best", steps=2**10),
        Metric("top_decile", True, "share of all spend by the tenth expected to spend most"),
        Metric("coverage_80", True, "share of customers whose spend is in the 80 % interval"),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "customer", True, "whose purchases they are"),
        Need("transactions", "quantity", True, "a purchase told from a return"),
        Need("transactions", "price", True, "what was spent"),
    )

    common: Common
    models: tuple[str, ...] = MODELS
    horizon_days: int = 90

    def __post_init__(self) -> None:
        check_models(self.models, dict.fromkeys(MODELS))
        check_numbers(horizon_days=(self.horizon_days, 7, LONGEST))

    @property
    def shown(self) -> int:
        """Nothing is recommended here."""
        return 0

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the model with the least validation error, fitted up to the test cut."""
        clock = self._clock(season_of(totals, "validation", self.common.today))
        tried = [self._validate(totals, name, clock) for name in self.models]
        best = min(tried, key=lambda one: one["purchases_rmse"])["model"]
        season = season_of(totals, "test", self.common.today)
        clock = self._clock(season)
        purchases, fit = _fitted(totals, best, "test", clock)
        spend, spend_fit = MaximumLikelihood("gamma-gamma").fit(totals, "test")
        together = correlation(totals.total(SpendCorrelation("test")))
        meta = {
            "model": best,
            "season": bool(clock.size),
            "days": self.horizon_days,
            "fit": fit,
            "parameters": _named(best, purchases),
            "months": {"factors": season.round(4).tolist()},
            "spend": {
                **spend_fit,
                "parameters": _named("gamma-gamma", spend),
                "correlation": round(together, 6),
            },
        }
        chosen = {
            name: meta[name] for name in ("model", "season", "fit", "parameters", "months", "spend")
        }
        return Fitted(ValueModel(meta, purchases, spend, clock), {"chosen": chosen, "tried": tried})

    def _clock(self, season: Values) -> Values:
        """Returns the clock of a season; none, which is the calendar, where there is no season."""
        if (season == 1).all():
            return np.empty(0)
        return clock_of(season, self.common.today, self.horizon_days)

    def _validate(self, totals: Totals, name: str, clock: Values) -> Json:
        purchases, fit = _fitted(totals, name, "validation", clock)
        query = ValueScores(name, "validation", self.horizon_days)
        sums = totals.total(query, {"purchases": purchases, "clock": clock})
        mean = float(sums["error"]) / max(int(sums["customers"]), 1)
        rmse = float(np.sqrt(mean))
        return {"model": name, "season": bool(clock.size), "fit": fit, "purchases_rmse": rmse}

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns the customers as seen from the validation cut, the test cut and now."""
        histories = read_histories(tables, self.common.today)
        days = self.horizon_days
        cuts = {"validation": -2 * days, "test": -days, "now": 0}
        rows = {split: known_at(histories, cut, days) for split, cut in cuts.items()}
        if not len(rows["validation"]):
            raise DataError(
                f"transactions: the first purchase of a known customer is {-histories.first_day} "
                f"days before {self.common.today}; value needs some before the last "
                f"2 x {days} days: a longer export, or a smaller horizon_days in the plan"
            )
        return {**rows, "customers": histories.customers}

    def build(self, arrays: Arrays, meta: Json) -> ValueModel:
        """Returns the delivered model."""
        return ValueModel(meta, arrays["purchases"], arrays["spend"], arrays["clock"])

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model with intervals of the retailer's own past errors, which stay at home.

        No level of the retailer's own: the season of the validation is not that of the test.
        """
        return with_intervals(cast(ValueModel, model), rows["validation"])

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the best on validation of what is done without a model."""
        models = [baseline_model(name, self.horizon_days) for name in BASELINES]
        best = min(models, key=lambda one: squared_errors(one, rows["validation"]).mean())
        return best, BASELINES[best.meta["model"]].format(days=self.horizon_days)

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each customer known at the cut adds to each metric."""
        value, known = cast(ValueModel, model), cast(Known, rows[split])
        purchases, spend = value.forecast(known)
        error, missed = purchases - known.bought, spend - known.bought_spent
        one = np.ones(len(known))
        inside, asked = np.zeros(len(known)), np.zeros(len(known))
        if value.ratios.size:
            low, high = value.interval(spend).T
            inside = (known.bought_spent >= low) & (known.bought_spent <= high)
            asked = one
        return UnitScores.of(
            self.metrics,
            [
                error**2,
                np.abs(error),
                error,
                np.abs(missed),
                missed,
                known.bought_spent * _top(spend),
                inside.astype(np.float64),
            ],
            [one, one, known.bought, *[known.bought_spent] * 3, asked],
        )

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns each customer's expected purchases and spend, those expected to spend most first.

        low, high: an interval of spend. p_alive: probability of being active still.
        """
        import polars as pl

        value, known = cast(ValueModel, model), cast(Known, rows["now"])
        purchases, spend = value.forecast(known)
        low, high = value.interval(spend).T
        silent = known.repeats.age - known.repeats.last
        return pl.DataFrame(
            {
                "customer": rows["customers"][known.place].astype(str),
                "purchases": purchases.round(4),
                "spend": spend.round(2),
                "low": low.round(2),
                "high": high.round(2),
                "p_alive": value.alive(known).round(4),
                "past_purchases": known.purchases,
                "past_spend": known.spent.round(2),
                "last_purchase": [self.common.today - timedelta(days=int(d)) for d in silent],
            }
        ).sort("spend", "customer", descending=[True, False])

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many customers are known at the validation cut, and how many came back."""
        known: Known = rows["validation"]
        back = int((known.repeats.repeats > 0).sum())
        found = f"{len(known):,} customers before the validation, {back:,} of them came back"
        expected = "some who bought on two days or more: of others nobody can tell how often"
        verdict: Verdict = "yes" if back else "look"
        remedy = "" if back else "a longer export, or a smaller horizon_days in the plan"
        return (Standing("repeat customers", verdict, found, expected, remedy),)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns the test week by week, and what the expected and the real spend of tenths was."""
        value, known = cast(ValueModel, model), cast(Known, rows["test"])
        ends = np.minimum(7 * np.arange(1, len(known.by_week) + 1), self.horizon_days)
        expected = [float(value.expected_within(known, int(day)).sum()) for day in ends]
        bought = np.cumsum(known.by_week)
        return {
            "by_week": {
                "days": ends.tolist(),
                "expected": np.round(expected, 2).tolist(),
                "bought": bought.tolist(),
            },
            "tenths": _tenths(value.forecast(known)[1], known.bought_spent),
            "parameters": {
                **value.meta["parameters"],
                **value.meta["spend"]["parameters"],
            },
            "correlation": value.meta["spend"]["correlation"],
            "months": value.meta["months"]["factors"],
            "once": float((known.repeats.repeats == 0).mean()) if len(known) else 0.0,
            "nothing_spent": int((known.spent <= 0).sum()),
        }

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the customers as if one company held them."""
        splits = ("validation", "test")
        return {split: Known.pooled([part[split] for part in rows]) for split in splits}


def _fitted(totals: Totals, name: str, split: str, clock: Values) -> tuple[Values, Json]:
    given = {"clock": clock} if clock.size else {}
    return MaximumLikelihood(name).fit(totals, split, given)


def _named(family: str, parameters: Values) -> Json:
    return dict(zip(FAMILIES[family].parameters, parameters.tolist(), strict=True))


def _top(spend: Values) -> Values:
    """Returns 1 for the tenth of the customers with the largest expected spend, else 0."""
    order = np.argsort(-spend, kind="stable")
    chosen = np.zeros(len(spend))
    chosen[order[: -(-len(spend) // TOP)]] = 1.0
    return chosen


def _tenths(expected: Values, spent: Values) -> Json:
    """Returns the sums of expected and real spend of each tenth, the largest expected first."""
    parts = np.array_split(np.argsort(-expected, kind="stable"), TOP)
    return {
        "expected": [round(float(expected[part].sum()), 2) for part in parts],
        "spent": [round(float(spent[part].sum()), 2) for part in parts],
    }
