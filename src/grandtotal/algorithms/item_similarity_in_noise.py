"""Item-to-item weights from co-purchase counts with noise: count, choose, shrink.

Two totals in which every customer counts alike. The first counts the customers of each product and
chooses the products whose co-purchases will stand out of the noise; the second counts co-purchases
among these. What is noise in it is then taken out, and an EDLAE is fitted to what is left.

Noise of standard deviation s in a symmetric matrix of m rows has eigenvalues up to 2 s sqrt(m),
whatever the counts. An eigenvalue below that says nothing; a larger one, v, is too large and its
direction is off, and sqrt(v^2 - (2 s sqrt(m))^2) in its place has the least squared error.

Dwork, Talwar, Thakurta, Zhang, "Analyze Gauss: optimal bounds for privacy-preserving principal
component analysis", 2014, https://doi.org/10.1145/2591796.2591883
Gavish and Donoho, "Optimal shrinkage of singular values", 2017, https://arxiv.org/abs/1405.7511
EDLAE: Steck, "Autoencoders that don't overfit towards the identity", 2020,
https://proceedings.neurips.cc/paper/2020/hash/e33d974aae13e4d877477d51d8bafdc4-Abstract.html
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.item_similarity import autoencoder, tie_break
from grandtotal.algorithms.purchases import CoPurchases, PurchaseCounts
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.privacy.bound import Release
from grandtotal.threads import threads_for

# Of what a fit may spend: a vector of counts stands out of noise that hides a matrix.
COUNTS = Release("purchase-counts", 1, 0.08)
PAIRS = Release("co-purchases", 1, 0.88)
# Products, or half of a smaller catalogue: weights among fewer are worse than bestsellers.
FEWEST = 100


@dataclass(frozen=True)
class EDLAEInNoise:
    """An EDLAE of clipped totals. Without noise it is that of all products, none of it shrunk.

    l2: ridge penalty, in the total's weighted customers; what a direction's noise may be is added.
    dropout: as in EDLAE.
    visible: least share of the noise in a product's row that its co-purchases have to reach, if it
        was bought independently of others, for it to be chosen.
    """

    l2: float = 4.0
    dropout: float = 0.33
    visible: float = 0.4

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns the weights among the chosen products, the counts of all as prior. Two rounds.

        Where too few products or directions stand out of the noise the model is popularity. What
        noise left is in its meta, "in_noise": customers, products, directions, and "why".
        """
        counted = totals.total(PurchaseCounts(products, split, clipped=True))
        counts = np.maximum(counted["counts"], 0.0)
        noise = float(np.std(counted["blanks"]))  # nobody adds to these
        chosen = self.chosen(counts, float(counted["customers"]), noise)
        left: Json = {"customers": round(float(counted["customers"])), "products": len(chosen)}
        fewest = min(FEWEST, products // 2)
        if len(chosen) < fewest:
            why = f"co-purchases of {len(chosen):,} products would be visible, not of {fewest:,}"
            return _popularity(counts, left, why)
        query = CoPurchases(products, split, clipped=True)
        together = totals.total(query, {"products": chosen})
        edge = 2.0 * float(np.std(together["blanks"])) * math.sqrt(len(chosen))
        gram = together["gram"]
        shrunk, directions = shrink(gram, edge)
        left |= {"directions": directions}
        if directions < 2:
            return _popularity(counts, left, "nothing but popularity stands out")
        customers = np.maximum(np.diagonal(gram), np.diagonal(shrunk))
        np.fill_diagonal(shrunk, customers)
        penalty = self.dropout / (1.0 - self.dropout) * customers + self.l2 + edge / 2.0
        meta = {"model": "edlae", "l2": self.l2, "dropout": self.dropout, "in_noise": left}
        weights = np.zeros((products, products), np.float32)
        weights[np.ix_(chosen, chosen)] = autoencoder(shrunk, penalty)
        return ItemModel(weights, tie_break(counts), meta)

    def chosen(
        self, counts: NDArray[np.float64], customers: float, noise: float
    ) -> NDArray[np.intp]:
        """Returns the products whose co-purchases will be visible, in the catalogue's order.

        Of the most bought ones so many that the last one's row stands out. Bought independently,
        products i and j have the co-purchases sqrt(2) counts_i counts_j / customers. The noise of
        counts is known; that of co-purchases, for which more is spent, will be smaller.
        """
        order = np.argsort(-counts, kind="stable")
        length = math.sqrt(max(float(counts @ counts) - len(counts) * noise**2 / 2.0, 0.0))
        row = math.sqrt(2.0) * counts[order] * length / max(customers, 1.0)
        smaller = math.sqrt(COUNTS.weight / PAIRS.weight)
        hidden = noise * smaller * np.sqrt(np.arange(1.0, len(counts) + 1.0))
        visible = np.flatnonzero((row >= self.visible * hidden) & (counts[order] > 0))
        return np.sort(order[: visible.max(initial=-1) + 1])


def shrink(gram: NDArray[np.float64], edge: float) -> tuple[NDArray[np.float64], int]:
    """Returns the matrix with eigenvalues v > edge as sqrt(v^2 - edge^2), others 0; how many.

    edge: the largest eigenvalue that noise alone has; 0 leaves a matrix of counts as it is.
    """
    if edge <= 0:
        return np.asarray(gram, np.float64), len(gram)
    with threads_for(len(gram)):
        values, directions = eigh(gram)
    stand_out = values > edge
    left = directions[:, stand_out] * np.sqrt(np.sqrt(values[stand_out] ** 2 - edge**2))
    return left @ left.T, int(stand_out.sum())


def _popularity(counts: NDArray[np.float64], left: Json, why: str) -> ItemModel:
    told = f"bestsellers alone: the noise that hides a customer hides co-purchases too; {why}"
    meta = {"model": "popularity", "days": 0, "in_noise": {**left, "why": told}}
    return ItemModel(np.empty((0, 0), np.float32), counts.astype(np.float32), meta)


@dataclass(frozen=True)
class PopularityInNoise:
    """Recommends by clipped counts: what most customers bought, each counting alike."""

    def fit(self, totals: Totals, products: int, split: str) -> ItemModel:
        """Returns the model whose score is the weighted count. One round."""
        counted = totals.total(PurchaseCounts(products, split, clipped=True))
        counts = np.maximum(counted["counts"], 0.0).astype(np.float32)
        left = {"customers": round(float(counted["customers"]))}
        meta = {"model": "popularity", "days": 0, "in_noise": left}
        return ItemModel(np.empty((0, 0), np.float32), counts, meta)
