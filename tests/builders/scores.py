"""The query for the scores of the test."""

from pathlib import Path

import numpy as np

from builders.asked import TASK, Asked, Holder
from grandtotal.tasks.scores import ROWS, Metric, TestScores, UnitScores, save_scores


def _of_scores(rng: np.random.Generator, folder: Path) -> Asked:
    metrics = (Metric("recall", True, "share found"), Metric("rmse", False, "error", root=True))

    def kept(name: str, scores: dict[str, UnitScores]) -> Holder:
        for row, found in scores.items():
            save_scores(folder / name, TASK, row, found)
        return Holder({}, folder / name)

    parts = [
        {
            row: UnitScores.of(
                metrics,
                list(rng.random((2, units))),
                list(rng.random((2, units))),
                rng.integers(0, 9, 5),
            )
            for row in ROWS
        }
        for units in (4, 9, 1)
    ]
    pooled = {row: UnitScores.joined([part[row] for part in parts]) for row in ROWS}
    holders = [kept(str(number), part) for number, part in enumerate(parts)]
    return Asked(TestScores(TASK, len(metrics), 5), {}, holders, kept("pooled", pooled))


BUILDERS = {
    "test-scores": _of_scores,
}
