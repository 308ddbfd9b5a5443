"""What canaries say of a privacy claim: statistics of scores, apart from where they come from.

A canary is a made-up customer that is in the data with probability 1/2. Its score is larger the
more the released totals look as if it was in.

`lower_bound` is sound: if the claim holds it passes epsilon with probability at most 5 %, whatever
the mechanism (Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training Run", 2023,
Theorem 5.2, https://arxiv.org/abs/2305.08846). It is far below what is true. `gaussian_fit` is an
estimate and no bound: it takes the scores to be two normal distributions of one width, which the
sums of a Gaussian mechanism are, and then it is near (Andrew et al., "One-shot Empirical Privacy
Estimation for Federated Learning", 2024, https://arxiv.org/abs/2302.03098).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc, expit, gammainc, gammaln, log_expit, log_ndtr, ndtr, ndtri

CONFIDENCE = 0.95  # of the sound bound
GUESSED = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0)  # shares of the canaries
RARE = 1e-6  # the chance of a false alarm of one test that is no bound
_MOST = 60.0  # epsilon; no smaller one explains guesses that are all correct


def lower_bound(scores: NDArray[np.floating], included: NDArray[np.bool_], delta: float) -> float:
    """Returns an epsilon that the true one is above, with a probability of CONFIDENCE.

    scores, included: (canaries,). Guesses are made for the canaries with the highest scores (in)
    and with the lowest (out), for the others none; of all numbers of guesses in GUESSED the best
    is taken, each at an eighth of the error that is allowed (Bonferroni).
    """
    order = np.argsort(scores, kind="stable")
    allowed = (1 - CONFIDENCE) / len(GUESSED)
    best = 0.0
    for share in GUESSED:
        half = max(1, round(share * len(order) / 2))
        correct = int(included[order[-half:]].sum() + (~included[order[:half]]).sum())
        best = max(best, _explained(len(order), 2 * half, correct, delta, allowed))
    return best


def _explained(canaries: int, guesses: int, correct: int, delta: float, allowed: float) -> float:
    """Returns the smallest epsilon under which so many correct guesses are not too rare."""

    def excess(epsilon: float) -> float:
        return chance(canaries, guesses, correct, epsilon, delta) - allowed

    if excess(0.0) >= 0:
        return 0.0
    return _MOST if excess(_MOST) < 0 else float(brentq(excess, 0.0, _MOST, xtol=1e-4))


def chance(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Returns the most that P[at least so many guesses are correct] can be under (epsilon, delta).

    Theorem 5.2: beta + 2 m delta max_i alpha_i / i with W ~ Binomial(guesses, e^eps / (1 + e^eps)),
    beta = P[W >= correct] and alpha_i = P[correct > W >= correct - i], i = 1 ... m.
    """
    beta = float(bdtrc(correct - 1, guesses, expit(epsilon))) if correct else 1.0
    below = _binomial(np.arange(correct - 1, -1, -1), guesses, epsilon)
    share = np.cumsum(below) / np.arange(1, correct + 1)
    return min(1.0, beta + 2 * canaries * delta * float(share.max(initial=0.0)))


def _binomial(right: NDArray[np.int64], guesses: int, epsilon: float) -> NDArray[np.float64]:
    """Returns P[W = right] of W ~ Binomial(guesses, e^epsilon / (1 + e^epsilon))."""
    ways = gammaln(guesses + 1) - gammaln(right + 1) - gammaln(guesses - right + 1)
    chances = right * log_expit(epsilon) + (guesses - right) * log_expit(-epsilon)
    found: NDArray[np.float64] = np.exp(ways + chances)
    return found


@dataclass(frozen=True)
class Fit:
    """Two normal distributions of one width: of the scores with the canary in, and out.

    apart: the distance of their means in standard deviations, mu. error: its standard error.
    """

    apart: float
    error: float

    def epsilon(self, delta: float) -> float:
        """Returns the epsilon of a Gaussian mechanism with this mu."""
        return gaussian_epsilon(self.apart, delta)

    def above(self, claimed: float) -> bool:
        """Returns whether mu is above the claimed one by more than chance explains (RARE)."""
        return self.apart + float(ndtri(RARE)) * self.error > claimed


def gaussian_fit(scores: NDArray[np.floating], included: NDArray[np.bool_]) -> Fit:
    """Returns the fit to scores and inclusion, both (canaries,), of at least two on each side."""
    inside, outside = scores[included], scores[~included]
    if min(len(inside), len(outside)) < 2:
        raise ValueError(f"{len(inside)} canaries in and {len(outside)} out, expected 2 of each")
    freedom = len(scores) - 2
    squares = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
    width = math.sqrt(float(squares) / freedom)
    difference = float(inside.mean() - outside.mean())
    if not width:
        return Fit(math.inf if difference > 0 else 0.0, 0.0)
    apart = difference / width
    variance = 1 / len(inside) + 1 / len(outside) + apart**2 / (2 * freedom)
    return Fit(apart, math.sqrt(variance))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Returns the smallest epsilon of a Gaussian mechanism with sensitivity / sigma = mu, from 0.

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu): Balle and Wang,
    "Improving the Gaussian Mechanism for Differential Privacy", 2018, Theorem 8.
    """
    if mu <= 0 or math.isinf(mu):
        return max(mu, 0.0)

    def excess(epsilon: float) -> float:
        missed = math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))
        return float(ndtr(mu / 2 - epsilon / mu)) - missed - delta

    if excess(0.0) <= 0:
        return 0.0
    most = mu * (mu / 2 - float(ndtri(delta)))  # the first term alone is delta there
    return float(brentq(excess, 0.0, most + 1e-9, xtol=1e-6))


@dataclass(frozen=True)
class Spread:
    """How wide noise was, against what was stated.

    ratio: its standard deviation over the stated one. rare: the chance of so small a ratio, of
    noise as stated.
    """

    ratio: float
    rare: float

    @property
    def narrow(self) -> bool:
        """Whether the noise hides less than stated; that it is wider costs accuracy alone."""
        return self.rare < RARE


def noise_spread(noise: NDArray[np.number], sigma: float) -> Spread:
    """Returns the chi-square test of noise, any shape, about 0, against N(0, sigma^2)."""
    squares = float((noise.astype(np.float64) ** 2).sum()) / sigma**2
    return Spread(math.sqrt(squares / noise.size), float(gammainc(noise.size / 2, squares / 2)))
