"""Discounts by segment beside one for all, never by what is protected, gaps with enough people."""

import numpy as np
import pytest

from grandtotal.decide.rules import PriceRules
from grandtotal.decide.segments import (
    PROTECTED,
    SegmentRules,
    Segments,
    decide_segments,
    gaps,
    words,
)
from grandtotal.errors import DataError, PlanError
from priced import responses

RULES = PriceRules(largest_change=0.3, risk=0.0)
TIER = SegmentRules("tier")


def segments(shift=(1.0, -2.0), customers=(900.0, 300.0)):
    """Returns two segments that buy the same, of which the second follows prices more."""
    units = np.full((2, 6), 50.0)
    return Segments(("plain", "gold"), np.array(customers), units, np.array(shift), np.zeros(2))


def test_those_who_follow_prices_get_the_discount_and_the_others_do_not():
    decided = decide_segments(responses(own=-3.0, own_sd=0.0), segments(), RULES, TIER)
    assert decided.discount[0] == 0.0
    assert decided.discount[1] > 0.0
    by_segment, for_all = decided.gain
    assert by_segment > for_all >= 0.0
    assert "discounts by tier: margin +" in words(decided)


def test_the_best_discount_is_that_of_the_closed_form():
    of = responses(6, own=-4.0, own_sd=0.0)
    fine = SegmentRules("tier", tuple(np.round(np.arange(0, 0.3, 0.01), 2)))
    decided = decide_segments(of, segments((0.0, -1.0)), RULES, fine)
    best = [1 - 0.6 * e / (e + 1) for e in (-4.0, -5.0)]
    assert decided.discount == pytest.approx(best, abs=0.011)


def test_few_customers_have_the_discount_for_all():
    decided = decide_segments(responses(own=-3.0), segments(customers=(900.0, 12.0)), RULES, TIER)
    assert decided.few == (False, True)
    assert decided.discount[1] == decided.uniform


def test_no_discount_breaks_a_floor_or_the_stop():
    of = responses(own=-9.0, cost=0.95 * responses().price)
    kept = decide_segments(of, segments(), RULES, TIER)
    assert kept.at_discount == pytest.approx(kept.now)
    stopped = decide_segments(responses(own=-9.0), segments(), PriceRules(stop=True), TIER)
    assert not stopped.discount.any()


@pytest.mark.parametrize("by", PROTECTED)
def test_what_is_protected_is_no_segment(by):
    with pytest.raises(PlanError, match="is refused; name a column such as 'tier'"):
        SegmentRules(by)


def test_what_is_protected_and_allowed_is_said():
    how = SegmentRules("region", allow_protected=("region",))
    decided = decide_segments(responses(), segments(), RULES, how)
    assert "the rules allow it explicitly" in words(decided)


def test_gaps_are_of_groups_with_enough_customers():
    decided = decide_segments(responses(own=-3.0, own_sd=0.0), segments(), RULES, TIER)
    found = gaps(
        decided,
        {
            "old": (500.0, np.array([900.0, 100.0])),
            "rare": (7.0, np.array([1.0, 9.0])),
            "young": (400.0, np.array([100.0, 900.0])),
        },
    )
    old, rare, young = found
    assert young["price_change"] < old["price_change"] <= 0
    assert old["beside_all"] > 0 > young["beside_all"]
    assert (rare["customers"], rare["price_change"]) == ("fewer than 50", None)


def test_what_cannot_be_decided_is_refused():
    nobody = Segments((), np.empty(0), np.empty((0, 6)), np.empty(0), np.empty(0))
    with pytest.raises(DataError, match="no customer has a 'tier'"):
        decide_segments(responses(), nobody, RULES, TIER)
    with pytest.raises(DataError, match="add the column 'cost'"):
        decide_segments(responses(cost=np.nan), segments(), RULES, TIER)
    for wrong in ({"discounts": (0.1, 0.2)}, {"discounts": (0.0, 1.0)}, {"least": 3}):
        with pytest.raises(PlanError):
            SegmentRules("tier", **wrong)
