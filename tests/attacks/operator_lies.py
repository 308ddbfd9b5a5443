"""Whoever has a retailer's machine: its keys, its tables, its folders. See also `ledger_lies`."""

import shutil
from datetime import date, timedelta
from pathlib import Path

from attacks.attack import attack
from attacks.homes import example
from grandtotal.participate import opener
from grandtotal.plan import Plan
from grandtotal.privacy.door import Door
from grandtotal.privacy.identity import (
    Identity,
    Roster,
    make_identity,
    read_identity,
    read_roster,
    signed_by,
    write_roster,
)
from grandtotal.privacy.secure_sum import Member
from local_sums import identities, roster, setting, stream

IDENTITY = "grandtotal.privacy.identity."


@attack("operator", IDENTITY + "refuse_readable", "signatures in the retailer's name")
def it_lets_a_colleague_read_the_key(folder: Path) -> bool:
    path = folder / "identity.key"
    made = make_identity(path)
    path.chmod(0o640)
    stolen = read_identity(path)
    return signed_by(made.public, b"a roster", stolen.sign(b"a roster"))


@attack("operator", IDENTITY + "refuse_expired", "secure sums under keys that ran out")
def it_goes_on_with_a_roster_that_expired(folder: Path) -> bool:
    path, found = folder / "roster.json", roster(3)
    write_roster(path, found)
    later = found.valid_until + timedelta(days=1)
    return read_roster(path, later).digest == found.digest


@attack(
    "operator",
    "grandtotal.privacy.refusals.another_identity",
    "a part in sums with a key of its own",
)
def it_starts_a_retailer_with_another_key(folder: Path) -> bool:
    mine = Identity(bytes(31) + b"\1")
    assert mine.public != identities(3)["r00"].public
    member = Member("r00", mine, setting(3), folder, stream("r00"))
    return bool(member.advertise(0, 0, 1))


@attack(
    "operator",
    "grandtotal.privacy.door._refuse_other_consortium",
    "sums of one consortium under the keys of another",
)
def it_takes_the_roster_of_another_consortium(folder: Path) -> bool:
    """The members have the same names; what they signed is for another purpose."""
    keys, door = identities(3), Door(folder)
    public = {name: key.public for name, key in keys.items()}
    found = Roster("for another purpose", 1, public, date.today() + timedelta(days=1))
    for name, key in keys.items():
        found = found.signed(name, key)
    write_roster(door.roster_path("test"), found)
    return door.roster("test", tuple(found.members)).consortium != "test"


@attack(
    "operator",
    "grandtotal.participate._refuse_changed_tables",
    "answers of one run about two states of the tables",
)
def it_changes_the_tables_in_the_middle_of_a_run(folder: Path) -> bool:
    shutil.copytree(example() / "north", folder / "north", ignore=shutil.ignore_patterns("door"))
    plan = Plan.read(example() / "plan.toml")
    source = {**plan.source, "tasks": {"demand": plan.source["tasks"]["demand"]}}
    content = Plan.of(source, "the plan").content
    rows = []
    for _ in range(2):
        open_plan = opener("north", folder / "north" / "retailer.toml", folder / "run")
        rows.append(open_plan(content)["demand"].rows["test"].parts[0].units.sum())
        path = folder / "north" / "data" / "transactions.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-500]))
    return rows[0] != rows[1]
