"""Trees under epsilon: drawn splits, and sums by leaf that are those of the rows if none is cut."""

import numpy as np
import pytest

from builders.outcomes import OUTCOMES, drawn_trees
from grandtotal.algorithms.tree_bins import Bins
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_shape import Trees
from grandtotal.algorithms.trees_in_noise import TreeLeaves, TreesInNoise
from grandtotal.consortium.query import shared
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, PlanError
from grandtotal.tasks.outcomes import OUTCOME

NAMES = OUTCOMES[1:]


@pytest.fixture
def split(build):
    return build.split(np.random.default_rng(4), 400)


def fitted(split, **settings):
    return TreesInNoise(rows=2, **settings).fit(
        Local({shared("test"): split}), NAMES, OUTCOME, "test"
    )[0]


def part(broadcast, start):
    return {name.removeprefix(start): a for name, a in broadcast.items() if name.startswith(start)}


@pytest.mark.parametrize("depth", [0, 2])
def test_sums_by_leaf_are_those_of_a_count_by_hand(split, depth):
    broadcast = drawn_trees(NAMES, releases=1, trees=3, depth=depth)
    query = TreeLeaves(OUTCOME, "test", "logistic", 0.0, 100.0)
    found = Local({shared("test"): split}).total(query, broadcast)
    bins, asked = Bins.of(part(broadcast, "bins ")), Trees.of(part(broadcast, "asked "))
    matrix, y, first = bins.matrix(split), split.train.y, 0
    expected = np.zeros((2, len(asked.values)))
    for tree in asked:
        sides = np.unpackbits(tree.left, axis=1, bitorder="little")
        child = {int(node): 2 * i + 1 for i, node in enumerate(tree.parent)}
        for row in range(len(y)):
            node = 0
            while node in child:
                i = (child[node] - 1) // 2
                node = child[node] + 1 - int(sides[i, matrix[row, tree.feature[i]]])
            expected[:, first + node] += (0.5 - y[row], 0.25)
        first += len(tree.values)
    # Each unit's sums are rounded to steps.
    assert (
        np.abs(found["gradient"] - expected[0]).max()
        < 400 / query.fields(broadcast)["gradient"].scale
    )
    assert np.abs(found["hessian"] - expected[1]).max() < 1
    assert not found["gradient"][asked.inner].any()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_without_noise_what_was_planted_is_found(split, depth):
    scores = fitted(split, depth=depth, trees=4).scores(split)
    y, p = split.train.y, 1 / (1 + np.exp(-scores))
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert loss < 0.62  # of a coin: 0.69
    assert p[y > 0].mean() > p[y == 0].mean() + 0.1


def test_the_model_is_one_of_trees_and_survives_its_arrays(split):
    model = fitted(split, depth=2, releases=2, trees=2)
    again = TreesModel.of(model.arrays, model.meta)
    assert np.array_equal(again.scores(split), model.scores(split))
    inner = model.trees.inner
    assert (model.trees.rows >= 1).all()
    assert not model.trees.values[inner].any()


def test_splits_are_drawn_from_the_seed_and_not_from_rows(split):
    few = fitted(split, releases=2, trees=2).trees
    more = fitted(split, releases=2, trees=2, seed=1).trees
    asked = Trees.of(part(drawn_trees(NAMES, releases=2, trees=2), "asked "))
    assert arrays_digest({"a": few.first(2).left}) == arrays_digest({"a": asked.left})
    assert (few.left != more.left).any()


def test_a_curve_has_a_leaf_for_each_bin(split):
    trees = fitted(split, depth=0, releases=1, trees=2, cuts=5).trees
    every = np.arange(7, dtype=np.uint8)
    places = trees.leaves(np.stack([every, every], axis=1))
    assert all(len(set(column)) == 7 for column in places.T.tolist())
    assert set(trees.feature.tolist()) == {0, 1}


def test_rows_that_hide_another_unit_are_refused(split):
    totals = Local({shared("test"): split})
    with pytest.raises(AnswerError, match="asked to hide each session"):
        TreesInNoise(group="session").fit(totals, NAMES, OUTCOME, "test")


@pytest.mark.parametrize(
    "settings",
    [{"releases": 0}, {"depth": 9}, {"cuts": 1}, {"lowest": 5.0}, {"rate": 0.0}, {"row": np.inf}],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(PlanError, match=r"expected"):
        TreesInNoise(**settings)
