"""Gamma-Gamma: what a customer spends at a purchase, from the few purchases that are known of it.

A customer's purchases have the mean z; theirs vary as Gamma(p, rate nu), and over the customers
nu ~ Gamma(q, rate v). What a customer spends is taken as independent of how often it buys: look at
the correlation of the two before using it.

Fader and Hardie, "The Gamma-Gamma model of monetary value", 2013,
http://www.brucehardie.com/notes/025/, equations 1a, 4 and 5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.gamma_functions import digamma, log_gamma, trigamma

Values = NDArray[np.float64]
GAMMA_GAMMA = ("p", "q", "v")


@dataclass(frozen=True)
class Spending:
    """What each customer spent, both (customers,).

    purchases: how many are known of. mean: spent at each, above 0, in units of currency.
    """

    purchases: NDArray[np.int64]
    mean: Values

    def __len__(self) -> int:
        return len(self.purchases)

    def taken(self, rows: slice | NDArray[np.bool_]) -> "Spending":
        """Returns some of the customers."""
        return Spending(self.purchases[rows], self.mean[rows])


def gamma_gamma_terms(rows: Spending, parameters: Values) -> tuple[Values, Values, Values]:
    """Returns log-likelihoods (n,), gradients (n, 3), curvatures (n, 3, 3) in p, q, v."""
    p, q, v = parameters
    x, m = rows.purchases.astype(np.float64), rows.mean
    px, spent = p * x, v + x * m
    one_q, one_v = np.array([q]), np.array([v])
    log_v, log_m, log_x, log_spent = log(one_v)[0], log(m), log(x), log(spent)
    likelihood = (
        log_gamma(px + q)
        - log_gamma(px)
        - log_gamma(one_q)[0]
        + q * log_v
        + (px - 1) * log_m
        + px * log_x
        - (px + q) * log_spent
    )
    slope, bend = digamma(px + q), trigamma(px + q)
    gradient = np.stack(
        [
            x * (slope - digamma(px) + log_m + log_x - log_spent),
            slope - digamma(one_q)[0] + log_v - log_spent,
            q / v - (px + q) / spent,
        ],
        axis=1,
    )
    curvature = np.empty((len(x), 3, 3))
    curvature[:, 0, 0] = x * x * (bend - trigamma(px))
    curvature[:, 0, 1] = curvature[:, 1, 0] = x * bend
    curvature[:, 0, 2] = curvature[:, 2, 0] = -x / spent
    curvature[:, 1, 1] = bend - trigamma(one_q)[0]
    curvature[:, 1, 2] = curvature[:, 2, 1] = 1 / v - 1 / spent
    curvature[:, 2, 2] = (px + q) / spent**2 - q / v**2
    return likelihood, gradient, curvature


def expected_spend(rows: Spending, parameters: Values) -> Values:
    """Returns what each customer (customers,) is expected to spend at a purchase, equation 5.

    Between its own mean and that of all, p v / (q - 1): the more so the former, the more purchases
    are known; of none it is the latter. q is above 1, or there is no mean.
    """
    p, q, v = parameters
    known = np.maximum(rows.mean, 0.0) * rows.purchases
    found: Values = p * (v + known) / (p * rows.purchases + q - 1)
    return found
