import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms import item_similarity
from grandtotal.algorithms.item_model import TIE_BREAK, Request
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN, inverse_in_place
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local
from grandtotal.errors import PlanError


def rows(matrix):
    matrix = np.asarray(matrix)
    return {"test": Purchases(csr_array(matrix), csr_array(np.zeros_like(matrix)))}


@pytest.fixture
def bought():
    """Returns a random purchase matrix (60 customers, 9 products)."""
    return (np.random.default_rng(8).random((60, 9)) < 0.35).astype(int)


@pytest.fixture
def two_groups():
    """Returns customers of whom each buys only the even or only the odd of ten products."""
    rng = np.random.default_rng(3)
    matrix = (rng.random((80, 10)) < 0.6).astype(int)
    matrix[:40, 1::2] = matrix[40:, 0::2] = 0
    return matrix


@pytest.mark.parametrize(
    "algorithm", [ItemKNN(), ItemKNN(0.0, 4), EASE(1.0), EASE(300.0), EDLAE(9.0)]
)
def test_who_bought_of_one_group_is_recommended_that_group_only(algorithm, two_groups):
    model = algorithm.fit(Local(rows(two_groups)), 10, "test")
    for group in (0, 1):
        for product in range(group, 10, 2):
            found = model.predict(Request((product,), k=4))
            assert {r.product % 2 for r in found} == {group}


def test_ease_is_the_paper(bought):
    l2 = 7.0
    inverse = np.linalg.inv(bought.T @ bought + l2 * np.eye(9))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    found = EASE(l2).fit(Local(rows(bought)), 9, "test")
    # float32 weights of a well conditioned inverse.
    np.testing.assert_allclose(found.weights, expected, atol=1e-6)
    assert found.meta == {"model": "ease", "l2": l2}


def test_edlae_without_dropout_is_ease(bought):
    ease, edlae = (a.fit(Local(rows(bought)), 9, "test") for a in (EASE(7.0), EDLAE(7.0, 0.0)))
    assert (ease.weights == edlae.weights).all()


@pytest.mark.parametrize("dropout", [0.2, 0.7])
def test_edlae_is_the_least_squares_of_each_product_with_dropped_purchases(bought, dropout):
    # Dropping a share p of the inputs, scaled back by 1 / (1 - p), is a penalty p / (1 - p) n_i.
    found = EDLAE(7.0, dropout).fit(Local(rows(bought)), 9, "test")
    assert found.meta == {"model": "edlae", "l2": 7.0, "dropout": dropout}
    penalty = np.diag(7.0 + dropout / (1 - dropout) * bought.sum(axis=0))
    together = bought.T @ bought
    for product in range(9):
        others = np.delete(np.arange(9), product)
        normal = (together + penalty)[np.ix_(others, others)]
        expected = np.linalg.solve(normal, together[others, product])
        np.testing.assert_allclose(found.weights[others, product], expected, atol=1e-6)


def test_more_dropout_relies_less_on_the_strongest_neighbour(bought):
    strongest = [
        np.abs(EDLAE(1.0, dropout).fit(Local(rows(bought)), 9, "test").weights).max()
        for dropout in (0.0, 0.3, 0.6, 0.9)
    ]
    assert strongest == sorted(strongest, reverse=True)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_dropout_that_is_no_share_is_refused(bought, dropout):
    with pytest.raises(PlanError, match="expected a share from 0 to below 1"):
        EDLAE(7.0, dropout).fit(Local(rows(bought)), 9, "test")


def test_ease_reconstructs_better_than_any_weights_near_it(bought):
    l2 = 5.0
    weights = EASE(l2).fit(Local(rows(bought)), 9, "test").weights.astype(float)

    def loss(b):
        return ((bought - bought @ b) ** 2).sum() + l2 * (b**2).sum()

    rng = np.random.default_rng(1)
    for _ in range(50):
        other = weights + rng.normal(0, 0.01, weights.shape)
        np.fill_diagonal(other, 0.0)
        assert loss(other) > loss(weights)


@pytest.mark.parametrize("shrink", [0.0, 4.0])
def test_item_knn_is_the_shrunk_cosine(bought, shrink):
    found = ItemKNN(shrink, neighbours=0).fit(Local(rows(bought)), 9, "test").weights
    for i in range(9):
        for j in range(9):
            both, norm = bought[:, i] @ bought[:, j], bought[:, i].sum() * bought[:, j].sum()
            expected = 0.0 if i == j else both / (np.sqrt(norm) + shrink)
            assert found[i, j] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("neighbours", [1, 3, 8])
def test_item_knn_keeps_the_strongest_neighbours_of_each_product(bought, neighbours):
    every = ItemKNN(4.0, neighbours=0).fit(Local(rows(bought)), 9, "test").weights
    kept = ItemKNN(4.0, neighbours).fit(Local(rows(bought)), 9, "test").weights
    for product in range(9):
        weakest = np.sort(every[:, product])[-neighbours]
        expected = np.where(every[:, product] >= weakest, every[:, product], 0.0)
        assert (kept[:, product] == expected).all()


def test_more_neighbours_than_products_are_all(bought):
    few, many = (ItemKNN(1.0, n).fit(Local(rows(bought)), 9, "test").weights for n in (0, 200))
    assert (few == many).all()


@pytest.mark.parametrize("algorithm", [ItemKNN(0.0), ItemKNN(10.0), EASE(1.0), EDLAE(1.0)])
def test_a_product_that_nobody_bought_has_no_weights(algorithm, bought):
    bought[:, 4] = 0
    model = algorithm.fit(Local(rows(bought)), 9, "test")
    assert not model.weights[4].any()
    assert not model.weights[:, 4].any()
    assert np.isfinite(model.weights).all()


@pytest.mark.parametrize("algorithm", [ItemKNN(), EASE(), EDLAE()])
def test_the_prior_only_breaks_ties_towards_the_most_bought(algorithm, bought):
    prior = algorithm.fit(Local(rows(bought)), 9, "test").prior
    customers = bought.sum(axis=0)
    np.testing.assert_allclose(prior, TIE_BREAK * customers / customers.max(), rtol=1e-6)


@pytest.mark.parametrize("algorithm", [ItemKNN(0.0), ItemKNN(10.0), EASE(1.0), EDLAE(1.0)])
def test_a_world_without_purchases_has_a_model_that_recommends_in_order(algorithm):
    model = algorithm.fit(Local(rows(np.zeros((3, 4), int))), 4, "test")
    assert [r.product for r in model.predict(Request((), k=4))] == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 30, 61])
@pytest.mark.parametrize("factored", [6000, 7])
def test_the_inverse_in_place_is_the_inverse(size, factored, monkeypatch):
    monkeypatch.setattr(item_similarity, "_FACTORED", factored)
    monkeypatch.setattr(item_similarity, "_STRIP", 4)
    root = np.random.default_rng(size).normal(size=(size, 3 * size))
    matrix = root @ root.T
    found = np.triu(matrix)
    inverse_in_place(found)
    assert (found == found.T).all()
    np.testing.assert_allclose(found @ matrix, np.eye(size), atol=1e-9)


@pytest.mark.parametrize("l2", [0.0, -1.0])
def test_a_penalty_that_cannot_be_inverted_is_refused(two_groups, l2):
    two_groups[:, 3] = 0
    with pytest.raises(PlanError, match="l2 must be a positive number"):
        EASE(l2).fit(Local(rows(two_groups)), 10, "test")
