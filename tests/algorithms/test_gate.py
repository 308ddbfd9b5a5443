"""An update that makes the summed loss worse is rolled back, and named."""

import numpy as np
import pytest

from grandtotal.algorithms.gate import Gate
from grandtotal.algorithms.glm import GLM, Design
from grandtotal.consortium.totals import Local
from grandtotal.errors import RefusedError

RNG = np.random.default_rng(5)
X = RNG.integers(-300, 300, (800, 3)).astype(np.int16)
Y = RNG.poisson(np.exp(X / 256 @ np.array([0.5, -0.3, 0.2]))).astype(float)


class Rows:
    def training(self, broadcast):  # noqa: ARG002
        return [Design(X, Y, np.zeros(len(Y)))]


class Broken:
    """Totals of which one round has another field: a retailer whose rows broke for once."""

    def __init__(self, **changed):
        self.local, self.changed, self.round = Local({"test": Rows()}), changed, 0

    def total(self, query, broadcast=None):
        self.round += 1
        sums = self.local.total(query, broadcast)
        if self.round == 2:
            sums |= {name: change(sums[name]) for name, change in self.changed.items()}
        return sums


def fit(totals):
    return GLM("poisson", l2=1.0).fit(totals, 3, "test", {})


def test_an_update_that_lowers_the_loss_passes_and_a_worse_one_does_not():
    gate = Gate(np.zeros(2))
    assert gate.passes(1, np.ones(2), 5.0, seen=0.1)
    assert not gate.passes(2, np.full(2, 9.0), 5.2, seen=0.1)
    assert gate.passes(3, np.full(2, 2.0), 5.05, seen=0.1)
    assert gate.good.tolist() == [2.0, 2.0]
    assert gate.loss == 5.0
    assert gate.rolled_back == [{"round": 2, "loss": 5.2, "best": 5.0}]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_no_number_does_not_pass_even_the_first_time(loss):
    gate = Gate(np.zeros(1))
    assert not gate.passes(1, np.ones(1), loss, seen=0.0)
    assert gate.good.tolist() == [0.0]
    assert gate.rolled_back == [{"round": 1, "loss": None, "best": None}]


def test_parameters_that_are_no_numbers_do_not_pass():
    gate = Gate(np.zeros(1))
    assert not gate.passes(1, np.array([np.nan]), 1.0, seen=0.0)
    assert gate.rolled_back == [{"round": 1, "loss": 1.0, "best": None}]


def test_a_fit_of_sound_rows_rolls_nothing_back():
    assert fit(Broken())[1]["rolled_back"] == []


def test_a_step_from_a_broken_gradient_is_rolled_back_and_the_fit_is_the_same():
    sound, _ = fit(Broken())
    found, report = fit(Broken(gradient=lambda g: -50 * g - 1e4))
    assert report["rolled_back"]
    first = report["rolled_back"][0]
    assert first["round"] == 3
    assert first["loss"] > first["best"]
    assert report["converged"]
    np.testing.assert_allclose(found, sound, atol=2e-3)


def test_a_curvature_that_no_rows_have_is_refused():
    with pytest.raises(RefusedError, match="the answer of a retailer is broken"):
        fit(Broken(curvature=lambda c: -c))
