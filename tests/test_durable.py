import json
import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandtotal import durable
from grandtotal.durable import (
    Log,
    arrays_digest,
    canonical,
    digest,
    read_json,
    read_log,
    write,
    write_json,
)

RECORDS = [
    {"round": 1, "what": "gram"},
    {"round": 2, "what": 'söld "twice"\n\r\u2028', "x": [1.5, None]},
    {},
]
NEXT = {"round": 4}


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it."""


@pytest.fixture
def logged(tmp_path):
    """Returns the path and the bytes of a log of three records."""
    log = Log(tmp_path / "log.jsonl")
    for record in RECORDS:
        log.append(record)
    return log.path, log.path.read_bytes()


def test_a_log_reads_what_was_appended(logged):
    assert read_log(logged[0]) == RECORDS
    assert Log(logged[0]).count == len(RECORDS)


def test_every_prefix_of_a_log_reads_as_whole_records_and_goes_on(logged):
    path, content = logged
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = RECORDS[: content[:size].count(b"\n")]
        assert read_log(path) == whole
        Log(path).append(NEXT)
        assert read_log(path) == [*whole, NEXT]


def test_a_flipped_byte_cuts_the_log_before_its_line(logged):
    path, content = logged
    for place in range(len(content)):
        for mask in (1, 4, 32, 128, 255):
            flipped = bytes([content[place] ^ mask])
            path.write_bytes(content[:place] + flipped + content[place + 1 :])
            before = RECORDS[: content[:place].count(b"\n")]
            assert read_log(path) == before
    Log(path).append(NEXT)
    assert read_log(path) == [*before, NEXT]


@pytest.mark.parametrize("tail", [b"[]\n", b"3\n", b"null\n", b'"check"\n', b"\0" * 9, b"{}\n"])
def test_a_line_that_is_no_record_cuts_the_log(logged, tail):
    path, content = logged
    path.write_bytes(content + tail)
    assert read_log(path) == RECORDS
    Log(path).append(NEXT)
    assert read_log(path) == [*RECORDS, NEXT]


def test_reading_a_log_leaves_it_as_it_is(logged):
    path, content = logged
    path.write_bytes(content[:-3])
    read_log(path)
    assert path.read_bytes() == content[:-3]
    assert read_log(path.with_name("none.jsonl")) == []
    assert not path.with_name("none.jsonl").exists()


def test_a_record_is_synchronised_before_append_returns(tmp_path, monkeypatch):
    synchronised = []
    sync = os.fsync
    monkeypatch.setattr(
        durable.os, "fsync", lambda file: (synchronised.append(os.fstat(file).st_ino), sync(file))
    )
    log = Log(tmp_path / "new" / "log.jsonl")
    log.append(NEXT)
    assert synchronised == [log.path.stat().st_ino, log.path.parent.stat().st_ino]


@pytest.mark.parametrize("step", ["fsync", "replace", "open"])
@pytest.mark.parametrize("left", [0, 3, 10])
def test_a_file_is_old_or_new_whenever_the_process_dies(tmp_path, monkeypatch, step, left):
    old, new = b"old content", b"new content that is longer"
    path = tmp_path / "file"
    write(path, old)

    def die(file, *_):
        if step == "fsync":
            os.ftruncate(file, left)
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(durable.os, step, die)
        with pytest.raises(Killed):
            write(path, new)
    assert path.read_bytes() == (new if step == "open" else old)
    write(path, new)
    assert path.read_bytes() == new


def test_a_write_that_dies_leaves_no_file_where_there_was_none(tmp_path, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(durable.os, "replace", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            write(tmp_path / "deep" / "file", b"content")
    assert not (tmp_path / "deep" / "file").exists()


def test_bytes_are_synchronised_before_they_appear_and_the_folder_after(tmp_path, monkeypatch):
    steps = []
    sync, replace = os.fsync, os.replace

    def syncing(file):
        steps.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        sync(file)

    monkeypatch.setattr(durable.os, "fsync", syncing)
    monkeypatch.setattr(
        durable.os, "replace", lambda *names: (steps.append("appears"), replace(*names))
    )
    write(tmp_path / "file", b"content")
    assert steps == ["file", "appears", "folder"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
well_formed = values.filter(lambda value: "\\ud" not in json.dumps(value).lower())


@settings(max_examples=30)
@given(well_formed)
def test_json_comes_back_as_it_was_written(tmp_path, value):
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@given(st.dictionaries(st.text("abc", max_size=3), st.integers(), min_size=2), st.randoms())
def test_equal_values_have_one_canonical_text(value, random):
    names = list(value)
    random.shuffle(names)
    assert canonical({name: value[name] for name in names}) == canonical(value)
    assert json.loads(canonical(value)) == value
    assert b" " not in canonical(value)


def test_a_digest_tells_where_its_parts_end():
    assert len({digest(b"ab", b"c"), digest(b"a", b"bc"), digest(b"abc"), digest(b"abc", b"")}) == 4


def test_an_arrays_digest_tells_names_types_shapes_and_contents_apart():
    base = np.arange(6, dtype=np.int64)
    variants = [
        {"a": base},
        {"b": base},
        {"a": base.astype(np.uint64)},
        {"a": base.reshape(2, 3)},
        {"a": base.reshape(3, 2)},
        {"a": base[::-1]},
        {"a": base, "b": base[:0]},
        {},
    ]
    assert len({arrays_digest(arrays) for arrays in variants}) == len(variants)


def test_an_arrays_digest_does_not_depend_on_layout_or_order_of_names():
    matrix = np.arange(6.0).reshape(2, 3)
    other = np.asfortranarray(matrix)
    assert arrays_digest({"a": matrix, "b": np.asarray(1)}) == arrays_digest(
        {"b": np.asarray(1), "a": other}
    )
    assert arrays_digest({"a": matrix[:, ::2]}) == arrays_digest({"a": matrix[:, ::2].copy()})


def test_what_a_full_disk_took_of_a_record_is_cut_off_again(tmp_path, monkeypatch):
    log = Log(tmp_path / "log.jsonl")
    log.append({"n": 1})
    with monkeypatch.context() as full:
        # As when the disk fills up between the bytes and their way to the disk.
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match="disk full"):
            log.append({"n": 2})
    log.append({"n": 3})
    assert read_log(log.path) == [{"n": 1}, {"n": 3}]
    assert log.count == 2
