"""What clipping by customer costs a training step: an NCF-sized network, 128 records a batch.

Embeddings of 1,000 customers and 500 products, 64 wide, and layers of 128, 128, 64 and 5, one
thread. Plain is torch as everybody writes it: a module, its loss, backward, SGD. Clipped is the
same step with `privacy.ghost_clipping`: the derivatives by each layer's output instead of by its
weights, a factor for each customer, and gradients from both; its loss and update are compared with
a step that makes every customer's gradient. Opacus clips records, not customers, in its ghost mode.
A release, once a round and not once a step, also rounds the shared gradients and adds the door's
noise; what that costs is apart.

torch and Opacus are not installed with the project: pip install 'grandtotal[neural]', and opacus.
"""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import MissingDataError, Row, at_most
from grandtotal.privacy.ghost_clipping import Dense, Embedding, bound, factors
from grandtotal.privacy.noise import KEY_BYTES, NoiseStream

CUSTOMERS, PRODUCTS, WIDTH, RECORDS, CLASSES = 1000, 500, 64, 128, 5
NORM, RATE, SCALE = 1.0, 0.05, 2**20
_STEPS, _ROUNDS = 40, 25  # interleaved, so that a busy machine is busy for all alike


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001 - everything is made up
    """Returns milliseconds of a step, and what they are over the plain one."""
    try:
        import torch
    except ImportError:
        raise MissingDataError("torch is not installed: pip install 'grandtotal[neural]'") from None
    torch.set_num_threads(1)
    rows = []
    for words, customers in _batches().items():
        batch = _Batch.of(torch, customers)
        steps = {"plain": _plain(torch, batch), "clipped": _clipped(torch, batch)}
        opacus = _opacus(torch, batch)
        if opacus is not None:
            steps["Opacus ghost, by record"] = opacus
        found = _measured(steps, 5 if quick else _ROUNDS)
        rows += [Row(f"{words}: {name}", 1e3 * seconds, "ms") for name, seconds in found.items()]
        over = found["clipped"] / found["plain"]
        rows.append(at_most(1.2, f"{words}: clipped over plain", over, "x"))
        if opacus is not None:
            over = found["Opacus ghost, by record"] / found["plain"]
            rows.append(Row(f"{words}: Opacus ghost over plain", over, "x"))
        error = _error(torch, batch)
        rows.append(at_most(1e-5, f"{words}: off the customers' own gradients", error, "relative"))
    return [*rows, _release(quick)]


def _batches() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "records drawn": random.integers(0, CUSTOMERS, RECORDS),
        "eight records a customer": np.repeat(random.permutation(CUSTOMERS)[: RECORDS // 8], 8),
    }


@dataclass(frozen=True)
class _Batch:
    customers: Any
    products: Any
    rating: Any

    @staticmethod
    def of(torch: Any, customers: np.ndarray) -> "_Batch":
        random = np.random.default_rng(1)
        products, rating = (random.integers(0, n, RECORDS) for n in (PRODUCTS, CLASSES))
        return _Batch(*(torch.from_numpy(part) for part in (customers, products, rating)))


def _network(torch: Any) -> Any:
    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.customers = torch.nn.Embedding(CUSTOMERS, WIDTH)
            self.products = torch.nn.Embedding(PRODUCTS, WIDTH)
            sizes = (2 * WIDTH, 2 * WIDTH, WIDTH, CLASSES)
            self.layers = torch.nn.ModuleList([torch.nn.Linear(i, o) for i, o in pairwise(sizes)])

        def forward(self, customers: Any, products: Any) -> Any:
            return self.passed(customers, products)[-1][-1]

        def passed(self, customers: Any, products: Any) -> list[tuple[Any, Any]]:
            """Returns (input, output) of each layer."""
            rows = self.customers(customers), self.products(products)
            passes, x = [(customers, rows[0]), (products, rows[1])], torch.cat(rows, 1)
            for layer in self.layers:
                z = layer(x)
                passes.append((x, z))
                x = torch.relu(z)
            return passes

    torch.manual_seed(0)
    return Network()


def _plain(torch: Any, batch: _Batch) -> Callable[[], None]:
    network = _network(torch)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def step() -> None:
        optimizer.zero_grad()
        scores = network(batch.customers, batch.products)
        torch.nn.functional.cross_entropy(scores, batch.rating).backward()
        optimizer.step()

    return step


def _clipped(torch: Any, batch: _Batch) -> Callable[[], None]:
    network = _network(torch)
    parameters = list(network.parameters())

    def step() -> None:
        gradients = clipped_gradients(torch, network, batch)
        with torch.inference_mode():
            torch._foreach_add_(parameters, gradients, alpha=-RATE / RECORDS)

    return step


def clipped_gradients(torch: Any, network: Any, batch: _Batch) -> list[Any]:
    """Returns the sum over customers of their clipped gradients, in the order of parameters."""
    passes = network.passed(batch.customers, batch.products)
    loss = torch.nn.functional.cross_entropy(passes[-1][1], batch.rating, reduction="sum")
    errors = torch.autograd.grad(loss, [z for _, z in passes])
    with torch.inference_mode():
        parts = [
            (Embedding if k < 2 else Dense)(a.detach().numpy(), e.numpy())
            for k, ((a, _), e) in enumerate(zip(passes, errors, strict=True))
        ]
        kept = factors(parts, batch.customers.numpy(), NORM).astype(np.float32)
        weights = torch.from_numpy(kept)[:, None]
        gradients = []
        for k, ((a, _), e) in enumerate(zip(passes, errors, strict=True)):
            weighted = e * weights
            if k < 2:
                table = torch.zeros((CUSTOMERS, PRODUCTS)[k], WIDTH)
                gradients.append(table.index_add_(0, a, weighted))
            else:
                gradients += [weighted.T @ a, weighted.sum(0)]
        return gradients


def _error(torch: Any, batch: _Batch) -> float:
    """Returns how far the sum is from that of gradients made one customer at a time."""
    network = _network(torch)
    parameters = list(network.parameters())
    expected = [torch.zeros_like(p) for p in parameters]
    for customer in batch.customers.unique():
        own = batch.customers == customer
        scores = network(batch.customers[own], batch.products[own])
        loss = torch.nn.functional.cross_entropy(scores, batch.rating[own], reduction="sum")
        gradient = torch.autograd.grad(loss, parameters)
        length = float(torch.sqrt(sum((g.double() ** 2).sum() for g in gradient)))
        for total, g in zip(expected, gradient, strict=True):
            total += g * min(1.0, NORM / length)
    found = clipped_gradients(torch, network, batch)
    off = sum(float(((f - e) ** 2).sum()) for f, e in zip(found, expected, strict=True))
    return float((off / sum(float((e**2).sum()) for e in expected)) ** 0.5)


def _opacus(torch: Any, batch: _Batch) -> Callable[[], None] | None:
    try:
        from opacus import PrivacyEngine
    except ImportError:
        return None
    network = _network(torch)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    rows = torch.utils.data.TensorDataset(batch.customers, batch.products, batch.rating)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, optimizer, criterion, _ = PrivacyEngine().make_private(
            module=network,
            optimizer=optimizer,
            criterion=torch.nn.CrossEntropyLoss(),
            data_loader=torch.utils.data.DataLoader(rows, batch_size=RECORDS),
            noise_multiplier=1.0,
            max_grad_norm=NORM,
            poisson_sampling=False,
            grad_sample_mode="ghost",
        )

    def step() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer.zero_grad()
            criterion(network(batch.customers, batch.products), batch.rating).backward()
            optimizer.step()

    return step


def _measured(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Returns the seconds that nine in ten steps pass: a busy machine shows least there."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for _ in range(_STEPS):
                started = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - started)
    return {name: float(np.quantile(taken, 0.1)) for name, taken in times.items()}


def _release(quick: bool) -> Row:
    """Returns what rounding and noise of the shared gradients cost; customers' rows stay home."""
    entries = PRODUCTS * WIDTH + sum(
        i * o + o for i, o in ((2 * WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH), (WIDTH, CLASSES))
    )
    gradient = np.random.default_rng(2).normal(size=entries).astype(np.float32)
    sigma = bound(NORM, SCALE, entries).norm

    def step() -> None:
        whole = np.rint(gradient * SCALE).astype(np.int64)
        NoiseStream(sigma, os.urandom(KEY_BYTES)).add(whole.view(np.uint64))

    seconds = _measured({"release": step}, 2 if quick else 10)["release"]
    return Row(f"a release: rounding and noise of {entries:,} entries", 1e3 * seconds, "ms")
