"""Networks trained by rounds of totals: local training, and the mean of what it changed.

A round is one total. Its scores are those of the weights that it began with, so that stopping early
costs no round of its own. A round in which somebody's loss was not finite is taken back and asked
again at half of the rate. Not exact: what comes out depends on who holds which rows, and on the
machine's last digits; on one machine it is the same every time.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", 2017,
https://arxiv.org/abs/1602.05629; others in `server_optimizers` and `neural_local`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grandtotal.algorithms.networks import Network, settings_of
from grandtotal.algorithms.neural_queries import (
    CONTROL,
    FIRST,
    TOUCHED,
    UPDATE,
    WEIGHTS,
    NetworkRecords,
    NetworkScores,
    NetworkUpdates,
    as_json,
    training,
)
from grandtotal.algorithms.server_optimizers import Moments, Server, mean_update
from grandtotal.consortium.query import asked_digest
from grandtotal.consortium.totals import Totals
from grandtotal.durable import Json
from grandtotal.errors import RefusedError
from grandtotal.privacy.fixedpoint import Arrays, over, under

if TYPE_CHECKING:
    from grandtotal.algorithms.neural_local import LocalTraining

HALVINGS = 4  # of the rate, before a loss that is not finite ends the run


@dataclass(frozen=True)
class Weights:
    """The shared parameters by name, float32, and how they were found."""

    arrays: Arrays
    report: Json


@dataclass(frozen=True)
class FederatedTraining:
    """rounds: totals at most. patience: rounds without a better score before it stops, 0 for never.

    cooled: the rate of the last round over that of the first. local: settings of `LocalTraining`.
    seed: of parameters and orders.
    """

    rounds: int = 20
    patience: int = 4
    cooled: float = 1.0
    server: Server = field(default_factory=Server)
    local: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 7

    def fit(
        self,
        totals: Totals,
        network: Network,
        split: str,
        start: Arrays | None = None,
        watch: bool = True,
    ) -> Weights:
        """Returns the weights of the round with the best score, of the last where none is scored.

        start: the shared parameters to begin with; drawn by the seed without it. watch: whether
        what came after the cut is scored, round by round: not where it is the test.
        """
        weights = training().initial(network, self.seed) if start is None else start
        state = _Rounds(self, totals, network, split, watch, weights)
        while state.round < self.rounds and not state.stale():
            state.advance()
        if watch:
            state.judge_last()
        return state.best()


class _Rounds:
    """One training as it goes on."""

    def __init__(
        self,
        plan: FederatedTraining,
        totals: Totals,
        network: Network,
        split: str,
        watch: bool,
        weights: Arrays,
    ) -> None:
        self._plan, self._totals = plan, totals
        self._local: LocalTraining = training().LocalTraining(**plan.local)
        self._about: dict[str, Any] = {
            "network": network.name,
            "settings": settings_of(network),
            "split": split,
            "seed": plan.seed,
            "watch": watch,
        }
        self.round, self._halved = 0, 0
        counted = totals.total(NetworkRecords(**self._about, local=self._how()))
        self._everyone = int(counted["records"])
        if not self._everyone:
            raise RefusedError(f"'{network.name}': nobody has a row of '{split}' to learn from")
        self._weights, self._previous, self._moments = weights, FIRST, Moments()
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        self._control = zeros if self._local.scaffold else {}
        self._scores: list[float] = []
        self._best = weights

    def _how(self) -> str:
        """Returns how a retailer trains in this round."""
        done = self.round / max(self._plan.rounds - 1, 1)
        rate = self._local.rate * self._plan.cooled ** min(done, 1.0)
        return as_json(asdict(replace(self._local, rate=rate)))

    def _broadcast(self) -> Arrays:
        known = {**over(WEIGHTS, self._weights), **over(CONTROL, self._control)}
        return {**known, "previous": self._previous}

    def advance(self) -> None:
        """Makes one round, at half of the rate where it diverged."""
        while True:
            query = NetworkUpdates(
                **self._about,
                local=self._how(),
                round=self.round,
                everyone=self._everyone,
                last=self._halved >= HALVINGS,
            )
            broadcast = self._broadcast()
            sums = self._totals.total(query, broadcast)
            if not sums["diverged"]:
                break
            self._halved += 1
            self._local = replace(self._local, rate=self._local.rate / 2)
        self._judge(sums)
        self._move(sums)
        self._previous = np.frombuffer(bytes.fromhex(asked_digest(query, broadcast)), np.uint8)
        self.round += 1

    def _move(self, sums: Arrays) -> None:
        share, touched = float(sums["share"]), under(TOUCHED, sums)
        update = {
            name: mean_update(array, touched.get(name, np.asarray(share)))
            for name, array in under(UPDATE, sums).items()
        }
        self._weights, self._moments = self._plan.server.step(self._weights, update, self._moments)
        for name, array in under(CONTROL, sums).items():
            self._control[name] = (self._control[name] + array / share).astype(np.float32)

    def _judge(self, sums: Arrays) -> None:
        """Writes down the score of the weights as they are, and keeps them if it is the best."""
        if not sums["records"]:
            self._best = self._weights
            return
        self._scores.append(float(sums["loss"]) / int(sums["records"]))
        if self._scores[-1] <= min(self._scores):
            self._best = self._weights

    def stale(self) -> bool:
        """Returns whether the last rounds found nothing better."""
        since = len(self._scores) - 1 - int(np.argmin(self._scores)) if self._scores else 0
        return 0 < self._plan.patience <= since

    def judge_last(self) -> None:
        """Asks for the score of the weights after the last round."""
        query = NetworkScores(**self._about, local=self._how())
        self._judge(self._totals.total(query, self._broadcast()))

    def best(self) -> Weights:
        """Returns the best weights and what led to them."""
        report = {
            "rounds": self.round,
            "best": int(np.argmin(self._scores)) if self._scores else self.round,
            "losses": [round(score, 6) for score in self._scores],
            "rate": self._local.rate,
            "taken_back": self._halved,
            "parameters": sum(array.size for array in self._best.values()),
        }
        return Weights(self._best, report)
