"""A file that is not UTF-8 is refused with the encoding to write, and then reads."""

import gzip
import re

import pytest

from grandtotal.errors import PlanError

TEXT = """\
product,time,quantity,price,customer
Käse,2024-03-01 09:00:00,2,1.50,Zoë
jam,2024-03-01 09:05:00,1,3.25,c2
crème brûlée,2024-03-02 10:00:00,-1,1.50,c1
"""


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-16-be", "cp850"])
def test_what_the_message_says_to_write_works(shop, encoding):
    message = shop.refusal(TEXT.encode(encoding))
    found = re.search(r'encoding = "(\S+)"', message)
    assert "lines.csv: not UTF-8 at line" in message
    assert found is not None
    lines = shop.lines(TEXT.encode(encoding), found.group(0))
    assert lines.equals(shop.lines(TEXT))


@pytest.mark.parametrize("name", ["lines.csv", "lines.csv.gz"])
def test_another_encoding_reads_as_utf8_does(shop, name):
    content = TEXT.replace("3.25", "-1").replace("jam", "jam ü").encode("cp1252")
    packed = gzip.compress(content) if name.endswith("gz") else content
    account = shop.account(packed, 'encoding = "windows-1252"', name)
    assert account.set_aside == {"price is negative": 1}
    assert account.causes[0].examples == ("line 3: '-1'",)
    assert "jam ü" in (shop.set_aside / "transactions.csv").read_text()


def test_a_file_that_is_not_in_its_encoding_is_refused(shop):
    message = shop.refusal(TEXT.encode(), 'encoding = "ascii"')
    assert 'not ascii at line 2, which retailer.toml says it is (encoding = "ascii")' in message
    assert message.endswith("leave the key out")
    message = shop.refusal(TEXT.encode("cp1252"), 'encoding = "ascii"')
    assert 'encoding = "cp1252"' in message


def test_a_ragged_file_in_another_encoding_is_refused_with_its_line(shop):
    ragged = TEXT.replace("3.25,c2", "3.25,c2,é,é")
    message = shop.refusal(ragged.encode("cp1252"), 'encoding = "cp1252"')
    assert "line 3: 7 cells where the header has 5" in message


@pytest.mark.parametrize(("name", "meant"), [("cp12525", "cp1252"), ("latin11", "latin1")])
def test_an_unknown_encoding_is_refused_with_the_nearest(shop, name, meant):
    with pytest.raises(PlanError, match=f'is "{name}".* did you mean "{meant}"'):
        shop.declare("transactions", "lines.csv", f'encoding = "{name}"').config()


@pytest.mark.parametrize("name", ["base64", "rot13", "zip"])
def test_an_encoding_that_is_none_of_texts_is_refused(shop, name):
    with pytest.raises(PlanError, match="key 'encoding'"):
        shop.declare("transactions", "lines.csv", f'encoding = "{name}"').config()
