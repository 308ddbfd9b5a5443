"""The one contract of every model that a plan can name: fit, score, predict, save, load, resume."""

from dataclasses import replace

import numpy as np
import pytest

from builders.asked import TASK
from conftest import PLAN
from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.content import Hybrid
from grandtotal.algorithms.item_model import Request
from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.algorithms.sequential import Sequential
from grandtotal.algorithms.towers import Towers
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.ranking import RankingScores
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.wishes import NO_WISHES

NETWORKS = ("gru", "sasrec", "two-tower")
SMALL = {
    "als": ALS(8, epochs=2, steps=2),
    "hybrid": Hybrid(factors=8, epochs=2),
    **{kind: Sequential(kind, length=5, width=4, rounds=1, epochs=1) for kind in NETWORKS[:2]},
    "two-tower": Towers(width=4, rounds=1, epochs=1),
}


@pytest.fixture(params=sorted(GRIDS))
def task(request, recommend, monkeypatch):
    kind = request.param
    few = {**GRIDS, kind: (SMALL.get(kind, GRIDS[kind][0]),)}
    monkeypatch.setattr("grandtotal.tasks.recommend_models.GRIDS", few)
    return replace(recommend, models=(kind,))


def test_every_model_keeps_the_contract(task, frames, federate, tmp_path):
    parts = {name: task.rows(tables) for name, tables in frames.items()}
    federation = federate(list(parts.values()))
    model = task.fit(federation.totals).model
    pooled = task.pooled(list(parts.values()))
    if task.models[0] not in NETWORKS:  # a mean of networks is not the network of all rows
        assert arrays_digest(task.fit(Local(pooled)).model.arrays) == arrays_digest(model.arrays)
    # Scores are totals: of the retailers they are those of the pooled rows.
    query = RankingScores(task.products, task.top, "test")
    for total in (federation.totals.total, Local(pooled).total):
        scores = total(query, model.arrays)
        assert scores["customers"] == sum(
            task.score(model, rows, "test").units for rows in parts.values()
        )
    save_arrays(tmp_path / "model.safetensors", model.arrays, {"model": model.meta})
    arrays, meta = load_arrays(tmp_path / "model.safetensors")
    loaded = task.build(arrays, meta["model"])
    assert arrays_digest(loaded.arrays) == arrays_digest(model.arrays)
    here = parts["west"], frames["west"]
    assert task.predict(loaded, *here, 5).equals(task.predict(model, *here, 5))
    session = task.serving(loaded, *here, NO_WISHES).session(["P01", "P07"], 5)
    assert len(session) == 5
    assert model.predict(Request((0, 6), 5)) == loaded.predict(Request((0, 6), 5))
    # Resumed: the totals that exist are read instead of asked for.
    members, transport = tuple(federation.held), federation.transport
    again = Consortium(members, transport, federation.folder / "coordinator")
    again.open(PLAN)
    sent = len(federation.transport.sent)
    assert arrays_digest(task.fit(again.of(TASK)).model.arrays) == arrays_digest(model.arrays)
    assert len(federation.transport.sent) == sent


def test_scores_do_not_depend_on_who_else_is_asked(task, frames):
    rows = task.rows(frames["north"])
    model = task.fit(Local(rows)).model
    history = rows["now"].history
    whole = model.affinities(history)
    apart = np.concatenate([model.affinities(history[[i]]) for i in range(30)])
    assert np.array_equal(whole[:30], apart)
