"""What retailers keep of their own on top of a shared recommender, as readers see it."""

from types import SimpleNamespace
from typing import Any

from grandtotal.report.details.recommend import RECOMMEND

NOTHING = {"kept": "", "gain": 0.001, "error": 0.004, "customers": 90}
OWN = {"kept": "own bestsellers", "gain": 0.0304, "error": 0.004, "customers": 90}


def page(**layers: Any) -> str:
    retailers = {
        who: {"detail": {"hits_by_rank": [0.1], **({} if layer is None else {"at_home": layer})}}
        for who, layer in layers.items()
    }
    found: Any = SimpleNamespace(retailers=retailers)
    return RECOMMEND.details(found)


def test_who_keeps_what_is_said() -> None:
    found = page(north=NOTHING, south=OWN)
    assert "south its own bestsellers (ranking quality +0.030)" in found
    assert "north its" not in found


def test_where_nobody_keeps_anything_it_is_said() -> None:
    assert "clearly better on its validation anywhere" in page(north=NOTHING, south=NOTHING)


def test_a_run_without_layers_says_nothing_of_them() -> None:
    assert "shared model" not in page(north=None, south=None)
