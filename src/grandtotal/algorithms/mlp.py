"""A network that forecasts from a window by plain layers.

Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from grandtotal.algorithms.forecast_network import Forecasting


@dataclass(frozen=True)
class MLP(Forecasting):
    """Reads the whole window at once."""

    name: ClassVar[str] = "mlp"

    def encoder(self) -> tuple[Any, int]:
        """Returns two layers."""
        size = self.history * self.channels
        layers = nn.Linear(size, self.width), nn.ReLU(), nn.Linear(self.width, self.width)
        return nn.Sequential(nn.Flatten(), *layers, nn.ReLU()), self.width
