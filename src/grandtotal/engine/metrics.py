"""Prometheus text about a party's own runs, on loopback: counts and seconds, nothing of a row.

https://prometheus.io/docs/instrumenting/exposition_formats
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from grandtotal.durable import Json, read_log
from grandtotal.engine.certificates import days_left, read_certificate
from grandtotal.engine.conduct import held
from grandtotal.engine.consent import Requests
from grandtotal.engine.kits import COORDINATOR, Kit
from grandtotal.errors import PlanError

_EPSILON = "What the plan of the run promises; 0 where its totals are exact."
Sample = tuple[str, str, str, dict[str, str], float]
"""A name, what it is (counter or gauge), its help, its labels and its value."""


def metrics_text(kit: Kit) -> str:
    """Returns everything that is measured of a party, read from its own folder."""
    lines: list[str] = []
    named = set()
    for name, kind, about, labels, value in sorted(_samples(kit), key=lambda s: (s[0], str(s[3]))):
        if name not in named:
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            named.add(name)
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{told}}} {value:g}" if told else f"{name} {value:g}")
    return "\n".join(lines) + "\n"


def serve_metrics(kit: Kit, port: int) -> int:
    """Answers scrapes on 127.0.0.1 in a thread of this process; returns the port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            text = metrics_text(kit).encode() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Writes no line for every scrape."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def _samples(kit: Kit) -> Iterator[Sample]:
    certificate = "server.crt" if kit.me == COORDINATOR else "client.crt"
    with suppress(PlanError):
        days = days_left(read_certificate(kit.path / certificate))
        about = "Whole days for which this party's certificate is valid yet."
        yield "grandtotal_certificate_days", "gauge", about, {}, days
    yield from _coordinators(kit) if kit.me == COORDINATOR else _retailers(kit)


def _coordinators(kit: Kit) -> Iterator[Sample]:
    runs = held(kit)
    for state, count in Counter(run.state for run in runs).items():
        yield "grandtotal_runs", "gauge", "Runs by state.", {"state": state}, count
    for run in runs:
        label = {"run": run.folder.path.name}
        rounds = [record for record in run.folder.rounds() if "total" in record]
        yield "grandtotal_rounds_total", "counter", "Totals made.", label, len(rounds)
        seconds = Counter[str]()
        for record in run.folder.rounds():
            seconds["total" if "total" in record else "deliver"] += record["seconds"]
        for phase, spent in seconds.items():
            about = "Seconds spent on totals, and on delivering models."
            labels = {**label, "phase": phase}
            yield "grandtotal_phase_seconds_total", "counter", about, labels, spent
        sent = sum(max(record["bytes_out"].values()) for record in rounds)
        about = "Bytes that each member sent, of summands."
        yield "grandtotal_summand_bytes_total", "counter", about, label, sent
        members = len(run.folder.plan().members) - len(run.folder.left())
        yield "grandtotal_members", "gauge", "Members that are in the totals.", label, members
        epsilon = run.folder.plan().common.privacy.epsilon or 0.0
        yield "grandtotal_epsilon", "gauge", _EPSILON, label, epsilon
        segments = sum(record["event"] == "began" for record in run.segments)
        about = "Attempts; more than one where something was lost on the way."
        yield "grandtotal_segments_total", "counter", about, label, segments


def _retailers(kit: Kit) -> Iterator[Sample]:
    found = Counter(str(request.decision) for request in Requests(kit.path / "requests").all())
    for decision, count in found.items():
        about = "Plans that were shown here, by decision."
        yield "grandtotal_requests", "gauge", about, {"decision": decision}, count
    for path in kit.runs.glob(f"*/retailers/{kit.me}/egress.jsonl"):
        label = {"run": path.parents[2].name}
        left: list[Json] = read_log(path)
        yield "grandtotal_releases_total", "counter", "Summands that left.", label, len(left)
        size = sum(record["bytes"] for record in left)
        yield "grandtotal_summand_bytes_total", "counter", "Bytes of them.", label, size
        epsilon = _epsilon(path.parent)
        yield "grandtotal_epsilon", "gauge", _EPSILON, label, epsilon


def _epsilon(folder: Path) -> float:
    from grandtotal.privacy.agreement import promised

    path = folder / "plan.json"
    return promised(path.read_bytes()).epsilon or 0.0 if path.exists() else 0.0


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
