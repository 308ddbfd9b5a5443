"""Neural collaborative filtering: a rating's class from numbers of its customer and its product.

A customer's numbers stay at the retailer and begin at zero, so that one who rated nothing is read
as nobody in particular; the products' are averaged over those retailers only that have ratings of
the product.

He et al., "Neural collaborative filtering", 2017, https://arxiv.org/abs/1708.05031
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from grandtotal.algorithms.networks import Examples, Tensors
from grandtotal.algorithms.neural_local import Dropout
from grandtotal.algorithms.ratings import Cut
from grandtotal.consortium.query import Rows


@dataclass(frozen=True)
class NCF:
    """products: of the catalogue. classes: of a rating. embedding: numbers of each customer and
    product that the layers read. width: of the first layer, the second is half of it. dropout:
    share after each. multiplied: further numbers of each; a customer's times a product's are read
    by the last layer alone, since layers are slow to find out how to multiply. spread: standard
    deviation of a product's as they are drawn. l2: penalty of the squared numbers that a record
    reads, so that whoever rated much is penalised as often.
    """

    name: ClassVar[str] = "ncf"
    local: ClassVar[tuple[str, ...]] = ("customers.",)
    rowwise: ClassVar[tuple[str, ...]] = ("products.weight",)

    products: int
    classes: int = 5
    embedding: int = 64
    width: int = 128
    dropout: float = 0.2
    multiplied: int = 0
    spread: float = 1.0
    l2: float = 0.0

    def build(self, sizes: Mapping[str, int]) -> Any:
        """Returns the two tables, and the layers that read a row of each."""
        half, customers = self.width // 2, sizes.get("customers", 1)
        layers = nn.Sequential(
            nn.Linear(2 * self.embedding, self.width),
            nn.ReLU(),
            Dropout(self.dropout),
            nn.Linear(self.width, half),
            nn.ReLU(),
            Dropout(self.dropout),
            nn.Linear(half, self.classes),
        )
        numbers = self.embedding + self.multiplied
        # Who rated nothing is read as nobody in particular: zeros.
        nobody = torch.zeros(customers, numbers)
        drawn = self.spread * torch.randn(self.products, numbers)
        parts = {
            "customers": nn.Embedding(customers, numbers, sparse=True, _weight=nobody),
            "products": nn.Embedding(self.products, numbers, _weight=drawn),
            "layers": layers,
        }
        if self.multiplied:
            parts["tastes"] = nn.Linear(self.multiplied, self.classes, bias=False)
        return nn.ModuleDict(parts)

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns the ratings before the cut, or after it."""
        cut: Cut = rows[split]
        found = cut.asked if scored else cut.known
        records = {
            "customer": found.customers.astype(np.int64),
            "product": found.products.astype(np.int64),
            "rating": found.stars.astype(np.int64) - 1,
        }
        return Examples(records, sizes={"customers": cut.people + 1})

    def scores(self, module: Any, batch: Tensors) -> Any:
        """Returns the score of each class, (records, classes)."""
        return self._scores(module, *self._read(module, batch))

    def loss(self, module: Any, batch: Tensors, draw: Any) -> Any:  # noqa: ARG002
        """Returns the cross entropy of each rating, in training with the penalty, (records,)."""
        read = self._read(module, batch)
        found = cross_entropy(self._scores(module, *read), batch["rating"], reduction="none")
        if not self.l2 or not module.training:
            return found
        return found + self.l2 * sum((numbers * numbers).sum(1) for numbers in read)

    def chances(self, module: Any, batch: Tensors) -> NDArray[np.float64]:
        """Returns the chance of each class, (records, classes)."""
        module.eval()
        with torch.inference_mode():
            odds = self.scores(module, batch).softmax(1)
        return np.asarray(odds.cpu().numpy(), np.float64)

    def _read(self, module: Any, batch: Tensors) -> tuple[Any, Any]:
        return module["customers"](batch["customer"]), module["products"](batch["product"])

    def _scores(self, module: Any, customer: Any, product: Any) -> Any:
        if not self.multiplied:
            return module["layers"](torch.cat([customer, product], 1))
        sizes = self.embedding, self.multiplied
        (customer, likes), (product, has) = (torch.split(n, sizes, 1) for n in (customer, product))
        return module["layers"](torch.cat([customer, product], 1)) + module["tastes"](likes * has)
