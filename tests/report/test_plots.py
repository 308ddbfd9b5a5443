"""Plots whose marks stand where the numbers say."""

import re
from datetime import date

import pytest

from grandtotal.report.plots import Dot, Scale, bars, columns, curve, dots, steps, timeline


def test_scale_maps_its_ends_to_its_edges() -> None:
    scale = Scale(1.0, 3.0, 20, 80)
    assert [scale.at(v) for v in (1.0, 2.0, 3.0)] == ["20.00%", "50.00%", "80.00%"]


@pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0], [-1e-6, 1e-6], [0.8, 1.3], [0, 1e9]])
def test_scale_has_room_and_ticks_for_any_values(values: list[float]) -> None:
    scale = Scale.over(values, 0, 100)
    assert all(scale.low < value < scale.high for value in values)
    assert 2 <= len(scale.ticks()) <= 8
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_an_interval_spans_from_low_to_high_around_its_dot() -> None:
    drawn = dots("t", [("north", [Dot("alone", "alone", {"value": 2.0, "low": 1.0, "high": 4.0})])])
    x1, x2 = re.search(r'x1="([\d.]+)%"[^>]*x2="([\d.]+)%"[^>]*class="span alone"', drawn).groups()  # type: ignore[union-attr]
    (cx,) = re.findall(r'cx="([\d.]+)%"', drawn)
    assert (float(cx) - float(x1)) * 2 == pytest.approx(float(x2) - float(cx), abs=0.03)


def test_a_missing_value_has_no_dot_and_a_dash() -> None:
    drawn = dots("t", [("north", [Dot("alone", "alone", {"value": None})])])
    assert "<circle" not in drawn
    assert "–" in drawn


def test_the_longest_bar_is_the_most_bytes() -> None:
    widths = re.findall(
        r'width="([\d.]+)%" height="8.0" class="bar"', bars("t", [("a", 8), ("b", 2)])
    )
    assert [float(width) for width in widths] == [100, 25]


def test_nothing_sent_or_hit_is_drawn_without_dividing_by_zero() -> None:
    assert "0\u00a0bytes" in bars("t", [("a", 0)])
    assert columns("t", [], 1.0, "north")


def test_the_band_of_a_forecast_begins_where_the_forecast_does() -> None:
    found = {"starts": ["a", "b", "c"], "sold": [1, 2, 3], "from": 1, "forecast": [2, 2]}
    drawn = curve("t", {**found, "low": [0, 0], "high": [4, 4]})
    points = re.search(r'<polygon points="([^"]+)"', drawn).group(1).split()  # type: ignore[union-attr]
    assert {point.split(",")[0] for point in points} == {"50.00", "100.00"}


def test_a_change_stands_on_its_day_between_the_first_and_the_last() -> None:
    when = {"since": "2024-01-06", "earliest": "2024-01-05", "latest": "2024-01-09"}
    change = ("visits", {**when, "kind": "alone"})
    drawn = timeline("t", date(2024, 1, 1), date(2024, 1, 11), [change])
    (cx,) = re.findall(r'cx="([\d.]+)%"', drawn)
    assert float(cx) == pytest.approx(40 + 58 * 5 / 10)
    x1, x2 = re.search(r'x1="([\d.]+)%"[^>]*x2="([\d.]+)%"[^>]*class="span alone"', drawn).groups()  # type: ignore[union-attr]
    assert float(cx) - float(x1) == pytest.approx((float(x2) - float(x1)) / 4, abs=0.02)


def test_the_level_before_a_change_ends_where_the_one_after_begins() -> None:
    found = {"starts": ["a", "b", "c"], "level": [1, 1, 3], "from": 1, "before": 1, "after": 3}
    lines = re.findall(r'<polyline points="([^"]+)" class="forecast"', steps("t", found))
    assert [line.split()[-1].split(",")[0] for line in lines] == ["50.00", "100.00"]
    assert lines[1].split()[0].split(",")[0] == "50.00"
