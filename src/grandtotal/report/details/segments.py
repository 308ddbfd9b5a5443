"""Segments of customers on the page."""

from grandtotal.durable import Json
from grandtotal.report.details.kind import Kind, Measure, Question, detail
from grandtotal.report.markup import Html, Row, folded, joined, paragraph, table, tag
from grandtotal.report.source import Findings
from grandtotal.report.words import number

_STABLE = 0.75  # of the adjusted Rand index


def details(found: Findings) -> Html:
    """Returns a profile of each segment, and how sure the segments are."""
    known, labels = detail(found, "segments"), detail(found, "labels")
    if not known:
        return Html("")
    tables = [_profile(who, segments, labels[who]) for who, segments in known.items()]
    first, rest = tables[0], tables[1:]
    others = [folded("The same segments at the other retailers", *rest)] if rest else []
    meaning = paragraph(
        "A segment means the same at every retailer: its middle was found from the totals of all "
        "customers, and which segment a customer is in is found at home. A name says in what the "
        "middle differs most from all customers."
    )
    return joined([tag("h3", "Who the customers are"), meaning, first, *others, _sure(found)])


def _profile(who: str, segments: list[Json], labels: Json) -> Html:
    whole = max(sum(one["customers"] for one in segments), 1)
    rows = [
        Row(
            f"{place}. {one['name']}",
            (
                f"{one['customers']:,}",
                f"{100 * one['customers'] / whole:.0f} %",
                f"{100 * one['of_all']:.0f} %",
                *(number(one["middle"][name]) for name in labels),
                number(one["next_purchases"]),
                number(one["spent"]),
            ),
        )
        for place, one in enumerate(segments, 1)
    ]
    heads = (
        "segment",
        "customers",
        "share here",
        "share in all",
        *labels.values(),
        "purchases that followed, in all",
        "spend that followed, here",
    )
    return table(f"Segments of the customers of {who}, as of the test’s first day", heads, rows)


def _sure(found: Findings) -> Html:
    stable = detail(found, "stability")
    shares = ", ".join(f"{number(value)} at {who}" for who, value in stable.items())
    lowest = min(stable.values())
    judged = (
        "other customers of the same kind would have given nearly the same segments"
        if lowest >= _STABLE
        else "take the borders between segments as a convenience, not as something found"
    )
    return paragraph(
        f"Made again from a retailer’s customers, drawn with replacement, the segments agree with "
        f"these by {shares} (adjusted Rand index; 1 is the same, 0 as by chance): {judged}.",
        class_="note",
    )


_ASKED = {
    "feature-sums": Question(
        "How many customers there are, and the sum of each of their habits.",
        "The habits of the retailer’s average customer.",
    ),
    "cell-counts": Question(
        "How many customers are in each cell of a coarse grid of habits: where to begin.",
        "How the retailer’s customers are spread over the grid. A count of 1 says that one "
        "customer’s habits are somewhere in that cell.",
    ),
    "lloyd-sums": Question(
        "For each candidate middle: how many customers are nearest to it, and the sum of their "
        "habits.",
        "The average habits of groups of customers. A group of one is that customer’s habits.",
    ),
    "mixture-sums": Question(
        "For each candidate group: how many customers are in it by share, and sums of their habits "
        "and squared habits.",
        "The average habits of groups of customers, and how much they vary.",
    ),
    "segment-scores": Question(
        "How clearly customers fall into candidate segments one period later: one sum.",
        "How much the retailer’s customers change their habits.",
    ),
    "segment-profiles": Question(
        "For each segment: customers, and what they bought and spent in the following days.",
        "How many customers of each kind the retailer has, and what they are worth on average.",
    ),
}

SEGMENTS = Kind(
    question="Which kinds of customers are there, and who belongs to which?",
    measures={
        "silhouette": Measure(
            "silhouette",
            "clearness of the segments",
            "1 is fully; 0 means that the next segment’s middle is as near as the own one’s. Of "
            "the same customers one period later",
        ),
        "inertia": Measure("distance to the middle"),
        "next_spend": Measure(
            "unexplained spend",
            plain="what knowing the segment leaves open of the next period’s spend; 1 is all",
        ),
    },
    models={"kmeans": "k-means", "mixture": "Gaussian mixture", "halves": "habits cut in halves"},
    asked=_ASKED,
    details=details,
)
