"""The private catalogue against a count in clear, also where fingerprints are made to collide."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.algorithms.catalogue import BITS, STEP, PrivateCatalogue, opaque, refuse_disorder
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, Code, PlanError, RefusedError
from grandtotal.privacy.fingerprint import fingerprints

FAR = 2**63


def shop(*fingerprints):
    return np.array(sorted(fingerprints), np.uint64)


def find(shops, minimum=3, most=64):
    return PrivateCatalogue(minimum, most).fit(Local({"now": tuple(shops)}))


def counted(shops, minimum=3):
    """Returns what the catalogue would be if everybody showed everything."""
    counts = Counter(number for shop in shops for number in shop.tolist())
    return {number: count for number, count in counts.items() if count >= minimum}


# Numbers that share their first bits, their last bits, or both: every round has buckets to part.
crowded = st.builds(
    lambda high, low: (high << 58) | low, st.sampled_from([0, 1, 63]), st.integers(0, 12)
)


@given(
    shops=st.lists(st.sets(crowded, max_size=12).map(lambda s: shop(*s)), min_size=3, max_size=6),
    minimum=st.integers(3, 4),
)
def test_it_is_what_a_count_in_clear_finds_however_many_collide_on_the_way(shops, minimum):
    expected = counted(shops, minimum)
    if not expected:
        with pytest.raises(PlanError, match=f"sold by {minimum} retailers"):
            find(shops, minimum)
        return
    found = find(shops, minimum)
    assert dict(zip(found.buckets.tolist(), found.retailers.tolist(), strict=True)) == expected
    assert (np.diff(found.buckets.astype(object)) > 0).all()


@pytest.mark.parametrize("bit", range(BITS))
def test_fingerprints_that_differ_in_one_bit_are_two_products(bit):
    here, there = FAR + 5, (FAR + 5) ^ (1 << bit)
    common = 77
    found = find([shop(here, common), shop(here, common), shop(there, common)])
    assert found.buckets.tolist() == [common]
    both = find([shop(here, there)] * 3)
    assert sorted(both.buckets.tolist()) == sorted([here, there])


def test_only_equal_fingerprints_of_two_products_are_taken_for_one():
    # The one collision that remains undetected: all 64 bits. Two sell A, one sells B = A.
    a = b = FAR + 12345
    assert find([shop(a), shop(a), shop(b)]).buckets.tolist() == [a]


def test_fingerprints_collide_as_rarely_as_the_formula_says():
    # P (P - 1) / 2 / 2^bits pairs, counted at 24 bits, where there is something to count.
    products, bits, keys = [str(i) for i in range(1000)], 24, range(200)
    heads = [
        fingerprints(key.to_bytes(32), "product", products) >> np.uint64(BITS - bits)
        for key in keys
    ]
    pairs = sum(len(head) - len(np.unique(head)) for head in heads)
    expected = 1000 * 999 / 2 / 2**bits * len(keys)
    # Five standard deviations of a Poisson count.
    assert abs(pairs - expected) < 5 * np.sqrt(expected)


def test_federated_is_the_count_over_all_assortments(federate):
    rng = np.random.default_rng(4)
    products = rng.integers(0, 2**64, 300, dtype=np.uint64)
    shops = [shop(*rng.choice(products, 180, replace=False).tolist()) for _ in range(5)]
    federation = federate([{"now": (part,)} for part in shops])
    found = PrivateCatalogue(3, 1000).fit(federation.totals)
    expected = find(shops, most=1000)
    assert dict(zip(found.buckets.tolist(), found.retailers.tolist(), strict=True)) == counted(
        shops
    )
    assert arrays_digest({"b": found.buckets}) == arrays_digest({"b": expected.buckets})


def test_a_hundred_thousand_products_take_ten_rounds_that_grow_with_what_is_shared():
    asked = []

    class Noted(Local):
        def total(self, query, broadcast=None):
            sums = super().total(query, broadcast)
            asked.append(len(sums["retailers"]))
            return sums

    shops = tuple(shop(1, 2**40, FAR) for _ in range(3))
    PrivateCatalogue().fit(Noted({"now": shops}))
    assert asked[0] == 2**22
    assert len(asked) == 10
    assert all(size <= 3 * 2**STEP for size in asked[1:])


def test_two_products_of_one_retailer_in_a_bucket_count_as_one_retailer():
    near = [FAR + i for i in range(8)]
    with pytest.raises(PlanError, match="no product is sold by 3"):
        find([shop(*near), shop(), shop()])


def test_more_products_than_agreed_are_refused_with_the_number():
    shops = [shop(*(i << 58 for i in range(5)))] * 3
    with pytest.raises(RefusedError, match="at least 5 different products, catalogue_most is 2"):
        find(shops, most=2)


def test_a_name_is_the_number_and_nothing_else():
    assert opaque(shop(255, FAR)) == ("#00000000000000ff", "#8000000000000000")


@pytest.mark.parametrize(
    "wrong", [np.array([2, 1], np.uint64), np.array([1, 1], np.uint64), np.array([1, 2]), np.eye(2)]
)
def test_a_list_that_is_no_catalogue_is_refused(wrong):
    with pytest.raises(AnswerError) as refused:
        refuse_disorder(wrong)
    assert refused.value.code == Code.MALFORMED
