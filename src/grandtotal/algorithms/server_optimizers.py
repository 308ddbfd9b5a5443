"""What the coordinator does with the mean update of a round: pure functions of totals.

FedAvg takes the mean update as it is, FedAdam and FedYogi as the gradient of an optimizer of their
own. FedProx is FedAvg with a term in the retailers' loss, `LocalTraining.proximal`; with 0 it is
FedAvg. SCAFFOLD is FedAvg with a correction of the retailers' gradients, `LocalTraining.scaffold`.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", 2017,
https://arxiv.org/abs/1602.05629
Reddi et al., "Adaptive federated optimization", 2021, https://arxiv.org/abs/2003.00295
Li et al., "Federated optimization in heterogeneous networks", 2020,
https://arxiv.org/abs/1812.06127
Karimireddy et al., "SCAFFOLD", 2020, https://arxiv.org/abs/1910.06378
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Arrays

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What an optimizer remembers from round to round, by parameter; nothing before the first."""

    first: Mapping[str, Floats] = field(default_factory=dict)
    second: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """Which of SERVERS, and its numbers.

    rate: of the step; 1 with "fedavg" is the mean of the retailers' weights. beta1, beta2: how much
    of the first and second moment stays. tau: below which size of an update steps get smaller.
    """

    name: str = "fedavg"
    rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        if self.name not in SERVERS:
            raise PlanError(f"server = {self.name!r}, expected {', '.join(SERVERS)}")

    def step(self, weights: Arrays, update: Arrays, moments: Moments) -> tuple[Arrays, Moments]:
        """Returns the next weights, float32, and what is remembered.

        weights, update: by parameter; the update is the mean over the retailers.
        """
        moved, firsts, seconds = {}, {}, {}
        for name, delta in update.items():
            first = moments.first.get(name, np.zeros_like(delta, np.float64))
            second = moments.second.get(name, np.full_like(delta, self.tau**2, np.float64))
            change, firsts[name], seconds[name] = SERVERS[self.name](self, delta, first, second)
            moved[name] = (weights[name] + self.rate * change).astype(np.float32)
        return moved, Moments(firsts, seconds)


After = tuple[Floats, Floats, Floats]  # the change of the weights, and the next two moments
Step = Callable[[Server, Floats, Floats, Floats], After]


def fedavg(server: Server, delta: Floats, first: Floats, second: Floats) -> After:  # noqa: ARG001
    """Returns the update itself: the next weights are the mean of the retailers' weights."""
    return delta, first, second


def fedadam(server: Server, delta: Floats, first: Floats, second: Floats) -> After:
    """Returns the change by Adam, without the correction of its bias, as published."""
    second = server.beta2 * second + (1 - server.beta2) * delta**2
    return _adaptive(server, delta, first, second)


def fedyogi(server: Server, delta: Floats, first: Floats, second: Floats) -> After:
    """Returns the change by Yogi, whose second moment grows and shrinks at the same pace."""
    square = delta**2
    second = second - (1 - server.beta2) * square * np.sign(second - square)
    return _adaptive(server, delta, first, second)


def _adaptive(server: Server, delta: Floats, first: Floats, second: Floats) -> After:
    first = server.beta1 * first + (1 - server.beta1) * delta
    return first / (np.sqrt(second) + server.tau), first, second


SERVERS: Mapping[str, Step] = {
    "fedavg": fedavg,
    "fedadam": fedadam,
    "fedyogi": fedyogi,
}


def mean_update(summed: Floats, share: Floats | float) -> Floats:
    """Returns the mean update where the weights of those who sent one add up to `share`.

    share: 1 for all retailers together; of the rows of a table (rows,) those who changed the row.
    A row that nobody changed stays as it is.
    """
    weights = np.asarray(share, np.float64)
    spread = weights.reshape(weights.shape + (1,) * (summed.ndim - weights.ndim))
    return np.divide(summed, spread, out=np.zeros_like(summed, np.float64), where=spread > 0)
