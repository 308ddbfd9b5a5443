"""Probabilities on the page: lift, calibration, what weighs most, and gaps between groups."""

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
from grandtotal.report.markup import Group, Html, Row, joined, paragraph, table, tag
from grandtotal.report.plots import Dot, dots
from grandtotal.report.source import Findings
from grandtotal.report.words import all_of, number

_HEADS = ("Group", "How many", "Said", "Came true", "Gap", "Found")
_SHOWN = 8  # columns with the most weight


def details(found: Findings) -> Html:
    """Returns lift by tenth, calibration, the strongest columns and gaps between groups."""
    lift = small_columns(
        detail(found, "lift"),
        "How well the highest risks are found",
        "All are sorted by their probability and cut into ten equal parts, the highest first. "
        "Height: how often it came true there, over the average of all; 1 is no better than "
        "drawing names.",
    )
    return joined(
        [
            lift,
            _calibration(found),
            _weights(detail(found, "weights")),
            _gaps(detail(found, "gaps"), detail(found, "least_group")),
            _shared_gaps(found),
            _protected(detail(found, "protected")),
        ]
    )


def _calibration(found: Findings) -> Html:
    """Returns for each retailer, by tenth, the probability that was said and what came true."""
    bins, errors = detail(found, "calibration"), detail(found, "calibration_error")
    if not bins:
        return Html("")
    groups = [
        (
            f"{who}: off by {number(errors[who])} on average",
            [
                Dot(f"said {100 * b['probability']:.0f} %", "federated", {"value": b["share"]})
                for b in reversed(tenths)
            ],
        )
        for who, tenths in bins.items()
    ]
    caption = (
        "Each dot is a tenth of the test: what was said of it, on the left, and the share that it "
        "came true for, on the axis. Where both agree, a probability may be taken at its word."
    )
    title = "Is what is said what comes true?"
    return joined([tag("h3", title), figure(dots(title, groups), caption)])


def _weights(weights: Mapping[str, list[Json]]) -> Html:
    if not weights:
        return Html("")
    who = max(weights, key=lambda each: len(weights[each]))
    shown = weights[who][:_SHOWN]
    title = f"What moves the probability most at {who}"
    plot = dots(
        title,
        [(who, [Dot(one["column"], "federated", {"value": one["size"]}) for one in shown])],
    )
    caption = (
        "By how much a column moves the log of the odds of a customer or a visit on average, up or "
        "down. The prediction file says for each which of them counted, in words."
    )
    return joined([tag("h3", "What it looks at"), figure(plot, caption)])


def _gaps(gaps: Mapping[str, Mapping[str, list[Json]]], least: Mapping[str, int]) -> Html:
    """Returns for each retailer how the model treats each group that is large enough."""
    parts = [_gap_table(who, found, least[who]) for who, found in gaps.items() if found]
    if not parts:
        return Html("")
    note = paragraph(
        "Is the model as right for one group as for another? “Said” is the mean probability, “came "
        "true” the share; “found”: of those it came true for, how many were in the highest tenth. "
        "Age band and region measure this and are no features unless the plan says so.",
        class_="note",
    )
    return joined([tag("h3", "Gaps between groups"), note, *parts])


def _shared_gaps(found: Findings) -> Html:
    """Returns the agreed groups over all retailers, which everybody sees."""
    for one in found.retailers.values():
        gaps = one.get("choices", {}).get("federated", {}).get("gaps")
        if gaps:
            least = one["detail"]["least_group"]
            rows = tuple(_gap_row(gap, least) for gap in gaps)
            return table("Groups of all retailers together, on validation", _HEADS, rows)
    return Html("")


def _gap_table(who: str, found: Mapping[str, list[Json]], least: int) -> Html:
    content = [
        Group(
            attribute.replace("_", " "),
            tuple(_gap_row(one, least) for one in sorted(groups, key=lambda each: each["group"])),
        )
        for attribute, groups in found.items()
    ]
    return table(f"Groups of {who}, on the test", _HEADS, content)


def _gap_row(one: Json, least: int) -> Row:
    if one.get("suppressed"):
        return Row(one["group"], (f"fewer than {least}", "–", "–", "–", "–"))
    said, came = one["probability"], one["share"]
    found = f"{100 * one['found']:.0f} %" if "found" in one else "–"
    return Row(
        one["group"],
        (
            f"{one['units']:,}",
            f"{100 * said:.1f} %",
            f"{100 * came:.1f} %",
            f"{100 * (said - came):+.1f}".replace("-", "−"),
            found,
        ),
    )


def _protected(protected: Mapping[str, list[str]]) -> Html:
    used = sorted({name for names in protected.values() for name in names})
    if not used:
        return Html("")
    return paragraph(
        f"The plan allows {all_of([name.replace('_', ' ') for name in used])} as features of the "
        "model: it may treat people differently because of them.",
        class_="caution",
    )


def churn_details(found: Findings) -> Html:
    """Returns what `details` does, and the horizon of each retailer."""
    horizons = detail(found, "horizon_days")
    once = detail(found, "one_purchase")
    said = [
        f"{who}: no purchase in {days} days; {once[who]:,} customers bought on one day only"
        for who, days in horizons.items()
    ]
    note = paragraph(f"What counts as leaving. {'. '.join(said)}.", class_="note") if said else ""
    return joined([note, details(found)])


_MEASURES = {
    "log-loss": Measure(
        "log loss",
        "error of the probabilities",
        "0 is perfect; 0.69 is a coin",
    ),
    "auc": Measure(
        "AUC",
        "how often the right one of two is ranked higher",
        "0.5 is drawing names, 1 is perfect",
    ),
    "lift": Measure("lift", "how much more often it comes true in the highest tenth"),
    "average-precision": Measure("average precision"),
    "brier": Measure("Brier"),
    "bias": Measure("bias"),
}
_MODELS = {
    "logistic": "logistic regression",
    "trees": "boosted trees",
    "table": "own shares",
}
_ASKED = {
    "outcome-scores": Question(
        "How far the probabilities of a candidate were off, and by probability how many there were "
        "and how many it came true for.",
        "How many customers or visits the retailer has at each level of risk, and how many of them "
        "left or bought. A count of 1 is one customer or visit.",
    ),
    "group-gaps": Question(
        "For each group that the plan names: how many there are, for how many it came true and was "
        "expected, and how many of them were among the highest tenth.",
        "How large the group is at the retailer and how it behaves. A retailer with few of a group "
        "adds nothing to it.",
    ),
}

CHURN = Kind(
    question="Which customers are about to leave?",
    measures=_MEASURES,
    models=_MODELS,
    asked=_ASKED,
    details=churn_details,
)
PURCHASE_INTENT = Kind(
    question="Will this visit end in a purchase?",
    measures=_MEASURES,
    models=_MODELS,
    asked=_ASKED,
    details=details,
)
