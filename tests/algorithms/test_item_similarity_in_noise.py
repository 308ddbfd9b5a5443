"""Co-purchases in noise: what is chosen, what is shrunk, and that without noise nothing is lost."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.item_similarity import EDLAE, autoencoder
from grandtotal.algorithms.item_similarity_in_noise import (
    EDLAEInNoise,
    PopularityInNoise,
    shrink,
)
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts, Purchases
from grandtotal.consortium.totals import Local
from grandtotal.errors import AnswerError

GROUPS, SIZE = 4, 20
PRODUCTS = GROUPS * SIZE


class Noisy:
    """Totals with Gaussian noise of `sigma` steps, and the names of what was asked."""

    def __init__(self, rows, sigma=0.0, seed=5):
        self.local, self.sigma, self.asked = Local(rows), sigma, []
        self.rng = np.random.default_rng(seed)

    def total(self, query, broadcast=None):
        self.asked.append(query.name)
        fields = query.fields(broadcast or {})
        found = self.local.total(query, broadcast)
        return {name: value + self._noise(fields[name]) for name, value in found.items()}

    def _noise(self, field):
        drawn = self.rng.normal(0, self.sigma / field.scale, field.shape)
        return np.triu(drawn) + np.triu(drawn, 1).T if field.symmetric else drawn


@pytest.fixture(scope="module")
def rows():
    """Returns 3,000 customers who mostly buy from one of four groups of products."""
    rng = np.random.default_rng(2)
    chance = np.full((3000, PRODUCTS), 0.03)
    for customer, group in enumerate(rng.integers(0, GROUPS, 3000)):
        chance[customer, group * SIZE : (group + 1) * SIZE] = 0.3
    matrix = (rng.random(chance.shape) < chance).astype(np.int32)
    return {"test": Purchases(csr_array(matrix), csr_array(np.zeros_like(matrix)))}


def inside(model):
    """Returns the mean weight within groups and between them."""
    group = np.arange(PRODUCTS) // SIZE
    same = (group[:, None] == group) & ~np.eye(PRODUCTS, dtype=bool)
    return model.weights[same].mean(), model.weights[group[:, None] != group].mean()


# --- the algorithm ---


def test_without_noise_all_is_chosen_and_nothing_shrunk(rows):
    found = EDLAEInNoise().fit(Noisy(rows), PRODUCTS, "test")
    weighted = Local(rows).total(
        CoPurchases(PRODUCTS, "test", clipped=True), {"products": np.arange(PRODUCTS)}
    )["gram"]
    penalty = 0.33 / 0.67 * np.diagonal(weighted) + 4.0
    assert (found.weights == autoencoder(weighted, penalty)).all()
    assert found.meta["in_noise"]["products"] == PRODUCTS
    assert found.meta["in_noise"]["customers"] == 3000


def test_without_noise_it_recommends_as_the_exact_model_does(rows):
    found = EDLAEInNoise().fit(Noisy(rows), PRODUCTS, "test").weights
    exact = EDLAE(30.0).fit(Local(rows), PRODUCTS, "test").weights
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_groups_are_found_in_noise(rows, seed):
    model = EDLAEInNoise().fit(Noisy(rows, 2.0**17, seed), PRODUCTS, "test")
    within, between = inside(model)
    assert within > 0.005
    assert abs(between) < within / 4
    assert GROUPS <= model.meta["in_noise"]["directions"] < PRODUCTS


def test_noise_that_hides_everything_leaves_bestsellers_and_says_so(rows):
    totals = Noisy(rows, 2.0**23)
    model = EDLAEInNoise().fit(totals, PRODUCTS, "test")
    assert totals.asked == ["purchase-counts"]  # nothing is spent on what would not be seen
    assert not model.weights.size
    assert (model.prior >= 0).all()
    assert model.meta["model"] == "popularity"
    assert "bestsellers alone" in model.meta["in_noise"]["why"]


def test_bestsellers_in_noise_are_nearly_the_bestsellers(rows):
    model = PopularityInNoise().fit(Noisy(rows, 2.0**18), PRODUCTS, "test")
    exact = Local(rows).total(PurchaseCounts(PRODUCTS, "test"))["counts"]
    assert np.corrcoef(model.prior, exact)[0, 1] > 0.5


def test_the_more_noise_the_fewer_products_are_chosen():
    counts = 1000.0 / np.arange(1, 301)
    many = [len(EDLAEInNoise().chosen(counts, 5000.0, noise)) for noise in (0.0, 0.1, 1.0, 10.0)]
    assert many[0] == 300
    assert many == sorted(many, reverse=True)
    assert many[3] < many[1]


def test_chosen_are_the_most_bought_in_the_catalogues_order():
    counts = np.array([0.0, 500.0, 1.0, 800.0, 900.0])
    assert EDLAEInNoise().chosen(counts, 1000.0, 30.0).tolist() == [1, 3, 4]
    assert EDLAEInNoise().chosen(counts, 1000.0, 0.0).tolist() == [1, 2, 3, 4]


def test_shrinking_halves_the_error_of_a_noisy_matrix():
    rng = np.random.default_rng(4)
    factors = rng.normal(size=(200, 3)) * [6.0, 4.0, 3.0]
    truth, noise = factors @ factors.T, np.triu(rng.normal(0, 10.0, (200, 200)))
    noisy = truth + noise + np.triu(noise, 1).T
    found, directions = shrink(noisy, 2 * 10.0 * 200**0.5)
    assert directions == 3
    assert np.linalg.norm(found - truth) < np.linalg.norm(noisy - truth) / 2


def test_noise_alone_has_hardly_a_direction():
    noise = np.triu(np.random.default_rng(6).normal(size=(300, 300)))
    found, directions = shrink(noise + np.triu(noise, 1).T, 2 * 300**0.5)
    assert directions <= 2
    assert np.linalg.norm(found) < 0.1 * np.linalg.norm(noise)


# --- weights pulled towards others ---


@pytest.fixture
def gram(rows):
    return Local(rows).total(CoPurchases(PRODUCTS, "test"))["gram"]


def test_a_penalty_towards_zero_is_the_plain_one(gram):
    penalty = np.full(PRODUCTS, 100.0)
    nothing = np.zeros((PRODUCTS, PRODUCTS), np.float32)
    found = autoencoder(gram, penalty, nothing)
    assert found == pytest.approx(autoencoder(gram, penalty), abs=1e-7)


def test_weights_pulled_towards_others_minimise_what_is_stated(gram):
    rng = np.random.default_rng(7)
    penalty = rng.uniform(50, 200, PRODUCTS)
    towards = rng.normal(0, 0.1, gram.shape).astype(np.float32)
    np.fill_diagonal(towards, 0.0)
    weights = autoencoder(gram, penalty, towards).astype(np.float64)
    slope = gram @ (weights - np.eye(PRODUCTS)) + penalty[:, None] * (weights - towards)
    np.fill_diagonal(slope, 0.0)  # the diagonal is not free
    assert np.abs(slope).max() < 1e-4 * gram.max()
    assert (np.diagonal(weights) == 0).all()


def test_what_was_never_bought_keeps_the_weights_it_is_pulled_to():
    gram = np.diag([5, 0, 3])
    towards = np.array([[0, 0.2, 0.1], [0.3, 0, 0.4], [0.1, 0.2, 0]], np.float32)
    found = autoencoder(gram, np.ones(3), towards)
    assert (found[1] == towards[1]).all()
    assert (found[:, 1] == towards[:, 1]).all()


# --- clipped totals ---


def test_a_customer_counts_the_same_whatever_was_bought():
    for bought in (1, 4, 25):
        matrix = csr_array((np.arange(30) < bought)[None].astype(np.int32))
        held = {"test": Purchases(matrix, matrix)}
        found = Local(held).total(PurchaseCounts(30, "test", clipped=True))
        assert found["customers"] == 1
        assert found["counts"][:bought] == pytest.approx((63 / 64 / bought) ** 0.5, rel=1e-3)
        assert not found["counts"][bought:].any()
        assert not found["blanks"].any()
        query = CoPurchases(30, "test", clipped=True)
        pairs = Local(held).total(query, {"products": np.arange(30)})["gram"]
        assert (np.triu(pairs) ** 2).sum() == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("products", [[3, 3], [5, 4], [-1, 2], [4, PRODUCTS]])
def test_products_that_are_no_places_are_refused(rows, products):
    with pytest.raises(AnswerError, match="different places"):
        Local(rows).total(
            CoPurchases(PRODUCTS, "test", clipped=True), {"products": np.array(products)}
        )
