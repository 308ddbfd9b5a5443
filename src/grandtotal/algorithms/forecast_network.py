"""What the forecasting networks share: windows in, quantiles of each time ahead out.

A window is the logarithm of the units relative to its own mean, so that a shop of any size is like
any other. An encoder reads the window; a head reads what it made of it together with what is known
of the time ahead: covariates, the same time a season before, and the window's mean at the same
phase, such as the same weekday. All times ahead are forecast at once, each by the same head.

Salinas et al., "DeepAR", 2020, https://arxiv.org/abs/1704.04110, for the relative windows;
Wen et al., "A multi-horizon quantile recurrent forecaster", 2017, https://arxiv.org/abs/1711.11053
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import relu

from grandtotal.algorithms.networks import Examples, Tensors
from grandtotal.algorithms.neural_local import Dropout
from grandtotal.algorithms.windows import Floats, Windows
from grandtotal.consortium.query import Rows
from grandtotal.errors import PlanError

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)


@dataclass(frozen=True)
class Forecasting:
    """Settings that all forecasting networks have.

    history, horizon: times of a window, and ahead. features, traits: how many a series has. seen:
    how many of the first features are read with the history. period: times of a week or a year;
    history is a multiple. lags: times before the forecast one whose units are read, from the
    horizon on. sampled: how many of the times ahead a batch learns from, drawn for each; 0 for all.
    embedding: numbers that a retailer learns of each series and keeps; 0 for none.
    width: of the head. dropout: share.
    """

    local: ClassVar[tuple[str, ...]] = ("series.",)
    rowwise: ClassVar[tuple[str, ...]] = ()

    history: int
    horizon: int
    features: int
    traits: int = 0
    seen: int = 0
    period: int = 7
    lags: tuple[int, ...] = ()
    sampled: int = 0
    embedding: int = 4
    width: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.history % self.period:
            raise PlanError(f"history = {self.history}, expected a multiple of {self.period}")
        if min(self.lags, default=self.horizon) < self.horizon:
            raise PlanError(f"lags = {self.lags}, expected from {self.horizon} on: not known yet")

    @property
    def channels(self) -> int:
        """What is read of each time of a window: units, whether there are any, and features."""
        return 2 + self.seen

    def encoder(self) -> tuple[Any, int]:
        """Returns what reads a window (records, history, channels), and how much it makes."""
        raise NotImplementedError

    def build(self, sizes: Mapping[str, int]) -> Any:
        """Returns the module."""
        encoder, made = self.encoder()
        return _Forecaster(self, encoder, made, sizes.get("series", 1))

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns the origins, and the series that they point into."""
        held = rows[split]
        windows: Windows = held if isinstance(held, Windows) else held.windows
        chosen = windows.scored if scored else windows.training
        sold = ~np.isnan(windows.units)
        constants = {
            "level": np.log1p(np.where(sold, windows.units, 0)).astype(np.float32),
            "sold": sold.astype(np.float32),
            "known": windows.known.astype(np.float32),
            "traits": windows.traits.astype(np.float32),
        }
        records = {"series": chosen[:, 0].astype(np.int64), "origin": chosen[:, 1].astype(np.int64)}
        return Examples(records, constants, {"series": len(windows.units)})

    def loss(self, module: Any, batch: Tensors, draw: Any) -> Any:
        """Returns the mean pinball loss over quantiles and times of each record, (records,)."""
        steps = torch.arange(self.horizon, device=batch["origin"].device)
        if self.sampled and module.training:
            order = torch.randperm(self.horizon, generator=draw, device=steps.device)
            steps = order[: self.sampled].sort().values
        found, level = module(batch, steps)
        ahead = batch["origin"][:, None] + steps
        series = batch["series"][:, None]
        sold = batch["sold"][series, ahead]
        missed = (batch["level"][series, ahead] - level)[:, :, None] - found
        shares = torch.tensor(QUANTILES, device=missed.device)
        pinball = torch.maximum(shares * missed, (shares - 1) * missed).mean(2) * sold
        return pinball.sum(1) / sold.sum(1).clamp(min=1.0)

    def quantiles(self, module: Any, batch: Tensors) -> Floats:
        """Returns units sold at QUANTILES, (records, horizon, quantiles), in order."""
        module.eval()
        with torch.inference_mode():
            steps = torch.arange(self.horizon, device=batch["origin"].device)
            found, level = module(batch, steps)
        units = torch.expm1(found + level[:, :, None]).clamp(min=0.0)
        ordered: Floats = units.sort(dim=2).values.cpu().numpy()
        return ordered


class _Forecaster(nn.Module):
    def __init__(self, settings: Forecasting, encoder: Any, made: int, series: int) -> None:
        super().__init__()
        self.settings = settings
        width, traits = settings.width, settings.traits + settings.embedding
        self.encoder = encoder
        self.series = nn.Embedding(series, settings.embedding) if settings.embedding else None
        self.context = nn.Linear(made + traits, width)
        self.ahead = nn.Linear(settings.features + 2 * len(settings.lags) + 3, width, bias=False)
        self.head = nn.Linear(width, width)
        self.last = nn.Linear(width, len(QUANTILES))
        self.dropout = Dropout(settings.dropout)
        if self.series is not None:
            nn.init.zeros_(self.series.weight)
        nn.init.zeros_(self.last.weight)

    def forward(self, batch: Tensors, steps: Any) -> tuple[Any, Any]:
        """Returns the quantiles relative to the window's level, and the level (records, 1).

        steps: which times ahead, from 0; the quantiles are (records, steps, quantiles).
        """
        window, sold, level = self._window(batch)
        seen = batch["known"][batch["series"][:, None], self._before(batch)]
        read = [window[:, :, None], sold[:, :, None], seen[:, :, : self.settings.seen]]
        about = [self.encoder(torch.cat(read, 2)), batch["traits"][batch["series"]]]
        if self.series is not None:
            about.append(self.series(batch["series"]))
        context = self.context(torch.cat(about, 1))
        ahead, phase = self._ahead(batch, steps, (window, sold, level))
        x = relu(context[:, None, :] + self.ahead(ahead))
        x = x + relu(self.head(self.dropout(x)))
        # What is forecast is how far the units are from the same phase of the window.
        return self.last(x) + phase[:, :, None], level

    def _before(self, batch: Tensors) -> Any:
        return _times(batch["origin"], -self.settings.history, 0)

    def _window(self, batch: Tensors) -> tuple[Any, Any, Any]:
        series, before = batch["series"][:, None], self._before(batch)
        sold = batch["sold"][series, before]
        units = batch["level"][series, before]
        level = (units * sold).sum(1, keepdim=True) / sold.sum(1, keepdim=True).clamp(min=1.0)
        return (units - level) * sold, sold, level

    def _ahead(self, batch: Tensors, steps: Any, read: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        """Returns what is known of each time ahead (records, steps, all), and its phase's mean."""
        settings, (window, sold, level) = self.settings, read
        series, ahead = batch["series"][:, None], batch["origin"][:, None] + steps
        parts = [batch["known"][series, ahead]]
        for lag in settings.lags:
            # Before the first time nothing was sold.
            place = ahead - lag
            there = batch["sold"][series, place.clamp(min=0)] * (place >= 0)
            units = batch["level"][series, place.clamp(min=0)] - level
            parts += [(units * there)[:, :, None], there[:, :, None]]
        weeks = (len(window), -1, settings.period)
        count = sold.view(weeks).sum(1)
        mean = window.view(weeks).sum(1) / count.clamp(min=1.0)
        which = steps % settings.period
        far = (steps / settings.horizon).expand(len(window), -1)
        phase = mean[:, which]
        own = [phase, (count[:, which] > 0).float(), far]
        return torch.cat([*parts, *(each[:, :, None] for each in own)], 2), phase


def _times(origin: Any, first: int, end: int) -> Any:
    """Returns the times from origin + first until before origin + end, (records, times)."""
    return origin[:, None] + torch.arange(first, end, device=origin.device)
