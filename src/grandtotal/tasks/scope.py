"""Which products a retailer's customers may be shown: its own, or also those that others offer.

A product on a screen says that somebody sells it. So with scope "own", the default, a retailer
shows what it sells itself; with "consortium" also what a member offers whose retailer.toml says
`offered = true`. How many members offer a product is one total; who they are is in none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.item_model import Recommender
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.next_basket import NextBasket
from grandtotal.algorithms.offered import Offered
from grandtotal.consortium.query import Rows, State
from grandtotal.consortium.totals import Totals
from grandtotal.errors import PlanError, RefusedError
from grandtotal.privacy.bound import NoCustomers
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.lines import positions

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables
    from grandtotal.tasks.task import Common

SCOPES = OWN, CONSORTIUM = ("own", "consortium")
OFFERED = "offered"  # the rows that the query reads


def check_scope(scope: Any, common: Common) -> None:
    """Raises PlanError for another word, RefusedError for the consortium's under epsilon."""
    if scope not in SCOPES:
        raise PlanError(f"scope = {scope!r}, expected one of {', '.join(SCOPES)}")
    if scope == CONSORTIUM and common.privacy.private:
        raise RefusedError(
            'scope = "consortium" asks who offers what, which the schedule of a plan under epsilon '
            'does not hold; write scope = "own", or take epsilon out of the plan'
        )


@dataclass(frozen=True)
class OfferedProducts:
    """How many members sell each product and let others show it."""

    name: ClassVar[str] = "offered-products"
    bound: ClassVar[NoCustomers] = NoCustomers(
        "the products table says what a retailer sells; nobody's purchase is read"
    )

    products: int

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns members (products,)."""
        return {"members": Field((self.products,))}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns 1 for each product that this retailer offers."""
        return {"members": np.asarray(rows[OFFERED], np.int64)}


def offers_of_all(totals: Totals, products: int) -> NDArray[np.bool_]:
    """Returns (products,) what at least one member offers. One round."""
    offered: NDArray[np.bool_] = totals.total(OfferedProducts(products))["members"] > 0
    return offered


def with_offers(model: Model | None, offered: NDArray[np.bool_]) -> Recommender | NextBasket | None:
    """Returns a recommender that knows what is offered; None for none."""
    if isinstance(model, NextBasket):
        return NextBasket(Offered(model.items, offered), model.habit)
    return None if model is None else Offered(cast(Recommender, model), offered)


# --- the retailer's half ---


def offers(tables: Tables, common: Common) -> NDArray[np.int64]:
    """Returns (products,) 1 where the products table has it and retailer.toml offers it."""
    config = getattr(tables, "config", None)
    listed = listed_products(tables, common)
    if config is None or not config.limits.offered or listed is None:
        return np.zeros(len(common.catalogue), np.int64)
    return listed.astype(np.int64)


def listed_products(tables: Tables, common: Common) -> NDArray[np.bool_] | None:
    """Returns (products,) whether the products table has it; None without such a table."""
    if "products" not in tables:
        return None
    found = np.zeros(len(common.catalogue), bool)
    rows = tables["products"].select("product").join(positions(tables, common), on="product")
    found[rows["i"].to_numpy()] = True
    return found


def absent_at(
    cut: date, lines: pl.DataFrame, listed: NDArray[np.bool_] | None, common: Common
) -> list[int]:
    """Returns the places of what a retailer is taken not to sell at a cut.

    It sells what its products table has and what its customers bought before the cut; under
    epsilon the table alone says so, since one customer's purchase must not move another's list.
    """
    import polars as pl

    products = len(common.catalogue)
    sold = np.zeros(products, bool) if listed is None else listed.copy()
    if common.privacy.private:
        sold |= listed is None
    else:
        bought = lines.filter(pl.col("day") < cut)["i"].unique().to_numpy()
        sold[bought] = True
    sold[list(common.absent)] = False
    return np.flatnonzero(~sold).tolist()
