"""Identity keys stay at home, and a roster is one only if all its members signed this very list."""

import json
import os
import stat
from dataclasses import replace
from datetime import date, timedelta

import pytest

from grandtotal.errors import PlanError
from grandtotal.privacy.door import Door
from grandtotal.privacy.identity import (
    Identity,
    Roster,
    fingerprint,
    make_identity,
    read_identity,
    read_roster,
    read_unverified,
    sign_roster,
    signed_by,
    verify_roster,
    write_roster,
)
from local_sums import identities, names, roster, stream

TODAY = date(2026, 12, 1)


@pytest.fixture
def path(tmp_path):
    """The file of a roster that all three signed."""
    path = tmp_path / "roster.json"
    write_roster(path, roster(3))
    return path


def test_a_key_is_its_owners_alone_and_comes_back(tmp_path):
    path = tmp_path / "door" / "identity.key"
    made = make_identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_identity(path).public == made.public
    assert signed_by(made.public, b"content", read_identity(path).sign(b"content"))


def test_a_key_is_not_shown_when_printed(tmp_path):
    made = make_identity(tmp_path / "key", stream("key"))
    assert str(made.seed) not in repr(made)
    assert made.seed.hex() not in repr(made)


def test_two_keys_differ_and_one_is_not_overwritten(tmp_path):
    first = make_identity(tmp_path / "a")
    assert make_identity(tmp_path / "b").public != first.public
    with pytest.raises(PlanError, match="a: exists already") as error:
        make_identity(tmp_path / "a")
    assert "roster of the next epoch" in str(error.value)
    assert read_identity(tmp_path / "a").public == first.public


def test_a_key_that_others_may_read_is_refused(tmp_path):
    make_identity(tmp_path / "key")
    os.chmod(tmp_path / "key", 0o640)
    with pytest.raises(PlanError, match=r"chmod 600 .*key"):
        read_identity(tmp_path / "key")


def test_a_missing_or_damaged_key_is_refused_by_name(tmp_path):
    with pytest.raises(PlanError, match=r"key: the identity key cannot be read .* keygen"):
        read_identity(tmp_path / "key")
    make_identity(tmp_path / "key")
    (tmp_path / "key").write_bytes(b"-----BEGIN PRIVATE KEY-----\nnothing\n")
    with pytest.raises(PlanError, match="key: no Ed25519 private key"):
        read_identity(tmp_path / "key")


def test_ed25519_is_that_of_the_rfc():
    # https://www.rfc-editor.org/rfc/rfc8032, section 7.1, test 1
    identity = Identity(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert identity.public.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )
    assert identity.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_a_fingerprint_is_eight_groups_of_four_digits():
    assert fingerprint(b"") == "e3b0 c442 98fc 1c14 9afb f4c8 996f b924"  # SHA-256 of nothing
    assert len({fingerprint(key.public) for key in identities(50).values()}) == 50


def test_a_roster_comes_back_from_its_file(path):
    assert read_roster(path, TODAY, names(3)) == roster(3)
    assert read_roster(path, date(2027, 1, 1)).digest == roster(3).digest  # the last day


def test_the_members_sign_one_after_the_other(tmp_path):
    path = tmp_path / "roster.json"
    whole = roster(3)
    write_roster(path, replace(whole, signatures={}))
    for name, key in identities(3).items():
        with pytest.raises(PlanError, match=f"roster.json: not signed by .*'{name}'"):
            read_roster(path, TODAY)
        sign_roster(path, name, key)
    assert read_roster(path, TODAY) == whole


def test_a_key_signs_only_under_the_name_that_it_has_in_the_roster(path):
    before = path.read_bytes()
    with pytest.raises(PlanError, match=r"roster.json: .* gives 'r00' the key .*, this key is"):
        sign_roster(path, "r00", identities(3)["r01"])
    with pytest.raises(PlanError, match=r"gives 'r09' no place"):
        sign_roster(path, "r09", identities(3)["r01"])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epoch": 2}, "the signature of 'r00' is not that of its key over this list"),
        ({"consortium": "other"}, "the signature of 'r00' is not"),
        ({"valid_until": "2028-01-01"}, "the signature of 'r00' is not"),
        ({"signatures": {}}, r"not signed by \['r00', 'r01', 'r02'\]"),
        ({"format": 2}, "not a roster of format 1"),
        ({"valid_until": "soon"}, "not a roster of format 1"),
        ({"epoch": "1"}, "not a roster of format 1"),
        ({"members": [["r00", "00"]]}, "a public key of 1 bytes"),
        ({"members": 7}, "not a roster of format 1"),
    ],
)
def test_a_changed_roster_is_refused_by_name(path, changed, message):
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changed}))
    with pytest.raises(PlanError, match=f"roster.json: .*{message}"):
        read_roster(path, TODAY)


def test_a_member_that_was_added_or_exchanged_is_refused(path):
    found = json.loads(path.read_bytes())
    stranger = Identity(stream("stranger")(32))
    more = [*found["members"], ["r03", stranger.public.hex()]]
    path.write_text(json.dumps({**found, "members": more}))
    with pytest.raises(PlanError, match=r"not signed by \['r03'\]"):
        read_roster(path, TODAY)
    sign_roster(path, "r03", stranger)
    with pytest.raises(PlanError, match="the signature of 'r00' is not"):
        read_roster(path, TODAY)
    exchanged = [["r00", stranger.public.hex()], *found["members"][1:]]
    path.write_text(json.dumps({**found, "members": exchanged}))
    with pytest.raises(PlanError, match="the signature of 'r00' is not"):
        read_roster(path, TODAY)


def test_a_signature_of_somebody_else_is_refused(path):
    whole = roster(3)
    write_roster(path, replace(whole, signatures={**whole.signatures, "r09": bytes(64)}))
    with pytest.raises(PlanError, match="the signature of 'r09' is not"):
        read_roster(path, TODAY)


def test_an_expired_roster_is_refused(path):
    with pytest.raises(PlanError, match="was valid until 2027-01-01, today is 2027-01-02"):
        read_roster(path, date(2027, 1, 2))


def test_another_plan_than_the_rosters_is_refused(path):
    with pytest.raises(PlanError, match=r"not in the roster \['r03'\], not in the plan \['r02'\]"):
        read_roster(path, TODAY, ("r00", "r01", "r03"))


def test_a_roster_of_another_consortium_is_refused_by_name(tmp_path):
    door, keys = Door(tmp_path), identities(3)
    public = {name: key.public for name, key in keys.items()}
    found = Roster("another", 1, public, date.today() + timedelta(days=1))
    for name, key in keys.items():
        found = found.signed(name, key)
    path = door.roster_path("test")
    write_roster(path, found)
    with pytest.raises(
        PlanError, match="the roster of 'another', the plan is of 'test'"
    ) as refused:
        door.roster("test", tuple(public))
    assert str(path) in str(refused.value)


def test_a_company_under_two_names_is_refused():
    keys = identities(3)
    members = dict.fromkeys(names(3), keys["r00"].public)
    shared = Roster("test", 1, members, date(2027, 1, 1))
    for name in names(3):
        shared = shared.signed(name, keys["r00"])
    with pytest.raises(PlanError, match="two members have the same public key"):
        verify_roster(shared, TODAY)


def test_fewer_than_three_members_are_refused():
    with pytest.raises(PlanError, match="2 members, expected at least 3"):
        verify_roster(roster(2), TODAY)


def test_a_name_twice_no_file_and_no_json_are_refused_by_name(path, tmp_path):
    found = json.loads(path.read_bytes())
    path.write_text(json.dumps({**found, "members": [*found["members"], found["members"][0]]}))
    with pytest.raises(PlanError, match="a name is listed twice"):
        read_unverified(path)
    path.write_text("{")
    with pytest.raises(PlanError, match=r"roster.json: no roster, the text is not JSON"):
        read_unverified(path)
    with pytest.raises(PlanError, match=r"none.json: the roster cannot be read"):
        read_unverified(tmp_path / "none.json")
