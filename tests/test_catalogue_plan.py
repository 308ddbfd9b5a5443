"""What a plan may say of a private catalogue, and the command that makes its key."""

from pathlib import Path

import pytest

from grandtotal.errors import PlanError
from grandtotal.plan import Plan
from typed import typed

PLAN = (Path(__file__).parent / "private_plan.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "catalogue_most = 500",
            "catalogue_min = 2",
            "catalogue_min = 2, expected a whole",
        ),
        ("catalogue_most = 500", "catalogue_min = 5", "from 3 on, up to 4"),
        ("catalogue_most = 500", "catalogue_most = 2000000", "up to 1,048,576"),
        ("catalogue_most = 500", "catalogue_most = true", "catalogue_most = True"),
        ('catalogue = "private"', 'catalogue = "list.csv"', "here the products are listed"),
        ("[tasks.demand]", "[tasks.catalogue]", "a private catalogue has this name"),
        ('catalogue = "private"', "", '"private" to find the products'),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_what_to_do(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    (tmp_path / "list.csv").write_text("product\n1\n2\n")
    (tmp_path / "plan.toml").write_text(PLAN.replace(old, new))
    with pytest.raises(PlanError, match=said):
        Plan.read(tmp_path / "plan.toml")


def test_the_command_writes_a_key_once(tmp_path: Path) -> None:
    words = ("catalogue-key", "catalogue.key")
    assert "never to the coordinator" in typed(*words, cwd=tmp_path).stdout
    assert "exists already" in typed(*words, cwd=tmp_path, status=3).stderr
