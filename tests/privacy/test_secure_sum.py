"""The secure sum: totals are exact whoever drops out, and no slot is released in two ways."""

import ast
import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grandtotal.durable import Log, read_log
from grandtotal.errors import AnswerError, Code, PlanError, RunError
from grandtotal.privacy import refusals
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.messages import Header, Release, part
from grandtotal.privacy.protocol import threshold, tolerated
from grandtotal.privacy.secure_sum import Member
from grandtotal.privacy.slots import LOG
from local_sums import (
    FIELDS,
    Sums,
    as_lists,
    ask,
    clear_total,
    identities,
    names,
    roster,
    setting,
    stream,
    summand,
)


@pytest.fixture
def sums(tmp_path):
    """Five members, of whom one may drop out: t = 4."""
    return Sums(tmp_path, 5)


def refused(code, match=None):
    return pytest.raises(AnswerError, match=match, check=lambda error: error.code == code)


# --- totals ---


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10, 22, 50])
def test_totals_are_exact_while_one_after_the_other_drops_out(tmp_path, n):
    sums = Sums(tmp_path, n)
    setup = sums.set_up(slots=2)
    left = names(n)
    dropouts = (0, n - sums.setting.least)
    for slot, missing in enumerate(dropouts if n < 50 else dropouts[1:]):
        asked = ask(slot, left, f"q{slot}")
        left = names(n)[missing:]
        summands, headers, masked = sums.mask(asked, left)
        adder = sums.adder(setup, asked, headers, masked)
        assert as_lists(sums.unmasked(adder, asked)) == clear_total(summands.values())
        assert adder.dropped == names(n)[:missing]
        assert all(masked[name] != summands[name] for name in left)


@pytest.mark.parametrize("n", range(3, 13))
def test_any_number_of_dropouts_adds_up_or_is_refused(tmp_path, n):
    for missing in range(n - 1):
        sums = Sums(tmp_path / str(missing), n)
        setup = sums.set_up(slots=1)
        asked = ask(0, sums.members)
        summands, headers, masked = sums.mask(asked, names(n)[missing:])
        adder = sums.adder(setup, asked, headers, masked)
        if n - missing >= sums.setting.least:
            assert as_lists(sums.unmasked(adder, asked)) == clear_total(summands.values())
        else:
            with refused(Code.TOO_FEW):
                sums.unmasked(adder, asked)
            break


def test_the_threshold_and_the_liars_it_stands():
    assert [threshold(n) for n in (3, 4, 5, 6, 7, 10, 50)] == [3, 3, 4, 5, 5, 7, 34]
    for n in range(3, 51):
        t, c = threshold(n), tolerated(n)
        assert 2 * t > n + c
        assert 2 * t <= n + c + 1  # and not one more
        assert c >= 1
        assert 3 <= t <= n


@pytest.mark.parametrize("n", [2, 51])
def test_a_setting_has_3_to_50_members(n):
    with pytest.raises(PlanError, match=f"{n} members, expected 3 to 50"):
        setting(n)


@pytest.mark.parametrize(
    "fields",
    [
        {"nothing": Field((0,))},
        {"nothing": Field((0,)), "narrow": Field((0,), modulus=2**32)},
        {"narrow": Field((1,), modulus=2**32)},
        {"wide": Field((1,))},
        {"square": Field((7, 7), symmetric=True), "narrow": Field((3,), modulus=2**32)},
        {f"f{i}": Field((i,), modulus=2 ** (32 + 32 * (i % 2))) for i in range(9)},
        {"long": Field((70_001,)), "narrow": Field((40_001,), modulus=2**32)},
    ],
    ids=lambda fields: ",".join(fields)[:20],
)
def test_fields_of_any_length_and_width_add_up(tmp_path, fields):
    sums = Sums(tmp_path, 4)
    setup = sums.set_up()
    for slot, here in enumerate((names(4), names(4)[1:])):
        asked = ask(slot, sums.members, f"q{slot}", fields)
        summands, headers, masked = sums.mask(asked, here)
        adder = sums.adder(setup, asked, headers, masked)
        assert as_lists(sums.unmasked(adder, asked)) == clear_total(summands.values(), fields)


def test_who_drops_out_while_unmasking_is_not_needed_above_the_threshold(tmp_path):
    sums = Sums(tmp_path, 10)
    setup = sums.set_up()
    asked = ask(0, sums.members)
    summands, headers, masked = sums.mask(asked, names(10)[1:])
    adder = sums.adder(setup, asked, headers, masked)
    everybody = adder.end()
    for name in names(10)[2:]:  # 8 sign, t = 7
        adder.signed(name, sums.members[name].survivors(0, everybody))
    replies = {n: sums.members[n].unmask(0, everybody, adder.signatures) for n in names(10)[3:]}
    assert as_lists(adder.unmask(replies)) == clear_total(summands.values())


def test_who_drops_out_during_the_set_up_is_left_out_of_a_new_batch(sums):
    others = names(5)[1:]
    sums.members["r00"].advertise(0, 0, 2)
    for name in others:
        sums.members[name].advertise(0, 0, 2)
    setup = sums.set_up(batch=1, first=2, active=others)
    asked = ask(2, others)
    summands, headers, masked = sums.mask(asked)
    adder = sums.adder(setup, asked, headers, masked)
    assert as_lists(sums.unmasked(adder, asked)) == clear_total(summands.values())
    assert sums.members["r01"].active == others


def test_before_a_release_a_new_attempt_is_free_and_after_a_dropout_smaller(sums):
    setup = sums.set_up()
    sums.mask(ask(0, names(5)), names(5)[1:])  # the coordinator gives up
    asked = ask(1, names(5)[1:])
    summands, headers, masked = sums.mask(asked)
    adder = sums.adder(setup, asked, headers, masked)
    assert as_lists(sums.unmasked(adder, asked)) == clear_total(summands.values())


def test_the_same_entropy_gives_the_same_transcript(tmp_path):
    found = []
    for run in ("one", "two"):
        sums = Sums(tmp_path / run, 4)
        setup = sums.set_up()
        asked = ask(0, sums.members)
        _, headers, masked = sums.mask(asked)
        adder = sums.adder(setup, asked, headers, masked)
        sums.unmasked(adder, asked)
        found.append((adder.transcript(), masked))
    assert found[0] == found[1]


def test_notes_are_shown_to_the_peers_before_anything_rests_on_them(sums):
    seen = []
    sums.members["r00"] = sums.open("r00", witness=lambda notes: seen.append(dict(notes)))
    setup = sums.set_up()
    asked = ask(0, sums.members)
    _, headers, masked = sums.mask(asked)
    sums.unmasked(sums.adder(setup, asked, headers, masked), asked)
    assert seen == [
        {name: b"note " + name.encode() for name in names(5)},
        {name: b"head " + name.encode() for name in names(5)},
    ]


def test_a_witness_that_refuses_a_note_stops_the_release(sums):
    def refuse(notes):
        if b"head r01" in notes.values():
            raise AnswerError(Code.OTHER_VIEW, "an older head")

    sums.members["r00"] = sums.open("r00", witness=refuse)
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, sums.members))
    with refused(Code.OTHER_VIEW, "an older head"):
        sums.members["r00"].unmask(0, headers)
    assert not any(r["step"] == "released" for r in read_log(sums.folder / "r00" / LOG))


# --- nothing but masked words and what is signed leaves ---


def test_masks_of_the_same_summand_in_two_slots_have_nothing_in_common(sums):
    fields = {"x": Field((4096,))}
    sums.set_up()
    summands = {name: summand(1, fields) for name in names(5)}
    _, _, first = sums.mask(ask(0, sums.members, "q", fields), summands=summands)
    _, _, second = sums.mask(ask(1, sums.members, "q", fields), summands=summands)
    for name in names(5):
        words = [np.frombuffer(bytes(m[name]), np.uint64) for m in (first, second)]
        assert len(np.unique(words[0] - words[1])) == 4096
    everybody = np.array([np.frombuffer(bytes(m), np.uint64) for m in first.values()])
    assert len(np.unique(everybody)) == 5 * 4096


def test_views_that_differ_do_not_cancel(sums):
    # One member was given another broadcast: with equal contexts its masks would come off.
    setup = sums.set_up()
    _, headers, _ = sums.mask(ask(0, sums.members), names(5)[1:])
    _, odd, _ = sums.mask(ask(0, sums.members, broadcast="other"), ("r00",))
    with refused(Code.OTHER_VIEW, "in another view"):
        sums.members["r01"].unmask(0, {**headers, **odd})
    assert ask(0, names(5)).context(setup.context) != ask(0, names(5), broadcast="other").context(
        setup.context
    )


def test_every_part_of_the_view_is_in_the_context(sums):
    setup = sums.set_up()
    one = {"x": Field((2,))}
    asks = [
        ask(0, names(5)),
        ask(1, names(5)),
        ask(0, names(4)),
        ask(0, names(5), "p"),
        ask(0, names(5), broadcast="c"),
        ask(0, names(5), fields=one),
        ask(0, names(5), fields={"y": Field((2,))}),
        ask(0, names(5), fields={"x": Field((2,), scale=2)}),
        ask(0, names(5), fields={"x": Field((2,), modulus=2**32)}),
        ask(0, names(5), fields={"x": Field((1, 2))}),
        ask(0, names(5), fields={"x": Field((2,)), "y": Field((0,))}),
    ]
    contexts = {asked.context(setup.context) for asked in asks}
    contexts |= {asks[0].context(bytes(32))}
    assert len(contexts) == len(asks) + 1


def test_every_part_of_the_setting_is_in_its_digest():
    found = setting(5, 1)
    others = [
        replace(found, code="c1"),
        replace(found, run="run 2"),
        replace(found, plan="p1"),
        replace(found, dropouts=0),
        replace(found, roster=roster(5, epoch=2)),
        replace(found, roster=roster(5, consortium="other")),
        setting(4),
    ]
    assert len({one.digest for one in (found, *others)}) == len(others) + 1


# --- refusals: the set-up ---


def test_a_key_that_the_roster_does_not_name_is_refused(tmp_path):
    with refused(Code.NOT_SIGNED, "does not give 'r00' the key"):
        Member("r00", identities(5)["r01"], setting(5), tmp_path)


def advertised(sums, active=None, slots=2):
    return {n: sums.members[n].advertise(0, 0, slots) for n in active or sums.members}


def test_an_advertisement_of_another_key_is_refused(sums):
    messages = advertised(sums)
    with refused(Code.NOT_SIGNED, "'r01' is not signed with its key"):
        sums.members["r00"].share(0, {**messages, "r01": messages["r02"]})


def test_a_list_without_enough_members_is_refused(sums):
    with refused(Code.TOO_FEW, "3 retailers are left, a total needs at least 4"):
        sums.members["r00"].share(0, advertised(sums, names(3)))


def test_a_second_list_for_a_batch_is_refused_and_the_first_is_answered_again(sums):
    messages = advertised(sums)
    reply = sums.members["r00"].share(0, messages)
    with refused(Code.SLOT_USED, "has signed another list"):
        sums.members["r00"].share(0, {n: messages[n] for n in names(4)})
    assert sums.restart("r00").share(0, messages) == reply
    with refused(Code.SLOT_USED, "has signed another list"):
        sums.members["r00"].share(0, {n: messages[n] for n in names(4)})


def test_slots_and_batches_are_numbered_upwards(sums):
    first = sums.members["r00"].advertise(3, 10, 4)
    assert sums.restart("r00").advertise(3, 10, 4) == first
    for batch, slot, slots in ((3, 10, 5), (3, 11, 4), (2, 20, 2), (4, 13, 2)):
        with refused(Code.SLOT_USED):
            sums.members["r00"].advertise(batch, slot, slots)
    with refused(Code.MALFORMED, "a batch of 0 slots"):
        sums.members["r00"].advertise(4, 14, 0)
    assert sums.members["r00"].advertise(4, 14, 1)


def test_shares_sealed_for_another_member_are_refused(sums):
    messages = advertised(sums)
    replies = {n: sums.members[n].share(0, messages) for n in names(5)}
    parts = {peer: part(replies[peer], "r00") for peer in names(5)[1:]}
    with refused(Code.NOT_SIGNED, "not sealed by it for this retailer"):
        sums.members["r00"].receive(0, {**parts, "r01": part(replies["r01"], "r02")})
    with refused(Code.OTHER_VIEW, "signed by"):
        sums.members["r00"].receive(0, {n: parts[n] for n in names(5)[2:]})
    acknowledged = sums.members["r00"].receive(0, parts)
    assert sums.restart("r00").receive(0, parts) == acknowledged


def test_a_slot_is_not_masked_before_its_set_up_is_complete(sums):
    sums.members["r00"].share(0, advertised(sums))
    with refused(Code.MALFORMED, "no batch whose set-up is complete"):
        sums.members["r00"].mask(ask(0, names(5)), memoryview(summand(1)))


# --- refusals: a slot ---


def test_an_attempt_burns_its_slot_and_the_same_is_answered_again(sums):
    sums.set_up()
    asked = ask(0, names(5))
    summands, headers, masked = sums.mask(asked)
    again = memoryview(bytearray(summands["r00"]))
    assert sums.restart("r00").mask(asked, again) == headers["r00"]
    assert bytes(again) == bytes(masked["r00"])
    for other in (ask(0, names(5), "p"), ask(0, names(4)), ask(0, names(5), broadcast="c")):
        with refused(Code.SLOT_USED, "slot 0 was used for another attempt"):
            sums.members["r00"].mask(other, memoryview(bytearray(summands["r00"])))
    with refused(Code.ANSWER_CHANGED, "slot 0 was used for other numbers"):
        sums.members["r00"].mask(asked, memoryview(summand(b"x"[0])))


def test_words_of_another_length_are_refused(sums):
    sums.set_up()
    with refused(Code.FIELDS_DIFFER, "8 bytes of words"):
        sums.members["r00"].mask(ask(0, names(5)), memoryview(bytearray(8)))
    assert len(read_log(sums.folder / "r00" / LOG)) == 4


def test_slots_rise_and_late_questions_open_nothing(sums):
    sums.set_up(slots=3)
    sums.mask(ask(2, names(5)))
    with refused(Code.SLOT_USED, "slot 1 is asked for after slot 2"):
        sums.members["r00"].mask(ask(1, names(5), "p"), memoryview(summand(1)))


def test_a_question_that_was_released_is_not_attempted_again(sums):
    setup = sums.set_up()
    asked = ask(0, names(5))
    _, headers, masked = sums.mask(asked)
    sums.unmasked(sums.adder(setup, asked, headers, masked), asked)
    for active in (names(5), names(4)):
        with refused(Code.RELEASED, "was released in slot 0"):
            sums.restart("r00").mask(ask(1, active), memoryview(summand(1)))


def test_a_new_attempt_ends_the_one_before(sums):
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(5)))
    sums.mask(ask(1, names(5)))
    with refused(Code.SLOT_USED, "attempted again in slot 1"):
        sums.restart("r00").unmask(0, headers)


def test_who_dropped_out_stays_out(sums):
    sums.set_up(slots=3)
    sums.mask(ask(0, names(5)[1:]), summands={n: summand(1) for n in names(5)[1:]})
    with refused(Code.OTHER_MEMBERS, r"\['r00'\] dropped out before"):
        sums.restart("r01").mask(ask(1, names(5), "p"), memoryview(summand(1)))
    messages = {n: sums.members[n].advertise(1, 3, 1) for n in names(5)}
    with refused(Code.OTHER_MEMBERS, r"\['r00'\] dropped out before"):
        sums.members["r01"].share(1, messages)


def test_the_full_path_needs_all_headers(sums):
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(5)))
    with refused(Code.OTHER_VIEW, "without signatures on the set of survivors"):
        sums.members["r00"].unmask(0, {n: headers[n] for n in names(4)})


def test_survivors_below_the_least_are_not_signed(tmp_path):
    sums = Sums(tmp_path, 10, dropouts=1)
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(10)))
    with refused(Code.TOO_FEW, "8 retailers are left, a total needs at least 9"):
        sums.members["r00"].survivors(0, {n: headers[n] for n in names(8)})


def test_a_slot_goes_one_path(tmp_path):
    sums = Sums(tmp_path, 7)
    sums.set_up(slots=3)
    _, headers, _ = sums.mask(ask(0, names(7)))
    six, other = ({n: h for n, h in headers.items() if n != out} for out in ("r05", "r06"))
    signed = sums.members["r00"].survivors(0, six)
    for member in (sums.members["r00"], sums.restart("r00")):
        with refused(Code.RELEASED, "went the path 'survivors'"):
            member.unmask(0, headers)
        with refused(Code.RELEASED, "went the path 'survivors'"):
            member.survivors(0, other)
        assert member.survivors(0, six) == signed

    sums.members["r01"].unmask(0, headers)
    for member in (sums.members["r01"], sums.restart("r01")):
        with refused(Code.RELEASED, "went the path 'full'"):
            member.survivors(0, six)


def test_mask_keys_need_the_threshold_of_signatures_on_the_identical_set(tmp_path):
    sums = Sums(tmp_path, 7)  # t = 5
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(7)))
    six = {n: headers[n] for n in names(6)}
    five = {n: headers[n] for n in names(5)}
    signatures = {n: sums.members[n].survivors(0, six) for n in names(5)[:4]}
    signatures["r04"] = sums.members["r04"].survivors(0, five)
    member = sums.members["r00"]
    with refused(Code.TOO_FEW, "4 signatures"):
        member.unmask(0, six, {n: signatures[n] for n in names(4)})
    with refused(Code.OTHER_VIEW, "'r04' signed another set of survivors"):
        member.unmask(0, six, signatures)
    with refused(Code.NOT_SIGNED, "'r04' is not signed"):
        member.unmask(0, six, {**signatures, "r04": signatures["r03"]})
    with refused(Code.OTHER_MEMBERS, "are not among"):
        member.unmask(0, six, {**signatures, "r06": signatures["r04"]})
    with refused(Code.OTHER_VIEW, "signed no set of survivors"):
        sums.members["r05"].unmask(0, six, signatures)
    del signatures["r04"]
    signatures["r05"] = sums.members["r05"].survivors(0, six)
    released = Release.read(sums.setting, "r00", member.unmask(0, six, signatures))
    assert set(released.seeds) == set(names(6))
    assert set(released.keys) == {"r06"}


def test_headers_of_another_slot_run_or_kind_are_refused(sums, tmp_path):
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(5)))
    _, later, _ = sums.mask(ask(1, names(5), "p"))
    with refused(Code.OTHER_VIEW, "'r01' answered slot 1 in another view"):
        sums.members["r00"].unmask(0, {**headers, "r01": later["r01"]})
    other = Sums(tmp_path / "other", 5, run="run 2")
    other.set_up()
    _, elsewhere, _ = other.mask(ask(0, names(5)))
    with refused(Code.OTHER_PLAN, "of another run"):
        sums.members["r00"].unmask(0, {**headers, "r01": elsewhere["r01"]})
    with refused(Code.MALFORMED, "signed a 'advertisement', expected was a 'header'"):
        sums.members["r00"].unmask(0, {**headers, "r01": sums.members["r01"].advertise(0, 0, 2)})
    with refused(Code.OTHER_VIEW, "own"):
        sums.members["r00"].unmask(0, {n: headers[n] for n in names(5)[1:]})


@pytest.mark.parametrize("content", [b"", b"x" * 63, b"x" * 200, bytes(64) + b"{}"])
def test_what_is_no_message_is_refused(sums, content):
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(5)))
    with refused(Code.NOT_SIGNED):
        sums.members["r00"].unmask(0, {**headers, "r01": content})


def test_every_flipped_byte_of_a_header_is_refused(sums):
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(5)))
    header = headers["r01"]
    for i in range(0, len(header), 5):
        flipped = bytearray(header)
        flipped[i] ^= 1
        with refused(Code.NOT_SIGNED):
            sums.members["r00"].unmask(0, {**headers, "r01": bytes(flipped)})


# --- crashes and disks ---


class Killed(BaseException):
    """What a test raises where a process dies."""


def killed_after(monkeypatch, step):
    """Lets the process die right after the record of a step is on the disk."""
    append = Log.append

    def dying(log, record):
        append(log, record)
        if record["step"] == step:
            raise Killed

    monkeypatch.setattr(Log, "append", dying)


@pytest.mark.parametrize("step", ["advertised", "listed", "received", "masked", "released"])
def test_killed_between_record_and_reply_the_same_request_has_the_same_reply(
    tmp_path, monkeypatch, step
):
    def run(folder, dying):
        sums = Sums(folder, 4)
        entropy = stream("r00")
        sums.members["r00"] = sums.open("r00", entropy=entropy)

        def call(do):
            if not dying:
                return do(sums.members["r00"])
            with monkeypatch.context() as patch:
                killed_after(patch, step)
                try:
                    return do(sums.members["r00"])
                except Killed:
                    pass
            # As after kill -9: nothing but the folder; what is drawn again would be different.
            sums.members["r00"] = sums.open("r00", entropy=entropy)
            return do(sums.members["r00"])

        own = [call(lambda m: m.advertise(0, 0, 1))]
        messages = {"r00": own[0], **{n: sums.members[n].advertise(0, 0, 1) for n in names(4)[1:]}}
        shared = {n: sums.members[n].share(0, messages) for n in names(4)[1:]}
        own.append(call(lambda m: m.share(0, messages)))
        shared["r00"] = own[-1]
        parts = {m: {n: part(shared[n], m) for n in names(4) if n != m} for m in names(4)}
        own.append(call(lambda m: m.receive(0, parts["r00"])))
        for n in names(4)[1:]:
            sums.members[n].receive(0, parts[n])
        asked = ask(0, names(4))
        _, headers, _ = sums.mask(asked, names(4)[1:])
        own.append(call(lambda m: m.mask(asked, memoryview(summand(7)))))
        headers["r00"] = own[-1]
        own.append(call(lambda m: m.unmask(0, headers)))
        return own

    assert run(tmp_path / "killed", True) == run(tmp_path / "whole", False)


def test_killed_after_signing_survivors_the_set_stays_the_same(tmp_path, monkeypatch):
    sums = Sums(tmp_path, 7)
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(7)))
    six = {n: headers[n] for n in names(6)}
    with monkeypatch.context() as patch:
        killed_after(patch, "survivors")
        with pytest.raises(Killed):
            sums.members["r00"].survivors(0, six)
    with refused(Code.RELEASED):
        sums.restart("r00").unmask(0, headers)
    with refused(Code.RELEASED):
        sums.members["r00"].survivors(0, {n: headers[n] for n in names(5)})
    assert sums.members["r00"].survivors(0, six)


def test_a_full_disk_at_the_release_record_releases_nothing(sums, monkeypatch):
    sums.set_up()
    _, headers, _ = sums.mask(ask(0, names(5)))
    six = {n: headers[n] for n in names(4)}
    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match="disk full"):
            sums.members["r00"].unmask(0, headers)
    # Nothing was said, so the other path is still open.
    assert sums.restart("r00").survivors(0, six)


def test_secrets_of_a_closed_slot_are_gone_from_the_disk(sums):
    sums.set_up()
    folder = sums.folder / "r00"
    (secrets,) = folder.glob("*.secrets")
    assert secrets.stat().st_mode & 0o777 == 0o600
    before = secrets.read_bytes()
    half = 32 + (len(before) - 32) // 2
    assert not any(before[:32])  # what opened the peers' shares
    _, headers, _ = sums.mask(ask(0, names(5)))
    sums.members["r00"].close(0)
    sums.members["r00"].close(0)
    assert not any(secrets.read_bytes()[:half])
    assert secrets.read_bytes()[half:] == before[half:]
    with refused(Code.SLOT_USED, "slot 0 is closed"):
        sums.restart("r00").unmask(0, headers)
    with refused(Code.SLOT_USED, "slot 0 is closed"):
        sums.members["r00"].mask(ask(0, names(5)), memoryview(summand(1)))
    sums.members["r00"].close(1)
    assert sorted(path.name for path in folder.iterdir()) == [LOG]
    with refused(Code.SLOT_USED, "slot 1 is closed"):
        sums.members["r00"].mask(ask(1, names(5)), memoryview(summand(1)))


def test_slots_of_several_batches_are_closed_at_once_used_or_not(sums):
    sums.set_up(0, 0, 3)
    sums.set_up(1, 3, 2)
    sums.members["r00"].close(1, 2, 3, 4)
    folder = sums.folder / "r00"
    assert [path.name for path in folder.glob("*.secrets")] == ["batch-0.secrets"]
    assert sums.members["r00"].mask(ask(0, names(5)), memoryview(summand(1)))
    with refused(Code.SLOT_USED, "slot 1 is closed"):
        sums.members["r00"].mask(ask(1, names(5)), memoryview(summand(1)))


def test_a_set_up_of_64_slots_is_two_files_and_a_line_for_each_step(tmp_path):
    sums = Sums(tmp_path, 3)
    sums.set_up(slots=64)
    folder = sums.folder / "r00"
    assert sorted(p.name for p in folder.iterdir()) == ["batch-0.json", "batch-0.secrets", LOG]
    assert [r["step"] for r in read_log(folder / LOG)] == [
        "setting",
        "advertised",
        "listed",
        "received",
    ]


def test_a_log_of_another_version_or_run_is_refused_by_name(sums):
    path = sums.folder / "r00" / LOG
    with pytest.raises(RunError, match=rf"{LOG}: the secure sums of another run") as error:
        Member("r00", sums.keys["r00"], setting(5, run="run 2"), sums.folder / "r00")
    assert str(path) in str(error.value)
    path.unlink()
    Log(path).append({"step": "setting", "version": "SA-1 0", "setting": "", "name": "r00"})
    with pytest.raises(RunError, match=rf"{LOG}: written by version 'SA-1 0'"):
        sums.restart("r00")


def test_a_damaged_line_of_the_log_stops_everything_a_torn_end_does_not(sums):
    sums.set_up()
    sums.mask(ask(0, names(5)))
    path = sums.folder / "r00" / LOG
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    assert sums.restart("r00").mask(ask(0, names(5)), memoryview(summand(1)))
    for line in range(content.count(b"\n")):
        lines = content.splitlines(keepends=True)
        lines[line] = lines[line].replace(b'"', b"'", 1)
        path.write_bytes(b"".join(lines))
        with pytest.raises(RunError, match=f"line {line + 1} is damaged"):
            sums.restart("r00")


def test_a_changed_list_of_keys_is_refused_by_name(sums):
    sums.set_up()
    path = sums.folder / "r00" / "batch-0.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "advertisements": {}}))
    with pytest.raises(RunError, match=r"batch-0.json: not the list"):
        sums.restart("r00").mask(ask(0, names(5)), memoryview(summand(1)))


def test_every_check_is_called_by_name():

    import grandtotal.privacy as room

    checks = {
        n
        for n, f in inspect.getmembers(refusals, inspect.isfunction)
        if f.__module__ == refusals.__name__
    }
    called = set()
    for path in Path(room.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "refusals":
                called.add(node.attr)
    assert checks == called


def test_headers_and_releases_are_what_the_members_signed(sums):
    setup = sums.set_up()
    asked = ask(0, names(5), fields=FIELDS)
    _, headers, _ = sums.mask(asked)
    header = Header.read(sums.setting, "r03", headers["r03"])
    assert (header.slot, header.context) == (0, asked.context(setup.context))
    release = Release.read(sums.setting, "r00", sums.members["r00"].unmask(0, headers))
    assert set(release.seeds) == set(names(5))
    assert release.keys == {}
