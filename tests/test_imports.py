"""Imports go one way, tables stay with the retailers, and nothing that arrives is ever run."""

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

import grandtotal

ROOT = Path(grandtotal.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A room imports from the rooms before it and from itself. `tables` is apart: see below.
ROOMS = (
    "errors",
    "durable",
    "versions",
    "threads",
    "privacy",
    "consortium",
    "algorithms",
    "tasks",
    "decide",
    "plan",
    "runfolder",
    "coordinate",
    "verify",
    "participate",
    "members",
    "readiness",
    "outlook",
    "statement",
    "retailer_process",
    "simulate",
    "report",
    "comparison",
    "engine",
    "terminal",
    "api",
    "cli_parts",
    "cli_members",
    "cli_door",
    "cli_engine",
    "cli_orders",
    "cli_prices",
    "cli_decide",
    "cli_export",
    "cli_predict",
    "cli",
    "loopback",
)
NEURAL = (
    "cnn.py",
    "forecast_network.py",
    "gru.py",
    "local_optimizers.py",
    "lstm.py",
    "mlp.py",
    "ncf.py",
    "neural_at_home.py",
    "neural_local.py",
    "sasrec.py",
    "sequence_network.py",
    "two_tower.py",
)
MAY_READ_TABLES = (
    "tasks",
    "decide",
    "participate",
    "readiness",
    "outlook",
    "statement",
    "api",
    "cli",
)


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Yields (module, whether it is imported as the file is) for every import of a file."""
    tree = ast.parse(path.read_text())
    late = set()
    for node in ast.walk(tree):
        is_late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if is_late or is_typing:
            late |= set(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            module = node.module
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from ((name, node not in late) for name in names if module == "grandtotal")
            if module != "grandtotal":
                yield module, node not in late


def ours(path):
    """Yields (room, whether it is imported as the file is) for imports of this package."""
    for module, at_once in imports(path):
        parts = module.split(".")
        if parts[0] == "grandtotal" and len(parts) > 1 and not parts[1].startswith("__"):
            yield parts[1], at_once


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room = room_of(path)
    if room == "__init__":
        assert not [name for name, at_once in ours(path) if at_once]
        return
    if room == "tables":
        assert {name for name, _ in ours(path)} <= {"tables", "errors", "durable"}
        return
    for name, _ in ours(path):
        assert name == "tables" or ROOMS.index(name) <= ROOMS.index(room), f"{room} <- {name}"


def test_every_room_is_in_the_order():
    assert {room_of(path) for path in FILES} == {*ROOMS, "tables", "__init__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_imported_where_rows_are_read_and_only_then(path):
    if room_of(path) == "tables":
        return
    for name, at_once in ours(path):
        if name == "tables":
            assert room_of(path) in MAY_READ_TABLES
            assert not at_once
    for module, at_once in imports(path):
        assert module.split(".")[0] != "polars" or not at_once


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_arrives_is_ever_run(path):
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code"}
    engines = {"torch", "numba", "tensorflow", "jax", "nvflare"}
    if path.name == "flare.py":  # the adapter, imported by the processes of a consortium alone
        engines -= {"nvflare"}
    if path.name in NEURAL:  # imported when a network is named, if torch is installed
        engines -= {"torch"}
    if path.name == "tree_kernels.py":  # imported when a tree grows, if numba is installed
        engines -= {"numba"}
    for module, _ in imports(path):
        assert module.split(".")[0] not in forbidden | engines
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__"}
            assert called not in {"np.load", "numpy.load", "np.save", "os.system"}
            assert not any(keyword.arg in ("allow_pickle", "shell") for keyword in node.keywords)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_adapter_of_flare_is_imported_only_where_a_process_of_it_starts(path):
    for module, at_once in imports(path):
        assert module != "grandtotal.engine.flare" or not at_once


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_networks_are_imported_only_when_one_is_named(path):
    if path.name in NEURAL:
        return
    for module, at_once in imports(path):
        assert f"{module.rsplit('.', 1)[-1]}.py" not in NEURAL or not at_once


def test_public_names_are_what_they_say_whatever_was_imported():
    for path in FILES:
        name = ".".join(("grandtotal", *path.relative_to(ROOT).with_suffix("").parts))
        if name == "grandtotal.engine.flare" and not importlib.util.find_spec("nvflare"):
            continue
        if path.name in NEURAL and not importlib.util.find_spec("torch"):
            continue
        if not name.endswith("__init__"):
            importlib.import_module(name)
    for name in grandtotal.__all__:
        assert not inspect.ismodule(getattr(grandtotal, name)), name
        assert name in dir(grandtotal)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(grandtotal, "nothing")  # noqa: B009 - as a caller would
