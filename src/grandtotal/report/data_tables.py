"""The part of the data page that goes table by table: columns, and what is not there."""

from collections.abc import Iterator

from grandtotal.durable import Json
from grandtotal.report.markup import (
    MISSING,
    Html,
    Row,
    folded,
    joined,
    listed,
    paragraph,
    table,
    tag,
)
from grandtotal.report.words import number

_HEADS = ("Column", "Kind", "Empty", "Distinct", "From", "To")


def data_tables(found: Json) -> Html:
    """Returns a part for every table that is there, and a list of those that are not."""
    parts = [_table(name, held) for name, held in found["tables"].items() if held["account"]]
    absent = [_absent(table_["name"], table_["enables"]) for table_ in found["absent"]]
    if absent:
        parts.append(tag("h3", "Tables that are not there"))
        parts.append(joined([paragraph("All may be left out. With them:"), listed(absent)]))
    return joined(parts)


def _table(name: str, held: Json) -> Html:
    columns = [_column(column, held["account"]["used"]) for column in held["profile"]["columns"]]
    absent = [_absent(a["name"], a["enables"], a["meant"]) for a in held["absent"]]
    more = folded("Columns that are not there", listed(absent)) if absent else Html("")
    return joined(
        [
            tag("h3", name),
            paragraph(", ".join(_account(held["account"]))),
            table(f"Columns of {name}", _HEADS, columns, 2),
            more,
        ]
    )


def _account(account: Json) -> Iterator[str]:
    aside = sum(cause["rows"] for cause in account["causes"])
    yield f"{account['read']:,} rows read"
    yield f"{account['used']:,} used"
    if aside:
        yield f"{aside:,} set aside"
    if account["no_consent"]:
        yield f"{account['no_consent']:,} without consent"
    if account["unused_columns"]:
        yield f"columns that nothing is read from: {', '.join(account['unused_columns'])}"


def _column(column: Json, rows: int) -> Row:
    share = column["missing"] / rows if rows else 0.0
    empty = MISSING if not column["missing"] else f"{100 * share:.1f} %"
    ends = [_end(column[end]) for end in ("least", "most")]
    return Row(column["name"], (column["kind"], empty, f"{column['distinct']:,}", *ends))


def _end(value: float | str | None) -> str:
    if isinstance(value, str):
        return value.removesuffix(" 00:00:00")[:16]
    return number(value)


def _absent(name: str, enables: str, meant: str = "") -> Html:
    hint = f" Did you mean “{meant}”?" if meant else ""
    return joined([tag("code", name), f": {enables}.", hint])
