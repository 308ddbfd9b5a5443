"""Demand forecasts on the page."""

from collections.abc import Mapping

from grandtotal.durable import Json
from grandtotal.report.details.kind import (
    Kind,
    Measure,
    Question,
    detail,
    figure,
    small_columns,
)
from grandtotal.report.markup import Html, joined, paragraph, tag
from grandtotal.report.plots import curve
from grandtotal.report.source import Findings
from grandtotal.report.words import all_of, number


def details(found: Findings) -> Html:
    """Returns the baselines, the error by distance, one product's curve, and own levels."""
    errors = small_columns(
        detail(found, "wape_by_period_ahead"),
        "How the error grows with distance",
        "Forecast error (WAPE) by how many periods ahead the forecast looks.",
    )
    curves, levels = detail(found, "curve"), detail(found, "own_level")
    both = _baselines(detail(found, "baselines"))
    return joined([both, errors, _largest_curve(found, curves), _own_level(levels), _kept(found)])


def _largest_curve(found: Findings, curves: Mapping[str, Json]) -> Html:
    if not curves:
        return Html("")
    largest = max(curves, key=lambda who: found.retailers[who]["sample"])
    shown = curves[largest]
    title = f"Units of product {shown['product']} sold and forecast at {largest}"
    caption = (
        f"Product {shown['product']} at {largest}, its best seller before the test. Line: units "
        "sold. Broken line and band: the forecast, made before those periods were seen, and the "
        "range that should hold the sales of four periods in five."
    )
    return joined(
        [tag("h3", "A forecast, looked at closely"), figure(curve(title, shown), caption)]
    )


def _baselines(tried: Mapping[str, Mapping[str, float]]) -> Html:
    """Returns every baseline on the test rows; the row of the table is the better on validation."""
    return joined(
        paragraph(
            f"Baselines of {who} on the test: "
            + ", ".join(f"{name} {number(value)}" for name, value in scores.items())
            + ".",
            class_="note",
        )
        for who, scores in tried.items()
    )


def _kept(found: Findings) -> Html:
    """Returns which retailers keep trees of their own, where trees were chosen."""
    kept = detail(found, "kept")
    own = {who: trees for who, trees in kept.items() if trees}
    if not own:
        return Html("")
    words = ", ".join(f"{who} its {trees}" for who, trees in own.items())
    return paragraph(
        f"Kept at home, since it was better on the retailer’s own validation: {words}. The others "
        "keep the shared model as it is.",
        class_="note",
    )


def _own_level(helped: Mapping[str, bool]) -> Html:
    if not helped:
        return Html("")
    names = [who for who, level in helped.items() if level]
    return paragraph(
        f"At {all_of(names)} a level of the retailer’s own, learned and kept at home, improved "
        "validation and is part of the row “federated”."
        if names
        else "A level of the retailer’s own did not improve validation anywhere and is not used.",
        class_="note",
    )


_ASKED = {
    "demand-series": Question(
        "Units sold of each product in each period, with single large outliers capped.",
        "The total is the consortium’s sales volumes by product and period, and it travels to "
        "every retailer as a part of the model. A summand is one retailer’s own volumes.",
    ),
    "forecast-errors": Question(
        "How far a forecast was off before the test: how many product-periods sold so many times "
        "what was forecast, by the size of the forecast and how far ahead it was.",
        "How predictable the retailer’s sales are, and how many product-periods of each size it "
        "has. A count of 1 is one product in one period.",
    ),
    "forecast-scores": Question(
        "How far a candidate forecast was off: units missed and units sold, and three sums of "
        "forecast over sold, which tell its mean relative error.",
        "The retailer’s sales volume in the weeks that were scored.",
    ),
}

DEMAND = Kind(
    question="How many units of each product will be sold in the coming periods?",
    measures={
        "wape": Measure(
            "WAPE",
            "forecast error",
            "0 is perfect; 0.8 means that the forecast missed 80 units, too many or too few, for "
            "every 100 sold",
        ),
        "bias": Measure("bias"),
        "coverage_80": Measure("inside 80 %"),
        "coverage_95": Measure("inside 95 %"),
    },
    models={
        "ridge": "ridge regression",
        "poisson": "Poisson regression",
        "trees": "boosted trees",
        "trees-tweedie": "boosted trees (Tweedie)",
        "trees-log": "boosted trees of the logarithm",
        "forest": "random forest",
        "mean": "recent mean",
        "seasonal-naive": "last season",
    },
    asked=_ASKED,
    details=details,
)
