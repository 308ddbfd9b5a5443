"""A coordinator that lies about the plan, the question, the keys or who is left."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from pydoc import locate

import numpy as np
from tests.conftest import HORIZON, PERIODS, make_panel, make_sales

from attacks.attack import attack
from attacks.coordinator_lies import (
    CHECKS,
    OTHERS,
    VICTIM,
    advertised,
    answered,
    both_secrets_of_the_victim,
    released,
)
from attacks.homes import Home, example
from attacks.retailer_lies import LIAR
from grandtotal.consortium.query import shared
from grandtotal.durable import (
    canonical,
    read_log,
)
from grandtotal.errors import AnswerError
from grandtotal.members import keygen, pin
from grandtotal.participate import Matching, door_of, opener
from grandtotal.plan import Plan
from grandtotal.privacy.committee import Aggregator, deal, total
from grandtotal.privacy.identity import Roster, read_roster, verify_roster, write_roster
from grandtotal.privacy.messages import VERSION, headers_digest, survivors_body
from grandtotal.privacy.protocol import Setting
from grandtotal.privacy.secure_sum import Member
from grandtotal.privacy.slots import Slots
from grandtotal.runfolder import RunFolder
from grandtotal.tasks.assortment import Assortment
from grandtotal.tasks.demand_queries import DemandSeries
from local_sums import (
    FIELDS,
    Sums,
    as_lists,
    clear_total,
    identities,
    names,
    roster,
    stream,
    summand,
)

RETAILER = "grandtotal.consortium.retailer."
IDENTITY = "grandtotal.privacy.identity."
COMMITTEE = "grandtotal.privacy.committee."


# --- the plan and the question ---


@attack("coordinator", RETAILER + "_refuse_other_code", "a summand by other code than the plan's")
def it_runs_other_code_than_the_retailer(folder: Path) -> bool:
    home = Home(folder)
    home.open(code="0" * 64)
    return "summand" in home.ask().arrays


@attack("coordinator", RETAILER + "_refuse_other_members", "a total of others than the plan names")
def it_names_other_members_than_the_plan(folder: Path) -> bool:
    agreed = {"consortium": {"name": "test", "members": ["north", "south", "west"]}}
    home = Home(folder, canonical({**agreed, "privacy": {"secure_sum": False}}))
    home.open(members=["north", "mine", "mine too"])
    home.ask()
    return "mine" in read_log(folder / "north" / "egress.jsonl")[-1]["members"]


def imported(name: str, values):
    """Returns what a name of the coordinator's makes, as where code is found by its name alone."""
    return locate(name)(**values)


@attack(
    "coordinator",
    "grandtotal.consortium.retailer.build_query",
    "code of the coordinator's choice run at the retailer",
    imported,
)
def it_asks_a_query_that_is_no_query(folder: Path) -> bool:
    home, made = Home(folder), folder / "made by the coordinator"
    home.open()
    try:
        home.ask(query="os.mkdir", parameters={"path": str(made)})
    except AnswerError:
        if not made.exists():
            raise
    return made.exists()


@attack(
    "coordinator",
    "grandtotal.plan._named",
    "files outside the run's folder",
    lambda name, where: name,  # noqa: ARG005
)
def it_calls_a_member_by_a_path(folder: Path) -> bool:
    agreed = {"name": "n", "today": "2024-07-15", "catalogue": ["P1"]}
    members = ["../../../elsewhere", "south", "west"]
    tasks = {"rank": {"kind": "recommend", "models": ["ease"]}}
    plan = Plan.parse(canonical({"consortium": {**agreed, "members": members}, "tasks": tasks}))
    where = RunFolder(folder / "run").retailer(plan.members[0]).resolve()
    return not where.is_relative_to(folder)


@attack("coordinator", CHECKS + "other_setting", "retailers of two plans in one total")
def it_shows_one_retailer_another_plan(folder: Path) -> bool:
    sums = Sums(folder / "agreed", 5)
    sums.members[LIAR] = Sums(folder / "other", 5, plan="without epsilon").members[LIAR]
    return LIAR in said_to_be_in(sums)


def said_to_be_in(sums):
    """Returns of whom the victim signs a list of keys."""
    sums.members[VICTIM].share(0, advertised(sums))
    return sums.members[VICTIM].setup(0).active


@dataclass(frozen=True)
class Lowered(Setting):
    """Code in which two shares are enough."""

    @property
    def threshold(self) -> int:
        return 2


@attack("coordinator", CHECKS + "other_setting", "a member whose secrets two others can recombine")
def it_lowers_the_threshold_of_one_member(folder: Path) -> bool:
    sums = Sums(folder / "agreed", 5)
    s = sums.setting
    lowered = Lowered(s.code, s.run, s.plan, s.roster, s.dropouts)
    sums.members[LIAR] = Member(LIAR, sums.keys[LIAR], lowered, folder / LIAR, stream(LIAR))
    return LIAR in said_to_be_in(sums)


@attack(
    "coordinator",
    "grandtotal.participate._refuse_large_delta",
    "a delta by which some customer may be given away whole",
)
def it_plans_a_delta_above_one_over_the_customers(folder: Path) -> bool:
    plan = Plan.read(example() / "plan.toml")
    source = {**plan.source, "privacy": {"epsilon": 4.0, "delta": 0.1}}
    source["tasks"] = {"demand": source["tasks"]["demand"]}
    open_plan = opener("north", example() / "north" / "retailer.toml", folder)
    return "demand" in open_plan(canonical(source))


@attack(
    "coordinator",
    "grandtotal.consortium.query.refuse_other_rows",
    "noise for fewer products than a customer is part of",
)
def it_says_that_a_customer_is_part_of_one_product(folder: Path) -> bool:  # noqa: ARG001
    panel = make_panel([make_sales(np.random.default_rng(3), 8, PERIODS, HORIZON)])
    found = replace(panel, per_customer=4)
    asked = DemandSeries(8, PERIODS.count, 4.0, per_customer=1)
    honest = replace(asked, per_customer=4)
    answer = asked.answer({shared("test"): found}, None, {})
    return bool(answer) and asked.bound.norm < honest.bound.norm


@attack(
    "coordinator",
    "grandtotal.participate.Matching._refuse_another",
    "answers about two catalogues that differ in one product",
)
def it_delivers_a_second_catalogue(folder: Path) -> bool:
    sold = Assortment.of({name: name for name in "abcd"}, {}, b"k" * 32)
    joined: list[bytes] = []
    path = folder / "catalogue.safetensors"
    matching = Matching(sold, folder, lambda: joined.append(path.read_bytes()))
    for count in (4, 3):
        matching.receive({}, {"buckets": sold.fingerprints[:count]})
    return len(set(joined)) == 2


# --- keys and rosters ---


@attack("coordinator", CHECKS + "foreign_signature", "mask keys of members that answered")
def it_forges_the_signatures_on_a_set_of_survivors(folder: Path) -> bool:
    sums, setup, asked, (_, headers, _) = answered(folder, 7)
    without = {name: headers[name] for name in names(7)[1:]}
    signatures = {LIAR: sums.members[LIAR].survivors(0, without)}
    mine = survivors_body(0, asked.context(setup.context), tuple(without), headers_digest(without))
    for name in names(7)[2:]:
        about = {"kind": "survivors", "version": VERSION, "from": name}
        content = {**mine, **about, "setting": sums.setting.digest.hex()}
        signatures[name] = bytes(64) + canonical(content)
    return VICTIM in released(sums, LIAR, 0, without, signatures).keys


@attack("coordinator", IDENTITY + "refuse_unsigned", "a roster that the retailer never read")
def it_has_a_roster_pinned_that_one_member_did_not_sign(folder: Path) -> bool:
    found = roster(5)
    path = folder / "roster.json"
    signed = {name: found.signatures[name] for name in OTHERS}
    write_roster(path, replace(found, signatures=signed))
    return VICTIM in read_roster(path, found.valid_until).members


@attack("coordinator", IDENTITY + "refuse_other_names", "a plan with members that have no key")
def it_plans_with_a_member_that_is_not_in_the_roster(folder: Path) -> bool:  # noqa: ARG001
    found = roster(4)
    verify_roster(found, found.valid_until, (*names(4), "mine"))
    return True


@attack("coordinator", IDENTITY + "refuse_small", "each other's summand, by subtraction")
def it_makes_a_roster_of_two(folder: Path) -> bool:  # noqa: ARG001
    keys = identities(2)
    two = Roster("test", 1, {n: k.public for n, k in keys.items()}, roster(3).valid_until)
    for name, key in keys.items():
        two = two.signed(name, key)
    verify_roster(two, two.valid_until)
    mine, theirs = summand(1), summand(2)
    both, known = (clear_total(some)["one"][0] for some in ([mine, theirs], [mine]))
    return (both - known) % 2**32 == clear_total([theirs])["one"][0]


@attack("coordinator", "grandtotal.privacy.slots._refuse_another", "one slot under two rosters")
def it_changes_the_roster_in_the_middle_of_a_run(folder: Path) -> bool:
    sums, _, _, _ = answered(folder)
    sums.setting = replace(sums.setting, roster=roster(5, epoch=2))
    return 0 in sums.restart(VICTIM)._slots.attempts


@attack("coordinator", "grandtotal.members._refuse_older", "a roster with a key that was given up")
def it_has_an_older_roster_pinned_again(folder: Path) -> bool:
    shutil.copytree(example() / "north", folder / "north", ignore=shutil.ignore_patterns("door"))
    config = folder / "north" / "retailer.toml"
    keygen(config)
    door = door_of(config)
    keys = {**identities(3), "north": door.identity()}
    rosters = []
    for epoch in (1, 2):
        valid = roster(3).valid_until
        found = Roster("small", epoch, {n: k.public for n, k in keys.items()}, valid)
        for name, key in keys.items():
            found = found.signed(name, key)
        rosters.append(folder / f"{epoch}.json")
        write_roster(rosters[-1], found)
        keys["r00"] = identities(4)["r03"]  # the key that epoch 2 has in its place
    for path in (rosters[1], rosters[0]):
        pin(path, config, valid)
    return read_roster(door.roster_path("small"), valid).epoch == 1


# --- a released total, once more ---


def both_paths(sums, headers, killed):
    """Returns the releases of both paths of a slot; `killed` is called between them."""
    releases = []
    for out in (VICTIM, "r01"):
        left = {name: header for name, header in headers.items() if name != out}
        signatures = {name: sums.members[name].survivors(0, left) for name in names(7)[2:]}
        releases.append([released(sums, n, 0, left, signatures) for n in names(7)[2:]])
        for name in names(7)[2:]:
            killed(name)
            sums.restart(name)
    return releases


def in_memory(slots: Slots, slot, path, survivors, headers, released):
    """Takes a path as `Slots.take_path` does, and writes nothing down."""
    step = {"step": "released" if released else "survivors", "slot": slot, "path": path}
    slots._apply({**step, "survivors": sorted(survivors), "headers": headers})


def read_by_both(folder, killed):
    sums, setup, asked, (clear, headers, masked) = answered(folder, 7)
    dropped, full = both_paths(sums, headers, lambda name: killed(sums, name))
    return both_secrets_of_the_victim(sums, setup, asked, clear, masked, full, dropped)


@attack(
    "coordinator", "grandtotal.privacy.slots.Slots.take_path", "the victim's summand", in_memory
)
def it_has_the_members_killed_after_their_release(folder: Path) -> bool:
    """What is opened again is what kill -9 leaves behind: nothing but the disk."""
    return read_by_both(folder, lambda sums, name: None)  # noqa: ARG005


def damage(sums, name):
    """Makes the lines of the paths in a member's log unreadable."""
    path = sums.folder / name / "secure_sum.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"path"' not in line]
    path.write_bytes(b"".join(kept) + b"damaged\n" * (len(lines) - len(kept)))


@attack("operator", "grandtotal.privacy.slots._refuse_damaged", "the victim's summand")
def it_damages_the_record_of_what_was_released(folder: Path) -> bool:
    return read_by_both(folder, damage)


# --- the committee of the second backend ---


def committee(folder):  # noqa: ARG001
    keys = identities(3)
    public = {name: key.public for name, key in keys.items()}
    found = [Aggregator(n, key, public, FIELDS, bytes(32), 3) for n, key in keys.items()]
    summands = {name: summand(i) for i, name in enumerate(names(5))}
    for name, words in summands.items():
        shares = deal(bytearray(words), FIELDS, bytes(32), 3, stream(name))
        for aggregator, share in zip(found, shares, strict=True):
            aggregator.take(name, share)
    return found, summands


@attack("coordinator", COMMITTEE + "_refuse_second_set", "totals with and without one retailer")
def it_has_the_committee_publish_two_sets(folder: Path) -> bool:
    aggregators, summands = committee(folder)
    totals = []
    for retailers in (names(5), OTHERS):
        signatures = {a.name: a.agree(retailers) for a in aggregators}
        sums = {a.name: a.publish(retailers, signatures) for a in aggregators}
        totals.append(as_lists(total(sums, list(sums), FIELDS)))
    others = [summands[name] for name in OTHERS]
    return totals == [clear_total(summands.values()), clear_total(others)]


@attack("coordinator", COMMITTEE + "_refuse_unsigned_set", "one aggregator's sum of any set")
def it_has_one_aggregator_publish_alone(folder: Path) -> bool:
    aggregators, _ = committee(folder)
    one = aggregators[0]
    return bool(one.publish(OTHERS, {one.name: one.agree(OTHERS)}))
