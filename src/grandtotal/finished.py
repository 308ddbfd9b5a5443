"""A finished run: its scores, its report, and what a retailer's models say and decide at home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from grandtotal.durable import Json, read_json, write
from grandtotal.errors import PlanError, RunError
from grandtotal.runfolder import RunFolder

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.algorithms.model import Model
    from grandtotal.consortium.query import Rows
    from grandtotal.decide.order_list import Ordering, OrderList
    from grandtotal.decide.prices import Decided
    from grandtotal.decide.rules import PriceRules
    from grandtotal.decide.segments import SegmentDecision, SegmentRules
    from grandtotal.tables.read import Tables
    from grandtotal.tasks.demand import Demand
    from grandtotal.tasks.price import Price
    from grandtotal.tasks.price_model import PriceModel
    from grandtotal.tasks.recommend import Recommend
    from grandtotal.tasks.recommend_lists import Serving
    from grandtotal.tasks.task import Task
    from grandtotal.tasks.wishes import Wishes

Path_ = str | Path


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: RunFolder

    @staticmethod
    def open(name: Path_, runs: Path_ = "runs") -> Run:
        """Returns the run of that id or path; "latest" is the newest."""
        return Run(RunFolder.find(Path(runs), str(name)))

    @property
    def scores(self) -> Json:
        """The rows baseline, alone, federated, pooled of every retailer and overall, by task.

        Of a run across companies: the coordinator's have no retailers, a retailer's only its own.
        """
        if "engine" in self.folder.launch() and self.folder.is_complete():
            from grandtotal.report.source import read_own

            found = read_own(self.folder).tasks
            return {
                name: {"retailers": dict(task.retailers), "overall": task.overall}
                for name, task in found.items()
            }
        path = self.folder.path / "simulation.json"
        if not path.exists():
            raise RunError(
                f"{self.folder.path}: the run is not finished; `grandtotal runs resume "
                f"{self.folder.path.name}` goes on"
            )
        scores: Json = read_json(path)["tasks"]
        return scores

    def report(self, retailer: str | None = None) -> Path:
        """Writes the one-file report of the run, or of one retailer, and returns its path."""
        from grandtotal.report.report import write_report

        if retailer is None and not self.folder.coordinator.exists():
            retailer = self.folder.own.name  # at a retailer there is no other
        return write_report(self.folder, retailer)

    def predict(
        self,
        retailer: str,
        task: str,
        top: int = 10,
        config: Path_ | None = None,
        wishes: Wishes | None = None,
        what_if: str | None = None,
    ) -> pl.DataFrame:
        """Returns a retailer's predictions as of the plan's today, made from its own tables.

        recommend: customer, rank, product, title, score, because. demand: product, title, start,
        ahead, units, p10, p50, p90, recent_mean, last_season, and `reasons` of trees. The columns
        of the others are those of their `predict` in `grandtotal.tasks`.

        wishes: filters and weights of recommendations; RunError for a task of another kind.
        what_if: of a demand task, such as "price=0.9,promotion=yes": also `units_what_if`.
        """
        if what_if is not None:
            return self._forecast_if(retailer, task, config, what_if)
        found, model, rows, tables = self._at_home(retailer, task, config)
        if wishes is None:
            return found.predict(model, rows, tables, top)
        return _recommends(task, found).predict(model, rows, tables, top, wishes)

    def _forecast_if(
        self, retailer: str, task: str, config: Path_ | None, what_if: str
    ) -> pl.DataFrame:
        from grandtotal.tasks.demand_what_if import WhatIf

        asked = WhatIf.of(what_if)
        found, model, rows, tables = self._at_home(retailer, task, config)
        _refuse_other_kind(task, found, "demand", "what-if needs")
        return cast("Demand", found).predict(model, rows, tables, 0, asked)

    def export(
        self, retailer: str, task: str, folder: Path_, config: Path_ | None = None
    ) -> list[Path]:
        """Writes a task's trees for another stack and returns the files; see `tasks.exported`."""
        from grandtotal.tasks.exported import as_files

        found, model, rows, _ = self._at_home(retailer, task, config)
        made = {Path(folder) / name: text for name, text in as_files(found, model, rows).items()}
        for path, text in made.items():
            write(path, text.encode())
        return [*made]

    def serving(
        self,
        retailer: str,
        task: str | None = None,
        wishes: Wishes | None = None,
        config: Path_ | None = None,
    ) -> Serving:
        """Returns a retailer's recommender in memory, for sessions and for similar products.

        `session(products, k)` takes a list of its products in order, the latest last, and no
        customer; `similar(product, k)` one. task: of the kind recommend; it can be left out where
        the plan has one. wishes: filters and weights, as they are in the tables now; PlanError for
        one on diversity, which is of the lists of customers.
        """
        from grandtotal.tasks.wishes import NO_WISHES

        if wishes is not None and wishes.diversity:
            raise PlanError("diversity: is of lists for customers; ask without it here")
        name = task or self._only("recommend")
        found, model, rows, tables = self._at_home(retailer, name, config)
        return _recommends(name, found).serving(model, rows, tables, wishes or NO_WISHES)

    def orders(
        self,
        retailer: str,
        task: str | None = None,
        how: Ordering | None = None,
        config: Path_ | None = None,
    ) -> OrderList:
        """Returns what a retailer should order as of the plan's today, from its own tables.

        task: of the kind demand; it can be left out where the plan has one. how: the settings.
        """
        from grandtotal.decide.order_list import Ordering, order_list

        name = task or self._only("demand")
        found, model, rows, tables = self._at_home(retailer, name, config)
        _refuse_other_kind(name, found, "demand", "orders need")
        return order_list(cast("Demand", found), model, rows, tables, how or Ordering())

    def prices(
        self,
        retailer: str,
        rules: PriceRules | None = None,
        task: str | None = None,
        config: Path_ | None = None,
    ) -> Decided:
        """Returns what a retailer's products should cost, from its own tables and its own rules.

        task: of the kind price; it can be left out where the plan has one. Every decision is added
        to decisions/prices.jsonl in the retailer's folder, with the probability of each price.
        """
        from grandtotal.decide.log import log_prices
        from grandtotal.decide.of_model import responses
        from grandtotal.decide.prices import decide_prices
        from grandtotal.decide.rules import PriceRules

        name, found, model, rows, tables = self._price_task(retailer, task, config)
        of = responses(found, model, rows, tables)
        decided = decide_prices(of, rules or PriceRules())
        log_prices(self.folder.retailer(retailer), name, decided)
        return decided

    def segment_prices(
        self,
        retailer: str,
        how: SegmentRules,
        rules: PriceRules | None = None,
        task: str | None = None,
        config: Path_ | None = None,
    ) -> tuple[SegmentDecision, list[Json]]:
        """Returns a discount for each segment beside one for all, and gaps between groups.

        How segments differ is learnt at home, from the retailer's own customers; nothing leaves.
        """
        from grandtotal.algorithms.segment_response import SegmentResponse
        from grandtotal.consortium.totals import Local
        from grandtotal.decide.of_model import responses
        from grandtotal.decide.rules import PriceRules
        from grandtotal.decide.segment_rows import read_segments
        from grandtotal.decide.segments import Segments, decide_segments, gaps

        _, found, model, rows, tables = self._price_task(retailer, task, config)
        of = responses(found, model, rows, tables)
        seen = read_segments(found, model, of, tables, how.by)
        shifts = SegmentResponse().fit(Local({"now": seen.lines}), len(seen.names), "now")
        known = Segments(seen.names, seen.customers, seen.units, shifts.apart, shifts.sd)
        decided = decide_segments(of, known, rules or PriceRules(), how)
        return decided, gaps(decided, seen.groups)

    def _price_task(
        self, retailer: str, task: str | None, config: Path_ | None
    ) -> tuple[str, Price, PriceModel, Rows, Tables]:
        name = task or self._only("price")
        found, model, rows, tables = self._at_home(retailer, name, config)
        _refuse_other_kind(name, found, "price", "prices need")
        return name, cast("Price", found), cast("PriceModel", model), rows, tables

    def _only(self, kind: str) -> str:
        names = [name for name, found in self.folder.plan().kinds.items() if found == kind]
        if len(names) != 1:
            which = f"has {len(names)}: {', '.join(names)}" if names else "has none"
            raise RunError(f"the plan {which} of the kind '{kind}'; name the task")
        return names[0]

    def _at_home(
        self, retailer: str, task: str, config: Path_ | None
    ) -> tuple[Task, Model, Rows, Tables]:
        """Returns a task, its model with what the retailer adds, its rows and its tables."""
        from grandtotal.participate import load_model, model_at_home, own_plan, tables_of

        plan = self.folder.plan()
        self._refuse_stranger(retailer)
        if task not in plan.tasks:
            raise RunError(f"no task '{task}' in the run: {', '.join(plan.tasks)}")
        path = Path(config or self.folder.launch()["retailers"][retailer])
        model, _ = load_model(self.folder.retailer(retailer), task, plan.tasks[task])
        tables = tables_of(path, None, self.folder.retailer(retailer) / "kept")
        if tables.config.retailer != retailer:
            raise PlanError(f"{path}: is of '{tables.config.retailer}', expected '{retailer}'")
        found = own_plan(self.folder.retailer(retailer), tables).tasks[task]
        rows = found.rows(tables)
        home = model_at_home(self.folder.retailer(retailer), task, found, model, rows)
        return found, home, rows, tables

    def matched(self, retailer: str) -> Json | None:
        """Returns how many of a retailer's products are in the private catalogue, or None.

        shared: in it. not shared: fewer retailers sell them than the plan asks. doubled, without
        key, unlisted: not matched at all. of others: in the catalogue, not sold here.
        """
        from grandtotal.participate import account_path

        self._refuse_stranger(retailer)
        path = account_path(self.folder.retailer(retailer))
        return read_json(path) if path.exists() else None

    def _refuse_stranger(self, retailer: str) -> None:
        members = self.folder.plan().members
        if retailer not in members:
            raise RunError(f"no retailer '{retailer}' in the run: {', '.join(members)}")


def _recommends(name: str, task: Task) -> Recommend:
    _refuse_other_kind(name, task, "recommend", "wishes need")
    return cast("Recommend", task)


def _refuse_other_kind(name: str, task: Task, kind: str, what: str) -> None:
    if task.kind != kind:
        raise RunError(f"'{name}' is of the kind {task.kind}; {what} one of kind {kind}")
