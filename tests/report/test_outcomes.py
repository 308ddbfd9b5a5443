"""The pages of churn and purchase intent: what is drawn, and what is said of small groups."""

from types import SimpleNamespace
from typing import Any

import pytest

from grandtotal.report.details.outcomes import CHURN, PURCHASE_INTENT

TENTHS = [{"probability": i / 10, "share": i / 10 + 0.01, "units": 30} for i in range(10)]
GOLD = {"group": "gold", "units": 120, "probability": 0.4, "share": 0.5, "found": 0.25}
FEW = {"group": "silver <b>", "suppressed": True}


def found(**changed: Any) -> Any:
    detail = {
        "lift": [2.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5],
        "calibration": TENTHS,
        "calibration_error": 0.01,
        "weights": [{"column": "recency", "size": 0.8}],
        "gaps": {"tier": [GOLD, FEW]},
        "least_group": 50,
        "protected": [],
        "horizon_days": 84,
        "one_purchase": 12,
        **changed,
    }
    gaps = [{**GOLD, "group": "tier = gold"}]
    choices = {"federated": {"gaps": gaps}}
    return SimpleNamespace(retailers={"north": {"detail": detail, "choices": choices}})


@pytest.mark.parametrize("kind", [CHURN, PURCHASE_INTENT])
def test_lift_calibration_weights_and_gaps_are_drawn(kind: Any) -> None:
    page = kind.details(found())
    for said in ("highest risks", "What it looks at", "off by 0.010", "said 90 %", "recency"):
        assert said in page
    assert "tier = gold" in page
    assert "−10.0" in page


def test_a_small_group_is_only_named_and_names_are_escaped() -> None:
    page = CHURN.details(found())
    assert "fewer than 50" in page
    assert "silver &lt;b&gt;" in page


def test_protected_features_are_said_and_only_where_there_are_any() -> None:
    assert "treat people differently" not in CHURN.details(found())
    assert "allows age band" in CHURN.details(found(protected=["age_band"]))


def test_the_horizon_of_each_retailer_is_said() -> None:
    page = CHURN.details(found())
    assert "north: no purchase in 84 days; 12 customers bought on one day only" in page


def test_without_facts_of_customers_there_are_no_gaps() -> None:
    assert "Gaps between groups" not in PURCHASE_INTENT.details(found(gaps={}))
