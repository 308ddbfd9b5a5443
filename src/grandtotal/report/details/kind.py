"""What the report knows of one kind of task: its words, and what it draws beside the scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from grandtotal.report.markup import Html, joined, tag
from grandtotal.report.plots import columns
from grandtotal.report.source import Findings
from grandtotal.report.words import number


@dataclass(frozen=True)
class Measure:
    """A metric for readers: its short name, a phrase for it, and what its number says.

    "{top}" in them is the k of a ranking.
    """

    name: str
    word: str = ""
    plain: str = ""


@dataclass(frozen=True)
class Question:
    """What a query asks, and what its exact answer tells whoever sees it."""

    asks: str
    reveals: str


def nothing(found: Findings) -> Html:  # noqa: ARG001
    """Returns what is drawn for a kind that has nothing beside its scores."""
    return Html("")


@dataclass(frozen=True)
class Kind:
    """Words and drawings of one kind of task.

    question: what the task answers, as its user would ask it. asked: the queries that are its own.
    details: draws what `Task.detail` returned at each retailer.
    """

    question: str
    measures: Mapping[str, Measure]
    models: Mapping[str, str]
    asked: Mapping[str, Question] = field(default_factory=dict)
    details: Callable[[Findings], Html] = nothing


def detail(found: Findings, key: str) -> dict[str, Any]:
    """Returns one part of the task's detail, of the retailers that have it."""
    details = {who: one.get("detail", {}) for who, one in found.retailers.items()}
    return {who: detail[key] for who, detail in details.items() if key in detail}


def figure(drawn: Html, caption: str) -> Html:
    """Returns a plot with its caption."""
    return tag("figure", drawn, tag("figcaption", caption))


def small_columns(series: Mapping[str, list[float]], heading: str, caption: str) -> Html:
    """Returns a small column plot for each retailer, all on one scale; nothing without any."""
    if not series:
        return Html("")
    highest = max(chain.from_iterable(series.values()), default=0) or 1
    drawn = [
        tag("div", columns(f"{heading}: {who}", values, highest, who))
        for who, values in series.items()
    ]
    note = f"{caption} All on one scale; the tallest column is {number(highest)}."
    return joined([tag("h3", heading), figure(tag("div", *drawn, class_="small"), note)])
