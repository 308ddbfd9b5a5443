"""The retailer's half of a run: opens the plan, keeps the model, scores the rows of the table.

It runs in the retailer's process and writes to the retailer's folder only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from grandtotal.algorithms.catalogue import refuse_disorder
from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.consortium.query import Rows
from grandtotal.consortium.retailer import Participation
from grandtotal.consortium.totals import Local
from grandtotal.durable import (
    Json,
    arrays_digest,
    canonical,
    digest,
    read_json,
    write,
    write_json,
)
from grandtotal.errors import AnswerError, Code, PlanError, RunError
from grandtotal.plan import CATALOGUE, Plan, catalogue_path
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.privacy.ledger import Cap
from grandtotal.privacy.terms import Terms
from grandtotal.retailer_file import door_of as door_of
from grandtotal.retailer_file import name_of as name_of
from grandtotal.tasks.assortment import Assortment, read_assortment, shared_key
from grandtotal.tasks.scores import (
    UnitScores,
    draw_together,
    load_scores,
    save_delivered,
    save_scores,
)
from grandtotal.tasks.task import (
    Fitted,
    Layer,
    Task,
    at_home,
    finished,
    metric_of,
    taken_apart,
)

if TYPE_CHECKING:
    from grandtotal.algorithms.model import Model
    from grandtotal.tables.limits import Limits
    from grandtotal.tables.read import Tables


class Participant:
    """One retailer's part in one task."""

    def __init__(self, retailer: str, name: str, task: Task, tables: Tables, folder: Path) -> None:
        self.retailer = retailer
        self.name = name
        self.task = task
        self.folder = folder
        self.rows: Rows = task.rows(tables)

    def receive(self, meta: Json, arrays: Arrays) -> None:
        """Keeps the model, then trains alone and scores every row on the test once.

        A model that is delivered again, as after a crash, finds the finished scores and is done.
        """
        shared, earlier = taken_apart(arrays)
        model = arrays_digest(shared)
        summary = scores_summary(self.folder, self.name)
        if summary.exists():
            _refuse_another_model(self.name, read_json(summary)["model"], model)
            return
        save_arrays(model_path(self.folder, self.name), shared, meta)
        before = self.task.build(earlier, meta["model"]) if earlier else None
        federated = Fitted(self.task.build(shared, meta["model"]), meta["choice"], before)
        write_json(summary, {"model": model, **self._score(federated)})
        # What was made of the rows on the way is large, and it is the next task's turn.
        for rows in self.rows.values():
            getattr(rows, "kept", {}).clear()

    def _score(self, federated: Fitted) -> Json:
        home = at_home(self.task)
        baseline, label = home.baseline(self.rows)
        alone = home.fit(Local(self.rows))
        finally_, layer = finished(home, federated, self.rows)
        if layer is not None:
            save_arrays(layer_path(self.folder, self.name), layer.arrays, layer.meta)
        models = {
            "baseline": (baseline, {"label": label}),
            "alone": (finished(home, alone, self.rows)[0], alone.choice),
            "federated": (finally_, federated.choice),
        }
        scores = {row: home.score(m, self.rows, "test") for row, (m, _) in models.items()}
        if self.task.common.privacy.private:
            scored = self.task.scored
            delivered = self.task.score(federated.model, self.rows, scored.split)
            save_delivered(self.folder, self.name, scored, delivered)
        for row, found in scores.items():
            save_scores(self.folder, self.name, row, found)
        seed = self.task.common.seed
        return {
            "retailer": self.retailer,
            "task": self.name,
            **describe(self.task, scores, seed),
            "choices": {row: choice for row, (_, choice) in models.items()},
            "detail": {
                **self.task.detail(finally_, self.rows),
                **({} if layer is None else {"at_home": layer.meta}),
            },
        }


def _refuse_another_model(task: str, scored: str, delivered: str) -> None:
    if scored != delivered:
        raise AnswerError(
            Code.ANSWER_CHANGED,
            f"{task}: the test rows were scored with the model {scored[:12]} in this run; they are "
            f"not scored again for another, {delivered[:12]}",
        )


class Matching:
    """A retailer's part in finding a private catalogue: its fingerprints, then which are shared.

    The numbers of the shared products are kept on the disk, so that a retailer that is started
    again joins the tasks at once.
    """

    def __init__(self, assortment: Assortment, folder: Path, join: Callable[[], None]) -> None:
        self.rows: Rows = {"now": (assortment.fingerprints,)}
        self._assortment = assortment
        self._folder = folder
        self._join = join

    def receive(self, meta: Json, arrays: Arrays) -> None:
        """Keeps the catalogue, writes down what is in it, and joins the tasks; once in a run."""
        refuse_disorder(arrays["buckets"])
        self._refuse_another(arrays)
        save_arrays(catalogue_path(self._folder), arrays, meta)
        account = self._assortment.account(arrays["buckets"])
        write_json(account_path(self._folder), account)
        self._join()

    def _refuse_another(self, arrays: Arrays) -> None:
        path = catalogue_path(self._folder)
        if path.exists() and arrays_digest(load_arrays(path)[0]) != arrays_digest(arrays):
            raise AnswerError(
                Code.ANSWER_CHANGED,
                "another catalogue was delivered in this run before: what was answered about the "
                "two could be compared, so the second is refused",
            )


def describe(task: Task, scores: Mapping[str, UnitScores], seed: int) -> Json:
    """Returns rows with intervals, and what federation gained over each other row."""
    headline = metric_of(task)
    federated = scores["federated"]
    draw_together(scores.values(), seed)
    return {
        "kind": task.kind,
        "headline": headline.name,
        "higher_is_better": headline.higher_is_better,
        "metrics": {metric.name: metric.meaning for metric in task.metrics},
        "units": task.units,
        "sample": federated.units,
        "rows": {row: found.summary(seed) for row, found in scores.items()},
        "gain": {
            row: federated.gain_over(found, headline, seed)
            for row, found in scores.items()
            if row != "federated"
        },
    }


def opener(
    retailer: str, config_path: Path, folder: Path
) -> Callable[[bytes], Mapping[str, Participation]]:
    """Returns what a retailer does with a plan: reads its tables and prepares its rows.

    With a private catalogue the rows of the tasks are prepared when the catalogue arrives.
    """

    def open_plan(content: bytes) -> Mapping[str, Participation]:
        plan = Plan.parse(content)
        tables = tables_of(config_path, folder / "set_aside", folder / "kept")
        _refuse_stranger(retailer, tables.config.retailer, plan, config_path)
        _refuse_changed_tables(tables, folder)
        _refuse_large_delta(plan, tables)
        parts = _parts(retailer, plan, tables, folder)
        write(folder / "plan.json", content)
        return parts

    return open_plan


def agreeing(config_path: Path, folder: Path) -> Callable[[bytes], Terms]:
    """Returns what a retailer agrees to with a plan: the plan's noise, and its own caps.

    folder: of the run, in which the opener kept what the tables are.
    """

    def agree(content: bytes) -> Terms:
        from grandtotal.tables.config import load_config

        plan, config = Plan.parse(content), load_config(config_path)
        _refuse_clear_summands(plan, config.limits, config_path)
        # Not retailer.toml itself: a comment in it must not make another question of the same one.
        tables = read_json(folder / "snapshot.json")
        tables.pop(config.path.name)
        return Terms(
            door=config.door,
            cap=cap_of(config.limits),
            name=plan.name,
            purposes=plan.kinds,
            budget=plan.budget(),
            tables=digest(canonical(tables)),
        )

    return agree


def _refuse_clear_summands(plan: Plan, limits: Limits, path: Path) -> None:
    if not (plan.common.privacy.secure_sum or limits.clear_summands):
        raise PlanError(
            f"{path}: clear_summands = false, and the plan has secure_sum = false: its coordinator "
            f"would see every summand of this retailer; agree on secure_sum = true"
        )


def cap_of(limits: Limits) -> Cap:
    """Returns the caps of a retailer's own file."""
    return Cap(limits.epsilon, limits.delta, limits.purposes, limits.exact_totals)


def customers_of(tables: Tables) -> int:
    """Returns how many customers the transactions name; 0 where they name none."""
    import polars as pl

    named = [
        piece["customer"].drop_nulls().unique()
        for piece in tables.pieces("transactions", ["customer"])
        if "customer" in piece.columns
    ]
    return pl.concat(named).n_unique() if named else 0


def _refuse_large_delta(plan: Plan, tables: Tables) -> None:
    delta = plan.common.privacy.delta
    if delta is None:
        return
    customers = customers_of(tables)
    if delta * customers >= 1:
        raise AnswerError(
            Code.DELTA_TOO_LARGE,
            f"{tables.config.path}: {customers:,} customers, and the plan's delta is {delta:g}: a "
            f"mechanism that gives one customer away whole would keep that promise; agree on a "
            f"delta well below {1 / customers:.1g}",
        )


def _parts(retailer: str, plan: Plan, tables: Tables, folder: Path) -> dict[str, Participation]:
    parts: dict[str, Participation] = {}

    def join(known: Plan) -> None:
        tasks = known.tasks.items()
        parts.update({n: Participant(retailer, n, task, tables, folder) for n, task in tasks})
        write_json(folder / "tables.json", accounts(tables))

    if plan.matching is None:
        join(plan)
        return parts
    assortment = _assortment(plan, tables, folder)
    parts[CATALOGUE] = Matching(
        assortment, folder, lambda: join(_at_home(plan, assortment, folder))
    )
    if catalogue_path(folder).exists():
        join(_at_home(plan, assortment, folder))
    return parts


def _at_home(plan: Plan, assortment: Assortment, folder: Path) -> Plan:
    """Returns the plan with the private catalogue in this retailer's own product ids."""
    buckets = load_arrays(catalogue_path(folder))[0]["buckets"]
    absent, own = assortment.absent(buckets), assortment.outside(buckets)
    return plan.with_catalogue(assortment.named(buckets), "product", absent, own)


def own_plan(folder: Path, tables: Tables) -> Plan:
    """Returns the plan in a retailer's folder, a private catalogue in its own product ids."""
    plan = Plan.parse((folder / "plan.json").read_bytes())
    if plan.matching is None:
        return plan
    return _at_home(plan, _assortment(plan, tables, folder), folder)


def _assortment(plan: Plan, tables: Tables, folder: Path) -> Assortment:
    assert plan.matching is not None
    key = shared_key(tables, folder)
    return read_assortment(tables, plan.common.key, plan.matching.most, key)


def tables_of(config: Path, set_aside: Path | None, kept: Path | None = None) -> Tables:
    """Returns the tables that a retailer.toml names; nothing is read before it is asked for.

    kept: a folder for what was found about large tables, for the next reading.
    """
    from grandtotal.tables.config import load_config
    from grandtotal.tables.read import Tables

    return Tables(load_config(config), set_aside, kept=kept)


def _refuse_changed_tables(tables: Tables, folder: Path) -> None:
    """Keeps what the tables are when the run begins; raises AnswerError if they are others now."""
    from grandtotal.tables.snapshot import changed, snapshot

    path, now = folder / "snapshot.json", snapshot(tables.config)
    if not path.exists():
        write_json(path, now)
    elif names := changed(read_json(path), now):
        raise AnswerError(
            Code.ANSWER_CHANGED,
            f"{tables.config.path}: {', '.join(names)} changed since this run began; put back what "
            f"was there, or start a new run",
        )


def _refuse_stranger(retailer: str, named: str, plan: Plan, path: Path) -> None:
    if named != retailer or retailer not in plan.members:
        raise PlanError(
            f"{path}: this is retailer '{named}', started as '{retailer}'; the plan's members are "
            f"{', '.join(plan.members)}"
        )


def accounts(tables: Tables) -> Json:
    """Returns for each table that was read: rows read, used and set aside, by reason."""
    return {name: dataclasses.asdict(account) for name, account in tables.accounts.items()}


def model_path(folder: Path, task: str) -> Path:
    """Where a party keeps the delivered model of a task."""
    return folder / "models" / f"{task}.safetensors"


def layer_path(folder: Path, task: str) -> Path:
    """Where a retailer keeps what it adds to the delivered model of a task; it never leaves."""
    return folder / "models" / f"{task}.at_home.safetensors"


def account_path(folder: Path) -> Path:
    """Where a retailer keeps how many of its products are in a private catalogue."""
    return folder / f"{CATALOGUE}.json"


def scores_summary(folder: Path, task: str) -> Path:
    """Where a retailer keeps its rows of the table."""
    return folder / "scores" / f"{task}.json"


def load_model(folder: Path, name: str, task: Task) -> tuple[Model, Json]:
    """Returns the delivered model and its meta; RunError where the file is another one by now."""
    if not model_path(folder, name).exists():
        raise RunError(
            f"{folder}: no model of '{name}' here yet: the run ended before; see why in log.txt, "
            f"`grandtotal runs resume` goes on"
        )
    arrays, meta = load_arrays(model_path(folder, name))
    summary = scores_summary(folder, name)
    if summary.exists() and read_json(summary)["model"] != arrays_digest(arrays):
        raise RunError(
            f"{model_path(folder, name)}: not the model that was delivered: damaged, or another "
            f"one; put back a copy of it, or run the plan again"
        )
    return task.build(arrays, meta["model"]), meta


def model_at_home(folder: Path, name: str, task: Task, model: Model, rows: Rows) -> Model:
    """Returns a delivered model with all that the retailer adds at home."""
    adapted, path = task.adapt(model, rows), layer_path(folder, name)
    return task.layered(adapted, Layer(*load_arrays(path))) if path.exists() else adapted


def load_rows(folder: Path, name: str, task: Task, rows: tuple[str, ...]) -> dict[str, UnitScores]:
    """Returns the unit scores that a retailer kept, for these rows of the table."""
    return {row: load_scores(folder, name, row, task.metrics) for row in rows}
