"""What an attack is: who makes it, what it is after, and the one check that stops it.

An attack that is stopped ends in a refusal. The same attack, with that check taken away and
nothing else, reaches its goal: otherwise it shows nothing about the check.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from grandtotal.errors import GrandtotalError

ATTACKS: list["Attack"] = []


@dataclass(frozen=True)
class Attack:
    """One way to get at what one should not have.

    by: "coordinator", "retailer", "network" or "operator". goal: what is had if it succeeds.
    check: dotted name of the function that stops it. instead: what stands in its place where the
    check is taken away. attempt: makes the attack in an empty folder and returns whether the goal
    was reached; a refusal of the attacked party ends it.
    """

    name: str
    by: str
    goal: str
    check: str
    instead: Callable[..., Any]
    attempt: Callable[[Path], bool]


def nothing(*_: Any, **__: Any) -> None:
    """Checks nothing."""


def attack(
    by: str, check: str, goal: str, instead: Callable[..., Any] = nothing
) -> Callable[[Callable[[Path], bool]], Callable[[Path], bool]]:
    """Registers a function as an attack; its name is the attack's."""

    def register(attempt: Callable[[Path], bool]) -> Callable[[Path], bool]:
        name = attempt.__name__.replace("_", " ")
        ATTACKS.append(Attack(name, by, goal, check, instead, attempt))
        return attempt

    return register


@contextmanager
def without(check: str, instead: Callable[..., Any]) -> Iterator[None]:
    """Takes one check away while the block runs."""
    owner, name = _found(check)
    before = owner.__dict__[name]
    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _found(check: str) -> tuple[Any, str]:
    """Returns the module or class that holds the check, and its name there."""
    parts = check.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise LookupError(f"no check {check}")


def outcome(made: Attack, folder: Path) -> str:
    """Returns "reached", or why the attack was stopped."""
    folder.mkdir(parents=True)
    try:
        return "reached" if made.attempt(folder) else "came to nothing"
    except GrandtotalError as error:
        return f"refused: {error}"
