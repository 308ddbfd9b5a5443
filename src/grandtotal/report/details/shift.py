"""Changes in customers' behaviour on the page."""

from collections.abc import Mapping
from datetime import date

from grandtotal.durable import Json
from grandtotal.report.details.kind import Kind, Measure, Question, detail, figure
from grandtotal.report.markup import Html, Row, joined, paragraph, table, tag
from grandtotal.report.plots import steps, timeline
from grandtotal.report.source import Findings
from grandtotal.report.words import number

_DOTS = {"yes": "federated", "no": "alone"}


def details(found: Findings) -> Html:
    """Returns when what changed at each retailer, in words, and the course of the largest."""
    return joined(_retailer(who, each) for who, each in detail(found, "shifts").items())


def _retailer(who: str, found: Json) -> Html:
    changes = found["changes"]
    told = f"{found['looked_at']:,} series and distributions of {who} were looked at."
    mean = paragraph(
        f"{told} The level of the last eight weeks, carried on, would have had an error of "
        f"{number(found['recent_mean'])} in the test.",
        class_="note",
    )
    head = tag("h3", f"What changed at {who}")
    if not changes:
        return joined([head, paragraph(f"{told} None is told as changed."), mean])
    return joined([head, *_timeline(who, found), _table(who, changes), *_courses(who, found), mean])


def _timeline(who: str, found: Json) -> list[Html]:
    lines = [
        (_name(one), {**one, "kind": _DOTS.get(str(one["also_in_consortium"]), "baseline")})
        for one in found["changes"]
        if "distribution" not in one["feature"] and "trend" not in one["feature"]
    ]
    if not lines:
        return []
    first, last = (date.fromisoformat(found[name]) for name in ("first", "last"))
    caption = (
        f"When what changed at {who}. Dot: the likeliest day; line: the days that hold it nine "
        "times in ten. Colours: as the row “federated” where the other retailers saw the same, as "
        "“alone” where they did not, as “baseline” where that is not known."
    )
    return [figure(timeline(f"Changes at {who} by date", first, last, lines), caption)]


def _table(who: str, changes: list[Json]) -> Html:
    rows = [
        Row(
            _name(one),
            (
                str(one["words"]),
                number(one["from"]),
                number(one["to"]),
                number(one["q"]),
            ),
        )
        for one in changes
    ]
    heads = ("what", "in words", "from", "to", "false share (q)")
    return table(f"Changes at {who}, the surest first", heads, rows, words=2)


def _courses(who: str, found: Json) -> list[Html]:
    return [
        figure(
            steps(f"{_name(course)} at {who} by week", course),
            f"{_name(course)} at {who}. Line: by week. Broken lines: the level before and after.",
        )
        for course in found["courses"]
    ]


def _name(one: Mapping[str, object]) -> str:
    where = one["where"]
    return str(one["feature"]) if where == "all" else f"{one['feature']}: {where}"


_ASKED = {
    "behaviour-sums": Question(
        "By day how many visits, customers and units there were, what was spent, returned and "
        "bought in promotions, in all and by agreed category; by week how visits are spread over "
        "sizes, spends, weekdays and hours. Weeks of a group with too few customers are left out.",
        "A summand is the retailer’s own course of business, day by day; money in it is in its "
        "usual visits, so its takings and currency are not.",
    ),
    "shift-scores": Question(
        "How far the level of the next weeks was off when the alarms of one way of looking for "
        "changes were acted on: two sums.",
        "How steady the retailer’s business was in the weeks that were scored.",
    ),
    "loyal-sums": Question(
        "By week how many units loyal customers bought, how many of them came and what they spent, "
        "by tier and category. Groups with too few customers are left out.",
        "A summand is how a retailer’s loyal customers develop.",
    ),
}

SHIFT = Kind(
    question="What changed in customers’ behaviour, when, and only here or everywhere?",
    measures={
        "level_error": Measure(
            "level error",
            "error of the level",
            "0 is perfect; 0.2 means that the levels of the next weeks were missed by a fifth",
        ),
        "alarms": Measure("alarms a year", plain="how often a series raised an alarm"),
        "false_alarms": Measure(
            "false alarms",
            plain="share of the alarms after which the level was nearer to the one before",
        ),
    },
    models={
        "cusum": "sums of likelihood ratios (CUSUM)",
        "page-hinkley": "sums of deviations (Page-Hinkley)",
        "psi": "distribution of the last four weeks (PSI)",
        "reference": "level of all weeks so far",
    },
    asked=_ASKED,
    details=details,
)
