"""Whoever is on the line between coordinator and retailers: changes, repeats, makes up bytes."""

import json
from pathlib import Path

import numpy as np

from attacks.attack import attack
from attacks.coordinator_lies import CHECKS, VICTIM, advertised, answered
from attacks.homes import Home
from grandtotal.consortium.envelope import MAGIC, Message, seal, unseal
from grandtotal.durable import canonical, digest
from grandtotal.privacy.messages import VERSION, part
from grandtotal.privacy.secure_sum_batch import Batch
from grandtotal.privacy.secure_sum_coordinator import Adder
from local_sums import Sums, as_lists, ask, clear_total, names

ENVELOPE = "grandtotal.consortium.envelope."
SENT = np.arange(3, dtype="<i8")


# --- masked vectors ---


@attack("network", CHECKS + "other_vector", "a total that is wrong and looks right")
def it_flips_a_bit_of_a_masked_vector(folder: Path) -> bool:
    sums, setup, asked, (clear, headers, masked) = answered(folder)
    masked[VICTIM][-8] ^= 1
    total = sums.unmasked(sums.adder(setup, asked, headers, masked), asked)
    return as_lists(total) != clear_total(clear.values())


@attack("network", CHECKS + "other_context", "an earlier vector in a later sum")
def it_repeats_the_vector_of_the_slot_before(folder: Path) -> bool:
    sums, setup, _, (_, before, vectors) = answered(folder)
    asked = ask(1, names(5), "second")
    _, headers, masked = sums.mask(asked)
    adder = Adder(setup, asked)
    for name in names(5):
        old = name == VICTIM
        adder.add(name, 0, memoryview((vectors if old else masked)[name]))
        adder.header(name, (before if old else headers)[name])
    return adder.end()[VICTIM] == before[VICTIM]


@attack(
    "network", CHECKS + "foreign_signature", "a batch called complete without a member's shares"
)
def it_acknowledges_shares_in_the_place_of_a_member(folder: Path) -> bool:
    sums = Sums(folder, 5)
    batch = Batch(sums.setting, 0, 0, 1, names(5))
    for name, message in advertised(sums).items():
        batch.advertised(name, message)
    for name in names(5):
        about = {"kind": "ready", "version": VERSION, "setting": sums.setting.digest.hex()}
        ready = {**about, "from": name, "batch": 0, "context": batch.setup.context.hex()}
        batch.ready(name, bytes(64) + canonical(ready))
    return batch.complete


@attack("network", CHECKS + "differing_lists", "shares of one list kept under another")
def it_carries_shares_of_an_earlier_set_up(folder: Path) -> bool:
    """The signature on the list is true, and of another batch than the sealed shares."""
    sums = Sums(folder, 5)
    first, second = advertised(sums), advertised(sums, 1, 1)
    old = {name: member.share(0, first) for name, member in sums.members.items()}
    new = {name: member.share(1, second) for name, member in sums.members.items()}
    mixed = {name: part(new[name], VICTIM) for name in names(5)[1:]}
    listed = json.loads(old["r01"])["list"]
    mixed["r01"] = canonical({**json.loads(mixed["r01"]), "list": listed})
    return bool(sums.members[VICTIM].receive(1, mixed))


# --- the envelope ---


def framed(arrays, contents, kind="summand", version=1):
    """Returns the bytes of a message with this header, whatever it says."""
    header = canonical({"kind": kind, "body": {}, "arrays": arrays})
    length = len(header).to_bytes(4, "little")
    return MAGIC + bytes([version]) + length + header + b"".join(contents)


def described(name="summand", dtype="<i8", shape=(3,)):
    return {"name": name, "dtype": dtype, "shape": list(shape)}


@attack("network", ENVELOPE + "_refuse_cut_or_repeated", "another array in the place of the first")
def it_names_an_array_twice(folder: Path) -> bool:  # noqa: ARG001
    other = SENT + 7
    found = unseal(framed([described(), described()], [SENT.tobytes(), other.tobytes()]))
    return found.arrays["summand"].tolist() == other.tolist()


@attack("network", ENVELOPE + "_refuse_more", "bytes that no header and no log names")
def it_appends_bytes_to_a_message(folder: Path) -> bool:  # noqa: ARG001
    honest = seal(Message("summand", {}, {"summand": SENT}))
    return unseal(honest + b"carried along").arrays["summand"].tolist() == SENT.tolist()


@attack("network", ENVELOPE + "_refuse_unknown", "text where numbers were agreed")
def it_sends_text_in_the_place_of_numbers(folder: Path) -> bool:  # noqa: ARG001
    text = np.array(["a customer"], "<U10")
    found = unseal(framed([described(dtype="<U10", shape=(1,))], [text.tobytes()]))
    return found.arrays["summand"].tolist() == ["a customer"]


@attack("network", ENVELOPE + "_refuse_unknown", "a message of a kind that nobody agreed to")
def it_sends_a_message_of_an_unknown_kind(folder: Path) -> bool:  # noqa: ARG001
    return unseal(framed([], [], kind="upload")).kind == "upload"


@attack(
    "network", ENVELOPE + "_refuse_other_version", "a message read by rules that are not its own"
)
def it_passes_off_a_message_of_another_version(folder: Path) -> bool:  # noqa: ARG001
    return bool(unseal(framed([described()], [SENT.tobytes()], version=0)).arrays)


@attack(
    "network",
    "grandtotal.consortium.retailer._refuse_other_plan",
    "a model of another plan kept as this one's",
)
def it_delivers_the_model_of_another_run(folder: Path) -> bool:
    home = Home(folder)
    home.open()
    home.say("deliver", {"plan": digest(b"another"), "task": "task", "meta": {}}, weights=SENT)
    return home.held.received[0][1]["weights"].tolist() == SENT.tolist()
