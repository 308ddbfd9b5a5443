"""Which products a retailer offers: its products table says it, whatever anybody buys."""

from datetime import date, datetime
from types import SimpleNamespace

import polars as pl
from hypothesis import strategies as st

from grandtotal.tasks.scope import OfferedProducts, offers
from grandtotal.tasks.task import Common

KEYS = tuple(f"P{i}" for i in range(6))


class Tables(dict):
    config = SimpleNamespace(limits=SimpleNamespace(offered=True))


def presence(draw, folder):  # noqa: ARG001
    common = Common(date(2024, 7, 1), KEYS)
    listed = draw(st.lists(st.sampled_from([*KEYS, "P9"]), unique=True, min_size=1))
    sides = []
    for _ in range(2):
        bought = draw(st.lists(st.sampled_from(KEYS)))
        rows = [("c1", product, datetime(2024, 1, 1), 1.0) for product in bought]
        schema = ["customer", "product", "time", "quantity"]
        lines = pl.DataFrame(rows, schema=schema, orient="row")
        tables = Tables(transactions=lines, products=pl.DataFrame({"product": listed}))
        sides.append({"offered": offers(tables, common)})
    return OfferedProducts(len(KEYS)), {}, *sides


CASES = {"offered-products": presence}
