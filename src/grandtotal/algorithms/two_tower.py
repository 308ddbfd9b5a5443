"""Two towers: a customer's numbers from history and context, a product's from what it is.

    v = e + f W                          a product's: numbers of its own, and those of its words
    u = g(mean of v bought, context)     a customer's
    score = u v + b

f are the hashed words of a listing, as in `content`: title, brand, category, price class; context
is age band, region and tier, weekday and season, as in `customer_context`. Both stay at home, and
so do u. A purchase is predicted from the customer's others. Up to WHOLE products all are compared;
over it those of a draw that all records of a batch share, half of them as often as they sell, and
each score is corrected by minus the log of how often it is drawn (logQ).

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", 2019,
https://doi.org/10.1145/3298689.3346996
Half as they sell: Yang et al., "Mixed negative sampling for learning two-tower neural networks in
recommendations", 2020, https://doi.org/10.1145/3366424.3386195
A mean over the history: Covington, Adams, Sargin, "Deep neural networks for YouTube
recommendations", 2016, https://doi.org/10.1145/2959100.2959190
Products whose own numbers are left out in training, so that words alone can speak: Volkovs, Yu,
Poutanen, "DropoutNet: addressing cold start in recommender systems", NeurIPS 2017
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn
from torch.nn.functional import cross_entropy, embedding_bag, relu

from grandtotal.algorithms.content import STEPS, WIDTH, content_in
from grandtotal.algorithms.customer_context import PLACES, Places
from grandtotal.algorithms.networks import Examples, Tensors
from grandtotal.algorithms.neural_local import Dropout
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Rows
from grandtotal.errors import PlanError
from grandtotal.privacy.fixedpoint import Arrays

WHOLE = 50_000  # products up to which all are compared in training
NEGATIVES = 2_000  # drawn for each batch of a larger catalogue
_CELLS = 2**24  # scores that are held at once


@dataclass(frozen=True)
class TwoTower:
    """products: of the catalogue. width: numbers of each product and customer. dropout: share.

    forgotten: share of described products that a batch knows by their words alone. negatives:
    products that a batch is compared with; 0 for all, and for NEGATIVES of more than WHOLE.
    """

    name: ClassVar[str] = "two-tower"
    local: ClassVar[tuple[str, ...]] = ()
    rowwise: ClassVar[tuple[str, ...]] = ()

    products: int
    width: int = 64
    dropout: float = 0.2
    forgotten: float = 0.1
    negatives: int = 0

    def __post_init__(self) -> None:
        if min(self.products, self.width) < 1:
            raise PlanError(f"{self}: expected products and width from 1 on")

    def build(self, sizes: Mapping[str, int]) -> Any:  # noqa: ARG002
        """Returns the module of both towers."""
        return _Towers(self)

    # --- what it reads ---

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns purchases with the customer's others; scored, those after the cut with all."""
        held: Purchases = rows[split]
        known = np.diff(held.history.indptr) > 0
        wanted = held.future[known] if scored else held.history
        history = held.history[known] if scored else held.history
        whose = np.repeat(np.arange(history.shape[0]), np.diff(wanted.indptr))
        ago = np.zeros(wanted.nnz, np.int64) if scored else wanted.data
        facts, when = np.zeros((history.shape[0], 1), np.int64), np.zeros((len(ago), 1), np.int64)
        if held.context is not None:
            facts = held.context.facts[known] if scored else held.context.facts
            when = held.context.when(ago)
        records: Arrays = {
            "whose": whose.astype(np.int64),
            "next": wanted.indices.astype(np.int64),
            "own": np.full(len(ago), 0.0 if scored else 1.0, np.float32),
            "when": when,
        }
        return Examples(records, {**_bought(history), "facts": facts, **self._described(rows)})

    def _described(self, rows: Rows) -> Arrays:
        """Returns the words of this retailer's listings, product after product."""
        steps, listings = content_in(rows).by_product(self.products)
        each = np.repeat(np.maximum(listings, 1), np.diff(steps.indptr))
        return {
            "words": steps.indices.astype(np.int64),
            "weights": (steps.data / (STEPS * each)).astype(np.float32),
            "first_word": steps.indptr.astype(np.int64),
        }

    # --- what it learns ---

    def loss(self, module: Any, batch: Tensors, draw: Any) -> Any:
        """Returns minus the log of the probability of each purchase, (records,)."""
        described = module.described(batch)
        if module.training and self.forgotten:
            vectors = module.some_by_words(described, batch, self.forgotten, draw)
        else:
            vectors = module.items + described
        states = self._states(module, vectors, batch)
        many = self.negatives or (NEGATIVES if self.products > WHOLE else 0)
        if many and module.training:
            drawn, often = _drawn(batch["bought"], self.products, many, draw)
            return module.surprise_among(states, vectors, batch["next"], drawn, often)
        at_once = max(1, _CELLS // self.products)
        parts = zip(states.split(at_once), batch["next"].split(at_once), strict=True)
        return torch.cat([module.surprise(part, vectors, product) for part, product in parts])

    def _states(self, module: Any, vectors: Any, batch: Tensors) -> Any:
        """Returns the customers' numbers, each without the purchase that is to be predicted."""
        whose, record = torch.unique(batch["whose"], return_inverse=True)
        first, last = batch["first"][whose], batch["first"][whose + 1]
        sums = embedding_bag(
            _ranges(batch["bought"], first, last), vectors, _starts(last - first), mode="sum"
        )
        own = batch["own"].to(vectors.dtype)[:, None]
        others = sums[record] - own * vectors[batch["next"]]
        many = (last - first)[record][:, None] - own
        context = torch.cat([batch["facts"][batch["whose"]], batch["when"]], 1)
        return module.customers(others / many.clamp(min=1), context)

    def scores(
        self, module: Any, vectors: Any, history: csr_array, context: Places
    ) -> NDArray[np.float32]:
        """Returns (customers, products) scores of histories and (customers, facts) context.

        In float64 and rounded once, so that who else is scored does not change a digit.
        """
        found = np.empty(history.shape, np.float32)
        at_once = max(1, _CELLS // self.products)
        module.eval()
        with torch.inference_mode():
            for at in range(0, len(found), at_once):
                some = csr_array(history[at : at + at_once])
                own = {name: torch.from_numpy(a) for name, a in _bought(some).items()}
                bag = embedding_bag(own["bought"], vectors, own["first"][:-1], mode="mean")
                states = module.customers(bag, torch.from_numpy(context[at : at + at_once]))
                found[at : at + at_once] = module.scores(states, vectors).float().numpy()
        return found


class _Towers(nn.Module):
    def __init__(self, settings: TwoTower) -> None:
        super().__init__()
        width = settings.width
        self.items = nn.Parameter(0.02 * torch.randn(settings.products, width))
        self.bridge = nn.Parameter(0.02 * torch.randn(WIDTH, width))
        self.bias = nn.Parameter(torch.zeros(settings.products))
        self.context = nn.Parameter(0.02 * torch.randn(PLACES, width))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = Dropout(settings.dropout)

    def described(self, batch: Tensors) -> Any:
        """Returns f W, (products, width)."""
        starts, weights = batch["first_word"][:-1], batch["weights"].to(self.bridge.dtype)
        return embedding_bag(
            batch["words"], self.bridge, starts, mode="sum", per_sample_weights=weights
        )

    def some_by_words(self, described: Any, batch: Tensors, share: float, draw: Any) -> Any:
        """Returns the products' numbers, of some that have words those of the words alone."""
        has_words = batch["first_word"].diff() > 0
        drawn = torch.rand(len(has_words), generator=draw, device=described.device) < share
        kept = ~(drawn & has_words)
        return self.items * kept[:, None] + described

    def customers(self, read: Any, context: Any) -> Any:
        """Returns u, (records, width), of the means that were read and (records, facts) places."""
        known = embedding_bag(context, self.context, mode="sum", padding_idx=0)
        x = self.dropout(self.first(read * math.sqrt(read.shape[1])) + known)
        return self.second(x + self.dropout(self.narrow(relu(self.wide(x)))))

    def scores(self, states: Any, vectors: Any) -> Any:
        """Returns (states, products)."""
        return torch.addmm(self.bias, states, vectors.T)

    def surprise(self, states: Any, vectors: Any, product: Any) -> Any:
        """Returns minus the log of the probability of each product, (states,)."""
        return cross_entropy(self.scores(states, vectors), product, reduction="none")

    def surprise_among(
        self, states: Any, vectors: Any, product: Any, drawn: Any, often: Any
    ) -> Any:
        """Returns the same, the sum over the others estimated by those that were drawn.

        often: (products,) how many times each is expected to be drawn.
        """
        own = (states * vectors[product]).sum(1) + self.bias[product]
        others = states @ vectors[drawn].T + self.bias[drawn] - often[drawn].log()
        others = others.masked_fill(product[:, None] == drawn, -math.inf)
        return torch.logsumexp(torch.cat([own[:, None], others], 1), 1) - own


def _bought(history: csr_array) -> Arrays:
    return {
        "bought": history.indices.astype(np.int64),
        "first": history.indptr.astype(np.int64),
    }


def _ranges(values: Any, first: Any, last: Any) -> Any:
    """Returns the values from each first to before its last, one range after the other."""
    many = last - first
    shift = torch.repeat_interleave(first - _starts(many), many)
    return values[shift + torch.arange(len(shift), device=values.device)]


def _starts(many: Any) -> Any:
    return many.cumsum(0) - many


def _drawn(bought: Any, products: int, many: int, draw: Any) -> tuple[Any, Any]:
    """Returns (many,) products, half of them drawn as they sell, and (products,) expectations."""
    device, half = bought.device, many - many // 2
    sold = bought[torch.randint(len(bought), (half,), generator=draw, device=device)]
    any_ = torch.randint(products, (many // 2,), generator=draw, device=device)
    shares = torch.bincount(bought, minlength=products).float() / len(bought)
    return torch.cat([sold, any_]), half * shares + (many // 2) / products
