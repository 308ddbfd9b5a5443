"""The page of stars: what is drawn of the test."""

from types import SimpleNamespace
from typing import Any

from grandtotal.report.details.ratings import RATINGS


def part(least: float, **changed: Any) -> dict[str, Any]:
    one = {"ratings": 1234, "rmse": 0.91, "right": 0.46, "expected": 3.6, "sure": 0.5}
    return {"least": least, **one, **changed}


def found(**changed: Any) -> Any:
    detail = {
        "by_known": [part(0), part(1), part(2), part(20)],
        "by_star": [part(1), part(5)],
        "by_sureness": [part(0.3, sure=0.36), part(0.5, sure=0.61)],
        **changed,
    }
    return SimpleNamespace(retailers={"no<b>rth": {"detail": detail}})


def test_the_test_is_told_by_customer_by_star_and_by_sureness() -> None:
    page = RATINGS.details(found())
    for said in ("none: a new customer", "2 to 19", "20 and more", "1,234", "0.910", "46 %"):
        assert said in page
    for said in ("1\u00a0star", "5\u00a0stars", "3.600", "said 36 %", "said 61 %"):
        assert said in page


def test_names_are_escaped_and_nothing_is_drawn_of_nothing() -> None:
    assert "no&lt;b&gt;rth" in RATINGS.details(found())
    assert not RATINGS.details(SimpleNamespace(retailers={"north": {}}))
