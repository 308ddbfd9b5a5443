"""Who is about to leave: the probability of no purchase in the next days, for each customer.

Rolling cut-offs: what was known of a customer when a day began, and whether anything was bought in
the horizon after it. All of a training row lies before the cut that its split stands for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows, shared
from grandtotal.durable import Json
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks.churn_features import NAMES, columns_of, seen
from grandtotal.tasks.churn_words import reasons_of
from grandtotal.tasks.classification import ATTRIBUTES, Classification, season_of
from grandtotal.tasks.histories import Histories, facts_of, read_histories
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.outcome_groups import seen_band
from grandtotal.tasks.outcome_model import OutcomeModel, SameSeason
from grandtotal.tasks.outcomes import Cases, Split, in_steps, text_columns
from grandtotal.tasks.task import LONGEST, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

STEP = 28  # days between two origins of training: weekdays and, over thirteen, seasons are alike
YEAR = 364  # days: the same weekday
_LONGEST = 168  # days of a horizon of the retailer's own
_USUAL = 84  # where there are too few gaps to tell
_FEW = 30  # gaps
_OFTEN = 0.9  # of the gaps between purchases are shorter than the horizon


@dataclass(frozen=True)
class Churn(Classification):
    """Settings of `kind = "churn"`.

    horizon_days: how long without a purchase is to have left; 0 is each retailer's own, the time
        within which nine in ten purchases are followed by the next, in whole steps of four weeks.
        Features are relative to it, so that retailers with different ones share a model.
    origins: earlier days from which is learned, four weeks apart; 13 are a year.
    per_customer: at how many of them one customer is looked at; 0 is at all.
    history_days: what is older is not looked at.
    """

    kind: ClassVar[str] = "churn"
    rule: ClassVar[tuple[str, str]] = ("recency", "share that left, by days since the last visit")
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "customer", True, "whose purchases they are"),
        Need("transactions", "quantity", True, "purchases told from returns"),
        Need("transactions", "promotion", False, "customers who buy in promotions only"),
        Need("customers", "tier", False, "gaps between tiers, and tiers in the file"),
        Need("customers", "age_band", False, "gaps between age bands"),
        Need("customers", "region", False, "gaps between regions"),
    )

    horizon_days: int = 0
    origins: int = 13
    per_customer: int = 0
    history_days: int = 730

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(
            horizon_days=(self.horizon_days, 0, LONGEST // 4),
            origins=(self.origins, 1, 100),
            per_customer=(self.per_customer, 0, self.origins),
            history_days=(self.history_days, max(4 * self.horizon_days, 4 * STEP), LONGEST),
        )
        if self.common.privacy.private and not self.horizon_days:
            raise PlanError(
                "horizon_days = 0: under epsilon the horizon has to be agreed: a retailer's own is "
                "made of all customers' purchases, so that one customer moves the rows of others"
            )

    @property
    def seasonal(self) -> bool:
        """Whether the history reaches back to the same time of the year before."""
        least = YEAR + 2 * STEP + 2 * (self.horizon_days or STEP)
        return self.history_days >= least

    @property
    def _room(self) -> int:
        """The longest horizon with which the validation sees the year before, too."""
        most = (self.history_days - YEAR - STEP) // 3 if self.seasonal else self.history_days // 5
        return max(most // STEP * STEP, STEP)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, the constant first."""
        return (*NAMES, *text_columns(self.protected))

    @property
    def rows_of_unit(self) -> int:
        """One row of a customer for each origin."""
        return self.per_customer or self.origins

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns what was known at the validation cut, the test cut and now.

        "about" has what a person reads of each customer.
        """
        histories = read_histories(tables, self.common.today)
        recent = histories.where(histories.day >= -self.history_days)
        facts = facts_of(tables, histories.customers, ATTRIBUTES)
        horizon = self.horizon_days or min(own_horizon(recent), self._room)
        view = _View(self, recent, horizon, facts)
        rows = {
            "validation": view.split(-2 * horizon),
            "test": view.split(-horizon),
            "now": view.scored(0),
            "about": view,
        }
        if self.seasonal:
            for split, cut in (("validation", -2 * horizon), ("test", -horizon)):
                rows[season_of(split)] = view.same_season(cut)
        if self.common.privacy.private:
            rows |= {shared(split): rows[split] for split in ("validation", "test")}
        return rows

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the splits as if one company held them."""
        pooled = dict(super().pooled(rows))
        for split in (season_of("validation"), season_of("test")):
            if split in rows[0]:
                pooled[split] = SameSeason.joined([part[split] for part in rows])
        return pooled

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns the customers by risk: probability, what was seen of such customers, and why.

        low, high: the share that left, at 95 %, of those in the same tenth of risk in the test.
        """
        import polars as pl

        outcome, view = cast(OutcomeModel, model), cast(_View, rows["about"])
        now: Cases = rows["now"].scored
        p = outcome.probabilities(now)
        low, high = seen_band(rows["test"].scored, outcome, p)
        known = seen(view.histories, 0, view.horizon)
        why = reasons_of(known, view.horizon, now.names[1:], outcome.reasons(now))
        last = [self.common.today - timedelta(days=int(days)) for days in known.recency]
        return pl.DataFrame(
            {
                "customer": view.histories.customers[known.active].astype(str),
                "probability": p.round(4),
                "low": low.round(4),
                "high": high.round(4),
                "last_purchase": last,
                "tier": view.facts["tier"][known.active].astype(str),
                **{f"why_{i}": list(column) for i, column in enumerate(why, 1)},
            }
        ).sort(["probability", "customer"], descending=[True, False])

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:
        """Returns how many customers there are to learn from, and how consent stands."""
        test: Split = rows["test"]
        left, scored = int(test.scored.y.sum()), len(test.scored)
        horizon = cast(_View, rows["about"]).horizon
        found = (
            f"{scored:,} customers at the test cut, of whom {left:,} did not buy in {horizon} days"
        )
        fine = min(left, scored - left) >= self.least_group
        expected = f"at least {self.least_group} who left and {self.least_group} who stayed"
        remedy = "" if fine else "a longer export, or another horizon_days in the plan"
        verdict: Verdict = "yes" if fine else "look"
        return (Standing("customers", verdict, found, expected, remedy), *_consent(tables))

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns what `Classification.detail` does, and the retailer's horizon."""
        view = cast(_View, rows["about"])
        once = int((np.bincount(view.histories.purchases.customer) == 1).sum())
        return {
            **super().detail(model, rows),
            "horizon_days": view.horizon,
            "anonymous_lines": view.histories.anonymous,
            "one_purchase": once,
        }


def _consent(tables: Any) -> Iterator[Standing]:
    """Yields how consent stands, where there is a retailer.toml that could name it."""
    config = getattr(tables, "config", None)
    if config is None:
        return
    names = ", ".join(config.consent)
    found = f"honoured: {names}" if names else "no consent column is named: all customers count"
    remedy = "" if names else 'name it: [tables.customers] consent = ["..."] in retailer.toml'
    yield Standing("consent", "yes" if names else "look", found, "a consent column", remedy)


def own_horizon(histories: Histories) -> int:
    """Returns the days within which nine in ten purchases were followed by the next one.

    In whole steps of four weeks, up to 168 days. Only purchases from before the longest horizon
    count, so that no test is about them; 84 where there are fewer than 30 gaps.
    """
    bought = histories.until(-_LONGEST).purchases
    same = bought.customer[1:] == bought.customer[:-1]
    gaps = np.diff(bought.day)[same]
    if len(gaps) < _FEW:
        return _USUAL
    usual = float(np.quantile(gaps, _OFTEN))
    return int(np.clip(math.ceil(usual / STEP) * STEP, STEP, _LONGEST))


class _View:
    """One retailer's customers, as they are seen from any day."""

    def __init__(
        self, task: Churn, histories: Histories, horizon: int, facts: dict[str, NDArray[Any]]
    ) -> None:
        self.task, self.histories, self.horizon, self.facts = task, histories, horizon, facts

    def split(self, cut: int) -> Split:
        """Returns the origins whose outcome was known at the cut, and the customers at the cut."""
        task = self.task
        days = [cut - self.horizon - STEP * i for i in range(task.origins)]
        days = [day for day in days if day >= self._earliest]
        parts = [self._few(self.cases(day), i) for i, day in enumerate(days)]
        parts = [part for part in parts if len(part)]
        scored = self.scored(cut)
        if not parts or not len(scored.scored):
            raise DataError(
                f"transactions: no customer bought before "
                f"{task.common.today + timedelta(days=cut - self.horizon)}: a horizon of "
                f"{self.horizon} days needs a history of four times as many; give a longer export "
                f"or a smaller horizon_days in the plan"
            )
        whole = Cases(
            task.names,
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate([part.unit for part in parts]),
        )
        return replace(scored, train=whole.chosen(np.argsort(whole.unit, kind="stable")))

    @property
    def _earliest(self) -> int:
        """The first day from which customers can be looked at: a horizon after the first sale.

        Where all customers seem new, little can be learned of them. Under epsilon the plan alone
        decides: the first sale is one customer's.
        """
        task = self.task
        if task.common.privacy.private:
            return self.horizon - task.history_days
        return max(self.histories.first_day, -task.history_days) + self.horizon

    def same_season(self, cut: int) -> SameSeason:
        """Returns the customers a year before the cut, and four weeks before and after that day."""
        days = [cut - YEAR + STEP * i for i in (-1, 0, 1)]
        known = [day for day in days if self._earliest <= day <= cut - self.horizon]
        parts = [self.cases(day) for day in known]
        return SameSeason(tuple(part for part in parts if len(part)))

    def scored(self, cut: int) -> Split:
        """Returns the customers at the cut, with the groups that they belong to."""
        cases = self.cases(cut)
        facts = {name: values[cases.unit] for name, values in self.facts.items()}
        return Split(cases.chosen(slice(0, 0)), cases, facts)

    def _few(self, cases: Cases, origin: int) -> Cases:
        """Returns the cases of the customers who are looked at from this origin."""
        most = self.task.per_customer
        if not most or not len(cases):
            return cases
        turns = -(-self.task.origins // most)
        return cases.chosen((self._turn[cases.unit] + np.uint64(origin)) % np.uint64(turns) == 0)

    @property
    def _turn(self) -> NDArray[np.uint64]:
        import polars as pl

        # By the customer alone, so that nobody's rows depend on who else is a customer.
        return pl.Series(self.histories.customers, dtype=pl.String).hash(_USUAL).to_numpy()

    def _bought(self, cut: int) -> NDArray[np.bool_]:
        """Returns whether each customer bought in the horizon that begins at the cut."""
        rows = self.histories
        inside = (rows.day >= cut) & (rows.day < cut + self.horizon) & (rows.lines > 0)
        found: NDArray[np.bool_] = (
            np.bincount(rows.customer[inside], minlength=len(rows.customers)) > 0
        )
        return found

    def cases(self, cut: int) -> Cases:
        """Returns every customer who bought before the cut, and whether nothing came after it."""
        known = seen(self.histories, cut, self.horizon)
        columns = columns_of(known, self.horizon)
        for name in self.task.protected:
            columns |= text_columns((name,), [self.facts[name][known.active]])
        left = np.full(len(known.active), np.nan)
        if cut + self.horizon <= 0:
            left = (~self._bought(cut)[known.active]).astype(np.float64)
        return Cases(self.task.names, in_steps(columns), left, known.active)
