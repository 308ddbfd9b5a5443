"""A table in pieces is the table: rows, account and rows set aside, for any size of a piece."""

import gzip
import os

import polars as pl
import pytest

from grandtotal.errors import DataError
from grandtotal.tables import Tables, files, large
from grandtotal.tables import kept as module
from grandtotal.tables.check import check_tables
from grandtotal.tables.read import pieces
from grandtotal.tables.rows import judge

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
    frame = pl.read_csv(good.encode(), infer_schema=False)
    frame.write_parquet(shop.folder / "lines.parquet")
    shop.declare("transactions", "lines.parquet")
    cut = Tables(shop.config(), None, whole_rows=4)
    cut.columns("transactions")
    frame[:2].write_parquet(shop.folder / "lines.parquet")
    with pytest.raises(DataError, match=r"lines\.parquet: it had 2 rows at first and now has 0"):
        list(cut.pieces("transactions", ["price"]))


def test_a_csv_is_copied_once_and_its_lines_keep_their_numbers(shop, good, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(shop.folder / "copies"))
    (shop.folder / "copies").mkdir()
    shop.write("lines.csv", good)
    shop.declare("transactions", "lines.csv")
    cut = Tables(shop.config(), None, whole_rows=2)
    frame = pl.concat(cut.pieces("transactions", COLUMNS))
    (copy,) = (shop.folder / "copies").rglob("*.parquet")
    shop.write("lines.csv", good[: good.index("oat")])
    assert pl.concat(cut.pieces("transactions", COLUMNS)).equals(frame)
    del cut
    assert not copy.exists()


def old(path, seconds=60):
    """Gives a file a time of change in the past: what is a moment old is not relied on."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - seconds * 10**9))


def test_what_was_found_about_a_file_is_kept_and_is_the_same(kept, monkeypatch):
    paths = [p for p in kept.folder.rglob("lines*") for p in [p, *p.rglob("*")] if p.is_file()]
    for path in paths:
        old(path)
    folder = kept.folder / "kept"
    first = Tables(kept.config(), kept.set_aside, whole_rows=4, kept=folder)
    frame = pl.concat(first.pieces("transactions", COLUMNS))
    stood = (kept.set_aside / "transactions.csv").read_text()
    (kept.set_aside / "transactions.csv").unlink()
    monkeypatch.setattr(large, "judge", None)  # nothing is judged again
    again = Tables(kept.config(), kept.set_aside, whole_rows=4, kept=folder)
    assert pl.concat(again.pieces("transactions", COLUMNS)).equals(frame)
    assert again.accounts["transactions"] == first.accounts["transactions"]
    assert (kept.set_aside / "transactions.csv").read_text() == stood


@pytest.mark.parametrize("change", ["file", "consent", "mapping", "moment"])
def test_what_was_kept_is_not_used_for_anything_else(kept, change, monkeypatch):
    paths = {p for p in kept.folder.rglob("lines*") for p in [p, *p.rglob("*")] if p.is_file()}
    for path in paths:
        old(path, -1 if change == "moment" else 60)
    folder = kept.folder / "kept"
    Tables(kept.config(), None, whole_rows=4, kept=folder).columns("transactions")
    assert folder.exists() == (change != "moment")
    if change == "file":
        for path in paths:
            old(path, 1)
    elif change == "consent":
        kept.write("c.csv", "customer,consent\nc1,yes\nc2,no\nc3,yes\nc4,no\n")
    elif change == "mapping":
        kept.toml += 'duplicates = "keep"\n'
    judged = []
    monkeypatch.setattr(large, "judge", lambda *a: judged.append(a) or judge(*a))
    Tables(kept.config(), None, whole_rows=4, kept=folder).columns("transactions")
    assert judged


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_a_table_in_pieces_is_checked_as_the_whole(kept, rows):
    cut = Tables(kept.config(), None, whole_rows=rows)
    assert check_tables(cut).json() == check_tables(kept.tables()).json()


def test_a_full_disk_keeps_nothing_and_stops_nobody(kept, monkeypatch):
    for path in [p for p in kept.folder.rglob("lines*") for p in [p, *p.rglob("*")] if p.is_file()]:
        old(path)

    def full(path):
        """Every file that is begun is on a device without room."""
        part = path.with_name(path.name + ".partial")
        part.symlink_to("/dev/full")
        return part

    folder = kept.folder / "kept"
    frame = kept.tables()["transactions"]
    with monkeypatch.context() as patched:
        patched.setattr(module, "partial_path", full)
        first = Tables(kept.config(), None, whole_rows=4, kept=folder)
        assert pl.concat(first.pieces("transactions", COLUMNS)).equals(frame)
    assert not list(folder.glob("*.json"))
    again = Tables(kept.config(), None, whole_rows=4, kept=folder)
    assert pl.concat(again.pieces("transactions", COLUMNS)).equals(frame)


def test_no_room_for_the_copy_of_a_csv_is_said_with_the_folder(shop, good, monkeypatch):
    class Full:
        def __init__(self, make):
            self.make = make

        def made(self):
            (shop.folder / "tmp").mkdir()
            path = shop.folder / "tmp/rows.parquet"
            path.symlink_to("/dev/full")
            self.make(path)

    monkeypatch.setattr(files, "Copy", Full)
    shop.write("lines.csv", good)
    shop.declare("transactions", "lines.csv")
    with pytest.raises(DataError, match=r"lines\.csv: no room for a copy of it in .*TMPDIR"):
        Tables(shop.config(), None, whole_rows=1).columns("transactions")
