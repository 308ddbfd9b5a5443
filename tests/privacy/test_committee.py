"""The second backend: its totals are those of the first, and no aggregator publishes alone."""

import numpy as np
import pytest

from grandtotal.errors import RefusedError
from grandtotal.privacy.committee import Aggregator, Share, deal, total
from grandtotal.privacy.fixedpoint import Field
from local_sums import FIELDS, Sums, as_lists, ask, clear_total, identities, names, stream, summand

CONTEXT = bytes(range(32))


def committee(m=3, fields=FIELDS, least=3):
    keys = identities(m)
    public = {name: key.public for name, key in keys.items()}
    return [Aggregator(n, key, public, fields, CONTEXT, least) for n, key in keys.items()]


def dealt(aggregators, summands, fields=FIELDS):
    for name, words in summands.items():
        shares = deal(bytearray(words), fields, CONTEXT, len(aggregators), stream(name))
        for aggregator, share in zip(aggregators, shares, strict=True):
            aggregator.take(name, share)


def published(aggregators, retailers, fields=FIELDS):
    signatures = {a.name: a.agree(retailers) for a in aggregators}
    sums = {a.name: a.publish(retailers, signatures) for a in aggregators}
    return total(sums, [a.name for a in aggregators], fields)


@pytest.mark.parametrize("m", [3, 4, 7])
@pytest.mark.parametrize("n", [3, 10])
def test_totals_are_those_of_the_other_backend(tmp_path, m, n):
    sums = Sums(tmp_path, n)
    setup = sums.set_up()
    asked = ask(0, sums.members)
    summands, headers, masked = sums.mask(asked)
    expected = as_lists(sums.unmasked(sums.adder(setup, asked, headers, masked), asked))
    aggregators = committee(m)
    dealt(aggregators, summands)
    assert as_lists(published(aggregators, names(n))) == expected


@pytest.mark.parametrize(
    "fields", [{}, {"nothing": Field((0,))}, {"x": Field((3,), modulus=2**32)}]
)
def test_fields_of_any_length_add_up(fields):
    aggregators = committee(fields=fields)
    summands = {name: summand(i, fields) for i, name in enumerate(names(4))}
    dealt(aggregators, summands, fields)
    assert as_lists(published(aggregators, names(4), fields)) == clear_total(
        summands.values(), fields
    )


def test_who_is_missing_at_one_aggregator_is_left_out_by_all():
    aggregators = committee()
    summands = {name: summand(i) for i, name in enumerate(names(5))}
    dealt(aggregators, {n: summands[n] for n in names(4)})
    dealt(aggregators[:2], {}, {})
    aggregators[0].take("r04", Share(seed=bytes(32)))
    with pytest.raises(RefusedError, match=r"'r01' has no share of \['r04'\]"):
        aggregators[1].agree(names(5))
    everywhere = tuple(sorted(set.intersection(*(set(a.holds) for a in aggregators))))
    assert everywhere == names(4)
    assert as_lists(published(aggregators, everywhere)) == clear_total(
        summands[n] for n in names(4)
    )


def test_no_sum_is_published_before_all_signed_the_identical_set():
    aggregators = committee()
    dealt(aggregators, {name: summand(i) for i, name in enumerate(names(4))})
    signatures = {a.name: a.agree(names(4)) for a in aggregators[:2]}
    with pytest.raises(RefusedError, match="not signed by the aggregator 'r02'"):
        aggregators[0].publish(names(4), signatures)
    with pytest.raises(RefusedError, match="'r02' has not signed this set"):
        aggregators[2].publish(names(4), signatures)
    signatures["r02"] = aggregators[2].agree(names(3))
    with pytest.raises(RefusedError, match="not signed by the aggregator 'r02'"):
        aggregators[0].publish(names(4), signatures)
    with pytest.raises(RefusedError, match="has signed another set"):
        aggregators[0].agree(names(3))


def test_a_late_or_second_share_changes_nothing():
    aggregators = committee()
    summands = {name: summand(i) for i, name in enumerate(names(4))}
    dealt(aggregators, {n: summands[n] for n in names(3)})
    aggregators[0].take("r00", Share(seed=bytes(32)))
    signatures = {a.name: a.agree(names(3)) for a in aggregators}
    dealt(aggregators, {"r03": summands["r03"]})
    assert aggregators[0].holds == names(3)
    sums = {a.name: a.publish(names(3), signatures) for a in aggregators}
    found = total(sums, names(3), FIELDS)
    with pytest.raises(RefusedError, match=r"sums of \['r00', 'r01'\], expected those of"):
        total({name: sums[name] for name in names(2)}, names(3), FIELDS)
    assert as_lists(found) == clear_total(summands[n] for n in names(3))


def test_all_shares_but_one_are_independent_of_the_words():
    fields = {"x": Field((4096,))}
    size = fields["x"].bytes
    low, high = (
        deal(bytearray(content), fields, CONTEXT, 3, stream("same"))
        for content in (bytes(size), b"\xff" * size)
    )
    assert low[:2] == high[:2]
    assert low[2].digest != high[2].digest
    assert len(np.unique(np.frombuffer(low[2].words, np.uint64))) == 4096


def test_a_share_of_another_context_does_not_add_up():
    aggregators = committee()
    summands = {name: summand(i) for i, name in enumerate(names(3))}
    dealt(aggregators, {n: summands[n] for n in names(2)})
    for aggregator, share in zip(
        aggregators, deal(bytearray(summands["r02"]), FIELDS, bytes(32), 3, stream(1)), strict=True
    ):
        aggregator.take("r02", share)
    assert as_lists(published(aggregators, names(3))) != clear_total(summands.values())


@pytest.mark.parametrize("m", [1, 2])
def test_fewer_than_three_aggregators_are_refused(m):
    with pytest.raises(RefusedError, match=f"{m} aggregators, expected"):
        deal(summand(1), FIELDS, CONTEXT, m)
    with pytest.raises(RefusedError, match=f"{m} aggregators, expected"):
        committee(m)


def test_fewer_than_three_retailers_and_shares_of_another_length_are_refused():
    aggregators = committee(least=1)
    dealt(aggregators, {name: summand(i) for i, name in enumerate(names(2))})
    with pytest.raises(RefusedError, match="at least 3 retailers"):
        aggregators[0].agree(names(2))
    with pytest.raises(RefusedError, match="8 bytes of words"):
        aggregators[0].take("r03", Share(words=bytes(8)))
    with pytest.raises(RefusedError, match="a seed of 3 bytes"):
        aggregators[0].take("r03", Share(seed=b"abc"))
    with pytest.raises(RefusedError, match="8 bytes of words"):
        deal(bytearray(8), FIELDS, CONTEXT, 3)
    with pytest.raises(RefusedError, match="7 bytes of words"):
        total({"r00": bytes(7)}, ["r00"], FIELDS)
