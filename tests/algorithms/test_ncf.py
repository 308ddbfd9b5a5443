"""Ratings by customer and product: what travels, what stays, and that planted tastes are found."""

import numpy as np
import pytest
import torch

from grandtotal.algorithms.ncf import NCF
from grandtotal.algorithms.networks import stays
from grandtotal.algorithms.neural import FederatedTraining
from grandtotal.algorithms.neural_at_home import AtHome
from grandtotal.algorithms.neural_local import Loaded, built
from grandtotal.algorithms.ratings import Cut, Ratings
from grandtotal.consortium.totals import Local

NETWORK = NCF(products=6, classes=3, embedding=4, width=8, dropout=0.0)


def ratings(seed, customers=20, count=300):
    """Returns ratings of products that are liked by even customers, or by odd ones."""
    rng = np.random.default_rng(seed)
    customer, product = rng.integers(0, customers, count), rng.integers(0, 6, count)
    stars = np.where((customer + product) % 2 == 0, 3, 1)
    asked = rng.random(count) < 0.2

    def of(chosen):
        return Ratings.of(customer[chosen], product[chosen], stars[chosen], np.zeros(chosen.sum()))

    return {"test": Cut(of(~asked), of(asked))}


def test_a_customers_numbers_never_leave_and_products_are_averaged_row_by_row(federate):
    federation = federate([ratings(seed) for seed in (1, 2, 3)])
    found = FederatedTraining(rounds=1).fit(federation.totals, NETWORK, "test")
    names = {name for name, _ in built(NETWORK, {}, 0).named_parameters()}
    assert set(found.arrays) == {name for name in names if not stays(NETWORK, name)}
    (sent,) = [r for r in federation.rounds() if r["query"] == "network-updates"]
    assert sent["fields"]["touched products.weight"] == [6]
    assert not [name for name in sent["fields"] if "customers" in name]


def test_planted_tastes_are_found(federate):
    parts = [ratings(seed) for seed in (1, 2, 3)]
    local = {"batch": 16, "rate": 0.02, "epochs": 6}
    found = FederatedTraining(rounds=6, patience=0, local=local).fit(
        federate(parts).totals, NETWORK, "test"
    )
    right = []
    for rows in parts:
        module = AtHome({**local, "epochs": 30}).fitted(
            NETWORK, found.arrays, rows, "test", whole=False
        )
        scored = Loaded.of(NETWORK.examples(rows, "test", True))
        (batch,) = scored.ordered(999)
        with torch.inference_mode():
            right.append((NETWORK.scores(module, batch).argmax(1) == batch["rating"]).numpy())
    assert np.concatenate(right).mean() > 0.8


def test_numbers_that_are_multiplied_are_factors():
    network = NCF(products=6, classes=3, embedding=4, width=8, multiplied=2)
    module = built(network, {"customers": 2}, 1).eval()
    for name in ("customers", "products"):
        module[name].weight.data[:, :4] = 0.0
    batch = {"customer": torch.tensor([0, 1]), "product": torch.tensor([5, 3])}
    with torch.inference_mode():
        likes, has = module["customers"].weight[:, 4:], module["products"].weight[[5, 3], 4:]
        usual = module["layers"](torch.zeros(1, 8))
        expected = usual + (likes * has) @ module["tastes"].weight.T
        assert torch.allclose(network.scores(module, batch), expected, atol=1e-6)


def test_the_penalty_is_of_what_a_record_reads_and_of_training_alone():
    network = NCF(products=6, classes=3, embedding=4, width=8, dropout=0.0, l2=0.5)
    module = built(network, {"customers": 2}, 1).eval()
    batch = {name: torch.tensor([1]) for name in ("customer", "product", "rating")}
    with torch.inference_mode():
        judged, learned = (network.loss(module.train(on), batch, None) for on in (False, True))
        read = [module[name].weight[1].detach() for name in ("customers", "products")]
    penalty = 0.5 * float(sum((numbers**2).sum() for numbers in read))
    assert float(learned - judged) == pytest.approx(penalty, rel=1e-4)


def test_of_a_customer_without_ratings_a_class_is_said_all_the_same():
    rows = ratings(1)
    found = FederatedTraining(rounds=1).fit(Local(rows), NETWORK, "test")
    module = AtHome().fitted(NETWORK, found.arrays, rows, "test")
    batch = {"customer": torch.tensor([19]), "product": torch.tensor([0])}
    with torch.inference_mode():
        scores = NETWORK.scores(module, batch).softmax(1)
    assert float(scores.sum()) == pytest.approx(1.0, abs=1e-6)
