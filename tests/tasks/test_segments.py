"""Segments: features, names, what the same customers look like later, and noise."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from customer_lines import COMMON, SOME, some_customers, table
from grandtotal.algorithms.kmeans import KMeans
from grandtotal.algorithms.points import STEPS, Box, squared_distances
from grandtotal.consortium.totals import Local
from grandtotal.errors import DataError, PlanError
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound
from grandtotal.tasks.segments import Segments
from grandtotal.tasks.segments_model import SegmentModel, adjusted_rand, names, silhouettes
from grandtotal.tasks.task import releases_of, scores_asked
from grandtotal.tasks.traits import FEATURES, LATER

H = 28  # days


def segments(**given):
    return Segments(COMMON, **{"horizon_days": H, **given})


def test_features_are_those_of_the_cut_counted_by_hand():
    features = ("recency", "purchases", "spend", "tenure", "variety", "returned")
    rows = segments(features=features).rows(table(*SOME))
    numbers = rows["test"].numbers
    shown = {name: FEATURES[name].shown(numbers[name]).round(6).tolist() for name in features}
    # often, once, sent back: the cut is 28 days before today.
    assert shown["recency"] == [62, 72, 72]
    assert shown["purchases"] == [2, 1, 1]
    assert shown["spend"] == [9, 10, 0]
    assert shown["tenure"] == [92, 72, 72]
    assert shown["variety"] == [1, 1, 1]
    assert shown["returned"] == [0, 0, 1]
    later = FEATURES["recency"].shown(numbers[LATER + "recency"]).round(6).tolist()
    assert later == [20, 100, 100]
    assert numbers["next purchases"].tolist() == [1, 0, 0]
    assert np.expm1(numbers["next spend"]).round(6).tolist() == [50, 0, 0]


def test_what_comes_after_a_cut_changes_no_feature_of_it():
    before = [line for line in some_customers() if line[1] > H]
    after = [line for line in some_customers() if line[1] <= H]
    whole, other = (segments().rows(table(*before, *late)) for late in (after, after[::2]))
    for name in segments().features:
        left, right = (rows["test"].numbers[name] for rows in (whole, other))
        np.testing.assert_array_equal(left, right, strict=True)


def test_as_many_segments_as_asked_for_or_as_are_clear():
    rows = segments().rows(table(*some_customers()))
    assert segments(segments=4).fit(Local(rows)).choice["chosen"]["segments"] == 4
    choice = segments().fit(Local(rows)).choice
    assert [one["segments"] for one in choice["tried"]] == [3, 4, 5, 6, 7, 8]
    best = max(choice["tried"], key=lambda one: one["silhouette"])
    assert choice["chosen"]["segments"] == best["segments"]


def test_the_first_segment_spends_most_next():
    rows = segments().rows(table(*some_customers(customers=300)))
    model = segments(segments=4).fit(Local(rows)).model
    assert (np.diff(model.next_spend) <= 0).all()
    assert len(set(model.meta["names"])) == 4
    assert "frequent" in model.meta["names"][0]


def test_names_say_in_what_a_segment_differs():
    centres = np.array([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.5, 0.5, 0.5]]) * STEPS
    features = ("recency", "purchases", "spend")
    model = SegmentModel.of("kmeans", features, Box(np.zeros(3), np.ones(3)), centres, np.ones(4))
    assert names(model) == [
        "recent, frequent",
        "long silent, rare",
        "long silent, rare (2)",
        "like most",
    ]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_silhouette_is_simplified_but_near_that_of_all_pairs(number):
    draw = np.random.default_rng(2)
    middles = np.array([[0.2, 0.2], [0.8, 0.8], [0.2, 0.8], [0.8, 0.2]])[:number]
    kind = np.arange(200) % number
    points = (middles[kind] + draw.normal(0, 0.05, (200, 2))) * STEPS
    found = silhouettes(points, kind, middles * STEPS)
    if number == 1:
        assert not found.any()
        return
    assert found.mean() == pytest.approx(silhouette_score(points, kind), abs=0.06)
    distances = np.sqrt(squared_distances(points, middles * STEPS))
    first = np.sort(distances[0])
    assert found[0] == pytest.approx((first[1] - first[0]) / first[1])


def test_the_rand_index_is_that_of_scikit_learn():
    draw = np.random.default_rng(1)
    for clusters in (1, 2, 5):
        one = draw.integers(0, clusters, 60)
        other = np.where(draw.random(60) < 0.7, one, draw.integers(0, 3, 60))
        assert adjusted_rand(one, other) == pytest.approx(adjusted_rand_score(one, other))
        assert adjusted_rand(one, one) == 1.0


@pytest.mark.parametrize(
    "lines",
    [
        [("a", 100, 1, 10.0)],  # one customer: more segments than customers
        [(f"c{i}", 100, 1, 10.0) for i in range(20)],  # no feature has a range
        [("a", 100, 1, 10.0), ("a", 80, -1, 99.0), ("b", 90, 1, 0.0)],  # nothing was spent
    ],
)
@pytest.mark.parametrize("model", ["kmeans", "mixture"])
def test_few_and_equal_customers_have_fewer_segments(lines, model):
    task = segments(models=(model,))
    rows = task.rows(table(*lines))
    fitted = task.fit(Local(rows)).model
    frame = task.predict(fitted, rows, table(*lines), 5)
    assert len(frame) == len({who for who, *_ in lines})
    assert frame["name"].n_unique() <= 3
    (standing,) = task.standing(rows, table(*lines))
    assert standing.verdict == ("yes" if len(rows["validation"].keys) > 8 else "look")
    detail = task.detail(fitted, rows)
    assert sum(one["customers"] for one in detail["segments"]) == len(rows["test"].keys)
    assert np.isfinite(task.score(fitted, rows, "test").numerators).all()
    baseline, label = task.baseline(rows)
    assert "halves" in label
    assert task.score(baseline, rows, "test").units == len(rows["test"].keys)


def test_what_cannot_be_done_is_refused_with_what_to_do():
    with pytest.raises(DataError, match="smaller horizon_days"):
        segments(horizon_days=300).rows(table(*SOME))
    for features in (("recency", "recency"), ("age",), (), tuple(FEATURES)):
        with pytest.raises(PlanError, match="one to six different ones of recency"):
            segments(features=features)
    with pytest.raises(PlanError, match="segments = 51"):
        segments(segments=51)
    with pytest.raises(PlanError, match="k-means alone"):
        private(models=("kmeans", "mixture"))


def test_segments_of_very_other_customers_are_less_stable_than_those_of_clear_ones():
    task = segments(segments=3)
    rows = task.rows(table(*some_customers(customers=300)))
    stability = task.detail(task.fit(Local(rows)).model, rows)["stability"]
    assert 0.3 < stability <= 1


# --- under epsilon ---


def private(**given):
    agreed = Agreement(epsilon=1.0, delta=1e-6)
    return Segments(replace(COMMON, privacy=agreed), **{"horizon_days": H, **given})


class Noisy:
    """Totals with Gaussian noise of some share of each bound, and what was asked."""

    def __init__(self, rows, share=0.0):
        self.local, self.share, self.asked = Local(rows), share, []
        self.rng = np.random.default_rng(11)

    def total(self, query, broadcast=None):
        self.asked.append(query)
        fields, found = query.fields(broadcast or {}), self.local.total(query, broadcast)
        noise = self.share * query.bound.norm
        return {
            name: value + self.rng.normal(size=np.shape(value)) * noise / fields[name].scale
            for name, value in found.items()
        }


def test_what_is_asked_is_bounded_and_in_the_schedule():
    task = private()
    totals = Noisy(task.rows(table(*some_customers())))
    task.fit(totals)
    asked = Counter(query.name for query in totals.asked)
    scores = scores_asked("segments", task)
    scheduled = {release.query: release.times for release in releases_of("segments", task)}
    assert {**asked, scores.name: 1} == scheduled
    for query in (*totals.asked, scores):
        assert isinstance(query.bound, Bound)
        assert query.bound.unit == "customer"


def test_segments_in_noise_are_nearly_as_near_to_their_customers():
    task = private(segments=4)
    rows = task.rows(table(*some_customers(customers=1500)))
    # At epsilon = 1 a step's noise is 15 bounds. A tenth of it on 1,500 customers: as of 15,000.
    noisy = task.fit(Noisy(rows, share=1.5)).model
    (exact,) = KMeans().fit(Local(rows), task.features, "test", noisy.box, (4,))
    points = noisy.points(rows["test"])
    inertia = squared_distances(points, noisy.centres).min(axis=1).sum() / STEPS**2
    assert exact.inertia <= inertia < 1.05 * exact.inertia


def test_noise_alone_still_makes_a_model():
    task = private()
    rows = task.rows(table(*SOME))
    model = task.fit(Noisy(rows, share=20.0)).model
    assert 1 <= len(model.meta["names"]) <= 5
    assert np.isfinite(task.score(model, rows, "test").numerators).all()
    assert len(task.predict(model, rows, table(*SOME), 5)) == 4
