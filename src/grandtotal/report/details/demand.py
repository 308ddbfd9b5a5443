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
from grandtotal.report.markup import Html, Row, joined, paragraph, table, tag
from grandtotal.report.plots import curve
from grandtotal.report.source import Findings
from grandtotal.report.words import all_of, number


def details(found: Findings) -> Html:
    """Returns the baselines, the error by distance and volume, examples, stock, and own levels."""
    errors = small_columns(
        detail(found, "wape_by_period_ahead"),
        "How the error grows with distance",
        "Forecast error (WAPE) by how many periods ahead the forecast looks.",
    )
    volumes = joined(_volumes(who, rows) for who, rows in detail(found, "by_volume").items())
    if volumes:
        volumes = joined([tag("h3", "Which products can be forecast"), _how_to_read(), volumes])
    return joined(
        [
            _baselines(detail(found, "baselines")),
            errors,
            volumes,
            _curves(found),
            _stock(detail(found, "short")),
            _own_level(detail(found, "own_level")),
            _kept(found),
        ]
    )


def _how_to_read() -> Html:
    return paragraph(
        "Of a product that sells once a month nobody knows in which week; what many customers buy "
        "is steady. “Missed” counts units too many or too few. “Inside the range” should be near "
        "80 of 100: where it is less, keep more in reserve than the range says.",
        class_="note",
    )


def _volumes(who: str, rows: list[Json]) -> Html:
    heads = ("Sold a period before", "products", "missed of 100 units sold", "inside the range")
    content = []
    for row in rows:
        held = "–" if row["inside"] is None else f"{100 * row['inside']:.0f} of 100"
        cells = (f"{row['series']:,}", f"{100 * row['wape']:.0f}", held)
        content.append(Row(_volume(row), cells))
    return table(f"Error by how much a product sells, {who}", heads, content)


def _volume(row: Json) -> str:
    if row["most"] is None:
        return f"more than {row['least']:g} units"
    return (
        f"{row['least']:g} to {row['most']:g} units" if row["least"] else f"up to {row['most']:g}"
    )


_EXAMPLES = {
    "best": "The best of them",
    "median": "One in the middle: half are forecast better, half worse",
    "worst": "The worst of them",
}


def _curves(found: Findings) -> Html:
    """Returns curves of the retailer with most products: its best seller, and three examples."""
    curves, examples = detail(found, "curve"), detail(found, "examples")
    if not curves:
        return Html("")
    largest = max(curves, key=lambda who: found.retailers[who]["sample"])
    shown = curves[largest]
    caption = (
        f"Product {shown['product']} at {largest}, its best seller before the test. Line: units "
        "sold. Broken line and band: the forecast, made before those periods were seen, and the "
        "range that should hold the sales of four periods in five."
    )
    parts = [
        tag("h3", "A forecast, looked at closely"),
        figure(curve(_title(shown, largest), shown), caption),
    ]
    if drawn := examples.get(largest):
        parts.append(tag("h3", "The best, the middle and the worst"))
        parts.append(_about_examples())
    for one in drawn or ():
        said = (
            f"{_EXAMPLES[one['which']]}: product {one['product']}. For every 100 units sold the "
            f"forecast missed {100 * one['wape']:.0f}, too many or too few."
        )
        parts.append(figure(curve(_title(one, largest), one), said))
    return joined(parts)


def _about_examples() -> Html:
    return paragraph(
        "Among the half of the products that sold most in the test, so that a miss matters. Look "
        "at the worst first: a large order of one customer, a product that is new or leaving, or "
        "an empty shelf explains most of them.",
        class_="note",
    )


def _title(shown: Json, who: str) -> str:
    return f"Units of product {shown['product']} sold and forecast at {who}"


def _stock(short: Mapping[str, float | None]) -> Html:
    """Returns what a missing table of stock means, or how much of the test it leaves out."""
    unknown = [who for who, share in short.items() if share is None]
    parts = []
    if unknown:
        parts.append(
            f"No stock is known at {all_of(unknown)}: a period in which a product was sold out "
            "counts there as one in which nobody wanted it, and forecasts may be too low."
        )
    parts += [
        f"At {who} stock was short in {100 * share:.1f} % of the test’s product-periods. They are "
        "in no score, and curves show what would have sold."
        for who, share in short.items()
        if share
    ]
    return joined(paragraph(words, class_="note") for words in parts)


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
    """Returns which retailers keep something of their own, where trees were chosen."""
    kept = detail(found, "kept")
    own = {who: what for who, what in kept.items() if what}
    if not own:
        return Html("")
    words = "; ".join(f"{who}: {what}" for who, what in own.items())
    return paragraph(
        "Kept at home, by how good it was on the retailer’s own validation, counted over periods: "
        f"{words}. Who is not named keeps the shared model as it is.",
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
        "pinball": Measure("range error", "", "how far sales lay from nine bounds"),
        "wspl": Measure("WSPL"),
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
