"""What the guide tells to write and to type is what the program accepts."""

import re
from pathlib import Path

import polars as pl

import grandtotal as gt
from grandtotal.plan import Plan
from grandtotal.tables import load_config

GUIDE = (Path(__file__).parent.parent / "docs/guide.md").read_text()
STORES = [f"s{number}" for number in range(12)]


def block(kind: str, holding: str) -> str:
    """Returns the code block of the guide that holds a text."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)
    (found,) = (text for text in blocks if holding in text)
    return found


def sales() -> pl.DataFrame:
    rows = range(3000)
    return pl.DataFrame(
        {
            "receipt_no": [str(n // 3) for n in rows],
            "article_no": [f"a{n * 7 % 11}" for n in rows],
            "sold_at": [f"2017-{1 + n % 12:02}-{1 + n % 28:02} 10:{n % 60:02}:00" for n in rows],
            "qty": [str(1 + n % 3) for n in rows],
            "unit_price": ["2.50" for _ in rows],
            "loyalty_id": [f"c{n // 3 % 97}" for n in rows],
            "store_no": [STORES[n // 3 % 12] for n in rows],
        }
    )


def test_the_guides_snippets_make_a_consortium_that_can_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("north", "south", "west"):
        gt.init(f"mine/{name}", "generic-pos", name)
    sales().write_csv("mine/sales.csv")
    exec(compile(block("python", "catalogue.csv"), "guide", "exec"), {})
    Path("mine/plan.toml").write_text(block("toml", "[consortium]"))
    assert len(Plan.read(Path("mine/plan.toml")).common.catalogue) == 11
    for name in ("north", "south", "west"):
        assert gt.check(f"mine/{name}").ok


def test_every_key_in_the_guides_table_is_one_of_retailer_toml(tmp_path):
    gt.init(tmp_path, "generic-pos", "north")
    text = (tmp_path / "retailer.toml").read_text()
    cells = re.findall(r"^\| [^|]+ \| (`\w+ = .*`) \|$", GUIDE, re.MULTILINE)
    assert len(cells) == 9
    for key in re.findall(r"`(\w+ = [^`]+)`", " ".join(cells)):
        name = key.split(" ")[0]
        kept = "\n".join(line for line in text.splitlines() if not line.startswith(f"{name} ="))
        (tmp_path / "retailer.toml").write_text(f"{kept}\n{key}\n")
        load_config(tmp_path)
