"""What training a network asks: how the weights changed at home, and how wrong they are.

A federated approximation: each retailer trains on its own rows, and the changes are averaged by
how many records each has. A change is capped, rounded to whole steps and summed like any other
answer, so it is under masks where the plan says so. There is no bound: what one customer changes
in weights after many steps is not known to anybody. Under epsilon these questions are refused.
"""

import json
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from grandtotal.algorithms.networks import Examples, Network, network_of, without_torch
from grandtotal.consortium.query import Rows, State, asked_digest
from grandtotal.durable import Json, arrays_digest, canonical, digest
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.bound import Stated
from grandtotal.privacy.fixedpoint import Arrays, Field, over, under

WEIGHTS, CONTROL, UPDATE, TOUCHED = "weights ", "control ", "update ", "touched "
CAP = 4.0  # of the change of one weight in a round
CONTROL_CAP = 256.0  # of a gradient
SCALE = 2**24  # steps: float32 has as many digits, and 30 retailers fit into 32 bits
CONTROL_SCALE = 2**18
LOSS_SCALE = 2**16
MOST_LOSS = 2.0**20  # of one record
FIRST = np.zeros(32, np.uint8)


def training() -> ModuleType:
    """Returns the half that needs torch; PlanError where it is not installed."""
    try:
        from grandtotal.algorithms import neural_local
    except ModuleNotFoundError as error:
        raise without_torch("training", error) from error
    return neural_local


@dataclass(frozen=True)
class _AboutNetwork:
    """What every question about a network says.

    network, settings: its installed name, and its settings as JSON. split: of the rows. local: how
    it is trained between totals, as JSON. seed: of the parameters that stay at the retailer. watch:
    whether what came after the cut is looked at: never that of a test.
    """

    network: str
    settings: str
    split: str
    local: str
    seed: int
    watch: bool

    def of(self) -> Network:
        """Returns the network."""
        return network_of(self.network, self.settings)


@dataclass(frozen=True)
class NetworkRecords(_AboutNetwork):
    """How many records there are to learn from."""

    name: ClassVar[str] = "network-records"
    bound: ClassVar[Stated] = None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns records."""
        return {"records": Field(())}

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:  # noqa: ARG002
        """Returns this retailer's number."""
        return {"records": np.asarray(workspace(self, rows, state).records)}


_SCORES = {"loss": Field((), scale=LOSS_SCALE), "records": Field(())}


@dataclass(frozen=True)
class NetworkScores(_AboutNetwork):
    """The loss of the weights in the broadcast on what came after the cut.

    The broadcast holds "weights NAME" of each shared parameter, and "previous", the question after
    which they were made, (32,); zeros before the first.
    """

    name: ClassVar[str] = "network-scores"
    bound: ClassVar[Stated] = None

    def fields(self, broadcast: Arrays) -> dict[str, Field]:  # noqa: ARG002
        """Returns loss, summed, and records."""
        return dict(_SCORES)

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's sums; each record's loss is rounded before it is added."""
        work = workspace(self, rows, state)
        work.go_to(state, broadcast)
        return work.scores()


@dataclass(frozen=True)
class NetworkUpdates(_AboutNetwork):
    """The changes of the weights after one round at home, weighted by records, and their loss.

    The broadcast is that of `NetworkScores`, with "control NAME" under SCAFFOLD. The scores are
    those of the weights before the round.

    round: decides the order of the records. everyone: records of all retailers: a weight is a
    retailer's share of them. last: whether a loss that is not finite ends the run; otherwise
    "diverged" counts it, nothing is added, and what is kept at home stays as it was.
    """

    name: ClassVar[str] = "network-updates"
    bound: ClassVar[Stated] = None

    round: int
    everyone: int
    last: bool = False

    def fields(self, broadcast: Arrays) -> dict[str, Field]:
        """Returns "update NAME" and "control NAME" like the broadcast's, touched rows, scores.

        "touched NAME" (rows,) is the share of those who changed a row, of tables that are averaged
        row by row.
        """
        weights, control = under(WEIGHTS, broadcast), under(CONTROL, broadcast)
        tables = [name for name in self.of().rowwise if name in weights]
        return {
            **{UPDATE + name: _field(array.shape) for name, array in weights.items()},
            **{
                CONTROL + name: _field(array.shape, CONTROL_CAP, CONTROL_SCALE)
                for name, array in control.items()
            },
            **{TOUCHED + name: _field(weights[name].shape[:1], 1.0) for name in tables},
            "diverged": Field(()),
            "share": Field((), scale=SCALE, largest=SCALE),
            **_SCORES,
        }

    def answer(self, rows: Rows, state: State, broadcast: Arrays) -> Arrays:
        """Returns this retailer's part of the mean; what is kept at home is kept before it."""
        work = workspace(self, rows, state)
        work.go_to(state, broadcast)
        fields, scores = self.fields(broadcast), work.scores()
        outcome = work.train(under(CONTROL, broadcast), self.seed + 1 + self.round)
        if not math.isfinite(outcome.loss):
            return self._diverged(work, fields, scores)
        work.arrive(state, self, broadcast)
        share = work.records / self.everyone
        made = {
            **over(UPDATE, outcome.update),
            **(over(CONTROL, outcome.control) if under(CONTROL, broadcast) else {}),
            **{
                name: np.any(outcome.update[name.removeprefix(TOUCHED)], axis=1).astype(np.float64)
                for name in fields
                if name.startswith(TOUCHED)
            },
            "share": np.ones(()),
        }
        steps = {name: _capped(array, share, fields[name]) for name, array in made.items()}
        return {**steps, "diverged": np.asarray(0), **scores}

    def _diverged(self, work: "Workspace", fields: dict[str, Field], scores: Arrays) -> Arrays:
        work.forget()
        if self.last:
            raise AnswerError(
                Code.NOT_FINITE,
                f"network '{self.network}': its loss or weights were not finite in round "
                f"{self.round} although the rate was lowered to {json.loads(self.local)['rate']:g};"
                f" look for values far out of the ordinary in the rows, or lower rate or clip",
            )
        zeros = {name: np.zeros(field.shape, np.int64) for name, field in fields.items()}
        return {**zeros, **scores, "diverged": np.asarray(1)}


def _field(shape: tuple[int, ...], cap: float = CAP, scale: int = SCALE) -> Field:
    return Field(shape, scale=scale, modulus=2**32, largest=int(cap * scale))


def _capped(values: NDArray[Any], share: float, field: Field) -> NDArray[np.int64]:
    """Returns this retailer's part of a mean in whole steps, no entry above the field's largest."""
    assert field.largest is not None
    cap = field.largest / field.scale
    entries = np.clip(values.astype(np.float64), -cap, cap) * (share * field.scale)
    whole: NDArray[np.int64] = np.rint(entries).astype(np.int64)
    return whole


# --- a retailer between two questions ---


def workspace(query: _AboutNetwork, rows: Rows, state: State) -> "Workspace":
    """Returns what a retailer has in memory for a network, made anew where it was lost."""
    about = (query.network, query.settings, query.split, query.seed, query.watch)
    key = f"network {about}"
    found: Workspace | None = state.memory.get(key)
    if found is None or found.rows is not rows:
        found = state.memory[key] = Workspace.of(query, rows)
    found.set_training(query.local)
    return found


@dataclass
class Workspace:
    """A retailer's examples as tensors, and the network as it stood after a question.

    at: that question, in hexadecimal; "" where nobody knows.
    """

    rows: Rows
    network: Network
    sizes: Any
    seed: int
    train_on: Any
    watched: Any
    identity: str
    trainer: Any = None
    local: str = ""
    at: str = ""

    @staticmethod
    def of(query: _AboutNetwork, rows: Rows) -> "Workspace":
        """Returns the rows as tensors."""
        network = query.of()
        known = network.examples(rows, query.split, False)
        later = network.examples(rows, query.split, True) if query.watch else Examples({})
        _refuse_not_finite(network, known)
        load_ = training().Loaded.of
        # Two tasks may ask the same of other rows: what each keeps has another name.
        identity = arrays_digest({**known.records, **over("constant ", known.constants)})
        return Workspace(
            rows, network, known.sizes, query.seed, load_(known), load_(later), identity
        )

    @property
    def records(self) -> int:
        """How many records there are to learn from."""
        count: int = self.train_on.count
        return count

    def set_training(self, local: str) -> None:
        """Trains like this from now on."""
        if local != self.local:
            self.local = local
            self.forget()

    def forget(self) -> None:
        """Makes the next question begin with what is on the disk."""
        self.trainer, self.at = None, ""

    def go_to(self, state: State, broadcast: Arrays) -> None:
        """Puts the network where it stood after the previous question, with these weights."""
        previous = broadcast["previous"].tobytes().hex()
        if self.trainer is None or self.at != previous:
            neural = training()
            local = neural.LocalTraining(**json.loads(self.local))
            module = neural.built(self.network, self.sizes, self.seed)
            self.trainer = neural.Trainer(self.network, module, local)
            if broadcast["previous"].any() and self.trainer.keeps:
                self.trainer.restore(self._read(state, previous))
            self.at = previous
        self.trainer.put(under(WEIGHTS, broadcast))

    def scores(self) -> Arrays:
        """Returns the sum of losses on what came after the cut, each rounded, and how many."""
        losses = np.nan_to_num(self.trainer.losses(self.watched), nan=MOST_LOSS, posinf=MOST_LOSS)
        whole = np.rint(np.clip(losses, -MOST_LOSS, MOST_LOSS) * LOSS_SCALE).astype(np.int64)
        return {"loss": np.asarray(whole.sum()), "records": np.asarray(len(losses))}

    def train(self, control: Arrays, seed: int) -> Any:
        """Returns the outcome of a round; AnswerError where rows do not fit the network."""
        try:
            return self.trainer.train(self.train_on, control or None, seed)
        except RuntimeError as error:
            raise AnswerError(
                Code.FIELDS_DIFFER, f"network '{self.network.name}' cannot read the rows: {error}"
            ) from error

    def arrive(self, state: State, query: NetworkUpdates, broadcast: Arrays) -> None:
        """Keeps what the next round needs; what the round before the last needed is let go."""
        name, previous = asked_digest(query, broadcast), broadcast["previous"].tobytes().hex()
        if self.trainer.keeps:
            own = {**self.trainer.kept(), "previous": broadcast["previous"]}
            state.keep(self._file(name), lambda: save(own))
            if broadcast["previous"].any():
                before = self._read(state, previous)["previous"]
                state.forget(self._file(before.tobytes().hex()))
        self.at = name

    def _file(self, question: str) -> str:
        return f"networks/{digest(question.encode(), self.identity.encode())}.safetensors"

    def _read(self, state: State, question: str) -> Arrays:
        content = state.kept(self._file(question))
        if content is None:
            raise AnswerError(
                Code.MALFORMED,
                f"what network '{self.network.name}' kept after question {question[:12]} is not in "
                f"this retailer's folder: start a new run",
            )
        arrays: Arrays = load(content)
        return arrays


def _refuse_not_finite(network: Network, examples: Examples) -> None:
    for name, array in {**examples.records, **examples.constants}.items():
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise AnswerError(
                Code.NOT_FINITE, f"network '{network.name}': '{name}' holds an infinite value"
            )


def as_json(settings: Json) -> str:
    """Returns settings as they travel in a question."""
    return canonical(settings).decode()
