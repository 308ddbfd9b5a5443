"""A retailer that lies: to the coordinator, to its peers, or about its own numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from attacks.attack import attack
from attacks.coordinator_lies import CHECKS, VICTIM, advertised, answered
from grandtotal.durable import canonical
from grandtotal.privacy.fixedpoint import Field, encode
from grandtotal.privacy.identity import Roster, verify_roster
from grandtotal.privacy.messages import Header, Release, part, raw, signed, text
from grandtotal.privacy.secure_sum_batch import Batch
from grandtotal.privacy.secure_sum_coordinator import Adder
from grandtotal.privacy.shamir import PRIME
from local_sums import Sums, as_lists, ask, clear_total, identities, names, roster, summand

LIAR = "r01"


def say(sums, kind, body, name=LIAR):
    """Returns what the liar signs; it may sign anything."""
    return signed(sums.setting, name, sums.keys[name], kind, body)


def said(message):
    """Returns the body of a signed message."""
    return json.loads(bytes(message[64:]))


def repeated(found, **changed):
    """Returns the body of an advertisement with other values."""
    about = ("kind", "version", "setting", "from")
    return {**{k: v for k, v in said(found).items() if k not in about}, **changed}


# --- the set-up ---


@attack("retailer", CHECKS + "repeated_keys", "masks that cancel against another's by choice")
def it_advertises_the_mask_key_of_another_as_its_own(folder: Path) -> bool:
    sums = Sums(folder, 5)
    shown = advertised(sums)
    copied = repeated(shown[LIAR], keys=said(shown["r02"])["keys"])
    return bool(sums.members[VICTIM].share(0, {**shown, LIAR: say(sums, "advertisement", copied)}))


@attack("retailer", CHECKS + "key_counts", "a slot for which it has no key")
def it_advertises_fewer_keys_than_slots(folder: Path) -> bool:
    sums = Sums(folder, 5)
    shown = advertised(sums, slots=2)
    fewer = repeated(shown[LIAR], keys=text(raw(said(shown[LIAR])["keys"])[:32]))
    return bool(sums.members[VICTIM].share(0, {**shown, LIAR: say(sums, "advertisement", fewer)}))


@attack("retailer", CHECKS + "differing_lists", "a batch that is called complete and is not")
def it_acknowledges_another_list_than_it_was_shown(folder: Path) -> bool:
    sums = Sums(folder, 5)
    batch = Batch(sums.setting, 0, 0, 1, names(5))
    for name, message in advertised(sums).items():
        batch.advertised(name, message)
    for name in names(5):
        batch.ready(name, say(sums, "ready", {"batch": 0, "context": "00" * 32}, name))
    return batch.complete


@attack("retailer", CHECKS + "share_lengths", "bytes of any length at its peers")
def it_seals_more_shares_than_slots(folder: Path) -> bool:
    sums = Sums(folder, 5)
    shown = advertised(sums, slots=2)
    liar = sums.members[LIAR]
    split = liar._split
    liar._split = lambda *a: (split(*a)[0], {n: 2 * s for n, s in split(*a)[1].items()})
    replies = {name: member.share(0, shown) for name, member in sums.members.items()}
    parts = {name: part(replies[name], VICTIM) for name in names(5)[1:]}
    return bool(sums.members[VICTIM].receive(0, parts))


@attack("retailer", "grandtotal.privacy.identity.refuse_shared_keys", "two votes in one consortium")
def it_enrols_under_two_names(folder: Path) -> bool:  # noqa: ARG001
    honest, keys = roster(3), identities(3)
    twice = {**honest.members, "r03": honest.members[LIAR]}
    found = Roster("test", 1, twice, honest.valid_until)
    for name, key in {**keys, "r03": keys[LIAR]}.items():
        found = found.signed(name, key)
    verify_roster(found, honest.valid_until)
    return True


# --- one slot ---


def shifted(share: bytes, mine: int, all_numbers: list[int]) -> bytes:
    """Returns a share with which the others' shares give the secret plus one.

    The liar need not know the secret: what its share is multiplied with is public.
    """
    weight = 1
    for other in all_numbers:
        if other != mine:
            weight = weight * other * pow(other - mine, -1, PRIME) % PRIME
    value = (int.from_bytes(share, "big") + pow(weight, -1, PRIME)) % PRIME
    return value.to_bytes(len(share), "big")


@attack("retailer", CHECKS + "other_seed", "a total that is wrong and looks right")
def it_releases_a_share_that_shifts_the_seed(folder: Path) -> bool:
    """Of five members t = 4 release, so that no share can be left out."""
    sums, setup, asked, (clear, headers, masked) = answered(folder)
    adder = sums.adder(setup, asked, headers, masked)
    replies = {name: sums.members[name].unmask(0, headers) for name in names(4)}
    release = Release.read(sums.setting, LIAR, replies[LIAR])
    seeds = {**release.seeds, VICTIM: shifted(release.seeds[VICTIM], 2, [1, 2, 3, 4])}
    replies[LIAR] = say(sums, "release", replace(release, seeds=seeds).body)
    adder.end()
    return as_lists(adder.unmask(replies)) != clear_total(clear.values())


@attack("retailer", CHECKS + "other_private", "a total that is wrong and looks right")
def it_releases_a_share_that_shifts_a_dropouts_key(folder: Path) -> bool:
    sums = Sums(folder, 5)
    setup = sums.set_up()
    asked = ask(0, names(5))
    clear, headers, masked = sums.mask(asked, names(5)[1:])
    adder = sums.adder(setup, asked, headers, masked)
    headers = adder.end()
    for name in headers:
        adder.signed(name, sums.members[name].survivors(0, headers))
    replies = {n: sums.members[n].unmask(0, headers, adder.signatures) for n in headers}
    release = Release.read(sums.setting, LIAR, replies[LIAR])
    keys = {VICTIM: shifted(release.keys[VICTIM], 2, [2, 3, 4, 5])}
    replies[LIAR] = say(sums, "release", replace(release, keys=keys).body)
    return as_lists(adder.unmask(replies)) != clear_total(clear.values())


@attack("retailer", CHECKS + "other_release", "shares of another slot in the place of these")
def it_sends_the_release_of_another_slot(folder: Path) -> bool:
    """Only that it is taken: its shares would then give seeds that nobody committed to."""
    sums, setup, asked, (_, headers, masked) = answered(folder)
    adder = sums.adder(setup, asked, headers, masked)
    adder.end()
    second = ask(1, names(5), "second")
    _, later, _ = sums.mask(second)
    reply = sums.members[LIAR].unmask(1, later)
    return adder._read_release(LIAR, reply, headers).slot == 1


@attack("retailer", CHECKS + "other_releases", "a total of which one seed is missing")
def it_releases_the_seeds_of_fewer_members(folder: Path) -> bool:
    sums, setup, asked, (_, headers, masked) = answered(folder)
    adder = sums.adder(setup, asked, headers, masked)
    adder.end()
    release = Release.read(sums.setting, LIAR, sums.members[LIAR].unmask(0, headers))
    fewer = replace(release, seeds={n: s for n, s in release.seeds.items() if n != VICTIM})
    taken = adder._read_release(LIAR, say(sums, "release", fewer.body), headers)
    return VICTIM not in taken.seeds


@attack("retailer", CHECKS + "few_releases", "a sum that is still masked, called the total")
def it_keeps_its_shares_to_itself(folder: Path) -> bool:
    """With one share too few nothing can be recombined: the refusal comes before the guess."""
    sums, setup, asked, (_, headers, masked) = answered(folder)
    adder = sums.adder(setup, asked, headers, masked)
    adder.end()
    replies = {name: sums.members[name].unmask(0, headers) for name in names(3)}
    adder._refuse_few([Release.read(sums.setting, n, r) for n, r in replies.items()])
    return True


@attack("retailer", CHECKS + "strangers", "a summand more than the members'")
def it_adds_a_vector_without_being_asked(folder: Path) -> bool:
    sums = Sums(folder, 5)
    setup = sums.set_up()
    asked = ask(0, names(4))
    adder = Adder(setup, asked)
    adder.add("r04", 0, memoryview(summand(4)))
    return "r04" in adder.unfinished


@attack("retailer", CHECKS + "other_kind", "one signature used for two purposes")
def it_passes_off_a_signed_release_as_a_header(folder: Path) -> bool:
    """The liar chose the values so that the text reads as both."""
    sums, _, asked, (_, headers, _) = answered(folder)
    body = {k: said(headers[LIAR])[k] for k in ("slot", "context", "masked", "note")}
    return Header.read(sums.setting, LIAR, say(sums, "release", body)).slot == asked.slot


@attack("retailer", CHECKS + "other_sender", "a header that two names have signed")
def it_signs_a_header_that_says_it_is_from_another(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    body = {**said(headers[LIAR]), "from": "r02"}
    content = canonical(body)
    message = sums.keys[LIAR].sign(b"grandtotal secure sum\0" + content) + content
    return Header.read(sums.setting, LIAR, message).name == LIAR


@attack("retailer", CHECKS + "other_version", "a message of a version with other rules")
def it_speaks_an_older_version(folder: Path) -> bool:
    sums, _, _, (_, headers, _) = answered(folder)
    content = canonical({**said(headers[LIAR]), "version": "SA-1 0"})
    message = sums.keys[LIAR].sign(b"grandtotal secure sum\0" + content) + content
    return bool(sums.members[VICTIM].unmask(0, {**headers, LIAR: message}))


# --- its own numbers ---


@attack(
    "retailer",
    "grandtotal.privacy.fixedpoint._refuse_too_large",
    "a total that wraps around and looks small",
)
def it_contributes_a_value_so_large_that_the_total_wraps(folder: Path) -> bool:  # noqa: ARG001
    field = Field((1,), modulus=2**32)
    mine = encode("units", np.array([2**31 - 1]), field, 3)
    others = encode("units", np.array([2**20]), field, 3)
    return int((mine + others + others).view("<i4")[0]) < 0
