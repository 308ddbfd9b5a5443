"""Stars by a network, trained in rounds of totals.

What travels is the network's weights. A customer's own numbers are found at home from its ratings,
with the weights as they are, so that a new customer or a new rating needs no training of anybody
else. Not exact: what comes out depends on who holds which ratings.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grandtotal.algorithms.networks import (
    Examples,
    Network,
    about,
    network_of,
    settings_of,
    told,
)
from grandtotal.algorithms.neural_queries import WEIGHTS, training
from grandtotal.algorithms.ratings import EACH, Cut, Floats, Places, Ratings, clipped
from grandtotal.algorithms.trained import Trained
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, over, under

_AT_ONCE = 2**14  # pairs that are read at once
_NETWORK = "network"


@dataclass(frozen=True)
class NeuralRatings(Trained["NetworkModel"]):
    """A chance for each star, of a network that reads the customer and the product.

    embedding, spread: as the network says. home_epochs: over a retailer's ratings, to find its
    customers' numbers when the weights have come.
    """

    kind: str = "ncf"
    width: int = 128
    dropout: float = 0.2
    rounds: int = 30
    epochs: int = 1
    rate: float = 2e-3
    batch: int = 128
    embedding: int = 64
    spread: float = 0.1
    home_epochs: int = 10

    @property
    def shape(self) -> dict[str, Any]:
        """The settings that the network has beside the number of products."""
        return {**super().shape, "embedding": self.embedding, "spread": self.spread}

    def model(
        self,
        totals: Totals,  # noqa: ARG002
        network: Network,
        weights: Arrays,
        meta: Json,
    ) -> "NetworkModel":
        """Returns the model."""
        home = {**self.local, "epochs": self.home_epochs}
        return NetworkModel(network.name, settings_of(network), home, weights, meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {name: value for name, value in super().meta.items() if name != "kind"}


@dataclass(frozen=True)
class NetworkModel:
    """network, settings: the installed network and its settings, JSON. weights: by parameter.

    home: how customers' numbers are found. No weight is of a customer.
    """

    network: str
    settings: str
    home: Json
    weights: Arrays
    meta: Json = field(default_factory=dict)
    _found: list[tuple[Ratings, "NetworkTastes"]] = field(default_factory=list, repr=False)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; which network it is, as text."""
        saved = about(self.network, self.settings, home=self.home)
        return {_NETWORK: saved, **over(WEIGHTS, self.weights)}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "NetworkModel":
        """Returns the model that `arrays` and `meta` describe."""
        network, settings, home = told(arrays[_NETWORK], "home")
        return NetworkModel(network, settings, home, under(WEIGHTS, arrays), meta)

    def tastes(self, known: Ratings, people: int) -> "NetworkTastes":  # noqa: ARG002
        """Returns the network with the customers' own numbers; they are found once."""
        for ratings, tastes in self._found:
            if ratings is known:
                return tastes
        network = network_of(self.network, self.settings)
        at_home = _at_home(self.home)
        rows = {"known": Cut(known, Ratings.of([], [], [], []))}
        module = at_home.fitted(network, self.weights, rows, "known")
        self._found.append((known, NetworkTastes(network, module, known.people)))
        return self._found[-1][1]


def _at_home(local: Json) -> Any:
    training()  # says what to install where torch is missing
    from grandtotal.algorithms.neural_at_home import AtHome

    return AtHome(local)


@dataclass(frozen=True)
class NetworkTastes:
    """people: how many customers have numbers of their own; the row after them is who has none."""

    network: Any
    module: Any
    people: int

    def expected(self, customers: Places, products: Places) -> Floats:
        """Returns the mean of the chances of each pair."""
        return clipped(self.chances(customers, products) @ EACH)

    def chances(self, customers: Places, products: Places) -> Floats:
        """Returns (pairs, 5) the chance of each star."""
        records = {
            "customer": np.minimum(customers, self.people).astype(np.int64),
            "product": products.astype(np.int64),
        }
        batches = training().Loaded.of(Examples(records)).ordered(_AT_ONCE)
        found = [self.network.chances(self.module, batch) for batch in batches]
        return np.concatenate([np.empty((0, len(EACH))), *found])

    def table(self, customers: Places) -> Floats:
        """Returns (customers, products) the expected stars."""
        every = np.arange(self.network.products)
        rows = [self.expected(np.full(len(every), who), every) for who in customers.tolist()]
        return np.stack(rows) if rows else np.empty((0, len(every)))
