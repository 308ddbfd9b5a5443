"""What is known of a visit from a table with one row for each: the columns of purchase intent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.tasks.outcomes import text_columns

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]

COUNTED = (
    "product_pages",
    "product_seconds",
    "account_pages",
    "account_seconds",
    "information_pages",
    "information_seconds",
    "page_value",
)
SHARES = ("bounce_rate", "exit_rate", "special_day")
TEXTS = ("visitor_type", "traffic_type", "device")
FEATURES = (*COUNTED, *SHARES, *TEXTS, "weekend", "month")
_OF_SHARES = 10.0  # what a share is multiplied by: they are small, and steps are 1/256


def session_names(left_out: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of the columns, without the features that are left out."""
    plain = [name for name in (*COUNTED, *SHARES, "weekend") if name not in left_out]
    months = [] if "month" in left_out else [f"month #{month}" for month in range(1, 13)]
    return (*plain, *months, *text_columns([name for name in TEXTS if name not in left_out]))


def session_columns(frame: pl.DataFrame, left_out: tuple[str, ...]) -> Mapping[str, Floats]:
    """Returns the columns of `session_names`, each (sessions,); nan where a cell is empty.

    A column that the table lacks is empty everywhere. Pages, seconds and values as log(1 + x).
    """
    found: dict[str, Floats] = {}
    for name in COUNTED:
        found[name] = log(1.0 + np.maximum(_numbers(frame, name), 0.0))
    for name in SHARES:
        found[name] = _numbers(frame, name) * _OF_SHARES
    found["weekend"] = _weekend(frame)
    month = frame["time"].dt.month().to_numpy()
    found |= {f"month #{i}": (month == i) * 1.0 for i in range(1, 13)}
    found |= text_columns(TEXTS, [texts(frame, name) for name in TEXTS])
    return {name: found[name] for name in session_names(left_out)}


def _numbers(frame: pl.DataFrame, name: str) -> Floats:
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    return frame[name].cast(float).to_numpy().astype(np.float64)


def _weekend(frame: pl.DataFrame) -> Floats:
    if "weekend" in frame.columns:
        return _numbers(frame, "weekend")
    return (frame["time"].dt.weekday().to_numpy() >= 6).astype(np.float64)


def texts(frame: pl.DataFrame, name: str) -> NDArray[Any]:
    """Returns a column of texts, "" where a cell is empty or the table lacks it."""
    if name not in frame.columns:
        return np.full(frame.height, "", dtype=object)
    return frame[name].cast(str).fill_null("").to_numpy().astype(object)


def said(frame: pl.DataFrame, name: str) -> list[str]:
    """Returns a feature of each session in words."""
    label = name.replace("_", " ")
    if name == "month":
        return [f"in {value}" for value in frame["time"].dt.strftime("%B")]
    if name == "weekend":
        return ["at the weekend" if day > 0 else "on a weekday" for day in _weekend(frame)]
    if name in TEXTS:
        return [f"{label} {value or 'not known'}" for value in texts(frame, name)]
    values = _numbers(frame, name)
    return [f"{label} {'not known' if np.isnan(v) else f'{v:.4g}'}" for v in values]
