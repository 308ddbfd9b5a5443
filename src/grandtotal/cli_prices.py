"""`grandtotal decide prices`: what each product should cost, under the retailer's own rules."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    from grandtotal.decide.prices import Decided
    from grandtotal.decide.rules import PriceRules
    from grandtotal.durable import Json
    from grandtotal.finished import Run

_SHOWN = 20


_commands = click.Group()


@command(_commands, "grandtotal decide prices latest --retailer north --objective margin")
@click.argument("run", metavar="RUN")
@click.option("--retailer", required=True, help="Whose prices.")
@click.option("--task", help="A task of the kind price; only needed where the plan has several.")
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    help="A .toml file of rules: largest change, endings, floors, budgets; see docs/prices.md.",
)
@click.option("--objective", help="margin, revenue or units; margin if neither says another.")
@click.option("--largest-change", type=float, help="Of a price, as a share, such as 0.1.")
@click.option("--risk", type=float, help="Standard deviations taken off an uncertain gain.")
@click.option("--explore", is_flag=True, help="Draw prices, to learn; the chance is logged.")
@click.option("--stop", is_flag=True, help="Every price stays.")
@click.option("--by", metavar="COLUMN", help="Discounts by this column of the customers table.")
@click.option(
    "--allow-protected",
    is_flag=True,
    help="With --by: even by age, region or the like; it is said.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    help="Write the prices as one HTML file that needs no network; not with --by.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A .csv or .parquet file.")
@config_option
@runs_option
@json_option
def prices(
    run: str,
    retailer: str,
    task: str | None,
    settings: Path | None,
    objective: str | None,
    largest_change: float | None,
    risk: float | None,
    explore: bool,
    stop: bool,
    by: str | None,
    allow_protected: bool,
    page: Path | None,
    out: Path | None,
    config: Path | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Propose a price for every product, with what it does, how sure that is, and why.

    From the elasticities of the run and the retailer's own prices, costs and rules. Where past
    prices tell nothing, a price test is proposed instead. Nothing of it leaves the retailer.
    """
    from rich.console import Console

    from grandtotal.decide.table import rows, summary
    from grandtotal.finished import Run

    flags = {"objective": objective, "largest_change": largest_change, "risk": risk}
    given = {name: value for name, value in flags.items() if value is not None}
    switches = {"explore": explore, "stop": stop}
    rules = _rules(settings, {**given, **{name: True for name, on in switches.items() if on}})
    opened = Run.open(run, runs)
    if by is not None:
        if page is not None:
            raise click.UsageError("--page shows one price for all; leave out --by")
        allowed = (by,) if allow_protected else ()
        _by_segment(opened, retailer, by, allowed, (rules, task, config, out), as_json)
        return
    decided = opened.prices(retailer, rules, task, config)
    path = out or opened.folder.retailer(retailer) / "decisions" / "prices.csv"
    made = rows(decided)
    _write(made, path)
    if page is not None:
        _write_page(opened, retailer, decided, made, page)
    if as_json:
        click.echo(as_text({"file": str(path), "summary": summary(decided), "prices": made}))
        return
    Console().print(_table(decided, made))
    click.echo(f"{summary(decided)}\n{len(made):,} rows -> {path}")
    if page is not None:
        click.echo(f"page: {page}")


def _write_page(run: Run, retailer: str, decided: Decided, made: list[Json], page: Path) -> None:
    from grandtotal.decide.table import summary
    from grandtotal.durable import write
    from grandtotal.report.prices_page import prices_page

    found = {
        "retailer": retailer,
        "run": run.folder.path.name,
        "currency": decided.of.currency,
        "period": decided.of.period,
        "summary": summary(decided),
        "rows": made,
    }
    write(page, prices_page(found).encode())


def _by_segment(
    run: Run,
    retailer: str,
    by: str,
    allowed: tuple[str, ...],
    given: tuple[PriceRules, str | None, Path | None, Path | None],
    as_json: bool,
) -> None:
    from grandtotal.decide.segments import SegmentRules, table, words

    rules, task, config, out = given
    decided, gaps = run.segment_prices(
        retailer, SegmentRules(by, allow_protected=allowed), rules, task, config
    )
    path = out or run.folder.retailer(retailer) / "decisions" / f"prices-by-{by}.csv"
    _write(table(decided), path)
    if as_json:
        found = {"segments": table(decided), "gaps": gaps, "summary": words(decided)}
        click.echo(as_text({"file": str(path), **found}))
        return
    click.echo(words(decided))
    click.echo("What groups of customers pay, and beside all:")
    for gap in gaps:
        paid = gap["price_change"]
        said = "–" if paid is None else f"{paid:+.1%}, beside all {gap['beside_all']:+.1%}"
        click.echo(f"  {gap['group']} ({gap['customers']} customers): {said}")
    click.echo(f"{len(decided.of.names)} segments -> {path}")


def _rules(path: Path | None, flags: dict[str, Any]) -> PriceRules:
    """Returns the rules of a file, and of flags, which win."""
    from grandtotal.decide.rules import PriceRules
    from grandtotal.errors import PlanError

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig")) if path else {}
        return PriceRules.of({**values, **flags})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: not valid TOML: {error}") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}" if path else str(error)) from error


def _write(made: list[dict[str, Any]], path: Path) -> None:
    import polars as pl

    write_frame(pl.DataFrame(made, infer_schema_length=None), path)


def _table(decided: Decided, made: list[dict[str, Any]]) -> Table:
    """Returns what a category manager reads: new prices first, those that move most."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    order = ["new price", "clash", "test"]
    shown = sorted(
        made,
        key=lambda row: (
            order.index(row["decision"]) if row["decision"] in order else 9,
            -abs(
                (row["margin"] or row["revenue"] or 0)
                - (row["margin_now"] or row["revenue_now"] or 0)
            ),
        ),
    )[:_SHOWN]
    title = f"prices by {decided.rules.objective}, in {decided.of.currency}; {len(made):,} products"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("product", "now", "price", "units", "margin", "risk"):
        table.add_column(name, justify="left" if name == "product" else "right", no_wrap=True)
    table.add_column("why")
    for row in shown:
        table.add_row(*_cells(row))
    if len(made) > len(shown):
        table.caption = f"{len(made) - len(shown):,} more in the file"
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    def money(name: str) -> str:
        return "–" if row[name] is None else f"{row[name]:,.2f}"

    gained = None if row["margin"] is None else row["margin"] - row["margin_now"]
    moved = row["units"] / row["units_now"] - 1 if row["units_now"] else 0.0
    name = row["product"] if row["title"] in ("", row["product"]) else row["title"]
    return [
        name[:28],
        money("price_now"),
        money("price") if row["decision"] == "new price" else row["decision"],
        f"{moved:+.0%}",
        "–" if gained is None else f"{gained:+,.2f}",
        "–" if row["risk"] is None else f"{row['risk']:.0%}",
        row["why"],
    ]
