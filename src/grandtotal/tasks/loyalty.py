"""What loyal customers buy, week by week: by tier of the loyalty programme and by category.

Without agreed tiers the loyal are those who came often: in each week the customers who in the 13
weeks before it came as often as the upper third did in the first half of the history. Who is loyal
in a week is thus known before it, and a customer may enter and leave. A tier is what the customers
table says today; what it was in a past week is not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.behaviour import open_days
from grandtotal.tasks.visits import STEPS, Lines

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

MEASURES = ("units", "customers", "spend")
OFTEN = "often"
LEAD = 91  # days before a week in which visits are counted
_SPARSE = 0.1  # share of its weeks that a group may have too few customers in


@dataclass(frozen=True, eq=False)
class Loyalty:
    """One retailer's totals by group and week.

    groups: tier and category of each; those that all share come first, `shared` of them.
    totals: (measures, groups, weeks) in STEPS; spend in money. exposed: (weeks,) share of the
        week's days with data.
    index: trend indices by week, (week, day from which on it was known, value). lag: weeks until
        the index of a week is published.
    """

    groups: tuple[tuple[str, str], ...]
    shared: int
    totals: NDArray[np.int64]
    exposed: NDArray[np.float64]
    index: tuple[tuple[int, int, float], ...] = ()
    lag: int = 1

    @property
    def weeks(self) -> int:
        """How many weeks there are."""
        return len(self.exposed)

    def column(self) -> NDArray[np.float64] | None:
        """Returns the log of the trend index (weeks, 1), standardised; None without one.

        Week w has the index of week w - lag, so that it was known when the week began; a week
        without one has the last that was known.
        """
        known: dict[int, list[float]] = {}
        for week, published, value in self.index:
            if published <= 7 * min(week + self.lag, self.weeks) and value > 0:
                known.setdefault(week + self.lag, []).append(value)
        if len(known) < 8:
            return None
        places = np.array(sorted(known))
        values = np.log([float(np.mean(known[w])) for w in places])
        last = np.searchsorted(places, np.arange(self.weeks), "right") - 1
        found = values[np.clip(last, 0, None)]
        return ((found - found.mean()) / found.std())[:, None] if found.std() > 0 else None


@dataclass(frozen=True, eq=False)
class Loyal:
    """What one retailer, or in a simulation several, knows of loyal customers."""

    parts: tuple[Loyalty, ...]
    least: int

    @staticmethod
    def pooled(all_: list[Loyal]) -> Loyal:
        """Returns the totals of several retailers as rows of one: for simulations."""
        return Loyal(tuple(part for one in all_ for part in one.parts), all_[0].least)


@dataclass(frozen=True)
class LoyalSums:
    """Units, customers and spend by group and week, and what they are compared with.

    groups: tiers times categories, which the plan decides. weeks: until today.
    All of a group's customers are in its totals: not asked under epsilon.
    """

    name: ClassVar[str] = "loyal-sums"
    bound: ClassVar[Stated] = None

    groups: int
    weeks: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns happened and exposed, both (measures, groups, weeks)."""
        shape = (len(MEASURES), self.groups, self.weeks)
        return {"happened": Field(shape, scale=STEPS), "exposed": Field(shape, scale=STEPS)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums, without groups of too few customers."""
        loyal: Loyal = rows["loyal"]
        sums = [shared_totals(part, loyal.least) for part in loyal.parts]
        return {
            "happened": np.sum([happened for happened, _ in sums], axis=0),
            "exposed": np.sum([exposed for _, exposed in sums], axis=0),
        }


def shared_totals(part: Loyalty, least: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns happened and exposed of the shared groups; weeks of too few customers are 0.

    A group with fewer than `least` customers in more than a tenth of its weeks is left out
    altogether: its better weeks alone would look like a level. Exposed is the usual total of a week
    with data, so that neither currency nor size of a retailer is in the ratio.
    """
    totals = part.totals[:, : part.shared]
    enough = totals[1] >= least * STEPS
    seen = part.exposed > 0
    sparse = (~enough & seen).sum(axis=1) > _SPARSE * max(int(seen.sum()), 1)
    shown = enough & seen & ~sparse[:, None]
    happened = totals.copy()
    happened[2] = np.rint(totals[2] / max(totals[2].sum() / max(totals[1].sum(), 1), 1e-9))
    weeks = np.maximum((shown * part.exposed).sum(axis=1), 1e-9)
    usual = (happened * shown).sum(axis=2) / weeks
    exposed = np.rint(usual[:, :, None] * part.exposed).astype(np.int64)
    return happened * shown, exposed * shown


def read_loyalty(
    lines: Lines, tables: Tables, today: date, agreed: tuple[tuple[str, ...], tuple[str, ...]]
) -> Loyalty:
    """Returns the totals of the loyal, all 0 where no line has a customer or nobody a tier.

    agreed: tiers, () for those who come often, and categories besides all together.
    """
    tiers, categories = agreed
    weeks = lines.days // 7
    own = [name for name in lines.categories(lines.days) if name not in categories]
    rows = _with_tier(lines, tables) if tiers else _often(lines)
    places = ("all", *categories, *own)
    # Every tier of what all share, then every tier of the retailer's own categories.
    shared = [(tier, name) for tier in tiers or (OFTEN,) for name in ("all", *categories)]
    every = [(tier, name) for tier in tiers or (OFTEN,) for name in places]
    named = [*shared, *(group for group in every if group[1] in own)]
    totals = np.stack([_totals(rows, tier, category, weeks) for tier, category in named], axis=1)
    return Loyalty(
        tuple(named), len(shared), totals, _exposed(lines, not tiers), *_index(tables, today, weeks)
    )


def _exposed(lines: Lines, often: bool) -> NDArray[np.float64]:
    """Returns the share of each week's days with data; of the often, after LEAD days of it."""
    visits = lines.by_day()["visits"] / STEPS
    open_ = open_days(visits, lines.weekday, lines.days)
    if often and len(lines.known):
        earliest = int(lines.known["t"].min())  # type: ignore[arg-type]
        open_[: max(earliest + LEAD, 0)] = False
    found: NDArray[np.float64] = open_.reshape(-1, 7).mean(axis=1)
    return found


def _often(lines: Lines) -> pl.DataFrame:
    """Returns week, customer, category, sold, spend of those who came often before the week."""
    import polars as pl

    days = lines.known.select("customer", "t").unique()
    codes = days.select("customer").unique().sort("customer").with_row_index("c")
    step = 2**20
    known = days.join(codes, on="customer").select(pl.col("c").cast(pl.Int64) * step + pl.col("t"))
    keys = np.sort(known.to_series().to_numpy())
    rows = lines.groups.join(codes, on="customer").with_columns(week=pl.col("t") // 7)
    own = rows["c"].cast(pl.Int64).to_numpy() * step
    ends = own + 7 * rows["week"].to_numpy()
    came = np.searchsorted(keys, ends) - np.searchsorted(keys, ends - LEAD)
    _, week, times = np.unique(np.stack([own, rows["week"].to_numpy(), came]), axis=1)
    early = times[(week < week.max(initial=0) / 2) & (times > 0)]
    limit = max(int(np.ceil(np.quantile(early, 2 / 3))), 1) if len(early) else 1
    return rows.filter(pl.Series(came >= limit)).with_columns(tier=pl.lit(OFTEN))


def _with_tier(lines: Lines, tables: Tables) -> pl.DataFrame:
    import polars as pl

    if "customers" not in tables or "tier" not in tables["customers"].columns:
        nobody = lines.groups.filter(pl.lit(False))
        return nobody.with_columns(tier=pl.lit("", pl.String), week=pl.col("t") // 7)
    tiers = tables["customers"].select(pl.col("customer").cast(pl.String), "tier")
    rows = lines.groups.join(tiers, on="customer", how="inner")
    return rows.with_columns(week=pl.col("t") // 7)


def _totals(rows: pl.DataFrame, tier: str, category: str, weeks: int) -> NDArray[np.int64]:
    """Returns (measures, weeks) of one group, in STEPS."""
    import polars as pl

    here = rows.filter(pl.col("tier") == tier)
    here = here if category == "all" else here.filter(pl.col("category") == category)
    sums = here.group_by("week").agg(
        sold=pl.col("sold").sum(),
        customer=STEPS * pl.col("customer").filter(pl.col("sold") > 0).n_unique(),
        spend=pl.col("spend").sum(),
    )
    found = np.zeros((len(MEASURES), weeks), np.int64)
    place = sums["week"].to_numpy()
    for row, name in enumerate(("sold", "customer", "spend")):
        found[row, place] = np.maximum(sums[name].to_numpy().astype(np.int64), 0)
    return found


def _index(
    tables: Tables, today: date, weeks: int
) -> tuple[tuple[tuple[int, int, float], ...], int]:
    """Returns the trend index of the calendar by week, and after how many weeks it is known."""
    import polars as pl

    if "calendar" not in tables or "trend" not in tables["calendar"].columns:
        return (), 1
    days = tables["calendar"].filter(pl.col("trend").is_not_null())
    first = today - timedelta(days=7 * weeks)
    when = pl.col("known_at") if "known_at" in days.columns else pl.lit(None, pl.Datetime)
    start = pl.lit(datetime.combine(first, time.min))
    rows = days.select(
        week=((pl.col("date") - pl.lit(first)).dt.total_days()) // 7,
        day=(pl.col("date") - pl.lit(first)).dt.total_days(),
        known=(when - start).dt.total_days() + 1,
        value=pl.col("trend"),
    )
    rows = rows.with_columns(known=pl.coalesce("known", pl.col("day") + 1))
    late = int(np.max((rows["known"] - rows["day"]).to_numpy(), initial=1))
    found = rows.select("week", "known", "value").iter_rows()
    return tuple((int(w), int(k), float(v)) for w, k, v in found), -(-(late + 6) // 7)
