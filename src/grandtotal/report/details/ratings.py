"""Stars on the page: where they were right, of whom, and whether a chance may be believed."""

from collections.abc import Mapping, Sequence

from grandtotal.durable import Json
from grandtotal.report.details.kind import Kind, Measure, Question, detail, figure
from grandtotal.report.markup import Group, Html, Row, joined, table, tag
from grandtotal.report.plots import Dot, dots
from grandtotal.report.source import Findings
from grandtotal.report.words import counted, number


def details(found: Findings) -> Html:
    """Returns the test by what is known of a customer, by star, and by how sure the model was."""
    return joined(
        [
            _by_known(detail(found, "by_known")),
            _by_star(detail(found, "by_star")),
            _by_sureness(detail(found, "by_sureness")),
        ]
    )


def _by_known(known: Mapping[str, list[Json]]) -> Html:
    heads = ("ratings known of a customer", "ratings in the test", "error in stars", "right star")
    return _groups(
        "How much has to be known of a customer",
        "Error of the expected stars, and how often the likeliest star was the one given, by how "
        "many ratings of the customer were known before",
        heads,
        {
            who: [
                Row(
                    _range(parts, i),
                    (f"{one['ratings']:,}", number(one["rmse"]), _percent(one["right"])),
                )
                for i, one in enumerate(parts)
            ]
            for who, parts in known.items()
        },
    )


def _range(parts: Sequence[Json], place: int) -> str:
    least = parts[place]["least"]
    if least == 0:
        return "none: a new customer"
    if place + 1 == len(parts):
        return f"{least} and more"
    most = parts[place + 1]["least"] - 1
    return f"{least}" if most == least else f"{least} to {most}"


def _by_star(stars: Mapping[str, list[Json]]) -> Html:
    heads = ("stars given", "ratings in the test", "expected on average", "right star")
    return _groups(
        "Star by star",
        "Expectations lie nearer to the middle than what is given: nobody knows a mood beforehand",
        heads,
        {
            who: [
                Row(
                    counted(one["least"], "star"),
                    (f"{one['ratings']:,}", number(one["expected"]), _percent(one["right"])),
                )
                for one in parts
            ]
            for who, parts in stars.items()
        },
    )


def _groups(
    heading: str, caption: str, heads: Sequence[str], rows: Mapping[str, list[Row]]
) -> Html:
    content = [Group(who, tuple(lines)) for who, lines in rows.items() if lines]
    if not content:
        return Html("")
    return joined([tag("h3", heading), table(caption, heads, content)])


def _by_sureness(sure: Mapping[str, list[Json]]) -> Html:
    if not sure:
        return Html("")
    groups = [
        (
            who,
            [
                Dot(f"said {100 * one['sure']:.0f} %", "federated", {"value": one["right"]})
                for one in reversed(parts)
            ],
        )
        for who, parts in sure.items()
    ]
    title = "May a chance be taken at its word?"
    caption = (
        "Each dot holds the ratings of which the likeliest star was about as likely: what was said "
        "on the left, and the share in which it was the star given, on the axis."
    )
    return joined([tag("h3", title), figure(dots(title, groups), caption)])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


_ASKED = {
    "rating-counts": Question(
        "How many customers gave each product one, two, three, four or five stars before a date.",
        "A summand is the retailer’s own ratings, product by product. A count of 1 is one "
        "customer’s rating.",
    ),
    "rating-moments": Question(
        "For every product: sums, over the customers who rated it, of their own factors, of these "
        "with each other, and with what is left of the rating. Factors are found at home and leave "
        "only inside sums.",
        "Of a product that one customer of all retailers rated, the sums are that customer’s "
        "factors and rating.",
    ),
    "rating-classes": Question(
        "For each star: how many ratings after a date had it, and sums of what a model said of "
        "them before.",
        "How many ratings of each star the retailer had after the date, and how predictable they "
        "were. A count of 1 is one rating.",
    ),
    "rating-errors": Question(
        "How far the expected stars of a candidate were off after a date: one sum, and the number "
        "of ratings.",
        "How many ratings the retailer had after the date, and how predictable they were.",
    ),
}

RATINGS = Kind(
    question="How many stars will each customer give what it has not rated yet?",
    measures={
        "stars_rmse": Measure(
            "RMSE in stars",
            "error of the expected stars",
            "0 is perfect; one large error counts more than several small ones",
        ),
        "stars_right": Measure("right star", "share of ratings whose likeliest star was given"),
        "stars_log_loss": Measure(
            "log loss",
            "error of the chances",
            "0 is perfect; five equal chances have 1.609",
        ),
        "stars_ndcg": Measure(
            "NDCG@10 of rated products",
            "how well a customer’s rated products are put in order",
            "1 is perfect; read it beside what a random order has, which is not 0",
        ),
        "stars_random": Measure("NDCG@10 of a random order"),
        "stars_lift": Measure(
            "lift of the order",
            "order, from random to perfect",
            "0 is a random order, 1 the customer’s own",
        ),
    },
    models={
        "item-mean": "mean of each product’s ratings",
        "factors": "levels and factors of customers and products",
        "ncf": "network over customer and product (NCF)",
    },
    asked=_ASKED,
    details=details,
)
