"""What the numbers of a run depend on: software, machine, memory."""

import hashlib
import os
import platform
import re
import resource
import sys
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path

from grandtotal import __version__
from grandtotal.durable import Json, canonical


@cache
def versions() -> Json:
    """Returns what the numbers depend on: software, machine, threads."""
    packages = ("numpy", "scipy", "polars", "safetensors")
    return {
        "grandtotal": __version__,
        "code": code_digest(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
    }


@cache
def code_digest() -> str:
    """Returns one digest over the package's source files and the extensions' versions.

    Retailers and coordinator compare it before anything is asked: the code of a query is installed,
    never sent, so all must have the same.
    """
    root = Path(__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(canonical([str(path.relative_to(root)), path.read_text()]))
    state.update(canonical(sorted(_extensions())))
    return state.hexdigest()


def _extensions() -> set[tuple[str, str]]:
    """Returns name and version of every package that registers queries or tasks."""
    points = [*entry_points(group="grandtotal.queries"), *entry_points(group="grandtotal.tasks")]
    return {(point.dist.name, point.dist.version) for point in points if point.dist}


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1) if found else platform.processor()


def peak_memory_mb() -> int:
    """Returns the largest resident size of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would tell the parent's peak where that was larger.
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) // 2**10
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (2**20 if sys.platform == "darwin" else 2**10))
