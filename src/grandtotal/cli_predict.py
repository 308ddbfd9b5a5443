"""`grandtotal predict`: what a retailer's model says of its own customers, products and visits."""

from __future__ import annotations

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
    import polars as pl

    from grandtotal.finished import Run
    from grandtotal.tasks.recommend_lists import Shown
    from grandtotal.tasks.wishes import Wishes

_commands = click.Group()


@command(_commands, "grandtotal predict latest --retailer north --task recommend --in-stock")
@click.argument("run", metavar="RUN")
@click.option("--retailer", required=True, help="Whose customers and products.")
@click.option("--task", help="One task; all tasks of the run if left out.")
@click.option(
    "--top",
    default=10,
    type=click.IntRange(min=1),
    show_default=True,
    help="Recommendations per customer.",
)
@click.option("--session", metavar="A,B,C", help="For a visit: its products, the latest last.")
@click.option("--similar", metavar="A", help="What goes best with this product.")
@click.option("--in-stock", is_flag=True, help="Only what the stock table has.")
@click.option("--price", metavar="FROM-TO", help="Only at these prices: 2-10, 2- or -10.")
@click.option("--category", help='Only of this category, such as "food > dairy".')
@click.option(
    "--again/--only-new",
    default=None,
    help="Whether what was bought before may be named; as the plan says if left out.",
)
@click.option("--margin", type=float, help="Weight of the margin, in deviations of a score.")
@click.option("--reach", type=float, help="Weight against what sells most, the same way.")
@click.option("--diversity", type=float, help="What a second one of a category loses: 0 to 1.")
@click.option(
    "--what-if",
    metavar="A=B,..",
    help='Of demand: "price=1.1", of list prices, "promotion=yes" or both.',
)
@click.option(
    "--format", "kind", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the files.")
@config_option
@runs_option
@json_option
def predict(
    run: str,
    retailer: str,
    task: str | None,
    top: int,
    kind: str,
    out: Path | None,
    config: Path | None,
    runs: Path,
    as_json: bool,
    session: str | None,
    similar: str | None,
    what_if: str | None,
    **asked: Any,
) -> None:
    """Predict for one retailer from its own tables, as of the plan's today.

    recommend: the best products for every customer, with what speaks for them, as the filters and
    weights wish; or for a visit, or one product. ratings: the products with the most expected
    stars, and the chance of each star. demand: units per product and period with quantiles. price:
    elasticities and what they rest on. churn, purchase-intent, value, segments: a row a customer or
    visit. shift: what changed, since when.
    """
    from grandtotal import terminal
    from grandtotal.finished import Run

    opened, wishes = Run.open(run, runs), _wishes(asked)
    _refuse_two_questions(session, similar, what_if, wishes)
    if session is not None or similar is not None:
        _print(_answered(opened, retailer, task, top, config, wishes, session, similar), as_json)
        return
    matched = opened.matched(retailer)
    folder = out or opened.folder.retailer(retailer) / "predictions"
    names = [task] if task else _tasks(opened, _kind_of(wishes, what_if))
    frames = {name: opened.predict(retailer, name, top, config, wishes, what_if) for name in names}
    written = {name: _write(frame, folder / f"{name}.{kind}") for name, frame in frames.items()}
    if matched:
        click.echo(f"{retailer}: {terminal.left_out(matched)}", err=True)
    if as_json:
        click.echo(as_text({name: str(path) for name, path in written.items()}))


def _refuse_two_questions(
    session: str | None, similar: str | None, what_if: str | None, wishes: Wishes | None
) -> None:
    asked = {"--session": session, "--similar": similar, "--what-if": what_if}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} ask {len(given)} questions; ask one")
    if what_if is not None and wishes is not None:
        raise click.UsageError("--what-if asks of demand, filters and weights of recommendations")


def _kind_of(wishes: Wishes | None, what_if: str | None) -> str | None:
    """Returns the kind of task that answers what was asked; None for all."""
    if what_if:
        return "demand"
    return "recommend" if wishes else None


def _tasks(opened: Run, only: str | None) -> list[str]:
    kinds = opened.folder.plan().kinds
    return [name for name, kind in kinds.items() if only is None or kind == only]


def _wishes(asked: dict[str, Any]) -> Wishes | None:
    """Returns what was asked for; None where nothing was."""
    from grandtotal.tasks.wishes import Wishes

    given = {name: value for name, value in asked.items() if value not in (None, False)}
    given |= {"again": False} if asked["again"] is False else {}
    if "price" in given:
        given |= _band(given.pop("price"))
    return Wishes(**given) if given else None


def _band(text: str) -> dict[str, float | None]:
    least, dash, most = text.partition("-")
    try:
        if not dash or not (least or most):
            raise ValueError
        return {
            "least_price": float(least) if least else None,
            "most_price": float(most) if most else None,
        }
    except ValueError:
        raise click.UsageError(f"--price {text}: expected two prices, as 2-10, 2- or -10") from None


def _answered(
    opened: Run,
    retailer: str,
    task: str | None,
    top: int,
    config: Path | None,
    wishes: Wishes | None,
    session: str | None,
    similar: str | None,
) -> list[Shown]:
    serving = opened.serving(retailer, task, wishes, config)
    if similar is not None:
        return serving.similar(similar, top)
    products = [product.strip() for product in str(session).split(",") if product.strip()]
    if unknown := serving.unknown(products):
        click.echo(f"passed over, unknown to the model: {', '.join(unknown)}", err=True)
    return serving.session(products, top)


def _print(shown: list[Shown], as_json: bool) -> None:
    if as_json:
        click.echo(as_text([vars(each) for each in shown]))
        return
    for rank, each in enumerate(shown, start=1):
        because = f"  because of {' | '.join(each.because)}" if each.because else ""
        click.echo(f"{rank:3}  {each.product}  {each.title}  {each.score:.4g}{because}")
    if not shown:
        click.echo("nothing: no product is left, or the model knows none that goes with it")


def _write(frame: pl.DataFrame, path: Path) -> Path:
    write_frame(frame, path)
    click.echo(f"{frame.height:,} rows -> {path}\n{frame.head(5)}", err=True)
    return path
