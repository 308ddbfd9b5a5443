"""Nobody is shown what a retailer does not sell, unless somebody offers it and the plan says so."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import PlanError, RefusedError
from grandtotal.privacy.agreement import Agreement

SOLD = [f"P{number:02}" for number in range(1, 31)]


class Shop(dict):
    """Frames with what a retailer.toml says."""

    def __init__(self, frames, offered):
        super().__init__(frames)
        self.config = SimpleNamespace(limits=SimpleNamespace(offered=offered))


def part_of(frames, products, offered=False):
    """Returns the tables of a retailer that sells some products only."""
    kept = {
        name: frames[name].filter(frames[name]["product"].is_in(products))
        for name in ("transactions", "products")
    }
    return Shop(kept, offered)


@pytest.fixture(scope="module")
def shops(frames):
    """Returns one retailer with all products, one with the first 30, one with the last 30."""
    every = list(dict(frames["north"]["products"].select("product", "title").iter_rows()))
    return {
        "north": part_of(frames["north"], every, offered=True),
        "south": part_of(frames["south"], SOLD),
        "west": part_of(frames["west"], every[-30:]),
    }


def fitted(task, shops):
    parts = {name: task.rows(tables) for name, tables in shops.items()}
    return task.fit(Local(task.pooled(list(parts.values())))).model, parts


def test_own_shows_and_scores_only_what_the_retailer_sells(recommend, shops):
    model, parts = fitted(recommend, shops)
    shown = recommend.predict(model, parts["south"], shops["south"], 56)
    assert set(shown["product"]) <= set(SOLD)
    places = [i for i, key in enumerate(recommend.common.catalogue) if key not in SOLD]
    assert not recommend.score(model, parts["south"], "test").shown[places].any()
    everything = recommend.predict(model, parts["north"], shops["north"], 56)
    assert set(everything["product"]) > set(SOLD)


def test_the_consortium_shows_what_a_member_offers(recommend, shops):
    task = replace(recommend, scope="consortium")
    model, parts = fitted(task, shops)
    shown = task.predict(model, parts["south"], shops["south"], 56)
    assert set(shown["product"]) > set(SOLD)
    nobody = {name: Shop(tables, offered=False) for name, tables in shops.items()}
    model, parts = fitted(task, nobody)
    shown = task.predict(model, parts["south"], nobody["south"], 56)
    assert set(shown["product"]) <= set(SOLD)


def test_a_model_with_offers_travels(recommend, shops):
    task = replace(recommend, scope="consortium")
    model, parts = fitted(task, shops)
    built = task.build(model.arrays, model.meta)
    assert arrays_digest(built.arrays) == arrays_digest(model.arrays)
    now, later = (task.predict(m, parts["west"], shops["west"], 9) for m in (model, built))
    assert now.equals(later)


def test_without_a_products_table_what_was_bought_before_the_cut_is_sold(recommend, frames):
    lines = frames["west"]["transactions"]
    kept = lines.filter(lines["product"].is_in(SOLD))
    sold = recommend.rows({"transactions": kept})["now"].sold
    assert set(np.flatnonzero(sold[0])) <= set(range(30))


def test_under_epsilon_no_purchase_says_what_is_sold(recommend, frames):
    private = replace(recommend.common, privacy=Agreement(epsilon=4.0, delta=1e-6, secure_sum=True))
    task = replace(recommend, common=private)
    lines = frames["west"]["transactions"]
    kept = lines.filter(lines["product"].is_in(SOLD))
    assert task.rows({"transactions": kept})["now"].sold is None


def test_a_scope_that_cannot_be_is_refused(recommend):
    with pytest.raises(PlanError, match="expected one of own, consortium"):
        replace(recommend, scope="all")
    private = replace(recommend.common, privacy=Agreement(epsilon=4.0, delta=1e-6, secure_sum=True))
    with pytest.raises(RefusedError, match="epsilon"):
        replace(recommend, common=private, scope="consortium")
