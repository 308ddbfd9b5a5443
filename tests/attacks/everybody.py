"""All attacks, by whoever makes them."""

import attacks.coordinator_lies
import attacks.ledger_lies
import attacks.network_lies
import attacks.operator_lies
import attacks.plan_lies
import attacks.record_lies
import attacks.retailer_lies  # noqa: F401
from attacks.attack import ATTACKS as ATTACKS
