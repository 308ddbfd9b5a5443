from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.consortium.totals import Local
from grandtotal.durable import canonical
from grandtotal.errors import DataError
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.sales import Panel, Periods, build_cases
from grandtotal.tasks.sales_read import read_sales
from grandtotal.tasks.task import Common

TODAY = date(2024, 7, 1)  # a Monday
KEYS = ("tea", "jam")
MIDNIGHT = datetime(2024, 7, 1)


def frame(*lines, **columns):
    """Returns transactions of (days before today, product, quantity, price)."""
    times = [MIDNIGHT - timedelta(days=days) + timedelta(hours=15) for days, *_ in lines]
    return pl.DataFrame(
        {
            "time": times,
            "product": [line[1] for line in lines],
            "quantity": [float(line[2]) for line in lines],
            "price": [float(line[3]) for line in lines],
            **columns,
        },
        schema_overrides={"time": pl.Datetime("us")},
    )


def read(lines, days=7, count=4, **tables):
    periods = Periods(TODAY, days, count)
    return read_sales({"transactions": lines, **tables}, Common(TODAY, KEYS), periods, 2, 4.0)


# --- the panel ---


def test_units_are_what_was_sold_less_what_came_back_by_period():
    found = read(
        frame(
            (28, "tea", 1, 2),  # the first day of the first week
            (22, "tea", 2, 2),  # its last
            (21, "tea", 4, 2),
            (20, "tea", -1, 2),
            (8, "jam", 1, 3),
            (9, "jam", -5, 3),
            (7, "jam", 2.5, 3),
            (1, "jam", 1, 3),
        )
    )
    assert found.units.tolist() == [[3, 3, 0, 0], [0, 0, 0, 3.5]]


def test_today_later_and_long_ago_are_not_in_the_panel():
    found = read(frame((0, "tea", 5, 1), (-3, "tea", 5, 1), (29, "tea", 5, 1), (1, "tea", 1, 1)))
    assert found.units.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_a_price_is_the_mean_of_what_was_sold_and_nan_where_nothing_was():
    found = read(frame((1, "tea", 1, 2), (2, "tea", 9, 4), (3, "tea", -1, 99)))
    assert found.price[0, 3] == 3.0
    assert np.isnan(found.price).sum() == 7


def test_a_promotion_is_its_column_or_else_a_discount():
    lines = frame((1, "tea", 1, 2), (2, "tea", 1, 2), (3, "tea", 1, 2), (4, "tea", 1, 2))
    offer = pl.Series(["week", None, None, None], dtype=pl.String)
    discount = pl.Series([0.0, 0.5, None, 0.1])
    assert read(lines).promoted[0, 3] == 0
    assert read(lines.with_columns(promotion=offer)).promoted[0, 3] == 0.25
    assert read(lines.with_columns(discount=discount)).promoted[0, 3] == 0.5
    assert read(lines.with_columns(promotion=offer, discount=discount)).promoted[0, 3] == 0.25


def test_a_table_without_a_line_in_the_history_is_refused_with_its_dates():
    with pytest.raises(DataError, match="between 2024-06-03 and 2024-07-01"):
        read(frame((40, "tea", 1, 1)))


@pytest.mark.parametrize("days", [1, 7])
def test_periods_are_counted_back_from_today(days):
    periods = Periods(TODAY, days, 400)
    assert periods.start(400) == TODAY
    assert periods.start(399) == TODAY - timedelta(days=days)
    assert periods.year * days == 364


@given(st.integers(0, 10**6))
def test_capping_only_ever_lowers_and_looks_only_back(build, seed):
    sales = build.sales(np.random.default_rng(seed), products=3)
    sales.units[1, 40] += 5000.0
    capped = sales.capped()
    assert (capped <= sales.units).all()
    assert (capped * UNIT_STEPS == np.rint(capped * UNIT_STEPS)).all()
    assert abs(capped[1, 40] - (sales.cap * sales.units[1, 14:40].mean() + 12)) <= 1 / UNIT_STEPS
    before = replace(sales, units=sales.units * (np.arange(70) < 40)).capped()
    assert (before[:, :40] == capped[:, :40]).all()


def test_units_without_an_outlier_are_left_alone(build):
    sales = build.sales(np.random.default_rng(3))
    steady = replace(sales, units=np.full_like(sales.units, 7.0))
    assert (steady.capped() == 7.0).all()


# --- cases ---


@pytest.mark.parametrize("days", [1, 7])
def test_baselines_and_targets_are_looked_up_one_by_one(build, days):
    periods = Periods(TODAY, days, 120)
    sales = build.sales(np.random.default_rng(1), 4, periods, 9)
    sales.units[2, 60:] = 0.0
    cases = build_cases(sales, sales.capped(), (70, 100, 115), 120)
    season, level = (52, 8) if days == 7 else (7, 28)
    seen = set()
    for i, (product, t, ahead) in enumerate(
        zip(cases.series.tolist(), cases.origin.tolist(), cases.ahead.tolist(), strict=True)
    ):
        seen.add((product, t, ahead))
        target = t + ahead - 1
        assert cases.sold[i] == sales.units[product, target]
        assert cases.mean[i] == pytest.approx(sales.units[product, t - level : t].mean())
        last = target
        while last >= t:
            last -= season
        assert cases.seasonal[i] == (sales.units[product, last] if last >= 0 else 0.0)
    window = 26 if days == 7 else 182
    assert seen == {
        (product, t, ahead)
        for product in range(4)
        for t in (70, 100, 115)
        for ahead in range(1, 10)
        if t + ahead - 1 < 120 and sales.units[product, max(t - window, 0) : t].any()
    }


def test_a_product_that_no_longer_sells_is_not_forecast(build):
    sales = build.sales(np.random.default_rng(1))
    sales.units[3, :30], sales.units[3, 30:] = 5.0, 0.0
    assert 3 in build_cases(sales, sales.capped(), (55,), 70).series
    assert 3 not in build_cases(sales, sales.capped(), (56,), 70).series


def test_a_panel_without_any_sale_before_its_origins_is_refused(build):
    sales = build.sales(np.random.default_rng(1))
    sales.units[:, :60] = 0.0
    with pytest.raises(DataError, match="no product sold in the 26 periods before"):
        build_cases(sales, sales.capped(), (20, 59), 60)


def test_every_row_of_a_design_is_in_whole_steps(build):
    design = build_cases(*_with_series(build.sales(np.random.default_rng(2))), (60,), 70).design
    assert design.x.dtype == np.int16
    assert (design.y * UNIT_STEPS == np.rint(design.y * UNIT_STEPS)).all()


def _with_series(sales):
    return sales, sales.capped()


def test_a_panel_builds_other_rows_for_another_series(build):
    panel = build.panel([build.sales(np.random.default_rng(2))])
    series = panel.parts[0].capped()
    (first,), (again,), (other,) = (
        panel.training({"series": s}) for s in (series, series.copy(), 3 * series)
    )
    assert (first.x == again.x).all()
    assert (first.x != other.x).any()
    assert len(panel.cases(series)[0].sold) != len(first.y)


# --- no feature sees past the cut ---

GRIDS = [
    (7, 130, 8, (1, 8, 27, 52, 60, 61, 100, 129)),
    (7, 200, 70, (8, 60, 110, 130, 199)),  # further ahead than the season is long
    (1, 450, 14, (1, 28, 100, 392, 400, 449)),
    (1, 800, 400, (30, 392, 500, 799)),
]


def seen_from(sales, series, t):
    """Returns the bytes of everything that a forecast of origin t may use."""
    cases = build_cases(sales, series, (t,), sales.periods.count + sales.horizon)
    shown = (cases.design.x, cases.design.offset, cases.series, cases.mean, cases.seasonal)
    return [array.tobytes() for array in shown]


def altered(sales, rng, first, last=None):
    """Returns the sales with other units, prices and promotions in these periods."""
    units, price, promoted = sales.units.copy(), sales.price.copy(), sales.promoted.copy()
    window = np.s_[:, first:last]
    units[window] = rng.poisson(500.0, units[window].shape)
    price[window] = rng.uniform(100.0, 900.0, units[window].shape)
    promoted[window] = 1.0
    return replace(sales, units=units, price=price, promoted=promoted)


@pytest.mark.parametrize(("days", "count", "horizon", "origins"), GRIDS)
def test_what_happens_from_an_origin_on_changes_nothing_that_it_sees(
    build, days, count, horizon, origins
):
    rng = np.random.default_rng(days * count)
    periods = Periods(TODAY, days, count)
    sales, others = (build.sales(rng, 5, periods, horizon) for _ in range(2))
    series = sales.capped() + others.capped()
    for t in origins:
        later = altered(sales, rng, t)
        new_series = later.capped() + altered(others, rng, t).capped()
        assert seen_from(later, new_series, t) == seen_from(sales, series, t)


@pytest.mark.parametrize(("days", "count", "horizon", "origins"), GRIDS)
def test_what_happened_just_before_an_origin_is_seen(build, days, count, horizon, origins):
    rng = np.random.default_rng(days * count)
    sales = build.sales(rng, 5, Periods(TODAY, days, count), horizon)
    series = sales.capped()
    for t in origins:
        own = altered(sales, rng, t - 1, t)
        assert seen_from(own, series, t) != seen_from(sales, series, t)
        assert seen_from(sales, own.capped(), t) != seen_from(sales, series, t)


def lines_altered_from(lines, cut):
    """Returns the lines with other quantities, prices and promotions from a day on."""
    late = pl.col("time") >= cut
    return lines.with_columns(
        quantity=pl.when(late).then(pl.col("quantity").abs() * 7 + 3).otherwise("quantity"),
        price=pl.when(late).then(pl.col("price") / 5).otherwise("price"),
        discount=pl.when(late).then(9.0).otherwise("discount"),
        promotion=pl.when(late).then(pl.lit("all")).otherwise("promotion"),
    )


def altered_frames(frames, cut):
    return {
        name: {**tables, "transactions": lines_altered_from(tables["transactions"], cut)}
        for name, tables in frames.items()
    }


def series_of(rows):
    return sum(part["test"].parts[0].capped() for part in rows.values())


@pytest.mark.parametrize("every", ["week", "day"])
@pytest.mark.parametrize("split", ["validation", "test", "now"])
def test_lines_from_a_cut_on_change_no_design_of_it(common, frames, every, split):
    sizes = {"week": (4, 8, 80), "day": (7, 14, 120)}[every]
    task = Demand(common, ("ridge",), every, *sizes)
    known = {name: task.rows(tables) for name, tables in frames.items()}
    panel = known["north"][split]
    cut = task.periods.start(panel.cut)
    other = {name: task.rows(t) for name, t in altered_frames(frames, cut).items()}
    series, moved = series_of(known), series_of(other)
    assert split == "now" or (series != moved).any()
    for name in frames:
        (design,) = known[name][split].training({"series": series})
        (found,) = other[name][split].training({"series": moved})
        for column in ("x", "y", "offset"):
            assert getattr(design, column).tobytes() == getattr(found, column).tobytes()
        first, last = (
            replace(rows[name][split], scored=(panel.cut,), kept={}).cases(consortium)[0].design
            for rows, consortium in ((known, series), (other, moved))
        )
        assert first.x.tobytes() == last.x.tobytes()
        assert first.offset.tobytes() == last.offset.tobytes()


def test_lines_from_the_test_on_change_no_coefficient_and_no_choice(demand, frames):
    known = demand.rows(frames["north"])
    cut = demand.periods.start(known["test"].cut)
    other = demand.rows(altered_frames(frames, cut)["north"])
    fitted, found = demand.fit(Local(known)), demand.fit(Local(other))
    coefficients = [fit.model.arrays["coefficients"] for fit in (fitted, found)]
    assert coefficients[0].tobytes() == coefficients[1].tobytes()
    assert canonical(fitted.choice) == canonical(found.choice)


def test_lines_before_the_test_do_change_the_coefficients(demand, frames):
    known = demand.rows(frames["north"])
    cut = demand.periods.start(known["test"].cut - 1)
    found = demand.rows(altered_frames(frames, cut)["north"])
    fits = [demand.fit(Local(rows)).model.arrays["coefficients"] for rows in (known, found)]
    assert (fits[0] != fits[1]).any()


# --- the calendar, as it was known ---

LINES = frame(*((days, "tea", 3, 1) for days in range(1, 140)))
ORIGIN = 15  # of 20 weeks
START = Periods(TODAY, 7, 20).start(ORIGIN)
BEGIN = datetime.combine(START, datetime.min.time())


def calendar(*rows):
    """Returns a calendar of (days after the origin, known at or None, its name or None)."""
    return pl.DataFrame(
        [(START + timedelta(days=days), known, name) for days, known, name in rows],
        schema={"date": pl.Date, "known_at": pl.Datetime("us"), "holiday": pl.String},
        orient="row",
    )


def design(holidays, origin=ORIGIN):
    sales = read(LINES, count=20, calendar=holidays)
    return build_cases(sales, sales.capped(), (origin,), 20).design.x.tolist()


NONE = calendar()
EASTER = (2, None, "Easter")


def test_a_holiday_that_was_always_known_is_a_feature_of_its_week_only():
    weeks = [design(calendar((days, None, "x"))) != design(NONE) for days in (-1, 0, 6, 7, 13, 14)]
    assert weeks == [False, True, True, True, True, False]  # the horizon is two weeks
    assert design(calendar(EASTER).drop("known_at")) == design(calendar(EASTER))
    assert design(calendar((0, None, "x"))) == design(calendar((6, None, "x")))
    assert design(calendar((6, None, "x"))) != design(calendar((7, None, "x")))


@pytest.mark.parametrize(
    ("after", "is_known"),
    [(-400, True), (-7, True), (-1, True), (0, True), (1 / 1440, False), (0.6, False), (7, False)],
)
def test_a_holiday_counts_from_when_it_was_known(after, is_known):
    found = design(calendar((2, BEGIN + timedelta(days=after), "Easter")))
    assert found == design(calendar(EASTER) if is_known else NONE)


LATER = BEGIN + timedelta(days=1)


@pytest.mark.parametrize(
    "row",
    [
        (2, LATER, "Easter, in the south"),  # the same day, for another region
        (3, LATER, "a wedding"),  # another day of the same week
        (9, LATER, "a strike"),
        (-3, LATER, "a correction"),
    ],
)
def test_what_became_known_later_changes_nothing_before(row):
    assert design(calendar(EASTER, row)) == design(calendar(EASTER))
    assert design(calendar(row)) == design(NONE)


def test_what_became_known_later_counts_from_the_next_origin_on():
    late = calendar((9, LATER, "a strike"))
    assert design(late) == design(NONE)
    assert design(late, ORIGIN + 1) != design(NONE, ORIGIN + 1)
    assert design(late, ORIGIN + 1) == design(calendar((9, None, "a strike")), ORIGIN + 1)


def test_a_day_counts_once_however_many_regions_have_it():
    twice = calendar(EASTER, (2, BEGIN - timedelta(days=1), "Easter, in the south"))
    assert design(twice) == design(calendar(EASTER))
    assert design(calendar(EASTER, (3, None, "Monday"))) != design(calendar(EASTER))


def test_a_row_without_a_holiday_is_none():
    assert design(calendar((2, None, None))) == design(NONE)
    assert design(calendar(EASTER).drop("holiday")) == design(NONE)


def test_pooled_panels_share_their_grid_and_not_their_rows(build):
    rng = np.random.default_rng(7)
    panels = [build.panel([build.sales(rng)]) for _ in range(3)]
    pooled = Panel.pooled(panels)
    series = sum(panel.parts[0].capped() for panel in panels)
    together, apart = (
        [d.x.tobytes() for p in ps for d in p.training({"series": series})]
        for ps in ([pooled], panels)
    )
    assert together == apart
