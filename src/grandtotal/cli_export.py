"""`grandtotal export`: the trees of a run for any other stack."""

from __future__ import annotations

from pathlib import Path

import click

from grandtotal.cli_parts import command, config_option, runs_option

_commands = click.Group()


@command(_commands, "grandtotal export latest --retailer north --task demand --out trees")
@click.argument("run", metavar="RUN")
@click.option("--retailer", required=True, help="Whose rows to score are written.")
@click.option("--task", required=True, help="A task whose chosen model is trees.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder that the files go to."
)
@config_option
@runs_option
def export(run: str, retailer: str, task: str, out: Path, config: Path | None, runs: Path) -> None:
    """Write trees as a file that LightGBM reads, so that any stack can score.

    model.txt: the trees that all retailers received, in LightGBM's text format. inputs.csv: what
    each input is. Of demand also rows.csv: the inputs of the coming periods, with the forecast.
    """
    from grandtotal.finished import Run

    for path in Run.open(run, runs).export(retailer, task, out, config):
        click.echo(path)
