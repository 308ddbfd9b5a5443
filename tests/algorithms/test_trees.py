"""The trees of the pooled rows, bit for bit, whoever holds them and whatever computes them."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from grandtotal.algorithms import inner_loops, tree_histograms, tree_numpy, tree_segments
from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.algorithms.target_statistics import TargetEncoder
from grandtotal.algorithms.tree_bins import Binning
from grandtotal.algorithms.tree_growth import Growth
from grandtotal.algorithms.tree_model import TreesModel
from grandtotal.algorithms.tree_objectives import Objective
from grandtotal.algorithms.tree_questions import Data
from grandtotal.algorithms.tree_search import Layout
from grandtotal.algorithms.trees import Boosting, Forest
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest, canonical
from grandtotal.errors import AnswerError, Code, PlanError, RunError
from grandtotal.threads import limited_to

BINNING = Binning(bins=30, grouped=8, encoder=TargetEncoder(least=5))
SMALL = Growth(leaves=7, rows=10)
SHAPES = {"tweedie": 1.4, "quantile": 0.7}
ALL = ("squared", "poisson", "tweedie", "logistic", "quantile")


def boosting(objective="squared", **settings):
    aim = Objective(objective, SHAPES.get(objective, 0.0))
    return Boosting(
        **{"objective": aim, "trees": 4, "growth": SMALL, "binning": BINNING} | settings
    )


def local(columns, **splits):
    return Local({"train": columns, **splits})


SAMPLED = {"sampling": 0.6, "columns": 0.5, "seed": 5}
ALGORITHMS = {
    **{name: boosting(name) for name in ALL},
    "squared by leaf": boosting(growth=replace(SMALL, by="leaf")),
    "tweedie sampled": boosting("tweedie", **SAMPLED),
    "squared sampled by leaf": boosting(growth=replace(SMALL, by="leaf"), **SAMPLED),
    "poisson with early stopping": boosting("poisson", rate=0.5, patience=1, trees=6),
    "forest": Forest(trees=5, growth=Growth(leaves=30, rows=3, l2=0.0), binning=BINNING),
    "forest of subsamples": Forest(
        trees=4, growth=SMALL, binning=BINNING, bootstrap=False, sampling=0.5, together=3
    ),
}


@pytest.fixture(params=sorted(ALGORITHMS))
def algorithm(request):
    return ALGORITHMS[request.param]


def fitted(algorithm, totals, data_for):
    name = algorithm.objective.name if isinstance(algorithm, Boosting) else "squared"
    watched = "later" if getattr(algorithm, "patience", 0) else ""
    return algorithm.fit(totals, data_for(name, watched=watched))


# --- identity ---


@pytest.mark.parametrize(
    ("name", "retailers"),
    [*((name, 3) for name in sorted(ALGORITHMS)), ("tweedie sampled", 5), ("forest", 10)],
)
def test_federated_trees_are_the_pooled_trees(name, retailers, shop, deal_rows, data_for, federate):
    algorithm = ALGORITHMS[name]
    later = {"later": shop}
    pooled, report = fitted(algorithm, local(shop, **later), data_for)
    parts = deal_rows(shop, retailers, **later)
    federation = federate(parts)
    shared, same = fitted(algorithm, federation.totals, data_for)
    assert arrays_digest(shared.arrays) == arrays_digest(pooled.arrays)
    assert (shared.meta, canonical(same)) == (pooled.meta, canonical(report))
    assert len(pooled.trees.parent) > 5


def test_numpy_makes_the_same_trees_as_numba(algorithm, shop, data_for, monkeypatch):
    assert inner_loops.of("tree").__name__.endswith("tree_kernels")
    with_numba, _ = fitted(algorithm, local(shop, later=shop), data_for)
    monkeypatch.setattr(inner_loops, "of", lambda _: tree_numpy)
    with_numpy, _ = fitted(algorithm, local(shop, later=shop), data_for)
    assert arrays_digest(with_numba.arrays) == arrays_digest(with_numpy.arrays)
    assert np.array_equal(with_numba.predict(shop), with_numpy.predict(shop))


def test_millions_of_rows_in_blocks_are_the_same_sums(algorithm, shop, data_for, monkeypatch):
    expected, _ = fitted(algorithm, local(shop, later=shop), data_for)
    monkeypatch.setattr(Layout, "packed", False)
    monkeypatch.setattr(tree_histograms, "BLOCK_BITS", 5)
    model, _ = fitted(algorithm, local(shop, later=shop), data_for)
    assert arrays_digest(model.arrays) == arrays_digest(expected.arrays)


@pytest.mark.parametrize("by", ["level", "leaf"])
@pytest.mark.usefixtures("loops")
def test_threads_change_nothing(by, data_for, shop, monkeypatch):
    monkeypatch.setattr(tree_segments, "_PART", 100)  # so that even few rows are shared
    monkeypatch.setattr(tree_segments, "_FEW", 20)
    algorithm = boosting(growth=replace(SMALL, by=by), sampling=0.9)
    found = []
    for threads in (1, 2, 3):
        with limited_to(threads):
            found.append(arrays_digest(algorithm.fit(local(shop), data_for("squared"))[0].arrays))
    assert len(set(found)) == 1


def test_the_order_of_the_rows_changes_nothing(shop, data_for):
    order = np.random.default_rng(1).permutation(len(shop.keys))
    mixed = Columns(
        {name: values[order] for name, values in shop.numbers.items()},
        {name: values[order] for name, values in shop.categories.items()},
        shop.keys[order],
    )
    algorithm = boosting("poisson", **SAMPLED)
    models = [algorithm.fit(local(rows), data_for("poisson"))[0] for rows in (shop, mixed)]
    assert arrays_digest(models[0].arrays) == arrays_digest(models[1].arrays)


def test_splits_made_before_their_turn_do_not_change_the_tree(shop, data_for, monkeypatch):
    from grandtotal.algorithms import trees

    algorithm = boosting(growth=Growth(by="leaf", leaves=12), trees=5)
    grown, reports, split = [], [], []
    for eager in (np.inf, 0.0, None):

        def grow(sapling, ask, usual, eager=eager, leaves=trees.grow_leaves):
            taken = leaves(sapling, ask, usual if eager is None else eager)
            split.append(len(sapling.made))
            return taken

        with monkeypatch.context() as patch:
            patch.setattr(trees, "grow_leaves", grow)
            model, report = algorithm.fit(local(shop), data_for("squared"))
        grown.append(arrays_digest(model.arrays))
        reports.append(report["questions"])
    assert len(set(grown)) == 1
    assert reports[1] < reports[2] < reports[0]
    assert max(split) <= 2 * 11, "no more is split in vain than could have been taken"


def test_a_model_that_was_saved_predicts_the_same(algorithm, shop, data_for, tmp_path):
    model, _ = fitted(algorithm, local(shop, later=shop), data_for)
    save_arrays(tmp_path / "model.safetensors", model.arrays, model.meta)
    loaded = TreesModel.of(*load_arrays(tmp_path / "model.safetensors"))
    assert arrays_digest(loaded.arrays) == arrays_digest(model.arrays)
    assert np.array_equal(loaded.predict(shop), model.predict(shop))
    assert loaded.objective == model.objective


def test_kernels_work_where_nothing_may_be_written():
    nowhere = {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
        "NUMBA_CACHE_DIR": "/dev/null/nowhere",
    }
    code = """if True:
        import numpy as np
        from grandtotal.algorithms.tree_kernels import cut
        rows, codes = np.arange(9, dtype=np.uint32), np.arange(9, dtype=np.uint8)[None]
        splits, ranges = np.zeros((1, 10), np.int32), np.array([[0, 9], [0, 0], [0, 0]])
        splits[0, 2] = 0b1111
        cut(codes, splits, 0, rows, np.empty_like(rows), ranges)
        print(*ranges[1:].reshape(-1))
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("0 4 4 9\n", "")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("feature", lambda a: a + 100),
        ("feature", lambda a: a - 100),
        ("parent", lambda a: a + 1000),
        ("parent", lambda a: a - 1),
        ("values", lambda a: a[:-1]),
        ("left", lambda a: a[:, :-1]),
        ("splits", lambda a: a + 1),
    ],
)
def test_a_damaged_model_is_refused_before_it_predicts(shop, data_for, name, change):
    model, _ = boosting().fit(local(shop), data_for("squared"))
    arrays = {**model.arrays, f"trees {name}": change(model.arrays[f"trees {name}"])}
    with pytest.raises(RunError, match="do not fit together"):
        TreesModel.of(arrays, model.meta)


# --- what a retailer remembers ---


def forgetting(federation):
    """Returns totals whose retailers lose their memory before every question."""

    class Forgetting:
        def total(self, query, broadcast=None):
            for retailer in federation.retailers.values():
                retailer.memory.clear()
            return federation.totals.total(query, broadcast)

    return Forgetting()


@pytest.mark.parametrize("by", ["level", "leaf"])
def test_a_retailer_that_was_killed_goes_on_from_its_disk(by, shop, deal_rows, data_for, federate):
    algorithm = boosting("poisson", growth=replace(SMALL, by=by), **SAMPLED)
    federation = federate(deal_rows(shop, 3))
    lossy, _ = algorithm.fit(forgetting(federation), data_for("poisson"))
    pooled, _ = algorithm.fit(local(shop), data_for("poisson"))
    assert arrays_digest(lossy.arrays) == arrays_digest(pooled.arrays)


def test_a_coordinator_that_starts_again_asks_nothing_twice(shop, deal_rows, data_for, federate):
    federation = federate(deal_rows(shop, 3))
    first, _ = boosting().fit(federation.totals, data_for("squared"))
    asked = len(federation.transport.sent)
    again, _ = boosting().fit(federation.totals, data_for("squared"))
    assert arrays_digest(first.arrays) == arrays_digest(again.arrays)
    assert len(federation.transport.sent) == asked


def test_a_second_ensemble_on_the_same_rows_starts_anew(shop, data_for):
    totals = local(shop)
    data = data_for("squared")
    models = [boosting(rate=rate).fit(totals, data)[0] for rate in (0.1, 0.3, 0.1)]
    assert arrays_digest(models[0].arrays) == arrays_digest(models[2].arrays)
    assert arrays_digest(models[0].arrays) != arrays_digest(models[1].arrays)


class Changing:
    """Totals whose questions are changed on their way."""

    def __init__(self, totals, change):
        self.totals, self.change = totals, change

    def total(self, query, broadcast=None):
        if query.name == "tree-histograms":
            broadcast = self.change(dict(broadcast))
        return self.totals.total(query, broadcast)


def split(parent, feature):
    """Returns the first split of tree 0, all bins right."""
    return np.array([[0, parent, feature, *[0] * 8]], np.int32)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda b: {**b, "columns": b["columns"] - 9}, "columns that are none of"),
        (lambda b: {**b, "columns": b["columns"] + 9}, "columns that are none of"),
        (lambda b: {**b, "asked": np.repeat(b["asked"], 2, axis=0)}, "words were asked for"),
        (lambda b: {**b, "before": b["before"] ^ 1}, "not those that their digest names"),
        (lambda b: {**b, "asked": b["asked"] + [[0, 9]]}, "about a node that is not there"),
        (lambda b: {**b, "splits": split(5, 0)}, "of a node that is not there"),
        (lambda b: {**b, "splits": split(-1, 0)}, "of a node that is not there"),
        (lambda b: {**b, "splits": split(0, 99)}, "a split by none of"),
        (lambda b: {**b, "splits": split(0, 0)[:, :5]}, r"splits \(1, 5\) of int32, expected"),
        (lambda b: {**b, "splits": split(0, 0).astype(np.int64)}, r"\(1, 11\) of int64, expected"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(shop, data_for, change, word):
    with pytest.raises(AnswerError, match=word) as refused:
        boosting().fit(Changing(local(shop), change), data_for("squared"))
    assert refused.value.code == Code.MALFORMED


def test_a_retailer_whose_folder_lost_the_trees_says_so(shop, data_for):
    class Lost:
        def __init__(self):
            self.local = local(shop)

        def total(self, query, broadcast=None):
            state = self.local._state
            state.memory.clear()
            state._kept.clear()
            return self.local.total(query, broadcast)

    with pytest.raises(AnswerError, match="not in this retailer's folder"):
        boosting().fit(Lost(), data_for("squared"))


# --- what leaves ---


def test_a_level_is_one_question_and_only_sampled_columns_are_sent(
    shop, deal_rows, data_for, federate
):
    federation = federate(deal_rows(shop, 3))
    algorithm = boosting(trees=3, growth=Growth(leaves=8, depth=3, rows=5), columns=0.5)
    model, _ = algorithm.fit(federation.totals, data_for("squared"))
    rounds = [r for r in federation.rounds() if r["query"] == "tree-histograms"]
    assert len(rounds) == 3 * 3
    sent = [r["fields"]["sums"][0] for r in rounds if r["parameters"]["first"] == 0]
    used = sorted({int(feature) for feature in model.trees[0].feature})
    assert len(used) <= 3
    # One word a bin: root, then the smaller child of one split, then of two.
    assert sent[0] == sent[1] == sent[2] / 2
    assert sent[0] < model.bins.counts.sum()


def test_a_forest_grows_all_trees_with_one_question_a_level(shop, data_for):
    growth = Growth(leaves=16, depth=4, rows=5, l2=0.0)
    forest = Forest(trees=6, growth=growth, binning=BINNING)
    _, report = forest.fit(local(shop), data_for("squared"))
    assert report["questions"] == 2 + 4 + 1  # the scale of the losses, levels, the loss at the end


def test_no_leaf_has_fewer_rows_than_agreed(algorithm, shop, data_for):
    model, _ = fitted(algorithm, local(shop, later=shop), data_for)
    assert model.trees.rows.min() >= algorithm.growth.rows


# --- what trees can do ---


@pytest.mark.usefixtures("loops")
def test_the_prediction_rises_or_falls_where_it_has_to(shop):
    for objective, by in (("squared", "level"), ("poisson", "leaf")):
        data = Data({"squared": "amount", "poisson": "units"}[objective], ("price", "noise", "day"))
        growth = Growth(by=by, leaves=20, rows=5)
        held = replace(growth, falling=("price",), rising=("noise", "day"))
        model, free = (
            boosting(objective, trees=8, growth=each, rate=0.5).fit(local(shop), data)[0]
            for each in (held, growth)
        )
        grid = np.linspace(-3, 10, 60)
        for name, sign in (("price", -1), ("noise", 1), ("day", 1)):
            steps, any_steps = (
                [np.diff(sign * m.scores(moved(shop, name, grid, row))) for row in range(9)]
                for m in (model, free)
            )
            assert np.min(steps) >= -1e-9
            assert np.max(steps) > 0 or name == "noise"
            assert np.min(any_steps) < -1e-3


def moved(columns, name, grid, row):
    """Returns one row with a column set to each number of the grid."""
    numbers = {n: np.full(len(grid), v[row]) for n, v in columns.numbers.items()}
    categories = {n: np.full(len(grid), v[row]) for n, v in columns.categories.items()}
    return Columns({**numbers, name: grid}, categories, np.full(len(grid), columns.keys[row]))


@pytest.mark.usefixtures("loops")
def test_a_missing_value_takes_the_way_that_was_learned():
    x = np.array([1.0, 1, 1, 9, 9, 9, np.nan, np.nan, np.nan] * 10)
    y = np.where(np.isnan(x), 5.0, x)
    for known, expected in ((9.0, 9.0), (1.0, 1.0), (np.nan, 5.0)):
        rows = Columns({"x": x, "y": y}, {}, np.arange(90, dtype=np.uint64))
        growth = Growth(leaves=3, rows=1, l2=0.0)
        model, _ = Boosting(trees=1, rate=1.0, growth=growth).fit(local(rows), Data("y", ("x",)))
        found = model.predict(Columns({"x": np.array([known])}))
        assert found[0] == pytest.approx(expected, abs=1e-4)


def test_it_stops_when_the_watched_loss_rises_and_keeps_the_best(data_for, shop):
    later = taken_noise(shop)
    algorithm = boosting(trees=60, rate=0.5, patience=4)
    model, report = algorithm.fit(local(shop, later=later), data_for("squared", watched="later"))
    losses = {int(trees): loss for trees, loss in report["losses"].items()}
    best = min(losses, key=losses.get)
    assert len(model.trees) == best < max(losses) == best + 4 < 60
    assert losses[best] == pytest.approx(
        np.mean((model.predict(later) - later.number("amount")) ** 2)
    )


def taken_noise(columns):
    rng = np.random.default_rng(8)
    noisy = columns.numbers["amount"] + rng.normal(0, 1.5, len(columns.keys))
    return Columns({**columns.numbers, "amount": noisy}, columns.categories, columns.keys)


def test_a_forest_is_better_than_its_mean_and_smoother_than_a_tree(halves, data_for):
    rows, later = halves
    errors = {}
    for trees in (1, 25):
        growth = Growth(leaves=100, rows=2, l2=0.0)
        forest = Forest(trees=trees, growth=growth, binning=BINNING, columns=0.67)
        model, _ = forest.fit(local(rows), data_for("squared"))
        errors[trees] = np.mean((model.predict(later) - later.number("amount")) ** 2)
    assert errors[25] < 0.7 * errors[1]
    assert errors[25] < 0.35 * np.var(later.number("amount"))


def test_categories_with_many_members_are_encoded_without_their_own_target():
    rng = np.random.default_rng(2)
    rows = 4000
    # A category that says nothing, of eight rows each: a mean with the own target would say a lot.
    kind = rng.integers(1, 2**63, 500).astype(np.uint64)[rng.integers(0, 500, rows)]
    noise = Columns(
        {"amount": rng.normal(size=rows)}, {"brand": kind}, np.arange(rows, dtype=np.uint64)
    )
    binning = Binning(bins=20, grouped=8, encoder=TargetEncoder(least=2, smoothing=1.0))
    model, report = boosting(trees=10, binning=binning).fit(
        local(noise), Data("amount", categories=("brand",))
    )
    assert model.bins.features[0].kind == "encoded"
    losses = report["losses"]
    assert losses["10"] > 0.97 * losses["0"]


@pytest.mark.usefixtures("loops")
def test_groups_of_categories_are_found_by_one_split():
    brands = np.random.default_rng(4).integers(1, 2**63, 8).astype(np.uint64)
    code = np.arange(400) % 8
    high = np.isin(code, [0, 3, 6])
    rows = Columns({"y": np.where(high, 7.0, 1.0)}, {"b": brands[code]}, np.arange(400, dtype="u8"))
    growth = Growth(leaves=2, rows=5, l2=0.0)
    model, _ = Boosting(trees=1, rate=1.0, growth=growth).fit(local(rows), Data("y", (), ("b",)))
    assert model.predict(rows) == pytest.approx(rows.number("y"), abs=1e-4)


# --- bad input ---


@pytest.mark.usefixtures("loops")
def test_a_constant_target_is_predicted_as_it_is(shop, data_for):
    for value in (5.0, 0.1, -3e-7, 0.0, 2e9):
        numbers = {**shop.numbers, "amount": np.full(len(shop.keys), value)}
        rows = Columns(numbers, shop.categories, shop.keys)
        model, _ = boosting().fit(local(rows), data_for("squared"))
        assert model.predict(rows) == pytest.approx(np.full(900, value), rel=1e-6)
        assert len(model.trees.parent) == 0


@pytest.mark.usefixtures("loops")
def test_a_feature_without_any_value_is_never_split(shop, data_for):
    rows = Columns({**shop.numbers, "price": np.full(900, np.nan)}, shop.categories, shop.keys)
    model, _ = boosting().fit(local(rows), data_for("squared"))
    assert 0 not in model.trees.feature
    known = model.predict(
        Columns({**rows.numbers, "price": np.ones(900)}, rows.categories, rows.keys)
    )
    assert np.array_equal(known, model.predict(rows))


@pytest.mark.usefixtures("loops")
def test_one_row_is_its_own_prediction(shop, data_for):
    for name in ALL:
        one = Columns(
            {n: v[:1] for n, v in shop.numbers.items()},
            {n: v[:1] for n, v in shop.categories.items()},
            shop.keys[:1],
        )
        model, _ = boosting(name).fit(local(one), data_for(name))
        expected = one.number(data_for(name).target)
        tolerance = 0.01 if name == "quantile" else 1e-5
        assert model.predict(one) == pytest.approx(expected, rel=tolerance, abs=1e-5)


def test_an_unseen_category_is_other(shop, data_for):
    model, _ = boosting("poisson", trees=10).fit(local(shop), data_for("poisson"))
    strange = {name: np.full(900, 12345, np.uint64) for name in shop.categories}
    found = model.predict(Columns(shop.numbers, strange, shop.keys))
    assert np.isfinite(found).all()
    other = {name: np.full(900, 54321, np.uint64) for name in shop.categories}
    assert np.array_equal(found, model.predict(Columns(shop.numbers, other, shop.keys)))


def test_rows_without_a_target_are_left_out(shop, data_for):
    amount = shop.numbers["amount"].copy()
    amount[::3] = np.nan
    kept = ~np.isnan(amount)
    data = replace(data_for("squared"), categories=())
    whole = Columns({**shop.numbers, "amount": amount}, shop.categories, shop.keys)
    less = Columns({n: v[kept] for n, v in whole.numbers.items()}, {}, shop.keys[kept])
    bins = BINNING.fit(local(less), data.numbers, (), "amount", "train")
    models = [boosting().fit(local(rows), data, bins)[0] for rows in (whole, less)]
    assert arrays_digest(models[0].arrays) == arrays_digest(models[1].arrays)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"rate": 0.0}, "rate = 0.0"),
        ({"sampling": 0.0}, "sampling = 0.0"),
        ({"columns": 1.5}, "columns = 1.5"),
        ({"trees": -1}, "trees = -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, word):
    with pytest.raises(PlanError, match=word):
        Boosting(**settings)


def test_shapes_that_cannot_be_are_refused(shop, data_for):
    with pytest.raises(PlanError, match="expected one of squared, poisson"):
        Objective("cubic")
    with pytest.raises(PlanError, match="between 1 and 2"):
        Objective("tweedie", 2.0)
    with pytest.raises(PlanError, match="expected 2 to 255 bins"):
        Binning(bins=300)
    with pytest.raises(PlanError, match="at least 1, 1 and 0"):
        Growth(leaves=0)
    with pytest.raises(PlanError, match="a forest grows by 'level'"):
        Forest(growth=Growth(by="leaf"))
    with pytest.raises(PlanError, match="'brand' cannot be rising"):
        boosting(growth=replace(SMALL, rising=("brand",))).fit(local(shop), data_for("squared"))


def test_targets_that_cannot_be_are_counted_and_refused(shop, data_for):
    negative = {**shop.numbers, "units": shop.numbers["units"] - 1}
    rows = Columns(negative, shop.categories, shop.keys)
    wrong = int((negative["units"] < 0).sum())
    with pytest.raises(PlanError, match=f"{wrong} of 900 values of 'units'.*0 or more"):
        boosting("poisson").fit(local(rows), data_for("poisson"))
    empty = Columns({**shop.numbers, "amount": np.full(900, np.nan)}, shop.categories, shop.keys)
    with pytest.raises(PlanError, match="nothing to learn"):
        boosting().fit(local(empty), data_for("squared"))
    with pytest.raises(PlanError, match="name at least one column"):
        boosting().fit(local(shop), Data("amount"))
