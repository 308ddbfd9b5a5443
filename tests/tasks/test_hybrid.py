"""Words of the products table: what is read of them, and products that no total holds."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from grandtotal.algorithms.content import CONTENT, Hybrid
from grandtotal.algorithms.content_based import ContentBased
from grandtotal.algorithms.towers import Towers
from grandtotal.consortium.totals import Local
from grandtotal.tasks import recommend_models
from grandtotal.tasks.product_words import words
from grandtotal.tasks.task import Layer
from grandtotal.tasks.wishes import NO_WISHES

FEW = {
    "content": (ContentBased(),),
    "hybrid": (Hybrid(factors=8, worth=2.0, epochs=4),),
    "two-tower": (Towers(width=16, rounds=2, batch=256),),
}


@pytest.fixture(scope="module", params=sorted(FEW))
def task(recommend, request):
    return replace(recommend, models=(request.param,))


@pytest.fixture(autouse=True)
def one_candidate(monkeypatch):
    few = {**recommend_models.GRIDS, **FEW}
    monkeypatch.setattr(recommend_models, "GRIDS", few)


def test_words_are_of_title_brand_every_level_and_price_class():
    row = {"title": "Green Tea 20 l", "brand": "Acme", "category": "food > tea", "list_price": 3.0}
    assert list(words(row)) == [
        "title green",
        "title tea",
        "brand acme",
        "category food",
        "category food > tea",
        "price 2",
    ]
    assert list(words({"title": None, "list_price": 0.0})) == []


def test_a_product_of_the_table_alone_is_recommended_to_those_who_buy_its_kind(task, frames):
    tables = frames["north"]
    rows = task.rows(tables)
    model = task.fit(Local(rows)).model
    pattern = tables["products"].row(0, named=True)
    new = pl.DataFrame([{**pattern, "product": "NEW"}], schema=tables["products"].schema)
    tables = {**tables, "products": pl.concat([tables["products"], new])}
    assert "NEW" not in task.common.catalogue
    serving = task.serving(model, task.rows(tables), tables, NO_WISHES)
    nearest = {"content": 3, "hybrid": 3, "two-tower": 14}[
        task.models[0]
    ]  # of 57; 14 are of its kind
    assert "NEW" in {each.product for each in serving.similar(pattern["product"], nearest)}
    lists = task.predict(model, task.rows(tables), tables, 20)
    assert "NEW" in set(lists["product"])
    # What a retailer adds at home takes no place away: of nothing, nothing changes.
    nothing = {"bias": np.zeros(task.products, np.float32)}
    table = {"left": np.zeros((task.products, 1)), "right": np.zeros((1, 16)), **nothing}
    for added in (nothing, table)[: 1 + (task.models == ("two-tower",))]:
        own = task.layered(model, Layer(added, {}))
        assert task.predict(own, task.rows(tables), tables, 20).equals(lists)


def test_a_retailer_without_words_takes_part_and_is_told(task, frames):
    bare = {name: frames["west"][name] for name in ("transactions",)}
    rows = task.rows(bare)
    assert not len(rows[CONTENT].products)
    told = {each.point: each for each in task.standing(rows, bare)}
    assert told["words of products"].verdict == "look"
    assert "ease or als" in told["words of products"].remedy
    if task.models == ("two-tower",):
        assert told["facts of customers"].verdict == "look"
        assert "customers.age_band" in told["facts of customers"].found
        assert "als needs none" in told["facts of customers"].remedy
    pooled = task.pooled([rows, task.rows(frames["north"])])
    model = task.fit(Local(pooled)).model
    assert np.isfinite(model.affinities(rows["test"].history)).all()
