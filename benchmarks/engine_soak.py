"""Thousands of rounds of 1 MB through FLARE: does memory level off, do rounds stay as quick?

Five retailers with mutual TLS on loopback, in the clear. The resident memory of every process is
looked at every two seconds; growth is the mean of the last tenth of the samples over that of the
tenth after the middle, for the process that grew most. Drift is the median round of the last fifth
over that of the second fifth.
"""

import statistics
import threading
from pathlib import Path

from benchmarks.engine_parties import across, memory_mb, parties_of
from benchmarks.rows import Row, at_most

_LOOK_S = 2.0


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns growth of memory by process and drift of the seconds of a round."""
    rounds = 300 if quick else 3000
    with parties_of(3 if quick else 5) as parties:
        plan = parties.plan(False, {"1 MB": rounds})
        with parties.companies(plan) as companies:
            seen: list[dict[str, float]] = []
            over = threading.Event()
            watch = threading.Thread(target=_watch, args=(companies.folder, seen, over))
            watch.start()
            try:
                run_ = across(companies, plan, within_s=1500.0)
            finally:
                over.set()
                watch.join()
            spent = [r["seconds"] for r in run_.folder.rounds() if r.get("query") == "sized-words"]
    fifth = len(spent) // 5
    drift = statistics.median(spent[-fifth:]) / statistics.median(spent[fifth : 2 * fifth])
    rows = [
        Row(f"{rounds:,} rounds of 1 MB, median", statistics.median(spent), "s"),
        at_most(1.1, "last fifth of the rounds over the second fifth", drift),
    ]
    for part in ("coordinator job", "coordinator parent", "north job", "north parent"):
        rows += _growth(part, [each[part] for each in seen if part in each])
    return rows


def _watch(folder: Path, seen: list[dict[str, float]], over: threading.Event) -> None:
    while not over.wait(_LOOK_S):
        seen.append(memory_mb(folder))


def _growth(part: str, sizes: list[float]) -> list[Row]:
    tenth = len(sizes) // 10
    if not tenth:
        return [Row(f"{part}: too few samples", None, "%")]
    half = len(sizes) // 2
    middle, end = statistics.mean(sizes[half : half + tenth]), statistics.mean(sizes[-tenth:])
    return [
        Row(f"{part}, resident at the end", end, "MB"),
        at_most(5.0, f"{part}, growth in the second half", 100 * (end / middle - 1), "%"),
    ]
