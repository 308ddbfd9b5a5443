"""Series cut into windows: what a network that forecasts learns from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Windows:
    """A retailer's series and the origins that are learned from and judged by.

    units: (series, time) sold; nan where nothing could be sold or nobody knows. known: (series,
    time, features) what is known of each time beforehand, about 1 in size. traits: (series, traits)
    of a series, such as its kind of store. training, scored: (records, 2) series and origin: the
    first time that is forecast. Of an origin a network reads units before it and known around it.
    """

    units: Floats
    known: Floats
    traits: Floats
    training: NDArray[np.integer]
    scored: NDArray[np.integer]

    @staticmethod
    def pooled(parts: "list[Windows]") -> "Windows":
        """Returns the series of several retailers as if one held them: for simulations."""
        starts = np.cumsum([0, *(len(part.units) for part in parts)])

        def moved(name: str) -> NDArray[np.integer]:
            shifts = (np.array([start, 0]) for start in starts)
            return np.concatenate(
                [getattr(part, name) + by for part, by in zip(parts, shifts, strict=False)]
            )

        return Windows(
            np.concatenate([part.units for part in parts]),
            np.concatenate([part.known for part in parts]),
            np.concatenate([part.traits for part in parts]),
            moved("training"),
            moved("scored"),
        )


def origins(series: int, times: NDArray[np.integer]) -> NDArray[np.int64]:
    """Returns the records of all series at these times, (series * times, 2)."""
    grid = np.meshgrid(np.arange(series), times, indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 2).astype(np.int64)
