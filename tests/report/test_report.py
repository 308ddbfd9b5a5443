"""What the report claims, and what must not be in it."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from grandtotal.durable import Json, read_json, write_json
from grandtotal.errors import RunError
from grandtotal.report import report as module
from grandtotal.report.report import write_report

NORTH, SOUTH, WEST = "north", 'so<b>"uth', "west & sons"
_VOID = {"meta", "link", "br", "hr", "img"}


class Page(HTMLParser):
    """The text of a page in one line, its headings, links and unclosed elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text(encoding="utf-8")
        self.headings: list[int] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self._text: list[str] = []
        self.feed(self.raw)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._text))

    def part(self, heading: str) -> str:
        """Returns the text from a heading of the contents on, up to the next."""
        found = re.split(r'<section id="part-\d+" class="part">', self.raw)
        (section,) = [one for one in found if one.startswith(f"<h2>{html.escape(heading)}</h2>")]
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", section)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self._text.append(data)


def simulated(run: Any) -> Page:
    return Page(write_report(run.folder))


def coordinators(run: Any) -> Page:
    run.remove("simulation.json")
    return Page(write_report(run.folder))


def test_report_is_written_beside_the_run(run: Any) -> None:
    assert write_report(run.folder) == run.folder.report
    own = write_report(run.folder, retailer=NORTH)
    assert own == run.folder.retailer(NORTH) / "report.html"


def test_report_is_the_same_bytes_each_time(run: Any) -> None:
    first = write_report(run.folder).read_bytes()
    assert write_report(run.folder).read_bytes() == first


def test_headline_says_who_gained_who_did_not_and_who_lost(run: Any) -> None:
    short = simulated(run).part("In short")
    assert f"One of three retailers gained over training alone: {NORTH}." in short
    assert f"For {SOUTH} no gain was shown." in short
    assert "West & sons did better alone." in short
    assert f"{NORTH} gained +5.3 % (95 %: 2.1 to 8.4)" in short
    assert f"{SOUTH} no gain shown: +1.0 % (95 %: −2.0 to 4.0)" in short
    assert f"{WEST} lost −6.0 % (95 %: −9.0 to −3.0): training alone was better" in short


def test_headline_has_the_gain_of_all_retailers_together(run: Any) -> None:
    short = simulated(run).part("In short")
    assert "all together gained +3.0 % (95 %: 1.0 to 5.0)" in short
    assert "larger retailers weigh more" in short


def test_headline_warns_where_alone_is_the_baseline_or_had_not_settled(run: Any) -> None:
    path = run.folder.path / "simulation.json"
    content = read_json(path)
    retailers = content["tasks"]["recommend"]["retailers"]
    retailers[NORTH]["rows"]["alone"] = retailers[NORTH]["rows"]["baseline"]
    retailers[WEST]["choices"]["alone"]["chosen"]["fit"] = {"converged": False}
    write_json(path, content)
    short = simulated(run).part("In short")
    assert f"For {NORTH} the model chosen alone scores exactly as the baseline" in short
    assert f"the model of {WEST} reached its limit of rounds before it had settled" in short


def test_lower_is_better_for_an_error_in_every_view(run: Any) -> None:
    pages = [simulated(run), Page(write_report(run.folder, NORTH)), coordinators(run)]
    for page in pages:
        assert "forecast error (WAPE); lower is better" in page.part("Demand")
        assert "Further left is better" in page.part("Demand")
        assert "ranking quality (NDCG@10); higher is better" in page.part("Recommend")
    # 0.42 after 0.4: worse for an error, better for a quality.
    assert "all together −5.0 %" in pages[-1].part("In short")
    assert "all together +5.0 %" in pages[-1].part("In short")


def test_four_rows_with_sample_interval_and_baseline_label(run: Any) -> None:
    part = simulated(run).part("Recommend")
    assert f"{NORTH} · 1,976 customers" in part
    assert "baseline own bestsellers 0.123 0.113 to 0.133" in part
    assert "pooled" in part
    assert "recall@10 : What recall means." in part


def test_a_missing_value_is_a_dash(run: Any) -> None:
    # recall is the last metric with a value, hit_rate has none.
    assert re.search(r"baseline 0\.123 0\.123 – ", simulated(run).part("Recommend"))


def test_pooled_model_is_said_to_be_the_federated_one_only_where_it_is(run: Any) -> None:
    assert "is the federated model, bit for bit" in simulated(run).part("Demand")
    run.simulation(same_as_federated=False, digest="ef" * 32)
    part = simulated(run).part("Demand")
    assert "is not the federated model" in part
    assert "efefefef" in part


def test_every_question_is_told_with_fields_times_and_bytes(run: Any) -> None:
    run.ask("glm-moments", {"gradient": [22], "loss": []}, 2216, "demand")
    run.ask("glm-moments", {"gradient": [22], "loss": []}, 2216, "demand")
    part = simulated(run).part("What left each retailer’s building")
    assert "how many customers bought both" in part
    assert "gram : 3 × 3 numbers" in part
    assert "A cell of 1 is one customer’s basket" in part
    assert "consortium’s sales volumes" in part
    assert "Once: 2.3 MB from each retailer." in part
    assert "Twice, 2.2 kB each time: 4.4 kB from each retailer." in part
    assert "gradient : 22 numbers; loss : one number" in part


def test_an_unknown_question_has_its_fields_listed_and_no_promise_made(run: Any) -> None:
    run.ask("basket-sizes", {"histogram": [12]}, 96, "recommend")
    part = simulated(run).part("What left each retailer’s building")
    assert "histogram : 12 numbers" in part
    assert "Not known to this report: what basket-sizes may hold" in part


def test_report_states_what_this_version_does_not_do(run: Any) -> None:
    text = simulated(run).text
    assert "Summands were masked: the coordinator could read totals alone" in text
    assert "not what the total itself tells" in text
    assert "There is no differential privacy in this plan" in text
    assert "here that needs only two" in text


@pytest.mark.parametrize("retailer", [None, NORTH])
def test_report_claims_nothing_to_be_anonymous_or_secure(run: Any, retailer: str | None) -> None:
    text = Page(write_report(run.folder, retailer)).text.lower()
    assert "anonym" not in text
    assert re.findall(r"\S+ secur\w* \S+", text) == []


def test_demo_is_said_to_be_one_retailer_split_and_others_are_not(
    run: Any, run_named: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Online Retail II" not in simulated(run).text
    from grandtotal.report import gains

    monkeypatch.setattr(gains, "_DEMO", {NORTH, SOUTH, WEST})
    source = {**run.plan.source, "consortium": {**run.plan.source["consortium"], "name": "demo"}}
    text = simulated(run_named(type(run.plan).of(source, "here"))).text
    assert "These three retailers are one retailer’s real data (UCI Online Retail II" in text
    assert "flatters federation a little" in text


def test_rows_set_aside_are_counted_by_reason_and_never_quoted(run: Any) -> None:
    page = simulated(run)
    assert "transactions 1,000 980 7 13" in page.part("Data used")
    assert f"{NORTH}, transactions: 7 × no <price>" in page.part("Data used")
    assert "abc" not in page.text


def test_how_it_was_made_has_plan_versions_and_digests(run: Any) -> None:
    part = simulated(run).part("How it was made")
    for expected in ("9.8.7", "ab" * 32, "cd" * 32, "2024-06-02 10:00", "seed 7", "2024-06-01"):
        assert expected in part


def test_names_are_escaped(run: Any) -> None:
    page = simulated(run)
    assert "<b>&quot;uth" not in page.raw
    assert "so&lt;b&gt;&quot;uth" in page.raw
    assert "<price>" not in page.raw
    assert page.open == []


def test_nothing_is_fetched_and_nothing_is_run(run: Any) -> None:
    page = simulated(run)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        assert not attributes.keys() & {"src", "srcset", "xlink:href", "style", "onload"}
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|@font-face|https?:", page.raw)
    assert "default-src 'none'" in page.raw


def test_report_is_small(run: Any) -> None:
    assert write_report(run.folder).stat().st_size < 200_000


def test_headings_are_in_order_and_anchors_lead_somewhere(run: Any) -> None:
    page = simulated(run)
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)
    identifiers = {attributes.get("id") for _, attributes in page.elements}
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert len(links) == 7
    assert all(link and link[1:] in identifiers for link in links)


def test_tables_and_plots_can_be_heard(run: Any) -> None:
    page = simulated(run)
    plots = [a for tag, a in page.elements if tag == "svg" and "plot" in (a.get("class") or "")]
    assert plots
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in plots)
    assert all(a.get("scope") for tag, a in page.elements if tag == "th")
    assert ("html", {"lang": "en"}) in page.elements


def test_coordinators_report_holds_no_row_of_a_retailer(run: Any) -> None:
    page = coordinators(run)
    scores = page.part("In short") + page.part("Recommend") + page.part("Demand")
    for name in (NORTH, SOUTH, WEST):
        assert name not in scores
    for score in ("0.123", "0.234", "0.235", "0.346"):
        assert score not in page.text
    assert "980" not in page.part("Data used")
    assert "All retailers together · 5,928 customers" in scores


def test_coordinators_report_of_noisy_totals_has_the_delivered_model_alone(run: Any) -> None:
    for task, units in (("recommend", "customers"), ("demand", "products")):
        path = run.folder.coordinator / "scores" / f"{task}.json"
        known = read_json(path)
        headline = next(iter(known["rows"]["federated"]))
        federated = {headline: known["rows"]["federated"][headline], units: None}
        write_json(path, {**known, "rows": {"federated": federated}})
    page = coordinators(run)
    assert "customers, not counted" in page.text
    assert "each retailer’s own" not in page.text  # as which row of what is not shared


def test_coordinators_report_opens_no_retailers_folder(run: Any) -> None:
    for path in sorted((run.folder.path / "retailers").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert "no interval is known here" in coordinators(run).text


def test_retailers_report_holds_its_own_rows_only(run: Any) -> None:
    run.remove("simulation.json")
    for path in sorted(run.folder.coordinator.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    page = Page(write_report(run.folder, NORTH))
    assert "What left your building" in page.text
    assert "0.123" in page.text
    for score in ("0.235", "0.346", "0.457"):
        assert score not in page.text
    for name in (SOUTH, WEST):
        assert page.text.count(name) == 1  # in the plan's list of members, which all have
    assert "pooled" not in page.text


def test_retailers_report_counts_what_left_it(run: Any) -> None:
    part = Page(write_report(run.folder, WEST)).part("Rounds and bytes")
    assert f"{WEST} answered in 2 rounds; 2.3 MB left it." in part


@pytest.mark.parametrize(
    "path",
    [
        "coordinator/plan.json",
        "coordinator/finished.json",
        "coordinator/versions.json",
        "coordinator/rounds.jsonl",
        "retailers/north/tables.json",
        "retailers/north/egress.jsonl",
    ],
)
def test_a_missing_piece_is_named(run: Any, path: str) -> None:
    run.remove(path)
    with pytest.raises(RunError, match=re.escape(path)):
        write_report(run.folder)
    assert not run.folder.report.exists()


@pytest.mark.parametrize("path", ["plan.json", "egress.jsonl", "tables.json", "scores/demand.json"])
def test_a_missing_piece_of_a_retailer_is_named(run: Any, path: str) -> None:
    run.remove(f"retailers/north/{path}")
    with pytest.raises(RunError, match=re.escape(path)):
        write_report(run.folder, NORTH)


def test_a_missing_score_of_the_coordinator_is_named(run: Any) -> None:
    run.remove("simulation.json")
    run.remove("coordinator/scores/recommend.json")
    with pytest.raises(RunError, match=r"scores/recommend\.json"):
        write_report(run.folder)


def damaged(content: Json, *keys: str) -> None:
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


@pytest.mark.parametrize(
    "keys",
    [
        ("tasks",),
        ("tasks", "demand"),
        ("tasks", "demand", "overall"),
        ("tasks", "demand", "retailers", NORTH, "gain"),
        ("tasks", "demand", "retailers", NORTH, "choices"),
    ],
)
def test_a_simulation_of_another_shape_is_refused(run: Any, keys: tuple[str, ...]) -> None:
    path = run.folder.path / "simulation.json"
    content = read_json(path)
    damaged(content, *keys)
    write_json(path, content)
    with pytest.raises(RunError, match=r"simulation\.json.*damaged"):
        write_report(run.folder)


def test_rounds_that_were_cut_off_are_noticed(run: Any) -> None:
    log = run.folder.coordinator / "rounds.jsonl"
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(RunError, match=r"1 whole rounds, finished\.json counts 2"):
        write_report(run.folder)


def test_a_file_that_is_no_json_is_refused(run: Any) -> None:
    (run.folder.path / "simulation.json").write_text("{")
    with pytest.raises(RunError, match=r"simulation\.json: cannot be read"):
        write_report(run.folder)


def test_an_unknown_retailer_is_refused_with_the_known_ones(run: Any) -> None:
    with pytest.raises(RunError, match=r"no retailer 'nroth'.*north"):
        write_report(run.folder, "nroth")


def colours(scheme: str) -> dict[str, tuple[int, ...]]:
    template = Path(module.__file__).with_name("template.html").read_text()
    light, dark = template.split("@media screen and (prefers-color-scheme: dark)")
    block = light if scheme == "light" else dark.split("* { box-sizing")[0]
    found = re.findall(r"--(\w+): #(\w{6});", block)
    return {name: tuple(bytes.fromhex(value)) for name, value in found}


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Returns the contrast of two colours, from 1 to 21, as WCAG 2.2 defines it."""

    def luminance(colour: tuple[int, ...]) -> float:
        shares = [c / 255 for c in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "soft", "accent", "own", "bad"])
def test_letters_and_marks_stand_out_from_the_paper(scheme: str, name: str) -> None:
    found = colours(scheme)
    assert contrast(found[name], found["paper"]) >= 4.5
