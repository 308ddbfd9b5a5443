"""A finished model: numpy arrays in safetensors, and a few words of JSON."""

import json
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from grandtotal.durable import Json, write
from grandtotal.errors import RunError
from grandtotal.privacy.fixedpoint import Arrays


class Model(Protocol):
    """What a fit returns. `arrays` and `meta` together rebuild it anywhere."""

    @property
    def arrays(self) -> Arrays: ...

    @property
    def meta(self) -> Json: ...


def save_arrays(path: Path, arrays: Arrays, meta: Json) -> None:
    """Writes one safetensors file, whole or not at all; meta travels in its header."""
    # safetensors writes memory as it lies: a transposed array would come back as another one.
    rows = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write(path, save(rows, {"grandtotal": json.dumps(meta, sort_keys=True)}))


def load_arrays(path: Path) -> tuple[Arrays, Json]:
    """Returns what `save_arrays` wrote; RunError if the file is missing or damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads(file.metadata()["grandtotal"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except Exception as error:
        raise RunError(f"{path}: no model can be read from it ({error})") from error
