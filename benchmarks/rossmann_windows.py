"""Rossmann daily sales as windows: 1,115 series of days, and what is known of each day beforehand.

A day without sales is a gap: the shop was closed. The validation is the 42 days before the last 42,
which are the test; the retailers of a simulation are groups of German states, as in `rossmann`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.rossmann import HORIZON, SOURCE
from benchmarks.rows import need
from grandtotal.algorithms.windows import Windows, origins

SEEN = 4  # of the features, read with the history: promotion, school holiday, holiday, Sunday
TRAITS = 11


@dataclass(frozen=True)
class Shops:
    """All shops' windows, cut for the validation and for the test; which retailer holds a shop."""

    validation: Windows
    test: Windows
    groups: Any

    def parts(self, count: int, split: str) -> list[Windows]:
        """Returns the shops of so many retailers."""
        return [self._of(self.groups % count == i, split) for i in range(count)]

    def some(self, every: int) -> "Shops":
        """Returns every so manieth shop."""
        kept = np.arange(len(self.groups)) % every == 0
        return Shops(self._of(kept, "validation"), self._of(kept, "test"), self.groups[kept])

    def _of(self, shops: Any, split: str) -> Windows:
        whole: Windows = getattr(self, split)
        number = np.cumsum(shops) - 1

        def mine(records: Any) -> Any:
            kept = records[shops[records[:, 0]]]
            return np.stack([number[kept[:, 0]], kept[:, 1]], axis=1)

        return Windows(
            whole.units[shops],
            whole.known[shops],
            whole.traits[shops],
            mine(whole.training),
            mine(whole.scored),
        )


def shops(data: Path, history: int, step: int) -> Shops:
    """Returns the windows; there is an origin to learn from every `step` days."""
    folder = data / "rossmann"
    frame = pl.read_parquet(need(folder / "rossmann.parquet", SOURCE))
    frame = frame.with_columns(pl.col("Date").cast(pl.Date))
    states = pl.read_csv(need(folder / "store_states.csv", SOURCE)).sort("Store")
    first, last = frame["Date"].min(), frame["Date"].max()
    days = (last - first).days + 1  # type: ignore[operator, union-attr]
    shop = frame["Store"].to_numpy() - 1
    day = (frame["Date"] - first).dt.total_days().to_numpy()
    count = int(shop.max()) + 1

    def grid(values: Any, missing: float) -> Any:
        table = np.full((count, days), missing, np.float32)
        table[shop, day] = values
        return table

    units = grid(frame["Sales"].to_numpy(), np.nan)
    known = _known(frame, grid, first, days, units)
    test = days - HORIZON
    whole = Windows(units, known, _traits(frame, count), *_cut(count, test, history, step))
    training, scored = _cut(count, test - HORIZON, history, step)
    order = {state: i for i, state in enumerate(sorted(states["State"].unique()))}
    groups = states["State"].replace_strict(order).to_numpy() + 12 * (
        states["Store"].to_numpy() % 2
    )
    return Shops(replace(whole, training=training, scored=scored), whole, groups)


def _cut(count: int, cut: int, history: int, step: int) -> tuple[Any, Any]:
    times = np.arange(cut - HORIZON, history - 1, -step)[::-1]
    return origins(count, times), origins(count, np.array([cut]))


def _known(frame: pl.DataFrame, grid: Any, first: Any, days: int, units: Any) -> Any:
    dates = pl.date_range(first, first + pl.duration(days=days - 1), eager=True)
    weekday = dates.dt.weekday().to_numpy() - 1
    promotion = grid(frame["Promo"].to_numpy(), 0)
    school = grid(frame["SchoolHoliday"].to_numpy(), 0)
    holiday = grid((frame["StateHoliday"] != "0").to_numpy(), 0)
    # Whether a shop opens is decided beforehand; a gap on a weekday is a closed day.
    closed = np.isnan(units).astype(np.float32)
    sunday = np.broadcast_to(weekday == 6, units.shape)
    moved = [_shifted(closed, by) for by in (1, 2, -1, -2)]
    promotions = [_shifted(promotion, by) for by in (1, -1)]
    parts = [promotion, school, holiday, sunday, closed, *moved, *promotions]
    parts += [np.broadcast_to(weekday == k, units.shape) for k in range(6)]
    parts += [np.broadcast_to(wave, units.shape) for wave in _waves(dates)]
    return np.stack(parts, axis=2).astype(np.float32)


def _shifted(table: Any, days: int) -> Any:
    moved = np.roll(table, days, axis=1)
    moved[:, slice(0, days) if days > 0 else slice(days, None)] = 0
    return moved


def _waves(dates: pl.Series) -> list[Any]:
    """Returns the place in the month and in the year, as waves, and the days before Christmas."""
    month = dates.dt.day().to_numpy() / 31
    year = dates.dt.ordinal_day().to_numpy() / 365.25
    waves = [f(2 * np.pi * k * month) for k in (1, 2, 3) for f in (np.sin, np.cos)]
    waves += [f(2 * np.pi * k * year) for k in (1, 2, 3) for f in (np.sin, np.cos)]
    before = 358 - dates.dt.ordinal_day().to_numpy()
    return [*waves, np.where((before >= 0) & (before < 28), 1 - before / 28, 0)]


def _traits(frame: pl.DataFrame, count: int) -> Any:
    shops = frame.unique("Store", keep="first").sort("Store")
    assert len(shops) == count
    types = [shops["StoreType"].to_numpy() == letter for letter in "abcd"]
    kinds = [shops["Assortment"].to_numpy() == letter for letter in "abc"]
    far = np.log1p(shops["CompetitionDistance"].fill_null(20_000).to_numpy()) / 10
    since = shops["CompetitionOpenSinceYear"].fill_null(2000).to_numpy()
    age = np.clip(2015 - since, 0, 20) / 20
    again = shops["Promo2"].to_numpy()
    months = shops["PromoInterval"].is_not_null().to_numpy()
    return np.stack([*types, *kinds, far, age, again, months], axis=1).astype(np.float32)
