"""The check by double machine learning: a known answer, and `doubleml` on the same folds."""

from dataclasses import replace

import numpy as np
import pytest

from grandtotal.algorithms.double_ml import DoubleML, basis, compared, fold_of
from grandtotal.algorithms.elasticity import Elasticity
from grandtotal.algorithms.price_rows import PricePanel, PriceRows, whole
from grandtotal.consortium.totals import Local


def planted(seed=3, series=30, weeks=52, products=3):
    """Returns rows whose promotions act with their square, and prices that follow them."""
    rng = np.random.default_rng(seed)
    of, week = np.divmod(np.arange(series * weeks), weeks)
    promoted = rng.random(len(of)) ** 2
    price = whole(rng.normal(0, 0.1, len(of)) - 0.3 * promoted**2)
    x = np.stack([price, whole(rng.normal(0, 0.1, len(of))), promoted], axis=1)
    product = np.arange(series) % products
    truth = np.linspace(-3, -2, products)
    logs = 4 + truth[product[of]] * price + promoted**2 + 0.2 * rng.normal(size=len(of))
    buckets = np.ones(products, np.int16)
    return PriceRows(x, np.exp(logs), of, week, product, 26, buckets), truth


def held(rows):
    return Local({"test": PricePanel((rows,))})


def test_what_a_regression_has_no_column_for_is_found_by_the_check():
    rows, truth = planted()
    asked = np.arange(3)
    theta, sd = DoubleML().fit(held(rows), asked, "test")
    linear = Elasticity().fit(held(rows), 3, "test").raw
    assert np.abs(theta - truth).max() < 3 * sd.max()
    assert np.abs(theta - truth).mean() < np.abs(linear - truth).mean()


def test_both_means_are_told_beside_each_other():
    rows, truth = planted()
    model = Elasticity().fit(held(rows), 3, "test")
    told = compared(held(rows), model, 3, "test")
    assert told["double_ml"] == pytest.approx(truth.mean(), abs=0.1)
    assert told["regression"] < told["double_ml"] - 0.05
    nothing = replace(rows, x=np.zeros_like(rows.x))
    none = Elasticity().fit(held(nothing), 3, "test")
    assert compared(held(nothing), none, 3, "test") == {"double_ml": None, "regression": None}


# doubleml 0.11.4 (pip install doubleml), once, on the rows of `planted(products=1)`:
#   x, y, z = rows.within[:, 0], rows.centred(np.log(rows.y)), rows.centred(basis(rows.x))
#   folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]
#   ridge = Ridge(alpha=1e-3, fit_intercept=False)
#   plr = DoubleMLPLR(DoubleMLData.from_arrays(z, y, x), ridge, ridge, n_folds=5)
#   plr.set_sample_splitting(folds); plr.fit(); plr.coef[0]
REFERENCE = -3.031879858


def test_the_slope_is_that_of_doubleml_on_the_same_folds():
    rows, _ = planted(products=1)
    (theta,), _ = DoubleML().fit(held(rows), np.array([0]), "test")
    assert theta == pytest.approx(REFERENCE, abs=1e-6)
    assert len(np.unique(fold_of(rows, 5))) == 5
    assert basis(rows.x).shape[1] == 5
