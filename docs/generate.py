"""Writes the pages of docs/ that the code says better: the commands and the tables.

python docs/generate.py           writes them
python docs/generate.py --check   fails where they are out of date
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path

import click

from grandtotal.cli import main
from grandtotal.tables.limits import Limits
from grandtotal.tables.schema import REGISTRY, Column, Table

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; edit the code instead. -->\n"


def pages() -> dict[str, str]:
    """Returns the text of each generated page."""
    commands = "\n".join(_commands(main, "grandtotal"))
    tables = "\n".join([*(_table(table) for table in REGISTRY.values()), _limits()])
    return {
        "commands.md": f"{NOTE}\n# Commands\n\n{commands}",
        "data.md": f"{NOTE}\n# What a retailer's tables look like\n\n{_DATA}\n{tables}",
    }


_DATA = """A table is a file, a folder of files, or a query to a database
([sources.md](sources.md)), named in the retailer's own `retailer.toml` with the names that its
columns have there. `grandtotal check` reads them and says what is wrong and what is there. Only
`transactions` is needed.
"""


def _commands(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=88, terminal_width=88)
    yield f"## {name}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _commands(command.commands[child], f"{name} {child}")


def _table(table: Table) -> str:
    rows = "\n".join(
        f"| `{c.name}` | {c.kind}{f', {c.unit}' if c.unit else ''} "
        f"| {'yes' if c.required else ''} | {c.doc}{_bounds(c)} |"
        for c in table.columns
    )
    head = "| column | kind | needed | what it holds |\n| --- | --- | --- | --- |"
    return f"## {table.name}\n\n{table.doc}{_key(table)}\n\n{head}\n{rows}\n"


_LIMITS = """## [privacy]

What this retailer itself allows, whatever a plan asks: the table `[privacy]` of `retailer.toml`.
`grandtotal ledger` shows what was spent of it, `grandtotal privacy` refuses a plan that passes it.
"""


def _limits() -> str:
    rows = "\n".join(
        f"| `{key.name}` | {_default(key)} | {key.metadata['doc']} |" for key in fields(Limits)
    )
    return f"{_LIMITS}\n| key | default | what it means |\n| --- | --- | --- |\n{rows}\n"


def _default(key: Field[object]) -> str:
    value = getattr(Limits(), key.name)
    return f"`{json.dumps(value)}`" if value != {} else "none"


def _bounds(column: Column) -> str:
    bounds = [("from", column.least), ("to", column.most)]
    written = " ".join(
        f"{word} {value:g}" if isinstance(value, float) else f"{word} {value}"
        for word, value in bounds
        if value is not None
    )
    return f" ({written})" if written else ""


def _key(table: Table) -> str:
    names = [f"`{name}`" for name in table.key]
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f". Of rows with the same {listed} the first is kept" if names else ""


def main_(check: bool) -> None:
    """Writes the pages, or exits with 1 where one differs from what would be written."""
    for name, text in pages().items():
        path = HERE / name
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"docs/{name} is out of date: run `make docs`")


if __name__ == "__main__":
    main_("--check" in sys.argv[1:])
