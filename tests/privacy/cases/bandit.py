"""Prices that are tried: one store's week becomes any other, with any products and sales."""

import numpy as np
from hypothesis import strategies as st

from grandtotal.algorithms.bandit import PriceTrials, Trials

PRODUCTS = 4
SIZES = [0.0, 1e-9, 0.05, 1.0, -3.0, 1e6, -1e300, np.nan]


def week_of_a_store(draw, folder):  # noqa: ARG001
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    others = rng.normal(0, 0.3, (2, 12))

    def trials():
        rows = draw(st.sampled_from([0, 1, PRODUCTS, 400]))
        moved, sold = (np.full(rows, draw(st.sampled_from(SIZES))) for _ in range(2))
        return Trials(
            np.concatenate([np.arange(12) % PRODUCTS, rng.integers(0, PRODUCTS, rows)]),
            np.concatenate([others[0], moved]),
            np.concatenate([others[1], sold]),
            np.concatenate([np.arange(12) // PRODUCTS, np.full(rows, 77)]),
        )

    query = PriceTrials(PRODUCTS, "w", draw(st.sampled_from([0.02, 1.0, 30.0])))
    return query, {}, {"w": trials()}, {"w": trials()}


CASES = {"price-trials": week_of_a_store}
