"""An evaluator that cannot lie: ties are expected values, blocks do not matter, leaks are found."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

ROOT = Path(__file__).parents[2]

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT))
    from benchmarks.protocols import (
        CARDS,
        Cut,
        Drawn,
        draw_negatives,
        expected,
        full_ranking,
        leave_out,
        sampled_ranking,
        steps_ago,
    )

    from benchmarks import protocols


PRODUCTS = 400


@pytest.fixture(scope="module")
def cuts():
    """Returns what each protocol asks of 250 customers who buy at random."""
    draw = np.random.default_rng(5)
    sequences = [draw.permutation(PRODUCTS)[: draw.integers(8, 40)] for _ in range(250)]
    late = np.zeros((250, PRODUCTS), np.int32)
    for row, s in enumerate(sequences):
        late[row, s[-5:]] = 1
    by_time = Cut(steps_ago([s[:-5] for s in sequences], PRODUCTS), csr_array(late))
    return {"P1": leave_out(sequences, PRODUCTS), "P4": by_time}


def evaluators(cuts):
    """Returns each protocol's cut and the function that scores it, and what chance scores."""
    one, many = cuts["P1"], cuts["P4"]
    negatives = draw_negatives(one)
    free = PRODUCTS - np.diff(one.history.indptr).mean()
    return {
        "P1": (one, lambda score: full_ranking(score, one), 10 / free),
        "P2": (one, lambda score: sampled_ranking(score, one, negatives), 0.1),
        "P4": (many, lambda score: full_ranking(score, many), 10 / free),
    }


def in_blocks(detector):
    """Returns the detector as a scorer of consecutive blocks."""
    whole, start = {}, [0]

    def score(history):
        if "scores" not in whole:
            whole["scores"] = detector()
        found = whole["scores"][start[0] : start[0] + history.shape[0]]
        start[0] += history.shape[0]
        return found

    return score


@pytest.mark.parametrize("protocol", ["P1", "P2", "P4"])
def test_counting_drawn_negatives_scores_as_chance_does(cuts, protocol):
    cut, evaluate, chance = evaluators(cuts)[protocol]
    found = evaluate(in_blocks(lambda: Drawn(cut.history).scores(cut.history)))
    assert found[:, 0].mean() == pytest.approx(chance, abs=0.03)


@pytest.mark.parametrize("protocol", ["P1", "P2", "P4"])
def test_a_sampler_that_spares_the_test_is_found_out(cuts, protocol):
    cut, evaluate, chance = evaluators(cuts)[protocol]
    leaky = csr_array(cut.history + cut.wanted)
    found = evaluate(in_blocks(lambda: Drawn(leaky).scores(cut.history)))
    assert found[:, 0].mean() > chance + 0.5


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.integers(1, 7))
def test_ties_are_the_mean_over_all_orders(scores, k):
    own, others = scores[0], scores[1:]
    hits, gains = [], []
    for order in itertools.permutations(range(len(scores))):
        ranked = sorted(order, key=lambda i: -scores[i])  # stable: equals in the order drawn
        rank = ranked.index(0)
        hits.append(rank < k)
        gains.append((rank < k) / np.log2(rank + 2))
    above, equal = (np.array([sum(o > own for o in others)]), np.array([others.count(own)]))
    found = expected(above, equal, k)
    assert found[0][0] == pytest.approx(np.mean(hits))
    assert found[1][0] == pytest.approx(np.mean(gains))


def test_all_equal_scores_are_worth_what_chance_is(cuts):
    cut = cuts["P1"]
    found = full_ranking(lambda history: np.zeros(history.shape), cut)
    free = PRODUCTS - np.diff(cut.history.indptr)
    assert np.allclose(found[:, 0], 10 / free)


def test_a_score_does_not_depend_on_the_block(cuts, monkeypatch):
    weights = np.random.default_rng(3).normal(size=(PRODUCTS, PRODUCTS)).round(2)

    def score(history):
        return (history > 0).astype(np.float64) @ weights

    cut = cuts["P1"]
    negatives = draw_negatives(cut)
    whole = full_ranking(score, cut), sampled_ranking(score, cut, negatives)
    monkeypatch.setattr(protocols, "BLOCK", 7)
    parts = full_ranking(score, cut), sampled_ranking(score, cut, negatives)
    assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_what_was_bought_is_neither_ranked_nor_drawn(cuts):
    cut = cuts["P1"]
    negatives = draw_negatives(cut)
    for row, drawn in enumerate(negatives):
        known = cut.history.indices[cut.history.indptr[row] : cut.history.indptr[row + 1]]
        assert not set(drawn.tolist()) & {*known.tolist(), int(cut.wanted.indices[row])}
        assert len(set(drawn.tolist())) == protocols.NEGATIVES
    favourites = full_ranking(lambda history: (history > 0) * 9.0 + cut_wanted(cut, history), cut)
    assert (favourites == 1.0).all()


def cut_wanted(cut, history):
    return cut.wanted.toarray()[: history.shape[0]]


def test_the_last_product_is_left_out_and_the_order_kept():
    cut = leave_out([np.array([3, 1, 3, 0]), np.array([2]), np.array([0, 1])], 4)
    assert cut.history.toarray().tolist() == [[0, 2, 0, 1], [1, 0, 0, 0]]
    assert cut.wanted.toarray().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    earlier = leave_out([np.array([3, 1, 3, 0])], 4, last=2)
    assert earlier.wanted.indices.tolist() == [3]


def test_every_protocol_has_a_card():
    assert set(CARDS) == {"P1", "P2", "P4"}
