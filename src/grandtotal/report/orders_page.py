"""A retailer's order list as one offline HTML file, for whoever answers for the shelves.

Made from the JSON that `OrderList.found` gives, so that this page needs no table.
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
    tag,
)
from grandtotal.report.plots import curve, shelf
from grandtotal.report.report import assembled
from grandtotal.report.words import counted

_LISTED = 200  # rows; the others are in the file
_TODAY = (
    "Today’s rule, as many shops order: up to what sold on average in the last weeks, and twice "
    "the usual swing on top. Both columns are judged by the same forecast."
)


def orders_page(found: Json) -> str:
    """Returns the whole HTML file, the same for the same list.

    found: what `OrderList.found` gave.
    """
    heading = f"What {found['retailer']} should order"
    parts = [("In short", _short(found)), ("The list", _list(found))]
    if found["courses"]["product"]:
        parts.append(("The largest orders, looked at closely", _closely(found)))
    parts.append(("How it was decided", _decided(found["how"])))
    return assembled(heading, f"{heading} · {found['run']}", _about(found), parts)


def _about(found: Json) -> Html:
    day = found["rows"][0]["order_on"] if found["rows"] else MISSING
    facts = f"Run {found['run']} · {day} · {counted(len(found['rows']), 'row')}"
    text = (
        "Made at home from the forecast of the run and this retailer’s own stock and supply; "
        "nothing of it has left this machine."
    )
    return joined([paragraph(facts, class_="facts"), paragraph(text, class_="about")])


def _short(found: Json) -> Html:
    totals = found["totals"]
    orders = counted(totals["orders"], "order")
    verdict = (
        f"{orders} for {counted(totals['products'], 'product')}, {_units(totals['units'])}, "
        f"for {_money(totals['cost'], found)}."
    )
    notes = listed(found["notes"]) if found["notes"] else Html("")
    return joined(
        [
            paragraph(verdict, class_="summary"),
            _beside(found),
            paragraph(_TODAY, class_="note"),
            notes,
        ]
    )


def _beside(found: Json) -> Html:
    """Returns the totals of these orders and of today's rule, side by side."""
    totals = found["totals"]
    lines = [
        ("To pay", "cost", _money),
        ("Units ordered", "units", _whole),
        ("Units missing", "missing", _whole),
        ("Units left over", "left", _whole),
        ("What is left over cost", "left_cost", _money),
    ]
    made = table(
        "These orders and today’s rule",
        ("", "These orders", "Today’s rule"),
        [
            Row(name, (written(totals[key], found), written(totals[f"today_{key}"], found)))
            for name, key, written in lines
        ],
    )
    lost = totals["lost_before"]
    before = (
        f" Before any order can be here, about {_units(lost)} will be missed, whatever is ordered."
        if lost >= 0.5
        else ""
    )
    said = (
        f"About {_units(totals['expected'])} will be wanted until the next order is here. Missing "
        f"are those that somebody wants and does not find; left over are those that lie there when "
        f"the next order comes.{before}"
    )
    return joined([made, paragraph(said, class_="note")])


def _list(found: Json) -> Html:
    rows = found["rows"]
    ordered = [row for row in rows if row["units"] > 0]
    kept = [row for row in rows if row["units"] <= 0 and row["limit"]]
    shown = [*ordered, *kept][:_LISTED]
    if not shown:
        return paragraph("Nothing: what is there and on its way is enough.", class_="summary")
    heads = (
        "Product",
        "Order",
        "Packs",
        "Here on",
        "To pay",
        "Missing",
        "Left over",
        "Today’s rule",
    )
    stores = len({row["store"] for row in rows}) > 1
    body = list(_groups(shown)) if stores else [_line(row) for row in shown]
    made = table("What to order, what costs most first", heads, body)
    why = [Row(_name(row), (row["why"],)) for row in shown]
    reasons = folded("Why, order by order", table("Why", ("Product", "Reason"), why, 2))
    left = len(ordered) + len(kept) - len(shown)
    more = paragraph(f"{left:,} more are in the file.", class_="note") if left > 0 else Html("")
    enough = len(rows) - len(ordered) - len(kept)
    rest = paragraph(f"For {counted(enough, 'other row')} enough is there.", class_="note")
    return joined([made, more, reasons, rest if enough else Html("")])


def _groups(rows: list[Json]) -> Iterator[Group]:
    """Yields the rows of each store under its name, in the order of the list."""
    names = dict.fromkeys((row["store"], row["from"]) for row in rows)
    for store, source in names:
        here = [row for row in rows if (row["store"], row["from"]) == (store, source)]
        head = f"{store or 'Without a store'}, from the {source}"
        head = head if source == "supplier" else f"{store}, from {source}"
        yield Group(head, tuple(_line(row) for row in here))


def _line(row: Json) -> Row:
    cells = (
        _whole(row["units"]),
        f"{row['packs']:,} × {row['pack']:g}" if row["pack"] > 1 else MISSING,
        row["arrives"],
        f"{row['cost']:,.2f}",
        _little(row["missing"]),
        _little(row["left"]),
        _whole(row["today_units"]),
    )
    return Row(_name(row), cells)


def _name(row: Json) -> str:
    title = row["title"]
    return row["product"] if title in ("", row["product"]) else f"{title} ({row['product']})"


def _closely(found: Json) -> Html:
    courses = found["courses"]
    names = {row["product"]: _name(row) for row in found["rows"]}
    parts = [
        paragraph(
            "Above, what sold and what may sell: in four cases of five it is in the band. Below, "
            "what will be left at the end of each period on average, with this order and, broken, "
            "without it.",
            class_="note",
        )
    ]
    for i, product in enumerate(courses["product"]):
        store = courses["store"][i]
        title = names[product] + (f", {store}" if store else "")
        parts.append(tag("h3", title))
        parts.append(tag("figure", curve(f"What {title} sold and may sell", _sales(courses, i))))
        parts.append(tag("figure", shelf(f"What is left of {title}", _stock(courses, i))))
    return joined(parts)


def _sales(courses: Json, i: int) -> Json:
    sold = courses["sold"][i]
    return {
        "sold": sold,
        "from": len(sold),
        "forecast": courses["middle"][i],
        "low": courses["low"][i],
        "high": courses["high"][i],
        "starts": courses["starts"],
    }


def _stock(courses: Json, i: int) -> Json:
    past = len(courses["sold"][i])
    return {
        "stock": courses["stock"][i],
        "without": courses["without"][i],
        "arrives": courses["arrives"][i],
        "starts": courses["starts"][past:],
    }


def _decided(how: Json) -> Html:
    aim = {
        "cycle": f"that nothing runs out in {100 * how['service']:g} of 100 cases",
        "fill": f"that {100 * how['service']:g} of 100 units wanted are on the shelf",
        "cost": "what costs least: keeping units, and missing those that are wanted",
    }[how["target"]]
    items = [
        f"The next order is made in {how['review']:g} days; each of these must last until that one "
        "is here.",
        f"The aim is {aim}.",
        f"Keeping a unit for a year costs {100 * how['holding']:g} % of what it cost.",
        "What is there and on its way counts; whole packs, the minimum order, the room on the "
        "shelf and the days that a product can be sold are kept.",
    ]
    if how["budget"] is not None:
        items.append(
            f"All orders together may cost {how['budget']:,.2f}; it goes where it helps most."
        )
    if how["line"]:
        items.append(f"Ordering one product costs {how['line']:,.2f}, so it is ordered less often.")
    if how["warehouse"]:
        items.append(
            f"{how['warehouse']} supplies the stores. Where it holds too little, each pack goes to "
            "the store where it sells the most that would be missing."
        )
    return listed(items)


def _money(value: float, found: Json) -> str:
    text = f"{value:,.2f}"
    return f"{text}\u00a0{found['currency']}" if found["currency"] else text


def _whole(value: float, found: Json | None = None) -> str:  # noqa: ARG001 - as _money is called
    return f"{value:,.0f}"


def _units(value: float) -> str:
    return counted(round(value), "unit")


def _little(value: float) -> str:
    return _whole(value) if value >= 10 else f"{value:.1f}"
