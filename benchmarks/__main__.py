"""python -m benchmarks NAME [--data FOLDER] [--quick] · python -m benchmarks all --write

--write puts what was run into results.md and keeps the other sections. The last line is RESULT and
one JSON value: rows, machine, seconds. A missed bar is a result and not a failure: the exit status
is 0. An unknown name is 2.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import (
    als_speed,
    audit,
    chaos,
    churn,
    demand_neural,
    demand_online_retail,
    demand_orangejuice,
    demand_rossmann,
    demand_store_product,
    dp_step,
    engine,
    engine_soak,
    exactness,
    intent,
    inventory_known,
    inventory_replay,
    membership,
    network,
    next_basket,
    price,
    price_decisions,
    privacy_utility,
    recommend_amazon,
    recommend_blend,
    recommend_diginetica,
    recommend_exactness,
    recommend_latency,
    recommend_ml1m,
    recommend_ml100k,
    recommend_ratings,
    recommend_transfer,
    recommend_video,
    scale,
    secure_sum,
    segments,
    shift,
    trees,
    trees_exact,
    trees_privacy,
    trees_scale,
    tutorial,
    value,
)
from benchmarks.rows import MissingDataError, Row
from grandtotal.versions import versions

BENCHMARKS: Mapping[str, ModuleType] = {
    "exactness": exactness,
    "recommend-ml1m": recommend_ml1m,
    "recommend-blend": recommend_blend,
    "recommend-exactness": recommend_exactness,
    "als-speed": als_speed,
    "recommend-ml100k": recommend_ml100k,
    "recommend-amazon": recommend_amazon,
    "recommend-video": recommend_video,
    "recommend-diginetica": recommend_diginetica,
    "recommend-latency": recommend_latency,
    "recommend-ratings": recommend_ratings,
    "recommend-transfer": recommend_transfer,
    "recommend-tafeng": next_basket,
    "tutorial": tutorial,
    "shift": shift,
    "secure-sum": secure_sum,
    "trees-speed": trees,
    "trees-exact": trees_exact,
    "trees-scale": trees_scale,
    "trees-privacy": trees_privacy,
    "demand-neural": demand_neural,
    "demand-rossmann": demand_rossmann,
    "demand-online-retail": demand_online_retail,
    "demand-orangejuice": demand_orangejuice,
    "demand-store-product": demand_store_product,
    "inventory-known": inventory_known,
    "inventory-replay": inventory_replay,
    "audit": audit,
    "dp-step": dp_step,
    "membership": membership,
    "privacy-utility": privacy_utility,
    "price": price,
    "price-decisions": price_decisions,
    "segments": segments,
    "value": value,
    "churn": churn,
    "intent": intent,
    "scale": scale,
    "engine": engine,
    "engine-network": network,
    "engine-soak": engine_soak,
    "chaos": chaos,
}
_BY_NAME_ALONE = ("engine-soak", "chaos")  # they take an hour: `all` leaves them out
RESULTS = Path(__file__).parent / "results.md"
_MARK = "## `python -m benchmarks "
_HEAD = ("what", "value", "unit", "bar", "")


def main() -> int:
    """Runs what the command line names."""
    asked = _arguments()
    usual = [name for name in BENCHMARKS if name not in _BY_NAME_ALONE]
    names = usual if asked.name == "all" else [asked.name]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(
            f"no benchmark '{unknown[0]}', expected all, {', '.join(BENCHMARKS)}", file=sys.stderr
        )
        return 2
    started = time.monotonic()
    sections = [_section(name, asked.data, asked.quick) for name in names]
    if asked.write:
        _write(sections)
    result = {
        "rows": [asdict(row) for section in sections for row in section["rows"]],
        "machine": machine(),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(f"RESULT {json.dumps(result)}")
    return 0


def write_section(name: str, rows: list[Row], seconds: float) -> None:
    """Puts the rows of a benchmark that was run by itself into results.md."""
    about, load = BENCHMARKS[name].__doc__ or "", os.getloadavg()[0]
    section = {"name": name, "command": name, "about": about, "rows": rows, "load": load}
    _write([{**section, "seconds": round(seconds, 1)}])


def _write(sections: list[dict[str, Any]]) -> None:
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    RESULTS.write_text(_page(sections, before), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", metavar="NAME", help=f"all, {', '.join(BENCHMARKS)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="less data and fewer repetitions")
    parser.add_argument("--write", action="store_true", help=f"put it into {RESULTS.name}")
    return parser.parse_args()


def _section(name: str, data: Path, quick: bool) -> dict[str, Any]:
    started, load = time.monotonic(), os.getloadavg()[0]
    print(f"{name}\n")
    try:
        rows: list[Row] = BENCHMARKS[name].run(data, quick)
    except MissingDataError as error:
        print(f"skipped: {error}\n")
        rows = [Row(f"{name}: skipped, data missing", None)]
    seconds = round(time.monotonic() - started, 1)
    print(f"{_text(rows)}\n\n{name}: {seconds} s\n", flush=True)
    return {
        "name": name,
        "command": f"{name}{' --quick' if quick else ''}",
        "about": BENCHMARKS[name].__doc__ or "",
        "rows": rows,
        "seconds": seconds,
        "load": load,
    }


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on."""
    return {**versions(), "memory_gib": round(_memory() / 2**30)}


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cells(row: Row) -> tuple[str, ...]:
    value = "-" if row.value is None else f"{row.value:.4g}"
    if row.value is not None and abs(row.value) >= 1000:
        value = f"{row.value:,.0f}"
    word = {True: "ok", False: "MISSED", None: ""}[row.ok]
    return row.name, value, row.unit, row.bar or "", word


def _text(rows: list[Row]) -> str:
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    return "\n".join(
        f"{line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  "
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(line[2:], widths[2:], strict=True))
        for line in lines
    )


def _page(sections: list[dict[str, Any]], before: str = "") -> str:
    """Returns the page of results with these sections; of other benchmarks it keeps what it had."""
    found = {}
    for part in before.split(_MARK)[1:]:
        found[part.split("`")[0].split()[0]] = _MARK + part.rstrip() + "\n"
    for section in sections:
        found[section["name"]] = _markdown(section)
    known = [name for name in BENCHMARKS if name in found]
    return "\n".join(["# Results\n", *(found[name] for name in known)])


def _markdown(section: dict[str, Any]) -> str:
    lines = [_HEAD, ("---", "---:", "---", "---", "---"), *map(_cells, section["rows"])]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    here = machine()
    measured = (
        f"{date.today()}, commit {_commit()}, {here['processor']}, {here['cores']} cores, "
        f"{here['memory_gib']} GiB, {platform.system()}, Python {here['python']}, numpy "
        f"{here['numpy']}, scipy {here['scipy']}; load {section['load']:.1f} when it began; "
        f"{section['seconds']} s in all."
    )
    return f"{_MARK}{section['command']}`\n\n{section['about'].strip()}\n\n{table}\n\n{measured}\n"


def _commit() -> str:
    def git(*words: str) -> str:
        command = ["git", "-C", str(RESULTS.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = " with uncommitted changes" if git("status", "--porcelain", "--", "../src") else ""
    return (git("rev-parse", "HEAD") or "unknown") + changed


if __name__ == "__main__":
    sys.exit(main())
