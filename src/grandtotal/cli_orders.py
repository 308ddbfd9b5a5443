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

    from grandtotal.decide.order_list import Ordering, OrderList
    from grandtotal.finished import Run

_SHOWN, _FIRST = 15, 5  # rows
_WIDE = 120  # letters: in a narrower terminal a reason would be a column of single words


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
@click.option("--order-cost", default=0.0, show_default=True, help="Of ordering one product once.")
@click.option(
    "--warehouse", metavar="STORE", help="What the stock table calls it; it supplies the rest."
)
@click.option("--together", is_flag=True, help="One order for all stores.")
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    help="Write the list with its pictures as one HTML file that needs no network.",
)
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
    order_cost: float,
    warehouse: str | None,
    together: bool,
    page: Path | None,
    out: Path | None,
    config: Path | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Say what to order now, how much, when it arrives and why, and write it to a file.

    From the forecast of the run and the tables stock and supply, with today's usual rule beside
    it: up to the mean of the recent periods and two standard deviations. Where stock is counted by
    store, each store has its own orders; a warehouse is divided among them and buys for all.
    """
    from rich.console import Console

    from grandtotal.decide.order_list import Ordering
    from grandtotal.finished import Run

    opened = Run.open(run, runs)
    how = Ordering(
        review,
        target,
        service,
        lead_time,
        holding,
        budget,
        line=order_cost,
        warehouse=warehouse,
        together=together,
    )
    made = opened.orders(retailer, task, how, config)
    path = out or opened.folder.retailer(retailer) / "decisions" / "orders.csv"
    _write(made, path, page, (retailer, opened, how))
    if as_json:
        click.echo(as_text({**made.totals(), "notes": made.notes, "file": str(path)}))
        return
    console = Console()
    console.print(_table(made, reasons=console.width >= _WIDE))
    click.echo(_summary(made))
    click.echo(f"{made.frame.height:,} rows -> {path}")
    if page is not None:
        click.echo(f"page: {page}")


def first_orders(run: Run, retailer: str) -> None:
    """Shows the largest orders of a retailer, and writes its list and page, as a demo's end."""
    from rich.console import Console

    from grandtotal.decide.order_list import Ordering

    how, folder = Ordering(), run.folder.retailer(retailer) / "decisions"
    made = run.orders(retailer, how=how)
    click.echo(f"\nWhat {retailer} should order now, decided at home:")
    Console().print(_table(made, _FIRST, reasons=False))
    click.echo(_summary(made))
    _write(made, folder / "orders.csv", folder / "orders.html", (retailer, run, how))
    click.echo(f"order list: {folder / 'orders.csv'}")
    click.echo(f"its page:   {folder / 'orders.html'}")


def _write(
    made: OrderList, path: Path, page: Path | None, whose: tuple[str, Run, Ordering]
) -> None:
    """Writes the list as a table, and as a page if one is named."""
    from grandtotal.durable import write
    from grandtotal.report.orders_page import orders_page

    retailer, run, how = whose
    write_frame(made.frame, path)
    if page is not None:
        found = made.found(retailer, run.folder.path.name, how)
        write(page, orders_page(found).encode())


def _table(made: OrderList, shown: int = _SHOWN, reasons: bool = True) -> Table:
    """Returns the first rows of a list as the terminal shows them; the file has all reasons."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("product", no_wrap=True)
    table.add_column("title", max_width=28)
    stores = made.frame["store"].n_unique() > 1
    if stores:
        table.add_column("store", no_wrap=True)
    for name in ("order", "packs", "cost", "there", "usual rule"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("arrives", no_wrap=True)
    if reasons:
        table.add_column("why")
    for row in made.frame.head(shown).iter_rows(named=True):
        numbers = (row["units"], row["packs"], row["cost"], row["on_hand"], row["today_units"])
        arrives = f"{row['arrives']:%d %b}"
        where = [row["store"]] if stores else []
        written = [f"{n:,.0f}" for n in numbers]
        table.add_row(
            row["product"],
            row["title"],
            *where,
            *written,
            arrives,
            *([row["why"]] if reasons else []),
        )
    return table


def _summary(made: OrderList) -> str:
    """Returns the totals of a list and of the usual rule, and its notes."""
    found = made.totals()
    lost = found["lost_before"]
    lines = [
        f"{found['orders']:,} orders for {found['products']:,} products: {found['units']:,.0f} "
        f"units for {found['cost']:,.2f}.",
        f"Of {found['expected']:,.0f} units expected to be wanted until the next order is here, "
        f"{found['missing']:,.0f} will be missing and {found['left']:,.0f} left over, which cost "
        f"{found['left_cost']:,.2f}.",
        *([f"Before any order can be here, {lost:,.0f} are missed."] if lost >= 0.5 else []),
        f"The usual rule would order {found['today_units']:,.0f} units for "
        f"{found['today_cost']:,.2f}: {found['today_missing']:,.0f} missing, "
        f"{found['today_left']:,.0f} left over, which cost {found['today_left_cost']:,.2f}.",
        *made.notes,
    ]
    return "\n".join(lines)
