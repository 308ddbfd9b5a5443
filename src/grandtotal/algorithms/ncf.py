"""Neural collaborative filtering: a rating's class from numbers of its customer and its product.

A customer's numbers stay at the retailer; the products' are averaged over those retailers only that
have ratings of the product.

He et al., "Neural collaborative filtering", 2017, https://arxiv.org/abs/1708.05031
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from grandtotal.algorithms.networks import Examples, Tensors
from grandtotal.algorithms.neural_local import Dropout
from grandtotal.algorithms.rating_records import RatingRecords
from grandtotal.consortium.query import Rows


@dataclass(frozen=True)
class NCF:
    """products: of the catalogue. classes: of a rating. embedding: numbers of each customer and
    product that the layers read. width: of the first layer, the second is half of it. dropout:
    share after each. multiplied: further numbers of each; a customer's times a product's are read
    by the last layer alone, since layers are slow to find out how to multiply. spread: standard
    deviation of what all these numbers begin with. l2: penalty of the squared numbers that a record
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
        half = self.width // 2
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
        parts = {
            "customers": nn.Embedding(sizes.get("customers", 1), numbers),
            "products": nn.Embedding(self.products, numbers),
            "layers": layers,
        }
        for table in ("customers", "products"):
            nn.init.normal_(parts[table].weight, std=self.spread)
        if self.multiplied:
            parts["tastes"] = nn.Linear(self.multiplied, self.classes, bias=False)
        return nn.ModuleDict(parts)

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns the ratings before the cut, or after it."""
        found: RatingRecords = rows[split]
        kept = found.later == scored
        records = {
            name: getattr(found, name)[kept].astype(np.int64)
            for name in ("customer", "product", "rating")
        }
        return Examples(records, sizes={"customers": found.customers})

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

    def _read(self, module: Any, batch: Tensors) -> tuple[Any, Any]:
        return module["customers"](batch["customer"]), module["products"](batch["product"])

    def _scores(self, module: Any, customer: Any, product: Any) -> Any:
        if not self.multiplied:
            return module["layers"](torch.cat([customer, product], 1))
        sizes = self.embedding, self.multiplied
        (customer, likes), (product, has) = (torch.split(n, sizes, 1) for n in (customer, product))
        return module["layers"](torch.cat([customer, product], 1)) + module["tastes"](likes * has)
