"""Models that are networks: how one is trained for a cut, whatever it reads."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.networks import Network, network_of
from grandtotal.algorithms.neural import FederatedTraining
from grandtotal.algorithms.neural_queries import as_json, training
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.consortium.totals import Totals, once
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays


class _Model(Protocol):
    @property
    def meta(self) -> Json: ...


Model = TypeVar("Model", bound=_Model)


@dataclass(frozen=True)
class Trained(ABC, Generic[Model]):
    """How a network becomes a model.

    kind: the installed network. width, dropout: as it says. rounds, patience: of the training for
    the validation cut; that for the test cut has as many rounds as were best there. epochs, rate,
    batch: of the training at home between totals.
    """

    kind: str
    width: int = 64
    dropout: float = 0.3
    rounds: int = 40
    patience: int = 3
    epochs: int = 2
    rate: float = 3e-3
    batch: int = 32

    def fit(self, totals: Totals, products: int, split: str) -> Model:
        """Returns the model. A choice asks for the same one more than once: it is trained once."""
        return once(totals, (self, products, split), lambda: self._fit(totals, products, split))

    def _fit(self, totals: Totals, products: int, split: str) -> Model:
        validating = split == "validation"
        rounds, patience = self.rounds, self.patience
        if not validating:
            before = self.fit(totals, products, "validation")
            rounds, patience = before.meta["best_round"], 0
        network = network_of(self.kind, as_json({"products": products, **self.shape}))
        plan = FederatedTraining(rounds, patience, local=self.local)
        start = training().initial(network, plan.seed)
        start |= self.known(totals, products, split)
        found = plan.fit(totals, network, split, start, watch=validating)
        meta = {**self.meta, "best_round": max(found.report["best"], 1)}
        return self.model(totals, network, found.arrays, meta)

    @property
    def shape(self) -> dict[str, Any]:
        """The settings that the network has beside the number of products."""
        return {name: getattr(self, name) for name in ("width", "dropout")}

    @property
    def local(self) -> Json:
        """How it is trained at home between totals."""
        return {"epochs": self.epochs, "rate": self.rate, "batch": self.batch}

    def known(self, totals: Totals, products: int, split: str) -> Arrays:  # noqa: ARG002
        """Returns the parameters that are known before any training; others are drawn."""
        return {}

    @abstractmethod
    def model(self, totals: Totals, network: Network, weights: Arrays, meta: Json) -> Model:
        """Returns the model of a network with these weights."""

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": self.kind, **vars(self)}


@dataclass(frozen=True)
class TrainedRecommender(Trained[Recommender]):
    """Recommends what a network finds; its training begins with what is bought most."""

    def known(self, totals: Totals, products: int, split: str) -> Arrays:
        """Returns the parameters that totals of counts say before any training."""
        counts = totals.total(PurchaseCounts(products, split))["counts"] + 1.0
        return {"bias": log(counts / counts.mean()).astype(np.float32)}
