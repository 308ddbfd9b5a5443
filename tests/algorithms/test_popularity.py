import numpy as np
from scipy.sparse import csr_array

from grandtotal.algorithms.item_model import Request
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.totals import Local

HISTORY = np.array([[40, 3, 0, 0], [50, 4, 0, 0], [60, 0, 9, 0], [70, 0, 0, 0]])
ROWS = {"test": Purchases(csr_array(HISTORY), csr_array(HISTORY * 0))}


def ranking(days, bought=()):
    model = Popularity(days).fit(Local(ROWS), 4, "test")
    return [(r.product, r.score) for r in model.predict(Request(bought, k=4))]


def test_everybody_is_recommended_what_most_customers_bought():
    assert ranking(0) == [(0, 4.0), (1, 2.0), (2, 1.0), (3, 0.0)]
    assert ranking(0, (0,)) == [(1, 2.0), (2, 1.0), (3, 0.0)]


def test_a_window_forgets_what_was_bought_before():
    assert ranking(28) == [(1, 2.0), (2, 1.0), (0, 0.0), (3, 0.0)]
