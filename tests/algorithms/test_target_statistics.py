"""Means by hand and by scikit-learn, the same from any split, and nothing of a row's own target."""

import numpy as np
import pytest
from sklearn.preprocessing import TargetEncoder as Reference

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.target_statistics import TARGET_STEPS, TargetEncoder, codes, folds
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import AnswerError, Code, PlanError
from grandtotal.privacy.fingerprint import fingerprints

KEY = b"k" * 32


def columns(brands, target, owners=None):
    owners = range(len(brands)) if owners is None else owners
    return Columns(
        {"spend": np.asarray(target, np.float64)},
        {"brand": fingerprints(KEY, "brand", brands)},
        fingerprints(KEY, "fold", map(str, owners)),
    )


def fit(rows, **settings):
    return TargetEncoder(**settings).fit(Local({"test": rows}), "brand", "spend", "test")


def drawn(rows, categories, seed=0):
    rng = np.random.default_rng(seed)
    brands = [f"b{i}" for i in rng.integers(0, categories, rows)]
    return brands, (rng.integers(0, 1000, rows) / 8.0)


def encoded(rows, **settings):
    found = fit(rows, **settings)
    return found.of_training_rows(rows.categories["brand"], rows.keys)


def test_by_hand_rare_and_unseen_brands_are_other():
    rows = columns(["a", "a", "a", "b", "b", "c", "d"], [1, 2, 3, 10, 20, 6, 7])
    found = fit(rows, least=2, smoothing=2.0)
    mean = 49 / 7
    new = found.of_new_rows(fingerprints(KEY, "brand", ["a", "b", "c", "never seen"]))
    other = (13 + 2 * mean) / 4
    assert new.tolist() == [(6 + 2 * mean) / 5, (30 + 2 * mean) / 4, other, other]


@pytest.mark.parametrize("smoothing", [0.0, 3.0, 50.0])
def test_new_rows_get_what_scikit_learn_gives_them(smoothing):
    brands, spend = drawn(900, 12)
    found = fit(columns(brands, spend), least=1, smoothing=smoothing)
    assert len(found.dictionary) == 12
    reference = Reference(smooth=smoothing, target_type="continuous")
    expected = reference.fit(np.array(brands)[:, None], spend).transform(np.array([["b3"]]))[0, 0]
    assert found.of_new_rows(fingerprints(KEY, "brand", ["b3"]))[0] == pytest.approx(expected)


def test_a_training_row_gets_the_mean_of_the_other_folds():
    brands, spend = drawn(300, 4)
    rows = columns(brands, spend)
    found = encoded(rows, least=1, smoothing=5.0)
    fold = folds(rows.keys, 5)
    for row in range(0, 300, 17):
        others = fold != fold[row]
        same = others & (np.array(brands) == brands[row])
        expected = (spend[same].sum() + 5.0 * spend[others].mean()) / (same.sum() + 5.0)
        assert found[row] == pytest.approx(expected)


def test_a_rows_own_target_and_those_of_its_customer_are_never_in_its_mean():
    brands, spend = drawn(200, 3)
    owners = [i // 4 for i in range(200)]
    before = encoded(columns(brands, spend, owners), least=1)
    changed = spend.copy()
    changed[40:44] += 1e6
    after = encoded(columns(brands, changed, owners), least=1)
    assert (after[40:44] == before[40:44]).all()
    assert (after != before).sum() > 100


def test_a_shuffled_target_gives_no_signal():
    # Five rows a brand: a mean with the row's own target in it correlates at about 0.4.
    brands, spend = drawn(20_000, 4000, seed=2)
    rows = columns(brands, spend)
    found = fit(rows, least=2, smoothing=1.0)
    leaking = found.of_new_rows(rows.categories["brand"])
    assert np.corrcoef(leaking, spend)[0, 1] > 0.3
    honest = found.of_training_rows(rows.categories["brand"], rows.keys)
    # Four standard deviations of the correlation of independent rows.
    assert abs(np.corrcoef(honest, spend)[0, 1]) < 4 / np.sqrt(20_000)


def test_a_planted_effect_is_found():
    brands, noise = drawn(4000, 20)
    effect = np.array([float(brand[1:]) * 50 for brand in brands])
    honest = encoded(columns(brands, effect + noise))
    assert np.corrcoef(honest, effect)[0, 1] > 0.99


def test_federated_is_pooled_digest_for_digest(federate):
    brands, spend = drawn(600, 15)
    spend[::9] = np.nan
    parts = [columns(brands[i::3], spend[i::3], range(i, 600, 3)) for i in range(3)]
    expected = fit(Columns.pooled(parts), least=30)
    federation = federate([{"test": part} for part in parts])
    found = TargetEncoder(least=30).fit(federation.totals, "brand", "spend", "test")
    assert arrays_digest(found.arrays) == arrays_digest(expected.arrays)
    assert (found.means == expected.means).all()


def test_rows_without_a_target_are_not_counted():
    found = fit(columns(["a"] * 4, [1.0, np.nan, 3.0, np.nan]), least=1, smoothing=0.0)
    assert found.counts.sum() == 2
    assert found.of_new_rows(fingerprints(KEY, "brand", ["a"])).tolist() == [2.0]


def test_without_smoothing_an_unseen_brand_gets_the_mean_of_all():
    found = fit(columns(["a"] * 4, [1.0, 2.0, 3.0, 6.0]), least=1, smoothing=0.0)
    assert found.of_new_rows(fingerprints(KEY, "brand", ["z"])).tolist() == [3.0]


def test_no_rows_are_no_number():
    found = fit(columns([], []))
    assert np.isnan(found.of_new_rows(fingerprints(KEY, "brand", ["a"]))).all()


def test_missing_texts_are_a_category_of_their_own():
    missing = fingerprints(KEY, "brand", [""])
    found = fit(columns([""] * 60 + ["a"] * 60, [1.0] * 60 + [9.0] * 60))
    assert codes(missing, found.dictionary)[0] < len(found.dictionary)


def test_targets_too_large_for_the_wire_are_refused():
    with pytest.raises(AnswerError, match="larger unit") as refused:
        fit(columns(["a"], [2.0**63 / TARGET_STEPS]))
    assert refused.value.code == Code.OVERFLOW


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"least": 0}, {"smoothing": -1.0}])
def test_settings_that_would_leak_or_divide_by_nothing_are_refused(wrong):
    with pytest.raises(PlanError, match=next(iter(wrong))):
        TargetEncoder(**wrong)
