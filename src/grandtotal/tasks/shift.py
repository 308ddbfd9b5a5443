"""What changed in customers' behaviour, when and where: one retailer against itself and the others.

Each series (visits, spend a visit, the share of a category ...) is compared with its own level so
far. An alarm is worth what acting on it brings, so it is scored like a forecast: the level since
the change, moved towards what the consortium saw, against the level of all days so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from grandtotal.algorithms.level_change import SETTLE
from grandtotal.algorithms.level_detectors import DETECTORS
from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.behaviour import bins_of, features_of, read_behaviour
from grandtotal.tasks.behaviour_sums import BehaviourSums, Observed, Watching
from grandtotal.tasks.loyalty import LEAD, Loyal, LoyalSums, read_loyalty
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.scores import Metric, UnitScores
from grandtotal.tasks.shift_findings import CHANGED, PERHAPS, TREND, Finding, findings
from grandtotal.tasks.shift_model import (
    RECENT,
    REFERENCE,
    SPREADS,
    SeriesScore,
    ShiftModel,
    ShiftScores,
    score_series,
    watched_once,
    without_totals,
)
from grandtotal.tasks.task import Common, Fitted, check_models, check_numbers
from grandtotal.tasks.visits import Lines

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_MOST_WEEKS = 1000
_TOLD = 12  # findings in the report
_LIKELY = 0.5  # the largest p of what may have changed and is told there
_DRAWN = 2  # of them whose course is drawn


@dataclass(frozen=True)
class Shift:
    """Settings of `kind = "shift"`.

    models: which ways of looking for changes the choice is made of, "cusum", "page-hinkley", "psi";
        the best on summed validation error of the level is taken. "psi" is there to compare with:
        it sees a change two to four times later than the others.
    history: how many weeks are looked at in all; test: how many of them are kept for the test, and
        as many before for validation; horizon: weeks ahead that a level is forecast for.
    change: the smallest share by which a level changes that matters.
    alarms: how many false alarms a series may raise in a year.
    discovery: what share of the changes that are told may be false.
    least: customers below which a group's week is left out of what is shared.
    categories: the widest parts of category paths that all retailers share; () shares none.
    tiers: of the loyalty programme, as all retailers write them, for trends among loyal customers;
        () takes those who come often.
    """

    kind: ClassVar[str] = "shift"
    units: ClassVar[str] = "series"
    headline: ClassVar[str] = "level_error"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("level_error", False, "error of the level: sum |level - forecast| / sum of levels"),
        Metric("alarms", False, "alarms per series and year in the scored weeks"),
        Metric(
            "false_alarms",
            False,
            "share of alarms after which the level was nearer to the one before",
        ),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "time", True, "when customers came"),
        Need("transactions", "quantity", True, "how much they bought, and returned"),
        Need("transactions", "price", True, "what they spent"),
        Need("transactions", "customer", False, "how many customers came, and came again"),
        Need("transactions", "basket", False, "visits; without it a customer's day is one"),
        Need("transactions", "store", False, "changes at each store"),
        Need("transactions", "promotion", False, "changes of the share of promotions"),
        Need("transactions", "discount", False, "the same, where no promotion is named"),
        Need("products", "category", False, "changes by category"),
        Need("customers", "tier", False, "loyal by the programme; else those who come often"),
        Need("calendar", "trend", False, "trends beside what people look for, as it was known"),
    )

    common: Common
    models: tuple[str, ...] = ("cusum", "page-hinkley")
    history: int = 52
    test: int = 8
    horizon: int = 2
    change: float = 0.2
    alarms: float = 1.0
    discovery: float = 0.1
    least: int = 5
    categories: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_models(self.models, DETECTORS)
        check_numbers(horizon=(self.horizon, 1, _MOST_WEEKS))
        check_numbers(test=(self.test, self.horizon, _MOST_WEEKS))
        least = 2 * self.test + 3 * SETTLE // 7
        check_numbers(history=(self.history, least, _MOST_WEEKS))
        check_numbers(least=(self.least, 1, 1_000_000))
        for name, value, most in (
            ("change", self.change, 0.9),
            ("alarms", self.alarms, 12.0),
            ("discovery", self.discovery, 1.0),
        ):
            known = isinstance(value, int | float) and not isinstance(value, bool)
            if not known or not math.isfinite(value) or not 0.01 <= value <= most:
                raise PlanError(f"{name} = {value!r}, expected a number from 0.01 to {most:g}")
        for name, texts in (("categories", self.categories), ("tiers", self.tiers)):
            known = isinstance(texts, tuple) and all(isinstance(text, str) for text in texts)
            if not known or len(set(texts)) < len(texts):
                raise PlanError(f"{name} = {texts!r}, expected a list of different names")

    @property
    def watching(self) -> Watching:
        """What is looked for."""
        return Watching(self.change, self.alarms, 7 * self.horizon, self.least)

    @property
    def shown(self) -> int:
        """Nothing is recommended here."""
        return 0

    @property
    def cuts(self) -> dict[str, tuple[int, int]]:
        """Of each split from which day on it is scored, and until when."""
        end, test = 7 * self.history, 7 * self.test
        return {
            "validation": (end - 2 * test, end - test),
            "test": (end - test, end),
            "now": (end, end),
        }

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns detector and spread with the best summed validation error, and the totals."""
        before = self._sums(totals, "validation")
        broadcast = {name: before[name] for name in ("happened", "exposed")}
        tried = [one for name in self.models for one in self._validate(totals, name, broadcast)]
        best = min(range(len(tried)), key=lambda i: float(tried[i]["level_error"]))
        meta = {name: tried[best][name] for name in ("model", "spread")}
        test, now = self._sums(totals, "test"), self._sums(totals, "now")
        arrays = {
            "happened": test["happened"],
            "exposed": test["exposed"],
            "now_happened": now["happened"],
            "now_exposed": now["exposed"],
            "profiles": now["profiles"],
            **self._loyal(totals),
        }
        return Fitted(ShiftModel(meta, arrays), {"chosen": meta, "tried": tried})

    def _sums(self, totals: Totals, split: str) -> Arrays:
        features = len(features_of(self.categories))
        bins = sum(map(len, bins_of(self.categories).values()))
        return totals.total(BehaviourSums(features, bins, self.cuts[split][0], split))

    def _loyal(self, totals: Totals) -> Arrays:
        groups = max(len(self.tiers), 1) * (1 + len(self.categories))
        sums = totals.total(LoyalSums(groups, self.history))
        return {f"loyal_{name}": array for name, array in sums.items()}

    def _validate(self, totals: Totals, name: str, broadcast: Arrays) -> list[Json]:
        sums = totals.total(ShiftScores(name, "validation"), broadcast)
        errors = sums["error"] / max(float(sums["level"]), 1e-9)
        return [
            {"model": name, "spread": spread, "level_error": float(error)}
            for spread, error in zip(SPREADS, errors, strict=True)
        ]

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns what customers did, seen from the validation cut, the test cut and now."""
        lines = Lines(tables, self.common.today, 7 * self.history, LEAD)
        behaviour = read_behaviour(lines, self.categories, self.cuts["validation"][0])
        agreed = (self.tiers, self.categories)
        loyal = Loyal((read_loyalty(lines, tables, self.common.today, agreed),), self.least)
        splits = {
            split: Observed((behaviour,), cut, until, self.watching)
            for split, (cut, until) in self.cuts.items()
        }
        return {**splits, "loyal": loyal}

    def build(self, arrays: Arrays, meta: Json) -> ShiftModel:
        """Returns the delivered model."""
        return ShiftModel(meta, arrays)

    def adapt(self, model: Model, rows: Rows) -> Model:  # noqa: ARG002
        """Returns the model: thresholds and levels are of the retailer's own series anyway."""
        return model

    def baseline(self, rows: Rows) -> tuple[Model, str]:  # noqa: ARG002
        """Returns the level of all days so far, whatever changed."""
        return without_totals(REFERENCE), "level of all weeks so far"

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each series of the retailer, its own too, adds to each metric."""
        observed: Observed = rows[split]
        parts = []
        for part, behaviour in enumerate(observed.parts):
            found = watched_once(observed, part, cast(ShiftModel, model).name)
            series = range(len(behaviour.features))
            scores = (score_series(cast(ShiftModel, model), observed, found, s) for s in series)
            parts += [score for score in scores if score is not None]
        return _unit_scores(parts, (observed.until - observed.cut) / 365)

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns all that was looked at: feature, where, since when, from, to, change, and why.

        What changed comes first, then what may have, gaps, what is too little, what did not.
        """
        import polars as pl

        found = findings(cast(ShiftModel, model), rows, self.discovery)
        frame = pl.DataFrame([one.row for one in found])
        return frame.rename({"before": "from", "after": "to"})

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many days have data before the validation, and how many a level needs."""
        observed: Observed = rows["validation"]
        behaviour = observed.parts[0]
        days = int(behaviour.open_days(observed.cut)[: observed.cut].sum())
        found = f"{days} days with data before {behaviour.first + timedelta(days=observed.cut)}"
        expected = f"at least {2 * SETTLE} of {observed.cut}"
        if days < 2 * SETTLE:
            remedy = "a longer export, or a shorter test in the plan"
            return (Standing("history", "no", found, expected, remedy),)
        verdict: Verdict = "yes" if days >= observed.cut // 2 else "look"
        remedy = "" if verdict == "yes" else "days without data count for nothing"
        return (Standing("history", verdict, found, expected, remedy),)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns the changes as of now, the course of the largest, and the recent mean's error."""
        observed: Observed = rows["now"]
        found = findings(cast(ShiftModel, model), rows, self.discovery)
        told = [
            one
            for one in found
            if one.verdict in (CHANGED, TREND) or (one.verdict == PERHAPS and one.p < _LIKELY)
        ][:_TOLD]
        recent = self.score(without_totals(RECENT), rows, "test").values()
        steps = [
            one
            for one in told
            if one.statistic and not one.trend and "distribution" not in one.feature
        ][:_DRAWN]
        behaviour = observed.parts[0]
        return {
            "shifts": {
                "looked_at": len(found),
                "first": str(behaviour.first),
                "last": str(self.common.today),
                "changes": [_told(one) for one in told],
                "courses": [self._course(observed, one) for one in steps],
                "recent_mean": round(recent["level_error"], 6),
            }
        }

    def _course(self, observed: Observed, one: Finding) -> Json:
        behaviour = observed.parts[0]
        found = watched_once(observed, 0, self.models[0]).daily
        names = [(f.what, f.where) for f in behaviour.features]
        s = names.index((one.feature, one.where))
        weeks = [v[s].reshape(-1, 7).sum(axis=1) for v in (found.happened, found.exposed)]
        level = np.divide(weeks[0], weeks[1], out=np.zeros_like(weeks[0]), where=weeks[1] > 0)
        return {
            "feature": one.feature,
            "where": one.where,
            "starts": [str(behaviour.first + timedelta(days=7 * w)) for w in range(len(level))],
            "level": level.round(6).tolist(),
            "from": (one.since - behaviour.first).days // 7,
            "before": round(one.before, 6),
            "after": round(one.after, 6),
        }

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the behaviour at all retailers as if one company saw it."""
        splits = {split: Observed.pooled([part[split] for part in rows]) for split in self.cuts}
        return {**splits, "loyal": Loyal.pooled([part["loyal"] for part in rows])}


def _told(one: Finding) -> Json:
    """Returns a finding as JSON: dates as texts, what is not known left out."""
    row = {name: value for name, value in one.row.items() if value == value}
    named = {{"before": "from", "after": "to"}.get(name, name): v for name, v in row.items()}
    return {k: str(v) if isinstance(v, date) else v for k, v in named.items()}


def _unit_scores(parts: list[SeriesScore], years: float) -> UnitScores:
    columns = [
        np.array([getattr(part, name) for part in parts], np.float64)
        for name in ("error", "level", "alarms", "false", "judged")
    ]
    error, level, alarms, false, judged = columns
    above, below = [error, alarms, false], [level, np.full(len(parts), years), judged]
    return UnitScores.of(Shift.metrics, above, below)
