"""Two towers: what each reads, what is found without a history, and what is new."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.content import CONTENT, Content
from grandtotal.algorithms.customer_context import Context
from grandtotal.algorithms.item_model import Request
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.towers import Towers
from grandtotal.algorithms.two_tower import TwoTower
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

PRODUCTS = 12
MONDAY = 19_917  # 2024-07-15, days since 1970-01-01
FAST = Towers(width=16, dropout=0.0, rounds=4, epochs=4, rate=1e-2, batch=64)
WORDS = [[f"kind {i % 2}", f"name {i}"] for i in range(PRODUCTS)]


def texts(*words):
    """Returns the three columns of facts of customers of whom only the region is known."""
    nothing = np.full(len(words), "", object)
    return [nothing, np.array(words, object), nothing]


def planted(seed, customers=60):
    """Returns customers of the north, who buy even products, and of the south, who buy odd ones."""
    rng = np.random.default_rng(seed)
    history, future = np.zeros((2, customers, PRODUCTS), np.int32)
    regions = []
    for row in range(customers):
        odd = row % 2
        bought = odd + 2 * rng.permutation(PRODUCTS // 2)[: rng.integers(2, 6)]
        history[row, bought[:-1]] = rng.integers(1, 60, len(bought) - 1)
        future[row, bought[-1]] = 1
        regions.append("south" if odd else "North ")
    context = Context.of_texts(texts(*regions), MONDAY)
    held = Purchases(csr_array(history), csr_array(future), context=context)
    words = Content.of(WORDS, range(PRODUCTS))
    return {"validation": held, "test": held, CONTENT: words}


@pytest.fixture(scope="module")
def parts():
    return [planted(seed) for seed in (1, 2, 3)]


def pooled(parts):
    held = Purchases.pooled([part["test"] for part in parts])
    words = Content.pooled([part[CONTENT] for part in parts])
    return {"validation": held, "test": held, CONTENT: words}


@pytest.fixture(scope="module")
def model(parts):
    return FAST.fit(Local(pooled(parts)), PRODUCTS, "test")


@pytest.fixture(scope="module")
def nobody():
    return csr_array((1, PRODUCTS), dtype=np.int32)


def even(scores):
    """Returns how far even products are above odd ones."""
    return float(scores[0, ::2].mean() - scores[0, 1::2].mean())


# --- what is read ---


def test_places_of_facts_are_those_of_their_words_and_a_day_is_counted_back_from_the_cut():
    found = Context.of_texts(texts("north", " North", "", "south"), MONDAY)
    region = found.facts[:, 1]
    assert region[0] == region[1] not in (0, region[3])
    assert not found.facts[2].any()
    same_day, before = found.when([0, 7, 1]), found.when([105])  # 105 days: 2024-04-01, a Monday
    assert same_day[0].tolist() == same_day[1].tolist() != same_day[2].tolist()
    assert before[0, 0] == same_day[0, 0]
    assert before[0, 1] != same_day[0, 1]


def test_a_purchase_is_predicted_from_the_others_alone():
    network = TwoTower(PRODUCTS, 8, 0.0, 0.0)
    module = network.build({}).eval()
    torch.nn.init.normal_(module.items, generator=torch.Generator().manual_seed(2))
    whole, rest = np.zeros((2, 1, PRODUCTS), np.int32)
    whole[0, [2, 5, 7]], rest[0, [2, 7]] = 1, 1
    wanted = np.zeros((1, PRODUCTS), np.int32)
    wanted[0, 5] = 1
    nothing = csr_array((1, PRODUCTS), dtype=np.int32)
    known = network.examples({"now": Purchases(csr_array(whole), nothing)}, "now", False)
    later = network.examples({"now": Purchases(csr_array(rest), csr_array(wanted))}, "now", True)
    losses = []
    for found in (known, later):
        arrays = {**found.records, **found.constants}
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        losses.append(network.loss(module, batch, None).detach())
    assert losses[0].shape == (3,)
    assert torch.isclose(losses[0][1], losses[1][0])


def test_a_drawn_part_of_the_catalogue_estimates_the_whole_however_often_each_is_drawn():
    network = TwoTower(40, 8, 0.0, 0.0, negatives=4000)
    module = network.build({}).train()
    torch.nn.init.normal_(module.items, generator=torch.Generator().manual_seed(2))
    history = np.zeros((30, 40), np.int32)
    rng = np.random.default_rng(1)
    for row in history:
        row[np.unique((40 * rng.random(6) ** 3).astype(int))] = 1  # the first sell the most
    rows = {"now": Purchases(csr_array(history), csr_array(history))}
    found = network.examples(rows, "now", False)
    arrays = {**found.records, **found.constants}
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    estimated = network.loss(module, batch, torch.Generator().manual_seed(1))
    whole = replace(network, negatives=0).loss(module, batch, None)
    assert torch.allclose(estimated, whole, rtol=0.05, atol=0.02)


# --- what is found ---


def test_a_taste_is_found_by_means_of_what_retailers_learn(parts, federate):
    found = FAST.fit(federate(parts).totals, PRODUCTS, "test")
    best = found.scores(parts[1]["test"].history).argmax(axis=1)
    assert (best % 2 == np.arange(60) % 2).mean() > 0.9


def test_a_planted_taste_is_found_and_beats_popularity(model, parts):
    rows = parts[0]["test"]
    popular = Popularity().fit(Local(parts[0]), PRODUCTS, "test")

    def first(scores):
        return (rows.future.toarray()[np.arange(60), scores.argmax(axis=1)] > 0).mean()

    assert first(model.scores(rows.history)) > first(popular.scores(rows.history))
    best = model.scores(rows.history).argmax(axis=1)
    assert (best % 2 == np.arange(60) % 2).mean() > 0.95
    assert {each.product % 2 for each in model.predict(Request((3, 7), 3))} == {1}
    assert model.because(np.array([3, 4]), 5) == (3,)


def test_a_customer_without_a_history_is_known_by_the_facts(model, nobody):
    north, south = (Context.of_texts(texts(word), MONDAY) for word in ("north", "south"))
    assert even(model.knowing(nobody, north)) > 0.5 > -0.5 > even(model.knowing(nobody, south))
    unknown = model.knowing(nobody, north.unknown(1))
    assert even(model.knowing(nobody, south)) < even(unknown) < even(model.knowing(nobody, north))
    assert np.array_equal(model.affinities(nobody)[0], model.prior)


def test_a_new_product_has_the_numbers_of_its_words(model):
    wider = model.with_products(Content.of([["kind 1", "name new"]], [0]))
    customers = np.zeros((2, PRODUCTS + 1), np.int32)
    customers[0, [0, 2]], customers[1, [1, 3]] = 1, 1
    scores = wider.affinities(csr_array(customers))[:, PRODUCTS]
    assert scores[1] > scores[0] + 0.5
    old = model.affinities(csr_array(customers[:, :PRODUCTS]))
    assert np.array_equal(wider.affinities(csr_array(customers))[:, :PRODUCTS], old)


def test_a_saved_model_scores_the_same_with_and_without_context(model, parts):
    loaded, rows = recommender(model.arrays, {}), parts[0]["test"]
    for context in (None, rows.context):
        found = [each.scores(rows.history, context) for each in (model, loaded)]
        assert np.array_equal(*found)
    some = rows.of(np.array([5, 1]))
    whole = model.scores(rows.history, rows.context)
    assert np.array_equal(model.scores(some.history, some.context), whole[[5, 1]])


# --- what stays, and who lacks what ---


def test_what_leaves_has_the_same_shape_for_any_number_of_customers():
    asked = []

    class Noting(Local):
        def total(self, query, broadcast=None):
            found = super().total(query, broadcast)
            asked.append((query.name, {name: array.shape for name, array in found.items()}))
            return found

    for customers in (40, 60):
        replace(FAST, rounds=1).fit(Noting(planted(1, customers)), PRODUCTS, "validation")
    half = len(asked) // 2
    assert asked[:half] == asked[half:]


def test_a_retailer_without_words_and_facts_takes_part(parts, federate):
    bare = {split: replace(parts[0][split], context=None) for split in ("validation", "test")}
    model = replace(FAST, rounds=1).fit(
        federate([bare, *parts[1:]], "bare").totals, PRODUCTS, "test"
    )
    assert np.isfinite(model.affinities(bare["test"].history)).all()
    alone = replace(FAST, rounds=1).fit(Local(bare), PRODUCTS, "test")
    assert np.isfinite(alone.affinities(bare["test"].history)).all()
    assert not alone.described.any()


def test_the_same_run_has_the_same_digests(parts, federate):
    few = replace(FAST, rounds=1)
    runs = [federate(parts, folder).totals for folder in ("once", "again")]
    found = {arrays_digest(few.fit(totals, PRODUCTS, "test").arrays) for totals in runs}
    assert len(found) == 1
