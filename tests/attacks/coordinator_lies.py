"""A coordinator that lies to the retailers: it relays, so it may relay anything to anybody."""

import hashlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from attacks.attack import attack
from grandtotal.privacy.identity import Identity, Roster
from grandtotal.privacy.masks import add_masks, pair_mask, self_mask, spans
from grandtotal.privacy.messages import Header, Release, part
from grandtotal.privacy.secure_sum import Member, unwitnessed
from grandtotal.privacy.shamir import combine
from grandtotal.privacy.slots import Slots
from local_sums import Sums, ask, names, stream, summand

CHECKS = "grandtotal.privacy.refusals."
VICTIM = "r00"
OTHERS = names(5)[1:]


# --- what a coordinator can do with what it has ---


class Impostor(Member):
    """A member made by the coordinator: it trusts the roster that the coordinator made."""

    def __init__(self, name, identity, setting, folder):
        self.name = name
        self._identity, self._setting, self._entropy = identity, setting, stream(name)
        self._witness = unwitnessed
        self._slots = Slots(folder, setting, name)
        self._setup = lru_cache(self._read_setup)


def impostors(folder, setting):
    """Returns members under the names of all but the victim, with keys of the coordinator's own."""
    keys = {name: Identity(hashlib.sha256(b"mine" + name.encode()).digest()) for name in OTHERS}
    public = {VICTIM: setting.roster.members[VICTIM], **{n: k.public for n, k in keys.items()}}
    believed = replace(setting, roster=replace(setting.roster, members=public))
    # What they sign says that it belongs to the victim's setting.
    believed.__dict__["digest"] = setting.digest
    return {
        name: Impostor(name, key, believed, folder / f"my {name}") for name, key in keys.items()
    }


def unmasked(masked, asked, setup, seed, private):
    """Returns the victim's summand: its masked words without the masks of its two secrets."""
    context = asked.context(setup.context)
    words = np.frombuffer(bytearray(masked), np.uint8)
    masks = [self_mask(seed, context, VICTIM)]
    masks += [
        pair_mask(private, setup.key(peer, asked.slot), context, VICTIM, peer)
        for peer in asked.active
        if peer != VICTIM
    ]
    add_masks(words, spans(asked.fields), [mask.taken_off() for mask in masks])
    return words.tobytes()


def recombined(shares, setting):
    """Returns a secret from the shares of these members."""
    order = setting.members
    return combine({order.index(n) + 1: share for n, share in shares.items()}, setting.threshold)


def read_from(fakes, victim):
    """Sets up and asks the victim among members of the coordinator; returns whether it was read."""
    everybody = {VICTIM: victim, **fakes}
    shown = {name: member.advertise(0, 0, 1) for name, member in everybody.items()}
    replies = {name: member.share(0, shown) for name, member in everybody.items()}
    for name, member in everybody.items():
        member.receive(0, {p: part(replies[p], name) for p in everybody if p != name})
    asked = ask(0, everybody)
    clear = bytes(summand(7))
    masked = bytearray(clear)
    victim.mask(asked, memoryview(masked))
    held = {name: fake._slots.secrets(0, 0) for name, fake in fakes.items()}
    setting = victim._setting
    seed = recombined({n: s.seeds[VICTIM] for n, s in held.items()}, setting)
    private = recombined({n: s.keys[VICTIM] for n, s in held.items()}, setting)
    return unmasked(masked, asked, fakes["r01"].setup(0), seed, private) == clear


def released(sums, name, *arguments):
    return Release.read(sums.setting, name, sums.members[name].unmask(*arguments))


# --- the set-up ---


@attack("coordinator", CHECKS + "foreign_signature", "the victim's summand")
def it_swaps_the_keys_of_all_others_for_its_own(folder: Path) -> bool:
    sums = Sums(folder / "honest", 5)
    fakes = impostors(folder, sums.setting)
    return read_from(fakes, sums.members[VICTIM])


@attack("coordinator", "grandtotal.privacy.secure_sum.refuse_unsigned", "the victim's summand")
def it_enrols_the_victim_among_members_that_it_made_up(folder: Path) -> bool:
    """A roster of sybils, signed by all of them; the victim's own signature is missing."""
    keys = {name: Identity(hashlib.sha256(b"mine" + name.encode()).digest()) for name in OTHERS}
    real = Sums(folder / "honest", 5)
    public = {VICTIM: real.keys[VICTIM].public, **{n: k.public for n, k in keys.items()}}
    sybils = Roster("test", 1, public, real.setting.roster.valid_until)
    for name, key in keys.items():
        sybils = sybils.signed(name, key)
    setting = replace(real.setting, roster=sybils)
    victim = Member(VICTIM, real.keys[VICTIM], setting, folder / "victim", stream("victim"))
    fakes = {n: Impostor(n, key, setting, folder / f"my {n}") for n, key in keys.items()}
    return read_from(fakes, victim)


@attack(
    "coordinator",
    "grandtotal.privacy.secure_sum.refuse_foreign_signatures",
    "the victim's summand",
)
def it_signs_a_roster_of_sybils_in_the_victims_name(folder: Path) -> bool:
    keys = {name: Identity(hashlib.sha256(b"mine" + name.encode()).digest()) for name in OTHERS}
    real = Sums(folder / "honest", 5)
    public = {VICTIM: real.keys[VICTIM].public, **{n: k.public for n, k in keys.items()}}
    sybils = Roster("test", 1, public, real.setting.roster.valid_until)
    for name, key in keys.items():
        sybils = sybils.signed(name, key)
    forged = keys["r01"].sign(sybils.content)
    setting = replace(
        real.setting, roster=replace(sybils, signatures={**sybils.signatures, VICTIM: forged})
    )
    victim = Member(VICTIM, real.keys[VICTIM], setting, folder / "victim", stream("victim"))
    fakes = {n: Impostor(n, key, setting, folder / f"my {n}") for n, key in keys.items()}
    return read_from(fakes, victim)


@attack("coordinator", CHECKS + "second_list", "two sets of keys for the slots of one batch")
def it_has_two_lists_of_keys_signed_for_one_batch(folder: Path) -> bool:
    sums = Sums(folder, 5)
    first = {name: member.advertise(0, 0, 1) for name, member in sums.members.items()}
    for member in sums.members.values():
        member.share(0, first)
    fewer = {name: first[name] for name in names(4)}
    contexts = {sums.members[VICTIM].setup(0).context}
    # The lists differ in who is in them; every key is the one that its owner published.
    sums.members[VICTIM].share(0, fewer)
    contexts.add(hashlib.sha256(b"".join(fewer.values())).digest())
    return len(contexts) == 2


# --- one slot ---


def answered(folder, n=5, slots=2, **options):
    """Returns sums, set-up and question of a slot in which all have answered."""
    sums = Sums(folder, n, **options)
    setup = sums.set_up(slots=slots)
    asked = ask(0, names(n))
    return sums, setup, asked, sums.mask(asked)


def both_secrets_of_the_victim(sums, setup, asked, clear, masked, full, dropped):
    """Returns whether the victim's summand follows from releases of both of its secrets.

    full, dropped: releases of members that were told that it answered, and that it did not.
    """
    seed = recombined({r.name: r.seeds[VICTIM] for r in full}, sums.setting)
    private = recombined({r.name: r.keys[VICTIM] for r in dropped}, sums.setting)
    return unmasked(masked[VICTIM], asked, setup, seed, private) == bytes(clear[VICTIM])


@attack("coordinator", CHECKS + "other_path", "the victim's summand")
def it_says_of_two_members_in_turn_that_they_dropped_out(folder: Path) -> bool:
    """The victim is in one set of survivors and not in the other: both of its secrets are due."""
    sums, setup, asked, (clear, headers, masked) = answered(folder, 7)
    releases = []
    for out in (VICTIM, "r01"):
        left = {name: header for name, header in headers.items() if name != out}
        signatures = {name: sums.members[name].survivors(0, left) for name in names(7)[2:]}
        releases.append([released(sums, n, 0, left, signatures) for n in names(7)[2:]])
    dropped, full = releases
    return both_secrets_of_the_victim(sums, setup, asked, clear, masked, full, dropped)


@attack("coordinator", CHECKS + "other_path", "the victim's summand")
def it_takes_in_a_late_vector_after_its_key_was_revealed(folder: Path) -> bool:
    """The victim is said to have dropped out; its vector comes late, and is to count after all."""
    sums, setup, asked, (clear, headers, masked) = answered(folder)
    without = {name: headers[name] for name in OTHERS}
    signatures = {name: sums.members[name].survivors(0, without) for name in OTHERS}
    dropped = [released(sums, name, 0, without, signatures) for name in OTHERS]
    full = [released(sums, name, 0, headers) for name in OTHERS]
    return both_secrets_of_the_victim(sums, setup, asked, clear, masked, full, dropped)


@attack("coordinator", CHECKS + "few_signatures", "mask keys of members that answered")
def it_claims_a_dropout_that_too_few_have_signed(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    without = {name: headers[name] for name in OTHERS}
    signatures = {name: sums.members[name].survivors(0, without) for name in OTHERS[:1]}
    return VICTIM in released(sums, "r01", 0, without, signatures).keys


@attack("coordinator", CHECKS + "other_survivors", "mask keys of members that answered")
def it_shows_signatures_on_another_set_of_survivors(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder, 7)
    without = {name: headers[name] for name in names(7)[1:]}
    other = {name: headers[name] for name in names(7)[:6]}
    signatures = {name: sums.members[name].survivors(0, other) for name in names(7)[2:6]}
    signatures["r01"] = sums.members["r01"].survivors(0, without)
    return VICTIM in released(sums, "r01", 0, without, signatures).keys


@attack("coordinator", CHECKS + "no_survivors_signed", "mask keys from who signed no dropout")
def it_has_keys_released_by_a_member_that_saw_no_dropout(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder, 7)
    without = {name: headers[name] for name in names(7)[1:]}
    signatures = {name: sums.members[name].survivors(0, without) for name in names(7)[2:]}
    return VICTIM in released(sums, "r01", 0, without, signatures).keys


@attack("coordinator", CHECKS + "missing_headers", "the total of fewer members than it said")
def it_hides_a_header_and_calls_the_rest_all(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    fewer = {name: headers[name] for name in names(4)}
    return "r04" not in released(sums, VICTIM, 0, fewer).seeds


@attack("coordinator", CHECKS + "too_few", "a total of two")
def it_lets_all_but_two_drop_out(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    two = {name: headers[name] for name in names(2)}
    return bool(sums.members[VICTIM].survivors(0, two))


@attack("coordinator", CHECKS + "returned", "totals with and without one retailer")
def it_lets_a_retailer_drop_out_and_come_back(folder: Path) -> bool:
    sums = Sums(folder, 5)
    sums.set_up(slots=3)
    sums.mask(ask(0, names(4), "first"))
    headers = sums.mask(ask(1, names(5), "second"), names(5))[1]
    return len(headers) == 5


@attack("coordinator", CHECKS + "released_question", "one question for U and for U without one")
def it_asks_a_released_question_of_fewer_members(folder: Path) -> bool:
    sums, setup, asked, (_, headers, masked) = answered(folder)
    sums.unmasked(sums.adder(setup, asked, headers, masked), asked)
    fewer = ask(1, names(4), asked.question)
    _, headers, masked = sums.mask(fewer)
    return len(sums.unmasked(sums.adder(setup, fewer, headers, masked), fewer)) > 0


@attack("coordinator", CHECKS + "superseded", "two totals of one question")
def it_finishes_an_attempt_after_a_later_one(folder: Path) -> bool:
    sums, _, asked, (_, headers, _) = answered(folder)
    sums.mask(ask(1, names(4), asked.question))
    return bool(sums.members[VICTIM].unmask(0, headers))


@attack("coordinator", CHECKS + "other_words", "by how much the victim's numbers changed")
def it_has_other_numbers_masked_with_the_same_masks(folder: Path) -> bool:
    """The victim's tables have changed since it answered in this slot."""
    sums, _, asked, (clear, _, masked) = answered(folder)
    now = summand(8)
    again = bytearray(now)
    sums.members[VICTIM].mask(asked, memoryview(again))
    begin, end = 24, 72  # of the field "sums", in 8-byte words
    sent = np.subtract(*(np.frombuffer(m[begin:end], "<u8") for m in (again, masked[VICTIM])))
    true = np.subtract(*(np.frombuffer(m[begin:end], "<u8") for m in (now, clear[VICTIM])))
    return sent.tolist() == true.tolist()


@attack("coordinator", CHECKS + "earlier_slot", "an answer in a slot that was skipped")
def it_goes_back_to_a_slot_that_was_passed(folder: Path) -> bool:
    sums = Sums(folder, 5)
    sums.set_up(slots=3)
    sums.mask(ask(2, names(5), "later"))
    return bool(sums.members[VICTIM].mask(ask(1, names(5), "late"), memoryview(summand(8))))


@attack("coordinator", CHECKS + "other_context", "an answer to two models in one total")
def it_sends_two_models_in_one_round(folder: Path) -> bool:
    sums = Sums(folder, 5)
    sums.set_up()
    one, two = (ask(0, names(5), broadcast=model) for model in ("model one", "model two"))
    headers = {
        name: sums.members[name].mask(two if name == VICTIM else one, memoryview(summand(1)))
        for name in names(5)
    }
    return bool(sums.members["r01"].unmask(0, headers))


@attack("coordinator", CHECKS + "other_context", "a total over headers of another round")
def it_replays_a_header_of_an_earlier_round(folder: Path) -> bool:
    sums, _, _, (_, old, _) = answered(folder)
    _, headers, _ = sums.mask(ask(1, names(5), "second"))
    return bool(sums.members[VICTIM].unmask(1, {**headers, "r01": old["r01"]}))


@attack("coordinator", CHECKS + "own_header_changed", "a total without the vector that was sent")
def it_replaces_the_victims_own_header(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    without = {name: headers[name] for name in OTHERS}
    return bool(sums.members[VICTIM].survivors(0, without))


# --- more of the set-up ---


def advertised(sums, batch=0, first=0, slots=1):
    return {n: m.advertise(batch, first, slots) for n, m in sums.members.items()}


@attack("coordinator", CHECKS + "own_keys_changed", "a set-up with a key the victim does not hold")
def it_shows_the_victim_keys_of_an_earlier_life(folder: Path) -> bool:
    """The victim's own advertisement of another folder, signed by it, in the place of this one."""
    sums = Sums(folder, 5)
    shown = advertised(sums)
    elsewhere = sums.open(VICTIM, entropy=stream("another life"))
    elsewhere._slots = Slots(folder / "earlier", sums.setting, VICTIM)
    return bool(sums.members[VICTIM].share(0, {**shown, VICTIM: elsewhere.advertise(0, 0, 1)}))


@attack("coordinator", CHECKS + "missing_lists", "a set-up that one member never signed")
def it_goes_on_without_the_signature_of_one_member(folder: Path) -> bool:
    sums = Sums(folder, 5)
    shown = advertised(sums)
    replies = {name: sums.members[name].share(0, shown) for name in names(4)}
    parts = {name: part(replies[name], VICTIM) for name in names(4)[1:]}
    return bool(sums.members[VICTIM].receive(0, parts))


@attack("coordinator", CHECKS + "used_slots", "two sets of keys for one slot")
def it_opens_a_batch_over_slots_that_were_used(folder: Path) -> bool:
    sums, *_ = answered(folder)
    return bool(sums.members[VICTIM].advertise(1, 0, 2))


@attack("coordinator", CHECKS + "changed_batch", "an advertisement for other slots than asked")
def it_takes_the_keys_of_a_batch_for_other_slots(folder: Path) -> bool:
    sums = Sums(folder, 5)
    sums.members[VICTIM].advertise(0, 0, 2)
    return bool(sums.members[VICTIM].advertise(0, 8, 2))


@attack("coordinator", CHECKS + "other_batch", "a member set up with keys of another batch")
def it_mixes_keys_of_two_batches(folder: Path) -> bool:
    sums = Sums(folder, 5)
    first, second = advertised(sums), advertised(sums, 1, 1)
    mixed = {**second, "r01": first["r01"]}
    return bool(sums.members[VICTIM].share(1, mixed))


@attack("coordinator", CHECKS + "batch_size", "secrets without end on the victim's disk")
def it_asks_for_a_batch_that_fills_the_disk(folder: Path) -> bool:
    sums = Sums(folder, 5)
    return bool(sums.members[VICTIM].advertise(0, 0, 2000))


@attack("coordinator", CHECKS + "closed", "shares of a slot that was closed")
def it_has_a_closed_slot_released_again(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    for member in sums.members.values():
        member.close(0)
    return bool(sums.members[VICTIM].unmask(0, headers))


@attack("coordinator", CHECKS + "without_me", "an answer to a set without the one that answers")
def it_asks_the_victim_for_a_total_of_the_others(folder: Path) -> bool:
    sums = Sums(folder, 5)
    sums.set_up()
    asked = ask(0, OTHERS)
    return bool(sums.members[VICTIM].mask(asked, memoryview(summand(1))))


@attack("coordinator", CHECKS + "other_setting", "headers of one run in another")
def it_replays_a_header_of_another_run(folder: Path) -> bool:
    """Same members, keys, slot, question and entropy; the run before had another number."""
    sums, _, _, (_, headers, _) = answered(folder / "now")
    _, _, _, (_, before, _) = answered(folder / "before", run="the run before")
    found = Header.read(sums.setting, "r01", before["r01"])
    return found.slot == 0 and headers["r01"] != before["r01"]


@attack("coordinator", CHECKS + "other_vector", "a total of a vector that nobody signed")
def it_adds_a_vector_that_the_member_did_not_send(folder: Path) -> bool:
    sums, setup, asked, (_, headers, masked) = answered(folder)
    masked["r01"][0] ^= 1
    adder = sums.adder(setup, asked, headers, masked)
    return len(sums.unmasked(adder, asked)) > 0
