"""All attacks, by whom they are made."""

import attacks.coordinator_lies
import attacks.ledger_lies
import attacks.retailer_lies  # noqa: F401
from attacks.attack import ATTACKS as ATTACKS
