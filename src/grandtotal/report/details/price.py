"""How sales follow prices, on the page."""

from collections.abc import Mapping
from typing import Any

from grandtotal.report.details.kind import Kind, Measure, Question, detail, figure
from grandtotal.report.markup import Html, joined, paragraph, tag
from grandtotal.report.plots import demand
from grandtotal.report.source import Findings
from grandtotal.report.words import all_of, number


def details(found: Findings) -> Html:
    """Returns on what the numbers rest, the demand curves of best sellers, and own elasticities."""
    return joined(
        [
            _basis(detail(found, "products"), detail(found, "mean"), detail(found, "between")),
            _curves(detail(found, "curves")),
            _at_home(detail(found, "at_home")),
        ]
    )


def _basis(
    products: Mapping[str, Mapping[str, int]],
    means: Mapping[str, float],
    between: Mapping[str, float],
) -> Html:
    """Returns what the shared model knows; it is the same at every retailer."""
    if not products:
        return Html("")
    who = next(iter(products))
    counts = products[who]
    reasons = {
        "few_retailers": "too few retailers have their prices",
        "no_variation": "their prices hardly changed",
        "with_promotions": "their prices moved only with promotions",
    }
    silent = [f"{counts[key]} because {why}" for key, why in reasons.items() if counts.get(key)]
    none = f" For others there is no number: {', '.join(silent)}. A test of two prices in a few "
    none += "stores would tell."
    return paragraph(
        f"An elasticity of −2 says that a price that is 1 % higher sells about 2 % fewer. Here the "
        f"mean is {number(means[who])}, and products of one category differ by about "
        f"{number(between[who])} from each other. {counts['estimated']} products have a number "
        f"made of their own prices.{none if silent else ''}"
    )


def _curves(curves: Mapping[str, list[dict[str, Any]]]) -> Html:
    drawn = [
        figure(
            demand(f"Units of product {curve['product']} by price at {who}", curve), _said(curve)
        )
        for who, found in curves.items()
        for curve in found[:1]
    ]
    if not drawn:
        return Html("")
    note = (
        "Each retailer’s best seller: units a week at the prices that it has had. The band holds "
        "the answer with a probability of 95 %; the line upright is the price now. This is how "
        "sales went with prices in the past; whether a new price would do the same, a test shows."
    )
    return joined([tag("h3", "Sales at other prices"), paragraph(note, class_="note"), *drawn])


def _said(curve: Mapping[str, Any]) -> str:
    low, high = (curve["elasticity"] + side * 1.96 * curve["sd"] for side in (-1, 1))
    return (
        f"Product {curve['product']}: elasticity {number(curve['elasticity'])}, between "
        f"{number(low)} and {number(high)}."
    )


def _at_home(chosen: Mapping[str, Mapping[str, Any]]) -> Html:
    if not chosen:
        return Html("")
    names = [who for who, one in chosen.items() if one.get("own")]
    return paragraph(
        f"At {all_of(names)} elasticities of its own rows, drawn to the shared ones, were better "
        "on validation; they stay there and are part of the row “federated”."
        if names
        else "A retailer’s own elasticities did not improve validation anywhere and are not used.",
        class_="note",
    )


_ASKED = {
    "price-presence": Question(
        "Which products the retailer has sales of, and a coarse number of the category it puts "
        "them in.",
        "How many retailers sell a product. A count of 1 is one retailer’s.",
    ),
    "price-moments": Question(
        "How a product’s sales moved together with its price, other prices and promotions, from "
        "week to week within each store; of products that enough retailers sell.",
        "How strongly the retailers’ customers follow the price together. Prices are differences "
        "within a store and season, so that no total says how dear anybody is.",
    ),
    "price-pairs": Question(
        "The same under differential privacy: pairs of weeks of one product in one store, each cut "
        "to a largest size.",
        "How strongly customers follow the price, as far as the noise lets it through.",
    ),
    "price-scores": Question(
        "How far a candidate model was off where a price changed: two sums.",
        "The retailer’s sales volume in the weeks that were scored.",
    ),
}

PRICE = Kind(
    question="How many more or fewer units will be sold at another price?",
    measures={
        "deviance": Measure(
            "deviance",
            "forecast error",
            "0 is perfect; it weighs how unlikely the units sold were under the forecast, and is "
            "fair to products that sell seldom",
        ),
        "wape": Measure(
            "WAPE",
            "forecast error",
            "0 is perfect; 0.8 means that the forecast missed 80 units, too many or too few, for "
            "every 100 sold",
        ),
        "bias": Measure("bias"),
        "direction": Measure("direction"),
    },
    models={
        "log-log": "regression of log units",
        "ppml": "Poisson regression",
        "log-log in noise": "regression of log units under differential privacy",
        "level": "recent mean",
    },
    asked=_ASKED,
    details=details,
)
