"""Work on rows that is done side by side comes back in its order, and as little of it as asked."""

import threading

from grandtotal.threads import each, limited_to


def test_each_keeps_the_order_and_meets_as_many_as_there_are_workers():
    barrier = threading.Barrier(2)

    def meet(item: int) -> int:
        barrier.wait(timeout=60)
        return 10 * item

    with limited_to(2):
        assert list(each(meet, iter(range(4)))) == [0, 10, 20, 30]


def test_each_takes_no_more_items_than_are_worked_on():
    taken = []

    def items():
        for item in range(9):
            taken.append(item)
            yield item

    with limited_to(1):
        found = each(lambda item: item, items())
        assert next(found) == 0
        assert taken == [0]
