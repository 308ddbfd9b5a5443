"""The Python interface, with the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from grandtotal.consortium.consortium import Listener, unheard
from grandtotal.durable import Json
from grandtotal.errors import PlanError, RefusedError, RunError
from grandtotal.finished import Path_, Run
from grandtotal.plan import Plan
from grandtotal.privacy.fingerprint import new_key, write_key
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start

if TYPE_CHECKING:
    from grandtotal.outlook import Outlook
    from grandtotal.privacy.audit import Audit
    from grandtotal.readiness import Checked
    from grandtotal.statement import Statement
    from grandtotal.verify import Finding


def demo(folder: Path_ = "demo") -> Path:
    """Writes the demo's five retailers and its plan to the folder; returns the plan's path."""
    from grandtotal.tables.demo import make_demo

    return _with_plan(make_demo(_fresh(Path(folder), "plan.toml")), "demo.toml")


def init(folder: Path_, export: str | None = None, retailer: str | None = None) -> Path:
    """Writes something to begin with to the folder; returns the path of what to read first.

    Three retailers with generated tables, each with a commented retailer.toml, and plan.toml;
    PlanError if the folder holds something already. With `export`, one of EXPORTS, only the
    retailer.toml for that export of a retailer's own.
    """
    from grandtotal.tables.example import make_example

    path = Path(folder)
    if export is not None:
        return _for_export(path, export, retailer)
    if path.exists() and any(path.iterdir()):
        raise PlanError(f"{path}: is not empty; give the name of a new folder")
    return _with_plan(make_example(path), "example.toml")


EXPORTS = ("shopify", "woocommerce", "generic-pos")


def _for_export(folder: Path, export: str, retailer: str | None) -> Path:
    from grandtotal.tables.config import load_config

    if export not in EXPORTS:
        raise PlanError(f"no export '{export}', expected one of {', '.join(EXPORTS)}")
    if not re.fullmatch(r"[\w-]+", retailer or ""):
        raise PlanError(f"retailer = {retailer!r}, expected a name of letters, digits, - and _")
    path = folder / "retailer.toml"
    if path.exists():
        raise PlanError(f"{path}: is there already; remove it or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    text = files("grandtotal").joinpath("templates", f"{export}.toml").read_text(encoding="utf-8")
    path.write_text(Template(text).substitute(retailer=retailer), encoding="utf-8")
    load_config(path)
    return path


def _fresh(folder: Path, mark: str) -> Path:
    if folder.exists() and any(folder.iterdir()) and not (folder / mark).exists():
        raise PlanError(f"{folder}: holds something that is no demo; give another --folder")
    return folder


def _with_plan(folder: Path, template: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(files("grandtotal").joinpath("templates", template).read_text())
    return path


def catalogue_key(path: Path_) -> None:
    """Writes a new random key for a private catalogue; PlanError if the file exists.

    The retailers hand it to each other; whoever has it and the totals can look up any product.
    """
    write_key(Path(path), new_key())


def check(config: Path_, plan: Path_ | None = None) -> Checked:
    """Returns what one retailer's tables hold, what is wrong with them, and what tasks lack.

    plan: a plan.toml; then also whether it can run on these tables. Nothing is run.
    """
    from grandtotal.readiness import Checked, standings, uses
    from grandtotal.tables.check import check_tables
    from grandtotal.tables.config import load_config
    from grandtotal.tables.read import Tables

    tables = Tables(load_config(Path(config)))
    findings = check_tables(tables)
    if plan is None:
        return Checked(findings, uses(findings))
    read = Plan.read(Path(plan))
    return Checked(findings, uses(findings), read.name, standings(read, tables))


def privacy(plan: Path_, customers: int | None = None) -> Outlook:
    """Returns what a plan's epsilon will cost, before anything is asked.

    customers: how many there are; counted in the tables found beside the plan if it is left out.
    RefusedError where the plan passes a cap of a retailer.toml that is found there.
    """
    from grandtotal.outlook import outlook

    return outlook(Path(plan), customers)


def ledger(config: Path_, consent: tuple[str, ...] = ()) -> Statement:
    """Returns what left one retailer in all runs, and what it spent; RefusedError if tampered.

    consent: a set of retailers for which this one allows to answer what it answered for others.
    """
    from grandtotal import statement

    if consent:
        statement.consent(Path(config), consent)
    return statement.statement(Path(config))


def run(
    plan: Path_,
    runs: Path_ = "runs",
    processes: bool = False,
    listener: Listener = unheard,
    configs: Mapping[str, Path] | None = None,
) -> Run:
    """Runs a plan with all its retailers on this machine and writes the report.

    runs: where the run's folder is made. processes: a process of its own for every retailer.
    listener: called with a record after every round. configs: the retailer.toml of each member;
    by default <member>/retailer.toml beside the plan.
    """
    path = Path(plan)
    read = Plan.read(path)
    found = configs or find_configs(read, path.parent)
    return resume(start(read, found, Path(runs), processes).path, listener=listener)


def resume(name: Path_, runs: Path_ = "runs", listener: Listener = unheard) -> Run:
    """Finishes a run that was stopped, with the same totals and the same models."""
    from grandtotal.report.report import write_report

    folder = RunFolder.find(Path(runs), str(name))
    if "engine" in folder.launch():
        raise RunError(
            f"{folder.path}: a run across companies, its coordinator's process works on it; "
            f"`grandtotal runs resume` lets it go on"
        )
    if not (folder.path / "simulation.json").exists():
        simulate(folder, listener)
    write_report(folder)
    return Run(folder)


def verify(run: Path_, runs: Path_ = "runs", roster: Path_ | None = None) -> list[Finding]:
    """Returns what a check of a finished run's coordinator found; see `grandtotal.verify`."""
    from grandtotal.verify import verify

    pinned = None if roster is None else Path(roster)
    return verify(RunFolder.find(Path(runs), str(run)), pinned)


def audit(plan: Path_ = "plan.toml") -> Audit:
    """Returns what made-up customers show of the plan's privacy on this code; takes seconds.

    RefusedError for a plan without epsilon: its totals are exact, and there is nothing to measure.
    """
    from grandtotal.privacy.audit import audit

    budget = Plan.read(Path(plan)).budget()
    if budget is None:
        raise RefusedError(
            f"{plan}: no epsilon in [privacy], so totals are exact and there is nothing to audit: "
            f"no noise hides a customer in them. Agree on epsilon and delta to have some"
        )
    return audit(budget)


def compare(first: Path_, second: Path_, runs: Path_ = "runs") -> Json:
    """Returns what differs from the first run to the second: plan, data, models, scores, cost.

    See `grandtotal.comparison.compare_runs` for what is in it.
    """
    from grandtotal.comparison import compare_runs

    folders = [RunFolder.find(Path(runs), str(name)) for name in (first, second)]
    return compare_runs(folders[0], folders[1])


def runs(folder: Path_ = "runs") -> list[RunFolder]:
    """Returns the runs of a folder, newest first."""
    return RunFolder.all(Path(folder))
