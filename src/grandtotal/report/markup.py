"""HTML by construction: every string is escaped before it meets markup, `Html` alone is not."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MISSING = "–"


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(part: str) -> Html:
    """Returns the part as markup: itself if it is, else with < > & and quotes escaped."""
    return part if isinstance(part, Html) else Html(html.escape(part))


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Returns the parts as one piece of markup."""
    return Html(escaped(between).join(escaped(part) for part in parts))


def tag(name: str, *parts: str, **attributes: str) -> Html:
    """Returns <name attributes>parts</name>; class_ is written class, aria_label aria-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{joined(parts)}</{name}>")


def paragraph(*parts: str, **attributes: str) -> Html:
    """Returns the parts as one paragraph."""
    return tag("p", *parts, **attributes)


def listed(items: Iterable[str]) -> Html:
    """Returns the items as a list with bullets."""
    return tag("ul", *(tag("li", item) for item in items))


def folded(summary: str, *parts: str) -> Html:
    """Returns parts that are shown when the summary is opened, and always in print."""
    return tag("details", tag("summary", summary), *parts)


@dataclass(frozen=True)
class Row:
    """One row of a table: the heading that names it, and its cells."""

    head: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Rows under one heading that spans the table."""

    head: str
    rows: tuple[Row, ...]


def table(
    caption: str, heads: Sequence[str], content: Sequence[Row | Group], words: int = 1
) -> Html:
    """Returns a table in a box of its own that scrolls where the page is too narrow.

    words: how many of the first columns hold words; the others hold numbers, set to the right.
    """
    body = [_body(part, len(heads), words) for part in content]
    cells = [tag("th", head, scope="col", **_kind(i, words)) for i, head in enumerate(heads)]
    made = tag("table", tag("caption", caption), tag("thead", tag("tr", *cells)), *body)
    return tag("div", made, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _body(part: Row | Group, width: int, words: int) -> Html:
    if isinstance(part, Row):
        return tag("tbody", _row(part, words))
    head = tag("th", part.head, colspan=str(width), scope="rowgroup", class_="group")
    return tag("tbody", tag("tr", head), *(_row(row, words) for row in part.rows))


def _row(row: Row, words: int) -> Html:
    cells = [tag("td", cell, **_kind(i, words)) for i, cell in enumerate(row.cells, start=1)]
    return tag("tr", tag("th", row.head, scope="row"), *cells)


def _kind(column: int, words: int) -> dict[str, str]:
    return {} if column < words else {"class_": "n"}
