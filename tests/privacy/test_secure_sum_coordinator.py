"""The coordinator's side: blocks in any rhythm, restarts, wrong shares, and the sum once more."""

import json
import tracemalloc

import numpy as np
import pytest

from grandtotal.errors import RetailerError, RunError
from grandtotal.privacy import masks
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.messages import Release, signed, text
from grandtotal.privacy.secure_sum_batch import Batch
from grandtotal.privacy.secure_sum_coordinator import Adder, recompute
from local_sums import FIELDS, Sums, as_lists, ask, clear_total, identities, names

FIVE = names(5)


@pytest.fixture
def sums(tmp_path):
    """Five members, of whom one may drop out: t = 4."""
    return Sums(tmp_path / "members", 5)


@pytest.fixture
def slot(sums):
    """One masked slot: setup, ask, summands, headers, masked vectors."""
    setup = sums.set_up()
    asked = ask(0, FIVE)
    return setup, asked, *sums.mask(asked)


def replies_of(sums, adder, releasing=FIVE):
    headers = adder.end()
    return {name: sums.members[name].unmask(0, headers, adder.signatures) for name in releasing}


@pytest.mark.parametrize("block", [8, 24, 1000])
def test_blocks_of_all_members_come_in_any_order_twice_and_late(sums, slot, block):
    setup, asked, summands, headers, masked = slot
    adder = Adder(setup, asked)
    size = len(masked["r00"])
    for start in range(0, size, block):
        for name in sorted(FIVE, reverse=start % 16 == 0):
            content = memoryview(masked[name])[start : start + block]
            adder.add(name, start, content)
            adder.add(name, start, content)
            adder.header(name, headers[name])
            adder.header(name, headers[name])
    assert adder.end() == headers
    adder.add("r00", 0, memoryview(masked["r00"]))
    adder.add("r00", size, memoryview(b""))
    adder.header("r00", headers["r00"])
    total = adder.unmask(replies_of(sums, adder))
    assert as_lists(total) == clear_total(summands.values())
    assert as_lists(adder.unmask({})) == as_lists(total)  # masks come off once


def test_large_blocks_are_hashed_beside_the_addition(tmp_path):
    fields = {"wide": Field((300_000,)), "narrow": Field((1,), modulus=2**32)}
    sums = Sums(tmp_path, 3)
    setup = sums.set_up()
    asked = ask(0, names(3), fields=fields)
    summands, headers, masked = sums.mask(asked)
    total = sums.unmasked(sums.adder(setup, asked, headers, masked), asked)
    expected = sum(np.frombuffer(bytes(s[:2_400_000]), np.uint64) for s in summands.values())
    np.testing.assert_array_equal(total["wide"], expected)


def test_a_member_that_stops_midway_is_withdrawn_or_the_slot_is_lost(sums, slot):
    setup, asked, summands, headers, masked = slot
    adder = Adder(setup, asked)
    for name in FIVE[1:]:
        adder.add(name, 0, memoryview(masked[name]))
        adder.header(name, headers[name])
    adder.add("r00", 0, memoryview(masked["r00"])[:16])
    with pytest.raises(RetailerError, match=r"'r00' sent 16 of .*; withdraw its blocks, or ask"):
        adder.end()
    adder.withdraw("r00", [memoryview(masked["r00"])[:8], memoryview(masked["r00"])[8:16]])
    adder.end()
    total = sums.unmasked(adder, asked)
    assert as_lists(total) == clear_total(summands[name] for name in FIVE[1:])


def test_other_blocks_than_were_sent_cannot_be_withdrawn(slot):
    setup, asked, _, _, masked = slot
    adder = Adder(setup, asked)
    adder.add("r00", 0, memoryview(masked["r00"]))
    with pytest.raises(RunError, match="not those that 'r00' sent"):
        adder.withdraw("r00", [memoryview(masked["r01"])])


def test_a_vector_that_is_not_the_signed_one_is_found_and_withdrawn(sums, slot):
    setup, asked, summands, headers, masked = slot
    masked["r02"][3] ^= 1
    adder = sums.adder(setup, asked, headers, masked)
    with pytest.raises(RetailerError, match="'r02' is not the one that it signed"):
        adder.end()
    assert list(adder.unfinished) == ["r02"]
    adder.withdraw("r02", [memoryview(masked["r02"])])
    total = sums.unmasked(adder, asked)
    assert as_lists(total) == clear_total(summands[n] for n in FIVE if n != "r02")


@pytest.mark.parametrize(
    ("start", "length"), [(8, 8), (0, 1000), (0, 3)], ids=["gap", "too long", "odd"]
)
def test_blocks_that_do_not_follow_are_refused(slot, start, length):
    setup, asked, *_ = slot
    with pytest.raises(RetailerError, match=f"'r00' sent {length:,} bytes from {start} on"):
        Adder(setup, asked).add("r00", start, memoryview(bytes(length)))


def test_whoever_was_not_asked_is_refused(slot):
    setup, asked, _, headers, _ = slot
    adder = Adder(setup, asked)
    with pytest.raises(RetailerError, match="are not among"):
        adder.add("r07", 0, memoryview(bytes(8)))
    with pytest.raises(RetailerError, match="'r00' is not signed with its key"):
        adder.header("r00", headers["r01"])


def test_after_a_restart_the_same_attempt_completes(sums, slot, tmp_path):
    setup, asked, summands, headers, masked = slot
    adder = sums.adder(setup, asked, {n: headers[n] for n in FIVE[1:]}, masked)
    adder.keep(tmp_path)
    del adder
    again = Adder.resume(setup, tmp_path, 0)
    assert again.dropped == ("r00",)
    again.header("r00", headers["r00"])
    again.add("r00", 0, memoryview(masked["r00"]))  # too late
    total = sums.unmasked(again, asked)
    assert as_lists(total) == clear_total(summands[name] for name in FIVE[1:])
    # And once more, had it died before the total was written down.
    once_more = Adder.resume(setup, tmp_path, 0)
    assert as_lists(sums.unmasked(once_more, asked)) == as_lists(total)
    Adder.forget(tmp_path, 0)
    assert not list(tmp_path.glob("slot-*"))


def test_a_kept_sum_that_was_changed_or_is_of_another_version_is_refused(sums, slot, tmp_path):
    setup, asked, _, headers, masked = slot
    sums.adder(setup, asked, headers, masked).keep(tmp_path)
    content = (tmp_path / "slot-0.sum").read_bytes()
    (tmp_path / "slot-0.sum").write_bytes(content[:-1] + b"!")
    with pytest.raises(RunError, match=r"slot-0.json: not the sum of this slot"):
        Adder.resume(setup, tmp_path, 0)
    (tmp_path / "slot-0.sum").write_bytes(content)
    state = json.loads((tmp_path / "slot-0.json").read_bytes())
    (tmp_path / "slot-0.json").write_text(json.dumps({**state, "version": "SA-1 0"}))
    with pytest.raises(RunError, match=r"slot-0.json: written by version 'SA-1 0'"):
        Adder.resume(setup, tmp_path, 0)
    with pytest.raises(RunError, match=r"slot-1.json: the sum of slot 1 cannot be read"):
        Adder.resume(setup, tmp_path, 1)


def forged(sums, reply, name, shares, n):
    """Returns a release that its own member, of n, signed with other shares."""
    found = Release.read(sums.setting, name, reply)
    body = {**found.body, **{k: {m: text(s) for m, s in v.items()} for k, v in shares.items()}}
    return signed(sums.setting, name, identities(n)[name], "release", body)


@pytest.mark.parametrize("secret", ["seeds", "keys"])
def test_a_wrong_share_is_found_and_left_out_where_enough_remain(tmp_path, secret):
    sums = Sums(tmp_path, 7)  # t = 5
    setup = sums.set_up()
    asked = ask(0, names(7))
    summands, headers, masked = sums.mask(asked, names(7)[1:])
    adder = sums.adder(setup, asked, headers, masked)
    for name in names(7)[1:]:
        adder.signed(name, sums.members[name].survivors(0, headers))
    replies = {n: sums.members[n].unmask(0, headers, adder.signatures) for n in names(7)[1:]}
    honest = getattr(Release.read(sums.setting, "r03", replies["r03"]), secret)
    wrong = {name: bytes([share[0], share[1] ^ 1]) + share[2:] for name, share in honest.items()}
    five = {n: replies[n] for n in names(7)[1:6]}
    five["r03"] = replies["r03"] = forged(sums, replies["r03"], "r03", {secret: wrong}, 7)
    with pytest.raises(RetailerError, match="the shares of"):
        adder.unmask(five)
    total = adder.unmask(replies)
    assert as_lists(total) == clear_total(summands.values())


def test_a_release_of_too_little_too_much_or_other_headers_is_refused(sums, slot):
    setup, asked, _, headers, masked = slot
    adder = sums.adder(setup, asked, headers, masked)
    replies = replies_of(sums, adder)
    with pytest.raises(RetailerError, match="3 releases, expected at least 4"):
        adder.unmask({n: replies[n] for n in names(3)})
    seeds = dict(Release.read(sums.setting, "r01", replies["r01"]).seeds)
    fewer = {name: share for name, share in seeds.items() if name != "r00"}
    with pytest.raises(RetailerError, match="'r01' released seeds of"):
        adder.unmask({**replies, "r01": forged(sums, replies["r01"], "r01", {"seeds": fewer}, 5)})
    both = {"keys": {"r00": seeds["r00"]}}
    with pytest.raises(RetailerError, match="both secrets of"):
        adder.unmask({**replies, "r01": forged(sums, replies["r01"], "r01", both, 5)})
    with pytest.raises(RetailerError, match="'r01' is not signed"):
        adder.unmask({**replies, "r01": replies["r00"]})


@pytest.mark.parametrize("missing", [0, 1])
def test_any_retailer_recomputes_the_sum(sums, missing):
    setup = sums.set_up()
    asked = ask(0, FIVE, fields=FIELDS)
    summands, headers, masked = sums.mask(asked, FIVE[missing:])
    adder = sums.adder(setup, asked, headers, masked)
    sums.unmasked(adder, asked)
    transcript = adder.transcript()
    kept = {n: [memoryview(v)[:16], memoryview(v)[16:]] for n, v in masked.items()}
    mine = sums.restart("r04").setup(0)
    assert mine.context == setup.context
    again = recompute(mine, transcript, kept)
    assert as_lists(again) == clear_total(summands.values())


def test_a_recomputation_finds_what_the_coordinator_changed(sums, slot):
    setup, asked, _, headers, masked = slot
    adder = sums.adder(setup, asked, headers, masked)
    adder.unmask(replies_of(sums, adder))
    transcript = json.loads(adder.transcript())
    vectors = {n: [memoryview(bytes(v))] for n, v in masked.items()}

    def changed(**what):
        return recompute(setup, json.dumps({**transcript, **what}).encode(), vectors)

    with pytest.raises(RunError, match="another version or set-up"):
        changed(setup="00" * 32)
    with pytest.raises(RetailerError, match="in another view"):
        changed(ask={**transcript["ask"], "broadcast": "other"})
    with pytest.raises(RetailerError, match="in another view"):
        changed(ask={**transcript["ask"], "active": list(FIVE[:4])})
    fewer = {n: h for n, h in transcript["headers"].items() if n != "r00"}
    with pytest.raises(RetailerError, match=r"\['r00'\] are not among"):
        changed(headers=fewer)
    others = {n: r for n, r in transcript["releases"].items() if n != "r00"}
    with pytest.raises(RetailerError, match="released for other headers"):
        changed(headers=fewer, releases=others)
    vectors["r01"] = vectors["r02"]
    with pytest.raises(RetailerError, match="'r01' is not the one that it signed"):
        changed()


def test_a_batch_names_who_is_missing_or_signed_something_else(sums):
    batch = Batch(sums.setting, 0, 0, 2, FIVE)
    for name in FIVE[1:]:
        batch.advertised(name, sums.members[name].advertise(0, 0, 2))
    with pytest.raises(RetailerError, match=r"\['r00'\] advertised no keys"):
        _ = batch.setup
    batch.advertised("r00", sums.members["r00"].advertise(0, 0, 3))
    with pytest.raises(RetailerError, match="'r01' advertised batch 0 with 2 slots"):
        _ = batch.setup
    with pytest.raises(RetailerError, match="sealed no shares; go on without"):
        batch.relay("r00")
    batch.shared("r00", b"no JSON")
    for name in FIVE[1:]:
        batch.shared(name, b"{}")
    with pytest.raises(RetailerError, match="cannot be read"):
        batch.relay("r01")


def test_the_coordinator_holds_a_sum_a_block_and_chunks_of_masks(tmp_path):
    size = 8 * 2**20
    fields = {"x": Field((size // 8,))}
    sums = Sums(tmp_path, 4)
    setup = sums.set_up()
    asked = ask(0, names(4), fields=fields)
    _, headers, masked = sums.mask(asked, names(4)[1:], {n: bytearray(size) for n in names(4)})
    tracemalloc.start()
    adder = sums.adder(setup, asked, headers, masked)
    total = sums.unmasked(adder, asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not total["x"].any()
    assert peak < 3 * size
    assert size > masks.CHUNK_BYTES * 8
