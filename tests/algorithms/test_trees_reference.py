"""Trees by hand, LightGBM's on the same bins, and Shapley values by their definition."""

from itertools import combinations
from math import exp, factorial

import lightgbm
import numpy as np
import pytest

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.tree_bins import Binning, Bins, Feature
from grandtotal.algorithms.tree_export import lightgbm_text
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_objectives import NAMES, Objective, exponents, largest
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.tree_reasons import contributions
from grandtotal.algorithms.tree_sampling import columns_of, drawn, draws, mixed, salt
from grandtotal.algorithms.tree_search import Layout, Limits, unpacked
from grandtotal.algorithms.tree_shape import Trees, packed, spread
from grandtotal.algorithms.trees import Boosting, Forest
from grandtotal.consortium.totals import Local

SHAPES = {"tweedie": 1.5, "quantile": 0.8}
TARGETS = {"squared": "amount", "quantile": "amount", "logistic": "bought"}
LIGHTGBM = {"squared": "l2", "logistic": "binary"}


# --- by hand ---


@pytest.mark.usefixtures("loops")
def test_a_tree_by_hand():
    # mean 4; gradients 3, 3, 1, 1, -4, -4: the best cut is before 3, then before 2.
    x = np.array([1.0, 1, 2, 2, 3, 3])
    y = np.array([1.0, 1, 3, 3, 8, 8])
    rows = Columns({"x": x, "y": y}, {}, np.arange(6, dtype=np.uint64))
    growth = Growth(leaves=3, rows=1, l2=1.0)
    model, report = Boosting(trees=1, rate=0.5, growth=growth).fit(
        Local({"train": rows}), Data("y", ("x",))
    )
    assert model.base == pytest.approx(4.0, abs=1e-9)
    tree = model.trees[0]
    assert tree.parent.tolist() == [0, 1]
    # -gradient / (rows + l2) / 2: the root, the low four and the high two, then the low ones.
    expected = np.array([0, -8 / 5, 8 / 3, -6 / 3, -2 / 3]) / 2
    assert tree.values == pytest.approx(expected, abs=1e-3)
    assert tree.rows.tolist() == [6, 4, 2, 2, 2]
    assert model.predict(rows) == pytest.approx([3, 3, 11 / 3, 11 / 3, 16 / 3, 16 / 3], abs=1e-3)
    assert report["losses"]["0"] == pytest.approx(52 / 6, abs=1e-6)
    assert report["losses"]["1"] == pytest.approx(np.mean((y - model.predict(rows)) ** 2), abs=1e-6)


@pytest.mark.usefixtures("loops")
def test_a_poisson_leaf_by_hand():
    y = np.array([0.0, 2, 2, 4, 4, 12])
    rows = Columns({"x": np.array([1.0, 1, 1, 2, 2, 2]), "y": y}, {}, np.arange(6, dtype=np.uint64))
    growth = Growth(leaves=2, rows=1, l2=0.0)
    model, _ = Boosting(Objective("poisson"), trees=1, rate=1.0, growth=growth).fit(
        Local({"train": rows}), Data("y", ("x",))
    )
    # One Newton step from the mean 4: (sum y - 3 x 4) / (3 x 4) on each side.
    assert model.predict(rows) == pytest.approx([4 * exp(-8 / 12)] * 3 + [4 * exp(8 / 12)] * 3)


@pytest.mark.usefixtures("loops")
def test_a_quantile_leaf_holds_that_quantile():
    rng = np.random.default_rng(1)
    x = np.repeat([1.0, 2.0], 500)
    y = rng.exponential(size=1000) * x**3
    rows = Columns({"x": x, "y": y}, {}, np.arange(1000, dtype=np.uint64))
    growth = Growth(leaves=2, rows=10)
    model, _ = Boosting(Objective("quantile", 0.9), trees=1, rate=1.0, growth=growth).fit(
        Local({"train": rows}), Data("y", ("x",))
    )
    found = model.predict(rows)
    for value in (1.0, 2.0):
        there = x == value
        assert np.mean(y[there] <= found[there]) == pytest.approx(
            0.9, abs=0.02
        )  # buckets are 2 % wide


@pytest.mark.usefixtures("loops")
def test_a_forest_of_one_whole_tree_has_the_means_of_its_leaves():
    x, y = np.repeat([1.0, 2.0, 3.0], 4), np.arange(12.0)
    rows = Columns({"x": x, "y": y}, {}, np.arange(12, dtype=np.uint64))
    forest = Forest(trees=2, bootstrap=False, columns=1.0, growth=Growth(leaves=9, rows=1, l2=0.0))
    model, _ = forest.fit(Local({"train": rows}), Data("y", ("x",)))
    assert model.predict(rows) == pytest.approx(np.repeat([1.5, 5.5, 9.5], 4), abs=1e-4)


# --- against LightGBM, on the same bins ---


def fitted(shop, name, by="leaf", trees=10, **growth):
    data = Data(TARGETS.get(name, "units"), ("price", "distance", "day", "noise"), ("brand",))
    binning = Binning(bins=40, grouped=8)
    algorithm = Boosting(
        Objective(name, SHAPES.get(name, 0.0)),
        trees=trees,
        growth=Growth(**{"by": by, "leaves": 8, "rows": 20, **growth}),
        binning=binning,
    )
    return algorithm.fit(Local({"train": shop}), data)[0]


@pytest.mark.parametrize("name", ["squared", "poisson", "tweedie", "logistic"])
def test_predictions_are_those_of_lightgbm_on_the_same_bins(shop, name):
    names = ("price", "distance", "day", "noise")
    target = TARGETS.get(name, "units")
    bins = Binning(bins=40).fit(Local({"train": shop}), names, (), target, "train")
    aim = Objective(name, SHAPES.get(name, 0.0))
    # LightGBM estimates counts from hessians: with hessians as the limit both do the same.
    growth = Growth(by="leaf", leaves=8, rows=1, hessian=15.0)
    algorithm = Boosting(aim, trees=10, growth=growth)
    model, _ = algorithm.fit(Local({"train": shop}), Data(target, names), bins)
    codes = bins.matrix(shop).astype(np.float64)
    codes[codes == 0] = np.nan
    settings = {
        "objective": LIGHTGBM.get(name, name),
        "tweedie_variance_power": 1.5,
        "poisson_max_delta_step": 1e-12,  # else its hessian is not the second derivative
        "num_leaves": 8,
        "learning_rate": 0.1,
        "lambda_l2": 1.0,
        "min_data_in_leaf": 1,
        "min_sum_hessian_in_leaf": 15.0,
        "min_data_in_bin": 1,
        "max_bin": 256,
        "num_threads": 1,
        "verbose": -1,
    }
    y = shop.number(target)
    theirs = lightgbm.train(settings, lightgbm.Dataset(codes, y, params=settings), 10)
    ours, reference = model.predict(shop), theirs.predict(codes)
    spread = reference.std()
    # Float sums there, whole steps here: near ties may be cut the other way.
    assert np.mean(np.abs(ours - reference)) < 0.002 * spread
    assert aim.loss(y, model.scores(shop)).mean() == pytest.approx(
        aim.loss(y, theirs.predict(codes, raw_score=True)).mean(), rel=2e-3
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", ["level", "leaf"])
def test_lightgbm_reads_our_trees_and_predicts_the_same(shop, name, by):
    model = fitted(shop, name, by)
    booster = lightgbm.Booster(model_str=lightgbm_text(model))
    assert booster.num_trees() == 11  # the first one is the base
    strange = Columns(
        {**shop.numbers, "price": np.where(shop.numbers["noise"] > 1, np.nan, 99.0)},
        {"brand": np.where(shop.numbers["day"] > 3, np.uint64(7), shop.categories["brand"])},
        shop.keys,
    )
    for rows in (shop, strange):
        inputs = model.inputs(rows)
        assert booster.predict(inputs) == pytest.approx(model.predict(rows), rel=1e-12)
        assert booster.predict(inputs, raw_score=True) == pytest.approx(
            model.scores(rows), rel=1e-12
        )


def test_a_forest_and_a_model_without_a_tree_are_exported(shop):
    data = Data("amount", ("price", "distance"), ("brand",))
    growth = Growth(leaves=20, rows=5, l2=0.0)
    for trees in (0, 3):
        model, _ = Forest(trees=trees, growth=growth, columns=0.7).fit(Local({"train": shop}), data)
        booster = lightgbm.Booster(model_str=lightgbm_text(model))
        assert booster.predict(model.inputs(shop)) == pytest.approx(model.predict(shop))


# --- contributions ---


def by_definition(model, columns):
    """Returns Shapley values of the expectation over the training rows of each tree's branches."""
    matrix = model.bins.matrix(columns)
    features = matrix.shape[1]
    found = np.zeros((len(matrix), features + 1))
    found[:, -1] = model.base
    for row, codes in enumerate(matrix):
        for tree in model.trees:
            value = {
                known: expectation(tree, codes, known)
                for size in range(features + 1)
                for known in combinations(range(features), size)
            }
            found[row, -1] += value[()]
            for feature in range(features):
                for known, without in value.items():
                    if feature not in known:
                        s = len(known)
                        weight = factorial(s) * factorial(features - s - 1) / factorial(features)
                        together = value[tuple(sorted((*known, feature)))]
                        found[row, feature] += weight * (together - without)
    return found


def expectation(tree, codes, known, node=0):
    split = {int(parent): i for i, parent in enumerate(tree.parent)}
    if node not in split:
        return tree.values[node]
    i = split[node]
    children = (2 * i + 1, 2 * i + 2)
    feature = int(tree.feature[i])
    if feature in known:
        left = spread(tree.left[i])[codes[feature]]
        return expectation(tree, codes, known, children[0 if left else 1])
    return sum(
        tree.rows[child] / tree.rows[node] * expectation(tree, codes, known, child)
        for child in children
    )


def test_contributions_are_shapley_values_and_add_up(shop):
    model = fitted(shop, "squared", trees=3, leaves=7)
    few = Columns(
        {name: values[:4] for name, values in shop.numbers.items()},
        {name: values[:4] for name, values in shop.categories.items()},
        shop.keys[:4],
    )
    found = contributions(model, few)
    assert found == pytest.approx(by_definition(model, few), abs=1e-12)
    assert found.sum(axis=1) == pytest.approx(model.scores(few), abs=1e-12)


def test_contributions_are_those_of_lightgbm(shop):
    model = fitted(shop, "poisson", trees=20, leaves=15)
    booster = lightgbm.Booster(model_str=lightgbm_text(model))
    expected = booster.predict(model.inputs(shop), pred_contrib=True)
    assert contributions(model, shop) == pytest.approx(expected, abs=1e-10)


# --- the parts ---


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_derivatives_of_the_loss(name):
    aim = Objective(name, SHAPES.get(name, 0.0))
    y = np.array([0.0, 1.0, 0.3, 0.9]) if name == "logistic" else np.array([0.0, 3.0, 0.5, 7.0])
    s, d = np.array([0.4, -1.0, 1.3, 0.2]), 1e-5
    g, h = aim.gradient(y, s)
    scale = 2 if name == "squared" else 1  # the loss of squared errors is without the 1/2
    assert g * scale == pytest.approx((aim.loss(y, s + d) - aim.loss(y, s - d)) / (2 * d), rel=1e-5)
    if h is not None:
        slope = (aim.gradient(y, s + d)[0] - aim.gradient(y, s - d)[0]) / (2 * d)
        assert h == pytest.approx(slope, rel=1e-5)
        assert (h >= 0).all()
    mean = 0.3 if name == "logistic" else 2.5
    assert aim.mean(np.array([aim.score(mean)]))[0] == pytest.approx(mean)


def test_magnitudes_are_powers_of_two():
    values = np.array([0.0, 1.0, -1.0, 1.99, 2.0, -0.5, 1e300, 1e-300])
    counts = exponents(values)
    assert counts.sum() == 7
    assert counts[129] == 3
    assert counts[130] == counts[128] == counts[0] == counts[255] == 1
    assert largest(exponents(np.array([0.0, -5.0]))) == 3
    assert largest(exponents(np.zeros(4))) is None


@pytest.mark.parametrize("rows", [1, 900, 800_000, 2_097_151, 2_097_152, 30_000_000])
@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("most", [1, 16])
def test_gradient_and_count_come_out_of_a_word_as_they_went_in(rows, varies, most):
    layout = Layout(rows, varies, most)
    limits = Limits(1, 1e-3, 1.0, layout, 0.5, 0.25)
    assert layout.gradient_bits >= 10
    for g in (-1, 0, 1):
        total = g * rows * most * 2**layout.gradient_bits
        words = [(total << layout.count_bits) + rows] if layout.packed else [total, rows]
        words += [rows * 2**layout.hessian_bits] if varies else []
        assert max(map(abs, words)) * 100 < 2**63  # with a hundred retailers
        found = unpacked(np.array(words, np.int64), limits)
        hessian = rows * 2**layout.hessian_bits * 0.25 if varies else rows
        assert [float(part) for part in found] == [total * 0.5, rows, hessian]


def test_samples_are_as_large_as_they_should_be_and_differ():
    keys = np.random.default_rng(1).integers(0, 2**63, 100_000).astype(np.uint64)
    hashes = [mixed(keys, salt("rows", 0, tree)) for tree in range(2)]
    for each in hashes:
        assert drawn(each, 0.3).mean() == pytest.approx(0.3, abs=0.01)
        counts = np.bincount(draws(each), minlength=4)[:4] / len(keys)
        assert counts == pytest.approx(exp(-1) / np.array([1, 1, 2, 6]), abs=0.01)
        assert draws(each).mean() == pytest.approx(1.0, abs=0.02)
    both = drawn(hashes[0], 0.3) & drawn(hashes[1], 0.3)
    assert both.mean() == pytest.approx(0.09, abs=0.01)
    chosen = [columns_of(20, 0.4, 3, tree) for tree in range(200)]
    assert {len(columns) for columns in chosen} == {8}
    assert np.bincount(np.concatenate(chosen)).min() > 40


def test_which_bins_go_left_fits_in_bits():
    goes = np.random.default_rng(2).random((5, 256)) < 0.5
    assert (spread(packed(goes)) == goes).all()
    assert packed(np.arange(256) < 3)[0] == 7


def test_bins_survive_their_arrays(shop):
    bins = Binning(bins=9, grouped=3).fit(
        Local({"train": shop}), ("price", "distance"), ("brand", "shop"), "amount", "train"
    )
    again = Bins.of(bins.arrays)
    assert [f.kind for f in again.features] == [f.kind for f in bins.features]
    for training in (True, False):
        assert (again.matrix(shop, training) == bins.matrix(shop, training)).all()
    assert (bins.matrix(shop)[np.isnan(shop.numbers["distance"]), 1] == 0).all()
    assert bins.counts[0] <= 10
    none = Bins((Feature("price", "number"),))
    assert Bins.of(none.arrays).matrix(shop).max() == 1


def test_trees_are_joined_and_taken_apart(shop):
    trees = fitted(shop, "squared", trees=4).trees
    parts = list(trees)
    assert len(parts) == 4
    again = Trees.joined(parts)
    assert all((again.arrays[name] == array).all() for name, array in trees.arrays.items())
    scores = [np.zeros(900) for _ in range(2)]
    bins = Binning(bins=40, grouped=8).fit(
        Local({"train": shop}),
        ("price", "distance", "day", "noise"),
        ("brand",),
        "amount",
        "train",
    )
    trees.add_scores(bins.matrix(shop), scores[0])
    for part in parts:
        part.add_scores(bins.matrix(shop), scores[1])
    assert (scores[0] == scores[1]).all()
