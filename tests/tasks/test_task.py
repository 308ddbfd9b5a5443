from dataclasses import dataclass

import pytest

from grandtotal.errors import PlanError
from grandtotal.tasks.task import check_models, check_numbers, settings


@dataclass(frozen=True)
class Settings:
    given: int
    models: tuple[str, ...]
    top: int = 10

    def __post_init__(self):
        check_models(self.models, {"ease": 1, "item-knn": 2})
        check_numbers(top=(self.top, 1))


def made(**values):
    return settings(Settings, {"models": ["ease"], **values}, "plan.toml: [tasks.r]", given=3)


def refusal(**values):
    with pytest.raises(PlanError) as refused:
        made(**values)
    assert str(refused.value).startswith("plan.toml: [tasks.r]: ")
    return str(refused.value)


def test_settings_are_the_dataclass_of_the_table():
    assert made(top=5) == Settings(3, ("ease",), 5)


def test_an_unknown_key_is_refused_with_the_nearest():
    assert "unknown key 'modles', expected models, top; did you mean 'models'?" in refusal(
        modles=[]
    )
    assert "did you mean" not in refusal(zzz=1)


def test_what_the_plan_does_not_decide_cannot_be_set():
    assert "unknown key 'given'" in refusal(given=4)


def test_a_missing_key_is_named():
    with pytest.raises(PlanError, match="'models' is missing"):
        settings(Settings, {}, "here", given=3)


@pytest.mark.parametrize("top", [0, -3, 2.0, 2.5, True, "10", [10], {"k": 1}])
def test_a_number_that_is_none_is_refused_with_what_was_found(top):
    said = refusal(top=top)
    assert "top = " in said
    assert "whole number from 1 on" in said


def test_an_unknown_model_is_refused_with_the_nearest():
    assert "no model 'eese', expected ease, item-knn; did you mean 'ease'?" in refusal(
        models=["eese"]
    )


@pytest.mark.parametrize("models", [[], "ease", 5, {"ease": 1}, [["ease"]], [{"a": 1}], [5]])
def test_models_that_are_no_list_of_names_are_refused(models):
    assert "model" in refusal(models=models)
