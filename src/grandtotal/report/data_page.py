"""What `grandtotal check` found, as one offline HTML file for the retailer itself.

Made from the JSON that `check` gives, so that this page needs no table.
"""

from collections.abc import Iterator
from pathlib import Path

from grandtotal.durable import Json, write
from grandtotal.report.data_tables import data_tables
from grandtotal.report.markup import Html, Row, joined, listed, paragraph, table, tag
from grandtotal.report.plots import course, lines
from grandtotal.report.report import assembled
from grandtotal.report.words import all_of, counted, number, sentence

_SIZES = ("By units", "By price of a unit", "By number of lines")


def write_data_page(found: Json, path: Path) -> None:
    """Writes the page of what `Checked.json` gave; an OSError names the path."""
    write(path, data_page(found).encode())


def data_page(found: Json) -> str:
    """Returns the whole HTML file, the same for the same findings."""
    heading = f"What {found['retailer']} holds"
    parts = [("In short", _short(found)), ("To look at", _to_look_at(found))]
    sold = found["tables"].get("transactions", {})
    if sold.get("profile"):
        parts.append(("How it sells", _sales(sold)))
    parts += [("Tasks", _tasks(found)), ("Tables", data_tables(found))]
    if found["plan"]:
        parts.insert(1, (f"The plan {found['plan']['name']}", _plan(found["plan"])))
    return assembled(heading, f"{found['retailer']}: its tables", _about(found), parts)


def _about(found: Json) -> Html:
    facts = f"Prices in {found['currency']} · times of {found['time_zone']}"
    text = (
        "Made from this retailer’s own tables. It quotes rows, so it is meant for people who may "
        "see them; nothing of it has left this machine."
    )
    return joined([paragraph(facts, class_="facts"), paragraph(text, class_="about")])


def _short(found: Json) -> Html:
    wrong = [name for name, table in found["tables"].items() if table["problem"]]
    if wrong:
        named = all_of([f"“{name}”" for name in wrong])
        verdict = f"The {'table' if len(wrong) == 1 else 'tables'} {named} cannot be used."
    else:
        verdict = f"All {counted(len(found['tables']), 'table')} can be used."
        verdict = "The table can be used." if len(found["tables"]) == 1 else verdict
    problems = [paragraph(found["tables"][name]["problem"], class_="caution") for name in wrong]
    facts = found["tables"].get("transactions", {}).get("facts")
    numbers = tag("dl", *_facts(found["tables"]["transactions"])) if facts else Html("")
    return joined([paragraph(verdict, class_="summary"), *problems, numbers])


def _facts(sold: Json) -> Iterator[Html]:
    facts, account, profile = sold["facts"], sold["account"], sold["profile"]
    yield from _fact("Lines", f"{account['used']:,} used of {account['read']:,} read")
    yield from _fact("Days", f"{facts['first_day']} to {facts['last_day']}")
    if profile["days_without"]:
        yield from _fact("Gaps", _gaps(profile))
    for name in ("customers", "products", "stores"):
        if facts[name] is not None:
            yield from _fact(sentence(name), f"{facts[name]:,}")
    for name, text in (("anonymous", "of the lines have no customer"), ("returns", "of the lines")):
        if facts[name] is not None:
            yield from _fact(sentence(name), f"{100 * facts[name]:.1f} % {text}")
    if profile["equal_rows"]:
        text = f"{counted(profile['equal_rows'], 'line')} equal another in all that is read"
        yield from _fact("Equal lines", text)


def _fact(name: str, text: str) -> tuple[Html, Html]:
    return tag("dt", name), tag("dd", text)


def _gaps(profile: Json) -> str:
    longest = [
        f"{gap['first_day']} to {gap['last_day']} ({counted(gap['days'], 'day')})"
        for gap in profile["gaps"]
        if gap["days"] > 1
    ]
    all_days = f"{counted(profile['days_without'], 'day')} without a line"
    text = f"{all_days}; the longest: {'; '.join(longest)}" if longest else all_days
    return text.replace("-", "\u2011")  # a date stays on one line


def _to_look_at(found: Json) -> Html:
    parts = [
        _causes("Rows that are used, and should be looked at", found, "warnings"),
        _causes("Rows that were set aside", found, "causes"),
    ]
    if not any(parts):
        return paragraph("Nothing: every row is used, and none is unusual.")
    return joined(part for part in parts if part)


def _causes(caption: str, found: Json, kind: str) -> Html:
    rows = [
        Row(name, (_cause(cause),))
        for name, table_ in found["tables"].items()
        for cause in (table_["account"] or {}).get(kind, ())
    ]
    return table(caption, ("Table", "What, where, and what to do"), rows, 2) if rows else Html("")


def _cause(cause: Json) -> Html:
    examples = tag("span", ", ".join(cause["examples"]), class_="note")
    first = f"{counted(cause['rows'], 'row')}: {cause['reason']}. "
    return joined([first, examples, ". ", _ended(cause["remedy"])])


def _ended(text: str) -> str:
    return sentence(text) if text.endswith("?") else f"{sentence(text)}."


def _sales(sold: Json) -> Html:
    found = sold["profile"]["distributions"]
    figures = [_figure(distribution) for distribution in found]
    return joined([tag("div", *figures, class_="pair"), _outliers(sold["profile"]["outliers"])])


def _figure(distribution: Json) -> Html:
    values = list(zip(distribution["bins"], distribution["counts"], strict=True))
    name, what = distribution["name"], distribution["counted"]
    draw = lines if name in _SIZES else course
    title = f"{sentence(what)} {name.lower()}"
    return tag("figure", tag("h4", title), draw(title, values))


def _outliers(outliers: list[Json]) -> Html:
    rows = [Row(o["what"], (o["where"], number(o["value"]))) for o in outliers]
    return table("The largest values", ("What", "Where", "Value"), rows, 2)


def _tasks(found: Json) -> Html:
    parts = []
    for name, use in found["tasks"].items():
        verdict = "can be done" if use["possible"] else "cannot be done"
        parts.append(paragraph(tag("strong", sentence(name)), f" {verdict} with these tables."))
        lacks = [_lack(need) for need in use["lacks"]]
        parts += [listed(lacks)] if lacks else []
    return joined(parts)


def _lack(need: Json) -> Html:
    name = tag("code", f"{need['table']}.{need['column']}")
    before = "It needs " if need["required"] else "With "
    return joined([before, name, f": {need['what']}" if need["required"] else f", {need['what']}"])


def _plan(plan: Json) -> Html:
    can = all(standing["verdict"] != "no" for standing in plan["standings"])
    rows = [Row(sentence(s["point"]), (_standing(s),)) for s in plan["standings"]]
    said = "It can run on these tables." if can else "It cannot run on these tables."
    made = table("Point by point", ("Point", "What was found"), rows, 2)
    return joined([paragraph(said, class_="summary" if can else "caution"), made])


def _standing(standing: Json) -> Html:
    mark = {"yes": "Fits", "look": "To look at", "no": "Cannot run"}[standing["verdict"]]
    said = [tag("strong", mark), f": {standing['found']}."]
    if standing["verdict"] != "yes":
        said.append(f" Expected: {standing['expected']}.")
        said += [f" {_ended(standing['remedy'])}"] if standing["remedy"] else []
    return joined(said)
