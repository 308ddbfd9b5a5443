"""Every attack is refused, and succeeds as soon as the one check that it names is gone."""

from collections import Counter

import pytest

import attacks.coordinator_lies
import attacks.retailer_lies  # noqa: F401
from attacks.attack import ATTACKS, outcome, without

named = pytest.mark.parametrize("made", ATTACKS, ids=lambda made: made.name)


@named
def test_it_is_refused(made, tmp_path):
    assert outcome(made, tmp_path / "attack").startswith("refused: ")


@named
def test_it_succeeds_without_that_check_alone(made, tmp_path):
    with without(made.check, made.instead):
        assert outcome(made, tmp_path / "attack") == "reached"


def test_there_are_fifty_different_ones_by_every_adversary():
    assert len({made.name for made in ATTACKS}) == len(ATTACKS) >= 50
    by = Counter(made.by for made in ATTACKS)
    assert by.keys() == {"coordinator", "retailer", "network", "operator"}
    assert len({made.check for made in ATTACKS}) >= 40
