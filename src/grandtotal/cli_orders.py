"""`grandtotal decide orders`: what to order now, from a forecast, the stock and the supply."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from grandtotal.cli_parts import (
    as_text,
    command,
    config_option,
    json_option,
    runs_option,
    write_frame,
)

if TYPE_CHECKING:
    from rich.table import Table

    from grandtotal.decide.order_list import OrderList

_SHOWN = 15


_commands = click.Group()


@command(_commands, "grandtotal decide orders latest --retailer north --out orders.csv")
@click.argument("run", metavar="RUN")
@click.option("--retailer", required=True, help="Whose shelves.")
@click.option("--task", help="A task of the kind demand; only needed where the plan has several.")
@click.option("--review", default=7.0, show_default=True, help="Days until the next order.")
@click.option(
    "--target",
    default="cycle",
    show_default=True,
    type=click.Choice(["cycle", "fill", "cost"]),
    help="cycle: share of orders until which nothing runs out. fill: share of units sold. "
    "cost: the least of holding and missing.",
)
@click.option("--service", default=0.95, show_default=True, help="That share.")
@click.option("--lead-time", type=float, help="Days, where the supply table names none.")
@click.option("--holding", default=0.25, show_default=True, help="Of the unit cost, a year.")
@click.option("--budget", type=float, help="The most that all orders together may cost.")
@click.option("--out", type=click.Path(path_type=Path), help="A .csv or .parquet file.")
@config_option
@runs_option
@json_option
def orders(
    run: str,
    retailer: str,
    task: str | None,
    review: float,
    target: str,
    service: float,
    lead_time: float | None,
    holding: float,
    budget: float | None,
    out: Path | None,
    config: Path | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Say what to order now, how much, when it arrives and why, and write it to a file.

    From the forecast of the run and the tables stock and supply, with today's usual rule beside
    it: up to the mean of the recent periods and two standard deviations.
    """
    from rich.console import Console

    from grandtotal.api import Run
    from grandtotal.decide.order_list import Ordering

    opened = Run.open(run, runs)
    how = Ordering(review, target, service, lead_time, holding, budget)
    made = opened.orders(retailer, task, how, config)
    path = out or opened.folder.retailer(retailer) / "decisions" / "orders.csv"
    write_frame(made.frame, path)
    if as_json:
        click.echo(as_text({**made.totals(), "notes": made.notes, "file": str(path)}))
        return
    Console().print(_table(made))
    click.echo(_summary(made))
    click.echo(f"{made.frame.height:,} products -> {path}")


def _table(made: OrderList) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("product", no_wrap=True)
    table.add_column("title", max_width=28)
    for name in ("order", "packs", "cost", "there", "usual rule"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("arrives", no_wrap=True)
    table.add_column("why")
    for row in made.frame.head(_SHOWN).iter_rows(named=True):
        numbers = (row["units"], row["packs"], row["cost"], row["on_hand"], row["today_units"])
        arrives = f"{row['arrives']:%d %b}"
        table.add_row(
            row["product"], row["title"], *(f"{n:,.0f}" for n in numbers), arrives, row["why"]
        )
    return table


def _summary(made: OrderList) -> str:
    found = made.totals()
    lines = [
        f"{found['orders']:,} of {found['products']:,} products are ordered: {found['units']:,.0f} "
        f"units for {found['cost']:,.2f}.",
        f"Of {found['expected']:,.0f} units expected to be wanted until the next order is here, "
        f"{found['missing']:,.0f} will be missing and {found['left']:,.0f} left over.",
        f"The usual rule would order {found['today_units']:,.0f} units: "
        f"{found['today_missing']:,.0f} missing, {found['today_left']:,.0f} left over.",
        *made.notes,
    ]
    return "\n".join(lines)
