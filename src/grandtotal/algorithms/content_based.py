"""What has the same words as the latest purchases: nothing of other customers is needed.

The score of product j for a history is the sum over its products i of decay(i) cos(v_i, v_j), with

    v_iw = f_iw log(described / with_w)

f: how often word w, hashed, is in the listings of the product, whose norms are 1. described: how
many products have a word at all; with_w: how many have this one, so that a rare word says most.
Words are public: of customers only the order of what nothing is said of comes, by popularity. For
what few have bought, words know more than counts; alone they are a weak model, in a blend a strong
part.

Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988,
https://doi.org/10.1016/0306-4573(88)90021-0
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from grandtotal.algorithms.content import STEPS, WIDTH, Content, ContentVectors
from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.item_model import (
    Recommender,
    sparse_arrays,
    sparse_of,
    strongest,
    strongest_of_each,
)
from grandtotal.algorithms.item_similarity import tie_break
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.algorithms.transitions import remembered
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.fixedpoint import Arrays


@dataclass(frozen=True)
class ContentBased:
    """Recommends what is described like the last purchases.

    half_life: in moments (days with a purchase, steps of a session); 0 forgets nothing.
    """

    half_life: float = 2.0

    def fit(self, totals: Totals, products: int, split: str) -> "ContentModel":
        """Returns the weighted words of the products. Two rounds, the words' the same each time."""
        counts = totals.total(PurchaseCounts(products, split))["counts"].astype(np.float64)
        # A bridge that leaves every word where it is: the sums over listings themselves.
        words = totals.total(ContentVectors(products), {"bridge": np.eye(WIDTH)})["vectors"]
        found = csr_array(words)
        known = found.indices != 0  # the first place says only that there is a listing
        having = np.bincount(found.indices[known], minlength=WIDTH)
        described = np.count_nonzero(np.diff(found.indptr) > 1)
        rarity = log(max(described, 1) / np.maximum(having, 1)).astype(np.float32)
        rarity[0] = 0.0
        return ContentModel(
            weighed(found, rarity), rarity, tie_break(counts), self.half_life, self.meta
        )

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "content", **vars(self)}


def weighed(words: csr_array, rarity: NDArray[np.float32]) -> csr_array:
    """Returns words (products, WIDTH) times their rarity, each product's with the norm 1."""
    values = words.data.astype(np.float64) * rarity[words.indices]
    rows = np.repeat(np.arange(words.shape[0]), np.diff(words.indptr))
    norm = np.sqrt(np.bincount(rows, values**2, minlength=words.shape[0]))[rows]
    scaled = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
    found = csr_array((scaled.astype(np.float32), words.indices, words.indptr), shape=words.shape)
    found.eliminate_zeros()
    return found


@dataclass(frozen=True)
class ContentModel(Recommender):
    """words: (products, WIDTH) sparse float32 of norm 1. rarity: (WIDTH,) float32, of each word.

    prior: (products,) float32, which only orders what words leave equal. half_life: in moments of a
    history; 0 forgets nothing.
    """

    words: csr_array
    rarity: NDArray[np.float32]
    prior: NDArray[np.float32]
    half_life: float
    meta: Json = field(default_factory=dict)

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved."""
        return {
            **sparse_arrays(self.words),
            "rarity": self.rarity,
            "prior": self.prior,
            "half_life": np.array(self.half_life),
        }

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "ContentModel":
        """Returns the model that `arrays` and `meta` describe."""
        words = sparse_of(arrays, (len(arrays["prior"]), len(arrays["rarity"])))
        half_life = float(arrays["half_life"])
        return ContentModel(words, arrays["rarity"], arrays["prior"], half_life, meta)

    def affinities(self, history: csr_array) -> NDArray[np.float32]:
        """Returns (customers, products) scores, of the products bought already as well."""
        read = remembered(history, self.half_life) @ self.words
        scores: NDArray[np.float32] = csr_array(read @ self._products).toarray()
        return scores + self.prior

    @cached_property
    def _products(self) -> csr_array:
        """(WIDTH, products): which products have a word."""
        return csr_array(self.words.T.tocsr())

    def with_products(self, content: Content) -> "ContentModel":
        """Returns the model with these listings as products after the known ones."""
        new = weighed(csr_array(content.features / STEPS), self.rarity)
        words = csr_array(vstack([self.words, new]))
        prior = np.concatenate([self.prior, np.zeros(new.shape[0], np.float32)])
        return ContentModel(words, self.rarity, prior, self.half_life, self.meta)

    def because(self, history: NDArray[Any], product: int, most: int = 2) -> tuple[int, ...]:
        """Returns the bought products whose words are most like this one's."""
        return strongest(history, self._towards(history, [product])[:, 0], most)

    def reasons(self, history: NDArray[Any], products: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns what `because` does, for each of a customer's recommendations."""
        return strongest_of_each(history, self._towards(history, products), 2)

    def _towards(self, history: NDArray[Any], products: Sequence[int]) -> NDArray[np.float32]:
        """Returns (history, products) cosines."""
        bought = self.words[np.asarray(history, np.intp)]
        recommended = self.words[np.asarray(products, np.intp)]
        cosines: NDArray[np.float32] = csr_array(bought @ recommended.T).toarray()
        return cosines
