"""How a recommender is chosen: what is fitted how often, and what is delivered of it."""

from dataclasses import dataclass, field, replace

import pytest

from grandtotal.algorithms.item_similarity import ItemKNN
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks import recommend_choice
from grandtotal.tasks.personal import LEAST


@dataclass(frozen=True)
class Noted:
    """A candidate that notes when it is fitted."""

    candidate: object
    notes: list = field(default_factory=list)

    def fit(self, totals, products, split):
        self.notes.append(split)
        return self.candidate.fit(totals, products, split)


GRIDS = (
    (Popularity(), Popularity(28)),
    (ItemKNN(), ItemKNN(30.0)),
    (Transitions(shrink=3.0),),
)


@pytest.fixture(scope="module", params=[False, True], ids=["new", "basket"])
def task(request, recommend):
    return replace(recommend, repeat=request.param)


@pytest.fixture(scope="module")
def rows(task, frames):
    return task.pooled([task.rows(found) for found in frames.values()])


@pytest.mark.parametrize("blended", [False, True])
def test_each_candidate_is_fitted_once_and_what_is_chosen_once_more(task, rows, blended):
    grids = [[Noted(candidate) for candidate in grid] for grid in GRIDS]
    if blended:
        found = task.choose_and_blend(Local(rows), grids)
    else:
        found = task.choose(Local(rows), [one for grid in grids for one in grid])
    notes = [one.notes for grid in grids for one in grid]
    assert all(note[0] == "validation" and note[1:] in ([], ["test"]) for note in notes)
    parts = found.model.meta.get("parts", [found.model.meta])
    assert sum(len(note) == 2 for note in notes) == len(parts)


def test_what_comes_with_a_model_is_the_choice_before_the_validation(task, rows):
    found = task.choose_and_blend(Local(rows), GRIDS)
    earlier = {**rows, "test": rows["validation"]}
    again = recommend_choice.choose_and_blend(task.listing, Local(earlier), GRIDS)
    assert found.choice["tried"] == again.choice["tried"]
    assert arrays_digest(found.before.arrays) == arrays_digest(again.model.arrays)


def test_where_nobody_can_keep_a_layer_no_earlier_model_is_delivered(task, rows):
    held = rows["validation"]
    scored = (held.history.sum(axis=1) > 0) & (held.future.sum(axis=1) > 0)
    assert scored.sum() > LEAST
    few = {**rows, "validation": held.of(scored.nonzero()[0][: LEAST - 1])}
    enough = {**rows, "validation": held.of(scored.nonzero()[0][:LEAST])}
    for given, known in ((few, False), (enough, True)):
        found = task.choose(Local(given), GRIDS[0])
        assert (found.before is not None) == known
        earlier = {name for name in found.delivered if name not in found.model.arrays}
        assert bool(earlier) == known
        assert not task.layer(found.model, found.model, few).arrays
