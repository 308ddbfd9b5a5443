"""Which products a retailer has: whatever anybody buys, the products table says it."""

import numpy as np
from hypothesis import strategies as st

from grandtotal.algorithms.catalogue import CataloguePresence
from grandtotal.tasks.assortment import Assortment

KEY = bytes(range(32))


def presence(draw, folder):  # noqa: ARG001
    listed = {f"P{i}": draw(st.sampled_from([None, "4006381333931", "96385074"])) for i in range(6)}
    quantities = st.floats(-1e300, 1e300)
    before, after = (
        draw(st.dictionaries(st.sampled_from([*listed, "not listed"]), quantities))
        for _ in range(2)
    )
    sides = [{"now": (Assortment.of(listed, sold, KEY).fingerprints,)} for sold in (before, after)]
    return CataloguePresence(0, 8), {"prefixes": np.zeros(1, np.uint64)}, *sides


CASES = {"catalogue-presence": presence}
