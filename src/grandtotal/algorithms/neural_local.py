"""Training at one retailer: the steps of one round, and what is remembered at home for the next.

The parameters that are shared lie in one vector, and so do their gradients: clipping, a proximal
term, a control variate and the optimizer are then one call each, however many layers there are.
Batches are cut from tensors that were put in order once an epoch. One thread for each retailer:
networks of this size gain nothing from more, and the bits do not depend on how many there are.

FedProx: Li et al., 2020, https://arxiv.org/abs/1812.06127. SCAFFOLD, the second way to make a
control variate: Karimireddy et al., 2020, https://arxiv.org/abs/1910.06378
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from grandtotal.algorithms.local_optimizers import Adam, Descent, Optimizer, RowAdam
from grandtotal.algorithms.networks import Examples, Network, Tensors, stays
from grandtotal.errors import AnswerError, Code, PlanError
from grandtotal.privacy.fixedpoint import Arrays

_building = threading.Lock()
_SCORED = 4096  # records that are judged at once


@dataclass(frozen=True)
class LocalTraining:
    """How a retailer trains between two totals.

    epochs, batch, rate: as always; the rate of "adam" or "sgd". decay: of weights. clip: norm to
    which the gradient of a batch is cut, 0 for not at all. proximal: FedProx's mu. scaffold:
    whether gradients are corrected by control variates, which needs "sgd" and doubles what travels.
    moments: whether the optimizer's moments are kept, at home, from one round to the next.
    """

    epochs: int = 1
    batch: int = 128
    rate: float = 1e-3
    optimizer: str = "adam"
    decay: float = 0.0
    clip: float = 1.0
    proximal: float = 0.0
    scaffold: bool = False
    moments: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in ("adam", "sgd"):
            raise PlanError(f'optimizer = {self.optimizer!r}, expected "adam" or "sgd"')
        if self.scaffold and self.optimizer != "sgd":
            raise PlanError('scaffold corrects plain steps: expected optimizer = "sgd"')
        if self.batch < 1 or self.epochs < 0 or not self.rate > 0:
            raise PlanError(f"{self}: expected a batch from 1 on, epochs from 0 on, a rate above 0")


def device() -> torch.device:
    """Returns where networks are trained: GRANDTOTAL_DEVICE, such as "cuda"; the CPU without it."""
    name = os.environ.get("GRANDTOTAL_DEVICE", "cpu")
    if name != "cpu" and not torch.cuda.is_available():
        raise PlanError(f"GRANDTOTAL_DEVICE = {name!r}, but torch finds no GPU; unset it")
    return torch.device(name)


def prepare() -> None:
    """Makes the calling thread compute in the same order every time.

    On the CPU one thread does. Asking torch for it as well, as a GPU needs it, would import its
    compiler, which takes longer than a small training.
    """
    torch.set_num_threads(1)
    if device().type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


class Dropout(torch.nn.Module):
    """Dropout whose draws are this retailer's: torch's own come from one generator for all.

    Four entries are drawn at once, 16 bits each: to draw each by itself takes as long as the
    matrix product before it. The share is meant to a 65,536th.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.draw: torch.Generator | None = None

    def forward(self, x: Any) -> Any:
        """Returns x with this share of entries 0 and the others larger, while training."""
        if not self.training or not self.share:
            return x
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        bits = words.random_(-(2**63), None, generator=self.draw).view(torch.int16)
        dropped = round(self.share * 2**16)
        kept = bits[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


def built(network: Network, sizes: Any, seed: int) -> Any:
    """Returns the module with parameters that the seed decides."""
    prepare()
    # A module draws from the generator of the process, and retailers may be threads of one.
    with _building, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = network.build(sizes)
    if any(buffer.is_floating_point() for buffer in module.buffers()):
        raise PlanError(f"'{network.name}' keeps running statistics; use LayerNorm, not BatchNorm")
    return module.to(device())


def initial(network: Network, seed: int) -> Arrays:
    """Returns the shared parameters as the seed draws them, by name, float32."""
    return {
        name: parameter.detach().cpu().numpy().astype(np.float32)
        for name, parameter in built(network, {}, seed).named_parameters()
        if not stays(network, name)
    }


@dataclass(frozen=True)
class Loaded:
    """Examples as tensors, where the network is trained."""

    records: Tensors
    constants: Tensors
    count: int

    @staticmethod
    def of(examples: Examples) -> "Loaded":
        """Returns the tensors; on the CPU they are the arrays themselves."""
        where = device()
        records, constants = (
            {n: torch.from_numpy(np.ascontiguousarray(a)).to(where) for n, a in arrays.items()}
            for arrays in (examples.records, examples.constants)
        )
        return Loaded(records, constants, examples.count)

    def shuffled(self, batch: int, draw: torch.Generator) -> Iterator[Tensors]:
        """Yields all records once in batches, put in an order that is drawn before the first."""
        order = torch.randperm(self.count, generator=draw, device=draw.device)
        parts = [torch.split(record[order], batch) for record in self.records.values()]
        for each in zip(*parts, strict=True):
            yield {**self.constants, **dict(zip(self.records, each, strict=True))}

    def ordered(self, batch: int) -> Iterator[Tensors]:
        """Yields all records once, as they lie."""
        for at in range(0, self.count, batch):
            yield {**self.constants, **{n: r[at : at + batch] for n, r in self.records.items()}}


class _Flat:
    """Parameters as one vector, and their gradients as another; modules see parts of them."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        size = sum(parameter.numel() for parameter in parameters.values())
        self.parameters = parameters
        self.vector = torch.nn.Parameter(torch.empty(size, device=device()))
        self.vector.grad = self.gradient = torch.zeros(size, device=device())
        at = 0
        for parameter in parameters.values():
            part = slice(at, at + parameter.numel())
            shape = parameter.shape
            self.vector.data[part] = parameter.data.reshape(-1)
            parameter.data = self.vector.data[part].view(shape)
            parameter.grad = self.gradient[part].view(shape)
            at = part.stop

    def put(self, arrays: Arrays) -> None:
        for name, parameter in self.parameters.items():
            parameter.data.copy_(torch.from_numpy(np.array(arrays[name], np.float32)))

    def parts(self, vector: Any) -> Arrays:
        """Returns the vector by the names of the parameters."""
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        cut = torch.split(vector.detach().cpu(), sizes) if sizes else ()
        return {
            name: part.view(parameter.shape).numpy()
            for (name, parameter), part in zip(self.parameters.items(), cut, strict=True)
        }


@dataclass
class Outcome:
    """What a round made: the change of each shared parameter, of each control variate, and sums.

    loss: mean over the steps; it is not finite where training diverged.
    """

    update: Arrays
    control: Arrays
    loss: float
    steps: int


@dataclass
class Trainer:
    """A network at one retailer, between two questions.

    frozen: whether the shared parameters stay as they are.
    """

    network: Network
    module: Any
    local: LocalTraining
    frozen: bool = False
    _shared: _Flat = field(init=False)
    _own: _Flat = field(init=False)
    _sparse: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._sparse = dict(_sparse_tables(self.module))
        if self.local.scaffold and self._sparse:
            raise PlanError(f"scaffold needs dense gradients: {', '.join(self._sparse)} are sparse")
        dense = {n: p for n, p in self.module.named_parameters() if n not in self._sparse}
        self._shared = _Flat({n: p for n, p in dense.items() if not stays(self.network, n)})
        self._own = _Flat({n: p for n, p in dense.items() if stays(self.network, n)})
        self.control = torch.zeros_like(self._shared.vector.data)
        self._optimizers = self._made()

    def _made(self) -> list[Optimizer]:
        flats = [self._own.vector] if self.frozen else [self._shared.vector, self._own.vector]
        flats = [vector for vector in flats if vector.numel()]
        tables = [
            table
            for name, table in self._sparse.items()
            if not self.frozen or stays(self.network, name)
        ]
        rate = self.local.rate
        if self.local.optimizer == "sgd":
            steps = [Descent(each, rate, self.local.decay) for each in flats]
            return [*steps, *(Descent(each, rate) for each in tables)]
        dense = [Adam(each, rate, self.local.decay) for each in flats]
        return [*dense, *(RowAdam(each, rate) for each in tables)]

    @property
    def shared(self) -> dict[str, Any]:
        """The parameters that are in summands, by name."""
        tables = {n: p for n, p in self._sparse.items() if not stays(self.network, n)}
        return {**self._shared.parameters, **tables}

    def put(self, weights: Arrays) -> None:
        """Takes the shared weights; AnswerError names a parameter that has another shape."""
        shapes = {name: tuple(parameter.shape) for name, parameter in self.shared.items()}
        for name in sorted({*shapes, *weights}):
            asked = weights[name].shape if name in weights else None
            if shapes.get(name) != asked:
                raise AnswerError(
                    Code.FIELDS_DIFFER,
                    f"network '{self.network.name}': parameter '{name}' is {shapes.get(name)} "
                    f"here, {asked} at the coordinator: install the same version everywhere",
                )
        self._shared.put(weights)
        for name, table in self._sparse.items():
            if name in weights:
                table.data.copy_(torch.from_numpy(np.array(weights[name], np.float32)))

    def train(self, examples: Loaded, control: Arrays | None, seed: int) -> Outcome:
        """Returns what the epochs of one round change; of nothing to learn from, nothing.

        control: the consortium's control variate by parameter; None without SCAFFOLD.
        """
        prepare()
        draw = torch.Generator(device()).manual_seed(seed)
        before = self._shared.vector.data.clone()
        tables = {n: p.data.clone() for n, p in self.shared.items() if n in self._sparse}
        correction = self._correction(control)
        self._started(draw)
        losses = [
            self._step(batch, draw, before, correction)
            for _ in range(self.local.epochs if examples.count else 0)
            for batch in examples.shuffled(self.local.batch, draw)
        ]
        moved = self._shared.vector.data - before
        finite = bool(torch.isfinite(moved).all())
        loss = float(torch.stack(losses).mean()) if losses else 0.0
        update = self._shared.parts(moved)
        update |= {n: (self._sparse[n].data - w).cpu().numpy() for n, w in tables.items()}
        changed = self._controlled(moved, correction, len(losses))
        return Outcome(update, changed, loss if finite else float("nan"), len(losses))

    def _started(self, draw: Any) -> None:
        self.module.train()
        for module in self.module.modules():
            if isinstance(module, Dropout):
                module.draw = draw
        if not self.local.moments:
            for optimizer in self._optimizers:
                optimizer.state.clear()

    def _step(self, batch: Tensors, draw: Any, before: Any, correction: Any) -> Any:
        self._shared.gradient.zero_()
        self._own.gradient.zero_()
        for table in self._sparse.values():
            table.grad = None
        loss = self.network.loss(self.module, batch, draw).mean()
        loss.backward()
        gradient = self._shared.gradient
        if self.local.proximal:
            gradient.add_(self._shared.vector.data - before, alpha=self.local.proximal)
        if correction is not None:
            gradient.add_(correction)
        if self.local.clip:
            gradient.mul_(self.local.clip / gradient.norm().clamp(min=self.local.clip))
        for optimizer in self._optimizers:
            optimizer.step()
        return loss.detach()

    def _correction(self, control: Arrays | None) -> Any:
        if control is None:
            return None
        flat = [
            torch.from_numpy(np.array(control[n], np.float32)).reshape(-1)
            for n in self._shared.parameters
        ]
        return torch.cat(flat).to(device()) - self.control

    def _controlled(self, moved: Any, correction: Any, steps: int) -> Arrays:
        """Returns the change of this retailer's control variate, and keeps the variate."""
        if correction is None or not steps:
            return self._shared.parts(torch.zeros_like(moved))
        # The correction is c - c_i, so this is (x - y) / (K eta) - c.
        change = -correction - self.control - moved / (steps * self.local.rate)
        self.control += change
        return self._shared.parts(change)

    def losses(self, examples: Loaded) -> Any:
        """Returns the loss of each record with the weights as they are, (records,) float64."""
        prepare()
        draw = torch.Generator(device()).manual_seed(0)
        self.module.eval()
        with torch.inference_mode():
            found = [
                self.network.loss(self.module, batch, draw).cpu().numpy().astype(np.float64)
                for batch in examples.ordered(_SCORED)
            ]
        return np.concatenate(found) if found else np.zeros(0)

    # --- what stays at home ---

    @property
    def keeps(self) -> bool:
        """Whether a round leaves anything at home for the next."""
        own = any(stays(self.network, name) for name, _ in self.module.named_parameters())
        return own or self.local.scaffold or self.local.moments

    def kept(self) -> Arrays:
        """Returns all that the next round needs and that never leaves; nothing if nothing is."""
        own = {**self._own.parameters, **self._sparse}
        arrays = {
            f"own {name}": parameter.detach().cpu().numpy()
            for name, parameter in own.items()
            if stays(self.network, name)
        }
        if self.local.scaffold:
            arrays["control"] = self.control.cpu().numpy()
        if self.local.moments:
            for i, optimizer in enumerate(self._optimizers):
                for key, value in optimizer.state.items():
                    arrays[f"moment {i} {key}"] = value.cpu().numpy()
        return {name: np.array(array) for name, array in arrays.items()}

    def restore(self, arrays: Arrays) -> None:
        """Takes back what `kept` returned."""
        own = {**self._own.parameters, **self._sparse}
        for name, array in arrays.items():
            if name.startswith("own "):
                own[name[4:]].data.copy_(torch.from_numpy(array))
        if "control" in arrays:
            self.control = torch.from_numpy(np.array(arrays["control"])).to(device())
        for i, optimizer in enumerate(self._optimizers):
            start = f"moment {i} "
            optimizer.state = {
                name.removeprefix(start): torch.from_numpy(np.array(array)).to(device())
                for name, array in arrays.items()
                if name.startswith(start)
            }


def _sparse_tables(module: Any) -> Iterator[tuple[str, Any]]:
    """Yields the tables of which a batch touches few rows, as whoever built the module says."""
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Embedding) and part.sparse:
            yield f"{name}.weight".removeprefix("."), part.weight
