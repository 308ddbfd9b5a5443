"""What a retailer adds to shared elasticities at home: its own rows once more, where that helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elasticity_model import Elasticities
from grandtotal.tasks.price_model import PriceModel, Prices
from grandtotal.tasks.price_queries import deviance
from grandtotal.tasks.price_sales import PriceHistory


def adapted(
    model: PriceModel,
    own: list[Elasticities] | None,
    validation: PriceHistory,
    prices: Prices,
) -> PriceModel:
    """Returns the model with this retailer's prices, and its own elasticities where they helped.

    own: what its rows alone say as of the validation cut and as of the test cut; None where the
    model is made of nothing else. An own elasticity is drawn to the shared one, as far as it is
    unsure and products of one category are alike.
    """
    home = replace(model, prices=prices, at_home={"own": False})
    if own is None:
        return home
    earlier, now = (_drawn(home, each) for each in own)
    of_shared, of_own = loss(home, validation), loss(earlier, validation)
    chosen = now if of_own < of_shared else home
    known = {"shared": rounded(of_shared), "own": rounded(of_own)}
    return replace(chosen, at_home={"own": chosen is now, "validation": known})


def rounded(value: float) -> float | None:
    """Returns a number for a report, None where there is none."""
    return round(value, 6) if np.isfinite(value) else None


def _drawn(model: PriceModel, own: Elasticities) -> PriceModel:
    """Returns own estimates, each drawn to the shared one of its product."""
    shared = model.shared
    apart = shared.own_sd**2 + shared.sds[0] ** 2
    known = np.isfinite(own.raw)
    variance = np.where(known, own.raw_sd, 1.0) ** 2
    weight = np.where(known, apart / (apart + variance), 0.0)
    mean = shared.own + weight * (np.where(known, own.raw, 0.0) - shared.own)
    sd = np.where(known, np.sqrt((1 - weight) * apart), shared.own_sd)
    return replace(model, own=mean, own_sd=sd)


def loss(model: PriceModel, history: PriceHistory) -> float:
    """Returns the deviance a unit sold over the weeks with another price; nan where none sold."""
    lost = sum(
        float(deviance(cases.sold, cases.forecast(model.coefficients)).sum())
        for cases in history.cases
    )
    sold = sum(float(cases.sold.sum()) for cases in history.cases)
    return lost / sold if sold else float("nan")


def level_only(products: int) -> PriceModel:
    """Returns the model in which prices have no effect at all."""
    nothing: NDArray[np.float64] = np.zeros(products)
    arrays = dict.fromkeys(Elasticities.__dataclass_fields__, nothing)
    arrays |= {"means": np.zeros(3), "sds": np.zeros(3)}
    return PriceModel.delivered(Elasticities.of(arrays, {"model": "level"}))
