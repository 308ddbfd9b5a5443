"""The threat model claims nothing that no test shows: whatever it names exists."""

import ast
import re
from pathlib import Path

import pytest

from attacks.everybody import ATTACKS
from grandtotal.privacy.protocol import threshold, tolerated

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "threat_model.md").read_text()
OFFICER = (ROOT / "docs" / "security_officer.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if re.match(r"\| T\d", line)
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ATTACKED = re.compile(r"attack: ([^;,`|]+)")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_names_what_shows_it(row):
    assert len(row) == 5
    assert all(row)
    shown = row[-1]
    assert NAMED.findall(shown) or ATTACKED.findall(shown)
    left = ATTACKED.sub("", NAMED.sub("", shown))
    assert not left.strip(" ;,"), "names something that is neither a test nor an attack"


def test_there_is_a_row_for_each_adversary():
    assert [row[0] for row in ROWS] == [f"T{i}" for i in range(1, len(ROWS) + 1)]
    assert len(ROWS) >= 16


def test_every_test_that_is_named_exists():
    for path, name in NAMED.findall(TEXT):
        tree = ast.parse((ROOT / path).read_text())
        assert name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, path


def test_every_attack_that_is_named_exists():
    known = {made.name for made in ATTACKS}
    named = {name.strip() for name in ATTACKED.findall(TEXT)}
    assert named
    assert named <= known


def test_thresholds_are_those_of_the_code():
    rows = [re.findall(r"\d+", line.split("|", 2)[2]) for line in TEXT.splitlines() if "|" in line]
    members = next(row for row in rows if row[:3] == ["3", "4", "5"])
    start = rows.index(members)
    counts = [int(n) for n in members]
    expected = [
        [threshold(n) for n in counts],
        [tolerated(n) for n in counts],
        [n - threshold(n) for n in counts],
    ]
    assert [[int(value) for value in row] for row in rows[start + 2 : start + 5]] == expected


def test_commands_that_are_named_exist():
    known = (ROOT / "docs" / "commands.md").read_text()
    for command in set(
        re.findall(r"`grandtotal ((?:retailer |consortium )?[a-z]+)", TEXT + OFFICER)
    ):
        assert f"## grandtotal {command}\n" in known


def test_files_that_are_named_exist():
    for text in (TEXT, OFFICER):
        for name in re.findall(r"\]\(([\w.]+)\)", text):
            assert (ROOT / "docs" / name).exists()
    assert (ROOT / "requirements.lock").exists()
    assert (ROOT / "src/grandtotal/privacy/egress.py").exists()


def test_big_words_are_not_claimed():
    for page in (TEXT, OFFICER):
        text = " ".join(page.split())
        for found in re.finditer(r"\b(secure|anonymous|audited|unbreakable)\b", text.lower()):
            around = text[max(0, found.start() - 60) : found.end() + 20].lower()
            assert "secure sum" in around or 'is "secure"' in around or "secure_sum" in around
