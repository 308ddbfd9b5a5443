"""The audit finds every planted bug with the detector that must, and is silent on correct code.

The short form: one seed of each. `make audit` runs hundreds.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from grandtotal import api
from grandtotal.cli import main
from grandtotal.errors import RefusedError
from grandtotal.privacy import audit
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound, Release
from grandtotal.privacy.shadow import CELLS, Shadow, _direction

ROOT = Path(__file__).parents[2]
CANARIES = 20_000


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import audit, planted_bugs

    audit.planted = planted_bugs.planted
    return audit


def fired(findings):
    return {finding.detector for finding in findings if finding.fired}


def budget(members=5, **promised):
    agreement = Agreement(**{"epsilon": 2.0, "delta": 1e-5, **promised})
    return Budget.of(agreement, {"recommend": (Release("co-purchases", 1),)}, members)


@pytest.mark.parametrize("bug", ["noise / 1.5", "noise / 2", "noise / 4"])
def test_noise_that_is_too_small_is_seen(bench, bug):
    with bench.planted(bug) as planted:
        assert fired(bench.findings(1, CANARIES)) == set(planted.seen_by)


@pytest.mark.parametrize(
    "bug",
    [
        "one customer not clipped",
        "one customer not clipped, norms not checked",
        "no customer clipped, norms not checked",
        "rounded after the norm was checked",
    ],
)
def test_a_customer_beyond_the_bound_is_seen(bench, bug):
    assert not audit.clipping_of_customers().fired
    with bench.planted(bug):
        assert audit.clipping_of_customers().fired


def test_customers_that_are_not_clipped_are_seen_by_canaries_too(bench):
    with bench.planted("no customer clipped, norms not checked"):
        assert fired(bench.findings(1, CANARIES)) == {"sound bound", "estimate"}


def test_seeded_noise_is_seen_by_two_processes_alone(bench):
    with bench.planted("noise seeded"):
        assert audit.repetition(budget()).fired
        assert not fired(bench.findings(1, CANARIES))


@pytest.mark.parametrize(
    ("members", "promised"),
    [
        (3, {"colluders": 2}),
        (6, {"retailers_per_customer": "all", "colluders": 2}),
        (6, {"retailers_per_customer": 2, "dropouts": 2}),
        (5, {"epsilon": 0.5}),
        (5, {"epsilon": 15.0}),
    ],
)
def test_canaries_are_as_far_apart_as_the_plan_allows_and_no_further(bench, members, promised):
    shadow = Shadow(budget(members, **promised), entropy=bench.Seeded(3))
    included = shadow.included(CANARIES)
    fit = audit.gaussian_fit(shadow.scores(included)[0], included)
    assert abs(fit.apart - shadow.distance) < 5 * fit.error


def test_the_same_seed_is_the_same_audit(bench):
    def texts():
        return [finding.text for finding in bench.findings(4, 2000)]

    assert texts() == texts()


@pytest.mark.parametrize("norm", [1.0, 1.5, 20.0**0.5, 123.4, 2.0**16])
def test_a_canary_is_as_long_as_whole_numbers_allow(norm):
    direction = _direction(norm)
    assert len(direction) == CELLS
    assert np.floor(norm**2) - 3 <= (direction**2).sum() <= norm**2


def test_a_canary_of_another_unit_is_at_one_retailer():
    shadow = Shadow(
        budget(retailers_per_customer="all"), {("recommend", "co-purchases"): Bound(9.0, "product")}
    )
    (total,) = shadow.each_total(("recommend", "co-purchases"), np.ones(2, bool))
    np.testing.assert_array_equal(total.clear, [9, 0, 0, 0] * 2)


def test_a_plan_without_epsilon_has_nothing_to_audit(tmp_path):
    plan = api.init(tmp_path / "mine")
    with pytest.raises(RefusedError, match="totals are exact and there is nothing to audit"):
        api.audit(plan)
    done = CliRunner().invoke(main, ["audit", str(plan)])
    assert (done.exit_code, done.stdout) == (5, "")


@pytest.fixture
def private_plan(tmp_path):
    plan = api.init(tmp_path / "mine")
    with plan.open("a") as file:
        file.write("epsilon = 2\ndelta = 1e-5\n")
    return str(plan)


def test_correct_code_is_silent_and_the_command_says_what_that_shows_and_what_not(private_plan):
    done = CliRunner().invoke(main, ["audit", private_plan])
    assert done.exit_code == 0, done.output
    assert "Promised: epsilon = 2, delta = 1e-05" in done.stdout
    assert done.stdout.count("silent  ") == 5
    assert "one that skips its clipping" in " ".join(done.stdout.split())


def test_a_detector_that_fires_is_an_exit_status(bench, private_plan):
    with bench.planted("noise / 4"):
        done = CliRunner().invoke(main, ["audit", private_plan, "--json"])
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["holds"] is False
    assert {f["detector"] for f in said["findings"] if f["fired"]} == {
        "noise",
        "sound bound",
        "estimate",
    }


def test_a_process_that_fails_is_no_silent_audit(monkeypatch):
    monkeypatch.setattr(audit.shadow, "told", lambda _: "{}")
    with pytest.raises(RefusedError, match="second process failed"):
        audit.repetition(budget())
