import pytest

from grandtotal.consortium.query import installed
from grandtotal.privacy.bound import Bound, NoCustomers


@pytest.mark.parametrize("name", sorted(installed("queries")))
def test_every_query_says_how_far_a_customer_can_move_it(name):
    bound = installed("queries")[name].bound
    assert bound is None or isinstance(bound, Bound | NoCustomers)
    if isinstance(bound, NoCustomers):
        assert bound.reason
