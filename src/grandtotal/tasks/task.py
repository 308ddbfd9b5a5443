"""What every task is: settings in the plan, a half at the coordinator, a half at each retailer."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from grandtotal.algorithms.model import Model
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import PlanError, RefusedError
from grandtotal.privacy.agreement import NO_PROMISE, Agreement
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays, over, under
from grandtotal.tasks.scores import Metric, Scored, TestScores, UnitScores

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables


@dataclass(frozen=True)
class Common:
    """What the whole plan agrees on.

    today: the first day that is in nobody's tables; every cut is counted back from it.
    catalogue: the product keys that all retailers share, in the order of every array; of a private
        one, numbers at the coordinator and the retailer's own ids at home, and none before it is
        found.
    key: what they are: the retailers' own "product" ids, or the "gtin" of their products table.
    seed: of bootstrap draws; nothing that leaves a retailer depends on it.
    absent: places in a private catalogue of products that this retailer does not sell.
    own: what this retailer sells outside a private catalogue, at home; its own model serves them.
    privacy: what the plan promises; under epsilon a task asks only queries with a bound.
    """

    today: date
    catalogue: tuple[str, ...]
    key: str = "product"
    seed: int = 7
    absent: tuple[int, ...] = ()
    own: tuple[str, ...] = ()
    privacy: Agreement = NO_PROMISE


_EARLIER = "earlier "


@dataclass(frozen=True)
class Fitted:
    """The chosen model and how it was chosen.

    choice: {"chosen": its hyper-parameters, "tried": [{..., metric: validation score}, ...]}.
    before: the same model fitted on the rows before the validation, which it has not seen; where it
        is there, retailers choose a layer of their own by it.
    """

    model: Model
    choice: Json
    before: Model | None = None

    @property
    def delivered(self) -> Arrays:
        """The arrays that go to the retailers."""
        earlier = {} if self.before is None else over(_EARLIER, self.before.arrays)
        return {**self.model.arrays, **earlier}


def taken_apart(delivered: Arrays) -> tuple[Arrays, Arrays]:
    """Returns the arrays of the model, and of what it was before the validation, if they came."""
    model = {n: array for n, array in delivered.items() if not n.startswith(_EARLIER)}
    return model, under(_EARLIER, delivered)


@dataclass(frozen=True)
class Layer:
    """What a retailer adds to a delivered model and keeps at home.

    arrays: none where the model stays as it is. meta: what is kept, in words under "kept", and by
    how much it was better on the retailer's own validation.
    """

    arrays: Arrays
    meta: Json


class Task(Protocol):
    """One retail question.

    A row of scores is made by the same two steps everywhere: `fit` over totals, then `adapt` at
    home with the retailer's own rows; "alone" and "federated" differ only in whose totals they are.
    """

    kind: ClassVar[str]
    headline: ClassVar[str]
    units: ClassVar[str]

    @property
    def common(self) -> Common:
        """What the whole plan agrees on."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a unit adds to the scores, in the order of UnitScores."""
        ...

    # The coordinator's half: totals in, model out.
    def fit(self, totals: Totals) -> Fitted:
        """Returns the model chosen on validation scores, fitted on all rows before the test."""
        ...

    # The retailer's half: never at the coordinator.
    def rows(self, tables: Tables) -> Rows:
        """Returns the rows of each split, and "now" for predictions; raises DataError."""
        ...

    def build(self, arrays: Arrays, meta: Json) -> Model:
        """Returns the model that was delivered."""
        ...

    def adapt(self, model: Model, rows: Rows) -> Model:
        """Returns the model with what the retailer adds at home; the model itself if nothing."""
        ...

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns what the retailer would do without any model of ours, and its name."""
        ...

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each unit scores on what came after the cut."""
        ...

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:
        """Returns the predictions as of today, one table for a file."""
        ...

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns what the report draws beside the scores, from the retailer's own test rows."""
        ...

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the rows as if one company held them: for simulations alone."""
        ...

    @property
    def shown(self) -> int:
        """The length of UnitScores.shown."""
        ...

    # Where a fit also returns what the model was before the validation.
    def layer(self, model: Model, before: Model, rows: Rows) -> Layer:
        """Returns what the retailer adds of its own, if it was better on its own validation."""
        ...

    def layered(self, model: Model, layer: Layer) -> Model:
        """Returns the model with the layer; the same arrays travel."""
        ...

    # Under epsilon: what leaves, and how little of it.
    def releases(self) -> tuple[Release, ...]:
        """Returns every query that is asked under epsilon, by name, and at most how often.

        It is known before anything is asked, of the plan alone, and is the schedule that the noise
        is made for: what is not in it is refused. It includes "test-scores".
        """
        ...

    @property
    def scored(self) -> Scored:
        """What is shared of the test under epsilon."""
        ...


def metric_of(task: Task) -> Metric:
    """Returns the metric that choices and headlines use."""
    return next(metric for metric in task.metrics if metric.name == task.headline)


def releases_of(name: str, task: Task) -> tuple[Release, ...]:
    """Returns what a task will ask under epsilon; RefusedError for one that does not say so."""
    if not hasattr(task, "releases"):
        raise RefusedError(
            f"[tasks.{name}]: '{task.kind}' does not say what it asks under epsilon, so nobody can "
            f"say how much noise it needs. Nothing was run. Take the task, or epsilon, out of the "
            f"plan"
        )
    return task.releases()


def at_home(task: Task) -> Task:
    """Returns the task as it is where nothing leaves: exact, whatever the plan promises."""
    open_ = replace(task.common, privacy=NO_PROMISE)
    return replace(task, common=open_)  # type: ignore[type-var]


def scores_asked(name: str, task: Task) -> TestScores:
    """Returns what is asked of the test: all rows of the table, or what `scored` says."""
    if not task.common.privacy.private:
        return TestScores(name, len(task.metrics), task.shown)
    scored, steps = task.scored, metric_of(task).steps
    return TestScores(name, 1, 0, scored.largest * steps, scored.unit, scored.per_customer)


def finished(task: Task, fitted: Fitted, rows: Rows) -> tuple[Model, Layer | None]:
    """Returns a model with all that the retailer adds at home, and the layer that is kept of it."""
    model = task.adapt(fitted.model, rows)
    if fitted.before is None:
        return model, None
    layer = task.layer(model, fitted.before, rows)
    return task.layered(model, layer), layer


T = TypeVar("T")


def settings(cls: type[T], values: Mapping[str, Any], where: str, **given: Any) -> T:
    """Returns the dataclass made of a plan's table; PlanError for unknown, missing, wrong values.

    where: how messages call the table, for example "[tasks.recommend]".
    """
    known = {field.name: field for field in fields(cls) if field.name not in given}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise PlanError(f"{where}: unknown key '{key}', expected {', '.join(known)}{hint}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise PlanError(f"{where}: '{name}' is missing")
    try:
        return cls(**given, **{key: _frozen(value) for key, value in values.items()})
    except (TypeError, ValueError, PlanError) as error:
        raise PlanError(f"{where}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


LONGEST = 10_000  # days or periods: counting back from today stays inside the calendar


def check_numbers(**values: tuple[Any, float] | tuple[Any, float, float]) -> None:
    """Raises PlanError for a value that is no whole number from a least one on, up to a most."""
    for name, (value, least, *most) in values.items():
        largest = most[0] if most else math.inf
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= largest:
            until = f", up to {largest:,}" if most else ""
            raise PlanError(f"{name} = {value!r}, expected a whole number from {least:g} on{until}")


def check_models(models: tuple[str, ...], known: Mapping[str, Any]) -> None:
    """Raises PlanError for a model that does not exist, with the nearest name."""
    if not isinstance(models, tuple) or not models:
        raise PlanError(f"models = {models!r}, expected a list of some of {', '.join(known)}")
    for model in models:
        if not isinstance(model, str) or model not in known:
            near = difflib.get_close_matches(str(model), known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise PlanError(f"no model '{model}', expected {', '.join(known)}{hint}")
