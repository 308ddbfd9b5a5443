"""Recommenders that read a history in order, trained in rounds of totals.

A model is the network's weights. A history is scored by reading it once, so that a customer who was
never seen in training, or a session, is served at once; without a history it is the popular first.
Not exact: unlike counts, it depends on who holds which rows.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import Recommender, strongest
from grandtotal.algorithms.networks import network_of, settings_of
from grandtotal.algorithms.neural import FederatedTraining
from grandtotal.algorithms.neural_queries import WEIGHTS, as_json, training
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.algorithms.sequences import latest
from grandtotal.consortium.totals import Remembering, Totals
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.fixedpoint import Arrays, over, under


@dataclass(frozen=True)
class Sequential:
    """Recommends what a network expects next.

    kind: the installed network. length, width, dropout: as it says. rounds, patience: of the
    training for the validation cut; that for the test cut has as many rounds as were best there.
    epochs, rate, batch: of the training at home.
    """

    kind: str
    length: int = 50
    width: int = 64
    dropout: float = 0.3
    rounds: int = 40
    patience: int = 3
    epochs: int = 2
    rate: float = 3e-3
    batch: int = 32

    def fit(self, totals: Totals, products: int, split: str) -> "SequenceModel":
        """Returns the model. A choice asks for the same one more than once: it is trained once."""
        if isinstance(totals, Remembering):
            return totals.once((self, products, split), lambda: self._fit(totals, products, split))
        return self._fit(totals, products, split)

    def _fit(self, totals: Totals, products: int, split: str) -> "SequenceModel":
        validating = split == "validation"
        rounds, patience = self.rounds, self.patience
        if not validating:
            before = self.fit(totals, products, "validation")
            rounds, patience = before.meta["best_round"], 0
        shape = {name: getattr(self, name) for name in ("length", "width", "dropout")}
        network = network_of(self.kind, as_json({"products": products, **shape}))
        local = {"epochs": self.epochs, "rate": self.rate, "batch": self.batch}
        plan = FederatedTraining(rounds, patience, local=local)
        counts = totals.total(PurchaseCounts(products, split))["counts"] + 1.0
        start = training().initial(network, plan.seed)
        start["bias"] = log(counts / counts.mean()).astype(np.float32)
        found = plan.fit(totals, network, split, start, watch=validating)
        meta = {**self.meta, "best_round": max(found.report["best"], 1)}
        return SequenceModel(self.kind, settings_of(network), found.arrays, meta)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": self.kind, **vars(self)}


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
        about = as_json({"name": self.network, "settings": self.settings}).encode()
        return {"network": np.frombuffer(about, np.uint8), **over(WEIGHTS, self.weights)}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "SequenceModel":
        """Returns the model that `arrays` and `meta` describe."""
        network, settings = _told(arrays["network"])
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
        return [strongest(history, added[:, product], 2) for product in products]

    def _alone(self, history: NDArray[Any]) -> NDArray[np.float32]:
        """Returns (history, products) what each adds to the score of no history."""
        each = eye_array(len(self.prior), format="csr", dtype=np.int32)[np.asarray(history)]
        added: NDArray[np.float32] = self.affinities(csr_array(each)) - self.prior
        return added


def _told(array: NDArray[Any]) -> tuple[str, str]:
    """Returns the name of a network and its settings; AnswerError where the text has neither."""
    try:
        about = json.loads(array.astype(np.uint8).tobytes())
        return str(about["name"]), str(about["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerError(Code.MALFORMED, "'network' must hold a name and settings") from error
