"""What the words of products say: the products table alone is read, whatever anybody buys."""

import numpy as np
import polars as pl
from hypothesis import strategies as st

from grandtotal.algorithms.content import CONTENT, WIDTH, BridgeSums, ContentVectors
from grandtotal.tasks.product_words import content_of
from grandtotal.tasks.task import Common

KEYS = tuple(f"P{i}" for i in range(6))
QUERIES = (BridgeSums(len(KEYS)), ContentVectors(len(KEYS)))


def of(query):
    def presence(draw, folder):  # noqa: ARG001
        rng = np.random.default_rng(draw(st.integers(0, 999)))
        given = {
            "factors": rng.normal(size=(len(KEYS), 3)),
            "known": rng.integers(0, 2, len(KEYS)).astype(np.uint8),
            "bridge": rng.normal(size=(WIDTH, 3)),
        }
        common = Common(np.datetime64("2024-07-01").item(), KEYS)
        titles = draw(st.lists(st.text(max_size=8), min_size=6, max_size=6))
        products = pl.DataFrame({"product": KEYS, "title": titles})
        sides = []
        for _ in range(2):
            bought = draw(st.lists(st.sampled_from(KEYS)))
            lines = pl.DataFrame({"product": bought}, schema={"product": pl.String})
            tables = {"products": products, "transactions": lines}
            sides.append({CONTENT: content_of(tables, common)})
        return query, given, *sides

    presence.__qualname__ = "presence"
    return presence


CASES = {query.name: of(query) for query in QUERIES}
