"""Gaps between groups of units: is the model as right, and as often there, for all of them?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.outcome_model import OutcomeModel
from grandtotal.tasks.outcome_queries import highest
from grandtotal.tasks.outcomes import Cases, Split

_Z = 1.96


def calibration(sums: Arrays) -> list[Json]:
    """Returns for each bin that has units: mean probability, share of ones, and units."""
    return [
        {
            "probability": round(float(sums["expected"][i] / units), 6),
            "share": round(float(sums["ones"][i] / units), 6),
            "units": int(units),
        }
        for i, units in enumerate(sums["units"])
        if units > 0
    ]


def shared_gaps(groups: Sequence[str], sums: Arrays, least: int) -> list[Json]:
    """Returns what is told of each agreed group; a group of fewer than `least` is only named.

    found: of all ones of the group, the share that is in the highest tenth of its retailer.
    """
    told = []
    for i, group in enumerate(groups):
        units = float(sums["units"][i])
        if units < least:
            told.append({"group": group, "suppressed": True})
            continue
        ones = float(sums["ones"][i])
        entry: Json = {
            "group": group,
            "units": round(units),
            "probability": round(float(sums["expected"][i]) / units, 6),
            "share": round(ones / units, 6),
        }
        if "chosen ones" in sums and ones > 0:
            entry["found"] = round(float(sums["chosen ones"][i]) / ones, 6)
        told.append(entry)
    return told


def found_gaps(split: Split, p: NDArray[np.float64], least: int) -> dict[str, list[Json]]:
    """Returns by attribute what is told of each group of a retailer's own scored units."""
    y, high = split.scored.y, highest(p)
    told = {}
    for attribute, values in split.facts.items():
        named, place = np.unique(values.astype(str), return_inverse=True)
        if len(named) == 1 and not named[0]:
            continue  # nothing is known of anybody

        def summed(
            value: NDArray[np.float64], place: NDArray[np.intp] = place
        ) -> NDArray[np.float64]:
            return np.bincount(place, value).astype(np.float64)

        sums = {
            "units": summed(np.ones(len(y))),
            "ones": summed(y),
            "expected": summed(p),
            "chosen ones": summed(high * y),
        }
        names = [name or "not known" for name in named]
        told[attribute] = shared_gaps(names, sums, least)
    return told


def seen_band(
    scored: Cases, model: OutcomeModel, p: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns what was seen of units with such a probability: the 95 % interval of their share.

    Such units are those in the same tenth of the test. Wilson, "Probable inference, the law of
    succession, and statistical inference", 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    past = model.probabilities(scored)
    edges = np.quantile(past, np.arange(1, 10) / 10)
    place = np.searchsorted(edges, past)
    n = np.bincount(place, minlength=10).astype(np.float64)
    share = np.bincount(place, scored.y, minlength=10) / np.maximum(n, 1)
    square = _Z**2 / np.maximum(n, 1e-9)
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    now = np.searchsorted(edges, p)
    return np.clip(middle - half, 0, 1)[now], np.clip(middle + half, 0, 1)[now]
