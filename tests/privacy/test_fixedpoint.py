import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grandtotal.errors import AnswerError, Code, RefusedError
from grandtotal.privacy.fixedpoint import (
    Field,
    decode,
    encode,
    mirror,
    pack,
    quantise,
    refuse_overflow,
    unpack,
)

MODULI = (2**32, 2**64)
shapes = st.sampled_from([(), (0,), (1,), (5,), (2, 3), (3, 0), (2, 1, 2)])


def total(parts, field):
    """Returns what a consortium of these retailers would decode."""
    words = [encode("sum", np.asarray(part), field, len(parts)) for part in parts]
    return decode(np.sum(words, axis=0, dtype=field.word), field)


@st.composite
def summands(draw, **kinds):
    field = Field(draw(shapes), modulus=draw(st.sampled_from(MODULI)), **kinds)
    retailers = draw(st.integers(1, 6))
    most = field.capacity(retailers)
    entries = hnp.arrays(np.int64, field.shape, elements=st.integers(-most, most))
    return field, [draw(entries) for _ in range(retailers)]


@given(summands())
def test_a_decoded_total_is_the_integer_sum(case):
    field, parts = case
    found = total(parts, field)
    exact = np.sum([part.astype(object) for part in parts], axis=0)
    assert found.dtype.kind == "i"
    assert found.shape == field.shape
    assert (found == exact).all()


@given(
    st.lists(st.integers(-(2**29), 2**29), min_size=1, max_size=30),
    st.integers(1, 9),
    st.randoms(),
)
def test_a_total_does_not_depend_on_the_split(rows, retailers, random):
    field = Field(())
    holders = [[] for _ in range(retailers)]
    for row in rows:
        random.choice(holders).append(row)
    assert total([sum(rows)], field) == total([sum(held) for held in holders], field)


@given(st.sampled_from(MODULI), st.integers(1, 9), st.sampled_from([-1, 1]))
def test_the_largest_contribution_of_every_retailer_does_not_wrap(modulus, retailers, sign):
    field = Field((1,), modulus=modulus)
    most = sign * field.capacity(retailers)
    assert total([[most]] * retailers, field).item() == most * retailers


@given(st.sampled_from(MODULI), st.integers(1, 9), st.sampled_from([-1, 1]))
def test_one_more_than_the_largest_is_refused_with_both_numbers(modulus, retailers, sign):
    field = Field((2,), modulus=modulus)
    most = field.capacity(retailers)
    with pytest.raises(AnswerError) as refused:
        encode("units", np.array([0, sign * (most + 1)]), field, retailers)
    assert refused.value.code == Code.OVERFLOW
    for part in ("'units'", f" {most + 1:,} steps", f"{retailers} retailers", f"{most:,} each"):
        assert part in str(refused.value)


def test_an_unsigned_entry_beyond_every_signed_one_is_refused():
    with pytest.raises(AnswerError, match="18,446,744,073,709,551,615 steps"):
        encode("x", np.array([2**64 - 1], np.uint64), Field((1,)), 3)


def test_a_field_that_declares_its_largest_entry_refuses_a_larger_one():
    field = Field((1,), largest=10)
    assert encode("x", np.array([10]), field, 3) == 10
    with pytest.raises(AnswerError, match="11 steps of 1/1, but 3 retailers may contribute at mo"):
        encode("x", np.array([11]), field, 3)


@pytest.mark.parametrize("modulus", MODULI)
def test_a_round_that_could_overflow_is_refused_beforehand_with_its_arithmetic(modulus):
    most = Field((), modulus=modulus).capacity(3)
    refuse_overflow({"gram": Field((4,), modulus=modulus, largest=most)}, 3)
    with pytest.raises(RefusedError) as refused:
        refuse_overflow({"gram": Field((4,), modulus=modulus, largest=most + 1)}, 3)
    sum_, limit = 3 * (most + 1), modulus // 2
    assert sum_ >= limit
    for part in ("'gram'", f"3 retailers x {most + 1:,} steps = {sum_:,}", f"below {limit:,}"):
        assert part in str(refused.value)


def test_a_field_of_unknown_size_is_not_refused_beforehand():
    refuse_overflow({"x": Field((4,))}, 10**6)


finite = st.floats(-(2.0**30), 2.0**30)


@given(finite, st.sampled_from([1, 64, 1000, 2**20]))
def test_a_float_is_rounded_to_half_a_step(value, scale):
    field = Field((), scale=scale)
    found = total([value], field)
    assert abs(found - value) <= 0.5 / scale
    assert found == total([found], field)


@given(st.lists(finite, min_size=1, max_size=5), st.sampled_from([64, 2**20]))
def test_a_total_of_floats_is_off_by_half_a_step_a_retailer(values, scale):
    found = total(values, Field((), scale=scale))
    # Half a step each, and what a float64 cannot tell apart at the size of the sum.
    allowed = len(values) * 0.5 / scale + 2**-52 * sum(abs(value) for value in values)
    assert abs(found - sum(values)) <= allowed


@given(summands(scale=64))
def test_integers_of_a_scaled_field_are_steps_and_its_total_is_in_units(case):
    field, parts = case
    exact = np.sum([part.astype(object) for part in parts], axis=0)
    assert (total(parts, field) == np.asarray(exact, np.int64) / 64).all()


@given(hnp.arrays(np.int64, st.integers(0, 7).map(lambda n: (n, n)), elements=st.integers(-9, 9)))
def test_a_symmetric_matrix_comes_back_from_its_upper_triangle(matrix):
    symmetric = matrix + matrix.T
    flat = pack(symmetric)
    assert len(flat) == Field(matrix.shape, symmetric=True).length
    assert (unpack(flat, len(matrix)) == symmetric).all()


@given(hnp.arrays(np.int64, st.integers(0, 7).map(lambda n: (n, n)), elements=st.integers(-9, 9)))
def test_a_packed_triangle_is_the_same_answer_as_the_symmetric_matrix(matrix):
    symmetric = matrix + matrix.T
    field = Field(matrix.shape, modulus=2**32, symmetric=True)
    whole, packed = (encode("x", answer, field, 3) for answer in (symmetric, pack(symmetric)))
    assert (whole == packed).all()
    with pytest.raises(AnswerError, match="agreed was"):
        encode("x", np.zeros(field.length + 1, int), field, 3)


def test_an_upper_triangle_is_mirrored_tile_by_tile():
    matrix = np.arange(600 * 600).reshape(600, 600)
    expected = np.triu(matrix) + np.triu(matrix, 1).T
    mirror(matrix)
    assert (matrix == expected).all()


@given(hnp.arrays(np.int64, (4, 4), elements=st.integers(-9, 9)), st.sampled_from(MODULI))
def test_a_symmetric_total_is_the_full_one_on_fewer_words(matrix, modulus):
    symmetric = matrix + matrix.T
    half, full = (Field((4, 4), modulus=modulus, symmetric=s) for s in (True, False))
    parts = [symmetric, -3 * symmetric, symmetric @ symmetric]
    assert (total(parts, half) == total(parts, full)).all()
    assert (half.length, full.length) == (10, 16)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scale", [1, 64])
def test_what_is_not_finite_is_refused(value, scale):
    with pytest.raises(AnswerError, match="'x': the answer is not finite") as refused:
        encode("x", np.array([1.0, value]), Field((2,), scale=scale), 3)
    assert refused.value.code == Code.NOT_FINITE


def test_a_float_whose_steps_pass_every_number_is_refused_as_too_large():
    with pytest.raises(AnswerError, match="retailers may contribute at most") as refused:
        encode("x", np.array([1e308]), Field((1,), scale=2**20), 3)
    assert refused.value.code == Code.OVERFLOW


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (0,)])
def test_another_shape_than_agreed_is_refused_with_both(shape):
    with pytest.raises(AnswerError) as refused:
        encode("x", np.zeros(shape), Field((3,)), 3)
    assert refused.value.code == Code.FIELDS_DIFFER
    assert f"has shape {shape}, agreed was (3,)" in str(refused.value)


@pytest.mark.parametrize("dtype", [bool, complex, "U3", object, "datetime64[s]"])
def test_what_is_no_number_is_refused(dtype):
    with pytest.raises(AnswerError, match="is not a number") as refused:
        encode("x", np.zeros(3, dtype), Field((3,)), 3)
    assert refused.value.code == Code.FIELDS_DIFFER


@given(shapes, st.sampled_from(MODULI))
def test_every_field_begins_on_a_whole_word(shape, modulus):
    field = Field(shape, modulus=modulus)
    assert field.bytes % 8 == 0
    assert 0 <= field.bytes - field.length * field.word.itemsize < 8


@pytest.mark.parametrize("modulus", [2**16, 2**63, 10])
def test_only_two_moduli_exist(modulus):
    with pytest.raises(ValueError, match="only 2\\*\\*32 and 2\\*\\*64"):
        Field((1,), modulus=modulus)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 3, 3)])
def test_only_a_square_matrix_is_symmetric(shape):
    with pytest.raises(ValueError, match="only a square matrix"):
        Field(shape, symmetric=True)


def test_halves_are_rounded_to_even():
    assert quantise(np.array([0.5, 1.5, 2.5, -0.5, -1.5]), 1).tolist() == [0, 2, 2, 0, -2]
