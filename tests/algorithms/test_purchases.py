import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from grandtotal.algorithms import purchases
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts, Purchases, gram
from grandtotal.consortium.totals import Local
from grandtotal.privacy.fixedpoint import pack, unpack

binary = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda shape: hnp.arrays(np.int32, shape, elements=st.integers(0, 1))
)


@given(binary)
def test_a_gram_matrix_is_the_integer_product(matrix):
    found = gram(csr_array(matrix.astype(np.float32)))
    assert found.dtype.kind == "i"
    assert (found == pack(matrix.T @ matrix)).all()


# Few of many products each, and so many customers that they are counted in more than one block.
@pytest.mark.parametrize(
    ("customers", "products", "share"), [(3000, 900, 0.003), (265_000, 64, 0.2)]
)
def test_sparse_and_dense_purchases_are_counted_exactly(customers, products, share):
    bought = np.random.default_rng(1).random((customers, products), np.float32) < share
    x = bought.astype(np.float32)
    found = gram(csr_array(x))
    assert (found == pack(x.T @ x)).all()  # float32 is exact below 2^24


@pytest.mark.parametrize("share", [0.003, 0.2])
def test_counts_made_some_rows_at_a_time_are_those_made_at_once(share, monkeypatch):
    bought = np.random.default_rng(2).random((4000, 120)) < share
    x = csr_array(bought.astype(np.float32))
    whole = gram(x)
    monkeypatch.setattr(purchases, "_PANEL", 700)  # five rows, and 256 customers
    assert (gram(x) == whole).all()


HISTORY = np.array([[1, 30, 0], [0, 28, 0], [0, 0, 0], [200, 29, 5]])
ROWS = {"test": Purchases(csr_array(HISTORY), csr_array(HISTORY * 0))}


@pytest.mark.parametrize(
    ("days", "counts"), [(0, [2, 3, 1]), (28, [1, 1, 1]), (29, [1, 2, 1]), (4, [1, 0, 0])]
)
def test_a_product_counts_once_for_every_customer_who_bought_it_lately(days, counts):
    total = Local(ROWS).total(PurchaseCounts(3, "test", days))
    assert total["counts"].tolist() == counts
    assert total["customers"] == 3


def test_co_purchases_count_customers_of_both():
    found = Local(ROWS).total(CoPurchases(3, "test"))["gram"]
    assert found.tolist() == [[2, 2, 1], [2, 3, 1], [1, 1, 1]]


def test_pooled_purchases_are_the_customers_of_all(build):
    parts = [build.purchases(np.random.default_rng(i), n, 6) for i, n in enumerate((3, 0, 4))]
    pooled = Purchases.pooled(parts)
    for name in ("history", "future"):
        stacked = np.concatenate([getattr(part, name).toarray() for part in parts])
        assert (getattr(pooled, name).toarray() == stacked).all()


@pytest.mark.parametrize("share", [0.01, 0.4])
def test_weighted_purchases_are_counted_exactly(share):
    rng = np.random.default_rng(9)
    x = (rng.random((4000, 150)) < share).astype(np.float32)
    weights = rng.integers(0, 2**16, 4000)
    whole = x.astype(np.int64)
    found = unpack(gram(csr_array(x), weights), 150)
    assert (found == whole.T @ (whole * weights[:, None])).all()
