"""The files that keep a party running name commands, options and a version that there are."""

import re
import shlex
import subprocess
from pathlib import Path
from shutil import which

import pytest

from grandtotal import __version__, cli

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.glob("*/*") if path.is_file())


def commands_of(path):
    """Returns the words after `grandtotal` of every command in a file."""
    text = path.read_text()
    started = re.findall(r"^ExecStart=\S+/grandtotal (.*)$", text, re.MULTILINE)
    listed = re.findall(r"^ *(?:args|command): \[(.*)\]$", text, re.MULTILINE)
    return [shlex.split(words.replace(",", " ")) for words in (*started, *listed)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_and_version_are_ours(path):
    found = commands_of(path)
    assert len(found) == {"compose.yaml": 2, "Containerfile": 0}.get(path.name, 1)
    for group, name, *words in found:
        asked = cli.main.commands[group].commands[name]
        assert asked.make_context(name, words).params["kit"].name in ("kit", "coordinator")
    for version in re.findall(r"\bgrandtotal:(\S+)", path.read_text()):
        assert version == __version__


@pytest.mark.skipif(which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("path", sorted(DEPLOY.glob("systemd/*")), ids=lambda path: path.name)
def test_a_unit_is_well_formed(path, tmp_path):
    # Its program is where the unit says on nobody's machine but the reader's.
    unit = tmp_path / path.name
    unit.write_text(path.read_text().replace("/opt/grandtotal/bin/grandtotal", "/bin/true"))
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
