"""Everything that is on the wire in a whole masked run, in one process and in one each.

What is sealed or masked is uniform; all the rest was agreed, name by name. Elsewhere in the tests:
the mask stream is what the `openssl` command computes (`privacy/test_masks.py`), and nothing in
`privacy/` draws from a generator of predictable numbers (`privacy/test_no_other_randomness.py`).
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2

from grandtotal import simulate as simulation
from grandtotal.consortium.envelope import Message, unseal
from grandtotal.durable import Json
from grandtotal.plan import Plan
from grandtotal.privacy.messages import raw
from grandtotal.runfolder import RunFolder
from grandtotal.simulate import find_configs, simulate, start

LEAST_P = 1e-6
MEMBERS = ("north", "south", "west")

SENT = {
    "open": {"plan", "version", "code", "members", "run"},
    "advertise": {"plan", "batch", "first_slot", "slots"},
    "share": {"plan", "batch", "first_slot", "slots"},
    "receive": {"plan", "batch", "first_slot", "slots"},
    "ask": {
        *("plan", "round", "task", "query", "parameters", "question", "block"),
        *("slot", "active", "over"),
    },
    "unmask": {"plan", "slot"},
    "deliver": {"plan", "task", "meta", "model"},
    "close": {"plan", "over"},
}
REPLIES = {
    "opened": ({"version"}, set()),
    "signed": (set(), {"signed"}),
    "summand": (set(), {"summand", "header"}),
    "delivered": (set(), set()),
    "closed": (set(), set()),
}
ABOUT = {"kind", "version", "setting", "from"}
SIGNED = {
    "advertisement": {"batch", "first_slot", "slots", "seal", "keys", "commitments", "note"},
    "list": {"batch", "context"},
    "ready": {"batch", "context"},
    "header": {"slot", "context", "masked", "note"},
    "release": {"slot", "context", "headers", "seeds", "keys"},
}
NOTE = {"records", "head", "epoch", "spent"}


@dataclass
class Wire:
    """All that went to and fro in a run, in its order."""

    folder: RunFolder
    sent: list[dict[str, bytes]] = field(default_factory=list)
    replies: list[dict[str, bytes]] = field(default_factory=list)

    def answers(self, *asked: str) -> list[tuple[str, Message]]:
        """Returns who replied what to messages of these kinds."""
        return [
            (name, unseal(reply))
            for sent, replies in zip(self.sent, self.replies, strict=True)
            for name, reply in replies.items()
            if unseal(sent[name]).kind in asked
        ]

    @property
    def lists(self) -> list[Json]:
        """Returns the signed lists of keys, each with the shares that go with it."""
        return [json.loads(m.arrays["signed"].tobytes()) for _, m in self.answers("share")]

    @property
    def headers(self) -> list[Json]:
        """Returns what was signed of each masked summand."""
        return [body_of(m.arrays["header"]) for _, m in self.answers("ask")]

    def steps(self, *asked: str) -> list[Json]:
        """Returns what was signed in other steps of the protocol."""
        return [body_of(m.arrays["signed"]) for _, m in self.answers(*asked)]


@pytest.fixture(scope="module", params=[False, True], ids=["one process", "processes"])
def wire(request, example, tmp_path_factory):
    """Returns the wire of a whole run with secure sums."""
    plan = Plan.read(example / "plan.toml")
    runs = tmp_path_factory.mktemp("runs")
    folder = start(plan, find_configs(plan, example), runs, request.param)
    found, transport_of = Wire(folder), simulation._transport

    def tapped(*arguments):
        transport, prepared = transport_of(*arguments)
        exchange = transport.exchange

        def both_ways(messages, may_miss=0):
            found.sent.append(dict(messages))
            found.replies.append(exchange(messages, may_miss))
            return found.replies[-1]

        transport.exchange = both_ways
        return transport, prepared

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "_transport", tapped)
        simulate(folder)
    return found


def p_uniform(content):
    """Returns the p-value of Pearson's chi-squared test that all 256 bytes are equally likely."""
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    expected = len(content) / 256
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), 255)


def body_of(signed):
    return json.loads(bytes(signed)[64:])


def summands(wire):
    """Returns of each retailer the masked summands, in the order of the slots."""
    found = {name: [] for name in MEMBERS}
    for name, message in wire.answers("ask"):
        found[name].append(message.arrays["summand"])
    return found


def test_masked_summands_are_uniform(wire):
    for vectors in summands(wire).values():
        assert len(vectors) > 5
        assert p_uniform(np.concatenate(vectors).tobytes()) > LEAST_P


def test_the_test_would_find_summands_without_masks(wire):
    """The totals themselves, in the clear at the coordinator."""
    totals = (wire.folder.coordinator / "totals").iterdir()
    assert p_uniform(b"".join(path.read_bytes() for path in totals)) < LEAST_P


def test_masks_of_two_slots_have_nothing_in_common(wire):
    """Were a mask used twice, the difference would be that of two summands: small numbers."""
    for vectors in summands(wire).values():
        differences = [a[: len(b)] - b[: len(a)] for a, b in pairwise(vectors)]
        assert p_uniform(np.concatenate(differences).tobytes()) > LEAST_P


def test_masks_of_two_retailers_have_nothing_in_common(wire):
    found = summands(wire)
    for one, other in (("north", "south"), ("south", "west"), ("west", "north")):
        differences = [a - b for a, b in zip(found[one], found[other], strict=True)]
        assert p_uniform(np.concatenate(differences).tobytes()) > LEAST_P


def test_shares_are_sealed(wire):
    """What is relayed between retailers in the set-up is as good as random to the coordinator."""
    sealed = [raw(box) for found in wire.lists for box in found["sealed"].values()]
    assert len(sealed) == 2 * len(MEMBERS)
    assert p_uniform(b"".join(sealed)) > LEAST_P


def test_every_message_to_a_retailer_is_of_an_agreed_kind_with_agreed_keys(wire):
    for each in wire.sent:
        for content in each.values():
            message = unseal(content)
            assert set(message.body) <= SENT[message.kind]


def test_every_reply_is_of_an_agreed_kind_with_agreed_keys(wire):
    for each in wire.replies:
        for reply in each.values():
            message = unseal(reply)
            keys, arrays = REPLIES[message.kind]
            assert set(message.body) == keys
            assert set(message.arrays) <= arrays


def test_every_signed_message_has_agreed_keys_and_nothing_but_digests_and_keys(wire):
    assert all(set(found) == {"list", "sealed"} for found in wire.lists)
    lists = [body_of(raw(found["list"])) for found in wire.lists]
    bodies = [*wire.headers, *lists, *wire.steps("advertise", "receive", "unmask")]
    assert {body["kind"] for body in bodies} == set(SIGNED)
    for body in bodies:
        assert set(body) == ABOUT | SIGNED[body["kind"]]
        for key in ("setting", "context", "masked", "headers"):
            assert re.fullmatch("[0-9a-f]{64}", body.get(key, "0" * 64))
    for body in wire.steps("unmask"):
        assert set(body["seeds"]) | set(body["keys"]) <= set(MEMBERS)


def test_notes_say_how_long_a_ledger_is_its_head_and_what_was_spent(wire):
    notes = [body["note"] for body in (*wire.headers, *wire.steps("advertise"))]
    assert notes
    for note in notes:
        found = json.loads(raw(note))
        assert set(found) == {"mine", "known"}
        assert set(found["known"]) <= set(MEMBERS)
        for each in (found["mine"], *found["known"].values()):
            assert set(each) == NOTE
            assert each["spent"] == {}  # a plan of exact totals spends no epsilon


def test_a_header_commits_to_the_bytes_that_came_with_it(wire):
    for _, message in wire.answers("ask"):
        digest = hashlib.sha256(message.arrays["summand"]).hexdigest()
        assert body_of(message.arrays["header"])["masked"] == digest


def test_nobody_is_asked_for_both_secrets_of_anybody(wire):
    releases = wire.steps("unmask")
    assert len(releases) == len(summands(wire)["north"]) * len(MEMBERS)
    assert all(not set(body["seeds"]) & set(body["keys"]) for body in releases)


def test_no_customer_product_day_or_file_of_a_retailer_is_in_what_it_sends(wire, example):
    """As text; the catalogue's products are the plan's, and are in no reply either."""
    sent = b"".join(reply for each in wire.replies for reply in each.values())
    for name in MEMBERS:
        table = pl.read_csv(example / name / "data" / "transactions.csv", infer_schema=False)
        texts = {text for column in table.columns for text in table[column].unique().to_list()}
        named = {text for text in texts if text and len(text) > 5}
        assert len(named) > 100
        assert not [text for text in named if text.encode() in sent]
        assert str(example / name).encode() not in sent
    assert date.today().isoformat().encode() not in sent
