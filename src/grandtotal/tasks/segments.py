"""Which kinds of customers there are: named segments that mean the same at every retailer.

Each customer is a point: how recently, how often and for how much it buys. The middles of the
segments are found from totals over all retailers' customers; which segment a customer is in, each
retailer finds at home. How many segments there are is chosen by how clearly the same customers fall
into them one horizon later.

Under epsilon: a few steps of k-means on clipped points, with a number of segments that is agreed.
What is asked, a customer counting as one row:
    feature-sums        the mean of each feature                        once
    cell-counts         customers in the cells of a coarse grid         once
    lloyd-sums          ROUNDS steps of k-means
    segment-profiles    sizes, and what followed                        once
    test-scores         the silhouette of the delivered segments        once
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from grandtotal.algorithms.columns import Columns
from grandtotal.algorithms.kmeans import KMeans
from grandtotal.algorithms.mixture import GaussianMixture
from grandtotal.algorithms.model import Model
from grandtotal.algorithms.points import (
    STEPS,
    Box,
    Points,
    box_in_noise,
    box_of,
    joined,
    squared_distances,
)
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local, Totals
from grandtotal.durable import Json
from grandtotal.errors import DataError, PlanError
from grandtotal.privacy.bound import Release
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.histories import read_histories
from grandtotal.tasks.needs import Need, Standing, Verdict
from grandtotal.tasks.scores import Metric, Scored, UnitScores
from grandtotal.tasks.segments_model import (
    HALVES,
    MODELS,
    SegmentModel,
    adjusted_rand,
)
from grandtotal.tasks.segments_queries import LARGEST, SegmentProfiles, SegmentScores, profiled
from grandtotal.tasks.task import LONGEST, Common, Fitted, check_models, check_numbers
from grandtotal.tasks.traits import FEATURES, LATER, NEXT_SPEND, traits_at

if TYPE_CHECKING:
    import polars as pl

    from grandtotal.tables.read import Tables

_CHOICE = range(3, 9)
_AGREED = 5  # segments under epsilon, where the plan leaves it open: to choose costs noise
_LEAST = 0.05  # share of the customers, under epsilon: of fewer, noise may have made a segment
ROUNDS = 6  # of k-means under epsilon
RADIUS = 0.35  # of a customer from the middle of its segment, in units of the box
_RESAMPLED, _AT_MOST = 10, 5000  # draws for the stability of segments, and customers in each


@dataclass(frozen=True)
class Segments:
    """Settings of `kind = "segments"`.

    models: "kmeans", "mixture"; the larger summed silhouette on validation wins. Under epsilon
        k-means alone.
    segments: how many; 0 lets the silhouette choose from 3 to 8 (under epsilon it is 5).
    features: what a customer is described by, some of FEATURES.
    horizon_days: the test describes the same customers so many days later.
    """

    kind: ClassVar[str] = "segments"
    units: ClassVar[str] = "customers"
    headline: ClassVar[str] = "silhouette"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("silhouette", True, "how clearly customers fall into segments later; 1 is fully"),
        Metric("inertia", False, "squared distance to the own segment's middle / to that of all"),
        Metric("next_spend", False, "squared error of what is spent next, by segment / by mean"),
    )
    needs: ClassVar[tuple[Need, ...]] = (
        Need("transactions", "customer", True, "whose habits they are"),
        Need("transactions", "quantity", True, "a purchase told from a return"),
        Need("transactions", "price", True, "what was spent"),
        Need("transactions", "promotion", False, "the feature 'promoted'"),
    )

    common: Common
    models: tuple[str, ...] = ("kmeans",)
    segments: int = 0
    features: tuple[str, ...] = ("recency", "purchases", "spend")
    horizon_days: int = 90

    def __post_init__(self) -> None:
        check_models(self.models, dict.fromkeys(MODELS))
        check_numbers(segments=(self.segments, 0, 50), horizon_days=(self.horizon_days, 7, LONGEST))
        unknown = [name for name in self.features if name not in FEATURES]
        if (
            unknown
            or not 1 <= len(self.features) <= 6
            or len(set(self.features)) < len(self.features)
        ):
            raise PlanError(
                f"features = {list(self.features)}, expected one to six different ones of "
                f"{', '.join(FEATURES)}"
            )
        if self.common.privacy.private and self.models != ("kmeans",):
            raise PlanError(
                f"models = {list(self.models)}: under epsilon segments are made by k-means alone; "
                f'write models = ["kmeans"]'
            )

    @property
    def shown(self) -> int:
        """Nothing is recommended here."""
        return 0

    # --- the coordinator's half ---

    def fit(self, totals: Totals) -> Fitted:
        """Returns the clearest segments on validation, made once more up to the test cut."""
        if self.common.privacy.private:
            return self._fit_in_noise(totals)
        numbers = (self.segments,) if self.segments else tuple(_CHOICE)
        candidates = self._candidates(totals, "validation", self.models, numbers)
        tried = [self._tried(totals, model, k) for k, model in candidates]
        best = max(tried, key=lambda one: one["silhouette"])
        ((_, model),) = self._candidates(totals, "test", (best["model"],), (best["segments"],))
        profiles = SegmentProfiles(model.meta["model"], joined(self.features), "validation")
        model = profiled(model, totals.total(profiles, model.broadcast))
        return Fitted(model, {"chosen": self._chosen(model), "tried": tried})

    def _chosen(self, model: SegmentModel) -> Json:
        return {"model": model.meta["model"], "segments": len(model.centres)}

    def _candidates(
        self, totals: Totals, split: str, models: tuple[str, ...], numbers: tuple[int, ...]
    ) -> list[tuple[int, SegmentModel]]:
        """Returns the number of segments that was asked for and the segments, for each model."""
        box = box_of(totals, self.features, split)
        clusterings = KMeans().fit(totals, self.features, split, box, numbers)
        found = [
            (k, SegmentModel.of("kmeans", self.features, box, one.centres, one.sizes))
            for k, one in zip(numbers, clusterings, strict=True)
            if "kmeans" in models
        ]
        if "mixture" not in models:
            return found
        starts = [one.centres for one in clusterings]
        mixtures = GaussianMixture().fit(totals, self.features, split, box, starts)
        for k, one in zip(numbers, mixtures, strict=True):
            centres, sizes = one.centres * STEPS, one.shares * one.customers
            given = ("mixture", self.features, box, centres, sizes, one)
            found.append((k, SegmentModel.of(*given)))
        return found

    def _tried(self, totals: Totals, model: SegmentModel, number: int) -> Json:
        kind = model.meta["model"]
        query = SegmentScores(kind, joined(self.features), "validation")
        sums = totals.total(query, model.broadcast)
        mean = float(sums["silhouette"]) / max(int(sums["customers"]), 1)
        return {"model": kind, "segments": number, "silhouette": mean}

    def _fit_in_noise(self, totals: Totals) -> Fitted:
        number = self.segments or _AGREED
        widths = np.array([FEATURES[name].width for name in self.features])
        box = box_in_noise(totals, self.features, "test", widths)
        kmeans = KMeans(rounds=ROUNDS, starts=1, radius=RADIUS)
        (one,) = kmeans.fit(totals, self.features, "test", box, (number,))
        model = SegmentModel.of("kmeans", self.features, box, one.centres, one.sizes)
        model = model.without_few(_LEAST)
        query = SegmentProfiles("kmeans", joined(self.features), "validation", LARGEST, most=1)
        model = profiled(model, totals.total(query, model.broadcast))
        return Fitted(model, {"chosen": self._chosen(model), "tried": []})

    def releases(self) -> tuple[Release, ...]:
        """Returns the schedule of the module's docstring."""
        return (
            Release("feature-sums", 1, 0.3),
            Release("cell-counts", 1, 0.5),
            Release("lloyd-sums", ROUNDS),
            Release("segment-profiles", 1, 0.3),
            Release("test-scores", 1, 0.1),
        )

    @property
    def scored(self) -> Scored:
        """The silhouette of the delivered segments; a negative one counts as 0."""
        return Scored("test", math.sqrt(2.0))

    # --- the retailer's half ---

    def rows(self, tables: Tables) -> Rows:
        """Returns the customers' features as of the validation cut, the test cut and now."""
        histories = read_histories(tables, self.common.today)
        days = self.horizon_days
        cuts = {"validation": -2 * days, "test": -days, "now": 0}
        rows = {
            split: traits_at(histories, cut, days, self.features) for split, cut in cuts.items()
        }
        if not len(rows["validation"].keys):
            raise DataError(
                f"transactions: the first purchase of a known customer is {-histories.first_day} "
                f"days before {self.common.today}; segments need some before the last "
                f"2 x {days} days: a longer export, or a smaller horizon_days in the plan"
            )
        customers = histories.customers[np.unique(histories.purchases.customer)]
        return {**rows, "customers": customers}

    def build(self, arrays: Arrays, meta: Json) -> SegmentModel:
        """Returns the delivered model."""
        return SegmentModel.delivered(arrays, meta)

    def adapt(self, model: Model, rows: Rows) -> Model:  # noqa: ARG002
        """Returns the model itself: a segment means the same everywhere."""
        return model

    def baseline(self, rows: Rows) -> tuple[Model, str]:
        """Returns the usual table: each feature cut in halves, a segment for each combination."""
        columns, totals = rows["test"], Local(rows)
        box = box_of(totals, self.features, "test")
        points = box.points(columns, self.features)
        upper = points > np.median(points, axis=0) if len(points) else points > 0
        cells, cell = np.unique(upper, axis=0, return_inverse=True)
        sizes = np.bincount(cell.ravel(), minlength=len(cells)).astype(np.float64)
        sums = [np.bincount(cell.ravel(), x, minlength=len(cells)) for x in points.T]
        centres = np.rint(np.stack(sums, axis=1) / sizes[:, None])
        model = SegmentModel.of(HALVES, self.features, box, centres, sizes)
        query = SegmentProfiles(HALVES, joined(self.features), "validation")
        label = " x ".join(self.features) + ", each cut in halves"
        return profiled(model, totals.total(query, model.broadcast)), label

    def score(self, model: Model, rows: Rows, split: str) -> UnitScores:
        """Returns what each customer known at the cut adds to each metric."""
        made, columns = cast(SegmentModel, model), cast(Columns, rows[split])
        later = made.described(columns, LATER)
        one = np.ones(len(later.segment))
        middle = made.measured(made.box.values(made.middle[None]))
        every = squared_distances(later.places, middle)[:, 0] / STEPS**2
        spent, before = columns.number(NEXT_SPEND), made.segment(made.points(columns))
        sizes = np.bincount(before, minlength=len(made.centres))
        mean = float((made.next_spend * sizes).sum() / max(sizes.sum(), 1))
        return UnitScores.of(
            self.metrics,
            [
                later.silhouettes,
                later.inertia,
                (spent - made.next_spend[before]) ** 2,
            ],
            [one, every, (spent - mean) ** 2],
        )

    def predict(self, model: Model, rows: Rows, tables: Tables, top: int) -> pl.DataFrame:  # noqa: ARG002
        """Returns each customer's segment as of today, and how clearly it belongs to it.

        share: in the segment, of a mixture; 1 otherwise. distance: to its middle, in widths. The
        features follow, as numbers that a person reads.
        """
        import polars as pl

        made, columns = cast(SegmentModel, model), cast(Columns, rows["now"])
        found = made.described(columns)
        segment, rows_ = found.segment, np.arange(len(found.segment))
        shares = made.memberships(made.points(columns))[rows_, segment]
        return pl.DataFrame(
            {
                "customer": rows["customers"].astype(str),
                "segment": segment + 1,
                "name": np.array(made.meta["names"], dtype=object)[segment].astype(str),
                "share": shares.round(4),
                "distance": np.sqrt(found.inertia).round(4),
                "silhouette": found.silhouettes.round(4),
                **{
                    name: FEATURES[name].shown(columns.number(name)).round(2)
                    for name in self.features
                },
            }
        ).sort("segment", "customer")

    def standing(self, rows: Rows, tables: Tables) -> tuple[Standing, ...]:  # noqa: ARG002
        """Returns how many customers are known at the validation cut."""
        known, least = len(rows["validation"].keys), self.segments or max(_CHOICE)
        found = f"{known:,} customers before the validation"
        expected = f"more than {least}, the most segments that are tried; some hundreds are better"
        verdict: Verdict = "yes" if known > least else "look"
        remedy = "" if known > least else "a longer export, or a smaller horizon_days in the plan"
        return (Standing("customers", verdict, found, expected, remedy),)

    def detail(self, model: Model, rows: Rows) -> Json:
        """Returns a profile of each segment, at home and in all, and how stable segments are.

        spent: what one of the retailer's own customers spent in the days of the test, on average.
        """
        made, columns = cast(SegmentModel, model), cast(Columns, rows["test"])
        points = made.points(columns)
        segment = made.segment(points)
        here = np.bincount(segment, minlength=len(made.centres))
        middles = made.box.values(made.centres)
        spent = np.expm1(columns.number(NEXT_SPEND))
        return {
            "segments": [
                {
                    "name": made.meta["names"][k],
                    "customers": int(here[k]),
                    "of_all": round(float(made.sizes[k] / max(made.sizes.sum(), 1)), 4),
                    "next_purchases": round(float(made.next_purchases[k]), 3),
                    "spent": round(float(spent[segment == k].mean()), 2) if here[k] else 0.0,
                    "middle": _read(self.features, middles[k]),
                }
                for k in range(len(made.centres))
            ],
            "labels": {name: FEATURES[name].label for name in self.features},
            "stability": round(_stability(made, points, self.common.seed), 4),
        }

    def pooled(self, rows: list[Rows]) -> Rows:
        """Returns the customers as if one company held them."""
        splits = ("validation", "test")
        found = {split: Columns.pooled([part[split] for part in rows]) for split in splits}
        return {
            split: replace(columns, keys=np.arange(len(columns.keys), dtype=np.uint64))
            for split, columns in found.items()
        }


def _read(features: tuple[str, ...], middle: NDArray[np.float64]) -> Json:
    return {
        name: round(float(FEATURES[name].shown(middle[i : i + 1])[0]), 2)
        for i, name in enumerate(features)
    }


def _stability(model: SegmentModel, points: Points, seed: int) -> float:
    """Returns the mean adjusted Rand index of the segments with those that k-means makes of
    customers drawn with replacement: whether other customers would have made the same ones."""
    draw = np.random.default_rng(seed)
    if len(points) > _AT_MOST:
        points = points[draw.choice(len(points), _AT_MOST, replace=False)]
    if len(points) < 2:
        return 1.0
    features = tuple(str(i) for i in range(points.shape[1]))
    box = Box(np.zeros(points.shape[1]), np.full(points.shape[1], float(STEPS)))
    segment, found = model.segment(points), []
    for _ in range(_RESAMPLED):
        drawn = points[draw.integers(0, len(points), len(points))]
        rows = {"drawn": Columns(dict(zip(features, drawn.T, strict=True)))}
        number = (len(model.centres),)
        (one,) = KMeans(starts=1).fit(Local(rows), features, "drawn", box, number)
        other = squared_distances(points, one.centres).argmin(axis=1)
        found.append(adjusted_rand(segment, other))
    return float(np.mean(found))
