"""One file for each kind of task: its words, and what the report draws beside its scores."""

from collections.abc import Mapping

from grandtotal.report.details.demand import DEMAND
from grandtotal.report.details.kind import Kind
from grandtotal.report.details.price import PRICE
from grandtotal.report.details.recommend import RECOMMEND

KINDS: Mapping[str, Kind] = {
    "recommend": RECOMMEND,
    "demand": DEMAND,
    "price": PRICE,
}
