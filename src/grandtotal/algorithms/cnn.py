"""A network that forecasts from a window by causal convolutions that look back ever further.

Only the last time is read, and what it needs of a layer is every second time of the layer before:
pairs of times become one, layer by layer, at a fraction of the work of whole convolutions.

van den Oord et al., "WaveNet", 2016, https://arxiv.org/abs/1609.03499
Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and recurrent networks for
sequence modeling", 2018, https://arxiv.org/abs/1803.01271
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn
from torch.nn.functional import pad, relu

from grandtotal.algorithms.forecast_network import Forecasting


@dataclass(frozen=True)
class CNN(Forecasting):
    """Reads the window by layers whose dilation doubles: 1, 2, 4 ... times apart.

    filters: of each layer. layers: the last one looks back 2 ** layers times; what a window has
    before that is not read.
    """

    name: ClassVar[str] = "cnn"

    filters: int = 32
    layers: int = 6

    def encoder(self) -> tuple[Any, int]:
        """Returns the layers; what was read is the last time's."""
        return _Dilated(self.channels, self.filters, self.layers), self.filters


class _Dilated(nn.Module):
    def __init__(self, channels: int, filters: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, filters)
        self.layers = nn.ModuleList(nn.Linear(2 * filters, filters) for _ in range(layers))
        # Layers are added up: what a window of mostly gaps makes must not outgrow all others.
        self.norm = nn.LayerNorm(filters)

    def forward(self, window: Any) -> Any:
        """Returns the last time of the last layer, (records, filters)."""
        reach = 2 ** len(self.layers)
        x = self.first(window[:, -reach:])
        x = pad(x, (0, 0, reach - x.shape[1], 0))
        for layer in self.layers:
            pairs = x.reshape(len(x), -1, 2 * x.shape[2])
            x = x[:, 1::2] + relu(layer(pairs))
        return self.norm(x[:, 0])
