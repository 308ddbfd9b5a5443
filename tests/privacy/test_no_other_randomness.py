"""In this room, random bytes come from the operating system or are handed in by a test."""

import ast
from pathlib import Path

import pytest

import grandtotal.privacy

FILES = sorted(Path(grandtotal.privacy.__path__[0]).rglob("*.py"))
BANNED = ("random", "numpy.random", "np.random", "torch", "scipy.stats")


def offences(text):
    """Returns what a source imports or names of the banned modules."""
    found = []
    for node in ast.walk(ast.parse(text)):
        named = []
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            named = [ast.unparse(node)]
        found += [n for n in named if any(n == b or n.startswith(f"{b}.") for b in BANNED)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_generator_of_predictable_numbers(path):
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import random",
        "from random import randbytes",
        "import numpy.random",
        "from numpy import random",
        "from numpy.random import default_rng",
        "import numpy as np\nnp.random.default_rng(1)",
        "import random as r",
    ],
)
def test_the_check_finds_every_way_in(text):
    assert offences(text)


def test_other_modules_are_not_mistaken_for_them():
    assert offences("import secrets, os\nos.urandom(8)\nx.random_bytes\nimport randomness") == []
