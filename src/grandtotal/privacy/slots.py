"""What a member of secure sums remembers, so that it never releases twice: a log and its secrets.

    secure_sum.jsonl     one line for each step, on the disk before its reply leaves
    batch-7.secrets      the secrets of batch 7, one region for each slot, erased one by one
    batch-7.json         the list of all keys of batch 7, and the reply that went with it

A slot costs a line when it is masked, a line when it is released (with dropouts one more), and one
write when its region is erased. Erasing writes zeros over the region and synchronises it; a file
system or a disk that keeps old versions of blocks may still hold them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grandtotal.durable import (
    Json,
    Log,
    digest,
    read_json,
    read_log,
    sync_folder,
    write_json,
    write_private,
)
from grandtotal.errors import RunError
from grandtotal.privacy.messages import VERSION, pieces, raw, text
from grandtotal.privacy.protocol import Setting
from grandtotal.privacy.shamir import SECRET_BYTES, SHARE_BYTES

LOG = "secure_sum.jsonl"
_START = SECRET_BYTES  # the private key that opens the shares of the peers


@dataclass
class BatchState:
    """How far the set-up of a batch has come here."""

    first_slot: int
    slots: int
    advertisement: bytes
    context: bytes = b""  # of the list of keys, once it is signed
    listed: str = ""  # digest of the file of the list
    received: bool = False


@dataclass
class Attempt:
    """What this retailer did in one slot. path: "", "full" or "survivors"."""

    slot: int
    context: bytes
    question: str
    active: tuple[str, ...]
    masked: str
    header: bytes
    path: str = ""
    survivors: tuple[str, ...] = ()
    headers: str = ""
    released: bool = False


@dataclass
class SlotSecrets:
    """The secrets of one slot: one's own two, and the shares of everybody's two."""

    seed: bytes
    private: bytes
    seeds: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)

    @property
    def erased(self) -> bool:
        """Whether the slot was closed."""
        return not any(self.seed)


class Slots:
    """The folder of one member for one run; opened again, it is what it was."""

    def __init__(self, folder: Path, setting: Setting, name: str) -> None:
        self._folder = folder
        self._members = setting.members
        self.batches: dict[int, BatchState] = {}
        self.attempts: dict[int, Attempt] = {}
        self.latest: dict[str, int] = {}  # question -> slot of its last attempt
        self.released: dict[str, int] = {}  # question -> slot where its total was released
        self.active = setting.members
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / LOG
        _refuse_damaged(path)
        before: list[Json] = []
        self._log = Log(path, before.append)
        begun = {
            "step": "setting",
            "version": VERSION,
            "setting": setting.digest.hex(),
            "name": name,
        }
        _refuse_another(path, before[:1], begun)
        if not before:
            self._log.append(begun)
        for record in before[1:]:
            self._apply(record)

    @property
    def last_batch(self) -> int:
        """Returns the number of the last batch, -1 before the first."""
        return max(self.batches, default=-1)

    @property
    def next_slot(self) -> int:
        """Returns the first slot that is in no batch."""
        return max((b.first_slot + b.slots for b in self.batches.values()), default=0)

    @property
    def last_slot(self) -> int:
        """Returns the last slot that was attempted, -1 before the first."""
        return max(self.attempts, default=-1)

    def batch_of(self, slot: int) -> int | None:
        """Returns the batch that a slot is in, where its set-up is complete."""
        for number, batch in self.batches.items():
            if batch.received and batch.first_slot <= slot < batch.first_slot + batch.slots:
                return number
        return None

    # --- steps: each is on the disk when its function returns ---

    def advertise(
        self, batch: int, first_slot: int, seal: bytes, own: list[SlotSecrets], message: bytes
    ) -> None:
        """Keeps the secrets of a new batch and the advertisement of its public keys."""
        room = bytes(self._region - 2 * SECRET_BYTES)
        content = seal + b"".join(secret.seed + secret.private + room for secret in own)
        _write_private(self._secrets(batch), content)
        self._append(
            {
                "step": "advertised",
                "batch": batch,
                "first_slot": first_slot,
                "slots": len(own),
                "message": text(message),
            }
        )

    def list_keys(
        self,
        batch: int,
        context: bytes,
        messages: Mapping[str, bytes],
        reply: bytes,
        own: Mapping[int, SlotSecrets],
    ) -> None:
        """Keeps the list of all keys, what is sent with it, and one's own shares."""
        self._keep(batch, own)
        listed = {
            "version": VERSION,
            "advertisements": {name: text(message) for name, message in messages.items()},
            "reply": text(reply),
        }
        path = self._list(batch)
        write_json(path, listed)
        self._append(
            {
                "step": "listed",
                "batch": batch,
                "context": context.hex(),
                "active": sorted(messages),
                "file": digest(path.read_bytes()),
            }
        )

    def receive(self, batch: int, secrets: Mapping[int, SlotSecrets]) -> None:
        """Keeps the shares of all peers; the key that opened them is erased."""
        self._keep(batch, secrets)
        self._append({"step": "received", "batch": batch})
        self._forget_seal(batch)

    def mask(self, batch: int, attempt: Attempt) -> None:
        """Writes down what a slot is used for, before the masked words leave."""
        self._append(
            {
                "step": "masked",
                "batch": batch,
                "slot": attempt.slot,
                "context": attempt.context.hex(),
                "question": attempt.question,
                "active": list(attempt.active),
                "masked": attempt.masked,
                "header": text(attempt.header),
            }
        )

    def take_path(
        self, slot: int, path: str, survivors: tuple[str, ...], headers: str, released: bool
    ) -> None:
        """Writes down which way a slot goes, before anything that depends on it leaves."""
        self._append(
            {
                "step": "released" if released else "survivors",
                "slot": slot,
                "path": path,
                "survivors": sorted(survivors),
                "headers": headers,
            }
        )

    def erase(self, batch: int, slots: list[int]) -> None:
        """Overwrites the secrets of slots; removes the files of a batch that has none left."""
        path = self._secrets(batch)
        if not path.exists():
            return
        first, nothing = self.batches[batch].first_slot, bytes(self._region)
        _overwrite(path, {_START + (slot - first) * self._region: nothing for slot in slots})
        if not any(path.read_bytes()):
            for file in (path, self._list(batch)):
                file.unlink(missing_ok=True)
            sync_folder(self._folder)

    # --- what was kept ---

    def seal(self, batch: int) -> bytes:
        """Returns the private key that opens the shares of the peers, of a new batch."""
        return self._secrets(batch).read_bytes()[:_START]

    def secrets(self, batch: int, slot: int) -> SlotSecrets:
        """Returns the secrets of a slot; of a closed one, nothing but zeros."""
        path = self._secrets(batch)
        if not path.exists():
            return SlotSecrets(bytes(SECRET_BYTES), bytes(SECRET_BYTES))
        with path.open("rb") as file:
            file.seek(_START + (slot - self.batches[batch].first_slot) * self._region)
            region = file.read(self._region)
        own, shares = region[: 2 * SECRET_BYTES], pieces(region[2 * SECRET_BYTES :], SHARE_BYTES)
        count = len(self._members)
        return SlotSecrets(
            own[:SECRET_BYTES],
            own[SECRET_BYTES:],
            dict(zip(self._members, shares[:count], strict=True)),
            dict(zip(self._members, shares[count:], strict=True)),
        )

    def listed(self, batch: int) -> tuple[dict[str, bytes], bytes]:
        """Returns the advertisements of the list that was signed, and the reply to it."""
        path = self._list(batch)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RunError(f"{path}: the list of keys cannot be read ({error.strerror})") from None
        if digest(content) != self.batches[batch].listed:
            raise RunError(f"{path}: not the list that {LOG} names; nothing is released")
        found = read_json(path)
        messages = {name: raw(message) for name, message in found["advertisements"].items()}
        return messages, raw(found["reply"])

    # --- files ---

    @property
    def _region(self) -> int:
        return 2 * SECRET_BYTES + 2 * len(self._members) * SHARE_BYTES

    def _secrets(self, batch: int) -> Path:
        return self._folder / f"batch-{batch}.secrets"

    def _list(self, batch: int) -> Path:
        return self._folder / f"batch-{batch}.json"

    def _keep(self, batch: int, secrets: Mapping[int, SlotSecrets]) -> None:
        nothing = bytes(SHARE_BYTES)
        first = self.batches[batch].first_slot
        _overwrite(
            self._secrets(batch),
            {
                _START + (slot - first) * self._region: b"".join(
                    (
                        secret.seed,
                        secret.private,
                        *(secret.seeds.get(name, nothing) for name in self._members),
                        *(secret.keys.get(name, nothing) for name in self._members),
                    )
                )
                for slot, secret in secrets.items()
            },
        )

    def _forget_seal(self, batch: int) -> None:
        if self._secrets(batch).exists() and any(self.seal(batch)):
            _overwrite(self._secrets(batch), {0: bytes(_START)})

    # --- the log ---

    def _append(self, record: Json) -> None:
        self._log.append(record)
        self._apply(record)

    def _apply(self, record: Json) -> None:
        step = record["step"]
        if step == "advertised":
            self.batches[record["batch"]] = BatchState(
                record["first_slot"], record["slots"], raw(record["message"])
            )
        elif step == "listed":
            batch = self.batches[record["batch"]]
            batch.context, batch.listed = bytes.fromhex(record["context"]), record["file"]
            self.active = tuple(record["active"])
        elif step == "received":
            self.batches[record["batch"]].received = True
            self._forget_seal(record["batch"])
        elif step == "masked":
            self._apply_masked(record)
        else:
            self._apply_path(record)

    def _apply_masked(self, record: Json) -> None:
        slot = record["slot"]
        self.attempts[slot] = Attempt(
            slot,
            bytes.fromhex(record["context"]),
            record["question"],
            tuple(record["active"]),
            record["masked"],
            raw(record["header"]),
        )
        self.latest[record["question"]] = slot
        self.active = tuple(record["active"])

    def _apply_path(self, record: Json) -> None:
        attempt = self.attempts[record["slot"]]
        attempt.path, attempt.headers = record["path"], record["headers"]
        attempt.survivors = tuple(record["survivors"])
        self.active = tuple(name for name in self.active if name in attempt.survivors)
        if record["step"] == "released":
            attempt.released = True
            self.released[attempt.question] = attempt.slot


def _write_private(path: Path, content: bytes) -> None:
    # Not by rename: nobody was told of these secrets before the log says that they are whole.
    path.unlink(missing_ok=True)
    write_private(path, content)


def _overwrite(path: Path, content: Mapping[int, bytes]) -> None:
    with path.open("r+b") as file:
        for position, part in content.items():
            file.seek(position)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _refuse_damaged(path: Path) -> None:
    """Raises RunError where a whole line cannot be read: what it said may have been a release."""
    if not path.exists():
        return
    whole = path.read_bytes().count(b"\n")
    if len(read_log(path)) < whole:
        raise RunError(
            f"{path}: line {len(read_log(path)) + 1} is damaged, so that what was released is not "
            f"known; nothing is released any more. Restore the file as it was, or have a roster of "
            f"the next epoch signed and start a new run"
        )


def _refuse_another(path: Path, first: list[Json], expected: Json) -> None:
    if not first or first[0] == expected:
        return
    if first[0].get("version") != expected["version"]:
        raise RunError(
            f"{path}: written by version {first[0].get('version')!r}, this is "
            f"{expected['version']!r}; finish the run with the version that began it"
        )
    raise RunError(
        f"{path}: the secure sums of another run, plan, roster, member or version of the code; "
        f"nothing is released. Start a new run in a folder of its own"
    )
