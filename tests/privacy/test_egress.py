import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.durable import Log, digest, read_log
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import egress
from grandtotal.privacy.egress import Egress, Question, blocks
from grandtotal.privacy.fixedpoint import Field

MEMBERS = ("north", "south", "west")
FIELDS = {"gram": Field((2, 2), modulus=2**32, symmetric=True), "loss": Field((), scale=64)}
ANSWER = {"gram": np.array([[1, 2], [2, 3]]), "loss": np.asarray(-5)}


def question(name="q1", members=MEMBERS, fields=FIELDS):
    return Question(name, "co-purchases", 4, members, fields)


def joined(released):
    return b"".join(bytes(block) for block in released)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "egress.jsonl"


def test_a_release_is_the_words_of_its_fields_one_after_another(path):
    gram = np.array([1, 2, 3, 0], "<u4").tobytes()  # three words, filled up to whole 8 bytes
    loss = np.array([-5], "<i8").tobytes()
    assert joined(Egress(path).release(question(), ANSWER)) == gram + loss


def test_the_log_says_what_left(path):
    released = joined(Egress(path).release(question(), ANSWER))
    (record,) = read_log(path)
    assert record.pop("at").startswith("20")
    assert record == {
        "round": 4,
        "query": "co-purchases",
        "question": "q1",
        "members": list(MEMBERS),
        "fields": {
            "gram": {"shape": [2, 2], "modulus": "2^32", "scale": 1},
            "loss": {"shape": [], "modulus": "2^64", "scale": 64},
        },
        "bytes": len(released),
        "summand": digest(released),
    }


def test_the_same_question_is_answered_with_the_same_bytes_and_logged_once(path):
    door = Egress(path)
    first = joined(door.release(question(), ANSWER))
    assert joined(door.release(question(), ANSWER)) == first
    assert joined(Egress(path).release(question(), ANSWER)) == first
    assert len(read_log(path)) == 1


def test_two_questions_are_two_releases(path):
    door = Egress(path)
    door.release(question("q1"), ANSWER)
    door.release(question("q2"), ANSWER)
    assert [record["question"] for record in read_log(path)] == ["q1", "q2"]


@pytest.mark.parametrize("again", [True, False])
def test_the_same_question_for_other_members_is_refused(path, again):
    door = Egress(path)
    door.release(question(), ANSWER)
    with pytest.raises(AnswerError, match=r"'west'.*asked for") as refused:
        (Egress(path) if again else door).release(question(members=MEMBERS[:2]), ANSWER)
    assert refused.value.code == Code.OTHER_MEMBERS
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("again", [True, False])
def test_a_changed_answer_is_refused(path, again):
    door = Egress(path)
    door.release(question(), ANSWER)
    with pytest.raises(AnswerError, match="the tables have changed") as refused:
        (Egress(path) if again else door).release(question(), {**ANSWER, "loss": np.asarray(-6)})
    assert refused.value.code == Code.ANSWER_CHANGED
    assert len(read_log(path)) == 1


def test_nothing_is_released_that_is_not_on_the_disk(path, monkeypatch):
    on_disk = []
    cut = egress.blocks

    def noting(content):
        on_disk.append([record["summand"] for record in read_log(path)])
        return cut(content)

    monkeypatch.setattr(egress, "blocks", noting)
    released = joined(Egress(path).release(question(), ANSWER))
    assert on_disk == [[digest(released)]]


def test_a_disk_that_fails_releases_nothing_and_is_asked_again(path, monkeypatch):
    door = Egress(path)
    with monkeypatch.context() as broken:
        broken.setattr(Log, "append", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match="disk full"):
            door.release(question(), ANSWER)
    assert read_log(path) == []
    changed = {**ANSWER, "loss": np.asarray(7)}
    assert joined(door.release(question(), changed)).endswith(np.array([7], "<i8").tobytes())
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("answer", [{}, {"gram": ANSWER["gram"]}, {**ANSWER, "id": np.ones(2)}])
def test_other_fields_than_agreed_are_refused_and_not_logged(path, answer):
    with pytest.raises(AnswerError, match="agreed was \\['gram', 'loss'\\]") as refused:
        Egress(path).release(question(), answer)
    assert refused.value.code == Code.FIELDS_DIFFER
    assert read_log(path) == []


def test_an_entry_too_large_for_the_members_is_refused_and_not_logged(path):
    field = {"x": Field(())}
    most = field["x"].capacity(2)
    Egress(path).release(question("q1", MEMBERS[:2], field), {"x": np.asarray(most)})
    with pytest.raises(AnswerError, match="3 retailers may contribute") as refused:
        Egress(path).release(question("q2", MEMBERS, field), {"x": np.asarray(most)})
    assert refused.value.code == Code.OVERFLOW
    assert [record["question"] for record in read_log(path)] == ["q1"]


@given(st.binary(max_size=70), st.integers(1, 80))
def test_blocks_are_the_content(content, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(egress, "BLOCK_BYTES", size)
        cut = blocks(memoryview(content))
    assert joined(cut) == content
    assert len(cut) == max(1, -(-len(content) // size))
    assert all(len(block) == size for block in cut[:-1])
