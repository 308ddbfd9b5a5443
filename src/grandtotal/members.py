"""The key ceremony: keys made at the retailers, a roster that all of them sign, pinned by each.

1. Each retailer makes its key. Only the file NAME.pub goes to the others.
2. One of them, or the coordinator, writes the roster of all public keys.
3. Each retailer compares the fingerprints with the others on another channel, and signs.
4. Each retailer pins the roster that all have signed; secure sums trust its keys alone.
"""

from datetime import date
from pathlib import Path

from grandtotal.durable import write
from grandtotal.errors import PlanError
from grandtotal.plan import Plan
from grandtotal.privacy.identity import (
    KEY_BYTES,
    Roster,
    fingerprint,
    make_identity,
    read_roster,
    read_unverified,
    sign_roster,
    write_roster,
)
from grandtotal.retailer_file import door_of, name_of


def keygen(config: Path) -> tuple[Path, str]:
    """Makes the key of a retailer; returns the file of its public half and the fingerprint.

    PlanError where it has a key already.
    """
    door = door_of(config)
    public = make_identity(door.key_path).public
    path = door.folder / f"{name_of(config)}.pub"
    write(path, public.hex().encode() + b"\n")
    return path, fingerprint(public)


def make_roster(plan: Plan, keys: list[Path], valid_until: date, path: Path) -> Roster:
    """Writes the roster of a plan's members, not signed yet; PlanError for wrong or missing keys.

    keys: the files NAME.pub. A roster that is at the path already is followed by the next epoch.
    """
    given = {key.stem: _public(key) for key in keys}
    if set(given) != set(plan.members):
        raise PlanError(
            f"keys of {sorted(given)}, the plan's members are {sorted(plan.members)}; give the "
            f"file NAME.pub of each"
        )
    epoch = read_unverified(path).epoch + 1 if path.exists() else 1
    members = {name: given[name] for name in plan.members}
    roster = Roster(plan.name, epoch, members, valid_until)
    write_roster(path, roster)
    return roster


def _public(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise PlanError(
            f"{path}: no public key; expected the file NAME.pub that `grandtotal retailer keygen` "
            f"wrote"
        )
    return key


def sign(roster: Path, config: Path) -> Roster:
    """Adds a retailer's signature to a roster; returns it."""
    return sign_roster(roster, name_of(config), door_of(config).identity())


def pin(roster: Path, config: Path, today: date) -> Path:
    """Keeps a roster that all its members have signed as the one to trust; returns its place.

    PlanError where it is not valid, this retailer's key is not in it, or an older epoch than the
    one that is pinned.
    """
    door, name = door_of(config), name_of(config)
    found = read_roster(roster, today)
    public = door.identity().public
    if found.members.get(name) != public:
        raise PlanError(
            f"{roster}: does not have '{name}' with the key {fingerprint(public)}; it is a roster "
            f"of other retailers, or of another key of this one"
        )
    path = door.roster_path(found.consortium)
    if path.exists():
        _refuse_older(roster, found.epoch, read_unverified(path).epoch)
    write_roster(path, found)
    return path


def _refuse_older(roster: Path, epoch: int, pinned: int) -> None:
    if pinned > epoch:
        raise PlanError(
            f"{roster}: of epoch {epoch}, but epoch {pinned} is pinned; an older roster may hold "
            f"a key that was given up: ask for the newest"
        )
