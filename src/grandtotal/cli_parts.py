"""What all commands share: options, how they are registered, how our errors are printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from grandtotal.errors import GrandtotalError

if TYPE_CHECKING:
    import polars as pl

runs_option = click.option(
    "--runs",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of all runs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="retailer.toml, if it has moved since the run.",
)
processes_option = click.option(
    "--processes", is_flag=True, help="A process of its own for every retailer."
)


class Group(click.Group):
    """Prints our errors without a traceback and exits with their number."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GrandtotalError as error:
            click.echo(f"grandtotal: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # whoever reads has seen enough, as `head` has; click then ends without a word
        except OSError as error:
            said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            click.echo(f"grandtotal: {said}", err=True)
            ctx.exit(1)


def command(group: click.Group, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Registers a command whose help ends with an example."""

    def register(function: Callable[..., Any]) -> click.Command:
        name = function.__name__.rstrip("_").replace("_", "-")
        return group.command(name, epilog=f"\b\nExample:\n  {example}")(function)

    return register


def as_text(value: Any) -> str:
    """Returns the JSON that --json prints."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Writes a table as the file's ending says, .parquet or else CSV, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
