"""What is asked in `tutorial`: rows of both jobs, our networks for them, and scores by customer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.simulation import TASK, federated
from benchmarks.tutorial_script import Columns, Part
from grandtotal.algorithms.mlp import MLP
from grandtotal.algorithms.ncf import NCF
from grandtotal.algorithms.networks import Examples
from grandtotal.algorithms.neural_at_home import AtHome
from grandtotal.algorithms.neural_local import Dropout, Loaded
from grandtotal.algorithms.rating_factors import RatingFactors
from grandtotal.algorithms.ratings import Cut, Ratings
from grandtotal.algorithms.windows import Windows, origins
from grandtotal.consortium.query import Rows
from grandtotal.consortium.totals import Local
from grandtotal.privacy.fixedpoint import Arrays
from grandtotal.tasks.ratings_models import choose
from grandtotal.tasks.scores import Metric, UnitScores
from grandtotal.threads import side_by_side

CUSTOMERS, PRODUCTS, CLASSES = 1000, 500, 5
SERIES, DAYS, HORIZON, HISTORY, FEATURES = 100, 365, 28, 28, 7
ACCURACY = Metric("accuracy", True, "ratings whose class was forecast")
MAPE = Metric("MAPE", False, "mean of |forecast - units| / (units + 1)")
RATED = NCF(PRODUCTS, multiplied=12, spread=0.1, l2=0.3)
RATED_HOME = {"epochs": 6, "rate": 4e-3}
RATED_LOCAL = {"batch": 512, "rate": 5e-4, "decay": 0.3, "moments": True}
SOLD = MLP(HISTORY, HORIZON, FEATURES, traits=1)
SOLD_LOCAL = {"batch": 64, "rate": 4e-3, "moments": True}
FACTORS = tuple(RatingFactors(factors=12, l2=l2, epochs=15) for l2 in (0.05, 0.1, 0.2))
Forecasts = list[NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """One job of the script's, and what we do it with.

    task: the script's word. read: of a module and a batch, the forecast of each held-out row.
    home: how a retailer finds its own parameters of a finished model; None as in training.
    """

    task: str
    network: Any
    local: Mapping[str, Any]
    parts: Sequence[Part]
    holders: Mapping[str, Rows]
    read: Callable[[Any, Any], NDArray[Any]]
    metric: Metric
    home: Mapping[str, Any] = field(default_factory=dict)

    def apart(self) -> list["Job"]:
        """Returns the job of each retailer by itself."""
        return [
            replace(self, parts=[part], holders={name: rows})
            for part, (name, rows) in zip(self.parts, self.holders.items(), strict=True)
        ]

    def forecasts(self, weights: Arrays) -> Forecasts:
        """Returns what each retailer forecasts with these shared weights."""
        return side_by_side(
            [lambda r=rows: self.forecast(weights, r) for rows in self.holders.values()]
        )

    def forecast(self, weights: Arrays, rows: Rows) -> NDArray[Any]:
        """Returns what one retailer forecasts: it finds its own parameters first."""
        home = AtHome({**self.local, **self.home})
        module = home.fitted(self.network, weights, rows, "test").eval()
        scored = Loaded.of(self.network.examples(rows, "test", True))
        (batch,) = scored.ordered(scored.count)
        with torch.inference_mode():
            return self.read(module, batch)

    def scores(self, forecasts: Forecasts) -> UnitScores:
        """Returns the scores of held-out rows, by customer or by product."""
        return UnitScores.joined(
            [
                self._of_one(part.held, found)
                for part, found in zip(self.parts, forecasts, strict=True)
            ]
        )

    def _of_one(self, held: Columns, found: NDArray[Any]) -> UnitScores:
        if self.metric is ACCURACY:
            who, right = held[0], found == held[-1]
        else:
            who = np.arange(len(found)) // HORIZON
            right = np.abs(found - held[-1]) / (held[-1] + 1)
        return UnitScores.of(
            (self.metric,), [np.bincount(who, right)], [np.bincount(who).astype(np.float64)]
        )


def ratings(
    retailers: Sequence[Columns],
    network: NCF = RATED,
    local: Mapping[str, Any] = RATED_LOCAL,
    home: Mapping[str, Any] = RATED_HOME,
) -> Job:
    """Returns the job of recommendation over (customers, products, classes from 0)."""
    parts, holders = [], {}
    for name, unordered in enumerate(retailers):
        order = np.argsort(unordered[0], kind="stable")  # a customer's ratings side by side
        columns = tuple(column[order] for column in unordered)
        held = held_pairs(columns, name)
        part = Part(tuple(c[~held] for c in columns), tuple(c[held] for c in columns))
        parts.append(part)
        holders[f"retailer-{name}"] = {"test": Cut(_in_order(part.known), _in_order(part.held))}

    def read(module: Any, batch: Any) -> NDArray[Any]:
        found: NDArray[Any] = network.scores(module, batch).argmax(1).numpy()
        return found

    return Job("recommendation", network, local, parts, holders, read, ACCURACY, home)


def held_pairs(columns: Columns, seed: int) -> NDArray[np.bool_]:
    """Returns which ratings are held out: all of a fifth of the pairs of customer and product."""
    pairs, place = np.unique(columns[0] * PRODUCTS + columns[1], return_inverse=True)
    chosen: NDArray[np.bool_] = np.random.default_rng(seed).random(len(pairs)) < 0.2
    return chosen[place]


def shared_tastes(retailers: int, seed: int) -> list[Columns]:
    """Returns ratings that come about as the script's, of products that are alike everywhere."""
    draw = np.random.default_rng(seed)
    products = draw.normal(size=(PRODUCTS, 10))
    made = []
    for retailer in range(retailers):
        count, people = draw.integers(5000, 15000), draw.normal(size=(CUSTOMERS, 10))
        active, popular = draw.power(0.5, CUSTOMERS), draw.power(0.3, PRODUCTS)
        who = draw.choice(CUSTOMERS, count, p=active / active.sum())
        what = draw.choice(PRODUCTS, count, p=popular / popular.sum())
        liked = (people[who] * products[what]).sum(1) + 0.1 * retailer
        made.append((who, what, np.clip(liked / 2 + 2, 0, 4).astype(np.int64)))
    return made


def demand(
    retailers: Sequence[Columns], network: MLP = SOLD, local: Mapping[str, Any] = SOLD_LOCAL
) -> Job:
    """Returns the job of demand over (features, units), product by product, day by day."""
    parts, holders = [], {}
    for name, (features, units) in enumerate(retailers):
        known, sold = features.reshape(SERIES, DAYS, -1), units.reshape(SERIES, DAYS)
        cut = DAYS - HORIZON
        parts.append(Part(_days(known, sold, 0, cut), _days(known, sold, cut, DAYS)))
        times = np.arange(cut - HORIZON, network.history - 1, -HORIZON)[::-1]
        training, scored = origins(SERIES, times), origins(SERIES, np.array([cut]))
        windows = Windows(sold.astype(float), known, np.ones((SERIES, 1)), training, scored)
        holders[f"retailer-{name}"] = {"test": windows}

    def read(module: Any, batch: Any) -> NDArray[Any]:
        return network.quantiles(module, batch)[:, :, 2].reshape(-1)

    return Job("demand", network, local, parts, holders, read, MAPE)


def _days(known: NDArray[Any], sold: NDArray[Any], first: int, end: int) -> Columns:
    return known[:, first:end].reshape(-1, known.shape[2]), sold[:, first:end].reshape(-1)


@dataclass(frozen=True)
class Calendar:
    """The script's demand network, brought as one of our own: units from the calendar alone."""

    name: ClassVar[str] = "calendar"
    local: ClassVar[tuple[str, ...]] = ()
    rowwise: ClassVar[tuple[str, ...]] = ()

    width: int = 128

    def build(self, sizes: Mapping[str, int]) -> Any:  # noqa: ARG002
        """Returns three layers with dropout, and units that are not below nothing."""
        layers: list[Any] = []
        for read in (FEATURES, self.width, self.width):
            layers += [torch.nn.Linear(read, self.width), torch.nn.ReLU(), Dropout(0.1)]
        return torch.nn.Sequential(*layers, torch.nn.Linear(self.width, 1), torch.nn.ReLU())

    def examples(self, rows: Rows, split: str, scored: bool) -> Examples:
        """Returns the days of all products."""
        part: Part = rows[split]
        features, units = part.held if scored else part.known
        return Examples({"features": features, "units": units})

    def loss(self, module: Any, batch: Any, draw: Any) -> Any:  # noqa: ARG002
        """Returns the squared error of each day."""
        return (module(batch["features"])[:, 0] - batch["units"]) ** 2


def calendar(job: Job) -> Job:
    """Returns the job of demand with the script's network, batches, rate and clip."""
    holders = {name: {"test": part} for name, part in zip(job.holders, job.parts, strict=True)}

    def read(module: Any, batch: Any) -> NDArray[Any]:
        found: NDArray[Any] = module(batch["features"])[:, 0].numpy()
        return found

    local = {"epochs": 3, "batch": 128, "moments": True}
    return Job(job.task, Calendar(), local, job.parts, holders, read, MAPE)


def factors(job: Job) -> UnitScores:
    """Returns the scores of exact totals: biases and factors, and the likeliest class.

    l2 is chosen by the totals of a validation; no weight is ever averaged.
    """
    cuts = {
        name: {"validation": _cut(part, i, True), "test": _cut(part, i, False)}
        for i, (name, part) in enumerate(zip(job.holders, job.parts, strict=True))
    }
    if len(cuts) > 1:
        with federated(cuts) as consortium:
            model: Any = choose(consortium.of(TASK), FACTORS, PRODUCTS).model
    else:
        model = choose(Local(*cuts.values()), FACTORS, PRODUCTS).model

    def read(cut: Cut) -> NDArray[Any]:
        chances = model.tastes(cut.known, cut.people).chances(
            cut.asked.customers, cut.asked.products
        )
        found: NDArray[Any] = chances.argmax(axis=1)
        return found

    return job.scores([read(cut["test"]) for cut in cuts.values()])


def _cut(part: Part, seed: int, validated: bool) -> Cut:
    """Returns what is known and what is asked; for a validation a fifth of what is known."""
    if not validated:
        return Cut(_in_order(part.known), _in_order(part.held))
    held = held_pairs(part.known, seed)
    known, asked = (tuple(c[rows] for c in part.known) for rows in (~held, held))
    return Cut(_in_order(known), _in_order(asked))


def _in_order(columns: Columns) -> Ratings:
    who, what, classes = columns
    return Ratings.of(who, what, classes + 1, np.zeros(len(who)))


def by_counts(job: Job, alone: bool = False) -> Forecasts:
    """Returns the class that counts say: of the product's stars, and of the customer's own.

    alone: whether a product's counts are the retailer's own, and not the total of all.
    """
    own = [_counted(part.known[1], part.known[2], PRODUCTS) for part in job.parts]
    total = np.sum(own, axis=0)
    found = []
    for part, mine in zip(job.parts, own, strict=True):
        products = mine if alone else total
        usual = (products.sum(axis=0) + 1.0) / (products.sum() + CLASSES)
        customers = _counted(part.known[0], part.known[2], CUSTOMERS)
        chance = _shares(customers, usual, 5.0)[part.held[0]]
        chance = chance * _shares(products, usual, 10.0)[part.held[1]] / usual
        found.append(chance.argmax(axis=1))
    return found


def _counted(which: NDArray[Any], stars: NDArray[Any], many: int) -> NDArray[np.float64]:
    counts = np.zeros((many, CLASSES))
    np.add.at(counts, (which, stars), 1.0)
    return counts


def _shares(counts: NDArray[Any], usual: NDArray[Any], worth: float) -> NDArray[Any]:
    shares: NDArray[Any] = (counts + worth * usual) / (counts.sum(1, keepdims=True) + worth)
    return shares
