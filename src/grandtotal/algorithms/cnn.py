"""A network that forecasts from a window by causal convolutions that look back ever further.

van den Oord et al., "WaveNet", 2016, https://arxiv.org/abs/1609.03499
Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and recurrent networks for
sequence modeling", 2018, https://arxiv.org/abs/1803.01271
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import pad, relu

from grandtotal.algorithms.forecast_network import Forecasting


@dataclass(frozen=True)
class CNN(Forecasting):
    """Reads the window by layers whose steps double: 1, 2, 4 ... times apart.

    filters: of each layer. layers: the last one looks back 2 ** layers times.
    """

    name: ClassVar[str] = "cnn"

    filters: int = 24
    layers: int = 6

    def encoder(self) -> tuple[Any, int]:
        """Returns the layers; what was read is the last time's, and the mean over all."""
        return _Dilated(self.channels, self.filters, self.layers), 2 * self.filters


class _Dilated(nn.Module):
    def __init__(self, channels: int, filters: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, filters, 1)
        self.layers = nn.ModuleList(
            nn.Conv1d(filters, filters, 2, dilation=2**k) for k in range(layers)
        )

    def forward(self, window: Any) -> Any:
        """Returns the last time and the mean over times, (records, 2 filters)."""
        x = self.first(window.transpose(1, 2))
        for k, layer in enumerate(self.layers):
            x = x + relu(layer(pad(x, (2**k, 0))))
        return torch.cat([x[:, :, -1], x.mean(2)], 1)
