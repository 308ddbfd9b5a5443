"""Features that are summed together have the sums that each would have alone."""

import math

import numpy as np
import pytest

from grandtotal.algorithms.tree_bundles import Bundles

COUNTS = np.array([2, 3, 255, 40, 6, 7, 3, 256])


def test_every_feature_is_in_one_bundle_whose_codes_fit_a_byte():
    members = Bundles.of(COUNTS).members
    assert sorted(feature for each in members for feature in each) == list(range(len(COUNTS)))
    assert max(math.prod(COUNTS[list(each)]) for each in members) == 256
    assert len(members) == 4


@pytest.mark.parametrize("columns", [range(8), [0, 2, 5], [6]])
@pytest.mark.parametrize("channels", [1, 2])
def test_sums_by_code_are_sums_by_bin(loops, columns, channels):
    rng = np.random.default_rng(1)
    bins = (rng.random((8, 500)) * COUNTS[:, None]).astype(np.uint8)
    words = rng.integers(-(2**50), 2**50, (500, channels))
    rows = rng.permutation(500).astype(np.uint32)
    bundles = Bundles.of(COUNTS)
    columns = np.array(columns)
    seen = bundles.seen(columns)
    ranges = np.array([[200, 350], [0, 200]])
    found = np.zeros((2, seen.bins, channels), np.int64)
    loops.add_histograms(bundles.codes(bins), words, rows, ranges, seen, found)
    for node, some in enumerate((rows[200:350], rows[:200])):
        expected = []
        for column in columns:
            by_bin = np.zeros((COUNTS[column], channels), np.int64)
            np.add.at(by_bin, bins[column, some], words[some])
            expected.append(by_bin)
        assert np.array_equal(found[node], np.concatenate(expected))
