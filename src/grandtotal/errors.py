"""Every error that a caller can catch.

GrandtotalError
├── PlanError       plan.toml or retailer.toml says something that cannot be done        exit 3
├── DataError       a retailer's table cannot be used as it is                           exit 4
├── RefusedError    a question that must not be answered, or a privacy promise not met   exit 5
├── RetailerError   a retailer answered with an error code, or not at all                exit 6
└── RunError        a run folder is missing, damaged, or of another version              exit 7

The command line prints the message without a traceback and exits with the number.
Only a `Code` crosses the wire; the text, with the rows it names, stays at the retailer.
"""

from enum import StrEnum


class GrandtotalError(Exception):
    """Something that the user can mend; the message says what was found, expected and to do."""

    exit_code = 1


class PlanError(GrandtotalError):
    """The plan or the retailer's own file says something that cannot be done."""

    exit_code = 3


class DataError(GrandtotalError):
    """A table of a retailer cannot be used as it is."""

    exit_code = 4


class RefusedError(GrandtotalError):
    """A question that must not be answered, or a privacy promise that this version cannot keep."""

    exit_code = 5


class RetailerError(GrandtotalError):
    """A retailer answered with an error code, or not at all."""

    exit_code = 6


class RunError(GrandtotalError):
    """A run folder is missing, damaged, or was written by another version."""

    exit_code = 7


class DamagedError(RunError, ValueError):
    """A file of a run, a kit or a door no longer holds what was written to it."""


class Code(StrEnum):
    """The closed list of what a retailer may say when it does not answer."""

    DATA_UNUSABLE = "data-unusable"
    PLAN_REFUSED = "plan-refused"
    NOT_APPROVED = "not-approved"
    OTHER_PLAN = "other-plan"
    OTHER_VERSION = "other-version"
    UNKNOWN_QUERY = "unknown-query"
    FIELDS_DIFFER = "fields-differ"
    OVERFLOW = "overflow"
    NOT_FINITE = "not-finite"
    ANSWER_CHANGED = "answer-changed"
    OTHER_MEMBERS = "other-members"
    NO_BOUND = "no-bound"
    BUDGET = "budget"
    DELTA_TOO_LARGE = "delta-too-large"
    LEDGER = "ledger"
    NOT_SIGNED = "not-signed"
    OTHER_VIEW = "other-view"
    TOO_FEW = "too-few"
    SLOT_USED = "slot-used"
    RELEASED = "released"
    MALFORMED = "malformed"
    DISK = "disk"
    INTERNAL = "internal"

    @property
    def meaning(self) -> str:
        """One sentence for the coordinator's screen, with nothing of the retailer's rows in it."""
        return _MEANING[self]


_MEANING = {
    Code.DATA_UNUSABLE: "its tables cannot be used; `grandtotal check` there says why",
    Code.PLAN_REFUSED: "its own retailer.toml does not allow what the plan asks",
    Code.NOT_APPROVED: "people there have not approved this plan, or have changed their mind",
    Code.OTHER_PLAN: "it was opened with another plan than the one asked about",
    Code.OTHER_VERSION: "it runs another version of the software; install the same one everywhere",
    Code.UNKNOWN_QUERY: "the query is not installed there; install the same packages everywhere",
    Code.FIELDS_DIFFER: "its answer has other fields or shapes than were agreed",
    Code.OVERFLOW: "a value is larger than its field can carry for this many retailers",
    Code.NOT_FINITE: "its answer holds a value that is not a finite number",
    Code.ANSWER_CHANGED: "it answered this question before and its data have changed since",
    Code.OTHER_MEMBERS: "it answered this question before for another set of retailers",
    Code.NO_BOUND: "under epsilon it answers only what says how far one customer can move it",
    Code.BUDGET: "the question was not in the plan's schedule, or costs more than its cap allows",
    Code.DELTA_TOO_LARGE: "delta is not below one over the number of its customers",
    Code.LEDGER: "its ledger is damaged, in use, or older than its peers know; its log.txt says it",
    Code.NOT_SIGNED: "it was shown something that the member named did not sign",
    Code.OTHER_VIEW: "it was shown other keys, questions or members than its peers",
    Code.TOO_FEW: "fewer retailers are left than a total needs",
    Code.SLOT_USED: "the slot was used before; a new attempt needs a new slot",
    Code.RELEASED: "it released this total before, for another set or in another slot",
    Code.MALFORMED: "it could not read the message",
    Code.DISK: "it could not write its record of what leaves; nothing was released",
    Code.INTERNAL: "it failed; its own log.txt says where",
}


class AnswerError(GrandtotalError):
    """Inside a retailer: why it will not answer. Its code crosses the wire, its text does not."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
