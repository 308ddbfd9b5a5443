import hashlib
import hmac
import stat

import numpy as np
import pytest

from grandtotal.errors import PlanError
from grandtotal.privacy.fingerprint import KEY_BYTES, fingerprints, new_key, read_key, write_key

KEY = bytes(range(32))


def test_a_fingerprint_is_the_head_of_hmac_sha256():
    expected = hmac.new(KEY, b"product\x00caf\xc3\xa9", hashlib.sha256).hexdigest()[:16]
    (found,) = fingerprints(KEY, "product", ["café"])
    assert f"{found:016x}" == expected


def test_another_key_or_purpose_is_another_fingerprint():
    texts = [f"P{i}" for i in range(500)]
    found = [fingerprints(KEY, "a", texts), fingerprints(KEY, "b", texts)]
    found.append(fingerprints(KEY[::-1], "a", texts))
    assert len(np.unique(np.concatenate(found))) == 1500


def test_fingerprints_fill_their_64_bits_evenly():
    bits = np.unpackbits(
        fingerprints(KEY, "p", map(str, range(4000))).view(np.uint8).reshape(-1, 8)
    )
    # Five standard deviations of a fair coin thrown 4000 times, for each bit.
    assert np.abs(bits.reshape(4000, 64).mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(4000)


def test_no_text_has_no_fingerprint():
    assert fingerprints(KEY, "p", []).shape == (0,)


def test_a_written_key_is_read_back_by_its_owner_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "keys" / "catalogue.key"
    key = new_key()
    write_key(path, key)
    assert read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(PlanError, match="not overwritten"):
        write_key(path, new_key())
    assert read_key(path) == key


def test_every_new_key_is_another_one():
    assert len({new_key() for _ in range(20)}) == 20
    assert {len(new_key()) for _ in range(20)} == {KEY_BYTES}


def test_what_is_no_key_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(PlanError, match="catalogue-key FILE"):
        read_key(tmp_path / "none.key")
    (tmp_path / "short.key").write_bytes(b"secret")
    with pytest.raises(PlanError, match="6 bytes, expected a key of 32"):
        read_key(tmp_path / "short.key")
