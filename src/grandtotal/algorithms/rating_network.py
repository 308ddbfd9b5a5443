"""Stars by a network, trained in rounds of totals.

What travels is the network's weights. A customer's own numbers are found at home from its ratings,
with the weights as they are, so that a new customer or a new rating needs no training of anybody
else. Not exact: what comes out depends on who holds which ratings.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grandtotal.algorithms.networks import Examples, Network, network_of, settings_of
from grandtotal.algorithms.neural import FederatedTraining
from grandtotal.algorithms.neural_queries import WEIGHTS, as_json, training
from grandtotal.algorithms.ratings import EACH, Cut, Floats, Places, Ratings, clipped
from grandtotal.consortium.totals import Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays, over, under

_AT_ONCE = 2**14  # pairs that are read at once
_NETWORK = "network"


@dataclass(frozen=True)
class NeuralRatings:
    """A chance for each star, of a network that reads the customer and the product.

    kind: the installed network. embedding, width, dropout, spread: as it says. rounds, patience: of
    the training for the validation cut; that for the test cut has as many as were best there.
    epochs, rate, batch: of the training at home between totals. home_epochs: over a retailer's
    ratings, to find its customers' numbers when the weights have come.
    """

    kind: str = "ncf"
    embedding: int = 64
    width: int = 128
    dropout: float = 0.2
    # Validation RMSE on MovieLens 100K, random fifth, one seed: 0.931; with a spread of 1, 0.943.
    spread: float = 0.1
    rounds: int = 30
    patience: int = 3
    epochs: int = 1
    rate: float = 2e-3
    batch: int = 128
    home_epochs: int = 10

    def fit(self, totals: Totals, products: int, split: str) -> "NetworkModel":
        """Returns the model. A choice asks for the same one more than once: it is trained once."""
        if isinstance(totals, Remembering):
            return totals.once((self, products, split), lambda: self._fit(totals, products, split))
        return self._fit(totals, products, split)

    def _fit(self, totals: Totals, products: int, split: str) -> "NetworkModel":
        validating = split == "validation"
        rounds, patience = self.rounds, self.patience
        if not validating:
            before = self.fit(totals, products, "validation")
            rounds, patience = before.meta["best_round"], 0
        shape = {name: getattr(self, name) for name in ("embedding", "width", "dropout", "spread")}
        network = network_of(self.kind, as_json({"products": products, **shape}))
        local = {"epochs": self.epochs, "rate": self.rate, "batch": self.batch}
        plan = FederatedTraining(rounds, patience, local=local)
        found = plan.fit(totals, network, split, watch=validating)
        meta = {**self.meta, "best_round": max(found.report["best"], 1)}
        about = {
            "name": self.kind,
            "settings": settings_of(network),
            "home": {**local, "epochs": self.home_epochs},
        }
        return NetworkModel(as_json(about), found.arrays, meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": self.kind, **{k: v for k, v in vars(self).items() if k != "kind"}}


@dataclass(frozen=True)
class NetworkModel:
    """about: JSON, the installed network, its settings, and how customers' numbers are found.

    weights: by parameter; none is of a customer.
    """

    about: str
    weights: Arrays
    meta: Json = field(default_factory=dict)
    _found: list[tuple[Ratings, "NetworkTastes"]] = field(default_factory=list, repr=False)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; which network it is, as text."""
        about = np.frombuffer(self.about.encode(), np.uint8)
        return {_NETWORK: about, **over(WEIGHTS, self.weights)}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "NetworkModel":
        """Returns the model that `arrays` and `meta` describe."""
        about = arrays[_NETWORK].astype(np.uint8).tobytes().decode(errors="replace")
        return NetworkModel(about, under(WEIGHTS, arrays), meta)

    def tastes(self, known: Ratings, people: int) -> "NetworkTastes":  # noqa: ARG002
        """Returns the network with the customers' own numbers; they are found once."""
        for ratings, tastes in self._found:
            if ratings is known:
                return tastes
        network, local = self._told()
        at_home = _at_home(local)
        rows = {"known": Cut(known, Ratings.of([], [], [], []))}
        module = at_home.fitted(network, self.weights, rows, "known")
        self._found.append((known, NetworkTastes(network, module, known.people)))
        return self._found[-1][1]

    def _told(self) -> tuple[Network, Json]:
        try:
            about = json.loads(self.about)
            name, settings, home = str(about["name"]), str(about["settings"]), dict(about["home"])
        except (ValueError, KeyError, TypeError) as error:
            message = f"'{_NETWORK}' must hold a name, settings and home"
            raise AnswerError(Code.MALFORMED, message) from error
        return network_of(name, settings), home


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
