"""Networks of sequences: what they read, what they find, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from grandtotal.algorithms import networks
from grandtotal.algorithms.blend import recommender
from grandtotal.algorithms.gru import GRU
from grandtotal.algorithms.item_model import Request, in_order
from grandtotal.algorithms.item_vectors import item_vectors
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.sasrec import SASRec
from grandtotal.algorithms.sequences import latest, windows
from grandtotal.algorithms.sequential import Sequential
from grandtotal.consortium.totals import Local, Remembering
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, PlanError, RefusedError

PRODUCTS = 12
FAST = {"length": 6, "width": 16, "dropout": 0.0, "rounds": 5, "rate": 1e-2, "epochs": 5}
KINDS = ("gru", "sasrec")


def histories(*orders, products=PRODUCTS):
    return csr_array(np.concatenate([in_order(order, products).toarray() for order in orders]))


def planted(seed, customers=40):
    """Returns customers with 3 to 6 products; each is followed by the fifth after it."""
    rng = np.random.default_rng(seed)
    orders, after = [], np.zeros((customers, PRODUCTS), np.int32)
    for row in after:
        many, first = rng.integers(3, 7), rng.integers(PRODUCTS)
        order = [int(first + 5 * step) % PRODUCTS for step in range(many + 1)]
        orders.append(tuple(order[:-1]))
        row[order[-1]] = 1
    purchases = Purchases(histories(*orders), csr_array(after))
    return {"validation": purchases, "test": purchases}


@pytest.fixture(scope="module", params=KINDS)
def candidate(request):
    return Sequential(request.param, **FAST)


@pytest.fixture(scope="module")
def parts():
    return [planted(seed) for seed in (1, 2, 3)]


def first(model, rows):
    """Returns how often the best product is the one that was bought next."""
    best = model.scores(rows["test"].history).argmax(axis=1)
    return (best == rows["test"].future.indices).mean()


# --- what is read ---


def test_a_history_is_read_from_the_end():
    held = histories((3, 1, 2, 5, 0), (4,), (), products=6)
    assert latest(held, 3).tolist() == [[2, 5, 0], [6, 6, 4], [6, 6, 6]]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_every_product_but_the_first_follows_once(length):
    held = histories((3, 1, 2, 5, 0), (4,), (), (2, 4), products=6)
    found = windows(held, length)
    pairs = [(a, b) for row in found.tolist() for a, b in pairwise(row) if a < 6]
    assert sorted(pairs) == [(1, 2), (2, 4), (2, 5), (3, 1), (5, 0)]
    assert (found < 6).any(axis=1).all()


def test_products_of_one_day_are_not_in_the_order_of_the_catalogue():
    rng = np.random.default_rng(3)
    held = csr_array((rng.random((200, 20)) < 0.3).astype(np.int32))
    rising = [np.diff(row[row < 20]) > 0 for row in latest(held, 20)]
    assert np.concatenate(rising).mean() == pytest.approx(0.5, abs=0.06)
    again = csr_array(held[::-1])
    assert np.array_equal(latest(again, 20), latest(held, 20)[::-1])


@pytest.mark.parametrize("network", [SASRec(6, 4, 8, 0.0), GRU(6, 4, 8, 0.0)], ids=KINDS[::-1])
def test_what_comes_later_and_what_stands_before_the_first_are_not_seen(network):
    module = network.build({}).eval()
    short, later = torch.tensor([[6, 2, 1, 3]]), torch.tensor([[6, 2, 1, 5]])
    with torch.inference_mode():
        states = module(short), module(later)
        assert torch.equal(states[0][:, :3], states[1][:, :3])
        assert not torch.equal(states[0][:, 3], states[1][:, 3])
        assert not module(torch.full((1, 4), 6)).any()


def test_a_drawn_part_of_the_catalogue_estimates_the_whole():
    network = GRU(40, 4, 8, 0.0, negatives=4000)
    module = network.build({}).train()
    torch.nn.init.normal_(module.items.weight, generator=torch.Generator().manual_seed(2))
    rows = torch.arange(5 * 7).reshape(7, 5)
    draw = torch.Generator().manual_seed(1)
    estimated = network.loss(module, {"bought": rows}, draw)
    whole = replace(network, negatives=0).loss(module, {"bought": rows}, draw)
    assert torch.allclose(estimated, whole, rtol=0.05)


# --- what is found ---


def test_a_planted_order_is_found_and_beats_popularity(candidate, parts, federate):
    model = candidate.fit(federate(parts).totals, PRODUCTS, "test")
    popular = Popularity().fit(Local(parts[0]), PRODUCTS, "test")
    assert first(model, parts[0]) > 0.9 > 0.4 > first(popular, parts[0])
    # A session, and a history that nobody in training had.
    assert model.predict(Request((2, 7, 0), 1))[0].product == 5
    assert model.because(np.array([0, 7]), 5)[0] == 0
    assert np.array_equal(model.affinities(histories(()))[0], model.prior)
    loaded = recommender(model.arrays, {})
    assert np.array_equal(loaded.scores(histories((1, 6))), model.scores(histories((1, 6))))


def test_the_same_run_has_the_same_digests(candidate, parts, federate):
    few = replace(candidate, rounds=2)
    runs = [federate(parts, folder).totals for folder in ("once", "again")]
    found = {arrays_digest(few.fit(totals, PRODUCTS, "test").arrays) for totals in runs}
    assert len(found) == 1


def test_what_comes_after_the_test_cut_is_not_looked_at(candidate, parts):
    few, rows = replace(candidate, rounds=1), parts[0]
    nothing = csr_array(rows["test"].future.shape, dtype=np.int32)
    blind = {**rows, "test": replace(rows["test"], future=nothing)}
    found = [few.fit(Local(each), PRODUCTS, "test").arrays for each in (rows, blind)]
    assert arrays_digest(found[0]) == arrays_digest(found[1])


def test_a_choice_trains_a_network_once_for_a_cut(candidate, parts):
    asked = []

    class Counting(Local):
        def total(self, query, broadcast=None):
            asked.append(query.name)
            return super().total(query, broadcast)

    totals = Remembering(Counting(parts[0]))
    few = replace(candidate, rounds=1)
    for split in ("validation", "validation", "test", "test"):
        few.fit(totals, PRODUCTS, split)
    assert asked.count("network-updates") == 2


def test_first_numbers_say_what_is_bought_with_what_the_same_for_any_split(federate):
    rng = np.random.default_rng(5)
    # Four products of one half, and one of the other.
    halves = [
        np.append(rng.permutation(10)[:4] + 10 * (row % 2), rng.integers(10) + 10 * (1 - row % 2))
        for row in range(90)
    ]
    whole = histories(*(tuple(each) for each in halves), products=20)
    rows = [
        {"now": Purchases(csr_array(whole[part::3]), csr_array(whole[part::3]))}
        for part in (0, 1, 2)
    ]
    everybody = Local({"now": Purchases(whole, whole)})
    found = item_vectors(federate(rows).totals, 20, "now", 3, 0.02)
    assert np.array_equal(found, item_vectors(everybody, 20, "now", 3, 0.02))
    assert found.std() == pytest.approx(0.02)
    near = found @ found.T
    assert near[:10, :10].mean() > 0 > near[:10, 10:].mean()
    assert item_vectors(everybody, 20, "now", 64, 0.02) is None  # more numbers than products
    start = Sequential("sasrec", width=3, spread=0.02).known(everybody, 20, "now")
    assert np.array_equal(start["items.weight"], found)


# --- what is refused ---


def test_weights_of_another_shape_are_refused_by_name(candidate, parts):
    model = replace(candidate, rounds=1).fit(Local(parts[0]), PRODUCTS, "validation")
    weights = {**model.weights, "items.weight": np.zeros((3, 16), np.float32)}
    with pytest.raises(AnswerError, match=r"items\.weight"):
        replace(model, weights=weights).affinities(histories((1,)))
    with pytest.raises(AnswerError, match="must hold name, settings"):
        recommender({"network": np.zeros(3, np.uint8)}, {})


def test_rows_without_a_customer_of_two_products_are_refused(candidate):
    single = Purchases(histories((1,), (2,)), histories((), ()))
    with pytest.raises(RefusedError, match="nobody has a row"):
        candidate.fit(Local({"validation": single, "test": single}), PRODUCTS, "test")


def test_settings_that_no_network_has_are_refused():
    with pytest.raises(PlanError, match="a multiple of heads = 3"):
        SASRec(PRODUCTS, heads=3)
    with pytest.raises(PlanError, match="from 1 on"):
        GRU(0)


def test_without_torch_the_extra_is_named(candidate, parts, monkeypatch):
    def absent(_):
        class Missing(dict):
            def __getitem__(self, name):
                raise ModuleNotFoundError(name="torch")

        return Missing.fromkeys(KINDS)

    monkeypatch.setattr(networks, "installed", absent)
    with pytest.raises(PlanError, match=r"grandtotal\[neural\]"):
        candidate.fit(Local(parts[0]), PRODUCTS, "validation")
