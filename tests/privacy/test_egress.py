import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandtotal.durable import Log, digest, read_log
from grandtotal.errors import AnswerError, Code
from grandtotal.privacy import egress, noise
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Bound, NoCustomers, Release
from grandtotal.privacy.egress import Egress, Question, blocks
from grandtotal.privacy.fixedpoint import Field
from grandtotal.privacy.ledger import Cap
from grandtotal.privacy.noise import KEY_BYTES, NoiseStream
from grandtotal.privacy.terms import Terms

MEMBERS = ("north", "south", "west")
FIELDS = {"gram": Field((2, 2), modulus=2**32, symmetric=True), "loss": Field((), scale=64)}
ANSWER = {"gram": np.array([[1, 2], [2, 3]]), "loss": np.asarray(-5)}


def question(name="q1", members=MEMBERS, fields=FIELDS):
    return Question(name, "co-purchases", 4, members, fields)


def recorded(door, question):
    """Returns the ledger's record of a release."""
    (found,) = (
        r for r in read_log(door.ledger.folder / "ledger.jsonl") if r.get("question") == question
    )
    return found


def joined(released):
    return b"".join(bytes(block) for block in released)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "egress.jsonl"


@pytest.fixture
def opened():
    """Returns a maker of doors; each takes over from the one before, as another process would."""
    held = []

    def make(path, terms=None, entropy=None, members=MEMBERS):
        for before in held:
            before.close()
        terms = terms or Terms(path.parent / "door")
        source = {} if entropy is None else {"entropy": entropy}
        held.append(Egress(path, terms, "plan", members, **source))
        return held[-1]

    yield make
    for before in held:
        before.close()


def test_a_release_is_the_words_of_its_fields_one_after_another(path, opened):
    gram = np.array([1, 2, 3, 0], "<u4").tobytes()  # three words, filled up to whole 8 bytes
    loss = np.array([-5], "<i8").tobytes()
    assert joined(opened(path).release(question(), ANSWER)) == gram + loss


def test_the_log_says_what_left(path, opened):
    released = joined(opened(path).release(question(), ANSWER))
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


def test_the_same_question_is_answered_with_the_same_bytes_and_logged_once(path, opened):
    door = opened(path)
    first = joined(door.release(question(), ANSWER))
    assert joined(door.release(question(), ANSWER)) == first
    assert joined(opened(path).release(question(), ANSWER)) == first
    assert len(read_log(path)) == 1


def test_two_questions_are_two_releases(path, opened):
    door = opened(path)
    door.release(question("q1"), ANSWER)
    door.release(question("q2"), ANSWER)
    assert [record["question"] for record in read_log(path)] == ["q1", "q2"]


@pytest.mark.parametrize("again", [True, False])
def test_the_same_question_for_other_members_is_refused(path, again, opened):
    door = opened(path)
    door.release(question(), ANSWER)
    with pytest.raises(AnswerError, match=r"'west'.*asked for") as refused:
        (opened(path) if again else door).release(question(members=MEMBERS[:2]), ANSWER)
    assert refused.value.code == Code.OTHER_MEMBERS
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("again", [True, False])
def test_a_changed_answer_is_refused(path, again, opened):
    door = opened(path)
    door.release(question(), ANSWER)
    with pytest.raises(AnswerError, match="the tables have changed") as refused:
        (opened(path) if again else door).release(question(), {**ANSWER, "loss": np.asarray(-6)})
    assert refused.value.code == Code.ANSWER_CHANGED
    assert len(read_log(path)) == 1


def test_nothing_is_released_that_is_not_on_the_disk(path, monkeypatch, opened):
    on_disk = []
    cut = egress.blocks

    def noting(content):
        on_disk.append([record["summand"] for record in read_log(path)])
        return cut(content)

    monkeypatch.setattr(egress, "blocks", noting)
    released = joined(opened(path).release(question(), ANSWER))
    assert on_disk == [[digest(released)]]


def test_a_disk_that_fails_releases_nothing_and_is_asked_again(path, monkeypatch, opened):
    door = opened(path)
    with monkeypatch.context() as broken:
        broken.setattr(Log, "append", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match="disk full"):
            door.release(question(), ANSWER)
    assert read_log(path) == []
    changed = {**ANSWER, "loss": np.asarray(7)}
    assert joined(door.release(question(), changed)).endswith(np.array([7], "<i8").tobytes())
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("answer", [{}, {"gram": ANSWER["gram"]}, {**ANSWER, "id": np.ones(2)}])
def test_other_fields_than_agreed_are_refused_and_not_logged(path, answer, opened):
    with pytest.raises(AnswerError, match="agreed was \\['gram', 'loss'\\]") as refused:
        opened(path).release(question(), answer)
    assert refused.value.code == Code.FIELDS_DIFFER
    assert read_log(path) == []


def test_an_entry_too_large_for_the_members_is_refused_and_not_logged(path, opened):
    field = {"x": Field(())}
    most = field["x"].capacity(2)
    opened(path).release(question("q1", MEMBERS[:2], field), {"x": np.asarray(most)})
    with pytest.raises(AnswerError, match="3 retailers may contribute") as refused:
        opened(path).release(question("q2", MEMBERS, field), {"x": np.asarray(most)})
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


# --- under epsilon ---

PRIVATE = Agreement(epsilon=4.0, delta=1e-6)
RELEASES = {"recommend": (Release("co-purchases", 2),)}
BUDGET = Budget.of(PRIVATE, RELEASES, len(MEMBERS))
BOUND = Bound(50.0)
WIDE = {"gram": Field((300, 300), modulus=2**32, symmetric=True), "loss": Field((7,))}
STEPS = {"gram": np.full((300, 300), 9), "loss": np.arange(7)}


def terms_of(path, **changed):
    purposes = {"recommend": "recommend"}
    return Terms(path.parent / "door", Cap(), "plan", purposes, BUDGET, **changed)


def private(name="q1", bound=BOUND, fields=WIDE, members=MEMBERS, task="recommend"):
    return Question(name, "co-purchases", 4, members, fields, task, name, bound)


def fixed(count):
    return bytes(range(count))


def drawn(released):
    """Returns the noise of a release of STEPS: of the gram's words, and of the loss's."""
    content = joined(released)
    gram = np.frombuffer(content[: 4 * 45150], "<u4").view("<i4") - 9
    loss = np.frombuffer(content[4 * 45150 :], "<u8").view("<i8") - np.arange(7)
    return gram, loss


def test_every_entry_gets_this_retailers_share_of_the_noise(path, opened):
    gram, loss = drawn(opened(path, terms_of(path), fixed).release(private(), STEPS))
    sigma = BUDGET.share("recommend", "co-purchases", BOUND, 45150 + 7)
    stream = NoiseStream(sigma, fixed(KEY_BYTES))
    assert (gram == stream.draws(45150)).all()
    assert (loss == stream.draws(7)).all()
    assert gram.std() == pytest.approx(sigma, rel=0.02)
    # Two of three retailers have the whole variance between them: one may collude.
    assert sigma == pytest.approx(50 / math.sqrt(2 * BUDGET.rho / 2) / math.sqrt(2), rel=1e-6)


def test_the_noise_of_two_retailers_and_of_two_questions_differs(path, opened, tmp_path):
    first, _ = drawn(opened(path, terms_of(path)).release(private("q1"), STEPS))
    second, _ = drawn(opened(path, terms_of(path)).release(private("q2"), STEPS))
    other = tmp_path / "other" / "egress.jsonl"
    third, _ = drawn(opened(other, terms_of(other)).release(private("q1"), STEPS))
    for one, another in ((first, second), (first, third), (second, third)):
        assert abs(np.corrcoef(one, another)[0, 1]) < 0.03


def test_what_is_sent_again_has_the_same_noise_and_is_charged_once(path, opened):
    first = joined(opened(path, terms_of(path)).release(private(), STEPS))
    door = opened(path, terms_of(path))
    assert joined(door.release(private(), STEPS)) == first
    assert door.ledger.account.spent == {"customer": {"recommend": pytest.approx(BUDGET.rho / 2)}}
    assert len(read_log(path)) == 1


def test_the_key_of_the_noise_is_on_the_disk_before_the_reservation(path, opened, monkeypatch):
    door = opened(path, terms_of(path), fixed)
    kept = []
    reserve = door.ledger.reserve

    def noting(charge, **options):
        kept.extend(file.read_bytes() for file in path.parent.rglob("*.key"))
        reserve(charge, **options)

    monkeypatch.setattr(door.ledger, "reserve", noting)
    door.release(private(), STEPS)
    assert kept == [fixed(KEY_BYTES)]


def test_a_committed_question_is_never_answered_with_other_noise(path, opened):
    door = opened(path, terms_of(path))
    door.release(private(), STEPS)
    door.committed("q1")
    assert list(path.parent.rglob("*.key")) == []
    for again in (door, opened(path, terms_of(path))):
        with pytest.raises(AnswerError, match="a second release") as refused:
            again.release(private(), STEPS)
        assert refused.value.code == Code.ANSWER_CHANGED


def test_a_finished_run_keeps_no_noise(path, opened, tmp_path):
    other = tmp_path / "other" / "egress.jsonl"
    terms = terms_of(path)
    opened(other, terms).release(private("q9"), STEPS)
    door = opened(path, terms)
    for name in ("q1", "q2"):
        door.release(private(name), STEPS)
    door.finish()
    assert len(list(path.parent.rglob("*.key"))) == 1  # of the other run


def test_masks_are_put_on_after_the_noise_and_after_the_records(path, opened):
    door = opened(path, terms_of(path), fixed)
    seen = []

    def mask(summand):
        seen.append((bytes(summand), len(read_log(path)), len(door.ledger.account.released)))
        summand[:] = bytes(len(summand))

    assert not any(joined(door.release(private(), STEPS, mask)))
    ((masked, logged, reserved),) = seen
    assert (logged, reserved) == (1, 1)
    assert masked == joined(door.release(private(), STEPS))


@pytest.mark.parametrize("bound", [None, Bound(50.0)])
def test_without_epsilon_bounds_are_not_asked_for(path, opened, bound):
    gram, loss = drawn(opened(path).release(private(bound=bound), STEPS))
    assert not gram.any()
    assert not loss.any()


def test_what_no_customer_can_move_gets_no_noise_and_is_not_charged(path, opened):
    door = opened(path, terms_of(path))
    question = private("q", NoCustomers("it is a list of products"), FIELDS, task="catalogue")
    clear = {"gram": ANSWER["gram"], "loss": np.asarray(-5 / 64)}
    assert joined(door.release(question, clear)).endswith(np.array([-5], "<i8").tobytes())
    assert door.ledger.account.spent == {}
    assert recorded(door, "q")["exempt"] == "it is a list of products"


@pytest.mark.parametrize(
    ("question", "answer", "code", "words"),
    [
        (private(bound=None), STEPS, Code.NO_BOUND, "how far one customer can move it"),
        (private(), {**STEPS, "loss": np.arange(7.0)}, Code.NO_BOUND, "'loss' is not in whole"),
        (private(task="demand"), STEPS, Code.BUDGET, "not among what the task said"),
    ],
)
def test_what_epsilon_does_not_cover_is_refused(path, opened, question, answer, code, words):
    door = opened(path, terms_of(path))
    with pytest.raises(AnswerError, match=words) as refused:
        door.release(question, answer)
    assert refused.value.code == code
    assert read_log(path) == []
    assert not (path.parent / "door" / "noise").exists()


def test_a_question_is_answered_as_often_as_the_schedule_says(path, opened):
    door = opened(path, terms_of(path))
    for name in ("q1", "q2", "q1", "q2"):
        door.release(private(name), STEPS)
    for again in (door, opened(path, terms_of(path))):
        with pytest.raises(AnswerError, match="answered 2 times, as often as") as refused:
            again.release(private("q3"), STEPS)
        assert refused.value.code == Code.BUDGET


def test_a_plan_beyond_the_cap_is_refused_before_anything_is_asked(path, opened):
    terms = replace(terms_of(path), cap=Cap(epsilon=3.0))
    with pytest.raises(AnswerError, match=r"plan 'plan' would bring epsilon to 4 .* cap is 3"):
        opened(path, terms)
    opened(path, replace(terms, cap=Cap(epsilon=4.0)))


def test_an_entry_that_leaves_no_room_for_the_noise_is_refused(path, opened):
    field = {"x": Field((), modulus=2**32)}
    most = field["x"].capacity(3)
    opened(path).release(private("exact", None, field), {"x": np.asarray(most)})
    sigma = BUDGET.share("recommend", "co-purchases", BOUND, 1)
    room = math.ceil(8 * sigma)
    door = opened(path, terms_of(path))
    with pytest.raises(AnswerError, match=f"with room for noise of {room}") as refused:
        door.release(private("q1", BOUND, field), {"x": np.asarray(most - room + 1)})
    assert refused.value.code == Code.OVERFLOW
    door.release(private("q1", BOUND, field), {"x": np.asarray(most - room)})


@pytest.mark.parametrize("fails_at", ["key", "ledger", "egress"])
def test_a_disk_that_is_full_at_any_record_releases_nothing(path, opened, monkeypatch, fails_at):
    door = opened(path, terms_of(path))
    append, write = Log.append, noise.write

    def full(log, record):
        if (fails_at == "ledger") == (log.path.name == "ledger.jsonl"):
            raise OSError(28, "no space left on device")
        append(log, record)

    def full_write(*_):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as broken:
        if fails_at == "key":
            broken.setattr(noise, "write", full_write)
        else:
            broken.setattr(Log, "append", full)
        with pytest.raises(OSError, match="no space left"):
            door.release(private(), STEPS)
    assert read_log(path) == []
    assert noise.write is write
    # Asked again it leaves, once, with one charge, whichever record was missing.
    first = joined(door.release(private(), STEPS))
    assert joined(opened(path, terms_of(path)).release(private(), STEPS)) == first
    (spent,) = opened(path, terms_of(path)).ledger.account.spent.values()
    assert spent == {"recommend": pytest.approx(BUDGET.rho / 2)}


def test_the_ledger_says_what_each_release_cost(path, opened):
    door = opened(path, terms_of(path, tables="t"))
    door.release(private(), STEPS)
    record = recorded(door, "q1")
    sigma = BUDGET.share("recommend", "co-purchases", BOUND, 45150 + 7)
    assert (record["rho"], record["unit"], record["norm"]) == (
        pytest.approx(BUDGET.rho / 2),
        "customer",
        50.0,
    )
    assert record["sigma"] == pytest.approx(sigma)
    assert record["bytes"] == 4 * 45150 + 8 * 7
    assert record["purpose"] == "recommend"
    assert record["plan"] == "plan"


def test_a_summand_of_no_fields_is_one_empty_block(path, opened):
    assert [bytes(b) for b in opened(path).release(question(fields={}), {})] == [b""]
