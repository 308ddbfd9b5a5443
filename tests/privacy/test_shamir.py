"""Shares of a secret: any threshold of them give it back, altered ones are noticed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.errors import RefusedError
from grandtotal.privacy.shamir import PRIME, SHARE_BYTES, combine, split
from local_sums import stream

SECRETS = st.binary(min_size=32, max_size=32)


def numbered(shares):
    return dict(enumerate(shares, start=1))


def test_the_field_is_the_mersenne_prime_of_521_bits():
    assert PRIME == 2**521 - 1
    # Lucas-Lehmer: 2^p - 1 is prime if and only if s_(p-2) = 0, s_0 = 4, s_k = s_(k-1)^2 - 2.
    s = 4
    for _ in range(519):
        s = (s * s - 2) % PRIME
    assert s == 0


def test_shares_by_hand():
    # Secret 5, coefficients 7 and 11: the polynomial 5 + 7 x + 11 x^2.
    drawn = iter([7, 11])
    shares = split((5).to_bytes(32), 4, 3, lambda size: (next(drawn) << 7).to_bytes(size))
    assert [int.from_bytes(share) for share in shares] == [23, 63, 125, 209]
    assert combine({2: shares[1], 3: shares[2], 4: shares[3]}, 3) == (5).to_bytes(32)


def test_shares_are_values_modulo_the_prime():
    # The polynomial (2^256 - 1) - x, by the coefficient -1 = PRIME - 1.
    shares = split(b"\xff" * 32, 3, 2, lambda size: ((PRIME - 1) << 7).to_bytes(size))
    assert [int.from_bytes(share) for share in shares] == [2**256 - 1 - x for x in (1, 2, 3)]


@given(SECRETS, st.integers(3, 50), st.randoms(use_true_random=False), st.data())
def test_any_threshold_of_shares_gives_the_secret_back(secret, members, random, data):
    threshold = data.draw(st.integers(1, members))
    shares = numbered(split(secret, members, threshold, stream(random.random())))
    count = data.draw(st.integers(threshold, members))
    some = random.sample(sorted(shares), count)
    assert combine({x: shares[x] for x in some}, threshold) == secret


def test_many_splits_come_back_from_random_shares():
    entropy = stream("many")
    for case in range(5000):
        secret, dice = entropy(32), entropy(8)
        members = 3 + dice[0] % 8
        threshold = 2 * members // 3 + 1
        shares = numbered(split(secret, members, threshold, entropy))
        for _ in range(20):
            start = dice[case % 8] % members
            some = [(start + i) % members + 1 for i in range(threshold)]
            assert combine({x: shares[x] for x in some}, threshold) == secret
            dice = dice[1:] + dice[:1]


def test_every_subset_of_the_threshold_gives_the_same_secret():
    shares = numbered(split(b"s" * 32, 7, 5, stream(1)))
    found = {combine({x: shares[x] for x in some}, 5) for some in itertools.combinations(shares, 5)}
    assert found == {b"s" * 32}


def test_one_share_less_is_refused():
    shares = numbered(split(b"s" * 32, 7, 5, stream(1)))
    with pytest.raises(RefusedError, match="4 shares of a secret, expected at least 5"):
        combine({x: shares[x] for x in (1, 2, 3, 4)}, 5)


def test_fewer_shares_agree_with_every_secret():
    # Given t - 1 shares, for each other secret there is a share that makes them agree with it.
    shares = split(b"s" * 32, 3, 3, stream(1))
    a, b = (int.from_bytes(share) for share in shares[:2])
    for other in (0, 1, 2**256 - 1):
        # c from the polynomial through (0, other), (1, a), (2, b): p(3) = other - 3 a + 3 b.
        c = (other - 3 * a + 3 * b) % PRIME
        third = c.to_bytes(SHARE_BYTES)
        assert combine({1: shares[0], 2: shares[1], 3: third}, 3) == other.to_bytes(32)


@pytest.mark.parametrize("given_shares", [6, 7])
def test_with_one_more_than_enough_a_flipped_bit_of_any_share_is_refused(given_shares):
    shares = numbered(split(b"s" * 32, 7, 5, stream(1)))
    some = {x: shares[x] for x in list(shares)[:given_shares]}
    for x in some:
        for bit in range(0, 521, 13):
            wrong = (int.from_bytes(some[x]) ^ (1 << bit)).to_bytes(SHARE_BYTES)
            with pytest.raises(RefusedError):
                combine({**some, x: wrong}, 5)


def test_with_just_enough_a_flipped_bit_never_gives_the_secret():
    shares = numbered(split(b"s" * 32, 5, 5, stream(1)))
    refused = 0
    for x, bit in itertools.product(shares, range(521)):
        wrong = (int.from_bytes(shares[x]) ^ (1 << bit)).to_bytes(SHARE_BYTES)
        try:
            assert combine({**shares, x: wrong}, 5) != b"s" * 32
        except RefusedError:
            refused += 1
    assert 5 * 250 < refused < 5 * 521


def test_shares_of_another_secret_or_in_other_places_are_refused():
    shares = numbered(split(b"s" * 32, 5, 3, stream(1)))
    others = numbered(split(b"t" * 32, 5, 3, stream(2)))
    with pytest.raises(RefusedError, match="not of one secret"):
        combine({1: shares[1], 2: shares[2], 3: others[3]}, 3)
    with pytest.raises(RefusedError, match="not of one secret"):
        combine({1: shares[2], 2: shares[1], 3: shares[3]}, 3)


@pytest.mark.parametrize(
    ("x", "share"),
    [(0, bytes(66)), (1, bytes(65)), (1, PRIME.to_bytes(66)), (1, b"\xff" * 66), (-1, bytes(66))],
)
def test_what_is_no_element_of_the_field_is_refused(x, share):
    with pytest.raises(RefusedError, match="no element of the field"):
        combine({x: share, 2: bytes(66), 3: bytes(66)}, 2)


@pytest.mark.parametrize(("secret", "members", "threshold"), [(b"", 3, 2), (b"s" * 32, 3, 4)])
def test_what_cannot_be_shared_is_an_error(secret, members, threshold):
    with pytest.raises(ValueError, match="cannot be shared"):
        split(secret, members, threshold, stream(1))


def test_the_prime_itself_is_drawn_again():
    drawn = iter([(PRIME << 7).to_bytes(66), (3 << 7).to_bytes(66)])
    shares = split(bytes(32), 1, 1, stream(0))
    assert shares == [bytes(66)]
    assert int.from_bytes(split(bytes(32), 2, 2, lambda _: next(drawn))[0]) == 3
