"""What a retailer sells, as fingerprints, and where its products stand in a private catalogue.

Only in a retailer's process. Its products table is what it says to sell; transactions decide no
more than which of two entries for the same product is the one that counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.catalogue import opaque
from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.durable import Json
from grandtotal.errors import DataError, PlanError
from grandtotal.privacy.fingerprint import fingerprints, read_key

if TYPE_CHECKING:
    from grandtotal.tables.read import Tables

PURPOSE = "product"


@dataclass(frozen=True)
class Assortment:
    """products: (products,) own ids; fingerprints: (products,) uint64, all different, as ordered.

    doubled: products left out since another of its own, which sells more, has the same fingerprint.
    without_key: products without a usable key. unlisted: sold, but not in the products table.
    every: own ids of all these and of all others that are listed or sold, in order.
    """

    products: tuple[str, ...]
    fingerprints: NDArray[np.uint64]
    doubled: int
    without_key: int
    unlisted: int
    every: tuple[str, ...]

    @staticmethod
    def of(listed: Mapping[str, str | None], sold: Mapping[str, float], key: bytes) -> Assortment:
        """Returns the assortment of products with their normalised keys and units sold."""
        known = {product: text for product, text in listed.items() if text is not None}
        # The best seller of each fingerprint comes first.
        ordered = sorted(known, key=lambda product: (-sold.get(product, 0.0), product))
        found = fingerprints(key, PURPOSE, (known[product] for product in ordered))
        kept, first = np.unique(found, return_index=True)
        return Assortment(
            tuple(ordered[place] for place in first),
            kept,
            doubled=len(known) - len(kept),
            without_key=len(listed) - len(known),
            unlisted=len(sold.keys() - listed.keys()),
            every=tuple(sorted(listed.keys() | sold.keys())),
        )

    def named(self, buckets: NDArray[np.uint64]) -> tuple[str, ...]:
        """Returns the catalogue with this retailer's ids; other products keep their numbers."""
        own = dict(zip(self.fingerprints.tolist(), self.products, strict=True))
        numbered = zip(buckets.tolist(), opaque(buckets), strict=True)
        return tuple(own.get(bucket, name) for bucket, name in numbered)

    def outside(self, buckets: NDArray[np.uint64]) -> tuple[str, ...]:
        """Returns the ids of what is sold here and is not in the catalogue."""
        shared = set(self.named(buckets))
        return tuple(product for product in self.every if product not in shared)

    def absent(self, buckets: NDArray[np.uint64]) -> tuple[int, ...]:
        """Returns the places in the catalogue of products that this retailer does not sell."""
        return tuple(np.flatnonzero(~np.isin(buckets, self.fingerprints)).tolist())

    def account(self, buckets: NDArray[np.uint64]) -> Json:
        """Returns how many of its products are in the catalogue, and why the others are not."""
        shared = int(np.isin(self.fingerprints, buckets).sum())
        return {
            "shared": shared,
            "not shared": len(self.products) - shared,
            "doubled": self.doubled,
            "without key": self.without_key,
            "unlisted": self.unlisted,
            "of others": len(buckets) - shared,
        }


def shared_key(tables: Tables, folder: Path) -> bytes:
    """Returns the key that retailer.toml names; PlanError if there is none.

    folder: the retailer's own, where a simulation leaves a key for those who name none.
    """
    named = tables.config.catalogue_key
    return read_key(tables.config.folder / named if named else folder / "catalogue.key")


def read_assortment(tables: Tables, column: str, most: int, key: bytes) -> Assortment:
    """Returns what the retailer of these tables sells; PlanError for more than `most` products.

    column: "product" or "gtin", by which products are matched. most: the plan's upper bound.
    """
    found = Assortment.of(_listed(tables, column), _sold(tables), key)
    if len(found.products) > most:
        raise PlanError(
            f"{len(found.products):,} products here, but the plan's catalogue_most is {most:,} for "
            f"all retailers together; ask the members to raise it"
        )
    return found


def _listed(tables: Tables, column: str) -> dict[str, str | None]:
    """Returns the key of every product in the products table, None where it has no usable one."""
    if "products" not in tables or column not in tables["products"].columns:
        raise DataError(
            f"products: the private catalogue needs this table with the column '{column}', by "
            f"which products are matched; add [tables.products] to retailer.toml"
        )
    frame = tables["products"]
    normalised = {"product": plain_id, "gtin": gtin14}[column]
    pairs = zip(frame["product"].to_list(), frame[column].to_list(), strict=True)
    return {product: None if text is None else normalised(text) for product, text in pairs}


def _sold(tables: Tables) -> dict[str, float]:
    """Returns the units of each product, in whole steps: the same for any order of the lines."""
    import polars as pl

    steps = (pl.col("quantity") * UNIT_STEPS).round().cast(pl.Int64).sum()
    sums = pl.concat(
        piece.group_by("product").agg(steps)
        for piece in tables.pieces("transactions", ["product", "quantity"])
    )
    sums = sums.group_by("product").agg(pl.col("quantity").sum() / UNIT_STEPS)
    return dict(zip(sums["product"].to_list(), sums["quantity"].to_list(), strict=True))


def plain_id(text: str) -> str | None:
    """Returns a product id in Unicode's composed form without outer spaces; None if it is empty."""
    return unicodedata.normalize("NFKC", text).strip() or None


def gtin14(text: str) -> str | None:
    """Returns a GTIN-8, -12, -13 or -14 with leading zeros as 14 digits; None if it is none.

    The check digit makes sum(digit * weight) a multiple of 10, weights 3, 1, 3, 1, ... from the
    left of the 14; GS1 General Specifications, 7.9.1. Zeros alone fill a field and name nothing.
    """
    digits = text.strip().zfill(14)
    if not re.fullmatch(r"[0-9]{8}|[0-9]{12,14}", text.strip()) or not digits.strip("0"):
        return None
    total = sum(int(digit) * (1 if place % 2 else 3) for place, digit in enumerate(digits))
    return digits if total % 10 == 0 else None
