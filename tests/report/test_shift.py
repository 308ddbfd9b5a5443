"""Changes in behaviour on the page, from what the task gives."""

from typing import Any

from grandtotal.report.details.shift import details
from grandtotal.report.source import Findings

CHANGE = {
    "feature": "units",
    "where": "tea <hot>",
    "since": "2024-05-03",
    "earliest": "2024-05-01",
    "latest": "2024-05-06",
    "from": 10.0,
    "to": 12.0,
    "q": 0.01,
    "also_in_consortium": "yes",
    "words": "Units of tea rose by 20% about 2024-05-03.",
}
COURSE = {
    "feature": "units",
    "where": "tea <hot>",
    "starts": ["2024-04-22", "2024-04-29", "2024-05-06"],
    "level": [10.0, 11.0, 12.0],
    "from": 1,
    "before": 10.0,
    "after": 12.0,
}


def page(changes: list[Any], courses: list[Any]) -> str:
    shifts = {
        "looked_at": 21,
        "first": "2023-07-17",
        "last": "2024-07-15",
        "changes": changes,
        "courses": courses,
        "recent_mean": 0.31,
    }
    found: Any = Findings(None, {"north": {"detail": {"shifts": shifts}}}, None, {}, "")  # type: ignore[arg-type]
    return details(found)


def test_a_change_is_on_the_time_line_in_words_and_as_a_course() -> None:
    drawn = page([CHANGE], [COURSE])
    assert "What changed at north" in drawn
    assert "Units of tea rose by 20% about 2024-05-03." in drawn
    assert 'class="dot federated"' in drawn
    assert "changed about 2024-04-29" in drawn
    assert "tea <hot>" not in drawn
    assert "tea &lt;hot&gt;" in drawn


def test_where_nothing_changed_it_says_so_and_what_was_looked_at() -> None:
    drawn = page([], [])
    assert "21 series and distributions of north were looked at. None is told as changed." in drawn
    assert "<svg" not in drawn
