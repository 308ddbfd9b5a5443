"""Elasticities: known answers, references that share no code, and what a total cannot tell."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from grandtotal.algorithms.elasticity import Elasticity
from grandtotal.algorithms.elasticity_in_noise import ElasticityInNoise, PricePairs
from grandtotal.algorithms.elasticity_model import (
    ESTIMATED,
    FEW_RETAILERS,
    NO_VARIATION,
    WITH_PROMOTIONS,
)
from grandtotal.algorithms.price_moments import PriceMoments
from grandtotal.algorithms.price_rows import LOG_STEPS, PricePanel, PriceRows, whole
from grandtotal.algorithms.shrinkage import Believed, prior_of
from grandtotal.consortium.query import shared
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest

FAMILIES = ("log-log", "ppml")
PRODUCTS = 6


def planted(seed=1, series=40, weeks=60, noise=0.1, season=26, truth=None):
    """Returns rows of log-linear demand without rounding, and the elasticities behind it."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(-4, -1.5, PRODUCTS) if truth is None else truth
    product = np.arange(series) % PRODUCTS
    of, week = np.divmod(np.arange(series * weeks), weeks)
    promoted = (rng.random(len(of)) < 0.2) * 1.0
    price = whole(rng.normal(0.5, 0.15, len(of)) - 0.15 * promoted + rng.normal(size=series)[of])
    other = whole(rng.normal(0, 0.1, len(of)))
    level = rng.normal(3, 1, (series, weeks // season + 1))[of, week // season]
    logs = level + truth[product[of]] * price + 0.4 * other + 0.5 * promoted
    units = np.exp(logs + noise * rng.normal(size=len(of)))
    x = np.stack([price, other, promoted], axis=1)
    buckets = (1 + np.arange(PRODUCTS) % 2).astype(np.int16)
    return PriceRows(x, units, of, week, product, season, buckets), truth


def held(*parts):
    panel = PricePanel(parts)
    return Local({"test": panel, shared("test"): panel})


def divided(rows, retailers):
    """Returns the series dealt to so many retailers."""
    parts = []
    for one in range(retailers):
        mine = rows.series // PRODUCTS % retailers == one
        found = rows.chosen(mine)
        kept, number = np.unique(found.series, return_inverse=True)
        parts.append(replace(found, series=number, product=rows.product[kept]))
    return parts


# --- known answers ---


@pytest.mark.parametrize("family", FAMILIES)
def test_without_noise_the_planted_elasticities_are_found_to_the_last_digits(family):
    rows, truth = planted(noise=0.0)
    found = Elasticity(family, l2=0.0).fit(held(rows), PRODUCTS, "test")
    assert found.raw == pytest.approx(truth, abs=1e-5)
    assert found.cross == pytest.approx(np.full(PRODUCTS, 0.4), abs=1e-3)
    assert found.promotion == pytest.approx(np.full(PRODUCTS, 0.5), abs=1e-3)
    assert (found.basis == ESTIMATED).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_hold_what_was_planted_where_weeks_hang_together(family):
    inside = []
    for seed in range(40):
        rows, truth = planted(seed, series=60)
        rng = np.random.default_rng([seed, 1])
        # Of a series every week has the same slope, which is not quite that of its product.
        slope = 0.3 * rng.normal(size=60)[rows.series]
        moved = replace(rows, y=rows.y * np.exp(slope * rows.within[:, 0]))
        found = Elasticity(family).fit(held(moved), PRODUCTS, "test")
        inside.append(np.abs(found.raw - truth) < 1.96 * found.raw_sd)
    # Ten series a product: a normal interval is a little short, one that ignored them would hold
    # two in three.
    assert 0.85 < np.mean(inside) < 0.98


@pytest.mark.parametrize("family", FAMILIES)
def test_a_retailer_without_stores_is_not_certain_of_anything(family):
    inside, widths = [], []
    for seed in range(40):
        rows, truth = planted(seed, series=PRODUCTS, weeks=104, noise=0.5)
        found = Elasticity(family).fit(held(rows), PRODUCTS, "test")
        inside.append(np.abs(found.raw - truth) < 1.96 * found.raw_sd)
        widths.append(found.raw_sd)
    assert np.mean(inside) > 0.9
    assert np.median(widths) < 1.5  # and not of nothing either


def test_least_squares_is_that_of_dummies_for_every_store_product_and_season():
    rows, _ = planted(series=6, noise=0.3)
    found = Elasticity("log-log").fit(held(rows), PRODUCTS, "test")
    for product in range(PRODUCTS):
        mine = rows.product[rows.series] == product
        groups = np.unique(rows.group[mine], return_inverse=True)[1]
        design = np.concatenate([rows.x[mine], np.eye(groups.max() + 1)[groups]], axis=1)
        slopes = np.linalg.lstsq(design, np.log(rows.y[mine]), rcond=None)[0]
        assert found.raw[product] == pytest.approx(slopes[0], abs=1e-5)


def test_ppml_is_poisson_regression_with_dummies():
    rows, _ = planted(series=6, weeks=52, noise=0.3)
    found = Elasticity("ppml", l2=0.0).fit(held(rows), PRODUCTS, "test")
    mine = rows.product[rows.series] == 2
    groups = np.unique(rows.group[mine], return_inverse=True)[1]
    design = np.concatenate([rows.x[mine], np.eye(groups.max() + 1)[groups]], axis=1)
    units = rows.y[mine]
    b = np.linalg.lstsq(design, np.log(units), rcond=None)[0]
    for _ in range(20):
        mean = np.exp(design @ b)
        b += np.linalg.solve((design.T * mean) @ design, design.T @ (units - mean))
    assert found.raw[2] == pytest.approx(b[0], abs=1e-5)


def test_weeks_without_a_sale_count_in_ppml_alone():
    rows, truth = planted(noise=0.0)
    drawn = np.random.default_rng(2).poisson(rows.y / rows.y.mean() * 0.7).astype(float)
    sparse = held(replace(rows, y=drawn))
    found = {each: Elasticity(each).fit(sparse, PRODUCTS, "test") for each in FAMILIES}
    # A logarithm leaves out exactly the weeks in which a high price sold nothing.
    assert np.abs(found["ppml"].own - truth).mean() < np.abs(found["log-log"].own - truth).mean()


# --- what cannot be told ---


def test_a_product_whose_price_never_changes_gets_the_mean_of_its_category():
    rows, _ = planted()
    still = rows.x.copy()
    still[rows.product[rows.series] == 3, 0] = 1.0
    found = Elasticity().fit(held(replace(rows, x=still)), PRODUCTS, "test")
    assert found.basis[3] == NO_VARIATION
    assert np.isnan(found.raw[3])
    assert found.variation[3] == 0.0
    alike = found.own[[1, 5]]
    assert alike.min() - 0.3 < found.own[3] < alike.max() + 0.3
    assert found.own_sd[3] > 3 * found.own_sd[1]


def test_prices_that_move_only_with_promotions_are_not_identified():
    rows, _ = planted()
    together = rows.x.copy()
    mine = rows.product[rows.series] == 2
    together[mine, 0] = whole(1.0 - 0.2 * together[mine, 2])
    found = Elasticity().fit(held(replace(rows, x=together)), PRODUCTS, "test")
    assert found.basis[2] == WITH_PROMOTIONS
    assert np.isnan(found.raw[2])


def test_one_price_change_is_an_estimate_with_a_wide_interval():
    rows, _ = planted(noise=0.5)
    once = rows.x.copy()
    mine = rows.product[rows.series] == 2
    once[mine, 0] = whole(0.02 * (rows.week[mine] > 30))
    found = Elasticity().fit(held(replace(rows, x=once)), PRODUCTS, "test")
    assert found.basis[2] == ESTIMATED
    assert found.own_sd[2] > 3 * np.delete(found.own_sd, 2).max()


def test_sums_of_a_product_are_asked_where_enough_retailers_have_it():
    rows, _ = planted()
    parts = divided(rows, 4)
    rare = [part.chosen(part.product[part.series] != 1) for part in parts[:2]]

    class Noting(Local):
        asked = None

        def total(self, query, broadcast=None):
            if isinstance(query, PriceMoments):
                self.asked = broadcast["asked"]
            return super().total(query, broadcast)

    totals = Noting({"test": PricePanel((*rare, *parts[2:]))})
    found = Elasticity(retailers=3).fit(totals, PRODUCTS, "test")
    assert found.basis[1] == FEW_RETAILERS
    assert 1 not in totals.asked
    assert 1 in Elasticity(retailers=2).fit(totals, PRODUCTS, "test").estimated.nonzero()[0]


class Asked(Local):
    """Notes which products are asked about in each round."""

    def __init__(self, rows):
        super().__init__(rows)
        self.rounds = []

    def total(self, query, broadcast=None):
        if isinstance(query, PriceMoments):
            self.rounds.append(broadcast["asked"].tolist())
        return super().total(query, broadcast)


def of_products(rows, count):
    """Returns the series of the first products."""
    return rows.chosen((rows.product < count)[rows.series])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_product_is_asked_about_until_it_has_converged_whoever_else_is_asked(family):
    rows, _ = planted(noise=0.4)
    # One product sells in jumps: its Newton steps are more than those of the others.
    jumps = (rows.product == 0)[rows.series] & (rows.week % 7 == 0)
    rows = replace(rows, y=np.where(jumps, 300 * rows.y, rows.y))
    totals = Asked({"test": PricePanel((rows,))})
    whole = Elasticity(family)._estimate(totals, np.arange(PRODUCTS), "test")
    assert whole.fit["converged"]
    assert all({*later} <= {*earlier} for earlier, later in pairwise(totals.rounds))
    few = Local({"test": PricePanel((of_products(rows, 2),))})
    part = Elasticity(family)._estimate(few, np.arange(2), "test")
    assert (part.b == whole.b[:2]).all()
    assert all((part.sums[name] == sums[:2]).all() for name, sums in whole.sums.items())


def lean(seed=1):
    """Returns three weeks of each product: less than five columns ask."""
    rows, _ = planted(seed, series=PRODUCTS, weeks=3, season=3)
    season = np.stack([np.sin(rows.week), np.cos(rows.week)], axis=1)
    return replace(rows, x=whole(np.concatenate([rows.x, season], axis=1)))


@pytest.mark.parametrize("family", FAMILIES)
def test_products_of_few_rows_have_a_number_and_a_width(family):
    for seed in range(4):
        found = Elasticity(family, columns=5).fit(held(lean(seed)), PRODUCTS, "test")
        assert np.isfinite(found.own).all()
        assert (found.own_sd > 0).all()


def test_products_of_few_rows_have_converged_where_only_rounding_is_left():
    totals = Asked({"test": PricePanel((lean(),))})
    found = Elasticity("log-log", columns=5)._estimate(totals, np.arange(PRODUCTS), "test")
    assert found.fit["converged"]
    assert len(totals.rounds) <= 3
    # What is not known stays where it was: no coefficient is made of rounding.
    assert np.abs(found.b).max() < 10


# --- what leaves says nothing of the level of prices ---


@pytest.mark.parametrize("family", FAMILIES)
def test_dearer_everywhere_is_the_same_summand(family):
    rows, _ = planted()
    b = np.array([-2.0, 0.3, 0.5]) + np.zeros((PRODUCTS, 3))
    given = {"asked": np.arange(PRODUCTS), "coefficients": b}
    query = PriceMoments(family, 3, "test")
    answers = []
    for added in (0.0, 0.7, -3.1):
        dearer = rows.x.copy()
        dearer[:, 0] += np.rint(added * LOG_STEPS) / LOG_STEPS
        rows_ = {"test": PricePanel((replace(rows, x=dearer),))}
        answers.append(arrays_digest(query.answer(rows_, None, given)))
    assert len(set(answers)) == 1


def test_dearer_everywhere_is_the_same_summand_under_epsilon():
    rows, _ = planted()
    given = {"coefficients": np.array([-2.0, 1.0]) + np.zeros((PRODUCTS, 2))}
    query = PricePairs(PRODUCTS, 3, "test", 26, 60, 0.4)
    totals = []
    for added in (0, 3):
        dearer = rows.x.copy()
        dearer[:, 0] += added
        totals.append(held(replace(rows, x=dearer)).total(query, given))
    assert totals[0]["gradient"] == pytest.approx(totals[1]["gradient"], abs=1e-3)
    assert totals[0]["curvature"] == pytest.approx(totals[1]["curvature"], abs=1e-3)


# --- under epsilon, without the noise ---


def test_pairs_that_are_not_cut_add_up_to_the_sums_about_the_mean():
    rows, _ = planted(season=60, noise=0.3)
    flat = rows.x.copy()
    flat[:, 1] = 0.0
    rows = replace(rows, x=flat)
    exact = Elasticity("log-log").fit(held(rows), PRODUCTS, "test")
    noisy = ElasticityInNoise(window=60, weeks=60, clips=(30.0,) * 9).fit(
        held(rows), PRODUCTS, "test"
    )
    assert noisy.raw == pytest.approx(exact.raw, abs=2e-3)


def test_what_is_cut_costs_little_of_an_estimate():
    rows, truth = planted(series=120, noise=0.3)
    noisy = ElasticityInNoise(weeks=60).fit(held(rows), PRODUCTS, "test")
    assert np.abs(noisy.own - truth).max() < 0.35
    assert (noisy.basis == ESTIMATED).all()


# --- shrinkage ---


def test_estimates_that_agree_within_their_errors_become_one():
    rng = np.random.default_rng(4)
    estimate = -2.0 + 0.5 * rng.normal(size=200)
    prior = prior_of(estimate, np.full(200, 0.25), np.zeros(200, int), 1, Believed(-2.6, 1.0, 0.5))
    assert prior.between < 0.25
    assert prior.mean[0] == pytest.approx(estimate.mean(), abs=0.02)


def test_the_scatter_between_products_is_found_beside_that_of_the_estimates():
    rng = np.random.default_rng(5)
    truth = -2.0 + 0.6 * rng.normal(size=400)
    sd = rng.uniform(0.1, 1.0, 400)
    group = np.repeat(np.arange(4), 100)
    found = prior_of(truth + sd * rng.normal(size=400), sd**2, group, 4, Believed(-2.6, 1.0, 1.0))
    assert found.between == pytest.approx(0.6, abs=0.1)
    assert found.overall == pytest.approx(-2.0, abs=0.15)
    assert found.variance[4] > found.variance[0]
