import pytest

from grandtotal import errors
from grandtotal.errors import AnswerError, Code, GrandtotalError


def test_every_error_that_the_command_line_shows_has_its_own_exit_code():
    kinds = [kind for kind in GrandtotalError.__subclasses__() if kind is not AnswerError]
    codes = [kind.exit_code for kind in kinds]
    assert sorted(codes) == list(range(3, 3 + len(kinds)))
    for kind in kinds:
        assert f"{kind.__name__} " in errors.__doc__
        assert f"exit {kind.exit_code}" in errors.__doc__


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_meaning_of_its_own(code):
    assert code.meaning
    assert [other for other in Code if other.meaning == code.meaning] == [code]


def test_an_answer_error_carries_its_code_apart_from_its_text():
    error = AnswerError(Code.DISK, "the text stays")
    assert error.code == Code.DISK
    assert str(error) == "the text stays"
