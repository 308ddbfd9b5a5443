"""What the tasks of an outcome ask: how good a candidate is, and how it treats groups of units."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import log_loss, probability
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.outcome_model import model_of
from grandtotal.tasks.outcomes import Split

BINS = 20  # of a probability, equally wide
STEPS = 2**16  # of a loss and of a probability
_LIKE = ("units", "ones", "expected", "chosen", "chosen ones")
PARTS = _LIKE  # of a group: see GroupGaps


@dataclass(frozen=True)
class OutcomeScores:
    """The log loss of a candidate on the scored units of a split, and its calibration.

    The broadcast holds the candidate's arrays. By bin of the probability: how many units, how many
    ones, and the sum of their probabilities: whoever knows these knows how far it can be trusted.
    """

    name: ClassVar[str] = "outcome-scores"
    bound: ClassVar[Stated] = None  # under epsilon one candidate is left, and nothing is chosen

    model: str
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns loss and units, and by bin units, ones and expected ones, (BINS,) each."""
        return {
            "loss": Field((), scale=STEPS),
            "units": Field((BINS,)),
            "ones": Field((BINS,)),
            "expected": Field((BINS,), scale=STEPS),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each unit is rounded before it is added."""
        cases = rows[self.split].scored
        odds = model_of(self.model, broadcast).log_odds(cases)
        p = probability(odds)
        return {
            "loss": np.rint(log_loss(cases.y, odds) * STEPS).astype(np.int64).sum(),
            **_by(bin_of(p), BINS, cases.y, p),
        }


def bin_of(p: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the bin of each probability."""
    return np.minimum((p * BINS).astype(np.int64), BINS - 1)


def _by(
    place: NDArray[np.int64], places: int, y: NDArray[np.float64], p: NDArray[np.float64]
) -> Arrays:
    def summed(values: NDArray[np.float64]) -> NDArray[np.int64]:
        # Whole numbers, whose sums float64 holds exactly.
        return np.bincount(place, values, minlength=places).astype(np.int64)

    return {
        "units": np.bincount(place, minlength=places),
        "ones": summed(y),
        "expected": summed(np.rint(p * STEPS)),
    }


def calibration_error(sums: Arrays) -> float:
    """Returns the expected calibration error, sum |ones - expected ones| over bins / units."""
    apart = np.abs(sums["ones"] - sums["expected"])
    return float(apart.sum() / max(float(sums["units"].sum()), 1.0))


@dataclass(frozen=True)
class GroupGaps:
    """How a model treats the agreed groups of units, such as "tier = gold": five sums for each.

    Units of the group; ones; expected ones; and, among those that the model puts into the highest
    tenth of its retailer, units and ones. A retailer with fewer than `least` units of a group adds
    nothing to it, so that no total is about few.

    per_unit: in how many of the groups a unit may be: then a unit's sums are clipped, small groups
    are not left out, since whether they are would tell of one unit, and the highest tenth, which
    depends on everybody else, is not asked; 0 is not at all.
    """

    name: ClassVar[str] = "group-gaps"

    model: str
    split: str
    groups: tuple[str, ...]
    least: int
    per_unit: int = 0
    group: str = "customer"

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))

    @property
    def bound(self) -> Stated:
        """A unit adds at most 1 to three sums of each of its groups, none of them negative."""
        return bound_by_group(self._largest, self.group, signed=False)

    @property
    def _largest(self) -> float:
        return float(np.sqrt(3.0 * self.per_unit))

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the sums."""
        return PARTS[:3] if self.per_unit else PARTS

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns the sums, (groups,) each."""
        if self.per_unit:
            scale = scale_of(self._largest)
            return {name: Field((len(self.groups),), scale) for name in self.parts}
        return {
            name: Field((len(self.groups),), scale=STEPS if name == "expected" else 1)
            for name in self.parts
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums."""
        split: Split = (
            shared_rows(rows, self.split, 0, self.group) if self.per_unit else rows[self.split]
        )
        sums = sum(self._sums(part, broadcast) for part in split.parts)
        return dict(zip(self.parts, np.asarray(sums), strict=True))

    def _sums(self, split: Split, broadcast: Arrays) -> NDArray[np.int64]:
        """Returns the sums (parts, groups) of one retailer."""
        p = probability(model_of(self.model, broadcast).log_odds(split.scored))
        y, high = split.scored.y, highest(p) > 0
        inside = np.stack([members(split, group) for group in self.groups], axis=1)
        if self.per_unit:
            each = np.concatenate([inside * w[:, None] for w in (np.ones(len(y)), y, p)], axis=1)
            return sum_of_clipped(each, self._largest).reshape(3, -1)
        parts = (np.ones(len(y)), y, np.rint(p * STEPS), high, high * y)
        sums = np.stack([(inside * w[:, None]).sum(axis=0) for w in parts]).astype(np.int64)
        return np.where(sums[0] < self.least, 0, sums)


def members(split: Split, group: str) -> NDArray[np.bool_]:
    """Returns which scored units are in a group, written "attribute = value"."""
    attribute, _, value = (part.strip() for part in group.partition("="))
    facts: Any = split.facts.get(attribute)
    if facts is None:
        return np.zeros(len(split.scored), np.bool_)
    found: NDArray[np.bool_] = facts == value
    return found


def highest(p: NDArray[np.float64], share: float = 0.1) -> NDArray[np.float64]:
    """Returns how far each unit belongs to the highest tenth, in [0, 1]: equal ones share a place.

    It adds up to a tenth of the units, at least to one.
    """
    if not len(p):
        return np.empty(0)
    places = max(1, round(share * len(p)))
    edge = np.partition(p, len(p) - places)[len(p) - places]
    above = p > edge
    tied = p == edge
    return np.where(above, 1.0, np.where(tied, (places - above.sum()) / tied.sum(), 0.0))
