"""A retailer's decision on prices as one offline HTML file, for whoever answers for a category.

Made from the rows of `decide.table`, so that this page needs no table of the retailer's.
"""

from collections.abc import Iterator

from grandtotal.durable import Json
from grandtotal.report.markup import (
    MISSING,
    Group,
    Html,
    Row,
    folded,
    joined,
    listed,
    paragraph,
    table,
)
from grandtotal.report.report import assembled
from grandtotal.report.words import counted

_LISTED = 200  # rows; the others are in the file
_KINDS = {
    "new price": "New prices",
    "test": "Price tests, since past prices tell nothing",
    "clash": "No price keeps all rules",
}


def prices_page(found: Json) -> str:
    """Returns the whole HTML file, the same for the same decision.

    found: retailer, run, currency, period, summary (one fact a line) and the rows.
    """
    heading = f"What prices {found['retailer']} should set"
    about = paragraph(
        f"Run {found['run']} · {counted(len(found['rows']), 'product')} · made at home from the "
        f"elasticities of the run and this retailer’s own prices, costs and rules; nothing of it "
        f"has left this machine.",
        class_="about",
    )
    parts = [("In short", listed(found["summary"].splitlines())), ("The prices", _list(found))]
    return assembled(heading, f"{heading} · {found['run']}", about, parts)


def _list(found: Json) -> Html:
    rows = sorted(found["rows"], key=lambda row: -abs(_gain(row) or 0.0))
    told = [row for kind in _KINDS for row in rows if row["decision"] == kind]
    rest = len(rows) - len(told)
    kept = paragraph(f"{counted(rest, 'other product')} keep their price.", class_="note")
    if not told:
        return joined([paragraph("No price changes.", class_="summary"), kept])
    shown = told[:_LISTED]
    heads = ("Product", "Price now", "New price", "Change", "Units", "Gain", "May lose")
    note = (
        f"In {found['currency']}, a {found['period']}. Gain is of the margin, or of what is taken "
        f"where no cost is known. May lose is in how many of 100 cases the product earns less."
    )
    why = [Row(_name(row), (row["why"],)) for row in shown]
    more = len(told) - len(shown)
    left = paragraph(f"{more:,} more are in the file.", class_="note") if more else Html("")
    made = [
        table("What changes, what gains or loses most first", heads, list(_groups(shown))),
        paragraph(note, class_="note"),
        left,
        folded("Why, product by product", table("Why", ("Product", "Reason"), why, 2)),
    ]
    return joined([*made, *([kept] if rest else [])])


def _groups(rows: list[Json]) -> Iterator[Group]:
    for kind, head in _KINDS.items():
        if here := [row for row in rows if row["decision"] == kind]:
            yield Group(head, tuple(Row(_name(row), _cells(row)) for row in here))


def _cells(row: Json) -> tuple[str, ...]:
    gain, new = _gain(row), row["decision"] == "new price"
    moved = row["units"] / row["units_now"] - 1 if new and row["units_now"] else None
    return (
        _written(row["price_now"], ",.2f"),
        _written(row["price"] if new else None, ",.2f"),
        _written(row["change"] if new else None, "+.0%"),
        _written(moved, "+.0%"),
        _written(gain if new else None, "+,.2f"),
        _written(row["risk"] if new else None, ".0%"),
    )


def _gain(row: Json) -> float | None:
    goal = "revenue" if row["margin"] is None else "margin"
    if row[goal] is None or row[f"{goal}_now"] is None:
        return None
    return float(row[goal] - row[f"{goal}_now"])


def _written(value: float | None, how: str) -> str:
    return MISSING if value is None else format(value, how).replace("%", " %")


def _name(row: Json) -> str:
    title = row["title"]
    return row["product"] if title in ("", row["product"]) else f"{title} ({row['product']})"
