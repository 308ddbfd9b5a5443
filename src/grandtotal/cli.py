"""The command line. Output for people goes through one console; --json is for scripts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grandtotal import (
    __version__,
    cli_decide,
    cli_door,
    cli_engine,
    cli_export,
    cli_members,
    cli_predict,
)
from grandtotal.cli_parts import (
    Group,
    as_text,
    command,
    json_option,
    processes_option,
    runs_option,
)

if TYPE_CHECKING:
    from grandtotal.finished import Run
    from grandtotal.plan import Plan
    from grandtotal.runfolder import RunFolder

EXIT_CODES = """
Exit status: 0 done · 1 any other failure · 2 wrong use of a command · 3 the plan or retailer.toml ·
4 a retailer's tables · 5 refused, since a promise could not be kept · 6 a retailer did not answer ·
7 a run folder.
"""


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from grandtotal.versions import code_digest

        click.echo(f"grandtotal {__version__}\ncode {code_digest()}")
        ctx.exit()


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"max_content_width": 88})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and the digest of the code.",
)
def main() -> None:
    """Retailers train shared models without showing each other a row.

    Every retailer keeps its subtotals. Together they learn only the grand total.
    """


@command(main, "grandtotal demo")
@click.option("--folder", default="demo", show_default=True, type=click.Path(path_type=Path))
@runs_option
@processes_option
@json_option
def demo(folder: Path, runs: Path, processes: bool, as_json: bool) -> None:
    """Run a consortium of five retailers on real data: five tasks, a table, a report.

    The five are one retailer's packaged data (UCI Online Retail II) split by customer, so the
    result flatters federation a little.
    """
    from grandtotal import api

    done = _run(api.demo(folder), runs, processes, as_json)
    if not as_json:
        from grandtotal.cli_orders import first_orders

        first_orders(done, done.folder.plan().members[0])


@command(main, "grandtotal init my-consortium && grandtotal run my-consortium/plan.toml")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "export",
    type=click.Choice(["shopify", "woocommerce", "generic-pos"]),
    help="Write only a retailer.toml for this export of your own.",
)
@click.option("--retailer", help="With --from: what the plan calls you.")
def init(folder: Path, export: str | None, retailer: str | None) -> None:
    """Write a small consortium to begin with: plan.toml, retailer.toml files, example tables.

    With --from, write one retailer.toml with the columns that the export has, and no tables.
    """
    from grandtotal import api

    if (export is None) != (retailer is None):
        raise click.UsageError("--from and --retailer go together")
    path = api.init(folder, export, retailer)
    if export is not None:
        click.echo(f"Wrote {path}. Put the export beside it, read the comments, and then:")
        click.echo(f"  grandtotal check {path} --html {folder}/check.html")
        return
    click.echo(f"Wrote {path} and a folder for each of its three retailers. Next:")
    click.echo(f"  grandtotal check {folder}/north/retailer.toml")
    click.echo(f"  grandtotal run {path}")


@command(main, "grandtotal check my-consortium/north/retailer.toml --html north.html")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--plan",
    type=click.Path(path_type=Path),
    help="plan.toml: say also whether it can run on these tables.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Write everything that was found as one HTML file that needs no network.",
)
@json_option
def check(config: Path, plan: Path | None, html: Path | None, as_json: bool) -> None:
    """Read one retailer's tables and say what is wrong and what is there. Nothing is run.

    Exit status 4 if a table cannot be used, or the plan cannot run on them.
    """
    from grandtotal import api

    checked = api.check(config, plan)
    if html is not None:
        from grandtotal.report.data_page import write_data_page

        write_data_page(checked.json(), html)
    click.echo(as_text(checked.json()) if as_json else checked.text(), nl=as_json)
    if html is not None:
        click.echo(f"page: {html}", err=as_json)
    if not checked.ok:
        sys.exit(4)


@command(main, "grandtotal catalogue-key shared/catalogue.key")
@click.argument("file", type=click.Path(path_type=Path))
def catalogue_key(file: Path) -> None:
    """Write a new random key, by which retailers find the products that several of them sell.

    Every retailer needs the same one, named in its retailer.toml as catalogue_key. Hand it from
    retailer to retailer: whoever runs the coordinator must not have it.
    """
    from grandtotal import api

    api.catalogue_key(file)
    click.echo(f"Wrote {file}. Give it to the other retailers, and never to the coordinator.")


@command(main, "grandtotal run my-consortium/plan.toml")
@click.argument("plan", type=click.Path(path_type=Path))
@runs_option
@processes_option
@json_option
def run(plan: Path, runs: Path, processes: bool, as_json: bool) -> None:
    """Run a plan with all its retailers on this machine, and write the report.

    Each member's file is <member>/retailer.toml beside the plan.
    """
    _run(plan, runs, processes, as_json)


@command(main, "grandtotal report latest")
@click.argument("run", metavar="RUN")
@click.option("--retailer", help="The report of one retailer, with its own rows only.")
@runs_option
def report(run: str, retailer: str | None, runs: Path) -> None:
    """Write the run's report: one HTML file that needs no network."""
    from grandtotal.finished import Run

    click.echo(Run.open(run, runs).report(retailer))


for _command in (
    *cli_door.commands.commands.values(),
    cli_members.retailer,
    cli_members.consortium,
    cli_decide.decide,
    cli_predict.predict,
    cli_export.export,
    *cli_engine.commands,
):
    main.add_command(_command)


@main.group(name="runs")
def runs_group() -> None:
    """List, show, compare, stop and resume runs."""


for _command in cli_engine.run_commands:
    runs_group.add_command(_command)


@command(runs_group, "grandtotal runs list")
@runs_option
@json_option
def list_(runs: Path, as_json: bool) -> None:
    """List the runs, newest first."""
    from rich.console import Console

    from grandtotal import api, terminal

    folders = api.runs(runs)
    if as_json:
        click.echo(as_text([terminal.run_facts(folder) for folder in folders]))
    elif folders:
        Console().print(terminal.run_table(folders))
    else:
        click.echo(f"No run in {runs}/ yet; `grandtotal demo` makes one.")


@command(runs_group, "grandtotal runs show latest")
@click.argument("run", metavar="RUN")
@runs_option
@json_option
def show(run: str, runs: Path, as_json: bool) -> None:
    """Show a run's table again."""
    from grandtotal.finished import Run

    _show(Run.open(run, runs), as_json)


@command(runs_group, "grandtotal runs resume latest")
@click.argument("run", metavar="RUN")
@runs_option
@json_option
def resume(run: str, runs: Path, as_json: bool) -> None:
    """Finish a run that was stopped, with the same totals and the same models."""
    from grandtotal import api
    from grandtotal.runfolder import RunFolder

    folder = RunFolder.find(runs, run)
    if "engine" in folder.launch():
        from grandtotal.engine.conduct import go_on

        click.echo(f"{go_on(runs, run).path.name}: its coordinator's process goes on with it")
        return
    _with_progress(folder, as_json, functools.partial(api.resume, folder.path))


@command(runs_group, "grandtotal runs compare demo-20261120-101500 latest")
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@runs_option
@json_option
def compare(first: str, second: str, runs: Path, as_json: bool) -> None:
    """Show what differs between two runs: plan, data, versions, models, scores, cost.

    A difference of scores counts where its 95 % interval does not hold 0; intervals are those of
    independent runs, so too wide rather than too narrow.
    """
    from rich.console import Console

    from grandtotal import api, terminal

    found = api.compare(first, second, runs)
    if as_json:
        click.echo(as_text(found))
    else:
        Console().print(*terminal.comparison(found), sep="\n")


def _run(plan: Path, runs: Path, processes: bool, as_json: bool) -> Run:
    from grandtotal import api
    from grandtotal.plan import Plan
    from grandtotal.simulate import find_configs, start

    read = Plan.read(plan)
    folder = start(read, find_configs(read, plan.parent), runs, processes)
    if not as_json:
        click.echo(f"{len(read.members)} retailers, {_catalogue(read)}.\n{_promise(read)}")
    return _with_progress(folder, as_json, functools.partial(api.resume, folder.path))


def _catalogue(plan: Plan) -> str:
    if plan.matching is None:
        return f"{len(plan.common.catalogue):,} products listed in the plan"
    return f"a private catalogue of what at least {plan.matching.minimum} of them sell"


def _promise(plan: Plan) -> str:
    promised = plan.common.privacy
    if promised.private:
        return (
            "Secure sums: what a retailer sends is masked, and only totals can be read.\n"
            f"epsilon = {promised.epsilon:g} at delta = {promised.delta:g}: totals are noised; "
            f"`grandtotal privacy` says what that costs."
        )
    if promised.secure_sum:
        return (
            "Secure sums: what a retailer sends is masked, and only totals can be read.\nNo "
            "differential privacy: a total is exact, and may tell what is said in the report."
        )
    return (
        "No secure sums and no differential privacy, as the plan says: the coordinator's process\n"
        "sees each retailer's summand."
    )


def _with_progress(folder: RunFolder, as_json: bool, work: Callable[..., Run]) -> Run:
    from rich.console import Console

    from grandtotal import terminal

    with terminal.progress(len(folder.plan().tasks), Console(stderr=True)) as listener:
        done = work(listener=listener)
    _show(done, as_json)
    return done


def _show(run: Run, as_json: bool) -> None:
    from rich.console import Console

    from grandtotal import terminal

    if as_json:
        facts = {"folder": str(run.folder.path), "finished": run.folder.finished()}
        click.echo(as_text({**facts, "tasks": run.scores}))
        return
    console = Console()
    for name, task in run.scores.items():
        console.print(terminal.score_table(name, task))
    console.print("Below each value its 95 % bootstrap interval; ? where that includes no gain.\n")
    click.echo(terminal.private_catalogue(run.folder), nl=False)
    console.print(terminal.costs(run.folder))
    if left := run.folder.left():
        click.echo(f"dropped out, and in no total after that: {', '.join(left)}")
    if aside := terminal.set_aside(run.folder):
        click.echo(aside)
    click.echo(f"run folder: {run.folder.path}")
    click.echo(f"report:     {run.folder.report}")


if __name__ == "__main__":
    main()
