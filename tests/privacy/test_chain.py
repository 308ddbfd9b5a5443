import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandtotal.durable import canonical, digest, read_log
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import chain as chains
from grandtotal.privacy.chain import HEAD, LOCK, NOTHING_YET, Chain, verify


@pytest.fixture
def path(tmp_path):
    """Returns a chain of five records, closed."""
    return made(tmp_path / "ledger.jsonl")


def made(path, count=5):
    chain = Chain(path)
    for number in range(count):
        chain.append("release", {"bytes": number * 1000, "query": "co-purchases"})
    chain.close()
    return path


def refused(path):
    with pytest.raises(AnswerError) as seen:
        verify(path)
    assert seen.value.code == Code.LEDGER
    assert str(path.parent) in str(seen.value)
    with pytest.raises(AnswerError):
        Chain(path)
    return str(seen.value)


def test_records_name_each_other_and_are_there_again(path):
    records = verify(path)
    assert [record["bytes"] for record in records] == [0, 1000, 2000, 3000, 4000]
    assert [record["n"] for record in records] == [1, 2, 3, 4, 5]
    assert records[0]["previous"] == NOTHING_YET
    assert records[3]["previous"] == digest(canonical(records[2]))
    chain = Chain(path)
    assert read_log(path) == records
    assert chain.digests == [NOTHING_YET, *(digest(canonical(record)) for record in records)]
    chain.close()


def test_equal_records_have_different_digests(path):
    assert len({record["salt"] for record in verify(path)}) == 5


@settings(max_examples=60)
@given(st.data())
def test_any_changed_byte_is_found(tmp_path, data):
    path = tmp_path / str(len(os.listdir(tmp_path))) / "ledger.jsonl"
    made(path, 3)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("gone", [0, 1, 2, 3, 4])
def test_a_line_that_is_gone_is_found(path, gone):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    refused(path)


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_cut_is_found(path, kept):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]))
    assert f"has {kept} records" in refused(path)


def test_a_deleted_ledger_is_found_by_its_head(path):
    path.unlink()
    assert "has 0 records" in refused(path)


@pytest.mark.parametrize("places", [(0, 1), (3, 4), (0, 4)])
def test_another_order_is_found(path, places):
    lines = path.read_bytes().splitlines(keepends=True)
    first, second = places
    lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))
    assert f"line {first + 1} does not follow" in refused(path)


def test_a_line_twice_and_a_line_of_another_chain_are_found(path, tmp_path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    assert "line 6" in refused(path)
    other = made(tmp_path / "other" / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], other[4]]))
    assert "line 5" in refused(path)


def test_a_rewritten_chain_is_found_by_its_head(path, tmp_path):
    path.write_bytes(made(tmp_path / "other" / "ledger.jsonl").read_bytes())
    assert "or others" in refused(path)


@pytest.mark.parametrize("content", [b"", b"5", b"x y", b"\xff\xfe", b"9999 " + b"0" * 64])
def test_a_head_that_is_none_is_found(path, content):
    path.with_name(HEAD).write_bytes(content)
    refused(path)


def test_a_missing_head_is_found(path):
    path.with_name(HEAD).unlink()
    assert "is missing" in refused(path)


def test_a_line_that_a_crash_cut_off_is_as_if_it_never_was(path):
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:40])
    assert len(verify(path)) == 5
    chain = Chain(path)
    chain.append("release", {})
    chain.close()
    assert len(verify(path)) == 6


def test_a_head_that_a_crash_left_behind_is_brought_up(path):
    # Neither is synchronised with the other: the head may be older, never newer.
    head = path.with_name(HEAD)
    before = head.read_bytes()
    chain = Chain(path)
    chain.append("release", {})
    chain.close()
    after = head.read_bytes()
    head.write_bytes(before)
    assert len(verify(path)) == 6
    chain = Chain(path)
    chain.append("release", {})
    chain.close()
    assert head.read_bytes() > after
    assert len(verify(path)) == 7


def test_a_full_disk_leaves_a_chain_that_goes_on(path, monkeypatch):
    chain = Chain(path)
    sync = os.fsync

    def full(file):
        os.ftruncate(file, os.fstat(file).st_size - 30)
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            chain.append("release", {"bytes": 1})
    assert os.fsync is sync
    chain.append("release", {"bytes": 2})
    chain.close()
    assert [record["bytes"] for record in verify(path)][4:] == [4000, 2]


def test_two_runs_of_one_retailer_cannot_have_it_open(path):
    first = Chain(path)
    with pytest.raises(AnswerError, match=f"{LOCK}: another run of this retailer is at work"):
        Chain(path)
    code = (
        "import sys, pathlib\n"
        "from grandtotal.privacy.chain import Chain\n"
        "from grandtotal.errors import AnswerError\n"
        "try: Chain(pathlib.Path(sys.argv[1]))\n"
        "except AnswerError as error: sys.exit(str(error))\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, check=False
    )
    assert b"another run of this retailer" in other.stderr
    assert verify(path) == read_log(path)  # reading needs no lock
    first.close()
    first.close()
    Chain(path).close()


def test_a_chain_that_does_not_verify_is_not_kept_locked(path):
    content = path.read_bytes()
    path.write_bytes(content[100:])
    refused(path)
    path.write_bytes(content)
    Chain(path).close()


def test_a_chain_of_another_version_is_named_and_left_alone(path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(chains, "FORMAT", 2)
        assert "line 1 has format 1, this version 2" in refused(path)
    assert len(verify(path)) == 5


def test_an_empty_folder_is_an_empty_chain(tmp_path):
    assert verify(tmp_path / "ledger.jsonl") == []
    chain = Chain(tmp_path / "new" / "ledger.jsonl")
    assert chain.digests == [NOTHING_YET]
    assert chains.verify(chain.path) == []
    chain.close()
