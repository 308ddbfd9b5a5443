"""A table in pieces is the table: rows, account and rows set aside, for any size of a piece."""

import gzip

import polars as pl
import pytest

from grandtotal.errors import DataError
from grandtotal.tables import Tables
from grandtotal.tables.read import pieces

BAD = """\
product,time,quantity,price,customer,note
tea,2024-03-01 09:00:00,2,1.50,c1,
jam,2024-03-01 09:05:00,1,-3.25,c2,"two
lines"
tea,2024-03-01 09:00:00,2,1.50,c1,
rye,2024-03-03 11:00:00,0,2.00,,
oat,2024-03-04 12:00:00,3,0.00,c3,"a
b
c"
oat,2024-03-05 12:00:00,many,1.00,c1,
gin,2024-03-06 12:00:00,4,1.00,c4,
jam,2024-03-01 09:05:00,1,-3.25,c2,"two
lines"
tea,2024-03-01 09:00:00,2,1.50,c1,
rum,2024-03-07 12:00:00,4,9.00,c1,
"""
COLUMNS = ["product", "time", "quantity", "price", "customer"]


@pytest.fixture(params=["csv", "csv.gz", "parquet", "folder"])
def kept(request, shop):
    """A retailer whose transactions are kept in each way, with consent and rows of all kinds."""
    frame = pl.read_csv(BAD.encode(), infer_schema=False)
    name = f"lines.{request.param}"
    if request.param == "parquet":
        frame.write_parquet(shop.folder / name)
    elif request.param == "folder":
        name = "lines"
        for number, part in enumerate((frame[:7], frame[7:])):
            shop.write(f"lines/n={number}/part.parquet", "")
            part.write_parquet(shop.folder / f"lines/n={number}/part.parquet")
    else:
        shop.write(name, BAD if request.param == "csv" else gzip.compress(BAD.encode()))
    shop.write("c.csv", "customer,consent\nc1,yes\nc2,yes\nc3,yes\nc4,no\n")
    shop.declare("customers", "c.csv", 'consent = ["consent"]')
    return shop.declare("transactions", name)


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@pytest.mark.parametrize("more", ['duplicates = "keep"', 'price_is = "line"', ""])
def test_pieces_are_the_whole_for_any_size(kept, rows, more):
    kept.toml += f"{more}\n"
    whole = kept.tables()
    frame = whole["transactions"]
    stood = (kept.set_aside / "transactions.csv").read_text()
    cut = Tables(kept.config(), kept.set_aside, whole_rows=rows)
    assert pl.concat(cut.pieces("transactions", COLUMNS)).equals(frame)
    assert cut.accounts["transactions"] == whole.accounts["transactions"]
    assert (kept.set_aside / "transactions.csv").read_text() == stood
    assert cut["transactions"].equals(frame)
    assert pl.concat(cut.pieces("transactions", ["price"])).equals(frame.select("price"))
    assert cut.columns("transactions") == frame.columns


def test_a_table_that_is_filled_down_is_read_whole(shop, good):
    shop.write("lines.csv", good)
    shop.declare(
        "transactions", "lines.csv", 'fill_down = ["customer"]\ncolumns = { basket = "time" }'
    )
    cut = Tables(shop.config(), None, whole_rows=1)
    assert len(list(cut.pieces("transactions", COLUMNS))) == 1


def test_a_large_table_comes_in_pieces_and_a_small_one_in_one(kept):
    cut = Tables(kept.config(), None, whole_rows=3)
    assert [piece.height for piece in cut.pieces("customers", ["customer"])] == [3]
    assert len(list(cut.pieces("transactions", COLUMNS))) > 1
    assert len(list(kept.tables().pieces("transactions", COLUMNS))) == 1


def test_only_the_columns_asked_for_and_there_are_read(kept):
    cut = Tables(kept.config(), None, whole_rows=3)
    for tables in (cut, kept.tables()):
        found = pl.concat(tables.pieces("transactions", ["quantity", "basket", "product"]))
        assert found.columns == ["quantity", "product"]


def test_plain_frames_are_one_piece(good):
    frame = pl.read_csv(good.encode())
    (piece,) = pieces({"transactions": frame}, "transactions", ["price", "basket"])
    assert piece.equals(frame.select("price"))


def test_most_rows_are_counted_over_the_whole_file(shop, good):
    """The first piece is all wrong, the file is not."""
    head, *lines = good.splitlines(keepends=True)
    shop.write("lines.csv", head + lines[0].replace("2,1.50", "2,-1") + "".join(lines[1:]))
    shop.declare("transactions", "lines.csv")
    cut = Tables(shop.config(), None, whole_rows=1)
    assert pl.concat(cut.pieces("transactions", ["price"])).height == 4


def test_a_file_is_refused_in_the_same_words_in_pieces(shop, good):
    message = shop.refusal(good.replace(",1.50,", ",-1.50,").replace(",2.00,", ",-2.00,"))
    with pytest.raises(DataError) as refused:
        Tables(shop.config(), None, whole_rows=2).columns("transactions")
    assert str(refused.value) == message
    assert "in 3 of 5 rows price is negative; line 2: '-1.50'" in message


def test_a_file_that_changes_between_two_readings_is_refused(shop, good):
    shop.write("lines.csv", good)
    shop.declare("transactions", "lines.csv")
    cut = Tables(shop.config(), None, whole_rows=4)
    cut.columns("transactions")
    shop.write("lines.csv", good[: good.index("oat")])
    with pytest.raises(DataError, match=r"lines\.csv: it had 1 rows at first and now has 0"):
        list(cut.pieces("transactions", ["price"]))
