"""PSI, its threshold, and false discoveries."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from grandtotal.algorithms.distribution_shift import (
    clustering,
    compared,
    false_discovery,
    jensen_shannon,
    psi,
)

SAME = np.full(10, 0.1)


def drawn(rng, n, law=SAME, each=1):
    """Returns eight weeks of the reference and a recent sample, each customer so many times."""
    weeks = each * rng.multinomial(n // 8 // each, SAME, 8)
    return weeks, each * rng.multinomial(n // each, law)


def test_psi_of_a_known_pair():
    # Half a case in each bin: shares 100.5 / 201 and 50.5 / 201 become 50.5 / 101 and so on.
    assert psi(np.array([100, 100]), np.array([50, 50])) == pytest.approx(0.0)
    p, q = np.array([150.5, 50.5]) / 201, np.array([100.5, 100.5]) / 201
    expected = float(((p - q) * np.log(p / q)).sum())
    assert psi(np.array([100, 100]), np.array([150, 50])) == pytest.approx(expected)


def test_jensen_shannon_is_an_eighth_of_psi_for_small_changes():
    reference, recent = np.array([1000, 1000, 1000]), np.array([1050, 1000, 950])
    assert jensen_shannon(reference, recent) == pytest.approx(psi(reference, recent) / 8, rel=0.01)


def test_the_fixed_rule_fires_on_nothing_in_small_samples_and_misses_all_in_large_ones():
    rng = np.random.default_rng(1)
    small = [drawn(rng, 100) for _ in range(200)]
    assert np.mean([psi(w.sum(axis=0), r) > 0.1 for w, r in small]) > 0.7
    assert np.mean([(c := compared(w, r)) is not None and c.p < 0.05 for w, r in small]) <= 0.08
    moved = SAME + np.array([0.02, *[0.0] * 8, -0.02])
    large = [drawn(rng, 10_000, moved) for _ in range(50)]
    assert np.mean([psi(w.sum(axis=0), r) > 0.1 for w, r in large]) == 0.0
    assert np.mean([compared(w, r).p < 0.05 for w, r in large]) > 0.95


def test_customers_who_come_again_raise_the_threshold():
    rng = np.random.default_rng(2)
    single, fivefold = (drawn(rng, 4000, each=each) for each in (1, 5))
    assert clustering(single[0])[0] < 1.5
    assert clustering(fivefold[0])[0] == pytest.approx(5, rel=0.35)
    assert compared(*fivefold).threshold > 3 * compared(*single).threshold
    found = [compared(*drawn(rng, 1000, each=5)) for _ in range(200)]
    assert np.mean([one is not None and one.p < 0.05 for one in found]) <= 0.1


@pytest.mark.parametrize(
    ("weeks", "recent"),
    [
        (np.zeros((4, 3), int), np.array([5, 5, 5])),
        (np.ones((4, 3), int), np.zeros(3, int)),
        (np.array([[100, 0]] * 4), np.array([90, 0])),
    ],
)
def test_too_little_is_not_compared(weeks, recent):
    assert compared(weeks, recent) is None


def test_the_false_discovery_rate_is_that_of_scipy():
    p = np.random.default_rng(3).random(40) ** 3
    assert false_discovery(p) == pytest.approx(false_discovery_control(p))
