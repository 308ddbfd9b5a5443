"""What the demand task asks: units sold, and how far a forecast was from them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.demand_model import DemandModel, cases_of
from grandtotal.tasks.sales import Cases

RATIO_STEPS = 2**20
MOST_RATIO = 64.0


@dataclass(frozen=True)
class DemandSeries:
    """Units sold per product and period, without outliers: what a product's season looks like.

    products: how many there are; 1 for all of them together, where series are stores.

    largest: norm to which the series of one product is cut, in units; 0 is not at all. One season
        of all products together is then asked, since the series of one would be what is hidden.
    per_customer: products that one customer's lines count for; 0 where the product is the unit.
    """

    name: ClassVar[str] = "demand-series"

    products: int
    periods: int
    largest: float = 0.0
    per_customer: int = 0

    @property
    def bound(self) -> Stated:
        """A product's whole series may become any other; units are never below 0.

        A week's sales also move the limit of outliers of later weeks, in the same series.
        """
        return bound_by_group(self.largest, "product", self.per_customer, signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns units (products, periods), or (1, periods) where series are cut."""
        if self.largest:
            return {"units": Field((1, self.periods), scale=scale_of(self.largest))}
        return {"units": Field((self.products, self.periods), scale=UNIT_STEPS)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's units in whole steps."""
        if self.largest:
            parts = shared_rows(rows, "test", self.per_customer).parts
            seasons = [sum_of_clipped(part.capped(), self.largest) for part in parts]
            return {"units": np.sum(seasons, axis=0)[None]}
        capped = sum(part.of_products(self.products) for part in rows["test"].parts)
        return {"units": np.rint(capped * UNIT_STEPS).astype(np.int64)}


@dataclass(frozen=True)
class ForecastScores:
    """Sums over the scored cases, for a model in the broadcast: of |sold - forecast| and of sold.

    And by period of forecast / sold and its square where something sold, which tell the RMSPE at
    any factor; a forecast of more than MOST_RATIO times what sold counts for so many.

    periods: how many the split has; 0 for the sums of all of them.

    largest: norm to which the first two sums of one product are cut, in units; 0 is not at all.
    The others are then not asked.
    per_customer: products that one customer's lines count for; 0 where the product is the unit.
    """

    name: ClassVar[str] = "forecast-scores"

    family: str
    split: str
    largest: float = 0.0
    per_customer: int = 0
    periods: int = 0

    @property
    def bound(self) -> Stated:
        """A product's cases are its own sales against a model that all know: it moves its own."""
        return bound_by_group(self.largest, "product", self.per_customer, signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns error and sold, in units; cases, ratio and square, by period."""
        scale = scale_of(self.largest) if self.largest else UNIT_STEPS
        asked = {"error": Field((), scale=scale), "sold": Field((), scale=scale)}
        if self.largest:
            return asked
        shape = (self.periods,) if self.periods else ()
        ratios = {name: Field(shape, scale=RATIO_STEPS) for name in ("ratio", "square")}
        return {**asked, "cases": Field(shape), **ratios}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each case is rounded before it is added."""
        model = DemandModel.of(broadcast, {"model": self.family})
        clipped = bool(self.largest)
        panel = shared_rows(rows, self.split, self.per_customer) if clipped else rows[self.split]
        sums: Arrays = {name: np.asarray(0) for name in self.fields(broadcast)}
        for cases in cases_of(model, panel):
            found = self._of(model.forecast(cases), cases, panel.cut)
            sums = {name: sums[name] + found[name] for name in sums}
        return sums

    def _of(self, forecast: NDArray[np.float64], cases: Cases, cut: int) -> Arrays:
        missed = np.abs(forecast - cases.sold)
        if self.largest:
            of_products = [np.bincount(cases.series, each) for each in (missed, cases.sold)]
            error, sold = sum_of_clipped(np.stack(of_products, axis=1), self.largest)
            return {"error": error, "sold": sold}
        positive = cases.sold > 0
        ratio = np.minimum(forecast[positive] / cases.sold[positive], MOST_RATIO)
        place = (cases.origin + cases.ahead - 1 - cut)[positive]

        def by_period(steps: NDArray[np.float64]) -> NDArray[np.int64]:
            whole = np.rint(steps)
            found = np.bincount(place, whole, self.periods) if self.periods else whole.sum()
            return np.asarray(found).astype(np.int64)

        return {
            "error": np.rint(missed * UNIT_STEPS).sum().astype(np.int64),
            "sold": np.rint(cases.sold * UNIT_STEPS).sum().astype(np.int64),
            "cases": by_period(np.ones_like(ratio)),
            "ratio": by_period(ratio * RATIO_STEPS),
            "square": by_period(ratio**2 * RATIO_STEPS),
        }
