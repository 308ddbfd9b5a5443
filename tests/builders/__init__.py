"""Small rows for every installed query, by its name; one file for each family of rows."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from builders import (
    behaviour,
    columns,
    networks,
    outcomes,
    prices,
    purchases,
    ratings,
    sales,
    scores,
    value,
)
from builders.asked import Asked

Builder = Callable[[np.random.Generator, Path], Asked]

FAMILIES = (
    behaviour,
    columns,
    networks,
    outcomes,
    prices,
    purchases,
    ratings,
    sales,
    scores,
    value,
)
BUILDERS: Mapping[str, Builder] = {
    name: build for family in FAMILIES for name, build in family.BUILDERS.items()
}
