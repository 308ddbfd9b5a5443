"""Scores as ratios of sums: over customers or series, over retailers, over bootstrap draws.

Every metric is sum(numerators) / sum(denominators), some under a square root, so that a shared
score is a total like any other and an interval needs no second pass over the rows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.consortium.query import Rows, State
from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.clipping import bound_by_group, scale_of, sum_of_clipped
from grandtotal.privacy.fixedpoint import Arrays, Field
from grandtotal.threads import one_thread

ROWS = ("baseline", "alone", "federated")
DELIVERED = "delivered"  # the federated model without what a retailer adds to it at home
REPLICATES = 1000
LEVEL = 0.95
_COUNTED = 2**18  # counts of drawn units that are made at once: they stay in the cache


@dataclass(frozen=True)
class Metric:
    """A score that is a ratio of sums.

    steps: integer steps per unit of numerator and denominator.
    """

    name: str
    higher_is_better: bool
    meaning: str
    root: bool = False
    steps: int = 2**20

    def value(self, numerator: Any, denominator: Any) -> Any:
        """Returns the metric of summed numerators and denominators; nan where nothing counts."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(denominator != 0, np.divide(numerator, denominator), np.nan)
            return np.sqrt(ratio) if self.root else ratio


@dataclass(frozen=True)
class UnitScores:
    """What each unit (customer, series) adds to each metric, in integer steps.

    numerators, denominators: (units, metrics) int64.
    shown: (products,) how often each product was recommended; empty where that has no meaning.
    """

    metrics: tuple[Metric, ...]
    numerators: NDArray[np.int64]
    denominators: NDArray[np.int64]
    shown: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _drawn: dict[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(
        metrics: tuple[Metric, ...],
        numerators: list[NDArray[Any]],
        denominators: list[NDArray[Any]],
        shown: NDArray[np.int64] | None = None,
    ) -> "UnitScores":
        """Returns scores of one (units,) array of numerators and of denominators per metric."""
        steps = np.array([metric.steps for metric in metrics])
        return UnitScores(
            metrics,
            np.rint(np.stack(numerators, axis=1) * steps).astype(np.int64),
            np.rint(np.stack(denominators, axis=1) * steps).astype(np.int64),
            np.empty(0, np.int64) if shown is None else shown,
        )

    @staticmethod
    def joined(parts: list["UnitScores"]) -> "UnitScores":
        """Returns the scores of all units of several holders together."""
        return UnitScores(
            parts[0].metrics,
            np.concatenate([part.numerators for part in parts]),
            np.concatenate([part.denominators for part in parts]),
            np.sum([part.shown for part in parts], axis=0),
        )

    @property
    def units(self) -> int:
        """How many customers or series were scored."""
        return len(self.numerators)

    def values(self) -> dict[str, float]:
        """Returns every metric over all units."""
        return values_of(
            self.metrics, self.numerators.sum(axis=0), self.denominators.sum(axis=0), self.shown
        )

    def draws(self, seed: int) -> NDArray[np.float64]:
        """Returns (REPLICATES, metrics) values over units drawn with replacement.

        The same seed draws the same units, so that differences between two models are paired.
        """
        if seed not in self._drawn:
            draw_together([self], seed)
        return self._drawn[seed]

    def _keep(self, seed: int, drawn: NDArray[np.float64]) -> None:
        """Keeps the values of drawn sums (REPLICATES, 2 metrics)."""
        above, below = np.split(drawn, 2, axis=1)
        columns = [m.value(above[:, i], below[:, i]) for i, m in enumerate(self.metrics)]
        self._drawn[seed] = np.stack(columns, axis=1)

    def summary(self, seed: int) -> Json:
        """Returns {metric: {value, low, high}} with 95 % percentile bootstrap intervals."""
        found: Json = {name: {"value": _number(value)} for name, value in self.values().items()}
        for i, metric in enumerate(self.metrics):
            found[metric.name] |= _interval(self.draws(seed)[:, i])
        return found

    def gain_over(self, other: "UnitScores", metric: Metric, seed: int) -> Json:
        """Returns by how much this is better than the other, in the metric and relative to it.

        Positive is better, whichever direction the metric has; paired bootstrap interval.
        """
        sign = 1.0 if metric.higher_is_better else -1.0
        column = self.metrics.index(metric)
        mine, theirs = self.values()[metric.name], other.values()[metric.name]
        drawn = other.draws(seed)[:, column]
        difference = sign * (self.draws(seed)[:, column] - drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = _interval(difference / drawn)
        return {
            "value": _number(sign * (mine - theirs)),
            **_interval(difference),
            "relative": _number(sign * (mine - theirs) / theirs if theirs else np.nan),
            "relative_low": relative["low"],
            "relative_high": relative["high"],
        }

    @property
    def arrays(self) -> Arrays:
        """The arrays that are saved."""
        return {
            "numerators": self.numerators,
            "denominators": self.denominators,
            "shown": self.shown,
        }


def draw_together(scores: Iterable[UnitScores], seed: int) -> None:
    """Makes `draws` of all of them quick: which units are drawn is decided once for as many."""
    waiting = {id(one): one for one in scores if seed not in one._drawn}.values()
    for units in {one.units for one in waiting}:
        alike = [one for one in waiting if one.units == units]
        parts = [part for one in alike for part in (one.numerators, one.denominators)]
        sums = np.concatenate(parts, axis=1).astype(np.float64)
        with one_thread():
            drawn = np.concatenate([weights @ sums for weights in _resamples(units, seed)])
        ends = np.cumsum([2 * len(one.metrics) for one in alike])[:-1]
        for one, own in zip(alike, np.split(drawn, ends, axis=1), strict=True):
            one._keep(seed, own)


def values_of(
    metrics: tuple[Metric, ...],
    numerators: NDArray[Any],
    denominators: NDArray[Any],
    shown: NDArray[Any],
) -> dict[str, float]:
    """Returns every metric of summed (metrics,) numerators and denominators, and the coverage."""
    values = {
        metric.name: float(metric.value(numerators[i], denominators[i]))
        for i, metric in enumerate(metrics)
    }
    if shown.size:
        values["coverage"] = float(np.mean(shown > 0))
    return values


def known_values(*sums: Any) -> dict[str, float | None]:
    """Returns what `values_of` does, with None where nothing was scored."""
    return {name: _number(value) for name, value in values_of(*sums).items()}


def _resamples(units: int, seed: int) -> Iterator[NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    at_once = max(1, _COUNTED // max(units, 1))
    for start in range(0, REPLICATES, at_once):
        count = min(at_once, REPLICATES - start)
        drawn = generator.integers(0, max(units, 1), (count, units))
        offsets = drawn + np.arange(count)[:, None] * units
        counts = np.bincount(offsets.ravel(), minlength=count * units)
        yield counts.reshape(count, units).astype(np.float64)


def _interval(draws: NDArray[np.float64]) -> Json:
    finite = draws[np.isfinite(draws)]
    if not finite.size:
        return {"low": None, "high": None}
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": _number(low), "high": _number(high)}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class Scored:
    """What a task shares of its test under epsilon: the headline of the delivered model.

    split: of the rows that are scored. largest: norm to which numerator and denominator of one unit
    together are cut, in units of the metric. unit, per_customer: as in TestScores.
    """

    split: str
    largest: float
    unit: str = "customer"
    per_customer: int = 0


def scores_path(folder: Path, task: str, row: str) -> Path:
    """Where a retailer keeps what each of its units scored."""
    if Path(task).name != task:
        raise AnswerError(Code.MALFORMED, f"'{task}' is no name of a task")
    return folder / "scores" / f"{task}.{row}.safetensors"


def save_scores(folder: Path, task: str, row: str, scores: UnitScores) -> None:
    """Keeps the unit scores at home."""
    save_arrays(scores_path(folder, task, row), scores.arrays, {"task": task, "row": row})


def save_delivered(folder: Path, task: str, scored: Scored, scores: UnitScores) -> None:
    """Keeps the unit scores of the delivered model, and whose they are."""
    whose = {"unit": scored.unit, "per_customer": scored.per_customer}
    meta = {"task": task, "row": DELIVERED, **whose}
    save_arrays(scores_path(folder, task, DELIVERED), scores.arrays, meta)


def load_scores(folder: Path, task: str, row: str, metrics: tuple[Metric, ...]) -> UnitScores:
    """Returns what `save_scores` kept."""
    arrays, _ = load_arrays(scores_path(folder, task, row))
    return UnitScores(metrics, arrays["numerators"], arrays["denominators"], arrays["shown"])


@dataclass(frozen=True)
class TestScores:
    """The sums of numerators and denominators of the test scores that each retailer kept.

    metrics: how many; shown: the catalogue's length, or 0 where nothing is recommended.
    largest: norm, in the metric's steps, to which what one unit adds to the headline is cut; 0 is
        not at all. unit: what was scored. per_customer: scored units that a customer is part of,
        where the unit is not the customer.

    Of what is clipped there is one row, the model as it was delivered: it is a total with noise and
    the unit's own rows make its score. The baseline, the model trained alone and what a retailer
    adds to the delivered one are made of all its rows, so that one customer moves the scores of all
    the others: nothing bounds their sums, and they stay at home.
    """

    name: ClassVar[str] = "test-scores"
    __test__: ClassVar[bool] = False  # a query, whatever pytest makes of its name

    task: str
    metrics: int
    shown: int
    largest: float = 0.0
    unit: str = "customer"
    per_customer: int = 0

    @property
    def bound(self) -> Stated:
        """What a unit adds is not negative and within `largest`, which counts as 1."""
        largest = 1.0 if self.largest else 0.0
        return bound_by_group(largest, self.unit, self.per_customer, signed=False)

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns, for each row of ROWS, numerators, denominators (metrics,) and shown."""
        if self.largest:
            parts = ("numerators", "denominators")
            return {f"federated {part}": Field((1,), scale=scale_of(1.0)) for part in parts}
        return {
            f"{row} {what}": Field((length,))
            for row in ROWS
            for what, length in (
                ("numerators", self.metrics),
                ("denominators", self.metrics),
                ("shown", self.shown),
                ("units", 1),
            )
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's sums, from its own disk: the test rows are not scored again."""
        if self.largest:
            return self._clipped(*load_arrays(scores_path(state.folder, self.task, DELIVERED)))
        answer: Arrays = {}
        for row in ROWS:
            arrays, _ = load_arrays(scores_path(state.folder, self.task, row))
            answer[f"{row} numerators"] = arrays["numerators"].sum(axis=0)
            answer[f"{row} denominators"] = arrays["denominators"].sum(axis=0)
            answer[f"{row} shown"] = arrays["shown"]
            answer[f"{row} units"] = np.array([len(arrays["numerators"])])
        return answer

    def _clipped(self, kept: Arrays, meta: Json) -> Arrays:
        # Whoever asks must not choose how little noise is enough.
        if (meta["unit"], meta["per_customer"]) != (self.unit, self.per_customer):
            raise AnswerError(
                Code.PLAN_REFUSED,
                f"asked for scores of each {self.unit}, {self.per_customer} a customer; by the "
                f"plan they are of each {meta['unit']}, {meta['per_customer']} a customer",
            )
        above, below = kept["numerators"][:, 0], kept["denominators"][:, 0]
        parts = np.maximum(np.stack([above, below], axis=1), 0)
        sums = sum_of_clipped(parts / self.largest, 1.0)
        return {"federated numerators": sums[:1], "federated denominators": sums[1:]}
