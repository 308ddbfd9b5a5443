"""What a retailer agreed to with a plan, and its own limits: all that its door needs to know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.ledger import Cap


@dataclass(frozen=True)
class Terms:
    """What this retailer agreed to when it opened a plan, and its own limits.

    door: the folder of its ledger, the same in every run. cap: its own. name: of the plan.
    purposes: the kind of every task. budget: of a plan with epsilon; None where totals are exact.
    tables: digest of the tables that answer.
    """

    door: Path
    cap: Cap = field(default_factory=Cap)
    name: str = ""
    purposes: Mapping[str, str] = field(default_factory=dict)
    budget: Budget | None = None
    tables: str = ""

    @property
    def planned(self) -> dict[str, float]:
        """The rho that the plan may spend, by purpose; empty where totals are exact."""
        planned: dict[str, float] = {}
        for task, purpose in self.purposes.items() if self.budget else ():
            assert self.budget is not None
            planned[purpose] = planned.get(purpose, 0.0) + self.budget.planned(task)
        return planned
