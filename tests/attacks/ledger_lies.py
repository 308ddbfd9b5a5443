"""Lies to the door: questions that compare two totals, spend too much, or come too often.

A coordinator asks them; whoever has the retailer's disk, its operator, edits what is written there.
"""

import json
import os
import shutil
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from attacks.attack import attack
from grandtotal.durable import Log, canonical, digest, read_log
from grandtotal.privacy.accounting import Budget, rho_within
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound, Release
from grandtotal.privacy.chain import Chain
from grandtotal.privacy.egress import Egress, Question
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.ledger import FILE, Cap, Charge, Ledger
from grandtotal.privacy.terms import Terms

LEDGER = "grandtotal.privacy.ledger."
EGRESS = "grandtotal.privacy.egress."
CHAIN = "grandtotal.privacy.chain."

ALL = ("north", "south", "west", "east")
FEWER = ALL[1:]
FIELDS = {"sums": Field((4,))}
NUMBERS = {name: {"sums": np.arange(4) * k + k} for k, name in enumerate(ALL, 1)}
AGREED = Agreement(epsilon=4.0, delta=1e-6)
BUDGET = Budget.of(AGREED, {"recommend": (Release("co-purchases", 2),)}, len(ALL))
TWICE = Cap(epsilon=2.1, delta=1e-6)
ONCE = rho_within(1.0, 1e-6)


# --- doors ---


def door(folder, run="run", cap=None, budget=None):
    """Returns a retailer's door in a run; every run has the same ledger."""
    terms = Terms(folder / "door", cap or Cap(), "plan", {"recommend": "recommend"}, budget)
    return closing(Egress(folder / run / "egress.jsonl", terms, "plan", ALL))


def question(members=ALL, name="q1", bound=None, subject="what was asked"):
    return Question(name, "co-purchases", 1, members, FIELDS, "recommend", subject, bound)


def total_of(folder, members, run, name):
    """Returns the total of what these members' doors let out, in the clear, in a run."""
    words = 0
    for member in members:
        with door(folder / member, run) as opened:
            (block,) = opened.release(question(members, name), NUMBERS[member])
            words = words + np.frombuffer(block, "<i8")
    return words


def let_out(opened, asked, answer=NUMBERS["north"]):
    return b"".join(bytes(block) for block in opened.release(asked, answer))


# --- two totals ---


@attack("coordinator", LEDGER + "Ledger._refuse_other_members", "the summand of one retailer")
def it_asks_one_question_with_and_without_a_retailer_in_two_runs(folder: Path) -> bool:
    whole = total_of(folder, ALL, "first run", "q1")
    fewer = total_of(folder, FEWER, "second run", "q2")
    return (whole - fewer).tolist() == NUMBERS["north"]["sums"].tolist()


@attack("coordinator", LEDGER + "Ledger._refuse_other_members", "the summand of one retailer")
def it_feigns_a_dropout_in_the_second_of_two_runs(folder: Path) -> bool:
    """All are asked both times; the second time one is said to be missing once all have sent."""
    whole = total_of(folder, ALL, "first run", "q1")
    total_of(folder, ALL, "second run", "q2")
    for member in FEWER:
        with door(folder / member, "second run") as opened:
            opened.narrow("q2", FEWER)
    fewer = sum(NUMBERS[member]["sums"] for member in FEWER)
    return (whole - fewer).tolist() == NUMBERS["north"]["sums"].tolist()


@attack("coordinator", LEDGER + "_refuse_not_fewer", "two totals in the clear, one retailer apart")
def it_asks_a_question_again_of_others_in_the_same_run(folder: Path) -> bool:
    """Without masks there is no attempt that could be given up: what was answered is known."""
    with door(folder) as opened:
        first = let_out(opened, question(ALL))
        return let_out(opened, question(FEWER)) == first


@attack("coordinator", LEDGER + "_refuse_other_numbers", "by how much the tables changed")
def it_asks_again_after_a_customer_was_added(folder: Path) -> bool:
    now = {"sums": NUMBERS["north"]["sums"] + [0, 3, 0, 1]}
    with door(folder) as opened:
        before = np.frombuffer(let_out(opened, question()), "<i8")
        after = np.frombuffer(let_out(opened, question(), now), "<i8")
    return (after - before).tolist() == [0, 3, 0, 1]


# --- epsilon ---


@attack("coordinator", EGRESS + "_refuse_no_bound", "an exact total under a plan with noise")
def it_asks_a_query_without_a_bound_under_epsilon(folder: Path) -> bool:
    with door(folder, budget=BUDGET) as opened:
        out = let_out(opened, question(bound=None))
    return np.frombuffer(out, "<i8").tolist() == NUMBERS["north"]["sums"].tolist()


@attack("coordinator", EGRESS + "_refuse_floats", "a customer that moves a total beyond its bound")
def it_has_floats_answered_under_epsilon(folder: Path) -> bool:
    """A customer that moves 4,000 sums by 0.02 each, and after rounding by a whole step each."""
    wide = {"sums": Field((4000,))}
    out = []
    with door(folder, budget=BUDGET) as opened:
        for i, value in enumerate((0.49, 0.51)):
            asked = replace(question(name=f"q{i}", bound=Bound(1.3)), fields=wide)
            answer = {"sums": np.full(4000, value)}
            out.append(np.frombuffer(let_out(opened, asked, answer), "<i8").mean())
    # The noise is made for a norm of 1.3; the norm of 4,000 steps is 63.
    return abs(out[1] - out[0] - 1) < 0.5


@attack("coordinator", EGRESS + "_refuse_more_often", "releases that no noise was planned for")
def it_asks_more_often_than_the_plan_says(folder: Path) -> bool:
    with door(folder, budget=BUDGET) as opened:
        for i in range(3):
            let_out(opened, question(name=f"q{i}", bound=Bound(50.0), subject=f"grid point {i}"))
    return sum(opened.ledger.account.spent["customer"].values()) > BUDGET.rho


@attack("coordinator", EGRESS + "_refuse_other_noise", "an average with less noise")
def it_has_the_same_numbers_noised_anew(folder: Path) -> bool:
    asked = question(bound=Bound(50.0))
    with door(folder, budget=BUDGET) as opened:
        first = let_out(opened, asked)
        opened.committed(asked.digest)
        return let_out(opened, asked) != first


@attack("coordinator", LEDGER + "Cap.refuse", "more than this retailer's cap")
def it_starts_plan_after_plan_until_the_cap_is_passed(folder: Path) -> bool:
    cap = Cap(epsilon=4.5, delta=1e-6)
    for run in range(2):
        with door(folder, f"run {run}", cap, BUDGET) as opened:
            for i in range(2):
                name = f"run {run} question {i}"
                let_out(opened, question(name=name, bound=Bound(50.0), subject=name))
            spent = sum(opened.ledger.account.spent["customer"].values())
    return spent > cap.rho()


@attack("coordinator", LEDGER + "Cap.refuse_plan", "exact totals of who wants noise always")
def it_opens_a_plan_without_epsilon_at_who_wants_it(folder: Path) -> bool:
    with door(folder, cap=Cap(exact_totals=False)) as opened:
        out = let_out(opened, question())
    return np.frombuffer(out, "<i8").tolist() == NUMBERS["north"]["sums"].tolist()


# --- the operator and the ledger ---


def charge(number, **changed):
    about = {"run": "run", "plan": "p", "task": "t", "purpose": "recommend", "query": "q"}
    named = {key: f"{key} {number}" for key in ("question", "subject", "summand")}
    spent = {"rho": ONCE, "unit": "customer", "norm": 1.0, "sigma": 1.0}
    return Charge(**{**about, **named, **spent, "members": ALL, "bytes": 8, **changed})


def spend(folder, *numbers):
    """Reserves releases; each costs what brings epsilon to 1, and the cap is at 2.1."""
    with closing(Ledger(folder / "door", TWICE)) as ledger:
        for number in numbers:
            ledger.reserve(charge(number))
    return ledger


def full(folder):
    """Returns a ledger's file where one more release would pass the cap."""
    number = 0
    while TWICE.rho() > (number + 1) * ONCE:
        number += 1
        spend(folder, number)
    return folder / "door" / FILE, number


def beyond(folder, so_far):
    """Whether one more release than the cap allows was reserved, after those of `full`."""
    spend(folder, "one more")
    return (so_far + 1) * ONCE > TWICE.rho()


def written(path, records):
    """Writes a log again with valid check sums, as its owner can."""
    path.unlink()
    log = Log(path)
    for record in records:
        log.append(record)


def head(path, records, last=None):
    """Writes the file `head` so that it names these records."""
    found = digest(canonical(last if last is not None else records[-1]))
    path.with_name("head").write_text(f"{len(records):12d} {found}\n")


@attack("operator", CHAIN + "_refuse_broken_link", "releases beyond the cap")
def it_writes_in_the_ledger_that_a_release_cost_nothing(folder: Path) -> bool:
    path, count = full(folder)
    records = read_log(path)
    records[0]["rho"] = 0.0
    written(path, records)
    return beyond(folder, count)


@attack("operator", CHAIN + "_refuse_broken_link", "releases beyond the cap")
def it_takes_a_release_out_of_the_ledger(folder: Path) -> bool:
    path, count = full(folder)
    records = [{**record, "n": n} for n, record in enumerate(read_log(path)[1:], 1)]
    written(path, records)
    head(path, records)
    return beyond(folder, count)


@attack("operator", CHAIN + "_refuse_broken_link", "a ledger that reads otherwise than it was")
def it_puts_the_ledger_in_another_order(folder: Path) -> bool:
    path, _ = full(folder)
    records = read_log(path)
    records[:2] = records[1::-1]
    written(path, records)
    return next(iter(spend(folder).account.released))[1] == "question 2"


@attack("operator", CHAIN + "_refuse_other_head", "releases beyond the cap")
def it_cuts_off_the_end_of_the_ledger(folder: Path) -> bool:
    path, count = full(folder)
    written(path, read_log(path)[:-1])
    return beyond(folder, count)


@attack("operator", CHAIN + "_refuse_changed_line", "releases beyond the cap")
def it_makes_a_line_of_the_ledger_unreadable(folder: Path) -> bool:
    """What cannot be read would count as a crash's last line; `head` is written to go with it."""
    path, count = full(folder)
    records = read_log(path)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    head(path, records[:-1])
    return beyond(folder, count)


@attack("operator", CHAIN + "_refuse_other_format", "entries that count by other rules")
def it_passes_off_a_ledger_of_another_version(folder: Path) -> bool:
    path, _ = full(folder)
    records = [{**record, "format": 0} for record in read_log(path)]
    for before, record in pairwise(records):
        record["previous"] = digest(canonical(before))
    written(path, records)
    head(path, records)
    spend(folder)
    return {record["format"] for record in read_log(path)} == {0}


def unlocked(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@attack("operator", CHAIN + "_locked", "releases beyond the cap", unlocked)
def it_starts_two_runs_at_once(folder: Path) -> bool:
    """Each counts what it spent itself, and not what the other spent meanwhile."""
    _, count = full(folder)
    shutil.rmtree(folder / "door")
    runs = [Ledger(folder / "door", TWICE) for _ in range(2)]
    try:
        for run, ledger in enumerate(runs):
            for number in range(count):
                ledger.reserve(charge(f"{run} {number}"))
    finally:
        for ledger in runs:
            ledger.close()
    return 2 * count * ONCE > TWICE.rho()


def in_memory(chain: Chain, kind, facts):
    """Adds a record that a crash takes away: it is not on the disk when this returns."""
    record = {**facts, "kind": kind, "n": len(chain.digests), "at": ""}
    chain.digests.append(digest(canonical(record)))
    return record


@attack("operator", CHAIN + "Chain.append", "releases beyond the cap", in_memory)
def it_kills_the_process_after_each_release(folder: Path) -> bool:
    """The ledger opened anew is what kill -9 leaves: nothing but the disk."""
    _, count = full(folder)
    return beyond(folder, count)


# --- restored copies ---


class Peer:
    """A peer's ledger, which hears the notes of a retailer's."""

    def __init__(self, folder):
        self.ledger = Ledger(folder)
        self.ledger.close()

    def hears(self, ledger, epoch=1):
        self.ledger.witness("south", "home", epoch, {"north": ledger.note("home", epoch)})

    def says(self):
        return {"south": self.ledger.note("home", 1, known=True)}


def snapshot_restored(folder, heard=False):
    """Returns (peer, count) where a full ledger was put back as it was before it was spent."""
    peer = Peer(folder / "peer")
    (folder / "snapshot").mkdir()
    spend(folder)
    shutil.copytree(folder / "door", folder / "snapshot" / "door")
    _, count = full(folder)
    with closing(Ledger(folder / "door", TWICE)) as ledger:
        peer.hears(ledger)
    shutil.rmtree(folder / "door")
    shutil.copytree(folder / "snapshot" / "door", folder / "door")
    if heard:
        with closing(Ledger(folder / "door", TWICE)) as ledger:
            peer.hears(ledger)
    return peer, count


def spends_all_again(folder, peer, count):
    """Whether the retailer of the snapshot, shown what its peers know, spends its cap again."""
    with closing(Ledger(folder / "door", TWICE)) as ledger:
        ledger.witness("north", "home", 1, peer.says())
        for number in range(count):
            ledger.reserve(charge(f"again {number}"))
    return 2 * count * ONCE > TWICE.rho()


@attack("operator", LEDGER + "Ledger._compare", "the cap, once more after each snapshot")
def it_restores_a_snapshot_of_the_door(folder: Path) -> bool:
    peer, count = snapshot_restored(folder)
    return spends_all_again(folder, peer, count)


@attack("operator", LEDGER + "Ledger._refuse_if_older", "the cap, once more after each snapshot")
def it_goes_on_with_a_snapshot_that_the_peers_refused(folder: Path) -> bool:
    """In a run without secure sums, where no peer is heard; what they refused is written down."""
    _, count = snapshot_restored(folder)
    with closing(Ledger(folder / "door", TWICE)) as ledger:
        ledger._append("older", {"peers": {}, "epoch": 1})
    spend(folder, *range(count))
    return 2 * count * ONCE > TWICE.rho()


@attack("operator", LEDGER + "_refuse_backwards", "a peer that accepts a ledger that went back")
def it_shows_its_peers_the_snapshot_as_its_ledger(folder: Path) -> bool:
    """The peer is the one attacked: once it takes the older head, it knows of nothing spent."""
    peer, _ = snapshot_restored(folder, heard=True)
    return json.loads(peer.says()["south"])["known"]["north"]["spent"] == {}
