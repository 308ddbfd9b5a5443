"""The norm of every customer's gradient against the gradients themselves, made one by one."""

import numpy as np
import pytest

from grandtotal.privacy.ghost_clipping import Dense, Embedding, bound, factors

SEED = np.random.default_rng(11)


def batch(customers):
    """Returns a small network's layers with made-up inputs and errors, in float64."""
    records = len(customers)
    return [
        Embedding(SEED.integers(0, 4, records), SEED.normal(size=(records, 6))),
        Embedding(np.asarray(customers), SEED.normal(size=(records, 6))),
        Dense(SEED.normal(size=(records, 12)), SEED.normal(size=(records, 8))),
        Dense(SEED.normal(size=(records, 8)), SEED.normal(size=(records, 3))),
    ]


def gradient(layers, weights):
    """Returns the gradient of all layers together, flat, of records with these weights."""
    parts = []
    for layer in layers:
        errors = layer.errors * weights[:, None]
        if isinstance(layer, Embedding):
            table = np.zeros((50, errors.shape[1]))
            np.add.at(table, layer.rows, errors)
            parts.append(table)
        else:
            parts += [errors.T @ layer.inputs, errors.sum(axis=0)]
    return np.concatenate([part.ravel() for part in parts])


CUSTOMERS = {
    "one record each": [3, 1, 2, 0, 7],
    "several records": [5, 1, 5, 2, 2, 5, 9, 5, 1],
    "one customer": [4, 4, 4, 4],
    "one record": [8],
}


@pytest.mark.parametrize("customers", CUSTOMERS.values(), ids=CUSTOMERS)
@pytest.mark.parametrize("norm", [0.5, 40.0, 1e6])
def test_the_factor_is_the_norm_over_that_of_the_customers_own_gradient(customers, norm):
    layers, customers = batch(customers), np.array(customers)
    kept = factors(layers, customers, norm)
    for customer in np.unique(customers):
        own = (customers == customer).astype(float)
        length = np.linalg.norm(gradient(layers, own))
        np.testing.assert_allclose(kept[customers == customer], min(1, norm / length))


def test_what_a_customer_adds_has_at_most_the_norm():
    customers = np.array(CUSTOMERS["several records"])
    layers = batch(customers)
    weights = factors(layers, customers, 2.0)
    whole = gradient(layers, weights)
    for customer in np.unique(customers):
        others = gradient(layers, weights * (customers != customer))
        assert np.linalg.norm(whole - others) <= 2.0 * (1 + 1e-12)


def test_a_small_gradient_stays_as_it_is():
    customers = np.array([1, 1, 2])
    layers = batch(customers)
    np.testing.assert_array_equal(factors(layers, customers, 1e9), 1.0)


def test_records_that_cancel_are_one_contribution_of_nothing():
    rows, errors = np.array([3, 3]), np.array([[5.0, 0.0], [-5.0, 0.0]])
    same = factors([Embedding(rows, errors)], np.array([1, 1]), 1.0)
    apart = factors([Embedding(rows, errors)], np.array([1, 2]), 1.0)
    np.testing.assert_array_equal(same, 1.0)
    np.testing.assert_array_equal(apart, 0.2)


def test_clipping_records_instead_of_customers_passes_the_norm():
    # The control: factors of records alone, on data where a customer has nine of them.
    customers = np.zeros(9, int)
    errors = np.full((9, 4), 1.0)
    layers = [Dense(np.ones((9, 4)), errors)]
    by_record = factors(layers, np.arange(9), 1.0)
    by_customer = factors(layers, customers, 1.0)
    assert np.linalg.norm(gradient(layers, by_record)) == pytest.approx(9.0)
    assert np.linalg.norm(gradient(layers, by_customer)) == pytest.approx(1.0)


def test_a_rounded_sum_moves_by_no_more_than_the_bound_and_by_more_than_the_norm():
    norm, scale, moved = 0.01, 100, 0.0
    customers = np.repeat(np.arange(12), 3)
    for _ in range(20):
        layers = batch(customers)
        weights = factors(layers, customers, norm)
        whole = np.rint(gradient(layers, weights) * scale)
        others = np.rint(gradient(layers, weights * (customers != 4)) * scale)
        moved = max(moved, float(np.linalg.norm(whole - others)))
    # One step is all the norm there is: what rounding adds is what the bound is widened for.
    assert norm * scale < moved <= bound(norm, scale, whole.size).norm
