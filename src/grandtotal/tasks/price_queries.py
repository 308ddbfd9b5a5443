"""What the price task asks to choose a model: how far its forecasts at other prices were off.

By Poisson deviance, which is least for the expected units; the sum of absolute errors is least for
their median, and that is zero for most products in most weeks.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.elementary import log
from grandtotal.algorithms.glm import UNIT_STEPS
from grandtotal.consortium.query import Rows, State
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field

_LITTLE = 0.01  # units: what is forecast at least


def deviance(sold: NDArray[np.float64], forecast: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 2 (sold log(sold / forecast) - sold + forecast) of each case, 0 where it was right.

    McCullagh and Nelder, "Generalized linear models", 1989, section 2.3. In units.
    """
    expected = np.maximum(forecast, _LITTLE)
    ratio = log(np.where(sold > 0, sold, expected) / expected)
    return np.asarray(2 * np.maximum(sold * ratio - sold + expected, 0.0))


@dataclass(frozen=True)
class PriceScores:
    """Sums of the deviance and of the units sold over the weeks whose price changed.

    The broadcast holds "coefficients" (products, columns).
    """

    name: ClassVar[str] = "price-scores"
    bound: ClassVar[Stated] = None

    family: str
    split: str

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns deviance and sold, in units."""
        return {"deviance": Field((), scale=UNIT_STEPS), "sold": Field((), scale=UNIT_STEPS)}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums; each case is rounded before it is added."""
        lost, sold = 0, 0
        for cases in rows[self.split].cases:
            each = deviance(cases.sold, cases.forecast(broadcast["coefficients"]))
            lost += int(np.rint(each * UNIT_STEPS).sum())
            sold += int(np.rint(cases.sold * UNIT_STEPS).sum())
        return {"deviance": np.asarray(lost), "sold": np.asarray(sold)}
