"""The commands of the door: what is promised, what was spent, whether it holds, and whose keys."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from grandtotal.cli_parts import as_text, command, json_option, runs_option

commands = click.Group()
"""Their collection, from which `grandtotal` takes them."""


@command(commands, "grandtotal privacy my-consortium/plan.toml --customers 50000")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--customers",
    type=click.IntRange(min=1),
    help="How many there are in all; counted in the tables beside the plan if left out.",
)
@json_option
def privacy(plan: Path, customers: int | None, as_json: bool) -> None:
    """Say before training what a plan's epsilon costs: its noise against what it hides.

    Exit status 5 if it passes a cap in a retailer.toml that is found beside the plan.
    """
    from grandtotal import api

    seen = api.privacy(plan, customers)
    click.echo(as_text(seen.json()) if as_json else seen.text(), nl=as_json)


@command(commands, "grandtotal ledger my-consortium/north/retailer.toml")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--consent",
    metavar="A,B,C",
    help="Allow what was answered for other retailers to be answered for these.",
)
@json_option
def ledger(config: Path, consent: str | None, as_json: bool) -> None:
    """Show what left one retailer in all runs: questions, plans, bytes, epsilon spent and left.

    Exit status 5 if the ledger was tampered with.
    """
    from grandtotal import api

    members = tuple(name.strip() for name in consent.split(",")) if consent else ()
    stated = api.ledger(config, members)
    click.echo(as_text(stated.json()) if as_json else stated.text(), nl=as_json)


@command(commands, "grandtotal verify latest")
@click.argument("run", metavar="RUN")
@click.option(
    "--roster",
    type=click.Path(path_type=Path),
    help="The roster that you have pinned; the coordinator's copy if left out.",
)
@runs_option
@json_option
def verify(run: str, roster: Path | None, runs: Path, as_json: bool) -> None:
    """Compute again all that a run's coordinator added up, asked and sent.

    Totals from what the retailers masked and signed; questions and models from the totals.

    Exit status 7 if it asked anything that the algorithm does not ask, or a total is not the one
    that the record names.
    """
    from grandtotal import api

    found = api.verify(run, runs, roster)
    if as_json:
        click.echo(as_text([vars(finding) for finding in found]))
    else:
        for finding in found:
            click.echo(f"{'holds' if finding.ok else 'FAILS'}  {finding.check}: {finding.text}")
    if not all(finding.ok for finding in found):
        sys.exit(7)


@command(commands, "grandtotal audit my-consortium/plan.toml")
@click.argument("plan", default="plan.toml", type=click.Path(path_type=Path))
@json_option
def audit(plan: Path, as_json: bool) -> None:
    """Measure the plan's privacy claim on this very code, with made-up customers.

    No table is read, nothing is charged to a ledger, and no model comes out. Exit status 1 if a
    detector says that the claim does not hold, 5 for a plan without epsilon: there is nothing to
    audit in exact totals.
    """
    from grandtotal import api

    found = api.audit(plan)
    click.echo(as_text(found.json()) if as_json else found.text())
    if not found.holds:
        sys.exit(1)
