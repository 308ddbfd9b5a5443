"""Imports go one way, tables stay with the retailers, and nothing that arrives is ever run."""

import ast
import importlib
import importlib.util
import inspect
from functools import cache
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
    "retailer_file",
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
    "finished",
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
    "retailer_file",
    "participate",
    "readiness",
    "outlook",
    "statement",
    "finished",
    "api",
    "cli",
)


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def tree_of(path):
    return ast.parse(path.read_text())


def file_of(module):
    return ROOT.parent / f"{module.replace('.', '/')}.py"


@cache
def imports(path):
    """Returns (module, whether it is imported as the file is) for every import of a file."""
    late = set()
    for node in ast.walk(tree_of(path)):
        is_late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if is_late or is_typing:
            late |= set(ast.walk(node))
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            module = node.module
            named = [f"{module}.{alias.name}" for alias in node.names]
            if module != "grandtotal":
                named = [module, *(name for name in named if file_of(name).exists())]
            found += [(name, node not in late) for name in named]
    return found


def ours(path):
    """Yields (room, whether it is imported as the file is) for imports of this package."""
    for module, at_once in imports(path):
        parts = module.split(".")
        if parts[0] == "grandtotal" and len(parts) > 1 and not parts[1].startswith("__"):
            yield parts[1], at_once


def test_imports_go_one_way():
    for path in FILES:
        room = room_of(path)
        if room == "__init__":
            assert not [name for name, at_once in ours(path) if at_once], path
        elif room == "tables":
            assert {name for name, _ in ours(path)} <= {"tables", "errors", "durable"}, path
        else:
            before = {"tables", *ROOMS[: ROOMS.index(room) + 1]}
            assert {name for name, _ in ours(path)} <= before, path


def test_every_room_is_in_the_order():
    assert {room_of(path) for path in FILES} == {*ROOMS, "tables", "__init__"}


def test_tables_are_imported_where_rows_are_read_and_only_then():
    for path in FILES:
        if room_of(path) == "tables":
            continue
        for name, at_once in ours(path):
            if name == "tables":
                assert room_of(path) in MAY_READ_TABLES, path
                assert not at_once, path
        for module, at_once in imports(path):
            assert module.split(".")[0] != "polars" or not at_once, path


def test_nothing_that_arrives_is_ever_run():
    for path in FILES:
        refuse_what_runs_what_arrives(path)


def refuse_what_runs_what_arrives(path):
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code"}
    engines = {"torch", "numba", "tensorflow", "jax", "nvflare"}
    if path.name == "flare.py":  # the adapter, imported by the processes of a consortium alone
        engines -= {"nvflare"}
    if path.name in NEURAL:  # imported when a network is named, if torch is installed
        engines -= {"torch"}
    if path.name == "tree_kernels.py":  # imported when a tree grows, if numba is installed
        engines -= {"numba"}
    for module, _ in imports(path):
        assert module.split(".")[0] not in forbidden | engines, path
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__"}, path
            assert called not in {"np.load", "numpy.load", "np.save", "os.system"}, path
            assert not any(keyword.arg in ("allow_pickle", "shell") for keyword in node.keywords), (
                path
            )


def test_the_adapter_of_flare_is_imported_only_where_a_process_of_it_starts():
    for path in FILES:
        assert ("grandtotal.engine.flare", True) not in imports(path), path


def test_what_holds_a_retailers_line_imports_no_plan_no_task_and_no_algorithm():
    seen, found = set(), [ROOT / "cli.py", ROOT / "engine/parties.py", ROOT / "engine/flare.py"]
    while found:
        path = found.pop()
        if path not in seen and path.exists():
            seen.add(path)
            found += [file_of(module) for module, at_once in imports(path) if at_once]
    rooms = {room_of(path) for path in seen}
    assert {"engine", "privacy", "retailer_file", "cli_engine"} <= rooms
    assert not rooms & {"plan", "tasks", "algorithms", "participate", "tables", "report"}


def test_networks_are_imported_only_when_one_is_named():
    for path in FILES:
        for module, at_once in imports(path):
            network = f"{module.rsplit('.', 1)[-1]}.py" in NEURAL
            assert path.name in NEURAL or not network or not at_once, path


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
