"""The key ceremony, from outside, as the members of a consortium go through it."""

import json
import shutil
from datetime import date, timedelta

import pytest
from click.testing import CliRunner

from grandtotal.cli import main
from grandtotal.participate import door_of
from grandtotal.privacy.identity import read_roster, read_unverified, write_roster

RETAILERS = ("north", "south", "west")


@pytest.fixture
def home(example, tmp_path):
    """Returns a folder with a plan and three retailers that have no key yet."""
    shutil.copytree(example, tmp_path / "home", ignore=shutil.ignore_patterns("door"))
    return tmp_path / "home"


def run(*arguments, ok=True, stdin=None):
    found = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert (found.exit_code == 0) == ok, found.output
    return found.output


def config(home, name):
    return home / name / "retailer.toml"


@pytest.fixture
def roster(home, tmp_path):
    """Returns a roster of everybody's keys that nobody has signed."""
    for name in RETAILERS:
        run("retailer", "keygen", config(home, name))
    public = [home / name / "door" / f"{name}.pub" for name in RETAILERS]
    path = tmp_path / "roster.json"
    run("consortium", "roster", home / "plan.toml", *public, "--out", path)
    return path


def sign_all(home, roster):
    for name in RETAILERS:
        run("retailer", "sign", roster, config(home, name), "--yes")


def test_keys_are_made_at_home_signed_by_all_and_pinned_by_each(home, roster):
    sign_all(home, roster)
    for name in RETAILERS:
        assert "pinned" in run("retailer", "pin", roster, config(home, name))
        pinned = door_of(config(home, name)).roster("small", RETAILERS)
        assert pinned == read_roster(roster, date.today(), RETAILERS)
    run("run", home / "plan.toml", "--runs", home / "runs", "--json")
    # The simulation took the members' own roster, not one that it made.
    used = next((home / "runs").glob("*/coordinator/roster.json"))
    assert read_unverified(used).digest == read_unverified(roster).digest


def test_a_private_key_is_for_its_owner_alone_and_never_shown(home):
    said = run("retailer", "keygen", config(home, "north"))
    key = door_of(config(home, "north")).key_path
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().splitlines()[1] not in said
    public = (home / "north" / "door" / "north.pub").read_text()
    assert len(bytes.fromhex(public)) == 32
    said = run("retailer", "keygen", config(home, "north"), ok=False)
    assert "exists already" in said


def test_who_signs_sees_every_fingerprint_and_may_say_no(home, roster):
    before = roster.read_bytes()
    said = run("retailer", "sign", roster, config(home, "north"), ok=False, stdin="n\n")
    assert all(name in said for name in RETAILERS)
    assert roster.read_bytes() == before


def test_a_roster_that_one_has_not_signed_is_not_pinned(home, roster):
    for name in RETAILERS[:2]:
        run("retailer", "sign", roster, config(home, name), "--yes")
    said = run("retailer", "pin", roster, config(home, "north"), ok=False)
    assert "not signed by ['west']" in said
    assert str(roster) in said


def test_a_roster_with_a_key_swapped_is_not_signed_nor_pinned(home, roster):
    sign_all(home, roster)
    found = json.loads(roster.read_text())
    found["members"][1][1] = "00" * 32
    roster.write_text(json.dumps(found))
    run("retailer", "pin", roster, config(home, "north"), ok=False)
    said = run("retailer", "sign", roster, config(home, "south"), "--yes", ok=False)
    assert "the roster of 'small' gives 'south' the key" in said


def test_an_older_roster_does_not_replace_a_newer_one(home, roster, tmp_path):
    old = shutil.copy(roster, tmp_path / "old.json")
    public = [home / name / "door" / f"{name}.pub" for name in RETAILERS]
    run("consortium", "roster", home / "plan.toml", *public, "--out", roster)
    assert read_unverified(roster).epoch == 2
    for path in (roster, old):
        sign_all(home, path)
    run("retailer", "pin", roster, config(home, "north"))
    assert "epoch 2 is pinned" in run("retailer", "pin", old, config(home, "north"), ok=False)


@pytest.mark.usefixtures("roster")
def test_keys_of_others_than_the_plans_members_are_refused(home, tmp_path):
    stranger = shutil.copy(home / "north" / "door" / "north.pub", tmp_path / "east.pub")
    said = run("consortium", "roster", home / "plan.toml", stranger, ok=False)
    assert "the plan's members are ['north', 'south', 'west']" in said
    (tmp_path / "east.pub").write_text("no key")
    assert "no public key" in run("consortium", "roster", home / "plan.toml", stranger, ok=False)


def test_an_expired_roster_is_not_pinned(home, roster):
    sign_all(home, roster)
    found = read_unverified(roster)
    past = type(found)(found.consortium, 1, found.members, date.today() - timedelta(days=1))
    write_roster(roster, past)
    sign_all(home, roster)
    said = run("retailer", "pin", roster, config(home, "north"), ok=False)
    assert "was valid until" in said
