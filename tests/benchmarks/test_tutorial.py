"""The tutorial's jobs: what is held out is not known, and counts say what they hold."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import tutorial_jobs

    return tutorial_jobs


def test_no_pair_of_customer_and_product_is_both_known_and_held_out(jobs: ModuleType) -> None:
    job = jobs.ratings(jobs.shared_tastes(2, seed=3))
    for part in job.parts:
        known, held = (set(zip(*columns[:2], strict=True)) for columns in (part.known, part.held))
        assert known
        assert held
        assert not known & held
        assert 0.15 < len(part.held[0]) / len(part.known[0]) < 0.35


def test_demand_is_cut_in_time_and_each_known_day_is_forecast_once_an_epoch(
    jobs: ModuleType,
) -> None:
    features = np.zeros((jobs.SERIES * jobs.DAYS, jobs.FEATURES), np.float32)
    units = np.tile(np.arange(jobs.DAYS, dtype=np.float32), jobs.SERIES)
    job = jobs.demand([(features, units)])
    (part,), cut = job.parts, jobs.DAYS - jobs.HORIZON
    assert part.known[1].max() == cut - 1
    assert part.held[1].min() == cut
    windows = job.holders["retailer-0"]["test"]
    first = windows.training[windows.training[:, 0] == 0][:, 1]
    ahead = (first[:, None] + np.arange(jobs.HORIZON)).ravel()
    assert ahead.tolist() == list(range(ahead[0], cut))


def test_counts_of_all_say_what_most_gave_a_product(jobs: ModuleType) -> None:
    customers, products = np.arange(40), np.repeat([0, 1], 20)
    stars = np.where(products == 0, 4, 1)
    job = jobs.ratings([(customers, products, stars)] * 2)
    for found, part in zip(jobs.by_counts(job), job.parts, strict=True):
        assert found.tolist() == part.held[2].tolist()
    assert job.scores(jobs.by_counts(job)).values() == {"accuracy": 1.0}


def test_without_the_script_it_is_said_where_to_name_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.rows import MissingDataError

    from benchmarks import tutorial

    with pytest.raises(MissingDataError, match=r"no script .*baseline/tutorial_174.py; name it by"):
        tutorial.run(tmp_path / "data", quick=True)
