import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grandtotal.consortium.envelope import DTYPES, KINDS, MAGIC, VERSION, Message, seal, unseal
from grandtotal.errors import AnswerError, Code

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.sampled_from(sorted(DTYPES)).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
bodies = st.dictionaries(texts, texts | st.integers() | st.lists(st.booleans()), max_size=3)
messages = st.builds(
    Message, st.sampled_from(sorted(KINDS)), bodies, st.dictionaries(texts, arrays, max_size=3)
)
ASK = seal(
    Message(
        "ask",
        {"query": "gram", "block": 0, "parameters": {"products": 3, "split": "tést"}},
        {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.empty((0, 2)), "c": np.ones(())},
    )
)


def raw(header, content=b""):
    """Returns a message with any header at all."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return MAGIC + bytes([VERSION]) + len(text).to_bytes(4, "little") + text + content


def refusal(content):
    with pytest.raises(AnswerError) as refused:
        unseal(content)
    return refused.value


def is_refused_or_well_formed(content):
    try:
        message = unseal(content)
    except AnswerError as refused:
        return refused.code in (Code.MALFORMED, Code.OTHER_VERSION)
    return (
        message.kind in KINDS
        and isinstance(message.body, dict)
        and all(array.dtype.str in DTYPES for array in message.arrays.values())
    )


@given(messages)
def test_a_message_comes_back_as_it_was_sealed(message):
    found = unseal(seal(message))
    assert (found.kind, found.body) == (message.kind, message.body)
    assert found.arrays.keys() == message.arrays.keys()
    for name, array in message.arrays.items():
        assert found.arrays[name].dtype.str == array.dtype.str
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()


def test_an_array_comes_back_whatever_its_layout():
    matrix = np.arange(12.0).reshape(3, 4)
    for laid_out in (matrix.T, matrix[:, ::2], np.asfortranarray(matrix)):
        found = unseal(seal(Message("ask", {}, {"a": laid_out}))).arrays["a"]
        assert (found == laid_out).all()


def test_arrays_that_arrive_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        unseal(bytearray(ASK)).arrays["a"][0, 0] = 1


def test_every_truncation_is_refused():
    for size in range(len(ASK)):
        assert refusal(ASK[:size]).code == Code.MALFORMED


@settings(max_examples=500)
@given(st.data())
def test_a_damaged_message_is_refused_or_another_message(data):
    content = bytearray(ASK)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert is_refused_or_well_formed(content)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(raw))
def test_bytes_of_anyone_are_refused(content):
    assert refusal(content).code == Code.MALFORMED


def test_another_version_is_refused_as_such():
    found = refusal(MAGIC + bytes([VERSION + 1]) + ASK[len(MAGIC) + 1 :])
    assert found.code == Code.OTHER_VERSION
    assert f"version {VERSION + 1}, this is version {VERSION}" in str(found)


def test_bytes_after_the_last_array_are_refused():
    found = refusal(ASK + b"xy")
    assert found.code == Code.MALFORMED
    assert "2 bytes follow" in str(found)


WORD = {"name": "a", "dtype": "<i8", "shape": [1]}


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "run", "body": {}, "arrays": []},
        {"kind": ["ask"], "body": {}, "arrays": []},
        {"kind": "ask", "body": [], "arrays": []},
        {"kind": "ask", "body": {}},
        {"kind": "ask", "body": {}, "arrays": None},
        {"kind": "ask", "body": {}, "arrays": ["a"]},
        {"kind": "ask", "body": {}, "arrays": {"a": WORD}},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "name": 1}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "dtype": "|O"}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "dtype": ">i8"}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "dtype": ["<i8"]}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": [-1]}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": [1.0]}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": [True]}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": ""}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": {}}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": 1}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": [1] * 70}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": [2]}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "shape": [10**30]}]},
        {"kind": "ask", "body": {}, "arrays": [WORD, {**WORD, "shape": [10**30, 0]}]},
        {"kind": "ask", "body": {}, "arrays": [WORD, {**WORD, "shape": [0]}]},
        [],
        "ask",
        b"",
        b"[" * 100_000,
        b'{"kind": "ask", "body": {}, "arrays": []}}',
        b'{"kind": "ask", "body": \xff, "arrays": []}',
        b"1" * 5000,
    ],
)
def test_a_header_that_is_none_of_ours_is_refused(header):
    assert refusal(raw(header, b"\0" * 8)).code == Code.MALFORMED


def test_a_refusal_repeats_nothing_that_the_message_said():
    secret = "customer-4711"
    for header in (
        {"kind": secret, "body": {}, "arrays": []},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "name": secret, "shape": [9]}]},
        {"kind": "ask", "body": {}, "arrays": [{**WORD, "dtype": secret}]},
        {"kind": "ask", "body": {}, "arrays": secret},
        secret,
        secret.encode(),
    ):
        assert secret not in str(refusal(raw(header)))


@pytest.mark.parametrize("values", [np.array([print]), np.array([1 + 2j]), np.array(["text"])])
def test_what_is_no_number_does_not_travel(values):
    with pytest.raises((ValueError, TypeError, AnswerError)):
        unseal(seal(Message("ask", {}, {"a": values})))
