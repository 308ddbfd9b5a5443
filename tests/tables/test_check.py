import json

from grandtotal.tables.check import check


def test_good_tables_are_ok_and_described(shop, good):
    shop.write("lines.csv", good)
    findings = check(shop.declare("transactions", "lines.csv").config())
    assert findings.ok
    facts = findings.tables[0].facts
    assert (facts.customers, facts.products, facts.stores) == (3, 4, None)
    assert (facts.first_day, facts.last_day) == ("2024-03-01", "2024-03-04")
    assert (facts.anonymous, facts.returns) == (0.2, 0.2)
    text = findings.text()
    assert text.startswith("north: can be used\n")
    assert "rows           5 read, 5 used" in text
    assert "no store       forecasts and orders by store" in text
    assert "no products" in text


def test_every_problem_is_collected_and_nothing_is_raised(shop, good):
    shop.write("lines.csv", good.replace("time", "when", 1))
    shop.declare("transactions", "lines.csv").declare("products", "p.csv")
    findings = check(shop.config())
    assert not findings.ok
    assert "no column 'time'" in findings.tables[0].problem
    assert "p.csv: no such file" in findings.tables[1].problem
    assert findings.text().startswith("north: 2 of 2 tables cannot be used\n")


def test_transactions_must_be_named(shop):
    findings = check(shop.config())
    assert not findings.ok
    assert "no table 'transactions'; add [tables.transactions]" in findings.tables[0].problem


def test_rows_set_aside_are_said_with_reason_rows_and_remedy(shop, good):
    shop.write("lines.csv", good.replace("3.25", "-3"))
    findings = check(shop.declare("transactions", "lines.csv").config(), shop.set_aside)
    text = " ".join(findings.text().split())
    assert findings.ok
    assert "5 read, 4 used, 1 set aside" in text
    assert "set aside 1 row: price is negative (line 3: '-3'); write a return as" in text
    assert (shop.set_aside / "transactions.csv").exists()


def test_a_column_that_was_probably_meant_is_named(shop, good):
    shop.write("lines.csv", good.replace("customer", "Customer ID", 1))
    findings = check(shop.declare("transactions", "lines.csv").config())
    absent = {absent.name: absent for absent in findings.tables[0].absent}
    assert absent["customer"].meant == "Customer ID"
    assert absent["store"].meant == ""
    assert "did you mean 'Customer ID'?" in " ".join(findings.text().split())


def test_rows_without_consent_are_said(shop, good):
    shop.write("lines.csv", good)
    shop.write("c.csv", "customer,consent\nc1,yes\nc2,no\n")
    shop.declare("customers", "c.csv", 'consent = ["consent"]').declare("transactions", "lines.csv")
    assert "5 read, 3 used, 2 without consent" in check(shop.config()).text()


def test_the_text_fits_80_columns_and_has_no_colours(shop, good):
    shop.write("lines.csv", good.replace("3.25", "-3") + good.splitlines(keepends=True)[1])
    shop.declare("transactions", "lines.csv").declare("stores", "none.csv")
    text = check(shop.config()).text()
    assert "\x1b" not in text
    # A path is never broken, so that it can be copied.
    assert all(len(line) <= 80 for line in text.splitlines() if str(shop.folder) not in line)


def test_the_json_is_plain(shop, good):
    shop.write("lines.csv", good)
    shop.declare("transactions", "lines.csv").declare("stores", "none.csv")
    findings = check(shop.config()).json()
    assert json.loads(json.dumps(findings))["ok"] is False
    assert findings["tables"]["transactions"]["account"]["used"] == 5
    assert findings["tables"]["stores"]["account"] is None
