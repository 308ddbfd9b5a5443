"""A network that looks back at each earlier purchase by how much it matters now (SASRec).

Kang and McAuley, "Self-attentive sequential recommendation", 2018,
https://arxiv.org/abs/1808.09781; here with the cross entropy over the whole catalogue, and norms
before the layers.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import relu, scaled_dot_product_attention

from grandtotal.algorithms.neural_local import Dropout
from grandtotal.algorithms.sequence_network import NextProduct
from grandtotal.errors import PlanError


@dataclass(frozen=True)
class SASRec(NextProduct):
    """Looks back at all earlier products at once. blocks: one after the other. heads: of each."""

    name: ClassVar[str] = "sasrec"

    blocks: int = 2
    heads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.width % self.heads:
            raise PlanError(f"width = {self.width}, expected a multiple of heads = {self.heads}")

    def encoder(self) -> Any:
        """Returns the blocks; a place counts from the latest purchase."""
        return _LookingBack(self)


class _LookingBack(nn.Module):
    def __init__(self, settings: SASRec) -> None:
        super().__init__()
        self.places = nn.Parameter(0.02 * torch.randn(settings.length, settings.width))
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.blocks))

    def forward(self, read: Any, known: Any) -> Any:
        """Returns what each place makes of those before it, (records, places, width)."""
        length = read.shape[1]
        x = read + self.places[-length:]
        before = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        # A place without a product sees itself: an average of nothing is not a number.
        itself = torch.eye(length, dtype=torch.bool, device=x.device)
        seen = ((before & known[:, None, :]) | itself)[:, None]
        for block in self.blocks:
            x = block(x, seen)
        return x


class _Block(nn.Module):
    def __init__(self, settings: SASRec) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width)
        self.told = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = Dropout(settings.dropout)

    def forward(self, x: Any, seen: Any) -> Any:
        """Returns x with what was looked up, and what follows from it."""
        parts = self.asked(self.first(x)).chunk(3, 2)
        shape = (len(x), x.shape[1], self.heads, -1)
        query, key, value = (part.view(shape).transpose(1, 2) for part in parts)
        found = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.dropout(self.told(found.transpose(1, 2).reshape(x.shape)))
        return x + self.dropout(self.narrow(relu(self.wide(self.second(x)))))
