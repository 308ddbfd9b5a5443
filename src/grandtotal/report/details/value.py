"""Customers' value on the page."""

from calendar import month_name
from collections.abc import Mapping

from grandtotal.durable import Json
from grandtotal.report.details.kind import Kind, Measure, Question, detail, figure
from grandtotal.report.markup import Html, Row, joined, paragraph, table, tag
from grandtotal.report.plots import curve
from grandtotal.report.source import Findings
from grandtotal.report.words import number

_MONTHS = tuple(month_name)[1:]
_RELATED = 0.3  # a correlation from which Gamma-Gamma's assumption is in doubt


def details(found: Findings) -> Html:
    """Returns the test week by week, spend by tenths of customers, and what the model assumes."""
    weeks, tenths = detail(found, "by_week"), detail(found, "tenths")
    return joined([_weeks(found, weeks), _tenths(found, tenths), _season(found), _assumed(found)])


def _largest(found: Findings, known: Mapping[str, Json]) -> str:
    return max(known, key=lambda who: found.retailers[who]["sample"])


def _weeks(found: Findings, known: Mapping[str, Json]) -> Html:
    if not known:
        return Html("")
    largest = _largest(found, known)
    shown = known[largest]
    title = f"Purchases expected and made at {largest}, added up week by week"
    course = {
        "starts": [f"day {day}" for day in shown["days"]],
        "sold": shown["bought"],
        "from": 0,
        "forecast": shown["expected"],
        "low": shown["expected"],
        "high": shown["expected"],
    }
    caption = (
        f"{largest}: purchases of the customers who were known when the test began, added up to "
        "the end of each week. Line: made. Broken line: expected, before that week was seen."
    )
    rows = [
        Row(who, tuple(_missed(one, place) for place in (len(one["days"]) // 2, -1)))
        for who, one in known.items()
    ]
    heads = ("retailer", "halfway through the test", "at its end")
    return joined(
        [
            tag("h3", "The test, week by week"),
            figure(curve(title, course), caption),
            table("Expected purchases over those made, all customers together", heads, rows),
        ]
    )


def _missed(one: Json, place: int) -> str:
    made = one["bought"][place]
    return f"{100 * (one['expected'][place] / made - 1):+.1f} %".replace("-", "−") if made else "–"


def _tenths(found: Findings, known: Mapping[str, Json]) -> Html:
    if not known:
        return Html("")
    largest = _largest(found, known)
    one = known[largest]
    whole = sum(one["spent"]) or 1.0
    rows = [
        Row(
            "the tenth expected to spend most" if i == 0 else f"tenth {i + 1}",
            (number(expected), number(spent), f"{100 * spent / whole:.1f} %"),
        )
        for i, (expected, spent) in enumerate(zip(one["expected"], one["spent"], strict=True))
    ]
    heads = ("customers", "expected to spend", "spent", "of all spend")
    caption = f"Customers of {largest} in tenths, by the spend that was expected of them"
    return joined([tag("h3", "Whether the best customers were found"), table(caption, heads, rows)])


def _season(found: Findings) -> Html:
    months: list[float] = next(iter(detail(found, "months").values()), [])
    if not months or max(months) == min(months):
        return paragraph(
            "No season was found: customers buy about as much in every month of the year.",
            class_="note",
        )
    named = [(factor, name) for factor, name in zip(months, _MONTHS, strict=True)]
    most, least = (
        ", ".join(f"{name} (× {factor:.2f})" for factor, name in some)
        for some in (sorted(named, reverse=True)[:2], sorted(named)[:2])
    )
    return paragraph(
        f"The forecast knows the season of all retailers’ customers together. They buy most in "
        f"{most} and least in {least}, against the mean of the year.",
        class_="note",
    )


def _assumed(found: Findings) -> Html:
    once, related = detail(found, "once"), detail(found, "correlation")
    if not once:
        return Html("")
    shares = ", ".join(f"{100 * share:.0f} % at {who}" for who, share in once.items())
    value = next(iter(related.values()))
    said = (
        "Customers who buy more often also spend more at a purchase"
        if value > 0
        else "Customers who buy more often spend less at a purchase"
    )
    doubt = (
        ": more than a model that takes the two as unrelated should be trusted with"
        if abs(value) > _RELATED
        else "; the model takes the two as unrelated, which is near enough"
    )
    return paragraph(
        f"Known by one purchase alone when the test began: {shares}. Of them the mean of all "
        f"customers says most. {said} (correlation {number(value)}){doubt}.",
        class_="note",
    )


_ASKED = {
    "likelihood-sums": Question(
        "How likely the purchases of the retailer’s customers are under parameters that all know, "
        "and how that changes with each parameter: sums over all customers.",
        "How often customers come back, stop and spend on average, and how many there are. A sum "
        "over one customer would be that customer’s.",
    ),
    "value-scores": Question(
        "How far the expected purchases were off before the test: one sum, and the number of "
        "customers.",
        "How predictable the retailer’s customers are, and how many there are.",
    ),
    "season-sums": Question(
        "How many purchases customers made in each month of the year between their first and their "
        "last, and how many would be if all months were alike: 24 sums.",
        "In which months the retailer’s customers buy more than in others, and how many purchases "
        "there were.",
    ),
    "spend-correlation": Question(
        "Whether customers who buy often spend more at a purchase: five sums of logarithms.",
        "How often the average customer buys and what it spends, and how much both vary.",
    ),
}

VALUE = Kind(
    question="How often will each customer buy in the coming days, and for how much?",
    measures={
        "purchases_rmse": Measure(
            "error of purchases",
            "typical error of the purchases expected of a customer",
            "0 is perfect; 1.2 means that the purchases of a customer were off by about 1.2, "
            "large errors counting more",
        ),
        "purchases_mae": Measure("mean error of purchases"),
        "purchases_bias": Measure("bias of purchases"),
        "spend_wape": Measure("error of spend"),
        "spend_bias": Measure("bias of spend"),
        "top_decile": Measure(
            "spend of the best tenth",
            plain="share of all spend that came from the tenth of the customers expected to spend "
            "most",
        ),
    },
    models={
        "bg-nbd": "buying rates and leaving (BG/NBD)",
        "nbd": "buying rates alone (NBD)",
        "recent": "as recently",
        "rate": "own past rate",
    },
    asked=_ASKED,
    details=details,
)
