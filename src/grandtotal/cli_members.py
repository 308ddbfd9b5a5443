"""The commands of the key ceremony: `grandtotal retailer ...` and `grandtotal consortium ...`."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from grandtotal.privacy.identity import Roster

file = click.Path(path_type=Path, dir_okay=False)


@click.group()
def retailer() -> None:
    """What one retailer does at home: its key, the roster that it trusts."""


@click.group()
def consortium() -> None:
    """What the members of a consortium agree on."""


@retailer.command(epilog="\b\nExample:\n  grandtotal retailer keygen north/retailer.toml")
@click.argument("config", type=file)
def keygen(config: Path) -> None:
    """Make this retailer's private key, in the folder door/ beside its retailer.toml.

    The key never leaves. Give the file NAME.pub to the others, and read the fingerprint to them
    over the telephone.
    """
    from grandtotal import members

    path, printed = members.keygen(config)
    click.echo(f"{path}\nfingerprint  {printed}")


@consortium.command(
    epilog="\b\nExample:\n  grandtotal consortium roster plan.toml north.pub south.pub west.pub"
)
@click.argument("plan", type=file)
@click.argument("keys", type=file, nargs=-1, required=True)
@click.option("--out", type=file, default="roster.json", show_default=True)
@click.option("--valid-until", type=click.DateTime(["%Y-%m-%d"]), help="Its last day; one year.")
def roster(plan: Path, keys: tuple[Path, ...], out: Path, valid_until: datetime | None) -> None:
    """Write the roster of a plan's members from their public keys, for all of them to sign."""
    from grandtotal import members
    from grandtotal.plan import Plan

    last = valid_until.date() if valid_until else date.today() + timedelta(days=365)
    _show(members.make_roster(Plan.read(plan), list(keys), last, out))
    click.echo(f"{out}: now each member compares the fingerprints and signs it.")


@retailer.command(epilog="\b\nExample:\n  grandtotal retailer sign roster.json retailer.toml")
@click.argument("roster", type=file)
@click.argument("config", type=file)
@click.option("--yes", is_flag=True, help="The fingerprints were compared before.")
def sign(roster: Path, config: Path, yes: bool) -> None:
    """Add this retailer's signature to a roster, after comparing the fingerprints."""
    from grandtotal import members
    from grandtotal.privacy.identity import read_unverified

    _show(read_unverified(roster))
    if not yes:
        click.confirm("Did each of them read you this fingerprint?", abort=True)
    signed = members.sign(roster, config)
    missing = [name for name in signed.members if name not in signed.signatures]
    click.echo(f"{roster}: signed" + (f"; missing: {', '.join(missing)}" if missing else " by all"))


@retailer.command(epilog="\b\nExample:\n  grandtotal retailer pin roster.json retailer.toml")
@click.argument("roster", type=file)
@click.argument("config", type=file)
def pin(roster: Path, config: Path) -> None:
    """Trust a roster from now on; all its members must have signed it."""
    from grandtotal import members

    click.echo(f"pinned as {members.pin(roster, config, date.today())}")


def _show(roster: Roster) -> None:
    from grandtotal.privacy.identity import fingerprint

    click.echo(f"{roster.consortium}, epoch {roster.epoch}, valid until {roster.valid_until}")
    for name, public in roster.members.items():
        mark = "signed" if name in roster.signatures else ""
        click.echo(f"  {name:<20} {fingerprint(public)}  {mark}".rstrip())
