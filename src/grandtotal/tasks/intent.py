"""Whether a visit will end in a purchase, while it still goes on.

From `events`, what is known of a visit after some of its events; or from `sessions`, for exports
that have one row for each visit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows, shared
from grandtotal.errors import DataError, PlanError
from grandtotal.tasks import intent_events, intent_sessions
from grandtotal.tasks.classification import ATTRIBUTES, Classification
from grandtotal.tasks.histories import facts_of
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.outcome_groups import seen_band
from grandtotal.tasks.outcome_model import OutcomeModel
from grandtotal.tasks.outcomes import ONE, Cases, Split, in_steps, text_columns
from grandtotal.tasks.task import LONGEST, check_numbers

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Readable, Tables

_SHOWN = 3  # reasons


@dataclass(frozen=True)
class PurchaseIntent(Classification):
    """Settings of `kind = "purchase-intent"`.

    table: "events" or "sessions". after: events after which visits are scored; of `events`.
    split: "time": the last test_days are the test, and as many before them the validation;
    "random": a fifth of the visits each, by a hash of their id.
    leave_out: features that are not used, such as "page_value", which is known late.
    history_days: what is older is not looked at.
    """

    kind: ClassVar[str] = "purchase-intent"
    units: ClassVar[str] = "sessions"
    unit: ClassVar[str] = "session"
    needs: ClassVar[tuple[Need, ...]] = (
        Need("events", "type", False, "purchase intent while a visit goes on"),
        Need("sessions", "purchased", False, "purchase intent from one row a visit"),
    )

    table: str = "events"
    after: int = 3
    split: str = "time"
    test_days: int = 28
    leave_out: tuple[str, ...] = ()
    history_days: int = 365

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(
            after=(self.after, 1, 100),
            test_days=(self.test_days, 1, LONGEST // 4),
            history_days=(self.history_days, 3 * self.test_days, LONGEST),
        )
        for name, value, known in (
            ("table", self.table, ("events", "sessions")),
            ("split", self.split, ("time", "random")),
        ):
            if value not in known:
                raise PlanError(f"{name} = {value!r}, expected {' or '.join(known)}")
        for name in self.leave_out:
            if name not in self._features:
                raise PlanError(f"leave_out names '{name}', expected {', '.join(self._features)}")

    @property
    def _features(self) -> tuple[str, ...]:
        return intent_events.FEATURES if self.table == "events" else intent_sessions.FEATURES

    @property
    def rule(self) -> tuple[str, str]:  # type: ignore[override]
        """Column and name of the baseline."""
        names = ("products", "product_pages") if self.table == "events" else ("product_pages",)
        chosen = next((name for name in names if name in self.names), self.names[1])
        return chosen, f"share that bought, by {chosen.replace('_', ' ')}"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, the constant first."""
        if self.table == "sessions":
            plain = intent_sessions.session_names(self.leave_out)
        else:
            plain = tuple(n for n in intent_events.FEATURES if n not in self.leave_out)
        return (ONE, *plain, *text_columns(self.protected))

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns the visits of the validation, of the test, and those that go on."""
        read = self._of_sessions if self.table == "sessions" else self._of_events
        visits = read(tables)
        rows: dict[str, Any] = {
            name: self._split(visits, name, self._place(visits)) for name in ("validation", "test")
        }
        rows |= {"now": visits.now, "about": visits}
        if self.common.privacy.private:
            rows |= {shared(name): rows[name] for name in ("validation", "test")}
        return rows

    def _of_sessions(self, tables: Readable) -> _Visits:
        import polars as pl

        if "sessions" not in tables or "purchased" not in tables["sessions"].columns:
            raise DataError(
                "sessions: purchase intent needs the table 'sessions' with the column 'purchased', "
                'or table = "events" in the plan; name one in retailer.toml'
            )
        frame = tables["sessions"]
        frame = frame.filter(self._recent(frame["time"])).sort("session")
        columns = dict(intent_sessions.session_columns(frame, self.leave_out))
        facts = self._facts(tables, frame)
        columns |= self._allowed(facts)
        y = frame["purchased"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        unit = np.arange(frame.height)
        cases = Cases(self.names, in_steps(columns), y.astype(np.float64), unit)
        day = self._days(frame["time"])
        running = np.isnan(y)
        now = running if running.any() else day == day.max(initial=-LONGEST)
        return _Visits(
            frame["session"].to_numpy(),
            frame["time"].to_list(),
            day,
            cases.chosen(~running),
            cases.chosen(~running),
            Split(cases.chosen(slice(0, 0)), cases.chosen(now)),
            facts,
            lambda name: [intent_sessions.said(frame, name)[i] for i in np.flatnonzero(now)],
        )

    def _of_events(self, tables: Readable) -> _Visits:
        import polars as pl

        if "events" not in tables or tables["events"].is_empty():
            raise DataError(
                "events: purchase intent needs the table 'events', or table = \"sessions\" in the "
                "plan; name one in retailer.toml"
            )
        events = tables["events"]
        visits = intent_events.read_visits(events.filter(self._recent(events["time"])))
        began = pl.Series(visits.begun).cast(pl.Datetime("us"))
        named = pl.DataFrame({"customer": pl.Series(visits.customers, dtype=pl.String)})
        facts = self._facts(tables, named)
        columns = {name: visits.columns[name] for name in self.names if name in visits.columns}
        if self.common.privacy.private:
            hidden = np.full(len(visits.session), np.nan)
            columns |= {n: hidden for n in intent_events.OF_EARLIER_VISITS if n in columns}
        columns |= {n: values[visits.session] for n, values in self._allowed(facts).items()}
        open_ = ~visits.bought
        outcome = visits.buys.astype(np.float64)
        whole = Cases(self.names, in_steps(columns), outcome, visits.session)
        day = self._days(began)
        last = np.zeros(len(open_), np.bool_)
        last[visits.last] = True
        now = np.flatnonzero(last & open_ & (day == day.max(initial=-LONGEST))[visits.session])
        return _Visits(
            visits.sessions,
            began.to_list(),
            day,
            whole.chosen(open_ & np.isin(visits.nth, intent_events.MOMENTS)),
            whole.chosen(open_ & (visits.nth == self.after)),
            Split(whole.chosen(slice(0, 0)), whole.chosen(now)),
            facts,
            lambda name: intent_events.said(visits, now, name),
        )

    def _recent(self, times: pl.Series) -> pl.Series:
        days = self._days(times)
        import polars as pl

        return pl.Series((days < 0) & (days >= -self.history_days))

    def _days(self, times: pl.Series) -> NDArray[np.int64]:
        """Returns the day of each time, counted from today: -1 is yesterday."""
        today = datetime.combine(self.common.today, clock.min)
        since = (times - today).dt.total_microseconds().to_numpy()
        day = timedelta(days=1) // timedelta(microseconds=1)
        found: NDArray[np.int64] = np.floor_divide(since, day).astype(np.int64)
        return found

    def _facts(self, tables: Readable, frame: pl.DataFrame) -> dict[str, NDArray[Any]]:
        """Returns what is known of who came, and the region that the visit itself tells."""
        facts = facts_of(tables, intent_sessions.texts(frame, "customer"), ATTRIBUTES)
        here = intent_sessions.texts(frame, "region")
        return {**facts, "region": np.where(here != "", here, facts["region"])}

    def _allowed(self, facts: dict[str, NDArray[Any]]) -> dict[str, Any]:
        return text_columns(self.protected, [facts[name] for name in self.protected])

    def _place(self, visits: _Visits) -> NDArray[np.float64]:
        """Returns where in [0, 1) a random split puts each visit."""
        if self.split == "time":
            return np.empty(0)
        hashed = [hashlib.blake2b(str(s).encode(), digest_size=7).digest() for s in visits.sessions]
        return np.array([int.from_bytes(h, "big") / 2**56 for h in hashed])

    def _split(self, visits: _Visits, name: str, place: NDArray[np.float64]) -> Split:
        if self.split == "random":
            low, high = (0.0, 0.2) if name == "test" else (0.2, 0.4)
            scored, train = (place >= low) & (place < high), place >= high
        else:
            cut = -self.test_days if name == "test" else -2 * self.test_days
            scored = (visits.day >= cut) & (visits.day < cut + self.test_days)
            train = visits.day < cut
        kept = visits.scored.chosen(scored[visits.scored.unit])
        learned = visits.train.chosen(train[visits.train.unit])
        if not len(kept) or not len(learned):
            raise DataError(
                f"{self.table}: {len(learned):,} rows to learn from and {len(kept):,} visits to "
                f"score for the {name}: purchase intent needs both; give a longer export or a "
                f"shorter test_days in the plan"
            )
        facts = {n: values[kept.unit] for n, values in visits.facts.items()}
        return Split(learned, kept, facts, "session")

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns the visits that go on, the most likely to buy first, and why.

        Where none goes on, those of the last day. low, high: as in churn.
        """
        import polars as pl

        outcome, visits = cast(OutcomeModel, model), cast(_Visits, rows["about"])
        now: Cases = rows["now"].scored
        p = outcome.probabilities(now)
        low, high = seen_band(rows["test"].scored, outcome, p)
        return pl.DataFrame(
            {
                "session": visits.sessions[now.unit].astype(str),
                "time": pl.Series([visits.times[i] for i in now.unit], dtype=pl.Datetime("us")),
                "probability": p.round(4),
                "low": low.round(4),
                "high": high.round(4),
                **_reasons(now.names[1:], outcome.reasons(now), visits.said),
            },
            schema_overrides={f"why_{i + 1}": pl.String for i in range(_SHOWN)},
        ).sort(["probability", "session"], descending=[True, False])

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many visits there are to learn from."""
        scored: Cases = rows["test"].scored
        bought = int(scored.y.sum())
        found = f"{len(scored):,} visits in the test, of which {bought:,} bought"
        fine = min(bought, len(scored) - bought) >= self.least_group
        verdict: Verdict = "yes" if fine else "look"
        expected = f"at least {self.least_group} that bought and {self.least_group} that did not"
        remedy = "" if fine else "a longer export, or a longer test_days in the plan"
        return (Standing("visits", verdict, found, expected, remedy),)


@dataclass(frozen=True, eq=False)
class _Visits:
    """One retailer's visits: train and scored are cases of them, said a feature of `now` in words.

    sessions, times, day, facts: (sessions,) by the unit of a case.
    """

    sessions: NDArray[Any]
    times: list[datetime]
    day: NDArray[np.int64]
    train: Cases
    scored: Cases
    now: Split
    facts: dict[str, NDArray[Any]]
    said: Callable[[str], list[str]]


def _reasons(
    columns: tuple[str, ...], contributions: NDArray[np.float64], said: Callable[[str], list[str]]
) -> dict[str, list[str]]:
    """Returns the strongest reasons in words; one against a purchase begins with "but"."""
    features = [column.partition(" #")[0] for column in columns]
    named = list(dict.fromkeys(features))
    summed = np.zeros((len(contributions), len(named)))
    for i, feature in enumerate(features):
        summed[:, named.index(feature)] += contributions[:, i]
    order = np.argsort(-np.abs(summed), axis=1, kind="stable")[:, :_SHOWN]
    words = {name: said(name) for name in named if name not in ATTRIBUTES}
    told: dict[str, list[str]] = {f"why_{i + 1}": [] for i in range(_SHOWN)}
    for row, chosen in enumerate(order):
        for i in range(_SHOWN):
            name = named[chosen[i]] if i < len(chosen) else ""
            pull = summed[row, chosen[i]] if name else 0.0
            text = words[name][row] if name in words else "a protected attribute that is allowed"
            told[f"why_{i + 1}"].append("" if not pull else text if pull > 0 else f"but {text}")
    return told
