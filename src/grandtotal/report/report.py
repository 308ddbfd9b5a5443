"""The one-file report of a run: no script, no font, no picture and no style from anywhere else.

It reads the run folder and nothing besides, and is the same bytes each time.
"""

from pathlib import Path
from string import Template

from grandtotal.durable import write
from grandtotal.report.gains import headline
from grandtotal.report.making import data_used, how_made
from grandtotal.report.markup import Html, joined, paragraph, tag
from grandtotal.report.scores import task_section
from grandtotal.report.source import Source, View, read_retailer, read_run
from grandtotal.report.traffic import rounds_and_bytes, what_left
from grandtotal.report.words import counted, sentence, spelled
from grandtotal.runfolder import RunFolder

_TEMPLATE = Path(__file__).with_name("template.html")
_LEFT = {View.RETAILER: "What left your building"}


def write_report(folder: RunFolder, retailer: str | None = None) -> Path:
    """Writes the report of a finished run and returns its path, report.html.

    With a retailer's name it is that retailer's own report, in its own folder and from its own
    files alone. RunError where the run is unfinished, damaged, or has no such retailer.
    """
    if retailer is None:
        path, source = folder.report, read_run(folder)
    else:
        path, source = folder.retailer(retailer) / "report.html", read_retailer(folder, retailer)
    write(path, page(source).encode())
    return path


def page(source: Source) -> str:
    """Returns the whole HTML file."""
    title = _title(source)
    return assembled(title, f"{title} · {source.run}", _about(source), _sections(source))


def assembled(heading: str, title: str, about: Html, parts: list[tuple[str, Html]]) -> str:
    """Returns an HTML file of sections (name, content), with a list of contents."""
    made = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=tag("title", title),
        heading=tag("h1", heading),
        about=about,
        contents=_contents(parts),
        sections=joined(_section(i, *part) for i, part in enumerate(parts, start=1)),
    )
    return made.replace(" %", "\u00a0%")  # a number and its sign stay on one line


def _sections(source: Source) -> list[tuple[str, Html]]:
    left = _LEFT.get(source.view, "What left each retailer’s building")
    return [
        ("In short", headline(source)),
        *((sentence(name), task_section(name, found)) for name, found in source.tasks.items()),
        ("Rounds and bytes", rounds_and_bytes(source)),
        (left, what_left(source)),
        ("Data used", data_used(source)),
        ("How it was made", how_made(source)),
    ]


def _title(source: Source) -> str:
    if source.retailer is not None:
        return f"What {source.retailer} gained by training together"
    return f"What {spelled(len(source.plan.members))} retailers gained by training together"


def _about(source: Source) -> Html:
    said = {
        View.SIMULATION: "A simulation: one machine held the rows of all retailers, so they may "
        "stand side by side here. Between companies each sees its own rows only.",
        View.CONSORTIUM: "The coordinator’s report: totals over all retailers, nobody’s own rows.",
        View.RETAILER: "A retailer’s own report, made from its own folder: nobody else’s rows "
        "are in it.",
    }[source.view]
    facts = [
        f"Run {source.run}",
        *([source.times[1][:10]] if source.times else []),
        counted(len(source.plan.members), "retailer"),
        counted(len(source.releases), "round"),
    ]
    return joined([paragraph(" · ".join(facts), class_="facts"), paragraph(said, class_="about")])


def _contents(parts: list[tuple[str, Html]]) -> Html:
    links = [tag("a", name, href=f"#part-{i}") for i, (name, _) in enumerate(parts, start=1)]
    return joined(tag("li", link) for link in links)


def _section(place: int, name: str, content: Html) -> Html:
    return tag("section", tag("h2", name), content, id=f"part-{place}", class_="part")
