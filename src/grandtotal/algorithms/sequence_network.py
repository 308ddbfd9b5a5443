"""What networks of sequences share: products in order in, a score of every next product out.

An encoder reads the products one after the other. What it has read up to a place, times the numbers
of a product, and the product's own bias is the score that it comes next; the loss is the cross
entropy over the whole catalogue. The same table of products is read and scored.

Whole catalogues instead of few negatives: Petrov and Macdonald, "gSASRec", 2023,
https://arxiv.org/abs/2308.07192; Klenitskiy and Vasilev, "Turning dross into gold loss", 2023,
https://arxiv.org/abs/2309.07602
"""

import math
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
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.sequences import latest, windows
from grandtotal.consortium.query import Rows
from grandtotal.errors import PlanError

WHOLE = 50_000  # products up to which all are scored in training
NEGATIVES = 2_000  # drawn for each batch of a larger catalogue
_CELLS = 2**24  # scores that are held at once


@dataclass(frozen=True)
class NextProduct:
    """Settings that all networks of sequences have.

    products: of the catalogue. length: products of a history that are read. width: numbers of each
    product. dropout: share. negatives: products that each batch is compared with; 0 for all, and
    for NEGATIVES of a catalogue of more than WHOLE.
    """

    local: ClassVar[tuple[str, ...]] = ()
    rowwise: ClassVar[tuple[str, ...]] = ()

    products: int
    length: int = 50
    width: int = 64
    dropout: float = 0.2
    negatives: int = 0

    def __post_init__(self) -> None:
        if min(self.products, self.length, self.width) < 1:
            raise PlanError(f"{self}: expected products, length and width from 1 on")

    def encoder(self) -> Any:
        """Returns what reads (records, length, width), and says as much of each place."""
        raise NotImplementedError

    def build(self, sizes: Mapping[str, int]) -> Any:  # noqa: ARG002
        """Returns the module."""
        return _NextProduct(self, self.encoder())

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns the histories in windows; scored, each history with each product after it."""
        purchases: Purchases = rows[split]
        if not scored:
            return Examples({"bought": windows(purchases.history, self.length)})
        known = np.diff(purchases.history.indptr) > 0
        future = purchases.future[np.flatnonzero(known)]
        histories = latest(purchases.history[np.flatnonzero(known)], self.length)
        whose = np.repeat(np.arange(len(histories)), np.diff(future.indptr))
        records = {"whose": whose.astype(np.int64), "next": future.indices.astype(np.int64)}
        return Examples(records, {"bought": histories})

    def loss(self, module: Any, batch: Tensors, draw: Any) -> Any:
        """Returns the cross entropy of what came next, (records,).

        Of windows it is weighted so that its mean is that over all products that followed.
        """
        if "next" in batch:
            state = module(batch["bought"][batch["whose"]])[:, -1]
            parts = zip(*(x.split(self._at_once) for x in (state, batch["next"])), strict=True)
            return torch.cat([module.surprise(part, product) for part, product in parts])
        followed = batch["bought"][:, 1:]
        row, place = (followed < self.products).nonzero(as_tuple=True)
        state, product = module(batch["bought"][:, :-1])[row, place], followed[row, place].long()
        many = self.negatives or (NEGATIVES if self.products > WHOLE else 0)
        if many and module.training:
            drawn = torch.randint(self.products, (many,), generator=draw, device=state.device)
            each = module.surprise_among(state, product, drawn)
        else:
            each = module.surprise(state, product)
        sums = torch.zeros(len(followed), device=each.device).index_add(0, row, each)
        return sums * (len(followed) / max(len(row), 1))

    @property
    def _at_once(self) -> int:
        return max(1, _CELLS // self.products)

    def scores(self, module: Any, histories: NDArray[np.int32]) -> NDArray[np.float32]:
        """Returns (customers, products) scores of what comes after each history.

        In float64 and rounded once, so that who else is scored does not change a digit.
        """
        found = np.empty((len(histories), self.products), np.float32)
        module.eval()
        with torch.inference_mode():
            for at in range(0, len(histories), self._at_once):
                block = torch.from_numpy(histories[at : at + self._at_once])
                state = module(block.to(module.bias.device))[:, -1]
                found[at : at + len(block)] = module.scores(state).float().cpu().numpy()
        return found


class _NextProduct(nn.Module):
    def __init__(self, settings: NextProduct, encoder: Any) -> None:
        super().__init__()
        self.products = settings.products
        self.items = nn.Embedding(settings.products, settings.width)
        self.bias = nn.Parameter(torch.zeros(settings.products))
        self.encoder = encoder
        self.norm = nn.LayerNorm(settings.width)
        self.dropout = Dropout(settings.dropout)
        nn.init.normal_(self.items.weight, std=0.02)

    def forward(self, bought: Any) -> Any:
        """Returns what was read up to each place, (records, places, width); 0 before the first."""
        known = bought < self.products
        there = known[:, :, None].to(self.bias.dtype)
        read = self.items(bought.clamp(max=self.products - 1)) * math.sqrt(self.items.embedding_dim)
        return self.norm(self.encoder(self.dropout(read * there), known)) * there

    def scores(self, state: Any) -> Any:
        """Returns (states, products)."""
        return torch.addmm(self.bias, state, self.items.weight.T)

    def surprise(self, state: Any, product: Any) -> Any:
        """Returns minus the log of the probability of each product, (states,)."""
        return cross_entropy(self.scores(state), product, reduction="none")

    def surprise_among(self, state: Any, product: Any, drawn: Any) -> Any:
        """Returns the same, the sum over all products estimated by those that were drawn."""
        own = (state * self.items(product)).sum(1) + self.bias[product]
        others = state @ self.items(drawn).T + self.bias[drawn]
        others = others + math.log(max(self.products - 1, 1) / len(drawn))
        others = others.masked_fill(product[:, None] == drawn, -math.inf)
        return torch.logsumexp(torch.cat([own[:, None], others], 1), 1) - own
