"""Why a member of a secure sum refuses: every check of the protocol, one function each.

Each raises AnswerError where what was shown is not what it has to be. They are called by name from
this module, so that the attacks in the tests can remove exactly one and show what it stops.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from grandtotal.durable import Json
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy.identity import signed_by

if TYPE_CHECKING:
    from grandtotal.privacy.messages import Advertisement, Header, Release
    from grandtotal.privacy.slots import Attempt

# --- who says it, and about what ---


def foreign_signature(name: str, public: bytes, content: bytes, signature: bytes) -> None:
    """Refuses what was not signed with the key that the roster gives to the name."""
    if not signed_by(public, content, signature):
        raise AnswerError(Code.NOT_SIGNED, f"a message of '{name}' is not signed with its key")


def other_version(name: str, body: Json, version: str) -> None:
    """Refuses a message of another version of the protocol."""
    if body.get("version") != version:
        raise AnswerError(
            Code.OTHER_VERSION,
            f"a message of '{name}' is of version {body.get('version')!r}, this is {version!r}",
        )


def other_kind(name: str, body: Json, kind: str) -> None:
    """Refuses a message that was signed for another purpose."""
    if body.get("kind") != kind:
        raise AnswerError(
            Code.MALFORMED, f"'{name}' signed a '{body.get('kind')}', expected was a '{kind}'"
        )


def other_sender(name: str, body: Json) -> None:
    """Refuses a message that names another sender than whose key signed it."""
    if body.get("from") != name:
        raise AnswerError(
            Code.NOT_SIGNED, f"a message of '{name}' says that it is from {body.get('from')!r}"
        )


def other_setting(name: str, body: Json, setting: bytes) -> None:
    """Refuses a message of another run, plan, roster, code or threshold."""
    if body.get("setting") != setting.hex():
        raise AnswerError(
            Code.OTHER_PLAN,
            f"a message of '{name}' is of another run, plan, roster or version of the code",
        )


def another_identity(name: str, mine: bytes, listed: bytes | None) -> None:
    """Refuses a roster that gives this retailer's name to another key."""
    if listed != mine:
        raise AnswerError(
            Code.NOT_SIGNED,
            f"the roster does not give '{name}' the key of this retailer; have a roster with this "
            f"key signed",
        )


def strangers(names: Iterable[str], members: Collection[str]) -> None:
    """Refuses names that are not among those of the roster, the batch or the slot."""
    found = sorted(set(names) - set(members))
    if found:
        raise AnswerError(Code.OTHER_MEMBERS, f"{found} are not among {sorted(members)}")


def too_few(names: Collection[str], least: int) -> None:
    """Refuses a set below max(t, 3, n - d)."""
    if len(names) < least:
        raise AnswerError(
            Code.TOO_FEW, f"{len(names)} retailers are left, a total needs at least {least}"
        )


def returned(names: Iterable[str], active: Collection[str]) -> None:
    """Refuses a set with somebody who dropped out before."""
    found = sorted(set(names) - set(active))
    if found:
        raise AnswerError(
            Code.OTHER_MEMBERS,
            f"{found} dropped out before and stay out until a new run or segment is approved",
        )


def without_me(name: str, names: Collection[str]) -> None:
    """Refuses to take part in a set that this retailer is not in."""
    if name not in names:
        raise AnswerError(
            Code.OTHER_MEMBERS, f"asked for the set {sorted(names)}, without this one"
        )


# --- the set-up of a batch ---


def batch_size(slots: int, most: int) -> None:
    """Refuses a batch of no slot or of more than are ever needed."""
    if not 1 <= slots <= most:
        raise AnswerError(Code.MALFORMED, f"a batch of {slots} slots, expected 1 to {most}")


def used_slots(batch: int, first_slot: int, last_batch: int, next_slot: int) -> None:
    """Refuses a new batch whose number or slots are not above all earlier ones."""
    if batch <= last_batch or first_slot < next_slot:
        raise AnswerError(
            Code.SLOT_USED,
            f"batch {batch} from slot {first_slot}, but batch {last_batch} and the slots below "
            f"{next_slot} are used",
        )


def changed_batch(batch: int, asked: tuple[int, int], advertised: tuple[int, int]) -> None:
    """Refuses other slots for a batch whose keys have been published."""
    if asked != advertised:
        raise AnswerError(
            Code.SLOT_USED,
            f"batch {batch} was advertised for {advertised[1]} slots from {advertised[0]} on, now "
            f"it is asked for {asked[1]} from {asked[0]} on",
        )


def other_batch(found: "Advertisement", batch: int, first_slot: int, slots: int) -> None:
    """Refuses an advertisement of another batch or other slots than the rest."""
    if (found.batch, found.first_slot, found.slots) != (batch, first_slot, slots):
        raise AnswerError(
            Code.OTHER_VIEW,
            f"'{found.name}' advertised batch {found.batch} with {found.slots} slots from "
            f"{found.first_slot} on, expected batch {batch} with {slots} from {first_slot} on",
        )


def key_counts(found: "Advertisement") -> None:
    """Refuses an advertisement that has not one key and one commitment for each slot."""
    if not len(found.keys) == len(found.commitments) == found.slots or len(found.seal) != 32:
        raise AnswerError(Code.MALFORMED, f"'{found.name}' has not one key for each slot")


def repeated_keys(found: Iterable["Advertisement"]) -> None:
    """Refuses a key or a commitment that occurs twice: in two slots or of two members."""
    everything = [value for one in found for value in (one.seal, *one.keys, *one.commitments)]
    if len(set(everything)) < len(everything):
        raise AnswerError(Code.OTHER_VIEW, "the same key is listed for two members or two slots")


def own_keys_changed(mine: bytes, shown: bytes) -> None:
    """Refuses a list that has other keys for this retailer than it made."""
    if shown != mine:
        raise AnswerError(Code.OTHER_VIEW, "the list has other keys for this retailer than it made")


def second_list(batch: int, context: bytes, listed: bytes) -> None:
    """Refuses to sign another list of keys for a batch."""
    if context != listed:
        raise AnswerError(
            Code.SLOT_USED, f"batch {batch}: this retailer has signed another list of keys"
        )


def differing_lists(name: str, context: bytes, listed: bytes) -> None:
    """Refuses a set-up for which a peer signed another list of keys."""
    if context != listed:
        raise AnswerError(
            Code.OTHER_VIEW, f"'{name}' signed another list of keys than this retailer was shown"
        )


def missing_lists(names: Collection[str], active: Collection[str]) -> None:
    """Refuses a set-up that not all its members signed."""
    if set(names) != set(active):
        raise AnswerError(
            Code.OTHER_VIEW, f"the list of keys was signed by {sorted(names)}, not by all of it"
        )


def share_lengths(name: str, content: bytes, expected: int) -> None:
    """Refuses shares of another length."""
    if len(content) != expected:
        raise AnswerError(
            Code.MALFORMED, f"'{name}' sealed {len(content)} bytes of shares, expected {expected}"
        )


# --- one slot ---


def other_length(length: int, expected: int) -> None:
    """Refuses words that are not those of the fields."""
    if length != expected:
        raise AnswerError(
            Code.FIELDS_DIFFER, f"{length} bytes of words, the fields have {expected}"
        )


def earlier_slot(slot: int, last: int) -> None:
    """Refuses a slot at or below one that was attempted: late messages open nothing."""
    if slot <= last:
        raise AnswerError(Code.SLOT_USED, f"slot {slot} is asked for after slot {last}")


def burnt_slot(attempt: "Attempt", context: bytes) -> None:
    """Refuses another question, broadcast, field or set in a slot that was attempted."""
    if attempt.context != context:
        raise AnswerError(Code.SLOT_USED, f"slot {attempt.slot} was used for another attempt")


def other_words(attempt: "Attempt", masked: str) -> None:
    """Refuses another summand under masks that have been used: the difference would be clear."""
    if attempt.masked != masked:
        raise AnswerError(
            Code.ANSWER_CHANGED, f"slot {attempt.slot} was used for other numbers; use a new slot"
        )


def released_question(slot: int, before: int | None) -> None:
    """Refuses a new attempt at a question whose total was released."""
    if before is not None and before != slot:
        raise AnswerError(
            Code.RELEASED,
            f"the total of this question was released in slot {before}; only that attempt can be "
            f"completed",
        )


def superseded(slot: int, latest: int) -> None:
    """Refuses to go on with an attempt after a later one at the same question."""
    if slot != latest:
        raise AnswerError(
            Code.SLOT_USED, f"slot {slot}: the question was attempted again in slot {latest}"
        )


def closed(slot: int, is_closed: bool) -> None:
    """Refuses what needs the secrets of a slot that was closed."""
    if is_closed:
        raise AnswerError(Code.SLOT_USED, f"slot {slot} is closed, its secrets are deleted")


def other_context(header: "Header", slot: int, context: bytes) -> None:
    """Refuses a header of another slot, question, broadcast, fields, set-up or active set."""
    if (header.slot, header.context) != (slot, context):
        raise AnswerError(
            Code.OTHER_VIEW,
            f"'{header.name}' answered slot {header.slot} in another view than this retailer's",
        )


def own_header_changed(mine: bytes, shown: bytes | None) -> None:
    """Refuses a set of headers without the one that this retailer signed."""
    if shown != mine:
        raise AnswerError(Code.OTHER_VIEW, "the headers do not have this retailer's own as it was")


def missing_headers(names: Collection[str], active: Collection[str]) -> None:
    """Refuses the path without dropouts unless the headers of the full active set are there."""
    if set(names) != set(active):
        raise AnswerError(
            Code.OTHER_VIEW,
            f"headers of {sorted(names)} without signatures on the set of survivors; active are "
            f"{sorted(active)}",
        )


def other_survivors(name: str, found: Json, mine: Json) -> None:
    """Refuses a signature on another set of survivors, or on other headers of it."""
    if found != mine:
        raise AnswerError(Code.OTHER_VIEW, f"'{name}' signed another set of survivors")


def few_signatures(signers: Collection[str], threshold: int) -> None:
    """Refuses a set of survivors that fewer than t have signed."""
    if len(signers) < threshold:
        raise AnswerError(
            Code.TOO_FEW,
            f"{len(signers)} signatures on the set of survivors, expected at least {threshold}",
        )


def other_path(attempt: "Attempt", path: str, members: Collection[str], headers: str) -> None:
    """Refuses a second path: with and without dropouts, or two sets of survivors, in one slot."""
    taken = (attempt.path, sorted(attempt.survivors), attempt.headers)
    if attempt.path and taken != (path, sorted(members), headers):
        raise AnswerError(
            Code.RELEASED,
            f"slot {attempt.slot}: this retailer went the path '{attempt.path}' for "
            f"{sorted(attempt.survivors)}, now '{path}' is asked for {sorted(members)}",
        )


def no_survivors_signed(attempt: "Attempt") -> None:
    """Refuses to release mask keys before this retailer signed the set of survivors itself."""
    if attempt.path != "survivors":
        raise AnswerError(
            Code.OTHER_VIEW, f"slot {attempt.slot}: this retailer signed no set of survivors"
        )


# --- taking the masks off ---


def other_vector(name: str, masked: str, committed: str) -> None:
    """Refuses a masked vector that is not the one its header is about."""
    if masked != committed:
        raise AnswerError(
            Code.OTHER_VIEW, f"the masked vector of '{name}' is not the one that it signed"
        )


def other_seed(name: str, found: bytes, published: bytes) -> None:
    """Refuses a recombined seed that is not the one of the set-up."""
    if found != published:
        raise AnswerError(Code.OTHER_VIEW, f"the shares of the seed of '{name}' give another seed")


def other_private(name: str, public: bytes, published: bytes) -> None:
    """Refuses a recombined mask key that is not that of the public key of the set-up."""
    if public != published:
        raise AnswerError(Code.OTHER_VIEW, f"the shares of the key of '{name}' give another key")


def both_secrets(seeds: Mapping[str, bytes], keys: Mapping[str, bytes]) -> None:
    """Refuses a release that opens both secrets of one member."""
    both = sorted(set(seeds) & set(keys))
    if both:
        raise AnswerError(Code.RELEASED, f"a release with both secrets of {both}")


def other_release(release: "Release", slot: int, context: bytes, headers: str) -> None:
    """Refuses a release for another slot, view or set of headers."""
    if (release.slot, release.context, release.headers) != (slot, context, headers):
        raise AnswerError(
            Code.OTHER_VIEW, f"'{release.name}' released for other headers or another slot"
        )


def other_releases(
    release: "Release", survivors: Collection[str], dropped: Collection[str]
) -> None:
    """Refuses a release that is not of the seeds of all survivors and the keys of all others."""
    if set(release.seeds) != set(survivors) or set(release.keys) != set(dropped):
        raise AnswerError(
            Code.OTHER_VIEW,
            f"'{release.name}' released seeds of {sorted(release.seeds)} and keys of "
            f"{sorted(release.keys)}",
        )


def few_releases(names: Collection[str], threshold: int) -> None:
    """Refuses to take off masks with fewer releases than the threshold."""
    if len(names) < threshold:
        raise AnswerError(Code.TOO_FEW, f"{len(names)} releases, expected at least {threshold}")
