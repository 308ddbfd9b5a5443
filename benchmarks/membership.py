"""Who was in the data? The likelihood-ratio attack on a released model, with and without noise.

Few customers and hardly any penalty make an EASE model that knows its customers by heart: that the
attack finds them there shows that it works. The same attack is then made on what the recommend task
releases under epsilon, of the same few customers and of all, with the task's own schedule, noise as
in a run of three members, one a colluder whose noise is known, and all of epsilon spent on it.
Customers and baskets are the demo's (UCI Online Retail II), of the 400 products that most bought.

Every model is of half of the customers, by coin. The attacker has trained 128 such models itself,
with other halves of the same customers, and so knows for each of 200 customers how models answer
with the customer in and out: normal distributions of three answers (how well the model repeats the
basket, its error, how popular the basket is). What is shown is the attack by the answer with the
highest AUC. On the totals themselves, by somebody who knows all other customers, no attack passes
the last rows: that is what epsilon promises, and it is more than 0.55.

Carlini et al., "Membership inference attacks from first principles", 2022,
https://arxiv.org/abs/2112.03570
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.stats import norm, rankdata

from benchmarks.rows import Row, at_least, at_most
from grandtotal import api
from grandtotal.algorithms.item_model import ItemModel
from grandtotal.algorithms.item_similarity import EASE
from grandtotal.algorithms.item_similarity_in_noise import COUNTS, PAIRS, EDLAEInNoise
from grandtotal.algorithms.purchases import Purchases
from grandtotal.consortium.query import Query
from grandtotal.consortium.totals import Local
from grandtotal.participate import tables_of
from grandtotal.plan import Plan
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound
from grandtotal.privacy.fixedpoint import Arrays, decode, encode
from grandtotal.privacy.noise import KEY_BYTES, NoiseStream
from grandtotal.simulate import find_configs
from grandtotal.tasks.recommend import Recommend
from grandtotal.tasks.recommend_in_noise import SCORES

FEW, ATTACKED, PRODUCTS = 200, 200, 400
SHADOWS, VICTIMS = 128, 128
_TASK, _DELTA = "recommend", 1e-5


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001 - the data are packaged
    """Returns AUC and true positives at few false ones, of the control and under epsilon."""
    models = (24, 20) if quick else (SHADOWS, VICTIMS)
    words = f"{FEW} customers, no epsilon, overfitted"
    every = _customers()
    control = _attacked(every[:FEW], None, *models)
    rows = [at_least(0.70, f"{words}: AUC", control.auc), *control.rates(words)]
    for customers, epsilons in ((every[:FEW], (1.0, 8.0)), (every, (1.0, 2.0, 4.0, 8.0))):
        for epsilon in epsilons:
            words = f"{customers.shape[0]:,} customers, epsilon = {epsilon:g}"
            found = _attacked(customers, _budget(epsilon), *models)
            rows += [at_most(0.55, f"{words}: AUC", found.auc), *found.rates(words)]
            rows.append(Row(f"{words}: models that are more than bestsellers", found.models))
    for epsilon in (1.0, 2.0, 4.0, 8.0):
        limit = float(norm.cdf(math.sqrt(_budget(epsilon).rho)))
        rows.append(Row(f"epsilon = {epsilon:g}: AUC that no attack passes", limit))
    return rows


def _customers() -> csr_array:
    """Returns (customers, PRODUCTS): which bestsellers each of the demo's customers bought."""
    with tempfile.TemporaryDirectory() as folder:
        path = api.demo(Path(folder) / "demo")
        plan = Plan.read(path)
        task = cast(Recommend, plan.tasks["recommend"])
        configs = find_configs(plan, path.parent).values()
        held = [task.rows(tables_of(config, None))["test"].history for config in configs]
    bought = csr_array(vstack(held))
    best = np.argsort(-np.bincount(bought.indices, minlength=bought.shape[1]), kind="stable")
    binary = (bought[:, np.sort(best[:PRODUCTS])].toarray() > 0).astype(np.float64)
    shuffled = np.random.default_rng(41).permutation(np.flatnonzero(binary.any(axis=1)))
    return csr_array(binary[shuffled])


def _budget(epsilon: float) -> Budget:
    agreement = Agreement(epsilon=epsilon, delta=_DELTA, colluders=1)
    return Budget.of(agreement, {_TASK: (COUNTS, PAIRS, SCORES)}, 3)


@dataclass(frozen=True)
class _Noisy:
    """The totals of a plan with epsilon, over rows that one place holds."""

    local: Local
    budget: Budget
    random: np.random.Generator

    def total(self, query: Query, broadcast: Arrays | None = None) -> Arrays:
        fields, bound = query.fields(broadcast or {}), query.bound
        assert isinstance(bound, Bound)
        entries = sum(field.length for field in fields.values())
        share = self.budget.share(_TASK, query.name, bound, entries)
        noise = [
            NoiseStream(share, self.random.bytes(KEY_BYTES)) for _ in range(self.budget.shares)
        ]
        totals = {}
        for name, clear in self.local.total(query, broadcast).items():
            field = fields[name]
            words = encode(name, np.rint(clear * field.scale).astype(np.int64), field, 1)
            for part in noise:
                part.add(words)
            totals[name] = decode(words, field)
        return totals


def _model(customers: csr_array, budget: Budget | None, random: np.random.Generator) -> ItemModel:
    local = Local({"test": Purchases(customers, customers)})
    if budget is None:
        return EASE(1.0).fit(local, PRODUCTS, "test")
    return EDLAEInNoise().fit(_Noisy(local, budget, random), PRODUCTS, "test")


@dataclass(frozen=True)
class _Found:
    """The attack's scores of customers in and out of the victims, higher for in.

    models: the share of the victims that have weights between products at all.
    """

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    models: float

    @property
    def auc(self) -> float:
        """How often the one of two who is in has the higher score."""
        ranks = rankdata(np.concatenate([self.inside, self.outside]))[: len(self.inside)]
        above = ranks.sum() - len(ranks) * (len(ranks) + 1) / 2
        return float(above / (len(self.inside) * len(self.outside)))

    def rates(self, words: str) -> Iterator[Row]:
        """Yields the true positives at few false ones."""
        for share in (0.001, 0.01):
            threshold = np.quantile(self.outside, 1 - share)
            rate = float(np.mean(self.inside > threshold))
            yield Row(f"{words}: true positives at {share:.1%} false", 100 * rate, "%")


def _attacked(customers: csr_array, budget: Budget | None, shadows: int, victims: int) -> _Found:
    random = np.random.default_rng(42)
    included = random.random((shadows + victims, customers.shape[0])) < 0.5
    models = [_model(customers[np.flatnonzero(coins)], budget, random) for coins in included]
    attacked = customers[:ATTACKED].toarray()
    answers = np.stack([_answers(model, attacked) for model in models])
    more = float(np.mean([model.weights.size > 0 for model in models[shadows:]]))
    found = [
        _ratio(answers[..., k], included[:, :ATTACKED], shadows, more)
        for k in range(answers.shape[2])
    ]
    return max(found, key=lambda attack: attack.auc)


def _answers(model: ItemModel, bought: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns for each customer how the model takes the own basket: (customers, 3)."""
    scores = bought @ model.weights.astype(np.float64) if model.weights.size else 0.0 * bought
    missed = ((bought - scores) ** 2).sum(axis=1)
    popular = bought @ model.prior.astype(np.float64)
    return np.stack([(bought * scores).sum(axis=1), -missed, popular], axis=1)


def _ratio(
    answers: NDArray[np.float64], included: NDArray[np.bool_], shadows: int, more: float
) -> _Found:
    """Returns log likelihood ratios of the victims, with in and out fitted on the shadows."""
    known, inside = answers[:shadows], included[:shadows]
    likely = []
    for side in (inside, ~inside):
        count = side.sum(axis=0)
        mean = (known * side).sum(axis=0) / count
        width = np.sqrt(((known - mean) ** 2 * side).sum(axis=0) / (count - 1)) + 1e-12
        likely.append(norm.logpdf(answers[shadows:], mean, width))
    ratio = likely[0] - likely[1]
    return _Found(ratio[included[shadows:]], ratio[~included[shadows:]], more)
