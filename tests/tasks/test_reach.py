"""What the frontier says is what the lists are, counted one by one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.item_model import ItemModel, top
from grandtotal.algorithms.offered import Offered
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.tasks.lines import numbers
from grandtotal.tasks.ranking import scored_customers
from grandtotal.tasks.reach import WEIGHTS, reach
from grandtotal.tasks.recommend_lists import Wished


@pytest.fixture(scope="module")
def found(recommend, frames):
    """Returns the sums of north, with its task, model and rows."""
    rows = recommend.rows(frames["north"])
    model = recommend.fit(Local(rows)).model
    return recommend.detail(model, rows)["reach"], model, rows


def test_without_a_weight_the_sums_are_those_of_the_lists(found, recommend):
    sums, model, rows = found
    purchases = rows["test"]
    counts = np.bincount(purchases.history.indices, minlength=recommend.products)
    shown, popular, different = 0, 0, set()
    for block, _ in scored_customers(purchases):
        for products in top(block.only_sold(model.scores(block.history)), recommend.top):
            shown, popular = shown + len(products), popular + counts[products].sum()
            different |= {*products.tolist()}
    assert sums["shown"][0] == shown
    assert sums["popularity"][0] == popular
    assert sums["different"][0] == len(different)
    ndcg = recommend.score(model, rows, "test").values()["ndcg"]
    assert sums["ndcg"][0] / sums["customers"] == pytest.approx(ndcg, abs=1e-5)


def test_the_groups_add_up_to_everybody(found):
    sums = found[0]
    assert sum(group[0] for group in sums["groups"].values()) == sums["customers"]
    for place in range(len(WEIGHTS)):
        gained = sum(group[1 + place] for group in sums["groups"].values())
        assert gained == pytest.approx(sums["ndcg"][place], abs=1e-4)


def test_a_weight_shows_more_products_and_less_popular_ones(found):
    sums = found[0]
    popularity = np.divide(sums["popularity"], sums["shown"])
    assert (np.diff(popularity) < 0).all()
    assert (np.diff(np.divide(sums["slow"], sums["shown"])) > 0).all()
    assert sums["brands"][-1] > sums["brands"][1]


def test_small_brands_are_the_smaller_half():
    history = csr_array(np.array([[1, 1, 0, 1], [1, 0, 1, 0], [1, 0, 0, 0]]))
    future = csr_array(np.array([[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]))
    model = ItemModel(np.empty((0, 0), np.float32), np.array([4, 3, 2, 1], np.float32))
    wished = Wished(model, np.ones(4, bool), np.zeros(4, np.float32), again=False)
    sums = reach(wished, Purchases(history, future), np.array([0, 1, 1, -1]), 1)
    # Brand 0 has three purchases, brand 1 two; the lists are products 2, 1 and 1.
    assert sums["brands"][:2] == [0.4, 1.0]


def test_places_of_what_the_retailer_does_not_sell_are_counted():
    history = csr_array(np.array([[1, 0, 0, 0], [0, 1, 0, 0]]))
    future = csr_array(np.array([[0, 0, 1, 0], [0, 0, 0, 1]]))
    items = ItemModel(np.empty((0, 0), np.float32), np.array([4, 3, 2, 1], np.float32))
    model = Offered(items, np.array([False, False, True, False]))
    purchases = Purchases(history, future).without((2, 3))
    wished = Wished(model, np.ones(4, bool), np.zeros(4, np.float32), again=False)
    sums = reach(wished, purchases, None, 2)
    # Each customer sees what the other one bought and product 2, which others offer.
    assert sums["shown"] == [4] * len(WEIGHTS)
    assert sums["others"] == [2] * len(WEIGHTS)


def test_brands_are_read_where_there_are_any(recommend, frames):
    products = frames["north"]["products"]
    brands = numbers({"products": products}, recommend.common, "brand")
    assert len(set(brands)) == products["brand"].n_unique()
    assert numbers({"products": products.drop("brand")}, recommend.common, "brand") is None
    bare = {"transactions": frames["north"]["transactions"]}
    rows = recommend.rows(bare)
    task = replace(recommend, models=("popularity",))
    assert "brands" not in task.detail(task.fit(Local(rows)).model, rows)["reach"]
