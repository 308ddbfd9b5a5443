"""The report in a browser: nothing is wider than the window, in light and in dark."""

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from grandtotal.report.report import write_report

_CHROMIUM = Path("/usr/bin/chromium")
_WIDTHS = (1280, 375, 360)
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A window cannot be made as narrow as a phone; a frame can. Folded parts are opened first.
_PROBE = """
onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument;
    page.querySelectorAll("details").forEach(part => part.open = true);
    found[frame.width] = {
      wide: page.documentElement.scrollWidth,
      paper: getComputedStyle(page.body).backgroundColor,
      ink: getComputedStyle(page.querySelector("svg text")).fill,
      strips: [...page.querySelectorAll(".verdicts:first-of-type svg")].map(strip => {
        const box = strip.getBoundingClientRect();
        return `${box.left} to ${box.right}`;
      }),
      plots: [...page.querySelectorAll("figure svg.plot")].map(plot => plot.clientHeight),
    };
  }
  document.title = JSON.stringify(found);
};
"""


def measured(report: Path, scheme: str) -> Any:
    """Returns what a browser measures of the report at each width."""
    if not _CHROMIUM.exists():
        pytest.fail(f"{_CHROMIUM} is missing; install it with: apt-get install chromium")
    page = html.escape(report.read_text(encoding="utf-8"))
    frames = [f'<iframe width="{w}" height="800" srcdoc="{page}"></iframe>' for w in _WIDTHS]
    head = '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    probe = report.with_name(f"probe-{scheme}.html")
    probe.write_text(f"{head}{''.join(frames)}<script>{_PROBE}</script>", encoding="utf-8")
    shown = subprocess.run(
        [
            str(_CHROMIUM),
            *_QUIET,
            f"--user-data-dir={report.parent / f'profile-{scheme}'}",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--window-size=1400,1000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    title = re.search(r"<title>(\{.*?\})</title>", shown)
    assert title, "the browser did not measure the page"
    return json.loads(html.unescape(title.group(1)))


@pytest.mark.parametrize(
    ("scheme", "paper"), [("light", "rgb(252, 251, 248)"), ("dark", "rgb(21, 24, 27)")]
)
def test_no_page_is_wider_than_its_window(run: Any, scheme: str, paper: str) -> None:
    found = measured(write_report(run.folder), scheme)
    assert [int(width) for width in found] == sorted(_WIDTHS)
    for width, page in found.items():
        assert page["wide"] <= int(width)
        assert page["paper"] == paper
        assert page["ink"] != paper
        assert page["plots"]
        assert min(page["plots"]) > 20


def test_the_axis_of_the_gains_lies_under_their_strips(run: Any) -> None:
    for page in measured(write_report(run.folder), "light").values():
        assert len(page["strips"]) > 4
        assert len(set(page["strips"])) == 1


def test_long_names_do_not_widen_the_page(run: Any) -> None:
    path = run.folder.path / "simulation.json"
    path.write_text(path.read_text().replace('"north"', f'"{"north" * 30}"'))
    found = measured(write_report(run.folder), "light")
    assert all(page["wide"] <= int(width) for width, page in found.items())
