"""Have two samples the same distribution: PSI and Jensen-Shannon with thresholds of their own size.

Without a change PSI is about (1/n + 1/m) times chi-squared of B - 1 degrees of freedom, n and m the
sizes of the samples and B the number of bins. The rule that 0.1 is "some" and 0.25 "much" knows
neither: with ten bins and 100 cases on each side PSI passes 0.1 more often than not though nothing
changed, and with 10,000 it stays below 0.1 through changes that nobody could miss.

Cases are seldom independent: the same customers come again. By how much more the counts vary than
independent ones is seen between the weeks of the reference, and PSI is divided by it, so that it is
compared with Fisher's F.

PSI is the symmetric form of Kullback and Leibler, "On information and sufficiency", 1951; its
distribution: Yurdakul and Naranjo, "Statistical properties of the population stability index",
2020. Jensen-Shannon: Lin, "Divergence measures based on the Shannon entropy", 1991; for small
changes it is PSI / 8, and its threshold an eighth. False discoveries: Benjamini and Hochberg,
"Controlling the false discovery rate", 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
_FEW = 5  # cases expected in a bin: the usual rule of chi-squared tests
_HALF = 0.5  # a case in every bin, so that an empty one has a logarithm


def shares(counts: NDArray[np.number]) -> Floats:
    """Returns the share of each bin, (..., bins), after half a case was added to every bin."""
    filled = np.asarray(counts, np.float64) + _HALF
    found: Floats = filled / filled.sum(axis=-1, keepdims=True)
    return found


def psi(reference: NDArray[np.number], recent: NDArray[np.number]) -> float:
    """Returns sum (p - q) log(p / q) of the shares of two (bins,) counts; 0 where equal."""
    p, q = shares(recent), shares(reference)
    return float(((p - q) * np.log(p / q)).sum())


def jensen_shannon(reference: NDArray[np.number], recent: NDArray[np.number]) -> float:
    """Returns the Jensen-Shannon divergence of two (bins,) counts, from 0 to log 2."""
    p, q = shares(recent), shares(reference)
    middle = (p + q) / 2
    return float((p * np.log(p / middle)).sum() + (q * np.log(q / middle)).sum()) / 2


@dataclass(frozen=True)
class Compared:
    """Two samples compared.

    psi, jensen_shannon: how far apart. threshold: what PSI passes with the probability asked for
    though nothing changed. p: the probability of a PSI this large though nothing changed.
    clustered: how many times more the counts vary than independent ones.
    """

    psi: float
    jensen_shannon: float
    threshold: float
    p: float
    clustered: float


def compared(
    weeks: NDArray[np.number], recent: NDArray[np.number], alpha: float = 0.05
) -> Compared | None:
    """Returns how far the recent counts (bins,) are from those of the reference (weeks, bins).

    Bins in which fewer than _FEW independent cases are, on either side, count as one: of so few the
    law does not hold. None where fewer than two bins are left.
    """
    merged = _without_small(weeks, recent)
    if merged is None:
        return None
    weeks, recent = merged
    reference = weeks.sum(axis=0)
    n, m, bins = float(reference.sum()), float(recent.sum()), len(recent)
    clustered, seen = clustering(weeks)
    unit = (1 / n + 1 / m) * clustered * (bins - 1)
    found = psi(reference, recent)
    law = stats.f(bins - 1, seen) if seen else stats.chi2(bins - 1, scale=1 / (bins - 1))
    return Compared(
        found,
        jensen_shannon(reference, recent),
        float(unit * law.isf(alpha)),
        float(law.sf(found / unit)),
        clustered,
    )


def _without_small(
    weeks: NDArray[np.number], recent: NDArray[np.number]
) -> tuple[NDArray[np.number], NDArray[np.number]] | None:
    """Returns the counts with all small bins as one, which is left out if it is small itself."""
    reference = weeks.sum(axis=0)
    total = float(reference.sum() + recent.sum())
    if not reference.sum() or not recent.sum():
        return None
    least = _FEW * clustering(weeks)[0]
    # What either side would have of a bin if nothing changed.
    share = (reference + recent) / total
    large = share * min(float(reference.sum()), float(recent.sum())) >= least
    rest = ~large
    if share[rest].sum() * min(float(reference.sum()), float(recent.sum())) >= least:
        weeks = np.column_stack([weeks[:, large], weeks[:, rest].sum(axis=1)])
        recent = np.append(recent[large], recent[rest].sum())
    else:
        weeks, recent = weeks[:, large], recent[large]
    return (weeks, recent) if len(recent) >= 2 else None


def clustering(weeks: NDArray[np.number]) -> tuple[float, int]:
    """Returns how much more counts (weeks, bins) vary than independent ones, at least 1.

    It is Pearson's chi-squared of weeks against bins over its degrees of freedom, which are the
    second value: 0 where there are fewer than two weeks.
    """
    filled = weeks[weeks.sum(axis=1) > 0].astype(np.float64)
    if len(filled) < 2:
        return 1.0, 0
    expected = filled.sum(axis=1, keepdims=True) * filled.sum(axis=0) / filled.sum()
    known = expected > 0
    square = (filled - expected)[known] ** 2 / expected[known]
    freedom = (len(filled) - 1) * (filled.shape[1] - 1)
    return max(1.0, float(square.sum()) / freedom), freedom


def false_discovery(p: Floats) -> Floats:
    """Returns q (tests,): reporting all with q <= x, in the mean x of those reported are false.

    Of independent tests, and of those that rise and fall together.
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
