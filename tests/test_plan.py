"""A plan that says something wrong is one clear error; a promise that cannot be kept is refused."""

import codecs
import json
from datetime import date

import pytest

from grandtotal.errors import GrandtotalError, PlanError, RefusedError
from grandtotal.plan import Plan
from grandtotal.tasks.demand import Demand
from grandtotal.tasks.recommend import Recommend

CONSORTIUM = {
    "name": '"test"',
    "members": '["north", "south", "west"]',
    "today": "2024-07-15",
    "catalogue": '"catalogue.csv"',
}
RECOMMEND = {"kind": '"recommend"'}
DEMAND = {"kind": '"demand"'}


def table(name, values):
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) + "\n"


@pytest.fixture
def write(tmp_path):
    """Returns a writer of plans: true ones, but for what is changed."""
    (tmp_path / "catalogue.csv").write_text("product\ntea\njam\n")

    def make(consortium=None, tasks=None, more=""):
        agreed = {**CONSORTIUM, **(consortium or {})}
        tasks = {"r": RECOMMEND, "d": DEMAND} if tasks is None else tasks
        text = table("consortium", {k: v for k, v in agreed.items() if v is not None})
        text += "".join(table(f"tasks.{name}", values) for name, values in tasks.items())
        path = tmp_path / "plan.toml"
        path.write_text(text + more)
        return path

    return make


def refusal(path, kind=PlanError):
    """Returns the message with which a plan is refused; it names the file."""
    with pytest.raises(kind) as refused:
        Plan.read(path)
    assert path.name in str(refused.value) or "catalogue" in str(refused.value)
    return str(refused.value)


def test_a_plan_is_what_it_says(write):
    plan = Plan.read(write({"seed": "3"}, {"r": RECOMMEND, "d": {**DEMAND, "horizon": "4"}}))
    assert (plan.name, plan.members) == ("test", ("north", "south", "west"))
    assert plan.common.today == date(2024, 7, 15)
    assert plan.common.catalogue == ("tea", "jam")
    assert (plan.common.key, plan.common.seed) == ("product", 3)
    assert plan.tasks == {
        "r": Recommend(plan.common),
        "d": Demand(plan.common, horizon=4),
    }


def test_what_travels_is_the_same_plan(write):
    plan = Plan.read(write())
    travelled = Plan.parse(plan.content)
    assert travelled == plan
    assert travelled.content == plan.content
    assert json.loads(plan.content)["consortium"]["catalogue"] == ["tea", "jam"]


def test_equal_plans_have_equal_texts_however_they_are_written(write):
    one = Plan.read(write()).content
    reordered = {key: CONSORTIUM[key] for key in reversed(CONSORTIUM)}
    other = Plan.read(write(reordered, {"d": DEMAND, "r": RECOMMEND}, "# a remark\n")).content
    assert one == other
    assert one != Plan.read(write({"seed": "8"})).content


@pytest.mark.parametrize("order", [("r", "d"), ("d", "r")])
def test_tasks_run_in_the_order_of_their_names(write, order):
    tasks = {"r": RECOMMEND, "d": DEMAND}
    plan = Plan.read(write(tasks={name: tasks[name] for name in order}))
    assert list(plan.tasks) == list(Plan.parse(plan.content).tasks) == ["d", "r"]


def test_a_date_is_a_date_with_or_without_quotes(write):
    assert Plan.read(write({"today": '"2024-07-15"'})) == Plan.read(write())


def test_a_plan_that_a_windows_editor_saved_is_the_same_plan(write):
    path = write()
    plan = Plan.read(path)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    assert Plan.read(path) == plan


# --- files ---


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "plan.toml")


@pytest.mark.parametrize("content", [b"[consortium", b"\xff\xfe", b"a = \n", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    assert "not a TOML file" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b'"plan"'])
def test_a_text_that_is_no_plan_is_refused(content):
    with pytest.raises(PlanError, match="the plan"):
        Plan.parse(content)


# --- the consortium ---


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"today": None}, "[consortium]: 'today' is missing"),
        ({"today": '"soon"'}, "today = 'soon', expected a date such as 2011-12-10"),
        ({"today": "2024-07-15T10:00:00"}, "today = '2024-07-15T10:00:00'"),
        ({"today": "10:00:00"}, "today = "),
        ({"today": "9999-12-31"}, "today = '9999-12-31', expected a day from 1980 to 2050"),
        ({"today": "20240715"}, "today = 20240715, expected a text"),
        ({"today": "true"}, "today = True"),
        ({"name": None}, "[consortium]: 'name' is missing"),
        ({"name": "5"}, "name = 5, expected a text"),
        ({"members": None}, "[consortium]: 'members' is missing"),
        ({"members": '["a", "b", "c", "a"]'}, "named twice in ['a', 'b', 'c', 'a']"),
        ({"members": '"north"'}, "members = 'north', expected a list of texts"),
        ({"members": "{a = 1, b = 2, c = 3}"}, "members = {'a': 1"),
        ({"members": "5"}, "members = 5, expected a list"),
        ({"members": "[1, 2, 3]"}, "members = (1, 2, 3), expected a list of texts"),
        ({"members": '[["a"], ["b"], ["c"]]'}, "members = (['a']"),
        ({"members": '["a", "b", true]'}, "expected a list of texts"),
        ({"members": '["a", "b", "../c"]'}, "members: the name '../c'"),
        ({"members": '["a", "b", "c/d"]'}, "the name 'c/d'"),
        ({"members": '["a", "b", ".."]'}, "the name '..'"),
        ({"members": '["a", "b", "."]'}, "the name '.'"),
        ({"members": '["a", "b", "c..d"]'}, "the name 'c..d'"),
        ({"members": '["a", "b", ""]'}, "the name ''"),
        ({"members": '["a", "b", "c "]'}, "the name 'c '"),
        ({"members": '["a", "b", "c\\n"]'}, "the name 'c\\n'"),
        ({"members": '["a", "b", "c\\u0000"]'}, "the name 'c\\x00'"),
        ({"members": '["a", "b", "c\\\\d"]'}, "the name 'c\\\\d'"),
        ({"key": '"sku"'}, 'key = "sku", expected "product" or "gtin"'),
        ({"key": "1"}, 'expected "product" or "gtin"'),
        ({"seed": '"7"'}, "seed = '7', expected a whole number from 0 on"),
        ({"seed": "true"}, "seed = True"),
        ({"seed": "-1"}, "seed = -1"),
        ({"seed": "1.5"}, "seed = 1.5"),
        ({"catalogue": None}, "[consortium] has no 'catalogue'"),
        ({"catalogue": "5"}, "catalogue = 5, expected the file of product keys"),
        ({"catalogue": '["tea", "jam"]'}, "catalogue = ['tea', 'jam'], expected the file"),
        ({"member": '["a"]'}, "unknown key 'member'"),
        ({"todays": "1"}, "did you mean 'today'?"),
    ],
)
def test_a_consortium_that_cannot_be_is_refused_by_its_key(write, changed, words):
    said = refusal(write(changed))
    assert words in said
    assert "[consortium]" in said


@pytest.mark.parametrize("member", ["Müller", "H&M", "St. Gallen 2", "a_1", "7", "北", "<b>"])
def test_a_member_may_be_called_in_any_letters(write, member):
    assert Plan.read(write({"members": f'["a", "b", "{member}"]'})).members[2] == member


def test_two_members_are_refused_with_the_reason(write):
    with pytest.raises(RefusedError, match=r"2 retailers \(a, b\): at least 3 .* subtracting"):
        Plan.read(write({"members": '["a", "b"]'}))


@pytest.mark.parametrize("more", ["consortium = 5\n", "consortium = [1]\n"])
def test_a_section_that_is_no_table_is_refused(tmp_path, more):
    (tmp_path / "plan.toml").write_text(more)
    assert "[consortium] is " in refusal(tmp_path / "plan.toml")


def test_an_unknown_section_is_refused_with_the_nearest(write):
    said = refusal(write(more="[privacyy]\nepsilon = 1\n"))
    assert "unknown 'privacyy', expected consortium, privacy, tasks" in said
    assert "did you mean [privacy]?" in said


def test_a_plan_without_a_consortium_is_refused(tmp_path):
    (tmp_path / "plan.toml").write_text(table("tasks.r", RECOMMEND))
    assert "[consortium] is missing" in refusal(tmp_path / "plan.toml")


# --- the catalogue ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"product\n", "the catalogue is empty"),
        (b"product\n\n  \n", "the catalogue is empty"),
        (b"", "the first line is nothing, expected the heading 'product'"),
        (b"tea\njam\n", "the first line is ['tea'], expected the heading 'product'"),
        (b"product\ntea\njam\n tea \n", "'tea' is listed twice"),
        (b"product\n\xff\xfe\n", "cannot be read"),
        (b'product\n"' + b"x" * 200_000 + b'"\n', "cannot be read"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_refused(write, tmp_path, content, words):
    (tmp_path / "catalogue.csv").write_bytes(content)
    assert words in refusal(write())


def test_a_catalogue_that_is_not_there_is_named(write):
    assert "none.csv: the catalogue cannot be read" in refusal(write({"catalogue": '"none.csv"'}))
    assert "cannot be read" in refusal(write({"catalogue": '"."'}))


def test_a_catalogue_is_its_first_column_in_its_order(write, tmp_path):
    (tmp_path / "catalogue.csv").write_bytes(
        b'\xef\xbb\xbfproduct,title\r\n tea ,x\r\n\r\n"a,b",y\r\n007,z\r\n'
    )
    assert Plan.read(write()).common.catalogue == ("tea", "a,b", "007")


# --- tasks ---


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (
            {"r": {"kind": '"recomend"'}},
            "no kind 'recomend', expected ",
        ),
        ({"r": {"kind": "5"}}, "no kind '5'"),
        ({"r": {"kind": '["demand"]'}}, "no kind '['demand']'"),
        ({"r": {"kind": "{a = 1}"}}, "no kind '{'a': 1}'"),
        ({"r": {}}, "'kind' is missing, expected one of "),
        ({"r": {**RECOMMEND, "modles": "1"}}, "unknown key 'modles'"),
        ({"r": {**RECOMMEND, "modles": "1"}}, "did you mean 'models'?"),
        ({"r": {**RECOMMEND, "common": "1"}}, "unknown key 'common'"),
        ({"r": {**RECOMMEND, "models": '["eas"]'}}, "no model 'eas', expected"),
        ({"r": {**RECOMMEND, "models": '["eas"]'}}, "did you mean 'ease'?"),
        ({"r": {**RECOMMEND, "models": "[]"}}, "models = (), expected a list of some of"),
        ({"r": {**RECOMMEND, "models": '"ease"'}}, "models = 'ease', expected a list"),
        ({"r": {**RECOMMEND, "models": "{ease = 1}"}}, "models = {'ease': 1}, expected a list"),
        ({"r": {**RECOMMEND, "models": "3"}}, "models = 3, expected a list"),
        ({"r": {**RECOMMEND, "models": '[["ease"]]'}}, "no model '['ease']'"),
        ({"r": {**RECOMMEND, "top": '"10"'}}, "top = '10', expected a whole number from 1 on"),
        ({"r": {**RECOMMEND, "top": "true"}}, "top = True"),
        ({"r": {**RECOMMEND, "top": "0"}}, "top = 0"),
        ({"r": {**RECOMMEND, "top": "10.0"}}, "top = 10.0"),
        ({"r": {**RECOMMEND, "top": "[10]"}}, "top = (10,)"),
        ({"r": {**RECOMMEND, "horizon_days": "{}"}}, "horizon_days = {}"),
        ({"r": {**RECOMMEND, "horizon_days": "-1"}}, "horizon_days = -1"),
        ({"r": {**DEMAND, "horizon": "0"}}, "horizon = 0, expected a whole number from 1 on"),
        ({"r": {**DEMAND, "horizon": '"8"'}}, "horizon = '8'"),
        ({"r": {**DEMAND, "test": "1"}}, "test = 1, expected a whole number from 8 on"),
        ({"r": {**DEMAND, "history": "30"}}, "history = 30, expected a whole number from 40 on"),
        ({"r": {**DEMAND, "every": '"month"'}}, 'every = \'month\', expected "week" or "day"'),
        ({"r": {**DEMAND, "every": "[]"}}, "every = ()"),
        ({"r": {**DEMAND, "outlier": '"4"'}}, "outlier = '4', expected a number from 1 on"),
        ({"r": {**DEMAND, "outlier": "nan"}}, "outlier = nan"),
    ],
)
def test_a_task_that_cannot_be_is_refused_by_its_table_and_key(write, tasks, words):
    said = refusal(write(tasks=tasks))
    assert words in said
    assert "[tasks.r]" in said


def test_a_plan_without_tasks_is_refused(write):
    assert "[tasks] is missing" in refusal(write(tasks={}))
    assert "no [tasks.NAME]" in refusal(write(tasks={}, more="[tasks]\n"))


@pytest.mark.parametrize("more", ["r = 5\n", "r = [1]\n", 'r = "demand"\n'])
def test_a_task_that_is_no_table_is_refused(write, more):
    assert "[tasks.r]" in refusal(write(tasks={}, more="[tasks]\n" + more))


@pytest.mark.parametrize("name", ['"../../r"', '"a/b"', '".."', '""', '"a\\u0000"'])
def test_a_task_whose_name_is_no_file_name_is_refused(write, name):
    assert "the name " in refusal(write(tasks={name: RECOMMEND}))


# --- privacy: a promise that cannot be kept is refused, never ignored ---


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("epsilon = 4.0", "epsilon and delta go together"),
        ("delta = 1e-6", "epsilon and delta go together"),
        ("epsilon = 0\ndelta = 1e-6", "epsilon = 0, expected a number above 0"),
        ("epsilon = -1\ndelta = 1e-6", "epsilon = -1, expected a number above 0"),
        ("epsilon = nan\ndelta = 1e-6", "epsilon = nan, expected"),
        ("epsilon = inf\ndelta = 1e-6", "epsilon = inf, expected"),
        ("epsilon = false\ndelta = 1e-6", "epsilon = False, expected"),
        ('epsilon = "none"\ndelta = 1e-6', "epsilon = 'none', expected"),
        ("epsilon = 1\ndelta = 0", "delta = 0, expected"),
        ("epsilon = 1\ndelta = 1", "delta = 1, expected"),
        ("secure_sum = false\nepsilon = 1\ndelta = 1e-6", "set secure_sum = true"),
    ],
)
def test_an_epsilon_that_promises_nothing_is_refused(write, asked, words):
    assert words in refusal(write(more=f"[privacy]\n{asked}\n"))


@pytest.mark.parametrize("asked", ["", "[privacy]", "[privacy]\nsecure_sum = true"])
def test_secure_sums_are_what_a_plan_promises_unless_it_says_no(write, asked):
    assert Plan.read(write(more=asked + "\n")).common.privacy.secure_sum


def test_a_plan_may_say_that_it_wants_no_secure_sums(write):
    plan = Plan.read(write(more="[privacy]\nsecure_sum = false\n"))
    assert not plan.common.privacy.secure_sum


@pytest.mark.parametrize("value", ['"true"', '"false"', "1", "0", "[]", "{}"])
def test_a_promise_that_is_neither_true_nor_false_is_refused(write, value):
    assert "secure_sum = " in refusal(write(more=f"[privacy]\nsecure_sum = {value}\n"))


def test_an_unknown_promise_is_refused_with_the_nearest(write):
    said = refusal(write(more="[privacy]\nepsilonn = 1\n"))
    assert "unknown key 'epsilonn'" in said
    assert "epsilon" in said.split("did you mean")[1]


@pytest.mark.parametrize("value", ["5", "[1]", '"none"', "true"])
def test_a_privacy_that_is_no_table_is_refused(tmp_path, value):
    path = tmp_path / "plan.toml"
    (tmp_path / "catalogue.csv").write_text("product\ntea\n")
    text = f"privacy = {value}\n" + table("consortium", CONSORTIUM) + table("tasks.r", RECOMMEND)
    path.write_text(text)
    assert "[privacy] is " in refusal(path)


def test_every_refusal_can_be_shown_to_a_person(write):
    for changed in ({"today": '"soon"'}, {"members": '["a", "b"]'}, {"seed": '"x"'}):
        with pytest.raises(GrandtotalError) as refused:
            Plan.read(write(changed))
        assert refused.value.exit_code in (3, 5)
        assert "\n" not in str(refused.value)
