"""One file for each kind of task: its words, and what the report draws beside its scores."""

from collections.abc import Mapping

from grandtotal.report.details.demand import DEMAND
from grandtotal.report.details.kind import Kind
from grandtotal.report.details.outcomes import CHURN, PURCHASE_INTENT
from grandtotal.report.details.price import PRICE
from grandtotal.report.details.ratings import RATINGS
from grandtotal.report.details.recommend import RECOMMEND
from grandtotal.report.details.segments import SEGMENTS
from grandtotal.report.details.shift import SHIFT
from grandtotal.report.details.value import VALUE

KINDS: Mapping[str, Kind] = {
    "recommend": RECOMMEND,
    "ratings": RATINGS,
    "demand": DEMAND,
    "segments": SEGMENTS,
    "value": VALUE,
    "shift": SHIFT,
    "churn": CHURN,
    "purchase-intent": PURCHASE_INTENT,
    "price": PRICE,
}
