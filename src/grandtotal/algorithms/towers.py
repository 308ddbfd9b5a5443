"""The two-tower recommender: trained in rounds of totals, and fed with words and context.

The network is in `two_tower`. Its product vectors need the words of every retailer's listings: how
far they move each product is one more total, so that no table leaves. A new product has a vector of
its words at once, and a customer without a history one of what else is known.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from grandtotal.algorithms.content import STEPS, Content, ContentVectors
from grandtotal.algorithms.customer_context import Context
from grandtotal.algorithms.item_model import in_order
from grandtotal.algorithms.networks import Network, network_of, settings_of, told
from grandtotal.algorithms.neural_queries import WEIGHTS
from grandtotal.algorithms.sequential import SequenceModel
from grandtotal.algorithms.trained import TrainedRecommender
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays, under


@dataclass(frozen=True)
class Towers(TrainedRecommender):
    """Recommends by the nearness of a customer's numbers and a product's.

    forgotten: share of described products that a batch knows by their words alone.
    """

    kind: str = "two-tower"
    batch: int = 256
    forgotten: float = 0.1

    @property
    def shape(self) -> dict[str, Any]:
        """The settings that the network has beside the number of products."""
        return {**super().shape, "forgotten": self.forgotten}

    def model(self, totals: Totals, network: Network, weights: Arrays, meta: Json) -> "TowerModel":
        """Returns the model; one round asks what the words of each product say."""
        bridge = weights["bridge"].astype(np.float64)
        found = totals.total(ContentVectors(len(weights["bias"])), {"bridge": bridge})
        described = found["vectors"] / np.maximum(found["listings"], 1)[:, None]
        return TowerModel(
            network.name, settings_of(network), weights, meta, described.astype(np.float32)
        )


@dataclass(frozen=True)
class TowerModel(SequenceModel):
    """described: (products, width) float32, what the words of each product add to its numbers."""

    described: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; no customer's numbers are among them."""
        return {**super().arrays, "described": self.described}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "TowerModel":
        """Returns the model that `arrays` and `meta` describe."""
        network, settings = told(arrays["network"])
        return TowerModel(network, settings, under(WEIGHTS, arrays), meta, arrays["described"])

    @cached_property
    def prior(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The score without any history, (products,)."""
        nothing: NDArray[np.float32] = self.affinities(in_order((), len(self.described)))[0]
        return nothing

    @cached_property
    def _vectors(self) -> Any:
        """The products' numbers as a tensor."""
        _, module = self._ready
        described = module.items.new_tensor(self.described)
        return (module.items + described).detach()

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        return self.knowing(history, None)

    def knowing(self, history: csr_array, context: Context | None) -> NDArray[np.float32]:
        """Returns the affinities, with what is known of the customers and of the day."""
        network, module = self._ready
        customers = history.shape[0]
        known = np.zeros((customers, 1), np.int64)
        if context is not None:
            known = np.hstack([context.facts, context.when(np.zeros(customers))])
        scores: NDArray[np.float32] = network.scores(module, self._vectors, history, known)
        return scores

    def with_products(self, content: Content) -> "TowerModel":
        """Returns the model with these listings as products after the known ones.

        They have the numbers of their words, and sell as the median product does.
        """
        bridge = self.weights["bridge"].astype(np.float64)
        new = ((content.features.toarray() / STEPS) @ bridge).astype(np.float32)
        weights = {
            **self.weights,
            "items": np.concatenate([self.weights["items"], np.zeros_like(new)]),
            "bias": np.append(self.weights["bias"], np.full(len(new), self._usual, np.float32)),
        }
        network: Any = network_of(self.network, self.settings)
        wider = settings_of(replace(network, products=len(weights["bias"])))
        described = np.concatenate([self.described, new])
        return TowerModel(self.network, wider, weights, self.meta, described)

    @property
    def _usual(self) -> np.float32:
        return np.float32(np.median(self.weights["bias"]))
