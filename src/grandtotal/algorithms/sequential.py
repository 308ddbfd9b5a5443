"""Recommenders that read a history in order, trained in rounds of totals.

A model is the network's weights. A history is scored by reading it once, so that a customer who was
never seen in training, or a session, is served at once; without a history it is the popular first.
Not exact: unlike counts, it depends on who holds which rows.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from grandtotal.algorithms.item_model import Recommender, strongest, strongest_of_each
from grandtotal.algorithms.item_vectors import item_vectors
from grandtotal.algorithms.networks import Network, about, network_of, settings_of, told
from grandtotal.algorithms.neural_queries import WEIGHTS, training
from grandtotal.algorithms.sequences import latest
from grandtotal.algorithms.trained import TrainedRecommender
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, over, under


@dataclass(frozen=True)
class Sequential(TrainedRecommender):
    """Recommends what a network expects next.

    length: how many of the latest products it reads. spread: deviation of the products' first
    numbers, which are those of `item_vectors`; 0 draws them instead.
    """

    length: int = 50
    spread: float = 0.0

    @property
    def shape(self) -> dict[str, Any]:
        """The settings that the network has beside the number of products."""
        return {**super().shape, "length": self.length}

    def known(self, totals: Totals, products: int, split: str) -> Arrays:
        """Returns what counts say before any training, of products and of pairs of them."""
        found = super().known(totals, products, split)
        if not self.spread:
            return found
        vectors = item_vectors(totals, products, split, self.width, self.spread)
        return found if vectors is None else {**found, "items.weight": vectors}

    def model(
        self,
        totals: Totals,  # noqa: ARG002
        network: Network,
        weights: Arrays,
        meta: Json,
    ) -> "SequenceModel":
        """Returns the model."""
        return SequenceModel(network.name, settings_of(network), weights, meta)


@dataclass(frozen=True)
class SequenceModel(Recommender):
    """network, settings: the installed network and its settings, JSON. weights: by parameter."""

    network: str
    settings: str
    weights: Arrays
    meta: Json = field(default_factory=dict)

    @property
    def prior(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The score without any history, (products,)."""
        return self.weights["bias"]

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; which network it is, as text."""
        saved = about(self.network, self.settings)
        return {"network": saved, **over(WEIGHTS, self.weights)}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "SequenceModel":
        """Returns the model that `arrays` and `meta` describe."""
        network, settings = told(arrays["network"])
        return SequenceModel(network, settings, under(WEIGHTS, arrays), meta)

    @cached_property
    def _ready(self) -> tuple[Any, Any]:
        """The network and its module, whose parameters have the shapes that the settings say."""
        neural, network = training(), network_of(self.network, self.settings)
        module = neural.built(network, {}, 0)
        neural.Trainer(network, module, neural.LocalTraining()).put(self.weights)
        return network, module.double()

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        network, module = self._ready
        scores: NDArray[np.float32] = network.scores(module, latest(history, network.length))
        return scores

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products that speak most for this one when each is read alone."""
        return strongest(history, self._alone(history)[:, product], most)

    def reasons(self, history: NDArray[Any], products: Any) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        added = self._alone(history)
        return strongest_of_each(history, added[:, list(products)], 2)

    def _alone(self, history: NDArray[Any]) -> NDArray[np.float32]:
        """Returns (history, products) what each adds to the score of no history."""
        each = eye_array(len(self.prior), format="csr", dtype=np.int32)[np.asarray(history)]
        added: NDArray[np.float32] = self.affinities(csr_array(each)) - self.prior
        return added
