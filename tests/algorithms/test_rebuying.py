"""Chances of buying again: what is counted, what is not, and what little knowledge says."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.rebuying import (
    BASKETS,
    CELLS,
    SHAPE,
    SINCE,
    TIMES,
    RebuyCounts,
    Rebuying,
    held,
    rates_of,
)
from grandtotal.consortium.totals import Local
from grandtotal.errors import AnswerError

PRODUCTS = 8


def of(*customers):
    """Returns purchases of customers' baskets, oldest first, each a set of products."""
    entries = sorted(
        (customer, product, ago)
        for customer, baskets in enumerate(customers)
        for ago, basket in enumerate(reversed(baskets), start=1)
        for product in basket
    )
    rows, products, agos = (np.array(each, np.int32) for each in zip(*entries, strict=True))
    shape = (len(customers), PRODUCTS)
    starts = np.searchsorted(rows, np.arange(len(customers) + 1))
    baskets = csr_array((agos, products, starts), shape=shape)
    bought = np.zeros(shape, np.int32)
    bought[rows, products] = 1
    return Purchases(csr_array(bought), csr_array(np.zeros(shape, np.int32)), baskets)


def cell(times, baskets, since):
    """Returns the number of a cell."""
    places = [
        int((edges <= value).sum()) - 1
        for edges, value in ((TIMES, times), (BASKETS, baskets), (SINCE, since))
    ]
    return int(np.ravel_multi_index(places, SHAPE))


def test_a_customer_is_known_by_how_often_of_how_many_baskets_and_since_when():
    found = held(of([{1, 2}, {1}, {3}], [{2}]))
    known = dict(zip(zip(found.customers, found.products, strict=True), found.cells, strict=True))
    assert known == {
        (0, 1): cell(2, 3, 2),
        (0, 2): cell(1, 3, 3),
        (0, 3): cell(1, 3, 1),
        (1, 2): cell(1, 1, 1),
    }


def test_the_last_basket_is_what_the_ones_before_are_asked_about():
    purchases = of([{1, 2}, {1}, {1, 3}], [{2}])
    counts = Local({"test": purchases}).total(RebuyCounts(PRODUCTS, "test"))
    expected = {cell(2, 2, 1): (1, 1), cell(1, 2, 2): (0, 1)}
    for place in range(CELLS):
        found = counts["again"][place], counts["held"][place]
        assert found == expected.get(place, (0, 0))


def test_a_product_is_likelier_than_its_rates_where_it_is_bought_again_more_often():
    baskets = [[{1, 2}, {1}]] * 40
    found = Rebuying.fit(Local({"test": of(*baskets)}), PRODUCTS, "test")
    assert found.ratios[1] > 1.5 > 1.0 > 0.5 > found.ratios[2]
    assert found.ratios[3] == 1.0  # nobody had it
    chances = found.chances(of([{1, 2}])).toarray()[0]
    assert chances[1] == pytest.approx(1.0, abs=0.2)
    assert chances[2] == pytest.approx(0.0, abs=0.1)
    assert not chances[[0, 3, 4, 5, 6, 7]].any()


def test_where_little_is_known_a_cell_is_as_its_times_and_these_in_proportion():
    nothing = rates_of(np.zeros(CELLS), np.zeros(CELLS)).reshape(SHAPE)
    np.testing.assert_allclose(nothing / nothing[:1], TIMES[:, None, None] * np.ones(SHAPE))
    again, asked = np.zeros(CELLS), np.zeros(CELLS)
    again[cell(1, 1, 1)], asked[cell(1, 1, 1)] = 300.0, 1000.0
    rates = rates_of(again, asked)
    assert rates[cell(1, 1, 1)] == pytest.approx(0.3, abs=0.01)
    assert rates[cell(1, 4, 2)] == pytest.approx(0.3, abs=0.01)
    assert rates[cell(2, 4, 2)] == pytest.approx(0.6, abs=0.02)


def test_rates_are_chances():
    assert (rates_of(np.full(CELLS, 9.0), np.full(CELLS, 9.0)) <= 1.0).all()


def test_nobody_with_a_second_basket_is_no_reason_to_fail():
    found = Rebuying.fit(Local({"test": of([{1}], [{2}])}), PRODUCTS, "test")
    assert (found.ratios == 1.0).all()
    assert (found.chances(of([{1}])).data > 0).all()


@pytest.mark.parametrize(
    "rates", [np.full(CELLS - 1, 0.1), np.full(CELLS, 2.0), np.full(3, np.nan)]
)
def test_rates_of_other_cells_and_what_is_no_share_is_refused(rates):
    with pytest.raises(AnswerError, match="shares from 0 to 1"):
        Local({"test": of([{1}, {1}])}).total(RebuyCounts(PRODUCTS, "test"), {"rates": rates})
    with pytest.raises(AnswerError, match="expected 9 products"):
        Rebuying.of({"rates": np.zeros(CELLS), "ratios": np.ones(PRODUCTS)}, 9)
