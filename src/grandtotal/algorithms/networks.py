"""What a network is: a frozen dataclass of settings with three short functions, found by name.

    build      the module, its parameters drawn anew
    examples   what it learns from, or is judged on, out of a retailer's rows
    loss       how wrong it is for each record of a batch

Nothing has to be derived from a class of ours. A network is registered under `grandtotal.networks`
and is named, with its settings, in a question; its code is installed at every retailer.
This file needs no torch; the files of networks do, and are imported when one is named.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from grandtotal.consortium.query import Rows, installed
from grandtotal.durable import Json, canonical
from grandtotal.errors import AnswerError, Code, PlanError
from grandtotal.privacy.fixedpoint import Arrays

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Examples:
    """Records to learn from.

    records: arrays whose first axis is the records; batches are cut from them.
    constants: arrays that every batch gets whole, such as the history that records point into.
    sizes: of local tables, for `build`: a retailer's own number of customers or stores.
    """

    records: Arrays
    constants: Arrays = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many records there are."""
        return min((len(array) for array in self.records.values()), default=0)


class Network(Protocol):
    """Settings and three functions.

    local: how the names of parameters begin that stay at the retailer, such as a table of its
        customers or a layer of its own. They are never in a summand.
    rowwise: names of tables whose rows are averaged over those retailers only that changed them.
    """

    name: ClassVar[str]
    local: ClassVar[tuple[str, ...]]
    rowwise: ClassVar[tuple[str, ...]]

    def build(self, sizes: Mapping[str, int]) -> Any:
        """Returns the torch module; the coordinator has no sizes and builds local tables of any."""
        ...

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns what was known before the split's cut or, scored, what came after it."""
        ...

    def loss(self, module: Any, batch: Tensors, draw: Any) -> Any:
        """Returns the loss of each record, (records,).

        draw: a torch.Generator. All that is random comes from it: the generator of the process is
        shared by all retailers in it.
        """
        ...


def settings_of(network: Network) -> str:
    """Returns the settings as they travel: JSON."""
    return canonical(asdict(network)).decode()  # type: ignore[call-overload]


def network_of(name: str, settings: str) -> Network:
    """Returns the installed network of that name; PlanError where there is none, or no torch."""
    known = installed("networks")
    if name not in known:
        raise PlanError(f"no network '{name}' is installed, expected {', '.join(known)}")
    try:
        maker = known[name]
    except ModuleNotFoundError as error:
        raise without_torch(name, error) from error
    values = {key: _frozen(value) for key, value in json.loads(settings).items()}
    try:
        network: Network = maker(**values)
    except TypeError as error:
        raise PlanError(f"network '{name}' with {settings}: {error}") from error
    return network


def about(name: str, settings: str, **more: Json) -> NDArray[np.uint8]:
    """Returns which network a model is of, and more, as the JSON text that is saved with it."""
    return np.frombuffer(canonical({"name": name, "settings": settings, **more}), np.uint8)


def told(text: NDArray[Any], *more: str) -> tuple[Any, ...]:
    """Returns the name, the settings and more of what `about` wrote; AnswerError without them."""
    try:
        said = json.loads(text.astype(np.uint8).tobytes())
        return str(said["name"]), str(said["settings"]), *(dict(said[each]) for each in more)
    except (ValueError, KeyError, TypeError) as error:
        expected = ", ".join(["name", "settings", *more])
        raise AnswerError(Code.MALFORMED, f"'network' must hold {expected}") from error


def without_torch(what: str, error: ModuleNotFoundError) -> PlanError:
    """Returns what to say where torch is missing; raises the error if something else is."""
    if (error.name or "").split(".")[0] != "torch":
        raise error
    return PlanError(f"'{what}' is a neural network: pip install 'grandtotal[neural]'")


def stays(network: Network, parameter: str) -> bool:
    """Returns whether a parameter stays at the retailer."""
    return parameter.startswith(network.local) if network.local else False


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
