"""The tutorial's script as it is, in a process of its own, a round whenever it is asked for one.

Nothing of it is copied or changed: it runs with the threads that torch chooses by itself, on rows
that it is given instead of making them, and waits for its turn at the end of each round.
"""

import importlib.util
import io
import multiprocessing
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.rows import MissingDataError

Columns = tuple[NDArray[Any], ...]
"""Of one retailer: customers, products and classes, or features and units."""


@dataclass(frozen=True)
class Part:
    """What one retailer learns from, and what is held out."""

    known: Columns
    held: Columns


@dataclass(frozen=True)
class Lap:
    """One round: seconds of training and averaging; and of looking at the rows that it knows.

    forecast: of each retailer's held-out rows, classes or units; only where it was asked for.
    """

    seconds: float
    looking: float
    forecast: list[NDArray[Any]]


def load(path: Path) -> Any:
    """Returns the script as a module; MissingDataError where it is not."""
    if not path.is_file():
        raise MissingDataError(f"no script {path}; name it by --data PATH/tutorial_174.py")
    spec = importlib.util.spec_from_file_location("tutorial_script_itself", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


class Script:
    """The script at one of its two jobs, over these retailers."""

    def __init__(
        self, path: Path, job: str, parts: Sequence[Part], threads: int | None = None
    ) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        words = (theirs, path, job, tuple(parts), threads)
        self._process = spawning.Process(target=_work, args=words, daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it has read its rows

    def round(self, judged: bool = False) -> Lap:
        """Returns the next round."""
        self._pipe.send(judged)
        lap: Lap = self._pipe.recv()
        return lap

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _work(
    pipe: Connection, path: Path, job: str, parts: tuple[Part, ...], threads: int | None
) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(174)
    script = load(path)

    def rows(retailer_id: int, **_: int) -> Columns:
        return parts[retailer_id].known

    script.generate_retail_data = script.generate_demand_data = rows
    turns, client = _Turns(pipe, parts), script.RetailFLClient
    take, look = client.load_model, client.evaluate

    def taken(retailer: Any, weights: Any) -> None:
        turns.begin()
        take(retailer, weights)

    def looked(retailer: Any) -> Any:
        started = time.perf_counter()
        found = look(retailer)
        turns.looked(retailer, time.perf_counter() - started)
        return found

    client.load_model, client.evaluate = taken, looked
    with redirect_stdout(io.StringIO()):
        script.federated_retail_learning(len(parts), num_rounds=10**6, local_epochs=3, task=job)


class _Turns:
    """Hands a round over once its last retailer has looked at its rows, and waits for the next."""

    def __init__(self, pipe: Connection, parts: tuple[Part, ...]) -> None:
        self._pipe, self._parts = pipe, parts
        self._mine = False
        pipe.send(None)

    def begin(self) -> None:
        """Waits, unless a round is under way."""
        if not self._mine:
            self._judged: bool = self._pipe.recv()
            self._mine, self._forecast = True, list[NDArray[Any]]()
            self._looking, self._judging, self._began = 0.0, 0.0, time.perf_counter()

    def looked(self, retailer: Any, seconds: float) -> None:
        """Takes the time, asks for forecasts where they are wanted, and ends the round."""
        self._looking += seconds
        ended = time.perf_counter()
        held = self._parts[retailer.retailer_id].held
        if self._judged:
            self._forecast.append(_forecast(retailer, held))
        if retailer.retailer_id == len(self._parts) - 1:
            whole = ended - self._began - self._judging
            self._pipe.send(Lap(whole - self._looking, self._looking, self._forecast))
            self._mine = False
        self._judging += time.perf_counter() - ended


def _forecast(retailer: Any, held: Columns) -> NDArray[Any]:
    """Returns the class of each held-out rating, or the units of each product and day."""
    import torch

    retailer.model.eval()
    with torch.no_grad():
        found = retailer.model(*map(torch.from_numpy, held[:-1]))
    made: NDArray[Any] = (found.argmax(1) if found.ndim == 2 else found).numpy()
    return made
