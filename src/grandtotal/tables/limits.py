"""[privacy] of retailer.toml: what this retailer itself allows, whatever a plan asks.

[privacy]
door = "door"                     # the folder of its ledger, relative to this file
epsilon = 10.0                    # cap of all plans together, for each unit, at delta
delta = 1e-6
exact_totals = true               # false: plans without epsilon are refused
clear_summands = true             # false: plans without secure sums are refused
purposes = { recommend = 4.0 }    # a smaller cap for one kind of task
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


def _key(default: Any, doc: str) -> Any:
    kept = (
        {"default_factory": lambda: default} if isinstance(default, dict) else {"default": default}
    )
    return field(metadata={"doc": doc}, **kept)


@dataclass(frozen=True)
class Limits:
    """The values of the table; ValueError names the one that cannot be."""

    door: str = _key(
        "door",
        "folder of the ledger and of this retailer's keys, relative to this file; one for all runs",
    )
    epsilon: float = _key(
        10.0,
        "cap on what all plans together may spend, at `delta`, for each unit (customers, products "
        "...); never refunded",
    )
    delta: float = _key(1e-6, "at which the caps are meant; below one over your customers")
    exact_totals: bool = _key(
        True,
        "whether plans without epsilon are answered; no cap can count their totals, so write "
        "false where noise is wanted always",
    )
    purposes: Mapping[str, float] = _key(
        {}, "smaller caps for kinds of tasks, such as `{ recommend = 4.0 }`"
    )
    clear_summands: bool = _key(
        True,
        "whether plans with `secure_sum = false` are answered; their coordinator sees each summand "
        "of this retailer",
    )
    offered: bool = _key(
        False,
        "whether other members may show this retailer's products where a plan has "
        '`scope = "consortium"`; showing one says that somebody sells it',
    )

    def __post_init__(self) -> None:
        if not isinstance(self.door, str) or not self.door:
            raise ValueError(f"key 'door' is {self.door!r}; expected the name of a folder")
        for name in ("exact_totals", "clear_summands", "offered"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"key '{name}' is {getattr(self, name)!r}; expected true or false")
        if not isinstance(self.purposes, Mapping):
            raise ValueError(f"key 'purposes' is {self.purposes!r}; expected {{ recommend = 4.0 }}")
        caps = {"epsilon": self.epsilon, **{f"purposes.{k}": v for k, v in self.purposes.items()}}
        for name, value in caps.items():
            if not _is_between(value, 0, float("inf")):
                raise ValueError(f"key '{name}' is {value!r}; expected a number above 0")
        if not _is_between(self.delta, 0, 1):
            raise ValueError(f"key 'delta' is {self.delta!r}; expected a number between 0 and 1")


KEYS = tuple(key.name for key in fields(Limits))


def _is_between(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low < value < high
