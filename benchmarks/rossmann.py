"""Rossmann daily sales as 45 features: what was known 42 days before, the calendar, and the shop.

The retailers of a simulation are groups of German states; the last 42 days are the test.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.rows import need
from grandtotal.algorithms.columns import Columns
from grandtotal.privacy.fingerprint import fingerprints

TARGET = "sales"
HORIZON = 42  # days
SOURCE = "kaggle.com/c/rossmann-store-sales"
_LAGS = (42, 43, 49, 56, 63, 91, 182, 364)
_WINDOWS = (7, 14, 28, 91, 182)


@dataclass(frozen=True)
class Rossmann:
    """train, test: the columns; retailers: (train rows,) which of five holds each."""

    train: Columns
    test: Columns
    retailers: Any

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(name for name in self.train.numbers if name != TARGET)

    def parts(self, count: int) -> list[Columns]:
        """Returns the training rows of so many retailers: groups of states, or of shops."""
        return [_taken(self.train, self.retailers % count == i) for i in range(count)]


def rossmann(data: Path) -> Rossmann:
    """Returns the features; the target is the logarithm of the sales."""
    folder = data / "rossmann"
    path = need(folder / "rossmann.parquet", SOURCE)
    frame = pl.read_parquet(path).with_columns(pl.col("Date").cast(pl.Date))
    states = pl.read_csv(need(folder / "store_states.csv", SOURCE))
    frame = frame.join(states, on="Store").sort("Store", "Date")
    made = _features(frame)
    cut = frame["Date"].max() - pl.duration(days=HORIZON)
    late = frame.select(pl.col("Date") > cut).to_series().to_numpy()
    first = frame.select(pl.col("Date") >= pl.col("Date").min() + pl.duration(days=28)).to_series()
    keys = fingerprints(
        bytes(32), "row", (f"{s} {d}" for s, d in frame.select("Store", "Date").iter_rows())
    )
    whole = Columns({name: made[name].to_numpy() for name in made.columns}, {}, keys)
    codes = frame["Store"].to_numpy()
    order = {state: i for i, state in enumerate(sorted(states["State"].unique()))}
    groups = frame["State"].replace_strict(order).to_numpy() + 12 * (codes % 2)
    early = ~late & first.to_numpy()
    return Rossmann(_taken(whole, early), _taken(whole, late), groups[early])


def _features(frame: pl.DataFrame) -> pl.DataFrame:
    log = pl.col("Sales").log().alias("log")
    # Lags are of days, not of rows: closed days are gaps that a calendar of every shop fills.
    shops = frame.select("Store").unique()
    days = frame.select(pl.date_range(pl.col("Date").min(), pl.col("Date").max()).alias("Date"))
    full = shops.join(days, how="cross").join(
        frame.select("Store", "Date", log, pl.col("Promo").alias("promo")),
        on=["Store", "Date"],
        how="left",
    )
    full = full.sort("Store", "Date")
    known = pl.col("log").shift(HORIZON)
    weekday = pl.col("Date").dt.weekday()
    made = [pl.col("log").shift(lag).over("Store").exp().alias(f"lag {lag}") for lag in _LAGS]
    for days_ in _WINDOWS:
        made += [
            known.rolling_mean(days_, min_samples=1).over("Store").exp().alias(f"mean {days_}"),
            known.rolling_std(days_, min_samples=2).over("Store").alias(f"spread {days_}"),
        ]
    made += [
        known.rolling_max(28, min_samples=1).over("Store").exp().alias("most 28"),
        known.rolling_min(28, min_samples=1).over("Store").exp().alias("least 28"),
        *(
            known.rolling_mean(weeks, min_samples=1)
            .over("Store", weekday)
            .exp()
            .alias(f"same day {weeks}")
            for weeks in (4, 12, 52)
        ),
    ]
    past = full.with_columns(made).drop("log", "promo")
    frame = frame.join(past, on=["Store", "Date"], how="left", maintain_order="left")
    date = pl.col("Date")
    letters = {"0": 0, "a": 1, "b": 2, "c": 3, "d": 4}
    return frame.select(
        *(pl.col(name) for name in past.columns if name not in ("Store", "Date")),
        pl.col("Store").alias("shop"),
        pl.col("DayOfWeek").alias("weekday"),
        date.dt.day().alias("day"),
        date.dt.month().alias("month"),
        date.dt.year().alias("year"),
        date.dt.quarter().alias("quarter"),
        date.dt.week().alias("week"),
        date.dt.ordinal_day().alias("day of year"),
        (date - date.min()).dt.total_days().alias("time"),
        pl.col("Promo").alias("promotion"),
        pl.col("Promo").shift(1).over("Store").alias("promotion before"),
        pl.col("Promo").shift(-1).over("Store").alias("promotion after"),
        pl.col("SchoolHoliday").alias("school holiday"),
        pl.col("StateHoliday").cast(pl.String).replace_strict(letters, default=0).alias("holiday"),
        pl.col("StoreType").replace_strict(letters, default=5).alias("type"),
        pl.col("Assortment").replace_strict(letters, default=5).alias("assortment"),
        pl.col("CompetitionDistance").alias("competition"),
        (date.dt.year() - pl.col("CompetitionOpenSinceYear")).alias("competition years"),
        pl.col("CompetitionOpenSinceMonth").alias("competition month"),
        pl.col("Promo2").alias("second promotion"),
        pl.col("Promo2SinceWeek").alias("second promotion week"),
        (date.dt.year() - pl.col("Promo2SinceYear")).alias("second promotion years"),
        pl.col("Sales").log().alias(TARGET),
    ).select(pl.all().cast(pl.Float64).fill_null(float("nan")))


def _taken(columns: Columns, rows: Any) -> Columns:
    numbers = {name: values[rows] for name, values in columns.numbers.items()}
    return Columns(numbers, {}, columns.keys[rows])
