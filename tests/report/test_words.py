"""Numbers as people read them."""

import pytest

from grandtotal.report.words import (
    Verdict,
    all_of,
    gain_words,
    interval,
    number,
    plain,
    size,
    times,
    verdict,
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0983, "0.098"),
        (1.28094, "1.281"),
        (49.948, "49.9"),
        (4567.8, "4,568"),
        (-0.33, "−0.330"),
        (-0.0, "0.000"),
        (0.00042, "0.0004"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_about_three_digits(value: float | None, written: str) -> None:
    assert number(value) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (1, "1 byte"),
        (16, "16 bytes"),
        (2216, "2.2 kB"),
        (15_152_512, "15.2 MB"),
        (163_528_000, "164 MB"),
    ],
)
def test_sizes_have_a_unit(count: int, written: str) -> None:
    assert size(count).replace("\u00a0", " ") == written


def relative(value: float, low: float | None, high: float | None) -> dict[str, float | None]:
    shares = {"relative": value, "relative_low": low, "relative_high": high}
    return {"value": value, "low": low, "high": high, **shares}


@pytest.mark.parametrize(
    ("gain", "written"),
    [
        (relative(0.053, 0.021, 0.084), "+5.3 % (95 %: 2.1 to 8.4)"),
        (relative(0.7528, 0.5113, 1.0325), "+75 % (95 %: 51 to 103)"),
        (relative(-0.0049, -0.0106, 0.0007), "−0.5 % (95 %: −1.1 to 0.1)"),
        (relative(0.53, None, None), "+53 %"),
        (relative(0.0, 0.0, 0.0), "none"),
        (relative(-0.0, -0.0, 0.0), "none"),
        (
            {"value": 0.25, "low": 0.1, "high": 0.4, "relative": None},
            "+0.250 (95 %: 0.100 to 0.400)",
        ),
        ({"value": None}, "–"),
    ],
)
def test_gains_are_written_with_sign_and_interval(gain: dict[str, float], written: str) -> None:
    assert gain_words(gain).replace("\u00a0", " ") == written


def test_a_bound_beside_zero_is_not_printed_as_zero() -> None:
    assert "0.03 to" in gain_words(relative(0.05, 0.0003, 0.1))


@pytest.mark.parametrize(
    ("gain", "judged"),
    [
        (relative(0.05, 0.01, 0.1), Verdict.GAINED),
        (relative(0.05, 0.0, 0.1), Verdict.UNCLEAR),
        (relative(0.05, -0.01, 0.1), Verdict.UNCLEAR),
        (relative(-0.05, -0.1, 0.0), Verdict.UNCLEAR),
        (relative(-0.05, -0.1, -0.01), Verdict.LOST),
        (relative(0.05, None, None), Verdict.BARE),
        ({"value": None}, Verdict.UNKNOWN),
    ],
)
def test_a_gain_counts_only_where_the_whole_interval_is_above_zero(
    gain: dict[str, float | None], judged: Verdict
) -> None:
    assert verdict(gain) is judged


def test_small_words() -> None:
    assert all_of([]) == ""
    assert all_of(["a"]) == "a"
    assert all_of(["a", "b", "c"]) == "a, b and c"
    assert [times(n) for n in (1, 2, 3, 12)] == ["once", "twice", "three times", "12 times"]
    assert interval({"value": 1.0}) == "–"
    assert plain(1000.0) == "1,000"
    assert plain((True, None, "week")) == "yes, –, week"
