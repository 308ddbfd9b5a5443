"""The attack itself, where its answer is known by construction."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

ROOT = Path(__file__).parents[2]


@pytest.fixture
def attack(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import membership

    return membership


def models(apart, random):
    included = random.random((400, 50)) < 0.5
    # Every customer has another level: without shadow models nobody tells in from out.
    return random.normal(size=(400, 50)) + apart * included + 100 * np.arange(50), included


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
def test_the_ratio_of_two_normal_distributions_finds_what_can_be_found(attack, apart):
    answers, included = models(apart, np.random.default_rng(1))
    found = attack._ratio(answers, included, 200, 1.0)
    assert found.auc == pytest.approx(norm.cdf(apart / 2**0.5), abs=0.02)


def test_answers_without_any_noise_are_told_apart_always(attack):
    answers, included = models(5.0, np.random.default_rng(2))
    exact = np.round((answers - 100 * np.arange(50)) / 100) + included
    found = attack._ratio(exact, included, 200, 1.0)
    assert found.auc == 1.0
    assert [row.value for row in found.rates("x")] == [100.0, 100.0]


def test_answers_that_are_all_the_same_tell_nothing(attack):
    _, included = models(0.0, np.random.default_rng(3))
    found = attack._ratio(np.zeros((400, 50)), included, 200, 0.0)
    assert found.auc == 0.5
    assert [row.value for row in found.rates("x")] == [0.0, 0.0]
