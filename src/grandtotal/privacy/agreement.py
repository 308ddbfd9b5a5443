"""What a plan promises about privacy: the table [privacy], read and checked, the same for all."""

import json
import re
from dataclasses import dataclass

from grandtotal.errors import PlanError

ALL = "all"


@dataclass(frozen=True)
class Agreement:
    """The settings of [privacy].

    secure_sum: whether summands are masked, so that the coordinator sees totals alone.
    keep_masked: whether the coordinator keeps what it received, masked as it is, so that any
        retailer can recompute every total.
    epsilon, delta: differential privacy of one unit over the whole run, all tasks together; both
        or neither. Without them totals are exact.
    retailers_per_customer: how many members one customer may be known to: a number, or "all".
    colluders: how many retailers may pool what they know with the coordinator before the noise
        that is left is less than promised (c).
    dropouts: how many members may be missing from a total before it has too little noise (d).
    code: the digest of the code that every party runs, as `grandtotal --version` prints it; any
        code that is the same everywhere if left out.
    """

    secure_sum: bool = True
    keep_masked: bool = True
    epsilon: float | None = None
    delta: float | None = None
    retailers_per_customer: int | str = 1
    colluders: int = 1
    dropouts: int = 0
    code: str = ""

    def __post_init__(self) -> None:
        for name in ("secure_sum", "keep_masked"):
            if not isinstance(getattr(self, name), bool):
                raise PlanError(f"{name} = {getattr(self, name)!r}, expected true or false")
        if not isinstance(self.code, str) or not re.fullmatch(r"([0-9a-f]{64})?", self.code):
            raise PlanError(
                f"code = {self.code!r}, expected the 64 digits that `grandtotal --version` prints"
            )
        for name in ("colluders", "dropouts"):
            _refuse_no_count(name, getattr(self, name), 0)
        if self.retailers_per_customer != ALL:
            _refuse_no_count("retailers_per_customer", self.retailers_per_customer, 1)
        self._check_epsilon()

    @property
    def private(self) -> bool:
        """Whether the totals are noised: every query then needs a bound."""
        return self.epsilon is not None

    def known_to(self, members: int) -> int:
        """Returns how many of so many members one customer may be known to, S_max."""
        most = self.retailers_per_customer
        return members if isinstance(most, str) else min(most, members)

    def _check_epsilon(self) -> None:
        if (self.epsilon is None) != (self.delta is None):
            raise PlanError("epsilon and delta go together: one of them is missing")
        if self.epsilon is None or self.delta is None:
            return
        if not _is_number(self.epsilon) or not 0 < self.epsilon < float("inf"):
            raise PlanError(f"epsilon = {self.epsilon!r}, expected a number above 0")
        if not _is_number(self.delta) or not 0 < self.delta < 1:
            raise PlanError(
                f"delta = {self.delta!r}, expected a number above 0 and below one over the number "
                f"of customers"
            )
        if not self.secure_sum:
            raise PlanError(
                "epsilon without secure_sum: each retailer adds only its share of the noise, so "
                "that a summand that is not masked has too little; set secure_sum = true"
            )


def promised(plan: bytes) -> Agreement:
    """Returns what the text of a plan promises; PlanError where it cannot be read."""
    try:
        return Agreement(**json.loads(plan).get("privacy", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise PlanError(f"the plan: its [privacy] cannot be read ({error})") from error


def _refuse_no_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PlanError(f"{name} = {value!r}, expected a whole number from {least} on")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


NO_PROMISE = Agreement(secure_sum=False)
