"""Work on rows that is done side by side comes back in its order, and as little of it as asked."""

import os
import subprocess
import sys
import threading
import time

import pytest

from grandtotal.threads import each, limited_to, side_by_side, together


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


@pytest.mark.parametrize("beside", [side_by_side, together])
def test_an_error_leaves_nobody_at_work(beside):
    begun, ended = threading.Event(), threading.Event()

    def fail() -> None:
        begun.wait(timeout=60)
        raise ValueError("the first")

    def work() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    with limited_to(2), pytest.raises(ValueError, match="the first"):
        beside([fail, work])
    assert ended.is_set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_process_works_side_by_side_as_well():
    code = """
import os
from grandtotal.threads import limited_to, side_by_side, together

def work():
    with limited_to(2):
        return [*side_by_side([int, int]), *together([int, int])]

work()
child = os.fork()
if child == 0:
    os._exit(len(work()))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
