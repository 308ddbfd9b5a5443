"""A vector for every product from its words: a ridge bridge from features to factors, of totals.

    W = (sum w F'F + ridge I)^-1 sum w F'Q

F: features of a listing, a product in one retailer's products table: hashed words of its title, its
brand, its category and its price class. Q: the products' factors, w whether enough customers say
what they are. Both sums are over the listings of all retailers, so that W is that of the pooled
tables. A new product has the vector f W at once, and so has one of another retailer's catalogue.

The hybrid's factors are those of ALS, drawn to f W as if `worth` customers had said so:
q = (n q_als + worth f W) / (n + worth). Agarwal and Chen, "Regression-based latent factor models",
2009, https://doi.org/10.1145/1557019.1557029
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from grandtotal.algorithms.als import ALS, FactorModel, Floats
from grandtotal.algorithms.als_totals import FoldIn
from grandtotal.algorithms.purchases import PurchaseCounts
from grandtotal.algorithms.words import place
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import NoCustomers
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import one_thread

CONTENT = "content"  # the rows that the queries read
WIDTH = 512  # places that words are hashed to; the first is 1 for every listing
STEPS = 2**10  # of a feature
_FINE = 2**20  # of a factor, and of an entry of W
_KNOWN = 10  # customers from which on a product's factors say what it is
_LARGEST = 2.0**12  # of a factor or an entry of W, so that no sum passes 2^62

_TABLE = NoCustomers(
    "features are words of the products table, and the factors are in the question: no purchase "
    "is read"
)


@dataclass(frozen=True)
class Content:
    """Listings of one or several retailers.

    features: (listings, WIDTH) int64 steps. products: (listings,) their places in the catalogue.
    """

    features: csr_array
    products: NDArray[np.intp]

    @staticmethod
    def of(words: Sequence[Iterable[str]], products: Sequence[int]) -> "Content":
        """Returns the listings with these words; each listing's features have the norm 1."""
        rows = [hashed(each) for each in words]
        places = [np.fromiter(row, np.int64, len(row)) for row in rows]
        starts = np.concatenate([[0], np.cumsum([len(each) for each in places])]).astype(np.int64)
        columns = np.concatenate([*places, np.empty(0, np.int64)]).astype(np.int64)
        values = np.concatenate([*(np.array([*row.values()]) for row in rows), np.empty(0)])
        matrix = csr_array((values.astype(np.int64), columns, starts), shape=(len(rows), WIDTH))
        return Content(matrix, np.asarray(products, np.intp))

    def by_product(self, products: int) -> tuple[csr_array, NDArray[np.int64]]:
        """Returns (products, WIDTH) steps, summed over listings, and each one's listings."""
        many = len(self.products)
        ones = np.ones(many, np.int64)
        at = csr_array((ones, (self.products, np.arange(many))), shape=(products, many))
        return csr_array(at @ self.features), np.bincount(self.products, minlength=products)

    @staticmethod
    def pooled(parts: Sequence["Content"]) -> "Content":
        """Returns the listings of several retailers, one after the other."""
        features = csr_array(vstack([part.features for part in parts]))
        return Content(features, np.concatenate([part.products for part in parts]))


def hashed(words: Iterable[str]) -> Mapping[int, int]:
    """Returns steps by place: 1 at the first, and the words' counts with the norm 1."""
    counts: dict[int, int] = {}
    for word in words:
        at = place(word, 1, WIDTH)
        counts[at] = counts.get(at, 0) + 1
    norm = float(np.sqrt(sum(count**2 for count in counts.values()))) or 1.0
    steps = {at: round(STEPS * count / norm) for at, count in sorted(counts.items())}
    return {0: STEPS, **steps}


# --- what is asked ---


@dataclass(frozen=True)
class BridgeSums:
    """Sums over listings of w f f' and w f q', for factors "factors" and weights "known"."""

    name: ClassVar[str] = "bridge-sums"
    bound: ClassVar[NoCustomers] = _TABLE

    products: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns gram (WIDTH, WIDTH) and cross (WIDTH, d)."""
        cross = (WIDTH, broadcast["factors"].shape[1])
        return {
            "gram": Field((WIDTH, WIDTH), STEPS**2, symmetric=True),
            "cross": Field(cross, STEPS * _FINE),
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums, of integers."""
        content = content_in(rows)
        known = broadcast["known"][content.products] > 0
        features = content.features[known]
        whole = _whole(broadcast["factors"][content.products[known]])
        return {
            "gram": csr_array(features.T @ features).toarray(),
            "cross": np.asarray(features.T @ whole),
        }


@dataclass(frozen=True)
class ContentVectors:
    """For each product, the sum over its listings of f W, for "bridge" W, and how many list it."""

    name: ClassVar[str] = "content-vectors"
    bound: ClassVar[NoCustomers] = _TABLE

    products: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns vectors (products, d) and listings (products,)."""
        shape = (self.products, broadcast["bridge"].shape[1])
        return {"vectors": Field(shape, STEPS * _FINE), "listings": Field((self.products,))}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums, of integers."""
        features, listings = content_in(rows).by_product(self.products)
        return {
            "vectors": np.asarray(features @ _whole(broadcast["bridge"])),
            "listings": listings,
        }


def content_in(rows: Rows) -> Content:
    """Returns the listings among a retailer's rows, none where it has no words."""
    found: Content = rows[CONTENT] if CONTENT in rows else Content.of([], [])
    return found


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = np.rint(np.clip(values, -_LARGEST, _LARGEST) * _FINE).astype(int)
    return whole


# --- the model ---


@dataclass(frozen=True)
class HybridModel(FactorModel):
    """bridge: (WIDTH, d) float32, from the words of a product to its factors."""

    bridge: NDArray[np.float32] | None = None

    @property
    def arrays(self) -> Arrays:
        """The arrays that travel and are saved; no customer's factors are among them."""
        assert self.bridge is not None
        return {**super().arrays, "bridge": self.bridge}

    @staticmethod
    def build(arrays: Arrays, meta: Json) -> "HybridModel":
        """Returns the model that `arrays` and `meta` describe."""
        fold = FoldIn(*arrays["fold"].tolist())
        return HybridModel(arrays["factors"], arrays["prior"], fold, meta, arrays["bridge"])

    def with_products(self, content: Content) -> "HybridModel":
        """Returns the model with these listings as products after the known ones."""
        assert self.bridge is not None
        new = (content.features.toarray() / STEPS) @ self.bridge.astype(np.float64)
        factors = np.concatenate([self.factors, new.astype(np.float32)])
        prior = np.concatenate([self.prior, np.zeros(len(new), np.float32)])
        return HybridModel(factors, prior, self.fold, self.meta, self.bridge)


@dataclass(frozen=True)
class Hybrid:
    """Factors of ALS, drawn to what a product's words say.

    factors, l2: of ALS. ridge: penalty of W, in listings. worth: how many customers the words are
    worth.
    """

    factors: int = 32
    l2: float = 0.01
    ridge: float = 3.0
    worth: float = 5.0
    epochs: int = 8

    def fit(self, totals: Totals, products: int, split: str) -> HybridModel:
        """Returns the items' factors and W: the rounds of ALS and two more."""
        als = ALS(self.factors, self.l2, unobserved=0.3, epochs=self.epochs, steps=3)
        model = als.fit(totals, products, split)
        counts = totals.total(PurchaseCounts(products, split))["counts"].astype(np.float64)
        items = model.factors.astype(np.float64)
        bridge = self._bridge(totals, items, counts)
        found = totals.total(ContentVectors(products), {"bridge": bridge})
        listings = found["listings"][:, None]
        said = found["vectors"] / np.maximum(listings, 1)
        worth = np.where(listings > 0, self.worth, 0.0)
        known = counts[:, None] + worth
        drawn = (counts[:, None] * items + worth * said) / np.maximum(known, 1.0)
        # What nobody bought and nobody describes keeps its place at 0.
        final: NDArray[np.float32] = np.where(known > 0, drawn, 0.0).astype(np.float32)
        return HybridModel(final, model.prior, model.fold, self.meta, bridge.astype(np.float32))

    def _bridge(self, totals: Totals, items: Floats, counts: Floats) -> Floats:
        asked: Arrays = {"factors": items, "known": (counts >= _KNOWN).astype(np.uint8)}
        sums = totals.total(BridgeSums(len(items)), asked)
        with one_thread():
            left = sums["gram"] + self.ridge * np.eye(WIDTH)
            return np.asarray(np.linalg.solve(left, sums["cross"]), np.float64)

    @property
    def meta(self) -> Json:
        """The hyper-parameters."""
        return {"model": "hybrid", **vars(self)}
