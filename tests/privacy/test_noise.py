import ast
import math
import stat
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from scipy.stats import chi2

import grandtotal.privacy
from grandtotal.privacy import noise
from grandtotal.privacy.noise import BLOCK, KEY_BYTES, NoiseKeys, NoiseStream

SIGMAS = (0.5, 1.0, 3.3, 41.0, 511.0, 513.0, 700.0, 5000.0, 250_000.0, 1e7)


def key(number):
    return number.to_bytes(KEY_BYTES, "little")


def pmf(values, sigma):
    """Returns exact probabilities of a discrete Gaussian, each summed in plain floats."""
    most = math.ceil(40 * sigma)
    whole = sum(math.exp(-(x**2) / (2 * sigma**2)) for x in range(-most, most + 1))
    return np.exp(-(values.astype(float) ** 2) / (2 * sigma**2)) / whole


def surprise(seen, expected):
    """Returns the chance of counts as far from the expected ones, cells of at least 20."""
    used = expected >= 20
    rest = np.array([seen[~used].sum()]), np.array([expected[~used].sum()])
    seen, expected = (np.append(a[used], b) for a, b in zip((seen, expected), rest, strict=True))
    kept = expected > 0
    distance = ((seen - expected)[kept] ** 2 / expected[kept]).sum()
    return chi2.sf(distance, kept.sum() - 1)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_draws_have_the_moments_of_a_discrete_gaussian(sigma):
    drawn = NoiseStream(sigma, key(1)).draws(1_000_000) / sigma
    # Below sigma = 1 the variance of a discrete Gaussian is less than sigma^2.
    lattice = np.arange(-40, 41)
    variance = (lattice**2 * pmf(lattice, sigma)).sum() / sigma**2 if sigma < 2 else 1.0
    assert abs(drawn.mean()) < 5 * math.sqrt(variance / 1e6)
    assert drawn.var() == pytest.approx(variance, rel=0.01)
    assert abs((drawn**3).mean()) < 0.05
    if sigma > 2:
        assert (drawn**4).mean() == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 3.3, 41.0, 511.0, 513.0, 700.0])
def test_draws_follow_the_exact_probabilities(sigma):
    count = 2_000_000
    drawn = NoiseStream(sigma, key(2)).draws(count)
    most = math.ceil(8 * sigma)
    values = np.arange(-most, most + 1)
    seen = np.bincount(np.clip(drawn, -most, most) + most, minlength=len(values))
    assert surprise(seen, count * pmf(values, sigma)) > 1e-6


@pytest.mark.parametrize("sigma", [5000.0, 250_000.0, 1e7])
def test_wide_draws_follow_the_exact_probabilities_in_wide_and_in_narrow_cells(sigma):
    count = 1_000_000
    drawn = NoiseStream(sigma, key(3)).draws(count)
    # So wide, sums over cells are integrals; the lowest digits are uniform.
    edges = np.floor(np.linspace(-4, 4, 400) * sigma) + 0.5
    below = np.array([0.5 * math.erfc(-edge / sigma / math.sqrt(2)) for edge in edges])
    expected = count * np.diff(below, prepend=0.0, append=1.0)
    seen = np.bincount(np.searchsorted(edges, drawn), minlength=len(expected))
    assert surprise(seen, expected) > 1e-6
    for modulus in (2, 7, 64):
        digits = np.bincount(drawn % modulus, minlength=modulus)
        assert surprise(digits, np.full(modulus, count / modulus)) > 1e-6


def test_a_sum_of_shares_is_a_discrete_gaussian_of_the_whole_variance():
    count, shares, sigma = 1_000_000, 7, 2.0
    total = sum(NoiseStream(sigma, key(10 + i)).draws(count) for i in range(shares))
    values = np.arange(-40, 41)
    seen = np.bincount(np.clip(total, -40, 40) + 40, minlength=len(values))
    assert surprise(seen, count * pmf(values, sigma * math.sqrt(shares))) > 1e-6


def test_neighbouring_draws_are_independent():
    drawn = NoiseStream(900.0, key(4)).draws(1_000_000) / 900.0
    for apart in (1, 2, 3, BLOCK):
        assert abs((drawn[apart:] * drawn[:-apart]).mean()) < 5e-3


@pytest.mark.parametrize("sigma", [0.5, 100.0, 1e5])
def test_a_table_is_the_distribution_to_the_last_bits(sigma):
    for _, width in noise._decomposed(sigma):
        bounds = noise._cumulative(width)
        most = len(bounds) // 2
        with localcontext(prec=120):
            base = -1 / (2 * Decimal(width) ** 2)
            masses = [(base * x * x).exp() for x in range(-most, most + 1)]
            whole, below = sum(masses), Decimal(0)
            for bound, mass in zip(bounds, masses, strict=False):
                below += mass
                assert abs(bound - below / whole * 2**noise.BITS) < 2
        assert bounds == sorted(bounds)


@pytest.mark.parametrize("sigma", [513.0, 700.0, 1e3, 12_345.6, 1e7, 1e11])
def test_parts_add_up_to_the_variance_and_overlap_enough(sigma):
    parts = noise._decomposed(sigma)
    assert sum((k * width) ** 2 for k, width in parts) == pytest.approx(sigma**2, rel=1e-14)
    for place, (k, width) in enumerate(parts[:-1]):
        rest = math.sqrt(sum((f * w) ** 2 for f, w in parts[place + 1 :]))
        apart = width * rest / math.hypot(k * width, rest)
        assert 4 * math.exp(-2 * (math.pi * apart) ** 2) < 2.0**-190
        assert width <= 2 * noise.WIDTH


def test_a_tie_in_64_bits_is_decided_by_all_256():
    table = noise._table(41.0)
    place = 300
    bound = table._bounds[place]

    class Tied:
        """Bits whose first 64 are those of a bound; the rest is the bound's, or one less."""

        def __init__(self, whole):
            self.whole = whole.to_bytes(noise.BITS // 8, "big")

        def take(self, count, word):
            assert count in (1, (noise.BITS - 64) // 8)
            if word == "<u8":
                return np.array([int.from_bytes(self.whole[2:8], "big") << 16], np.uint64)
            return np.frombuffer(self.whole[8:], np.uint8)

    words = np.array([bound >> (noise.BITS - 16)], np.uint16)
    assert table._decided(words, Tied(bound))[0] == table._first + place + 1
    assert table._decided(words, Tied(bound - 1))[0] == table._first + place


def test_the_bits_are_those_of_the_cipher_under_the_key():
    cipher = Cipher(AES(key(7)), CTR(bytes(16))).encryptor()
    assert noise._Bits(key(7)).take(1000, "u1").tobytes() == cipher.update(bytes(1000))


def test_the_same_key_gives_the_same_noise_and_another_other_noise():
    first, again, other = (NoiseStream(9.0, key(k)).draws(5000) for k in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize("word", [np.uint32, np.uint64])
def test_noise_is_added_modulo_the_range_of_the_words(word):
    most = np.iinfo(word).max
    words = np.full(3 * BLOCK + 5, most, word)
    NoiseStream(1e6, key(5)).add(words)
    drawn = NoiseStream(1e6, key(5)).draws(len(words))
    assert (words == (drawn - 1).astype(word)).all()
    assert (words < most // 2).any()


def test_a_key_is_new_kept_for_its_owner_and_forgotten(tmp_path):
    keys = NoiseKeys(tmp_path / "noise", lambda count: b"k" * count)
    assert keys.kept("first") is None
    assert keys.new("first") == b"k" * KEY_BYTES
    assert NoiseKeys(tmp_path / "noise").kept("first") == b"k" * KEY_BYTES
    assert stat.S_IMODE((tmp_path / "noise").stat().st_mode) == 0o700
    keys.forget("first")
    keys.forget("first")
    assert keys.kept("first") is None
    assert list((tmp_path / "noise").iterdir()) == []


def test_keys_are_of_the_operating_system_and_differ(tmp_path):
    keys = NoiseKeys(tmp_path)
    assert len({keys.new(str(number)) for number in range(20)}) == 20
    assert all(len(path.read_bytes()) == KEY_BYTES for path in tmp_path.iterdir())


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a key of 3 bytes"):
        NoiseStream(1.0, b"abc")


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 2.0**40])
def test_a_sigma_that_is_none_is_refused(sigma):
    with pytest.raises(ValueError, match="expected a number above 0"):
        NoiseStream(sigma, key(1))


def test_nothing_of_this_folder_draws_from_a_generator_that_is_no_cipher():
    for path in Path(grandtotal.privacy.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"random", "numpy.random"}
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("random", "numpy.random")
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("np.random", "numpy.random")
