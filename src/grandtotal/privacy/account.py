"""What the records of a ledger add up to: what was spent, and what was answered for whom."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from grandtotal.durable import Json

Spent = dict[str, dict[str, float]]
"""rho by unit and purpose."""

Asked = tuple[str, str]
"""A run and the digest of a question in it."""

Alike = tuple[str, tuple[str, str]]
"""What makes two releases alike: the subject; and the query with the clear summand."""


@dataclass(slots=True)
class Released:
    """One release, as later ones are compared with it; the ledger's file holds all of its record.

    at: when. members: for whom it was last reserved.
    """

    alike: Alike
    at: str
    members: frozenset[str]

    @property
    def query(self) -> str:
        return self.alike[1][0]

    @property
    def summand(self) -> str:
        return self.alike[1][1]


class Account:
    """What the records of a ledger add up to: less than 2 kB for each release.

    spent: rho by unit and purpose. alike: for each subject, and each query with its clear summand,
    the questions that were answered, and for which sets of members. peers: by consortium the last
    note of each. older: whether the peers knew a later ledger, and nobody readmitted this one
    since.
    """

    def __init__(self, records: Iterable[Json] = ()) -> None:
        self.spent: Spent = {}
        self.plans: dict[tuple[str, str], Json] = {}
        self.released: dict[Asked, Released] = {}
        self.asked: Counter[tuple[str, str, str]] = Counter()
        self.alike: dict[str | tuple[str, str], tuple[tuple[Asked, frozenset[str]], ...]] = {}
        self.consented: set[frozenset[str]] = set()
        self._cohorts: dict[frozenset[str], frozenset[str]] = {}  # each set once, not per release
        self.peers: dict[str, dict[str, Json]] = {}
        self.older = False
        for record in records:
            self.add(record)

    def add(self, record: Json) -> None:
        """Adds one record, in the order of the ledger."""
        kind = record["kind"]
        if kind == "plan":
            self.plans[record["run"], record["plan"]] = record
        elif kind == "release":
            self._add_release(record)
        elif kind == "narrowed":
            self._add_members((record["run"], record["question"]), frozenset(record["members"]))
        elif kind == "consent":
            self.consented.add(frozenset(record["members"]))
        elif kind == "heads":
            self.peers.setdefault(record["consortium"], {}).update(record["peers"])
        elif kind == "older":
            self.older = True
        elif kind == "readmitted":
            self.older = False
            for unit, purposes in record["carried"].items():
                for purpose, rho in purposes.items():
                    self._spend(unit, purpose, rho)

    def _add_release(self, record: Json) -> None:
        asked, members = (record["run"], record["question"]), frozenset(record["members"])
        alike = (record["subject"], (record["query"], record["summand"]))
        self.released[asked] = Released(alike, record["at"], members)
        self.asked[record["run"], record["task"], record["query"]] += 1
        self._add_members(asked, members)
        if record["rho"] is not None:
            self._spend(record["unit"], record["purpose"], record["rho"])

    def _add_members(self, asked: Asked, members: frozenset[str]) -> None:
        # A set that was narrowed stays: whether its total was unmasked is not known here.
        release = self.released[asked]
        release.members = self._cohorts.setdefault(members, members)
        for key in release.alike:
            self.alike[key] = (*self.alike.get(key, ()), (asked, release.members))

    def _spend(self, unit: str, purpose: str, rho: float) -> None:
        purposes = self.spent.setdefault(unit, {})
        purposes[purpose] = purposes.get(purpose, 0.0) + rho
