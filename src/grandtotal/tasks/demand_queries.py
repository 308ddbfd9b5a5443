"""What the demand task asks: units sold, and how far a forecast was from them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.consortium.query import Rows, State, shared_rows
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.tasks.demand_model import DemandModel, cases_of


@dataclass(frozen=True)
class DemandSeries:
    """Units sold per product and period, without outliers: what a product's season looks like.

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
        capped = sum(part.capped() for part in rows["test"].parts)
        return {"units": np.rint(capped * UNIT_STEPS).astype(np.int64)}


@dataclass(frozen=True)
class ForecastScores:
    """Sums of |sold - forecast| and sold over the scored cases, for a model in the broadcast.

    largest: norm to which the two sums of one product are cut, in units; 0 is not at all.
    per_customer: products that one customer's lines count for; 0 where the product is the unit.
    """

    name: ClassVar[str] = "forecast-scores"

    family: str
    split: str
    largest: float = 0.0
    per_customer: int = 0

    @property
    def bound(self) -> Stated:
        """A product's cases are its own sales against a model that all know: it moves its own."""
        return bound_by_group(self.largest, "product", self.per_customer, signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns error and sold, in units."""
        scale = scale_of(self.largest) if self.largest else UNIT_STEPS
        return {"error": Field((), scale=scale), "sold": Field((), scale=scale)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each case is rounded before it is added."""
        model = DemandModel.of(broadcast, {"model": self.family})
        error, sold = 0, 0
        clipped = bool(self.largest)
        panel = shared_rows(rows, self.split, self.per_customer) if clipped else rows[self.split]
        for cases in cases_of(model, panel):
            missed = np.abs(model.forecast(cases) - cases.sold)
            if clipped:
                of_products = [np.bincount(cases.series, each) for each in (missed, cases.sold)]
                parts = sum_of_clipped(np.stack(of_products, axis=1), self.largest)
            else:
                parts = np.array([np.rint(v * UNIT_STEPS).sum() for v in (missed, cases.sold)])
            error += int(parts[0])
            sold += int(parts[1])
        return {"error": np.asarray(error), "sold": np.asarray(sold)}
