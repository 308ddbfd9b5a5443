import numpy as np
import pytest

from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts
from grandtotal.consortium.totals import Local, Remembering
from grandtotal.errors import AnswerError, RefusedError
from grandtotal.privacy.fixedpoint import Field, pack


def test_local_is_the_answer_in_units(asked):
    if asked.query.name == "test-scores":
        with pytest.raises(RuntimeError, match="needs a retailer's state"):
            Local(asked.pooled.rows).total(asked.query)
        return
    total = Local(asked.pooled.rows).total(asked.query, asked.broadcast)
    for name, field in asked.query.fields(asked.broadcast).items():
        steps = np.asarray(asked.answer(asked.pooled)[name])
        found = total[name] if steps.shape == field.shape else pack(total[name])
        assert (found == (steps if field.scale == 1 else steps / field.scale)).all()
        assert total[name].dtype.kind == ("i" if field.scale == 1 else "f")


def test_local_refuses_what_a_consortium_refuses(given_query, monkeypatch):
    query = given_query((("sum", (1,), 32, 1),))
    with pytest.raises(AnswerError, match="1 retailers may contribute at most 2,147,483,647"):
        Local({"answer": {"sum": np.array([2**31])}}).total(query)
    monkeypatch.setattr(given_query, "fields", lambda *_: {"sum": Field((1,), largest=2**63)})
    with pytest.raises(RefusedError, match="must stay below"):
        Local({"answer": {"sum": np.array([1])}}).total(query)


class Counting:
    def __init__(self, totals):
        self.totals = totals
        self.asked = []

    def total(self, query, broadcast=None):
        self.asked.append(query)
        return self.totals.total(query, broadcast)


def test_remembering_asks_a_question_without_a_broadcast_once(build):
    rows = {"test": build.purchases(np.random.default_rng(1), 20, 5)}
    counting = Counting(Local(rows))
    totals = Remembering(counting)
    gram, counts = CoPurchases(5, "test"), PurchaseCounts(5, "test")
    for query in (gram, counts, CoPurchases(5, "test"), gram):
        found, plain = totals.total(query), Local(rows).total(query)
        assert all((found[name] == plain[name]).all() for name in plain)
    assert counting.asked == [gram, counts]


def test_remembering_asks_again_where_there_is_a_broadcast(given_query):
    counting = Counting(Local({"answer": {"sum": np.array([1, 2, 3])}}))
    totals = Remembering(counting)
    for _ in range(2):
        totals.total(given_query(), {"model": np.ones(2)})
    assert len(counting.asked) == 2
