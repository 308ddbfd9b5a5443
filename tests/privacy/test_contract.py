"""The contract of bounds, over all installed queries: one unit moves no summand beyond its bound.

Cases are in tests/privacy/cases, see conftest.py. Distances are those of the words on the wire:
integers, all fields together, as egress encodes them.
"""

import inspect
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import grandtotal.algorithms.columns as columns
import grandtotal.privacy.clipping as clipping
from grandtotal.consortium.query import installed
from grandtotal.privacy.bound import Bound, NoCustomers
from grandtotal.privacy.fixedpoint import Field, encode

# No private form: without a bound, a plan with epsilon that asks them is refused.
TREES = {"tree-histograms", "tree-progress", "tree-residuals", "tree-target"}
# Asked only where there is a choice between candidates of which one has no private form.
CHOICES = {"outcome-scores"}
VALUE = {"likelihood-sums", "season-sums", "spend-correlation", "value-scores"}
SEGMENTS = {"mixture-sums", "segment-scores"}
PRICE = {f"price-{what}" for what in ("moments", "scores", "nuisance", "residuals")}
# Every customer is in every series: no clipping leaves anything of a day's total and its score.
SHIFT = {"behaviour-sums", "loyal-sums", "shift-scores"}
FACTORS = {"als-moments", "als-products"}
# What one customer changes in weights after many steps at home is not known to anybody.
NETWORKS = {"network-records", "network-scores", "network-updates"}
RATINGS = {f"rating-{what}" for what in ("counts", "moments", "classes", "errors")}
# Under epsilon a habit is two numbers that are known beforehand, and each retailer's own at home.
HABITS = {"rebuy-counts"}
UNBOUND = NETWORKS | TREES | RATINGS | FACTORS | CHOICES | VALUE | SEGMENTS | PRICE | SHIFT | HABITS
CLIPPED = {"price-pairs", "tree-leaves"}  # under epsilon, instead of the exact moments


def words(query, broadcast, rows, folder):
    """Returns what would leave before noise, each field as signed integers."""
    with warnings.catch_warnings():
        # A customer's 1e100 units may overflow on the way; the bound has to hold all the same.
        warnings.simplefilter("ignore", RuntimeWarning)
        answer = query.answer(rows, SimpleNamespace(folder=folder), broadcast)
    fields = query.fields(broadcast)
    assert answer.keys() == fields.keys()
    for name, field in fields.items():
        value = np.asarray(answer[name])
        assert value.dtype.kind in "iu", f"{name} is rounded after it was added"
        found = encode(name, value, field, retailers=3)
        yield found.view("<i4" if field.modulus == 2**32 else "<i8").astype(np.int64)


def moved(query, broadcast, before, after, folder):
    """Returns the squared distance of two summands, in Python's integers."""
    sides = [
        words(query, broadcast, rows, folder / side)
        for side, rows in (("before", before), ("after", after))
    ]
    apart = (one - other for one, other in zip(*sides, strict=True))
    return sum(int(step) ** 2 for steps in apart for step in steps[steps != 0])


def check(case, folder, examples, phases=tuple(Phase), share=1.0):
    """Raises AssertionError if a neighbour is farther away than `share` of the bound."""

    @settings(max_examples=examples, phases=phases)
    @given(st.data())
    def holds(data):
        query, broadcast, before, after = case(data.draw, folder)
        if isinstance(query.bound, NoCustomers):
            limit = 0.0
        else:
            assert isinstance(query.bound, Bound)
            limit = (share * query.bound.norm) ** 2
        # Norms are float64: as many digits as they have.
        assert moved(query, broadcast, before, after, folder) <= limit * (1 + 1e-12)

    holds()


def caught(case, folder, examples=240, share=1.0):
    """Raises unless the contract finds the case out."""
    with pytest.raises(AssertionError):
        check(case, folder, examples, (Phase.generate,), share)


def test_every_query_has_a_case(covered):
    for name in UNBOUND:
        assert inspect.getattr_static(installed("queries")[name], "bound") is None
    assert set(installed("queries")) - UNBOUND == covered


def test_one_unit_moves_no_summand_beyond_its_bound(case, tmp_path):
    check(case, tmp_path, 30 if "of_a_customer" in case.__qualname__ else 80)


def test_an_exact_query_promises_nothing_about_customers(asked):
    bound = asked.query.bound
    if asked.query.name in CLIPPED:
        assert isinstance(bound, Bound)
        return
    assert bound is None or (isinstance(bound, NoCustomers) and bound.reason)


# --- the contract finds out who breaks it ---


@pytest.fixture
def unclipped(monkeypatch):
    """Takes every limit away: contributions are rounded and added as they are."""

    def rounded(steps, _norm):
        limited = np.clip(np.nan_to_num(np.asarray(steps, np.float64)), -1e15, 1e15)
        return np.rint(limited).astype(np.int64)

    monkeypatch.setattr(clipping, "clip", rounded)
    monkeypatch.setattr(clipping, "clip_sparse", lambda steps, _: rounded(steps.toarray(), _))
    monkeypatch.setattr(clipping, "checked_sum", lambda whole, _: whole.sum(axis=0))
    monkeypatch.setattr(clipping, "equal_steps", lambda entries, norm: (entries > 0) * int(norm))
    monkeypatch.setattr(columns, "latest", lambda units, _: np.ones(len(units), bool))


@pytest.mark.usefixtures("unclipped")
def test_a_query_that_does_not_clip_is_found_out(case, tmp_path):
    # In these there is nothing to clip: no score is above 1.
    if case.__qualname__ not in {"presence", "ranking_scores", "blend_scores"}:
        caught(case, tmp_path)


def test_a_query_that_declares_half_of_its_bound_is_found_out(case, tmp_path):
    # A customer's few products seldom all move in one direction, which is what the bound allows.
    if not {"presence", "of_a_customer"} & set(case.__qualname__.split(".")):
        caught(case, tmp_path, share=0.5)


def test_a_contribution_is_checked_even_where_clipping_fails(monkeypatch):
    monkeypatch.setattr(clipping, "clip", lambda steps, _: np.rint(steps).astype(np.int64))
    with pytest.raises(clipping.AnswerError, match="nothing is released"):
        clipping.sum_of_clipped(np.array([[3.0, 4.0]]), 4.9)


@dataclass(frozen=True)
class Vectors:
    """Sums (units, 40) clipped to a norm of 3 steps; `wrong` says how it breaks its word."""

    name: ClassVar[str] = "vectors"

    wrong: str = ""

    @property
    def bound(self):
        return Bound(clipping.changed(3.0) / (2 if self.wrong == "half" else 1))

    def fields(self, broadcast):  # noqa: ARG002
        return {"sum": Field((40,))}

    def answer(self, rows, state, broadcast):  # noqa: ARG002
        units = rows["units"]
        if self.wrong == "unclipped":
            return {"sum": np.rint(units).astype(np.int64).sum(axis=0)}
        if self.wrong == "late":
            length = np.linalg.norm(units, axis=1, keepdims=True)
            scaled = units * np.minimum(1.0, 3.0 / np.maximum(length, 3.0))
            return {"sum": np.rint(scaled.sum(axis=0)).astype(np.int64)}
        return {"sum": clipping.checked_sum(clipping.clip(units, 3.0), 3.0)}


def vectors(wrong):
    def case(draw, folder):  # noqa: ARG001
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        others = rng.normal(size=(3, 40)) * draw(st.sampled_from([0.1, 1.0]))
        # Nine entries of 1 step are as long as the bound, forty are cut below a step each.
        entries, sizes = draw(st.sampled_from([9, 40])), st.sampled_from([0.0, 0.4, 1.0, -1.0, 1e6])
        own = [(np.arange(40) < entries)[None] * draw(sizes) for _ in range(2)]
        sides = [{"units": np.concatenate([others, each])} for each in own]
        return Vectors(wrong), {}, *sides

    return case


def test_a_query_that_keeps_its_word_is_not_found_out(tmp_path):
    check(vectors(""), tmp_path, 300)


@pytest.mark.parametrize("wrong", ["unclipped", "late", "half"])
def test_a_query_that_breaks_its_word_is_found_out(wrong, tmp_path):
    caught(vectors(wrong), tmp_path, 300)
