"""What a retailer adds to a shared recommender at home: where it wins, and that it stays there."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array

from conftest import PLAN, TASK
from grandtotal.algorithms.item_model import in_order
from grandtotal.algorithms.personal import Biased
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.sequential import Sequential
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.totals import Local
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.coordinate import train
from grandtotal.durable import arrays_digest, read_log
from grandtotal.participate import (
    Participant,
    layer_path,
    load_model,
    model_at_home,
    model_path,
)
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.door import Door
from grandtotal.tasks import personal
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.task import Common, Layer, finished
from grandtotal.tasks.wishes import NO_WISHES

PRODUCTS = 40
CHAIN = 23  # products that follow each other
SHOPS = {"north": 300, "south": 60, "west": 300}  # customers
COMMON = Common(date(2024, 7, 1), tuple(f"P{i:02}" for i in range(PRODUCTS)))


# --- shops whose customers' tastes are known ---


def held(baskets, cuts, later):
    """Returns the purchases before each cut, and so many after it, of baskets (customers, 9)."""
    found, (customers, _) = {}, baskets.shape
    whose = np.arange(customers)[:, None]
    for split, cut in cuts.items():
        known, after = np.zeros((2, customers, PRODUCTS), np.int32)
        known[whose, baskets[:, :cut]] = np.arange(cut, 0, -1)
        after[whose, baskets[:, cut : cut + later]] = 1
        found[split] = Purchases(csr_array(known), csr_array(after))
    return found


def market(seed, differs):
    """Returns three shops whose products sell unequally; in "south" others, where it differs."""
    rng = np.random.default_rng(seed)
    often = 1.0 / np.arange(1, PRODUCTS + 1)
    often /= often.sum()

    def shop(name, customers):
        own = often[::-1] if differs and name == "south" else often
        drawn = [rng.choice(PRODUCTS, 9, replace=False, p=own) for _ in range(customers)]
        order = rng.permuted(np.tile(np.arange(9), (customers, 1)), axis=1)
        baskets = np.take_along_axis(np.array(drawn), order, axis=1)
        return held(baskets, {"validation": 4, "test": 6}, later=3)

    return {name: shop(name, customers) for name, customers in SHOPS.items()}


def chains(steps):
    """Returns three shops where the product so many places further on is bought next."""

    def shop(step, customers):
        rng = np.random.default_rng(step)
        first = rng.integers(CHAIN, size=customers)
        baskets = (first[:, None] + step * np.arange(9)) % CHAIN
        return held(baskets, {"validation": 7, "test": 8}, later=1)

    return {name: shop(*each) for name, each in zip(SHOPS, steps, strict=True)}


def at_home(task, parts):
    """Returns by shop what is kept, and the NDCG of the test with it and of the shared model."""
    fitted = task.fit(Local(task.pooled(list(parts.values()))))
    found = {}
    for name, rows in parts.items():
        model, layer = finished(task, fitted, rows)
        assert arrays_digest(model.arrays) == arrays_digest(fitted.model.arrays)
        scores = [task.score(each, rows, "test").values()["ndcg"] for each in (model, fitted.model)]
        found[name] = (layer.meta["kept"], *scores)
    return found


# --- where it wins, and where it does not ---


@pytest.mark.parametrize("kind", ["popularity", "ease"])
def test_a_shop_that_sells_other_products_keeps_its_bestsellers_and_others_nothing(kind):
    found = at_home(Recommend(COMMON, (kind,), top=5), market(1, differs=True))
    assert {name: kept for name, (kept, *_) in found.items()} == {
        "north": "",
        "south": "own bestsellers",
        "west": "",
    }
    _, own, shared = found["south"]
    assert own > 1.1 * shared


def test_where_all_shops_are_alike_nobody_keeps_anything():
    for seed in range(3):
        found = at_home(Recommend(COMMON, ("popularity",), top=5), market(seed, differs=False))
        assert {kept for kept, *_ in found.values()} == {""}


def test_what_is_kept_where_shops_are_alike_costs_nothing():
    found = [
        at_home(Recommend(COMMON, ("ease",), top=5), market(seed, differs=False))
        for seed in range(2)
    ]
    gains = [own - shared for shops in found for _, own, shared in shops.values()]
    assert np.mean(gains) > -0.001


def test_a_network_whose_products_mean_something_else_in_a_shop_gets_its_own_numbers(monkeypatch):
    few = {"gru": (Sequential("gru", length=1, width=16, rounds=3, rate=1e-2, dropout=0.0),)}
    monkeypatch.setattr("grandtotal.tasks.recommend_models.GRIDS", few)
    found = at_home(Recommend(COMMON, ("gru",), top=1), chains(((1, 100), (7, 60), (1, 100))))
    assert found["south"][0] == "own numbers of products"
    assert found["south"][1] > found["south"][2] + 0.5
    assert (found["north"][0], found["west"][0]) == ("", "")


# --- it stays at home ---


def a_run(task, frames, folder):
    """Returns the digests of a run's models, and what each retailer's log says has left."""
    parts = {
        name: Participant(name, TASK, task, found, folder / name) for name, found in frames.items()
    }
    retailers = {
        name: Retailer(name, folder / name, lambda _, half=half: {TASK: half}, Door(folder / name))
        for name, half in parts.items()
    }
    consortium = Consortium(tuple(parts), EmbeddedTransport(retailers), folder / "coordinator")
    consortium.open(PLAN)
    plan = SimpleNamespace(matching=None, tasks={TASK: task})
    models = train(plan, consortium, folder / "coordinator")
    logs = {name: read_log(folder / name / "egress.jsonl") for name in parts}
    return models, {name: [left(record) for record in log] for name, log in logs.items()}


def left(record):
    """Returns what left; how the test was scored is the one total in which a layer shows."""
    apart = {"at", "sum", *(["summand"] if record["query"] == "test-scores" else [])}
    return {name: value for name, value in record.items() if name not in apart}


def test_nothing_of_it_leaves_and_it_is_read_again(recommend, frames, monkeypatch, tmp_path):
    task = replace(recommend, models=("item-knn",))
    found = {}
    for name, clearly in (("without", np.inf), ("with", -np.inf)):
        monkeypatch.setattr(personal, "CLEARLY", clearly)
        found[name] = a_run(task, frames, tmp_path / name)
    assert found["with"] == found["without"]
    for shop, tables in frames.items():
        folder, rows = tmp_path / "with" / shop, task.rows(tables)
        assert model_path(folder, TASK).read_bytes() == (
            model_path(tmp_path / "without" / shop, TASK).read_bytes()
        )
        assert layer_path(folder, TASK).exists()
        shared, _ = load_model(folder, TASK, task)
        own = model_at_home(folder, TASK, task, shared, rows)
        assert isinstance(own, Biased)
        # Nobody chooses anew: what was tested is what predicts.
        monkeypatch.setattr(personal, "best_layer", None)
        again = model_at_home(folder, TASK, task, load_model(folder, TASK, task)[0], rows)
        assert task.predict(own, rows, tables, 5).equals(task.predict(again, rows, tables, 5))
        monkeypatch.undo()


def test_under_epsilon_no_earlier_model_is_delivered(common, frames):
    private = replace(common, privacy=Agreement(epsilon=8.0, delta=1e-6))
    task = Recommend(private, ("ease",), horizon_days=42)
    assert (
        Recommend(common, ("ease",), horizon_days=42).fit(Local(task.rows(frames["west"]))).before
    )
    assert task.fit(Local(task.rows(frames["west"]))).before is None


# --- it serves as any model does ---


BIAS = Layer({"bias": np.linspace(-1, 1, 56, dtype=np.float32)}, {})


@pytest.mark.parametrize("settings", [{}, {"repeat": True}, {"scope": "consortium"}])
def test_a_model_with_a_layer_recommends(recommend, frames, settings):
    task = replace(recommend, models=("item-knn",), **settings)
    rows, tables = task.rows(frames["west"]), frames["west"]
    shared = task.fit(Local(rows)).model
    model = task.layered(shared, BIAS)
    assert type(model) is type(shared) or isinstance(model, Biased)
    assert arrays_digest(model.arrays) == arrays_digest(shared.arrays)
    assert model.meta == shared.meta
    lists = [task.predict(each, rows, tables, 5) for each in (model, shared)]
    assert lists[0].columns == lists[1].columns
    assert not lists[0].equals(lists[1])
    assert task.score(model, rows, "test").units == task.score(shared, rows, "test").units
    assert task.detail(model, rows)
    serving = task.serving(model, rows, tables, NO_WISHES)
    assert len(serving.session(["P01", "P07"], 5)) == 5
    assert serving.similar("P01") == task.serving(shared, rows, tables, NO_WISHES).similar("P01")


def test_a_customers_scores_do_not_depend_on_who_else_is_asked(recommend, frames):
    rows = recommend.rows(frames["north"])
    model = recommend.layered(recommend.fit(Local(rows)).model, BIAS)
    history = rows["now"].history
    whole = model.affinities(history)
    apart = np.concatenate([model.affinities(history[[i]]) for i in range(20)])
    assert np.array_equal(whole[:20], apart)
    assert np.array_equal(model.prior, model.affinities(in_order((), 56))[0])
