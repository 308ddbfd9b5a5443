"""The contract of every installed query. Their rows are built in tests/conftest.py."""

import json
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from grandtotal.consortium.query import build_query, installed, parameters, question_digest
from grandtotal.durable import canonical
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import encode


def test_its_parameters_survive_the_wire(asked):
    travelled = json.loads(canonical(parameters(asked.query)))
    built = build_query(asked.query.name, travelled)
    assert built == asked.query
    assert question_digest("plan", "task", built, asked.broadcast) == question_digest(
        "plan", "task", asked.query, asked.broadcast
    )


def test_it_is_found_by_its_own_name(asked):
    assert installed("queries")[asked.query.name] is type(asked.query)


def test_it_cannot_be_changed_once_asked(asked):
    with pytest.raises(FrozenInstanceError):
        setattr(asked.query, fields(asked.query)[0].name, 0)


def test_its_fields_are_known_without_rows(asked):
    shapes = {name: np.zeros(array.shape) for name, array in asked.broadcast.items()}
    assert asked.query.fields(shapes) == asked.query.fields(asked.broadcast) != {}


def test_every_answer_has_the_agreed_names_shapes_and_numbers(asked):
    agreed = asked.query.fields(asked.broadcast)
    for holder in asked.parts:
        answer = asked.answer(holder)
        assert answer.keys() == agreed.keys()
        for name, field in agreed.items():
            array = np.asarray(answer[name])
            assert array.dtype.kind in "iu", "rounded row by row, so exact on any split"
            assert encode(name, array, field, 3).shape == (field.length,)


def test_the_pooled_answer_is_the_sum_of_the_answers(asked):
    together = asked.answer(asked.pooled)
    apart = [asked.answer(holder) for holder in asked.parts]
    for name, total in together.items():
        assert (np.sum([answer[name] for answer in apart], axis=0) == total).all()
        assert np.any(total) or name.endswith(("shown", "nothing", "diverged"))


def test_the_same_rows_give_the_same_answer(asked):
    first, again = (asked.answer(asked.pooled) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_a_symmetric_field_is_symmetric(asked):
    agreed = asked.query.fields(asked.broadcast)
    for name, array in asked.answer(asked.pooled).items():
        assert not agreed[name].symmetric or (array == array.T).all()


def test_an_unknown_query_or_parameter_is_refused_by_name():
    for name, values in (("no-such", {}), ("co-purchases", {"product": 3})):
        with pytest.raises(AnswerError, match=name) as refused:
            build_query(name, values)
        assert refused.value.code == Code.UNKNOWN_QUERY


def test_a_question_is_its_plan_task_query_parameters_and_broadcast():
    counts, gram = (installed("queries")[name] for name in ("purchase-counts", "co-purchases"))
    ones = {"a": np.ones(3)}
    questions = [
        ("plan", "task", gram(3, "test"), {}),
        ("other", "task", gram(3, "test"), {}),
        ("plan", "other", gram(3, "test"), {}),
        ("plan", "task", counts(3, "test"), {}),
        ("plan", "task", counts(3, "test", 28), {}),
        ("plan", "task", gram(4, "test"), {}),
        ("plan", "task", gram(3, "validation"), {}),
        ("plan", "task", gram(3, "test"), ones),
        ("plan", "task", gram(3, "test"), {"a": 2 * ones["a"]}),
        ("plan", "task", gram(3, "test"), {"b": ones["a"]}),
    ]
    assert len({question_digest(*question) for question in questions}) == len(questions)
