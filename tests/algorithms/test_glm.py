import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor

from grandtotal.algorithms.glm import (
    COEFFICIENT_STEPS,
    GLM,
    MOST_LOG,
    MOST_X,
    ROW_STEPS,
    X_STEPS,
    Design,
    GLMMoments,
    features,
    linear,
    mean,
    steps_of,
)
from grandtotal.consortium.totals import Local
from grandtotal.errors import AnswerError, Code


class Planted:
    """Rows of a regression as a task would prepare them."""

    def __init__(self, x, y, offset):
        self.design = Design(x, y, offset)

    def training(self, broadcast):  # noqa: ARG002
        return [self.design]

    def part(self, chosen):
        d = self.design
        return {"test": Planted(d.x[chosen], d.y[chosen], d.offset[chosen])}


def planted(family, b, rows=4000, seed=0):
    """Returns rows whose expected units are those of the family with the coefficients b."""
    rng = np.random.default_rng(seed)
    x = features([np.ones(rows), *rng.normal(0, 0.5, (len(b) - 1, rows))])
    offset = np.log(rng.uniform(2.0, 30.0, rows))
    y = rng.poisson(np.maximum(mean(family, x, offset, np.asarray(b)), 0.0)).astype(float)
    return Planted(x, y, offset)


def fit(rows, family="poisson", l2=1.0, **options):
    width = rows.design.x.shape[1]
    return GLM(family, l2, **options).fit(Local({"test": rows}), width, "test", {})


PLANTED = {"poisson": (0.2, -0.7, 0.4, 0.0), "ridge": (1.1, 0.3, -0.2, 0.0)}


@pytest.mark.parametrize("family", PLANTED)
def test_planted_coefficients_are_recovered(family):
    rows = planted(family, PLANTED[family])
    found, report = fit(rows, family)
    d = rows.design
    x = d.x / X_STEPS
    level = np.exp(d.offset)
    weight = mean(family, d.x, d.offset, found) if family == "poisson" else level
    fisher = np.linalg.inv((x * weight[:, None]).T @ x)
    # ridge: the variance of y is its mean, up to twice the level that the weight assumes.
    errors = np.sqrt(np.diagonal(fisher) * (1 if family == "poisson" else 2))
    assert (np.abs(found - PLANTED[family]) < 4 * errors).all()
    assert report["converged"]
    assert report["rows"] == len(d.y)


@pytest.mark.parametrize("l2", [0.5, 40.0])
def test_poisson_is_scikit_learns(l2):
    rows = planted("poisson", PLANTED["poisson"], rows=3000)
    d = rows.design
    flat = Planted(d.x, d.y, np.zeros(len(d.y)))
    found, _ = fit(flat, l2=l2, tolerance=0.0)
    reference = PoissonRegressor(alpha=l2 / len(d.y), fit_intercept=False, tol=1e-10, max_iter=5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        reference.fit(d.x / X_STEPS, d.y)
    # Rows are rounded to 1/4096 of a unit.
    np.testing.assert_allclose(found, reference.coef_, atol=1e-4)


@pytest.mark.parametrize("l2", [0.5, 40.0])
def test_ridge_is_its_closed_form_in_one_round(l2):
    rows = planted("ridge", PLANTED["ridge"])
    d = rows.design
    x, level = d.x / X_STEPS, np.exp(d.offset)
    expected = np.linalg.solve((x * level[:, None]).T @ x + l2 * np.eye(4), x.T @ d.y)
    found, report = fit(rows, "ridge", l2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert report["rounds"] == 1
    assert report["converged"]


@pytest.mark.parametrize("family", PLANTED)
@pytest.mark.parametrize("retailers", [3, 5])
def test_any_split_of_the_rows_has_the_same_totals(federate, family, retailers):
    rows = planted(family, PLANTED[family], rows=1001)
    holder = np.random.default_rng(retailers).integers(0, retailers, 1001)
    parts = [rows.part(holder == k) for k in range(retailers)]
    query = GLMMoments(family, 4, "test")
    broadcast = {"coefficients": np.array(PLANTED[family])}
    pooled = Local({"test": rows}).total(query, broadcast)
    federated = federate(parts).totals.total(query, broadcast)
    for name, total in pooled.items():
        assert (federated[name] == total).all()


@pytest.mark.parametrize("family", PLANTED)
def test_the_order_of_the_rows_does_not_matter(family):
    rows = planted(family, PLANTED[family])
    shuffled = rows.part(np.random.default_rng(1).permutation(4000))["test"]
    assert (fit(rows, family)[0] == fit(shuffled, family)[0]).all()


def test_moments_are_the_sums_of_the_paper():
    rows = planted("poisson", PLANTED["poisson"], rows=500)
    d = rows.design
    b = np.array([0.25, -0.5, 0.5, 0.0])
    found = Local({"test": rows}).total(GLMMoments("poisson", 4, "test"), {"coefficients": b})
    x = d.x / X_STEPS
    mu = np.exp(d.offset + x @ b)
    half_a_step = 500 * 0.5 / ROW_STEPS
    np.testing.assert_allclose(found["curvature"], (x * mu[:, None]).T @ x, atol=half_a_step * 9)
    np.testing.assert_allclose(found["gradient"], x.T @ (d.y - mu), atol=half_a_step * 3)
    assert found["loss"] == pytest.approx((mu - d.y * np.log(mu)).sum(), abs=half_a_step)
    assert found["rows"] == 500


def test_the_fit_converges_from_a_bad_start_to_the_same_coefficients():
    rows = planted("poisson", PLANTED["poisson"])
    good, _ = fit(rows)
    for start in ([-3.0, 2.0, 2.0, -1.0], [2.0, 1.0, -2.0, 1.0]):
        broadcast = {"coefficients": np.array(start)}
        found, report = GLM(l2=1.0).fit(Local({"test": rows}), 4, "test", broadcast)
        assert report["converged"]
        # Newton stops where a step gains less than rounded losses show; the last step is taken.
        np.testing.assert_allclose(found, good, atol=1e-3)


def test_a_fit_that_ran_out_of_rounds_says_so():
    report = fit(planted("poisson", PLANTED["poisson"]), rounds=1)[1]
    assert (report["rounds"], report["converged"]) == (1, False)


@pytest.mark.parametrize("family", PLANTED)
def test_billions_of_units_are_rounded_more_coarsely_and_fitted(family):
    b, rng = PLANTED[family], np.random.default_rng(0)
    large = rng.uniform(6.0, 8.0, 20_000)
    x = features([np.ones(20_000), *rng.normal(0, 0.5, (2, 20_000)), large])
    offset = np.log(rng.uniform(2e4, 6e4, 20_000))
    y = np.maximum(np.rint(mean(family, x, offset, np.asarray(b))), 0.0)
    rows = {"test": Planted(x, y, offset)}
    with pytest.raises(AnswerError, match="too many units"):
        GLM(family).fit(Local(rows), 4, "test", {})
    found, report = GLM(family).fit(Local(rows), 4, "test", {}, units=float(y.sum()))
    assert report["converged"]
    # A ridge mean below 0 is none: such rows bend the line.
    np.testing.assert_allclose(found, b, atol=1e-4 if family == "poisson" else 0.02)


def test_few_units_are_rounded_as_finely_as_ever():
    assert steps_of(0.0) == steps_of(2.0**28) == ROW_STEPS
    assert steps_of(2.0**28 + 1) == ROW_STEPS / 2
    assert steps_of(1e15) == 1


def test_coefficients_are_whole_steps():
    found, _ = fit(planted("poisson", PLANTED["poisson"]))
    assert (found * COEFFICIENT_STEPS == np.rint(found * COEFFICIENT_STEPS)).all()


def test_a_larger_penalty_shrinks_every_time():
    rows = planted("poisson", PLANTED["poisson"])
    norms = [np.linalg.norm(fit(rows, l2=l2)[0]) for l2 in (0.1, 100.0, 10_000.0, 1e7)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.01


def test_features_are_whole_steps_inside_16_bits():
    x = features([np.array([0.0, 1.0, -0.5, 1e9, -1e9]), np.array([0.001, 0.002, 0.003, 7, 8])])
    assert x.dtype == np.int16
    assert x[:, 0].tolist() == [0, X_STEPS, -X_STEPS // 2, MOST_X, -MOST_X]
    assert x[:3, 1].tolist() == [0, 1, 1]


def test_the_linear_predictor_does_not_depend_on_the_block():
    rng = np.random.default_rng(2)
    x = rng.integers(-MOST_X, MOST_X, (999, 22)).astype(np.int16)
    b = rng.normal(0, 3, 22)
    whole = linear(x, b)
    alone = np.concatenate([linear(row[None], b) for row in x])
    reordered = linear(np.asfortranarray(x[:, ::-1]), b[::-1])
    assert whole.tobytes() == alone.tobytes() == reordered.tobytes()


def test_no_mean_passes_the_largest():
    assert mean("poisson", np.full((1, 1), MOST_X, np.int16), np.zeros(1), np.ones(1)) == (
        pytest.approx(np.exp(MOST_LOG))
    )


@pytest.mark.parametrize("rows", [100, 200, 300, 513])
def test_a_curvature_that_could_wrap_is_refused(rows):
    x = np.full((rows, 2), MOST_X, np.int16)
    largest = Planted(x, np.zeros(rows), np.full(rows, MOST_LOG))
    query, start = GLMMoments("poisson", 2, "test"), {"coefficients": np.zeros(2)}
    with pytest.raises(AnswerError, match=r"2\^62") as refused:
        Local({"test": largest}).total(query, start)
    assert refused.value.code == Code.OVERFLOW
    assert Local(largest.part([0])).total(query, start)["rows"] == 1
