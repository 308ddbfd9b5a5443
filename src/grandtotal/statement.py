"""What a retailer's ledger adds up to, for the person who answers for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grandtotal.durable import Json, canonical, digest
from grandtotal.errors import AnswerError, PlanError, RefusedError
from grandtotal.participate import cap_of
from grandtotal.privacy.account import Account
from grandtotal.privacy.accounting import as_gaussian, epsilon_of
from grandtotal.privacy.chain import verify
from grandtotal.privacy.ledger import FILE, Cap, Ledger
from grandtotal.retailer_file import name_of


@dataclass(frozen=True)
class Statement:
    """The records of a ledger that verifies, and this retailer's caps."""

    path: Path
    cap: Cap
    records: list[Json]

    def text(self) -> str:
        """Returns all of it for a terminal."""
        return "\n".join(self._lines()) + "\n"

    def json(self) -> Json:
        """Returns all of it as JSON."""
        account = Account(self.records)
        releases = [record for record in self.records if record["kind"] == "release"]
        return {
            "ledger": str(self.path),
            "verified": True,
            "records": len(self.records),
            "head": digest(canonical(self.records[-1])) if self.records else None,
            "older_than_peers_know": account.older,
            "delta": self.cap.delta,
            "cap": self.cap.epsilon,
            "caps": dict(self.cap.purposes),
            "units": {unit: self._unit(unit, spent) for unit, spent in account.spent.items()},
            "plans": [self._plan(plan) for plan in account.plans.values()],
            "releases": len(releases),
            "exact_totals": sum(_is_exact(r) for r in releases),
            "bytes_out": sum(r["bytes"] for r in releases),
            "peers": {name: sorted(notes) for name, notes in account.peers.items()},
        }

    def _unit(self, unit: str, spent: Mapping[str, float]) -> Json:
        whole = sum(spent.values())
        releases: Counter[float] = Counter(
            r["rho"] for r in self.records if r["kind"] == "release" and r["unit"] == unit
        )
        return {
            "spent": epsilon_of(whole, self.cap.delta),
            "spent_as_gaussian": as_gaussian(releases, self.cap.delta) if releases else 0.0,
            "left": self._left(whole, None),
            "purposes": {
                purpose: {
                    "spent": epsilon_of(rho, self.cap.delta),
                    "left": min(self._left(rho, purpose), self._left(whole, None)),
                }
                for purpose, rho in spent.items()
            },
        }

    def _left(self, spent: float, purpose: str | None) -> float:
        """Returns the largest epsilon that a plan may still ask for."""
        rest = self.cap.rho(purpose) - spent
        return float("inf") if rest == float("inf") else epsilon_of(max(rest, 0.0), self.cap.delta)

    def _plan(self, plan: Json) -> Json:
        mine = [
            r
            for r in self.records
            if r["kind"] == "release" and (r["run"], r["plan"]) == (plan["run"], plan["plan"])
        ]
        return {
            "name": plan["name"],
            "plan": plan["plan"],
            "run": plan["run"],
            "at": plan["at"],
            "members": plan["members"],
            "bytes_out": sum(r["bytes"] for r in mine),
            "asked": dict(Counter(f"{r['purpose']}: {r['query']}" for r in mine)),
        }

    def _lines(self) -> Iterator[str]:
        said = self.json()
        yield f"{said['ledger']}: {said['records']:,} records, verified"
        if said["older_than_peers_know"]:
            yield "The peers know a later ledger of this retailer: nothing leaves by this one."
        for plan in said["plans"]:
            yield f"\n{plan['at']}  plan '{plan['name']}' with {', '.join(plan['members'])}"
            yield f"  run {plan['run']}, {plan['bytes_out']:,} bytes out"
            yield from (f"  {count:6,} x {what}" for what, count in plan["asked"].items())
        yield (
            f"\n{said['releases']:,} releases, {said['bytes_out']:,} bytes out; "
            f"{said['exact_totals']:,} of them exact and about customers, which no epsilon covers"
        )
        for unit, spent in said["units"].items():
            yield (
                f"epsilon per {unit} at delta = {said['delta']:g}: {spent['spent']:.3g} spent of "
                f"{said['cap']:g}, a plan may ask for {spent['left']:.3g} more "
                f"({spent['spent_as_gaussian']:.3g} spent as continuous Gaussian noise)"
            )
            for purpose, part in spent["purposes"].items():
                cap = said["caps"].get(purpose, said["cap"])
                yield (
                    f"  {purpose}: {part['spent']:.3g} spent of {cap:g}, {part['left']:.3g} left"
                )


def statement(config_path: Path) -> Statement:
    """Returns the statement of a retailer.toml; RefusedError names what was tampered with."""
    path, cap = _door(config_path)
    try:
        return Statement(path / FILE, cap, verify(path / FILE))
    except AnswerError as error:
        raise RefusedError(str(error)) from error


def consent(config_path: Path, members: tuple[str, ...]) -> None:
    """Writes down that what was answered for other sets of retailers may be for this one.

    PlanError for a set that no plan can have, as where a name is missing.
    """
    mine = name_of(config_path)
    if mine not in members or len(set(members)) < 3:
        raise PlanError(
            f"consent to {', '.join(members)}: expected the members of a plan, at least three and "
            f"'{mine}' among them"
        )
    path, cap = _door(config_path)
    try:
        ledger = Ledger(path, cap)
        ledger.consent(members)
        ledger.close()
    except AnswerError as error:
        raise RefusedError(str(error)) from error


def _door(config_path: Path) -> tuple[Path, Cap]:
    from grandtotal.tables.config import load_config

    config = load_config(config_path)
    return config.door, cap_of(config.limits)


def _is_exact(release: Json) -> bool:
    return release["rho"] is None and not release["exempt"]
