"""Changes of level: seen soon, dated, and seldom where there are none."""

import numpy as np
import pytest

from grandtotal.algorithms.level_change import Daily, Noise, dated, noise_of, watch
from grandtotal.algorithms.level_detectors import DETECTORS, MOST, Day, PageHinkley
from grandtotal.algorithms.level_thresholds import simulate, thresholds_of

BEFORE, DAYS = 112, 252
WEEK = np.array([0.9, 0.8, 0.9, 1.0, 1.2, 1.5, 0.7])


def made(volume, series=60, seed=1, days=DAYS):
    mean = volume * WEEK[np.arange(days) % 7]
    happened = np.random.default_rng(seed).poisson(mean, (series, days)).astype(float)
    return Daily(happened, np.ones_like(happened), np.ones(series, bool))


def grown(daily, first=BEFORE, factor=1.2, last=None):
    happened = daily.happened.copy()
    happened[:, first:last] = np.rint(happened[:, first:last] * factor)
    return Daily(happened, daily.exposed, daily.counts)


def alarms_of(daily, name="cusum"):
    noise = noise_of(daily.until(BEFORE))
    thresholds = thresholds_of(noise, daily.counts, name, 0.2, 1.0)
    return watch(daily, noise, DETECTORS[name](0.2), thresholds)[0]


@pytest.mark.parametrize(("volume", "within"), [(60, 8), (300, 4)])
@pytest.mark.parametrize("factor", [1.2, 0.8])
def test_a_change_of_a_fifth_is_seen_within_days(volume, within, factor):
    found = alarms_of(grown(made(volume), factor=factor))
    first = [min((a.raised for a in of if a.raised >= BEFORE), default=DAYS) for of in found]
    assert np.median(first) - BEFORE + 1 <= within


@pytest.mark.parametrize("volume", [3, 60])
def test_without_a_change_there_are_no_more_alarms_than_stated(volume):
    found = alarms_of(made(volume, series=100, seed=2))
    years = (DAYS - 28) / 364
    # The standard error of 100 series is about 0.1 a year.
    assert np.mean([len(of) for of in found]) / years <= 1.2


@pytest.mark.parametrize("name", DETECTORS)
def test_a_doubled_level_is_seen_by_all(name):
    found = alarms_of(grown(made(20, series=10), factor=2.0), name)
    assert all(any(BEFORE <= a.raised < BEFORE + 42 for a in of) for of in found)


def test_the_interval_of_the_date_holds_the_day_nine_times_in_ten():
    daily = grown(made(60, series=100, seed=3))
    noise = noise_of(daily.until(BEFORE))
    inside = []
    for s, of in enumerate(alarms_of(daily)):
        seen = [alarm for alarm in of if alarm.raised >= BEFORE]
        if seen:
            when = dated(daily, noise, s, seen[0], 0, DAYS)
            assert when.low <= when.day <= when.high
            inside.append(when.low <= BEFORE <= when.high)
    assert len(inside) >= 90
    assert np.mean(inside) >= 0.84  # 0.9 less two standard errors


@pytest.mark.parametrize("times", [2, 50])
def test_a_day_that_was_recorded_twice_or_fifty_times_is_hardly_an_alarm(times):
    calm, wild = (
        np.mean([bool(of) for of in alarms_of(daily)])
        for daily in (made(60, 100), grown(made(60, 100), first=150, last=151, factor=times))
    )
    assert wild <= calm + 0.08


def test_no_single_day_reaches_a_threshold():
    noise = Noise(np.array([1.0, 1e6]), np.ones(2), np.zeros(2))
    assert (thresholds_of(noise, np.ones(2, bool), "cusum", 0.2, 1.0) >= 2 * MOST).all()


def test_days_without_data_are_no_change():
    daily = made(60)
    week = np.r_[150:157]
    exposed = daily.exposed.copy()
    exposed[:, week] = 0
    gone = daily.happened.copy()
    gone[:, week] = 0
    known = alarms_of(Daily(daily.happened, exposed, daily.counts))
    assert alarms_of(Daily(gone, exposed, daily.counts)) == known
    assert not any(a.raised in week for of in known for a in of)


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_constant_series_raises_nothing(level):
    happened = np.full((2, DAYS), level)
    daily = Daily(happened, np.ones_like(happened), np.array([True, False]))
    assert alarms_of(daily) == [[], []]


def test_what_comes_later_changes_no_alarm_before():
    daily = grown(made(60))
    noise = noise_of(daily.until(BEFORE))
    thresholds = thresholds_of(noise, daily.counts, "cusum", 0.2, 1.0)
    whole, early = (
        watch(part, noise, DETECTORS["cusum"](0.2), thresholds)[0]
        for part in (daily, daily.until(180))
    )
    assert [[a for a in of if a.raised < 180] for of in whole] == early


def test_a_threshold_is_the_same_whatever_else_is_asked_for(monkeypatch):
    from grandtotal.algorithms import level_thresholds

    noise = Noise(np.array([4.0, 32.0]), np.array([2.0, 1.0]), np.zeros(2))
    counts = np.ones(2, bool)
    monkeypatch.setattr(level_thresholds, "_KNOWN", {})
    both = thresholds_of(noise, counts, "cusum", 0.2, 1.0)
    monkeypatch.setattr(level_thresholds, "_KNOWN", {})
    second = Noise(*(v[1:] for v in (noise.volume, noise.dispersion, noise.memory)))
    assert thresholds_of(second, counts[1:], "cusum", 0.2, 1.0)[0] == both[1]


def test_dispersion_and_memory_are_those_of_the_paths():
    paths = simulate(50.0, 4.0, 0.4, True, (40, 500), seed=4)
    noise = noise_of(paths)
    assert np.median(noise.dispersion) == pytest.approx(4.0, rel=0.15)
    assert np.median(noise.memory) == pytest.approx(0.4, abs=0.1)
    assert np.median(noise_of(made(50, days=500)).dispersion) == pytest.approx(1.0, abs=0.1)


def test_page_hinkley_raises_its_alarm_on_the_day_of_river():
    drift = pytest.importorskip("river.drift")
    apart = np.tile([1.0, -1.0], 2000)  # its mean, which river learns, is that which ours is told
    apart[3000:] += 0.8
    theirs = drift.PageHinkley(min_instances=1, delta=0.25, threshold=9.0, alpha=1.0, mode="up")
    ours = PageHinkley()
    ours.begin(1)
    found = {}
    one, active = np.ones(1), np.ones(1, bool)
    for t, value in enumerate(apart):
        theirs.update(value)
        day = Day(100 + 10 * value * one, 100 * one, one, 0 * one, one)
        if theirs.drift_detected:
            found.setdefault("river", t)
        if ours.step(day, t, active)[0] > 9.0:
            found.setdefault("ours", t)
    assert found["ours"] == found["river"] > 3000
