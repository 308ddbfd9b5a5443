"""A network that reads purchases one after the other and remembers (GRU4Rec).

Hidasi et al., "Session-based recommendations with recurrent neural networks", 2016,
https://arxiv.org/abs/1511.06939; here with the cross entropy over the whole catalogue, and as many
numbers remembered as a product has.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from grandtotal.algorithms.sequence_network import NextProduct


@dataclass(frozen=True)
class GRU(NextProduct):
    """Reads one product after the other."""

    name: ClassVar[str] = "gru"

    def encoder(self) -> Any:
        """Returns one layer, of which each state is what was read up to there."""
        return _States(self.width)


class _States(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, read: Any, known: Any) -> Any:  # noqa: ARG002
        """Returns the state after each place, (records, places, width)."""
        return self.gru(read)[0]
