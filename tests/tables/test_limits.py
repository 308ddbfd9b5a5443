import pytest

from grandtotal.errors import PlanError
from grandtotal.participate import cap_of
from grandtotal.privacy.ledger import Cap
from grandtotal.tables import load_config
from grandtotal.tables.limits import Limits

HEAD = 'retailer = "north"\ncurrency = "GBP"\ntime_zone = "Europe/London"\n'


def load(folder, text):
    path = folder / "retailer.toml"
    path.write_text(HEAD + text, encoding="utf-8")
    return load_config(path)


def test_every_limit_is_read(tmp_path):
    config = load(
        tmp_path,
        '[privacy]\ndoor = "safe"\nepsilon = 4\ndelta = 1e-7\nexact_totals = false\n'
        "purposes = { recommend = 2.5, demand = 1 }\n",
    )
    assert config.limits == Limits("safe", 4, 1e-7, False, {"recommend": 2.5, "demand": 1})
    assert config.door == tmp_path / "safe"
    assert cap_of(config.limits) == Cap(4, 1e-7, {"recommend": 2.5, "demand": 1}, False)


def test_without_the_table_there_are_caps_all_the_same(tmp_path):
    config = load(tmp_path, "")
    assert config.door == tmp_path / "door"
    assert cap_of(config.limits) == Cap()
    assert (config.limits.epsilon, config.limits.delta) == (10.0, 1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epsilon = 0", "'epsilon' is 0; expected a number above 0"),
        ("epsilon = -1.0", "'epsilon' is -1.0"),
        ("epsilon = nan", "'epsilon' is nan"),
        ("epsilon = inf", "'epsilon' is inf"),
        ("epsilon = true", "'epsilon' is True"),
        ('epsilon = "4"', "'epsilon' is '4'"),
        ("delta = 0", "'delta' is 0; expected a number between 0 and 1"),
        ("delta = 1", "'delta' is 1;"),
        ("delta = nan", "'delta' is nan"),
        ("exact_totals = 1", "'exact_totals' is 1; expected true or false"),
        ('door = ""', "'door' is ''"),
        ("door = 5", "'door' is 5"),
        ("purposes = 4.0", "'purposes' is 4.0; expected { recommend = 4.0 }"),
        ("purposes = { recommend = 0 }", "'purposes.recommend' is 0"),
        ('purposes = { recommend = "4" }', "'purposes.recommend' is '4'"),
        ("epsilonn = 4", "did you mean 'epsilon'?"),
    ],
)
def test_a_limit_that_is_none_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(PlanError) as refused:
        load(tmp_path, f"[privacy]\n{text}\n")
    assert str(tmp_path / "retailer.toml") in str(refused.value)
    assert "[privacy]" in str(refused.value)
    assert words in str(refused.value)
