"""Steps of a retailer's own optimizer: of a vector of parameters, or of the rows of a table.

The kernel is that of torch.optim.AdamW(fused=True), one pass over a vector. torch.optim itself is
not used: to make an optimizer it imports a compiler, which takes longer than a small training.

Kingma and Ba, "Adam", 2015, https://arxiv.org/abs/1412.6980
Loshchilov and Hutter, "Decoupled weight decay regularization", 2019,
https://arxiv.org/abs/1711.05101
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

_BETAS = (0.9, 0.999)
_TINY = 1e-8


class Optimizer(Protocol):
    """Changes its parameters by their gradients.

    state: what it remembers from step to step, by name; it may be cleared or put back.
    """

    state: dict[str, Any]

    def step(self) -> None:
        """Makes one step."""
        ...


@dataclass
class Descent:
    """Plain steps against the gradient, of a vector or of the rows that a batch touched."""

    parameter: Any
    rate: float
    decay: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)

    def step(self) -> None:
        """Moves by the gradient times the rate."""
        if self.decay:
            self.parameter.data.mul_(1 - self.rate * self.decay)
        self.parameter.data.add_(self.parameter.grad, alpha=-self.rate)


@dataclass
class Adam:
    """Adam with decoupled decay, of a vector."""

    parameter: Any
    rate: float
    decay: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)

    def step(self) -> None:
        """Moves by the first moment over the root of the second."""
        vector, state = self.parameter.data, self.state
        if not state:
            state["first"], state["second"] = torch.zeros_like(vector), torch.zeros_like(vector)
            state["step"] = torch.zeros((), device=vector.device)
        state["step"].add_(1)
        torch._fused_adamw_(
            [vector],
            [self.parameter.grad],
            [state["first"]],
            [state["second"]],
            [],
            [state["step"]],
            lr=self.rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self.decay,
            eps=_TINY,
            amsgrad=False,
            maximize=False,
        )


@dataclass
class RowAdam:
    """Adam of the rows of a table that a batch touched; all others are left alone.

    The correction for the first steps counts all steps, as torch.optim.SparseAdam does.
    """

    parameter: Any
    rate: float
    state: dict[str, Any] = field(default_factory=dict)

    def step(self) -> None:
        """Moves the rows that have a gradient."""
        table, state = self.parameter.data, self.state
        if not state:
            state["first"], state["second"] = torch.zeros_like(table), torch.zeros_like(table)
            state["step"] = torch.zeros(())
        state["step"].add_(1)
        gradient = self.parameter.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        first = state["first"][rows].lerp_(values, 1 - _BETAS[0])
        second = state["second"][rows].mul_(_BETAS[1]).addcmul_(values, values, value=1 - _BETAS[1])
        state["first"][rows], state["second"][rows] = first, second
        steps = float(state["step"])
        rate = self.rate * (1 - _BETAS[1] ** steps) ** 0.5 / (1 - _BETAS[0] ** steps)
        table.index_add_(0, rows, first / (second.sqrt() + _TINY), alpha=-rate)
