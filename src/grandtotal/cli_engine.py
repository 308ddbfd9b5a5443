"""The commands of a consortium of companies: kits, processes, consent, submitted runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from grandtotal.cli_members import consortium, file, retailer
from grandtotal.cli_parts import as_text, command, json_option

if TYPE_CHECKING:
    from grandtotal.engine.consent import Requests

folder = click.Path(path_type=Path, file_okay=False)
kit_option = click.option(
    "--kit",
    type=folder,
    default=".",
    envvar="GRANDTOTAL_KIT",
    show_default=True,
    help="The folder of this party's kit; or set GRANDTOTAL_KIT.",
)


@click.group()
def coordinator() -> None:
    """The coordinator's process: it relays, adds, and holds no rows."""


@command(retailer, "grandtotal retailer certificate north/retailer.toml")
@click.argument("config", type=file)
def certificate(config: Path) -> None:
    """Make the key of this retailer's line to the coordinator, and the request for its certificate.

    The key never leaves. Send the file NAME.csr to the coordinator, who answers with a kit. Run it
    again to renew: the request is of the same key.
    """
    from grandtotal.engine import kits

    click.echo(f"{kits.ask(config)}: send it to the coordinator.")


@command(consortium, "grandtotal consortium create alliance.toml --requests requests --out kits")
@click.argument("alliance", type=file)
@click.option("--requests", type=folder, default="requests", show_default=True)
@click.option("--out", type=folder, default="kits", show_default=True)
def create(alliance: Path, requests: Path, out: Path) -> None:
    """Write the coordinator's folder, and a kit for each member from its request NAME.csr.

    A kit holds no secret. Run it again to renew all certificates, or for other members.
    """
    from grandtotal.engine import kits
    from grandtotal.privacy.identity import fingerprint

    written = kits.create(kits.Alliance.read(alliance), requests, out)
    for name, path in written.items():
        click.echo(f"{name:<20} {path}")
    public = kits.Kit.read(written[kits.COORDINATOR]).coordinator
    click.echo(f"coordinator's fingerprint  {fingerprint(public)}: read it to each member.")


@command(consortium, "grandtotal consortium revoke north --kit kits/coordinator")
@click.argument("name")
@kit_option
def revoke(name: str, kit: Path) -> None:
    """Turn away whoever dials with a certificate that was issued in this name so far.

    Lines that are open are cut within seconds. What is issued later is valid.
    """
    from grandtotal.engine import kits, revocation

    gone = revocation.revoke(kits.Kit.read(kit).own(kits.COORDINATOR).path, name)
    click.echo(f"{name}: {len(gone)} certificates revoked; `consortium create` issues another")


@command(coordinator, "grandtotal coordinator start kits/coordinator")
@click.argument("kit", type=folder)
@click.option("--metrics", type=int, help="A port on 127.0.0.1 for Prometheus.")
def start(kit: Path, metrics: int | None) -> None:
    """Open the one port of the consortium and work through the submitted runs, until stopped."""
    from grandtotal.engine import kits, parties

    sys.exit(parties.start_coordinator(kits.Kit.read(kit), metrics))


@command(coordinator, "grandtotal coordinator stop kits/coordinator")
@click.argument("kit", type=folder)
def stop(kit: Path) -> None:
    """End the coordinator's process; started again, it goes on where it was."""
    _stop(kit)


@command(retailer, "grandtotal retailer start kit --config retailer.toml")
@click.argument("kit", type=folder)
@click.option("--config", type=file, default="retailer.toml", show_default=True)
@click.option("--metrics", type=int, help="A port on 127.0.0.1 for Prometheus.")
@click.option("--trust", is_flag=True, help="The coordinator's new fingerprint was compared.")
def start_(kit: Path, config: Path, metrics: int | None, trust: bool) -> None:
    """Dial the coordinator and answer what people here have approved, until stopped."""
    from grandtotal.engine import kits, parties

    sys.exit(parties.start_retailer(kits.Kit.read(kit), config, metrics, trust))


@command(retailer, "grandtotal retailer stop --kit kit")
@kit_option
def stop_(kit: Path) -> None:
    """End this retailer's process: from now on nothing is answered."""
    _stop(kit)


def _stop(kit: Path) -> None:
    from grandtotal.engine import kits, parties

    ended = parties.stop(kits.Kit.read(kit))
    click.echo("stopped" if ended else "no process was at work with this kit")


@command(retailer, "grandtotal retailer requests --kit kit")
@kit_option
@json_option
def requests(kit: Path, as_json: bool) -> None:
    """List what this retailer was asked to take part in, and what was decided."""
    found = _requests(kit).all()
    facts: list[dict[str, str | int]] = [
        {
            "request": request.number,
            "decision": str(request.decision),
            "came": request.came,
            "run": request.proposal.run,
            "plan": request.proposal.digest,
        }
        for request in found
    ]
    if as_json:
        click.echo(as_text(facts))
    for request in [] if as_json else facts:
        plan = f"plan {str(request['plan'])[:12]}"
        click.echo(f"{request['request']:>4}  {request['decision']:<9} {request['came']}  {plan}")
    if not facts and not as_json:
        click.echo("Nothing was asked yet.")


@command(retailer, "grandtotal retailer show 1 --kit kit")
@click.argument("number", type=int)
@kit_option
def show(number: int, kit: Path) -> None:
    """Show what a plan would ask, and what differs from the last one approved here."""
    from grandtotal.engine.consent import shown

    found = _requests(kit)
    request = found.get(number)
    click.echo(shown(request, found.last_approved(request)), nl=False)


@command(retailer, "grandtotal retailer approve 1 --kit kit")
@click.argument("number", type=int)
@kit_option
def approve(number: int, kit: Path) -> None:
    """Let the coordinator run this plan, this once."""
    from grandtotal.engine.consent import Decision

    _requests(kit).get(number).decide(Decision.APPROVED)
    click.echo(f"request {number}: approved; `grandtotal retailer refuse {number}` withdraws it")


@command(retailer, "grandtotal retailer refuse 1 --kit kit")
@click.argument("number", type=int)
@kit_option
def refuse(number: int, kit: Path) -> None:
    """Refuse a plan; of one that was approved, answer nothing more from the next message on."""
    from grandtotal.engine.consent import Decision

    _requests(kit).get(number).decide(Decision.REFUSED)
    click.echo(f"request {number}: refused")


def _requests(kit: Path) -> Requests:
    from grandtotal.engine.consent import Requests
    from grandtotal.engine.kits import Kit

    return Requests(Kit.read(kit).own("retailer").path / "requests")


@click.command(
    epilog="\b\nExample:\n  grandtotal submit plan.toml --roster roster.json --kit kits/coordinator"
)
@click.argument("plan", type=file)
@click.option("--roster", type=file, help="Signed by all members; roster.json in the kit else.")
@kit_option
@json_option
def submit(plan: Path, roster: Path | None, kit: Path, as_json: bool) -> None:
    """Ask the members to run a plan: signed by the coordinator, for each of them to approve.

    The coordinator's process shows it to them and begins when all have approved.
    """
    from grandtotal.engine import conduct, kits
    from grandtotal.plan import Plan

    own = kits.Kit.read(kit).own(kits.COORDINATOR)
    run = conduct.submit(own, Plan.read(plan), roster)
    told = conduct.cohorts_before(own, run)
    if as_json:
        facts = {"run": run.path.name, "folder": str(run.path), "cohorts": told}
        click.echo(as_text(facts))
        return
    for line in told:
        click.echo(f"note: {line}")
    click.echo(f"submitted: {run.path}")


@click.command(epilog="\b\nExample:\n  grandtotal runs log latest --runs kits/coordinator/runs -f")
@click.argument("run", metavar="RUN")
@click.option("--runs", type=folder, default="runs", show_default=True, help="Folder of all runs.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
def log(run: str, runs: Path, follow: bool) -> None:
    """Show a run's record: its segments, its rounds, how it stands."""
    from grandtotal.engine.progress import Lines
    from grandtotal.runfolder import RunFolder

    lines = Lines(RunFolder.find(runs, run))
    while True:
        for line in lines.new():
            click.echo(line)
        if not follow or lines.over:
            click.echo(lines.standing)
            return
        time.sleep(0.5)


@click.command(
    name="stop", epilog="\b\nExample:\n  grandtotal runs stop latest --runs kits/coordinator/runs"
)
@click.argument("run", metavar="RUN")
@click.option("--runs", type=folder, default="runs", show_default=True, help="Folder of all runs.")
def stop_run(run: str, runs: Path) -> None:
    """Pause a submitted run after its current round; `runs resume` goes on with it."""
    from grandtotal.engine.conduct import pause

    click.echo(f"{pause(runs, run).path.name}: stops after its current round")


@click.command(epilog="\b\nExample:\n  grandtotal doctor --kit kit --config retailer.toml")
@kit_option
@click.option("--config", type=file, help="A retailer's own file: its tables and keys as well.")
@json_option
def doctor(kit: Path, config: Path | None, as_json: bool) -> None:
    """Check what a party needs: versions, certificates, port, clock, disk, keys, data, policy.

    Exit status 1 where something must be mended; every finding says how.
    """
    from grandtotal.engine import kits
    from grandtotal.engine.doctor import examine

    found = list(examine(kits.Kit.read(kit), config))
    if as_json:
        click.echo(as_text([vars(finding) for finding in found]))
    else:
        for finding in found:
            click.echo(finding.text)
    if any(finding.verdict == "no" for finding in found):
        sys.exit(1)


commands = (coordinator, submit, doctor)
run_commands = (log, stop_run)
