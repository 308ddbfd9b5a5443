"""k-means and Gaussian mixtures: known clusters, scikit-learn, any split, and noise."""

import numpy as np
import pytest

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.kmeans import KMeans, LloydSums, _lloyd_on_cells, bins_of
from grandtotal.algorithms.mixture import GaussianMixture
from grandtotal.algorithms.points import STEPS, Box, box_of, nearest, squared_distances
from grandtotal.consortium.totals import Local

MIDDLES = np.array([[0.2, 0.2], [0.8, 0.3], [0.5, 0.8]])
BOX = Box(np.zeros(2), np.ones(2))
NAMES = ("x", "y")


def blobs(customers=300, seed=4, spread=0.05):
    draw = np.random.default_rng(seed)
    kind = draw.integers(0, 3, customers)
    points = MIDDLES[kind] + draw.normal(0, spread, (customers, 2))
    keys = np.arange(customers, dtype=np.uint64)
    return Columns(dict(zip(NAMES, points.T, strict=True)), {}, keys), kind


def totals_of(columns):
    return Local({"all": columns})


def inertia(points, centres):
    return squared_distances(points, centres).min(axis=1).sum() / STEPS**2


def taken(columns, rows):
    return Columns({n: v[rows] for n, v in columns.numbers.items()}, {}, columns.keys[rows])


def test_starts_that_go_together_go_as_they_would_alone():
    draw = np.random.default_rng(2)
    cells = np.rint(draw.uniform(0, STEPS, (60, 2)))
    weight = draw.integers(1, 9, 60).astype(float)
    starts = np.stack([cells[draw.choice(60, 4, replace=False)] for _ in range(5)])
    inertia, centres = _lloyd_on_cells(cells, weight, starts)
    for start, own, place in zip(starts, inertia, centres, strict=True):
        alone = _lloyd_on_cells(cells, weight, start[None])
        assert alone[0] == [own]
        assert (alone[1][0] == place).all()


def test_the_clusters_that_are_there_are_found():
    columns, kind = blobs()
    (found,) = KMeans().fit(totals_of(columns), NAMES, "all", BOX, (3,))
    points = BOX.points(columns, NAMES)
    order = nearest(MIDDLES * STEPS, found.centres)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(found.centres[order] / STEPS, MIDDLES, atol=0.02)
    assert (nearest(points, found.centres) == order[kind]).mean() > 0.99
    assert found.inertia == pytest.approx(inertia(points, found.centres), rel=1e-12)


def test_lloyd_is_that_of_the_points_themselves():
    columns, _ = blobs()
    points = BOX.points(columns, NAMES)
    (found,) = KMeans().fit(totals_of(columns), NAMES, "all", BOX, (3,))
    best = np.inf
    for seed in range(20):
        draw = np.random.default_rng(seed)
        centres = points[draw.choice(len(points), 3, replace=False)]
        for _ in range(50):
            which = squared_distances(points, centres).argmin(axis=1)
            centres = np.stack(
                [
                    points[which == k].mean(axis=0) if (which == k).any() else centres[k]
                    for k in range(3)
                ]
            )
        best = min(best, inertia(points, centres))
    # Centres are whole steps of 1/4096 of the box.
    assert found.inertia == pytest.approx(best, rel=1e-5)


def test_more_clusters_are_nearer_to_their_customers():
    columns, _ = blobs(spread=0.2)
    found = KMeans().fit(totals_of(columns), NAMES, "all", BOX, (2, 3, 5, 8))
    assert [len(one.centres) for one in found] == [2, 3, 5, 8]
    inertias = [one.inertia for one in found]
    assert inertias == sorted(inertias, reverse=True)


@pytest.mark.parametrize("model", ["kmeans", "mixture"])
def test_any_split_has_the_same_clusters(model, federate):
    columns, _ = blobs(200)
    owner = np.random.default_rng(1).integers(1, 4, 200)
    owner[0] = 0
    parts = [{"all": taken(columns, owner == i)} for i in range(4)]

    def fit(totals):
        box = box_of(totals, NAMES, "all")
        found = KMeans().fit(totals, NAMES, "all", box, (2, 3))
        if model == "kmeans":
            return [one.centres.tolist() for one in found], [one.inertia for one in found]
        mixtures = GaussianMixture(10).fit(totals, NAMES, "all", box, [o.centres for o in found])
        return [m.centres.tolist() for m in mixtures], [m.likelihood for m in mixtures]

    assert fit(federate(parts).totals) == fit(totals_of(columns))


def test_a_mixture_has_the_means_spreads_and_likelihood_of_its_components():
    columns, kind = blobs(900)
    starts = [MIDDLES * STEPS // 1]
    (found,) = GaussianMixture(60, 1e-9).fit(totals_of(columns), NAMES, "all", BOX, starts)
    points = BOX.points(columns, NAMES) / STEPS
    for k in range(3):
        of_kind = points[kind == k]
        np.testing.assert_allclose(found.centres[k], of_kind.mean(axis=0), atol=0.01)
        np.testing.assert_allclose(found.variances[k], of_kind.var(axis=0), rtol=0.1)
        assert found.shares[k] == pytest.approx(len(of_kind) / 900, abs=0.01)
    logs = found.memberships(points * STEPS)[1]
    assert logs.sum() == pytest.approx(found.likelihood, rel=1e-6)
    parts = [
        np.log(found.shares[k])
        - 0.5 * ((points - found.centres[k]) ** 2 / found.variances[k]).sum(axis=1)
        - 0.5 * np.log(2 * np.pi * found.variances[k]).sum()
        for k in range(3)
    ]
    np.testing.assert_allclose(logs, np.logaddexp.reduce(parts, axis=0), rtol=1e-12)


def test_em_never_lowers_the_likelihood_and_bic_finds_three_components():
    columns, _ = blobs(600)
    clusters = KMeans().fit(totals_of(columns), NAMES, "all", BOX, (1, 2, 3, 4, 5))
    starts = [one.centres for one in clusters]

    def fitted(rounds):
        return GaussianMixture(rounds, 0.0).fit(totals_of(columns), NAMES, "all", BOX, starts)

    course = np.array([[one.likelihood for one in fitted(rounds)] for rounds in (1, 2, 4, 30)])
    # Shares are rounded to 1/4096: a likelihood may fall by that much of a customer's.
    assert (np.diff(course, axis=0) > -0.1).all()
    assert int(np.argmin([one.bic for one in fitted(30)])) == 2


# --- what is said of few customers ---


@pytest.mark.parametrize("customers", [0, 1, 2])
def test_more_clusters_than_customers_are_left_out(customers):
    columns, _ = blobs(customers)
    (found,) = KMeans().fit(totals_of(columns), NAMES, "all", BOX, (5,))
    assert len(found.centres) == max(customers, 1) or len(found.centres) <= 2


def test_a_feature_without_a_range_is_0_for_all():
    draw = np.random.default_rng(2)
    columns = Columns({"x": np.full(50, 3.0), "y": draw.random(50)}, {}, np.arange(50, dtype="u8"))
    box = box_of(totals_of(columns), NAMES, "all")
    points = box.points(columns, NAMES)
    assert (points[:, 0] == 0).all()
    (found,) = KMeans().fit(totals_of(columns), NAMES, "all", box, (3,))
    assert len(found.centres) == 3
    np.testing.assert_allclose(box.values(found.centres)[:, 0], 3.0, rtol=0.02)


def test_a_customer_with_a_missing_value_lies_in_the_middle():
    columns = Columns({"x": np.array([np.nan, 0.5, -7.0, 7.0])}, {}, np.arange(4, dtype="u8"))
    points = Box(np.zeros(1), np.ones(1)).points(columns, ("x",))
    assert points[:, 0].tolist() == [STEPS / 2, STEPS / 2, 0, STEPS]


def test_the_grid_stays_small():
    assert [bins_of(d, 4096) for d in (1, 2, 3, 4, 6)] == [4096, 64, 16, 8, 4]
    assert bins_of(3, 64) == 4
    assert bins_of(20, 64) == 2


# --- with noise ---


def test_clipped_steps_without_noise_end_where_lloyd_does():
    columns, _ = blobs(2000)
    (exact,) = KMeans().fit(totals_of(columns), NAMES, "all", BOX, (3,))
    private = KMeans(starts=1, rounds=6, radius=0.35)
    (found,) = private.fit(totals_of(columns), NAMES, "all", BOX, (3,))
    order = nearest(exact.centres, found.centres)
    np.testing.assert_allclose(found.centres[order], exact.centres, atol=0.02 * STEPS)


def test_a_customer_far_from_its_centre_counts_as_one_at_the_radius():
    columns = Columns(
        {"x": np.array([0.0, 1.0]), "y": np.array([0.5, 0.5])}, {}, np.arange(2, dtype="u8")
    )
    radius = 0.25 * STEPS
    query = LloydSums("x,y", "all", radius, most=1)
    broadcast = {**BOX.arrays, "centres": np.array([[0.0, 0.5]]) * STEPS, "ends": np.array([1])}
    sums = totals_of(columns).total(query, broadcast)
    assert sums["sums"].tolist() == [[radius, 0]]
    assert sums["counts"].tolist() == [2.0]
