"""Decisions on prices: known answers, rules that hold, and words where there is no choice."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandtotal.decide.prices import decide_prices
from grandtotal.decide.response import chance_of_less, mean_factor, sd_factor
from grandtotal.decide.rules import PriceRules
from grandtotal.decide.table import rows, summary, why
from grandtotal.errors import DataError, PlanError
from priced import responses

FREE = {"largest_change": 0.9, "outside_range": True, "risk": 0.0}

# --- known answers ---


@pytest.mark.parametrize(("elasticity", "cost"), [(-2.0, 1.5), (-3.0, 2.0), (-1.5, 1.0)])
def test_a_monopolist_takes_cost_times_e_over_e_plus_one(elasticity, cost):
    of = responses(1, price=2.5, own=elasticity, own_sd=0.0, cost=cost)
    price = decide_prices(of, PriceRules(step=0.001, **FREE)).price[0]
    ladder = decide_prices(of, PriceRules(step=0.001, **FREE)).ladders[0]
    best = cost * elasticity / (elasticity + 1)
    assert abs(price - best) <= np.diff(ladder).max()


def test_revenue_of_elastic_demand_wants_the_lowest_price_and_units_too():
    of = responses(2, own=[-2.0, -0.5], own_sd=0.0)
    for goal, second in (("revenue", 3.6), ("units", 2.4)):
        decided = decide_prices(of, PriceRules(goal, largest_change=0.2, margin_floor=-1.0))
        assert decided.price == pytest.approx([1.6, second])


def test_risk_makes_unsure_prices_move_less():
    of = responses(1, own=-1.6, own_sd=0.8)
    bold, careful = (
        decide_prices(of, PriceRules(largest_change=0.5, risk=risk)).price[0] for risk in (0.0, 2.0)
    )
    assert 2.0 <= careful < bold


def test_closed_forms_are_those_of_draws():
    rng = np.random.default_rng(3)
    drawn = np.exp(rng.normal(-2.0, 0.5, 400_000) * np.log(0.8))
    one = np.array([1.0])
    given = (-2.0 * one, 0.5 * one, np.log(0.8) * one)
    assert mean_factor(*given)[0] == pytest.approx(drawn.mean(), rel=2e-3)
    assert sd_factor(*given)[0] == pytest.approx(drawn.std(), rel=1e-2)
    less = np.mean(drawn * 0.6 < 1.0)
    assert chance_of_less(*given, one, 0.6 * one)[0] == pytest.approx(less, abs=4e-3)


def test_a_cheaper_price_that_hurts_its_category_is_not_taken():
    alone = responses(2, category=("a", "b"), own=-3.0, cross=1.5, own_sd=0.0)
    together = responses(2, category=("a", "a"), own=-3.0, cross=1.5, own_sd=0.0)
    rules = PriceRules(largest_change=0.3)
    assert (decide_prices(alone, rules).price < decide_prices(together, rules).price).all()


def test_with_cross_effects_the_choice_is_nearly_the_best_of_all_pairs():
    of = responses(2, category=("a", "a"), own=[-2.5, -3.5], cross=[0.8, 0.4], own_sd=0.1)
    decided = decide_prices(of, PriceRules(largest_change=0.2, step=0.05))

    def worth(pair):
        price = np.array(pair)
        factor = sd_factor(of.own, of.own_sd, of.moved(price)) * of.pull(price)
        margin = (price - of.cost) * of.expected(price)
        return (margin - 0.5 * np.abs(price - of.cost) * of.units * factor).sum()

    best = max(map(worth, itertools.product(*decided.ladders)))
    start = worth(of.price)
    assert worth(decided.price) - start >= 0.99 * (best - start) > 0


# --- the linear programme ---


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["margin", "revenue"]))
def test_the_choice_is_that_of_brute_force(seed, goal):
    rng = np.random.default_rng(seed)
    of = responses(
        4,
        own=-rng.uniform(0.5, 4, 4),
        units=rng.integers(1, 200, 4),
        price=rng.uniform(2, 3, 4).round(2),
        category=("a", "a", "b", "b"),
    )
    rules = PriceRules(
        goal,
        largest_change=0.2,
        endings=(0.0, 0.25, 0.5, 0.75),
        never_cheaper=(("P0", "P2"),),
        most_changes=int(rng.integers(1, 5)),
        most_given_away=float(rng.uniform(0, 60)),
    )
    free = decide_prices(of, PriceRules(largest_change=0.2, endings=rules.endings))
    allowed = [pair for pair in itertools.product(*free.ladders) if _keeps(of, rules, pair)]
    if not allowed:
        with pytest.raises(PlanError, match="the rules clash"):
            decide_prices(of, rules)
        return
    decided = decide_prices(of, rules)
    assert _keeps(of, rules, decided.price)
    best = max(_worth(of, rules, pair) for pair in allowed)
    assert _worth(of, rules, decided.price) == pytest.approx(best, rel=1e-5)


def _keeps(of, rules, price):
    given = np.maximum(of.price - np.array(price), 0) @ of.units
    changes = np.sum(np.abs(price - of.price) > 1e-6)
    return (
        price[0] >= price[2] - 1e-6
        and changes <= rules.most_changes
        and given <= rules.most_given_away + 1e-4
    )


def _worth(of, rules, price):
    price = np.array(price)
    worth = of.worth(rules.objective, price, of.cost) * of.units
    given = (of.own, of.own_sd, of.moved(price))
    return (worth * mean_factor(*given) - 0.5 * np.abs(worth) * sd_factor(*given)).sum()


def test_a_brand_is_never_cheaper_than_the_own_label():
    of = responses(2, price=[2.2, 2.0], category=("a", "b"), own=[-4.0, -1.2])
    assert np.diff(decide_prices(of, PriceRules(largest_change=0.2)).price)[0] > 0
    held = decide_prices(of, PriceRules(largest_change=0.2, never_cheaper=(("P0", "P1"),)))
    assert held.price[0] >= held.price[1]
    assert "P0 never cheaper than P1" in why(held, 1)


def test_a_budget_of_nothing_changes_nothing():
    for rules in (PriceRules(most_changes=0), PriceRules("units", most_given_away=0.0)):
        decided = decide_prices(responses(own=-3.0), rules)
        assert set(decided.verdict) == {"keep"}


def test_rules_that_clash_are_named_and_only_those():
    pairs = (("P0", "P5"), ("P3", "P1"))
    with pytest.raises(PlanError, match=r"keep: P0 never cheaper than P5\. Take") as error:
        decide_prices(responses(), PriceRules(never_cheaper=pairs, most_changes=6))
    assert "P3" not in str(error.value)


# --- guard-rails ---


def test_no_price_leaves_the_rules():
    of = responses(own=[-0.3, -5, -0.3, -5, -2, -2])
    rules = PriceRules(
        largest_change=0.3,
        endings=(0.99, 0.49),
        margin_floor=0.3,
        floor={"P1": 2.9},
        ceiling={"P0": 2.1, "P2": 4.4},
    )
    decided = decide_prices(of, rules)
    changed = np.array(decided.verdict) == "new price"
    assert changed.any()
    assert (np.abs(decided.price / of.price - 1) <= 0.3 + 1e-9).all()
    assert set((decided.price[changed] % 1).round(2)) <= {0.99, 0.49}
    assert ((decided.price - of.cost) / decided.price >= 0.3 - 1e-9).all()
    assert decided.price[0] <= 2.1
    assert decided.price[1] >= 2.9
    assert decided.price[2] <= 4.4


def test_no_price_is_outside_of_those_seen_unless_it_is_said():
    of = responses(1, own=-1.2, lowest=1.9, highest=2.1)
    inside = rows(decide_prices(of, PriceRules(largest_change=0.3)))[0]
    assert (inside["price"], inside["outside_range"]) == (2.1, False)
    assert "no price was seen above 2.10" in inside["why"]
    outside = rows(decide_prices(of, PriceRules(largest_change=0.3, outside_range=True)))[0]
    assert (outside["price"], outside["outside_range"]) == (2.6, True)
    assert "a guess" in outside["why"]


def test_the_stop_switch_keeps_every_price():
    decided = decide_prices(responses(own=-1.1), PriceRules(stop=True, explore=True))
    assert set(decided.verdict) == {"stop"}
    assert (decided.price == responses().price).all()
    assert (decided.propensity == 1).all()


# --- products without a choice ---


def test_a_product_whose_price_never_changed_gets_a_test_and_no_price():
    of = responses(
        3, unknown=("", "its price never changes", ""), highest=[4, 6, 4], lowest=[1, 2, 4]
    )
    found = rows(decide_prices(of, PriceRules()))
    assert [row["decision"] for row in found][1:] == ["test", "test"]
    assert found[1]["price"] == found[1]["price_now"] == 3.0
    assert "test 2.70 in 5 of 10 stores for" in found[1]["why"]


def test_sales_that_rise_with_the_price_are_no_reason_to_raise_it():
    found = rows(decide_prices(responses(1, own=0.4), PriceRules()))[0]
    assert (found["decision"], found["price"]) == ("test", 2.0)
    assert "do not show that it sells more when it is cheaper" in found["why"]


def test_a_product_sold_below_cost_is_named_with_the_rules_that_clash():
    found = rows(decide_prices(responses(2, cost=[2.5, 1.0]), PriceRules()))
    assert found[0]["decision"] == "clash"
    assert "a margin of 0% needs at least 2.50" in found[0]["why"]
    assert "largest change of 10% allows no more than 2.20" in found[0]["why"]
    assert found[1]["decision"] != "clash"


def test_a_product_without_a_cost_or_a_price_keeps_it_and_says_why():
    of = responses(3, cost=[np.nan, 1.0, 1.0], price=[2.0, np.nan, 0.0])
    found = rows(decide_prices(of, PriceRules()))
    assert [row["decision"] for row in found] == ["no cost", "no price", "no price"]
    assert found[0]["margin"] is None
    by_revenue = rows(decide_prices(of, PriceRules("revenue")))[0]
    assert by_revenue["decision"] == "new price"
    assert by_revenue["risk"] is None


def test_without_any_cost_a_margin_is_refused_and_a_revenue_is_not():
    of = responses(cost=np.nan)
    with pytest.raises(DataError, match="add the column 'cost' to the products table"):
        decide_prices(of, PriceRules())
    decided = decide_prices(of, PriceRules("revenue"))
    assert "margin: not known" in summary(decided)
    assert rows(decided)[0]["risk"] is not None


def test_no_product_is_said():
    with pytest.raises(DataError, match="the category, or the catalogue, is empty"):
        decide_prices(responses(0), PriceRules())


# --- Thompson ---


def test_a_drawn_price_has_the_chance_with_which_it_is_drawn():
    of = responses(1, own=-1.8, own_sd=0.5)
    rules = {"explore": True, "endings": (0.0, 0.2, 0.4, 0.6, 0.8), "largest_change": 0.5}
    drawn = [decide_prices(of, PriceRules(seed=seed, **rules)) for seed in range(300)]
    seen, times = np.unique([each.price[0] for each in drawn], return_counts=True)
    chance = {each.price[0]: each.propensity[0] for each in drawn}
    assert len(seen) > 3
    assert sum(chance.values()) == pytest.approx(1.0, abs=0.02)
    shares = np.array([chance[price] for price in seen])
    assert np.abs(times / 300 - shares).max() < 4 * np.sqrt(0.25 / 300)


def test_what_is_certain_is_not_explored_and_nothing_is_without_asking():
    sure = responses(own_sd=0.0)
    assert (decide_prices(sure, PriceRules(explore=True)).propensity == 1).all()
    assert (decide_prices(responses(), PriceRules()).propensity == 1).all()


# --- rules as they are written ---


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"objective": "profit"}, "expected one of margin, revenue, units"),
        ({"objectiv": "units"}, "unknown key 'objectiv'"),
        ({"largest_change": 1.5}, "from 0 to 0.9"),
        ({"risk": float("nan")}, "risk = nan"),
        ({"endings": [0.99, 1.2]}, "endings = 1.2"),
        ({"most_changes": -1}, "most_changes = -1"),
        ({"stop": "yes"}, "expected true or false"),
        ({"never_cheaper": [["a"]]}, "expected two products"),
        ({"floor": {"P0": 3.0}, "ceiling": {"P0": 2.0}}, "P0: floor 3 is above its ceiling 2"),
        ({"floor": 3.0}, r"expected a table: \[floor\]"),
        ({"test": {"weeks": 3}}, "weeks"),
        ({"explore": True, "most_changes": 3}, "which probability"),
    ],
)
def test_rules_that_cannot_be_are_refused_by_name(values, text):
    with pytest.raises(PlanError, match=text):
        PriceRules.of(values)


@pytest.mark.parametrize("values", [{"floor": {"P9": 1.0}}, {"never_cheaper": [["P0", "P9"]]}])
def test_rules_about_products_that_are_not_there_are_refused(values):
    with pytest.raises(PlanError, match="names 'P9', which is no product"):
        decide_prices(responses(), PriceRules.of(values))
