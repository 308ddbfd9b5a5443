import codecs
from pathlib import Path

import pytest

from grandtotal.errors import PlanError
from grandtotal.tables import load_config

HEAD = 'retailer = "north"\ncurrency = "GBP"\ntime_zone = "Europe/London"\n'


def load(folder: Path, text: str):
    path = folder / "retailer.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(PlanError) as refused:
        load(folder, text)
    assert str(folder / "retailer.toml") in str(refused.value)
    return str(refused.value)


def test_every_key_is_read(tmp_path):
    config = load(
        tmp_path,
        HEAD
        + """
        [tables.transactions]
        path = "data/*.csv"
        columns = { customer = "Customer ID" }
        time_format = "%d/%m/%Y %H:%M"
        separator = ";"
        decimal = ","
        duplicates = "keep"
        [tables.customers]
        path = "c.csv"
        consent = ["consent"]
        """,
    )
    lines = config.tables["transactions"]
    assert (config.retailer, config.currency, config.folder) == ("north", "GBP", tmp_path)
    assert lines.name_in_file("customer") == "Customer ID"
    assert lines.name_in_file("price") == "price"
    assert lines.time_formats == {"time": "%d/%m/%Y %H:%M"}
    assert (lines.separator, lines.decimal, lines.duplicates) == (";", ",", "keep")
    assert config.consent == ("consent",)


def test_a_mark_before_the_first_letter_changes_nothing(tmp_path):
    load(tmp_path, HEAD)
    path = tmp_path / "retailer.toml"
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert load_config(path).retailer == "north"


def test_a_folder_means_the_retailer_toml_in_it(tmp_path):
    load(tmp_path, HEAD)
    assert load_config(tmp_path).retailer == "north"


def test_a_time_format_can_be_given_for_one_column(tmp_path):
    text = '[tables.calendar]\npath = "c.csv"\ntime_format = { known_at = "%d/%m/%Y" }'
    config = load(tmp_path, HEAD + text)
    assert config.tables["calendar"].time_formats == {"known_at": "%d/%m/%Y"}


def test_duplicates_are_set_aside_unless_said_otherwise(tmp_path):
    config = load(tmp_path, HEAD + '[tables.stores]\npath = "s.csv"')
    assert config.tables["stores"].duplicates == "set-aside"


@pytest.mark.parametrize(
    ("text", "found", "remedy"),
    [
        (HEAD + 'curency = "GBP"', "unknown key 'curency'", "did you mean 'currency'?"),
        (HEAD + "[tables.transaction]", "unknown key 'transaction'", "'transactions'"),
        (HEAD + '[tables.stores]\npaht = "x"', "[tables.stores] unknown key 'paht'", "'path'"),
        (HEAD + '[tables.stores]\nconsent = ["x"]', "unknown key 'consent'", "Valid: path"),
        (
            HEAD + '[tables.transactions]\npath="x"\ncolumns = { prize = "P" }',
            "[tables.transactions.columns] unknown key 'prize'",
            "did you mean 'price'?",
        ),
        (HEAD + "[tables.stores]", "key 'path' is missing", 'add a line path = "..."'),
        (HEAD + "tables = 3", "key 'tables' is 3", "expected a table"),
        (HEAD.replace("GBP", "pounds"), "key 'currency' is \"pounds\"", "three letters"),
        (HEAD + "[rates]\nusd = 1.2", "key 'usd'", "three letters"),
        (HEAD + '[rates]\nUSD = "1.2"', "key 'USD' is '1.2'", "what one USD is worth"),
        (HEAD + "[rates]\nUSD = 0", "key 'USD' is 0", "USD = 0.92"),
        (HEAD.replace("Europe/London", "Moon"), "key 'time_zone' is \"Moon\"", "Europe/London"),
        (HEAD.replace("Europe/London", "../x"), "key 'time_zone' is \"../x\"", "Europe/London"),
        (HEAD.replace("north", "no/rth"), "key 'retailer' is \"no/rth\"", "letters, digits"),
        (HEAD.replace('"north"', "7"), "key 'retailer' is 7", "a text in double quotes"),
        ("currency = GBP", "not valid TOML", "double quotes"),
        (
            HEAD + '[tables.stores]\npath="x"\nduplicates="drop"',
            "key 'duplicates' is \"drop\"",
            'expected "set-aside" or "keep"',
        ),
        (
            HEAD + '[tables.stores]\npath="x"\nseparator=";;"',
            "key 'separator' is ';;'",
            "one sign",
        ),
        (
            HEAD + '[tables.customers]\npath="x"\nconsent="yes"',
            "key 'consent' is 'yes'",
            'consent = ["consent"]',
        ),
    ],
)
def test_a_mistake_is_named_with_its_key_and_remedy(tmp_path, text, found, remedy):
    message = refusal(tmp_path, text)
    assert found in message
    assert remedy in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"retailer\.toml: no such file"):
        load_config(tmp_path / "retailer.toml")


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "retailer.toml"
    path.write_bytes(b'retailer = "n\xf6rd"')
    with pytest.raises(PlanError, match="not UTF-8 at byte 13"):
        load_config(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("final_after_days = 0", "expected a whole number from 1 on"),
        ("final_after_days = true", "expected a whole number from 1 on"),
        ('final_after_days = 9\ntime_format = "%d/%m/%Y"', "and 'time_format'"),
        ('final_after_days = 9\nfill_down = ["customer"]', "and 'fill_down'"),
    ],
)
def test_days_that_are_final_are_a_number_and_compared_as_dates(tmp_path, more, message):
    source = 'url = "sqlite:///a.db"\ntable = "lines"\n'
    assert message in refusal(tmp_path, f"{HEAD}[tables.transactions]\n{source}{more}\n")


def test_days_are_final_in_databases_alone(tmp_path):
    table = '[tables.transactions]\npath = "a.csv"\nfinal_after_days = 9\n'
    assert "without 'url'; it is for the rows of a database" in refusal(tmp_path, HEAD + table)


def test_what_is_kept_is_kept_in_a_folder(tmp_path):
    (tmp_path / "kept").write_text("")
    table = '[tables.transactions]\npath = "a.csv"\n'
    assert "which is a file" in refusal(tmp_path, f'{HEAD}keep = "kept"\n{table}')
