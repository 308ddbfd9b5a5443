"""Products of a retailer, as a decision on prices sees them."""

import numpy as np

from grandtotal.decide.response import Responses


def responses(products=6, **given):
    """Returns products at 2.00, 3.00 ... of one category a pair, all well known."""
    price = 2.0 + np.arange(products)
    plain = {
        "product": tuple(f"P{i}" for i in range(products)),
        "title": tuple(f"title {i}" for i in range(products)),
        "category": tuple(f"c{i // 2}" for i in range(products)),
        "price": price,
        "units": np.full(products, 100.0),
        "cost": 0.6 * price,
        "own": np.full(products, -2.0),
        "own_sd": np.full(products, 0.2),
        "cross": np.zeros(products),
        "lowest": 0.5 * price,
        "highest": 2.0 * price,
        "unknown": ("",) * products,
        "noise": np.full(products, 0.4),
        "stores": 10,
        "currency": "GBP",
    }
    filled = {
        name: np.broadcast_to(np.asarray(value, float), products).copy()
        if isinstance(plain[name], np.ndarray)
        else value
        for name, value in given.items()
    }
    return Responses(**{**plain, **filled})
