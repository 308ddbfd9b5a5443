"""A log that shows when it was changed: each record names the digest of the one before.

An edit, a gap or another order breaks the chain. A cut at the end does not, so a file `head` beside
the log says how many records there are. Whoever can write both files can write another chain; that
is for those to find who were shown its digests before: see `ledger`.
"""

import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from grandtotal.durable import Json, Log, canonical, digest, read_log, write
from grandtotal.errors import AnswerError, Code

HEAD = "head"
LOCK = "lock"
FORMAT = 1
NOTHING_YET = "0" * 64


class Chain:
    """The chained log at a path, in the hands of one process until `close`.

    found: is given each record that is there already, once all are verified. digests: `digests[n]`
    is that of the first n records.
    """

    def __init__(self, path: Path, found: Callable[[Json], object] = lambda _: None) -> None:
        self.path = path
        self._head = path.with_name(HEAD)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path.with_name(LOCK))
        try:
            self.digests = _digests(verify(path))
            if not self._head.exists():
                write(self._head, _head_line(0, NOTHING_YET))
            self._log = Log(path, found)
        except BaseException:
            self.close()
            raise

    def append(self, kind: str, facts: Mapping[str, Any]) -> Json:
        """Adds a record and returns it; it is durable when this returns."""
        record: Json = {
            **facts,
            "format": FORMAT,
            "n": len(self.digests),
            "kind": kind,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            # Others keep digests of records: without this they could guess what is in one.
            "salt": os.urandom(16).hex(),
            "previous": self.digests[-1],
        }
        self._log.append(record)
        self.digests.append(digest(canonical(record)))
        # In place and not synchronised: it may be behind, after a crash, and never ahead.
        with suppress(OSError), self._head.open("r+b") as file:
            file.write(_head_line(record["n"], self.digests[-1]))
        return record

    def close(self) -> None:
        """Lets another process open the chain."""
        with suppress(OSError):
            os.close(self._lock)


def verify(path: Path) -> list[Json]:
    """Returns the records of a chain; AnswerError names the file and line that was tampered with.

    A last line without its end is what a crash leaves behind: it was never acted on.
    """
    records = read_log(path)
    _refuse_changed_line(path, len(records))
    digests = _digests(records)
    for n, record in enumerate(records, 1):
        _refuse_other_format(path, n, record)
        _refuse_broken_link(path, n, record, digests[n - 1])
    _refuse_other_head(path, digests)
    return records


def _refuse_changed_line(path: Path, readable: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if readable < sum(line.endswith(b"\n") for line in lines):
        _damaged(f"{path}: line {readable + 1} was changed, or is of another version")


def _refuse_other_format(path: Path, n: int, record: Json) -> None:
    if record.get("format") != FORMAT:
        _damaged(f"{path}: line {n} has format {record.get('format')}, this version {FORMAT}")


def _refuse_broken_link(path: Path, n: int, record: Json, previous: str) -> None:
    if (record.get("n"), record.get("previous")) != (n, previous):
        _damaged(f"{path}: line {n} does not follow from the line before it")


def _refuse_other_head(path: Path, digests: list[str]) -> None:
    head, records = path.with_name(HEAD), len(digests) - 1
    if records and not head.exists():
        _damaged(f"{head}: is missing")
    count, known = _read_head(head) if head.exists() else (0, NOTHING_YET)
    if count > records or digests[count] != known:
        _damaged(f"{path}: has {records} records; {head} names {count}, or others")


def _digests(records: list[Json]) -> list[str]:
    return [NOTHING_YET, *(digest(canonical(record)) for record in records)]


def _damaged(what: str) -> NoReturn:
    raise AnswerError(
        Code.LEDGER,
        f"{what}. Nothing is released from a ledger that does not verify: put back the newest copy "
        f"of its folder; if there is none, move it away and begin a new one under a roster of the "
        f"next epoch, which carries over what the peers know to be spent",
    )


def _head_line(records: int, head: str) -> bytes:
    return f"{records:12d} {head}\n".encode()


def _read_head(path: Path) -> tuple[int, str]:
    try:
        count, known = path.read_text("ascii").split()
        return int(count), known
    except ValueError:
        _damaged(f"{path}: cannot be read")


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise AnswerError(
            Code.LEDGER,
            f"{path}: another run of this retailer is at work; wait until it is done, or stop it",
        ) from None
    return lock
