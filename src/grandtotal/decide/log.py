"""What was decided and with which probability, so that it can be judged later."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from grandtotal.decide.prices import Decided
from grandtotal.durable import Json, Log, read_log


def log_prices(folder: Path, task: str, decided: Decided) -> None:
    """Adds one record to decisions/prices.jsonl of a retailer's own folder.

    By product: price, price of now, and the probability with which this price was drawn among those
    that the rules allowed: what an estimate by inverse propensities needs.
    """
    of = decided.of
    products = {
        of.product[i]: [_number(decided.price[i]), _number(of.price[i]), decided.propensity[i]]
        for i in range(len(of))
        if decided.verdict[i] in ("new price", "keep")
    }
    Log(folder / "decisions" / "prices.jsonl").append(
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": task,
            "rules": asdict(decided.rules),
            "columns": ["price", "price_now", "propensity"],
            "products": products,
        }
    )


def logged_prices(folder: Path) -> list[Json]:
    """Returns the decisions on prices of a retailer's folder, oldest first."""
    return read_log(folder / "decisions" / "prices.jsonl")


def _number(value: np.floating | float) -> float:
    return round(float(value), 6)
