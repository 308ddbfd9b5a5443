"""Measures the privacy claim of a plan on this very code: does it do what it says it does?

Five detectors look at shadow runs (`shadow`), in which made-up customers go through clipping and
the door as in any run of this plan. Each finds what others cannot:

    clipping      a customer that is not clipped, or whose norm is checked before it is rounded
    noise         noise that is narrower than promised, in any total
    sound bound   a lower bound on epsilon that holds whatever the mechanism is: finds gross errors
    estimate      epsilon as it is if the mechanism is Gaussian: finds what the bound is too low for
    repetition    noise that is the same again in another process: whoever knows it subtracts it

A detector that is silent has proven nothing: see NOT_SHOWN.
"""

import subprocess
import sys
from dataclasses import asdict, dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.durable import Json
from grandtotal.errors import AnswerError, RefusedError
from grandtotal.privacy import clipping, shadow
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.canaries import CONFIDENCE, gaussian_fit, lower_bound, noise_spread
from grandtotal.privacy.shadow import Shadow

CANARIES = 40_000
SHOWN = (
    "That this code, on this machine, with this plan's epsilon, delta, members, colluders, "
    "dropouts and retailers per customer, clips, rounds and adds noise as it says, so far as "
    "made-up customers can tell."
)
NOT_SHOWN = (
    "That another retailer runs this code: one that skips its clipping, or its noise beyond the "
    "colluders that the plan counts on, cannot be found here.",
    "That a query moves by no more than it states for every table there can be: the project's "
    "tests try to make each of them move further.",
    "That the sound bound is near the truth: it finds noise that is two to four times too small, "
    "not less. The estimate and the test of the noise are the sharp ones.",
)
_GROWN = 0.51  # an entry that becomes 1 when rounded: rows of them double their norm


@dataclass(frozen=True)
class Finding:
    """What one detector found. fired: the claim does not hold. text: in words, with the numbers."""

    detector: str
    fired: bool
    text: str


@dataclass(frozen=True)
class Audit:
    """What was promised, and what the detectors found."""

    epsilon: float
    delta: float
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether every detector is silent."""
        return not any(finding.fired for finding in self.findings)

    def json(self) -> Json:
        """Returns everything as JSON."""
        facts = {"holds": self.holds, "epsilon": self.epsilon, "delta": self.delta}
        said = {"shows": SHOWN, "does_not_show": list(NOT_SHOWN)}
        return {**facts, "findings": [asdict(finding) for finding in self.findings], **said}

    def text(self) -> str:
        """Returns everything for people, in lines of at most 88 characters."""
        verdict = (
            "no detector found that it does not hold"
            if self.holds
            else "IT DOES NOT HOLD on this code; do not run the plan"
        )
        return "\n".join(
            [
                f"Promised: epsilon = {self.epsilon:g}, delta = {self.delta:g}. {verdict}.\n",
                *(line for finding in self.findings for line in _lines(finding)),
                "\nWhat a silent audit shows:",
                *_item(SHOWN),
                "What it does not show:",
                *(line for text in NOT_SHOWN for line in _item(text)),
            ]
        )


def _lines(finding: Finding) -> list[str]:
    start = f"{'FIRED ' if finding.fired else 'silent'}  {finding.detector:<13}"
    return wrap(finding.text, 88, initial_indent=start, subsequent_indent=" " * len(start))


def _item(text: str) -> list[str]:
    return wrap(text, 88, initial_indent="- ", subsequent_indent="  ")


def audit(budget: Budget, canaries: int = CANARIES) -> Audit:
    """Returns what shadow runs of this budget show; takes seconds, and starts two processes."""
    run = Shadow(budget)
    findings = (clipping_of_customers(), *totals_of(run, canaries), repetition(budget))
    return Audit(budget.agreement.epsilon or 0.0, budget.agreement.delta or 0.0, findings)


def clipping_of_customers() -> Finding:
    """Finds a customer that moves a sum by more than the bound: removed, or become another.

    The customers are made to: too long, huge, not numbers, a thousand entries of which each rounds
    up. One after the other is emptied, and removed, so that none is overlooked.
    """
    worst = 0.0
    for norm in (1.0, 7.5, 100.0, float(clipping.STEPS)):
        rows = _hostile(norm)
        try:
            whole = _sums(rows, norm)
            for customer in range(len(rows)):
                emptied = np.where(np.arange(len(rows))[:, None] == customer, 0.0, rows)
                for without in (emptied, np.delete(rows, customer, axis=0)):
                    moved = (whole - _sums(without, norm)).astype(np.float64)
                    worst = max(worst, float(np.linalg.norm(moved, axis=1).max()) / norm)
        except AnswerError as error:
            return Finding("clipping", True, f"the sum was refused: {error}")
    held = worst <= 1 + 1e-9
    text = f"customers made to pass the bound moved a sum by {worst:.4f} of it, at most 1 is right"
    return Finding("clipping", not held, text)


def _sums(rows: NDArray[np.float64], norm: float) -> NDArray[np.int64]:
    """Returns the sum of clipped rows as dense and as sparse code makes it: (2, d)."""
    dense = clipping.checked_sum(clipping.clip(rows, norm), norm)
    sparse = clipping.checked_sum(clipping.clip_sparse(csr_array(rows), norm), norm)
    return np.stack([dense, sparse])


def _hostile(norm: float) -> NDArray[np.float64]:
    """Returns customers, (24, 1000) in steps, of which most would move a sum by more than norm."""
    width = 1000
    grown = np.zeros((8, width))
    for row in range(8):
        # Inside the norm until rounding takes every entry from 0.51 to 1.
        grown[row, : max(1, min(width, int((norm / _GROWN) ** 2)))] = _GROWN + 0.05 * row
    long = np.outer(10.0 ** np.arange(8), np.linspace(-1, 1, width)) * norm
    single = np.zeros((8, width))
    single[np.arange(8), np.arange(8)] = [norm, -norm, 2 * norm, 1e300, np.inf, np.nan, 0.5, 0.0]
    return np.concatenate([long, grown, single])


def totals_of(run: Shadow, canaries: int) -> tuple[Finding, Finding, Finding]:
    """Returns what the noise, the sound bound and the estimate say of one shadow run."""
    agreement = run.budget.agreement
    epsilon, delta = agreement.epsilon or 0.0, agreement.delta or 0.0
    included = run.included(canaries)
    try:
        scores, totals = run.scores(included)
    except AnswerError as error:
        refused = f"the shadow run was refused: {error}"
        return tuple(Finding(name, True, refused) for name in ("noise", "sound bound", "estimate"))  # type: ignore[return-value]
    return (
        _noise(totals),
        _sound(lower_bound(scores, included, delta), epsilon, canaries),
        _estimate(run, scores, included, epsilon, delta),
    )


def _noise(totals: list[shadow.Totals]) -> Finding:
    spreads = [noise_spread(total.noisy - total.clear, total.sigma) for total in totals]
    worst = min(spreads, key=lambda spread: spread.rare)
    text = (
        f"the standard deviation of the noise is {worst.ratio:.4f} of what is promised, in the "
        f"narrowest of {len(spreads)} totals of {totals[0].noisy.size:,} entries"
    )
    return Finding("noise", any(spread.narrow for spread in spreads), text)


def _sound(bound: float, epsilon: float, canaries: int) -> Finding:
    text = (
        f"epsilon is above {bound:.2f} with a confidence of {CONFIDENCE:.0%}, by guesses about "
        f"{canaries:,} canaries; {epsilon:g} is promised"
    )
    return Finding("sound bound", bound > epsilon, text)


def _estimate(
    run: Shadow,
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    epsilon: float,
    delta: float,
) -> Finding:
    fit = gaussian_fit(scores, included)
    text = (
        f"epsilon is about {fit.epsilon(delta):.2f}, {epsilon:g} is promised; in and out are "
        f"{fit.apart:.3f} standard deviations apart (error {fit.error:.3f}), promised are at most "
        f"{run.distance:.3f}"
    )
    return Finding("estimate", fit.above(run.distance), text)


def repetition(budget: Budget) -> Finding:
    """Finds noise that is the same in two new processes and here, for the same question."""
    command = [sys.executable, "-m", shadow.__name__]
    noises = [shadow.fingerprint(budget)]
    for _ in range(2):
        done = subprocess.run(
            command, input=shadow.told(budget), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RefusedError(f"the audit's second process failed: {done.stderr.strip()}")
        noises.append(done.stdout.strip())
    different = len(set(noises))
    text = f"the same total asked in {len(noises)} processes had {different} different noises"
    return Finding("repetition", different < len(noises), text)
