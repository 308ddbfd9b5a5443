"""Judges each update of an iterative model by a summed loss, and rolls back what made it worse.

Totals hide who contributed what: rules that compare the retailers' updates with each other and
leave the odd ones out (Krum, median, trimmed mean) need what nobody sees here. What is left is to
judge the sum: an update with which the loss over all rows is higher, or no number, is not kept, and
the fit says so. This stops a retailer whose rows are broken. It does not stop one that lies: its
own part of the loss is in the sum as well.

Blanchard et al., "Machine learning with adversaries: Byzantine tolerant gradient descent", 2017,
https://arxiv.org/abs/1703.02757 is such a rule.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grandtotal.durable import Json


@dataclass
class Gate:
    """The last state that passed, and every update that did not.

    good: the parameters so far, to begin with those before any update. loss: the lowest seen.
    rolled_back: {"round", "loss", "best"} of each refused update; the loss is None where it was no
    finite number.
    """

    good: NDArray[np.float64]
    loss: float = math.inf
    rolled_back: list[Json] = field(default_factory=list)

    def passes(self, round_: int, state: NDArray[np.float64], loss: float, seen: float) -> bool:
        """Returns whether the state is kept: its loss is no more than `seen` above the lowest.

        seen: what rounding may add to a loss; updates whose losses are nearer are as good.
        """
        if math.isfinite(loss) and loss <= self.loss + seen and np.isfinite(state).all():
            self.good, self.loss = state, min(self.loss, loss)
            return True
        known = loss if math.isfinite(loss) else None
        best = self.loss if math.isfinite(self.loss) else None
        self.rolled_back.append({"round": round_, "loss": known, "best": best})
        return False
