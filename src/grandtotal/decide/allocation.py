"""A product's demand divided among stores, and a warehouse's stock divided among them.

What a warehouse holds goes, pack by pack, to the store where the next pack sells the most units
that would be missing. What is missing in a store falls ever more slowly with what it gets, so no
other division of the same packs leaves fewer units missing: Fox, "Discrete optimization via
marginal analysis", 1966. Packs of several sizes are compared by what they do a unit.

Arrays are per place, of length N, one place a product and store; `product` says whose place it is.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = NDArray[np.intp]
_USUAL = 4.0  # units of all its products' shares that a product's own recent sales are mixed with


def shares(recent: Numbers, store: Places) -> Numbers:
    """Returns what a place's share of its product's sales is counted as, in units, above 0.

    recent: units that each place sold of late. store: (N,) a number for each store. A product that
    hardly sold is divided as all of them together are.
    """
    whole = np.bincount(store, recent)
    usual = (whole + 1e-3) / (whole + 1e-3).sum()
    counted: Numbers = recent + _USUAL * usual[store]
    return counted


def divided(paths: Numbers, product: Places, weight: Numbers, seed: int) -> Numbers:
    """Returns (N, draws, periods): each path of a product divided among its places.

    paths: (products, draws, periods). weight: `shares`. Every path has shares of its own, drawn
    from what the recent units leave likely (Dirichlet), and every unit is in one place
    (multinomial): places vary more than their product does, and add up to it exactly.
    """
    rng = np.random.default_rng(seed)
    draws = paths.shape[1]
    drawn = rng.standard_gamma(np.repeat(weight[:, None], draws, axis=1)) + 1e-12
    found = np.empty((len(product), *paths.shape[1:]))
    for p in range(len(paths)):
        here = np.flatnonzero(product == p)
        share = drawn[here] / drawn[here].sum(axis=0)
        whole = np.floor(paths[p])
        units = rng.multinomial(whole.astype(np.int64), share.T[:, None, :])
        rest = (paths[p] - whole)[:, :, None] * share.T[:, None, :]
        found[here] = np.moveaxis(units + rest, 2, 0)
    return found


def allocated(
    wanted: Numbers,
    pack: Numbers,
    product: Places,
    until: Numbers,
    held: Numbers,
    position: Numbers,
) -> Numbers:
    """Returns what each place gets: whole packs, none more than it wants, together what is held.

    wanted: whole packs. until: (N, draws) demand that the delivery must last for. held: (products,)
    units in the warehouse. position: units there or on their way.
    """
    sent = wanted.copy()
    asked = np.bincount(product, wanted, minlength=len(held))
    for p in np.flatnonzero(asked > held + 1e-9):
        here = np.flatnonzero((product == p) & (wanted > 0))
        sent[here] = _greedy(wanted[here], pack[here], until[here], position[here], float(held[p]))
    return sent


def _greedy(
    wanted: Numbers, pack: Numbers, until: Numbers, position: Numbers, held: float
) -> Numbers:
    packs = np.rint(wanted / pack).astype(np.int64)
    place = np.repeat(np.arange(len(packs)), packs)
    nth = np.concatenate([np.arange(count) for count in packs])
    value = np.concatenate(
        [_values(*row) for row in zip(packs, pack, until, position, strict=True)]
    )
    sent = np.zeros(len(packs))
    # Equal values take turns, so that equal stores get equal shares.
    for i in np.lexsort([place, nth, -value]):
        if sent.sum() + pack[place[i]] <= held + 1e-9:
            sent[place[i]] += pack[place[i]]
    return sent


def _values(packs: int, pack: float, until: Numbers, position: float) -> Numbers:
    """Returns the missing units that each next pack avoids, a unit; never more than the one before.

    An order that is delivered cannot be taken apart by what it does: values are cut to fall.
    """
    left = np.maximum(until[None, :] - position - pack * np.arange(packs + 1)[:, None], 0.0)
    avoided = -np.diff(left.mean(axis=1)) / pack
    return np.minimum.accumulate(np.round(avoided, 12))


def proportional(wanted: Numbers, pack: Numbers, product: Places, held: Numbers) -> Numbers:
    """Returns whole packs for each place in proportion to what it wants, where not all is there."""
    asked = np.bincount(product, wanted, minlength=len(held))
    share = np.minimum(np.divide(held, asked, out=np.ones_like(held), where=asked > 0), 1.0)
    packs: Numbers = np.floor(wanted * share[product] / pack + 1e-9)
    return packs * pack
