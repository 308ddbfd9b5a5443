"""What the detectors of `grandtotal audit` find: planted bugs always, correct code never.

Every seed is an audit of its own, with other noise and other canaries, of one plan: epsilon 2,
delta 1e-5, five members, one of them a colluder, three releases. Bars: no false
alarm, and every bug seen in every seed by the detectors that must; what others see is reported.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.planted_bugs import BUGS, planted
from benchmarks.rows import Row, at_least, at_most
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.audit import (
    CANARIES,
    Finding,
    clipping_of_customers,
    repetition,
    totals_of,
)
from grandtotal.privacy.bound import Bound, Release
from grandtotal.privacy.canaries import noise_spread
from grandtotal.privacy.noise import KEY_BYTES, NoiseStream
from grandtotal.privacy.shadow import Shadow

DETECTORS = ("clipping", "noise", "sound bound", "estimate", "repetition")
_ENTRIES = 8000  # of a total whose noise alone is tested


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001 - everything is made up
    """Returns how often each detector fires: false alarms, then every bug."""
    return [*_false_alarms(quick), *(row for name in BUGS for row in _caught(name, quick))]


def plan(*releases: Release) -> Budget:
    """Returns the budget of the plan that is audited."""
    agreement = Agreement(epsilon=2.0, delta=1e-5, colluders=1)
    return Budget.of(agreement, {"recommend": releases}, 5)


RELEASES = (Release("co-purchases", 1), Release("ranking-scores", 2, 0.25))


def findings(seed: int, canaries: int = CANARIES) -> Iterator[Finding]:
    """Yields what the three detectors say that look at a shadow run."""
    yield from totals_of(Shadow(plan(*RELEASES), entropy=Seeded(seed)), canaries)


class Seeded:
    """Bytes that are the same for the same seed: for measurements that can be repeated."""

    def __init__(self, seed: int) -> None:
        self.seed, self.taken = seed, 0

    def __call__(self, count: int) -> bytes:
        self.taken += 1
        return hashlib.shake_256(f"{self.seed} {self.taken}".encode()).digest(count)


def _false_alarms(quick: bool) -> Iterator[Row]:
    seeds = 5 if quick else 300
    fired = dict.fromkeys(DETECTORS, 0)
    for seed in range(seeds):
        for finding in findings(seed):
            fired[finding.detector] += finding.fired
    for name in ("sound bound", "estimate", "noise"):
        yield at_most(0, f"correct code: '{name}' fires", fired[name], f"of {seeds} seeds")
    yield _noise_alarms(100 if quick else 10_000)
    yield at_most(0, "correct code: 'clipping' fires", clipping_of_customers().fired, "of 1 run")
    yield at_most(
        0, "correct code: 'repetition' fires", repetition(plan(*RELEASES)).fired, "of 1 run"
    )


def _noise_alarms(totals: int) -> Row:
    budget, random = plan(*RELEASES), Seeded(-1)
    bound = Bound(100.0)
    share = budget.share("recommend", "co-purchases", bound, _ENTRIES)
    sigma = budget.moves(bound) / math.sqrt(2 * budget.asked("recommend", "co-purchases").rho)
    fired = 0
    for _ in range(totals):
        shares = [NoiseStream(share, random(KEY_BYTES)) for _ in range(budget.shares)]
        fired += noise_spread(sum(noise.draws(_ENTRIES) for noise in shares), sigma).narrow
    return at_most(0, "correct code: the test of noise fires", fired, f"of {totals:,} totals")


def _caught(name: str, quick: bool) -> Iterator[Row]:
    seeds = 2 if quick else 20
    with planted(name) as bug:
        for detector, share in _shares(seeds).items():
            words = f"{name}: '{detector}' fires"
            unit = "of 1 run" if detector in ("clipping", "repetition") else f"of {seeds} seeds"
            if detector in bug.seen_by:
                yield at_least(1.0, words, share, unit)
            else:
                yield Row(words, share, unit)


def _shares(seeds: int) -> dict[str, float]:
    fired: dict[str, list[bool]] = {name: [] for name in DETECTORS}
    for seed in range(seeds):
        for finding in findings(seed):
            fired[finding.detector].append(finding.fired)
    # These two do the same whatever the seed: the first has no chance in it, the second fresh keys.
    fired["clipping"].append(clipping_of_customers().fired)
    fired["repetition"].append(repetition(plan(*RELEASES)).fired)
    return {name: float(np.mean(times)) for name, times in fired.items()}
