"""A network that forecasts from a window by reading it time after time.

Hochreiter and Schmidhuber, "Long short-term memory", 1997, https://doi.org/10.1162/neco.1997.9.8.1735
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from grandtotal.algorithms.forecast_network import Forecasting


@dataclass(frozen=True)
class LSTM(Forecasting):
    """Reads one time after the other.

    memory: numbers that it remembers.
    """

    name: ClassVar[str] = "lstm"

    memory: int = 32

    def encoder(self) -> tuple[Any, int]:
        """Returns one layer of which the last state is what was read."""
        return _Last(nn.LSTM(self.channels, self.memory, batch_first=True)), self.memory


class _Last(nn.Module):
    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, window: Any) -> Any:
        """Returns the state after the last time, (records, memory)."""
        return self.lstm(window)[0][:, -1]
