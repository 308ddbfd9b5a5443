"""The masks: what an independent program computes, uniform, and of no use in another slot."""

import hashlib
import hmac
import itertools
import json
import subprocess
from shutil import which

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.masks import (
    CHUNK_BYTES,
    Mask,
    Span,
    add_masks,
    add_words,
    agreed,
    by_field,
    commitment,
    pair_mask,
    public_key,
    self_mask,
    spans,
)
from local_sums import FIELDS, as_lists, clear_total, stream, summand

CONTEXT = bytes(range(32))
LEAST_P = 1e-6


def masked(words, fields, masks, cores=1):
    content = np.frombuffer(bytearray(words), np.uint8)
    add_masks(content, spans(fields), masks, cores)
    return content.tobytes()


def stream_of(mask, size):
    """Returns the first bytes of a stream, a multiple of 8, by adding it to zeros."""
    return masked(bytes(size), {"zeros": Field((size // 8,))}, [mask])


# head -c 64 /dev/zero | openssl enc -aes-256-ctr -nosalt -K KEY -iv 0...0 | xxd -p (OpenSSL 3.0.19)
FROZEN = {
    "00" * 32: "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738b"
    "cea7403d4d606b6e074ec5d3baf39d18726003ca37a62a74d1a2f58e7506358e",
    bytes(range(32)).hex(): "f29000b62a499fd0a9f39a6add2e7780f05d76ae4ab99fe5a6f69b3148c2363d"
    "0ebcb5deb52c83bd08a8a935182c9199d24356532881602f809eb383c5ff5d56",
}


@pytest.mark.parametrize("key", FROZEN)
def test_the_stream_is_the_frozen_one_of_openssl(key):
    assert stream_of(Mask(bytes.fromhex(key)), 64).hex() == FROZEN[key]


@pytest.mark.skipif(which("openssl") is None, reason="no openssl command on this machine")
@pytest.mark.parametrize("seed", range(3))
def test_the_stream_is_what_the_openssl_command_computes(seed):
    key, size = stream(seed)(32), 2 * CHUNK_BYTES + 8
    command = ["openssl", "enc", "-aes-256-ctr", "-nosalt", "-K", key.hex(), "-iv", "00" * 16]
    expected = subprocess.run(command, input=bytes(size), capture_output=True, check=True).stdout
    assert stream_of(Mask(key), size) == expected


def test_the_key_of_a_pair_is_hkdf_of_the_x25519_secret():
    alice, bob = stream("alice")(32), stream("bob")(32)
    secret = X25519PrivateKey.from_private_bytes(alice).exchange(
        X25519PublicKey.from_public_bytes(public_key(bob))
    )
    # RFC 5869 by HMAC alone: extract without salt, expand to one block.
    extracted = hmac.digest(bytes(32), secret, "sha256")
    info = json.dumps(["pair mask", CONTEXT.hex(), "a", "b"], separators=(",", ":")).encode()
    key = hmac.digest(extracted, info + b"\x01", "sha256")
    assert pair_mask(alice, public_key(bob), CONTEXT, "a", "b") == Mask(key, False)
    assert pair_mask(bob, public_key(alice), CONTEXT, "b", "a") == Mask(key, True)


def test_a_commitment_is_the_hash_of_context_name_and_seed():
    text = json.dumps(["seed", CONTEXT.hex(), "a", "07" * 32], separators=(",", ":")).encode()
    assert commitment(b"\x07" * 32, CONTEXT, "a") == hashlib.sha256(text).digest()


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_threads_change_nothing(cores):
    fields = {"a": Field((5 * CHUNK_BYTES,)), "b": Field((3 * CHUNK_BYTES + 1,), modulus=2**32)}
    masks = [Mask(stream(i)(32), subtracted=i % 2 == 1) for i in range(3)]
    words = summand(1, fields)
    assert masked(words, fields, masks, cores) == masked(words, fields, masks, 1)


def test_a_mask_is_the_sum_modulo_each_fields_own_modulus():
    mask = Mask(stream("key")(32))
    words = summand(1)
    key_stream = stream_of(mask, len(words))
    total = as_lists(by_field(np.frombuffer(masked(words, FIELDS, [mask]), np.uint8), FIELDS))
    assert total == clear_total([words, key_stream])
    less = masked(words, FIELDS, [mask.taken_off()])
    assert masked(less, FIELDS, [mask]) == bytes(words)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([2**32, 2**64])), max_size=5))
def test_spans_cover_all_fields_once(described):
    fields = {str(i): Field((n,), modulus=m) for i, (n, m) in enumerate(described)}
    layout = spans(fields)
    assert sum(span.stop - span.start for span in layout) == sum(f.bytes for f in fields.values())
    assert all(a.stop == b.start and a.word != b.word for a, b in itertools.pairwise(layout))
    words = [summand(i, fields) for i in range(3)]
    total = np.zeros(len(words[0]), np.uint8)
    for one in words:
        half = len(one) // 16 * 8
        add_words(total, np.frombuffer(one[:half], np.uint8), layout)
        add_words(total, np.frombuffer(one[half:], np.uint8), layout, half)
    assert as_lists(by_field(total, fields)) == clear_total(words, fields)


def test_neighbouring_fields_of_one_type_are_one_span():
    fields = {"a": Field((2,)), "b": Field((1,)), "c": Field((3,), modulus=2**32)}
    assert spans(fields) == [Span(np.dtype("<u8"), 0, 24), Span(np.dtype("<u4"), 24, 40)]


def test_a_key_that_makes_every_secret_zero_is_refused():
    with pytest.raises(AnswerError, match="makes every secret zero") as refused:
        agreed(bytes(range(32)), bytes(32))
    assert refused.value.code == Code.MALFORMED


def p_uniform(content):
    """Returns the p-value of Pearson's chi-squared test that all 256 bytes are equally likely."""
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    expected = len(content) / 256
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), 255)


def p_bits(content):
    """Returns the two-sided p-value that ones and zeros are equally frequent."""
    ones = int(np.unpackbits(np.frombuffer(content, np.uint8)).sum())
    n = 8 * len(content)
    return chi2.sf((2 * ones - n) ** 2 / n, 1)


def test_the_test_finds_three_bytes_of_a_thousand_that_are_not_uniform():
    content = stream_of(Mask(stream("key")(32)), 10**6) + bytes(3000)
    assert p_uniform(content) < LEAST_P
    assert p_bits(content) < LEAST_P


@pytest.mark.parametrize("fill", [0, 1, 255])
def test_a_masked_summand_is_uniform_whatever_it_was(fill):
    size = 2**20
    fields = {"wide": Field((size // 16,)), "narrow": Field((size // 8,), modulus=2**32)}
    masks = [self_mask(stream("seed")(32), CONTEXT, "a"), Mask(stream("pair")(32), True)]
    content = masked(bytes([fill]) * size, fields, masks)
    assert p_uniform(content) > LEAST_P
    assert p_bits(content) > LEAST_P


def differences(mask, other):
    size = 2**20
    a, b = (np.frombuffer(stream_of(m, size), np.uint64) for m in (mask, other))
    return (a - b).tobytes(), (a ^ b).tobytes()


@pytest.mark.parametrize("other", [b"other slot".ljust(32), bytes(32)])
def test_masks_of_two_slots_are_independent_even_of_the_same_secret(other):
    seed, alice, bob = stream("seed")(32), stream("alice")(32), public_key(stream("bob")(32))
    for mask in (
        lambda context: self_mask(seed, context, "a"),
        lambda context: pair_mask(alice, bob, context, "a", "b"),
    ):
        for difference in differences(mask(CONTEXT), mask(other)):
            assert p_uniform(difference) > LEAST_P
            assert p_bits(difference) > LEAST_P


def test_masks_of_two_members_of_two_purposes_and_of_two_pairs_have_keys_of_their_own():
    seed, alice, bob = (stream(name)(32) for name in ("seed", "alice", "bob"))
    keys = {
        self_mask(seed, CONTEXT, "a").key,
        self_mask(seed, CONTEXT, "b").key,
        pair_mask(alice, public_key(bob), CONTEXT, "a", "b").key,
        pair_mask(alice, public_key(bob), CONTEXT, "a", "c").key,
        pair_mask(alice, public_key(seed), CONTEXT, "a", "b").key,
    }
    assert len(keys) == 5
