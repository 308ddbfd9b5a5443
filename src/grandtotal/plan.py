"""plan.toml: what all members agree on. It travels as one canonical JSON text."""

import csv
import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from grandtotal.algorithms.catalogue import PrivateCatalogue, opaque
from grandtotal.algorithms.model import load_arrays
from grandtotal.consortium.consortium import refuse_too_few
from grandtotal.consortium.query import installed
from grandtotal.durable import Json, canonical
from grandtotal.errors import PlanError
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.tasks.task import Common, Task, check_numbers, releases_of, settings

_SECTIONS = ("consortium", "privacy", "tasks")
_YEARS = (1980, 2050)  # of a today: no table holds another day
CATALOGUE = "catalogue"  # the part of a run in which a private catalogue is found
PRIVATE = "private"
_NAME = re.compile(r"(?!.*\.\.)(?![\s.])[^/\\\x00-\x1f]+(?<![\s.])")


@dataclass(frozen=True)
class Plan:
    """The agreement, read and checked.

    source: its JSON value, with the catalogue in it; `content` is what every member gets.
    matching: how a private catalogue is found; None where the plan lists the products.
    patience_s: across companies, for how long a member may be silent before a total goes on, or
    waits, without it; None: as the alliance says.
    """

    name: str
    members: tuple[str, ...]
    common: Common
    tasks: Mapping[str, Task]
    source: Json
    matching: PrivateCatalogue | None = None
    patience_s: float | None = None

    def with_catalogue(
        self,
        catalogue: tuple[str, ...],
        key: str,
        absent: tuple[int, ...] = (),
        own: tuple[str, ...] = (),
    ) -> "Plan":
        """Returns the plan with the private catalogue that was found; its content stays."""
        common = replace(self.common, catalogue=catalogue, key=key, absent=absent, own=own)
        tasks = {name: replace(task, common=common) for name, task in self.tasks.items()}  # type: ignore[type-var]
        return replace(self, common=common, tasks=tasks)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each task, by its name."""
        return {name: task.kind for name, task in self.tasks.items()}

    def budget(self) -> Budget | None:
        """Returns the noise of every release that the tasks state; None without epsilon.

        RefusedError where a task does not state what it will ask.
        """
        if not self.common.privacy.private:
            return None
        releases = {name: releases_of(name, task) for name, task in self.tasks.items()}
        return Budget.of(self.common.privacy, releases, len(self.members))

    @property
    def content(self) -> bytes:
        """The canonical text that is shown to every retailer and named in every question."""
        return canonical(self.source)

    @staticmethod
    def read(path: Path) -> "Plan":
        """Returns the plan of a TOML file; PlanError or RefusedError says what is wrong with it."""
        try:
            source = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise PlanError(f"{path}: no such file; `grandtotal init` writes one") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PlanError(f"{path}: not a TOML file: {error}") from error
        consortium = _table(source, "consortium", str(path))
        if "catalogue" not in consortium:
            raise PlanError(
                f"{path}: [consortium] has no 'catalogue': the file of product keys, or "
                f'"{PRIVATE}" to find the products that several members sell'
            )
        file = consortium["catalogue"]
        if not isinstance(file, str):
            raise PlanError(
                f"{path}: [consortium]: catalogue = {file!r}, expected the file of product keys"
            )
        dated = {key: _iso(value) for key, value in consortium.items()}
        listed = file if file == PRIVATE else _catalogue(path.parent / file)
        agreed = {**dated, "catalogue": listed}
        return Plan.of({**source, "consortium": agreed}, str(path))

    @staticmethod
    def parse(content: bytes) -> "Plan":
        """Returns the plan of the canonical text."""
        try:
            source = json.loads(content)
        except ValueError as error:
            raise PlanError(f"the plan: not JSON: {error}") from error
        if not isinstance(source, dict):
            raise PlanError(f"the plan: {type(source).__name__}, expected an object")
        return Plan.of(source, "the plan")

    @staticmethod
    def of(source: Json, where: str) -> "Plan":
        """Returns the plan of a JSON value; `where` names it in messages."""
        _refuse_unknown(source, _SECTIONS, where)
        asked = _table({"privacy": {}, **source}, "privacy", where)
        privacy = settings(Agreement, asked, f"{where}: [privacy]")
        agreed = settings(_Agreed, _table(source, "consortium", where), f"{where}: [consortium]")
        common = agreed.common(where, privacy)
        tasks = _table(source, "tasks", where)
        if agreed.matching and CATALOGUE in tasks:
            raise PlanError(f"{where}: [tasks.{CATALOGUE}]: a private catalogue has this name")
        if not tasks:
            raise PlanError(f"{where}: no [tasks.NAME]; expected at least one, with its 'kind'")
        refuse_too_few(agreed.members)
        return Plan(
            agreed.name,
            agreed.members,
            common,
            # By name, as in the text that travels: the rounds of a plan have one order.
            {
                _named(name, where): _task(name, tasks[name], common, where)
                for name in sorted(tasks)
            },
            source,
            agreed.matching,
            agreed.patience_s,
        )


def plan_in(folder: Path) -> Plan:
    """Returns the plan in a party's folder, with the numbers of a private catalogue once found."""
    plan = Plan.parse((folder / "plan.json").read_bytes())
    path = catalogue_path(folder)
    if plan.matching is None or not path.exists():
        return plan
    return plan.with_catalogue(opaque(load_arrays(path)[0]["buckets"]), plan.common.key)


def catalogue_path(folder: Path) -> Path:
    """Where a party keeps a private catalogue."""
    return folder / f"{CATALOGUE}.safetensors"


@dataclass(frozen=True)
class _Agreed:
    name: str
    members: tuple[str, ...]
    today: str
    catalogue: tuple[str, ...] | str
    key: str = "product"
    seed: int = 7
    catalogue_min: int | None = None
    catalogue_most: int | None = None
    patience_s: float | None = None

    def __post_init__(self) -> None:
        for text in ("name", "today"):
            if not isinstance(getattr(self, text), str):
                raise ValueError(f"{text} = {getattr(self, text)!r}, expected a text")
        for texts in ("members",) if self.catalogue == PRIVATE else ("members", "catalogue"):
            if not _is_texts(getattr(self, texts)):
                raise ValueError(f"{texts} = {getattr(self, texts)!r}, expected a list of texts")
        for member in self.members:
            _named(member, "members")
        check_numbers(seed=(self.seed, 0))
        if len(set(self.members)) < len(self.members):
            raise ValueError(f"a member is named twice in {list(self.members)}")
        if not self.catalogue:
            raise ValueError("the catalogue is empty")
        if self.key not in ("product", "gtin"):
            raise ValueError(f'key = "{self.key}", expected "product" or "gtin"')
        if self.patience_s is not None and not _is_patience(self.patience_s):
            raise ValueError(f"patience_s = {self.patience_s!r}, expected seconds, 1 to 86400")
        self._check_matching()

    def _check_matching(self) -> None:
        if self.catalogue != PRIVATE:
            if self.catalogue_min is not None or self.catalogue_most is not None:
                raise ValueError(
                    f'catalogue_min and catalogue_most belong to catalogue = "{PRIVATE}"; here the '
                    f"products are listed"
                )
            return
        matching = self.matching
        assert matching is not None
        check_numbers(
            # Of a product that two sell, each reads the other's numbers by subtraction.
            catalogue_min=(matching.minimum, 3, len(self.members)),
            catalogue_most=(matching.most, 1, 2**20),
        )

    @property
    def matching(self) -> PrivateCatalogue | None:
        if self.catalogue != PRIVATE:
            return None
        given = {"minimum": self.catalogue_min, "most": self.catalogue_most}
        return PrivateCatalogue(**{k: v for k, v in given.items() if v is not None})

    def common(self, where: str, privacy: Agreement) -> Common:
        try:
            today = date.fromisoformat(self.today)
        except ValueError:
            raise PlanError(
                f"{where}: [consortium]: today = {self.today!r}, expected a date such as "
                f"2011-12-10: the first day that is in nobody's tables"
            ) from None
        if not _YEARS[0] <= today.year <= _YEARS[1]:
            raise PlanError(
                f"{where}: [consortium]: today = {self.today!r}, expected a day from {_YEARS[0]} "
                f"to {_YEARS[1]}, as tables hold them"
            )
        listed = self.catalogue if isinstance(self.catalogue, tuple) else ()
        return Common(today, listed, self.key, self.seed, privacy=privacy)


def _task(name: str, values: Any, common: Common, where: str) -> Task:
    here = f"{where}: [tasks.{name}]"
    if not isinstance(values, Mapping) or "kind" not in values:
        raise PlanError(
            f"{here}: 'kind' is missing, expected one of {', '.join(installed('tasks'))}"
        )
    kinds = installed("tasks")
    if not isinstance(values["kind"], str) or values["kind"] not in kinds:
        near = difflib.get_close_matches(str(values["kind"]), kinds, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise PlanError(f"{here}: no kind '{values['kind']}', expected {', '.join(kinds)}{hint}")
    rest = {key: value for key, value in values.items() if key != "kind"}
    task: Task = settings(kinds[values["kind"]], rest, here, common=common)  # type: ignore[arg-type]
    return task


def _table(source: Mapping[str, Any], name: str, where: str) -> Json:
    found = source.get(name)
    if not isinstance(found, dict):
        what = "is missing" if found is None else f"is {found!r}, expected a table"
        raise PlanError(f"{where}: [{name}] {what}")
    return found


def _named(name: str, where: str) -> str:
    # Members and tasks name folders and files, at every retailer: nobody else may choose where.
    if not _NAME.fullmatch(name):
        raise PlanError(
            f"{where}: the name {name!r}, expected one for a folder: no '/', '\\' or '..' in it, "
            f"no '.' or space at its ends"
        )
    return name


def _is_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


def _is_patience(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 1 <= value <= 86400


def _refuse_unknown(source: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in source:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean [{near[0]}]?" if near else ""
            raise PlanError(f"{where}: unknown '{key}', expected {', '.join(known)}{hint}")


def _catalogue(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlanError(f"{path}: the catalogue cannot be read: {error}") from error
    if not rows or rows[0][:1] != ["product"]:
        found = rows[0] if rows else "nothing"
        raise PlanError(f"{path}: the first line is {found}, expected the heading 'product'")
    keys = [row[0].strip() for row in rows[1:] if row and row[0].strip()]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise PlanError(f"{path}: '{twice}' is listed twice; every product key stands for one row")
    return keys


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
