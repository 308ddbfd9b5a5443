"""A private catalogue from the plan to the predictions, over four retailers with their own ids.

They share GTINs, written in different lengths. Some products are sold by all, some by three, two
or one; north has a product twice, one with a wrong check digit, and one that it sells unlisted.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import grandtotal as gt
from grandtotal.algorithms.item_model import top
from grandtotal.algorithms.model import load_arrays
from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.transport import EmbeddedTransport
from grandtotal.coordinate import coordinate
from grandtotal.durable import arrays_digest, digest, read_log
from grandtotal.errors import AnswerError, Code, PlanError, RetailerError
from grandtotal.participate import (
    Matching,
    door_of,
    load_model,
    load_rows,
    opener,
    own_plan,
)
from grandtotal.plan import Plan, catalogue_path
from grandtotal.simulate import find_configs, start
from grandtotal.tables import Tables, load_config
from grandtotal.tables.example import make_example
from grandtotal.tasks.assortment import Assortment, gtin14
from grandtotal.tasks.ranking import ranking_scores, scored_customers
from typed import typed

MEMBERS = ("north", "south", "west", "east")
PLAN = (Path(__file__).parent / "private_plan.toml").read_text()
# Products that a retailer does not have: P01-P05 are with three, P06-P08 with two, P09 with one.
MISSING = {
    "north": range(6, 9),
    "south": [1, 2, 6, 7, 8, 9],
    "west": [3, 4, 5, 9],
    "east": [9],
}


def own_id(retailer: str, product: str) -> str:
    return f"{retailer}-article-{product}"


def rewrite(folder: Path, retailer: str) -> None:
    """Gives a retailer of the example its own ids, its own assortment, its own way with GTINs."""
    data = folder / retailer / "data"
    gone = [f"P{number:02}" for number in MISSING[retailer]]
    product = pl.format(own_id(retailer, "{}"), pl.col("product"))
    for name in ("transactions", "products"):
        frame = pl.read_csv(data / f"{name}.csv", infer_schema=False)
        frame = frame.filter(~pl.col("product").is_in(gone)).with_columns(product=product)
        if name == "products":
            frame = frame.with_columns(
                title=pl.format("{} as {} calls it", "title", pl.lit(retailer))
            )
        if name == "products" and retailer == "east":
            frame = frame.with_columns(gtin=pl.col("gtin").str.zfill(14))
        if name == "products" and retailer == "north":
            frame = north_products(frame)
        frame.write_csv(data / f"{name}.csv")


def north_products(frame: pl.DataFrame) -> pl.DataFrame:
    first, *_ = frame.rows(named=True)
    again = {**first, "product": "north-article-old-P01"}
    wrong = {**first, "product": "north-article-wrong", "gtin": "9520000000012"}
    more = pl.DataFrame([again, wrong], schema=frame.schema)
    return pl.concat([frame.filter(pl.col("product") != own_id("north", "P60")), more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of the consortium; every retailer.toml names the same key."""
    folder = make_example(tmp_path_factory.mktemp("private"), MEMBERS)
    (folder / "catalogue.csv").unlink()
    (folder / "plan.toml").write_text(PLAN)
    gt.catalogue_key(folder / "catalogue.key")
    for name in MEMBERS:
        rewrite(folder, name)
        path = folder / name / "retailer.toml"
        path.write_text('catalogue_key = "../catalogue.key"\n' + path.read_text())
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> gt.Run:
    return gt.run(folder / "plan.toml", folder / "runs")


def sellers(folder: Path) -> dict[str, set[str]]:
    """Returns for each GTIN who sells it, from everybody's products in clear."""
    found: dict[str, set[str]] = {}
    for name in MEMBERS:
        products = pl.read_csv(folder / name / "data/products.csv", infer_schema=False)
        for code in filter(None, map(gtin14, products["gtin"])):
            found.setdefault(code, set()).add(name)
    return found


def test_the_catalogue_is_what_three_sell_and_each_reads_it_in_its_own_ids(
    folder: Path, run: gt.Run
) -> None:
    shared = {code: who for code, who in sellers(folder).items() if len(who) >= 3}
    assert Counter(len(who) for who in shared.values()) == {3: 6, 4: 50}
    catalogue = run.folder.plan().common.catalogue
    assert len(catalogue) == len(shared)
    assert all(name.startswith("#") for name in catalogue)
    for name in MEMBERS:
        account = run.matched(name)
        assert account is not None
        assert account["shared"] == sum(name in who for who in shared.values())
        assert account["of others"] == sum(name not in who for who in shared.values())
    north = run.matched("north")
    assert north is not None
    left_out = {"not shared": 1, "doubled": 1, "without key": 1, "unlisted": 1}
    assert north == {"shared": 55, "of others": 1, **left_out}


def test_the_model_is_the_one_on_the_pooled_rows(run: gt.Run) -> None:
    for task in run.scores.values():
        assert task["pooled_model"]["same_as_federated"]


def test_predictions_are_in_own_ids_with_own_titles_and_of_own_products_only(
    folder: Path, run: gt.Run
) -> None:
    for name in ("south", "west"):
        products = pl.read_csv(folder / name / "data/products.csv", infer_schema=False)
        titles = dict(products.select("product", "title").iter_rows())
        for task in ("recommend", "demand"):
            frame = run.predict(name, task, top=60)
            assert len(frame)
            for product, title in frame.select("product", "title").unique().iter_rows():
                assert titles[product] == title


def test_a_product_outside_the_catalogue_is_served_by_its_own_model_and_is_counted(
    folder: Path, run: gt.Run
) -> None:
    outside = {own_id("east", f"P{number:02}") for number in range(6, 9)}
    for task in ("demand", "recommend"):
        frame = run.predict("east", task)
        by_model = frame.group_by("model").agg(pl.col("product").unique())
        served = {model: set(products) for model, products in by_model.iter_rows()}
        assert served["own"] == outside
        assert not served["shared"] & outside
    lists = frame.group_by("customer", maintain_order=True).agg("rank", "product")
    for ranks, products in lists.select("rank", "product").iter_rows():
        assert ranks == list(range(1, len(ranks) + 1))
        assert len(set(products)) == len(products)
    # A customer who bought nothing that is shared has a list of own products alone.
    assert (lists["rank"].list.len() == 10).mean() > 0.9
    words = ("predict", str(run.folder.path), "--retailer", "north", "--out", "out")
    done = typed(*words, cwd=folder)
    assert "north: 55 of 59 products are in the shared catalogue" in done.stderr
    assert "1 sold by too few retailers" in done.stderr
    assert "1 not in the products table" in done.stderr
    assert "its own model serves the others" in done.stderr
    served = pl.read_parquet(folder / "out/demand.parquet").filter(pl.col("model") == "own")
    # P60 is sold and in no list; the old article never sold.
    assert set(served["product"]) == {own_id("north", "P60"), own_id("north", "P09")}


def test_what_a_retailer_does_not_sell_takes_no_place_in_its_scores(
    folder: Path, run: gt.Run
) -> None:
    """Scored again here, from the delivered model, with what each retailer lacks put last."""
    for name in MEMBERS:
        home = run.folder.retailer(name)
        tables = Tables(load_config(folder / name))
        task = own_plan(home, tables).tasks["recommend"]
        model, _ = load_model(home, "recommend", task)
        rows = task.rows(tables)
        absent = list(task.common.absent)
        scored = load_rows(home, "recommend", task, ("federated",))["federated"]
        assert bool(absent) == (name != "east")
        assert not scored.shown[absent].any()
        ndcg = []
        for block, wanted in scored_customers(rows["test"]):
            scores = model.scores(block.history)
            scores[:, absent] = -np.inf
            ndcg += ranking_scores(top(scores, task.top), wanted)[:, 0].tolist()
        assert scored.values()["ndcg"] == pytest.approx(np.mean(ndcg), abs=1e-6)


def test_the_run_says_what_it_told_whom(run: gt.Run) -> None:
    shown = typed("runs", "show", str(run.folder.path), cwd=run.folder.path).stdout
    assert "56 products that at least 3 of 4 retailers sell, 50 of them sold by all" in shown
    assert "2 others or more sell it" in shown
    assert "that at least 3 retailers sell" in run.folder.report.read_text()
    for name in MEMBERS:
        assert run.report(name).exists()


# --- what nobody may see ---


class Wire(EmbeddedTransport):
    """Keeps every byte that is sent either way."""

    def __init__(self, retailers):
        super().__init__(retailers)
        self.bytes = bytearray()

    def exchange(self, messages, may_miss=0):
        replies = super().exchange(messages, may_miss)
        for content in (*messages.values(), *replies.values()):
            self.bytes += content
        return replies


def embedded(run_folder, folder):
    return Wire(
        {
            name: Retailer(
                name,
                run_folder.retailer(name),
                opener(name, folder / name / "retailer.toml", run_folder.retailer(name)),
                door_of(folder / name / "retailer.toml"),
            )
            for name in MEMBERS
        }
    )


def everything_in(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def secrets_of(folder: Path, run_folder) -> dict[str, list[bytes]]:
    """Returns the keys, and every product id, GTIN and title of every retailer.

    None is short: four letters are found in a hundred thousand random bytes now and then.
    """
    keys = [(folder / "catalogue.key").read_bytes()]
    keys += [path.read_bytes() for path in run_folder.path.rglob("*.key")]
    found = {"key": keys, "key in digits": [key.hex().encode() for key in keys]}
    for name in MEMBERS:
        products = Tables(load_config(folder / name / "retailer.toml"))["products"]
        for column in ("product", "gtin", "title"):
            found.setdefault(column, []).extend(text.encode() for text in products[column])
    assert all(len(text) >= 12 for texts in found.values() for text in texts)
    return found


def test_neither_key_nor_product_is_on_the_wire_or_with_the_coordinator(folder: Path) -> None:
    plan = Plan.read(folder / "plan.toml")
    run_folder = start(plan, find_configs(plan, folder), folder / "watched", processes=False)
    wire = embedded(run_folder, folder)
    coordinate(plan, wire, run_folder)
    wire.close()
    coordinator = everything_in(run_folder.coordinator)
    assert len(wire.bytes) > 100_000
    secrets = secrets_of(folder, run_folder)
    assert len(secrets["key"]) == 1 + len(MEMBERS)
    for kind, texts in secrets.items():
        for text in texts:
            assert text not in wire.bytes, kind
            assert text not in coordinator, kind
    # The same search finds them where they belong.
    home = everything_in(run_folder.retailer("north"))
    assert secrets["key"][1] in home
    assert any(text in home for text in secrets["product"])


# --- what `check` says before a run ---


def standing(checked):
    (found,) = (point for point in checked.standings if point.point == "catalogue")
    return found


def test_check_says_how_many_products_can_be_looked_for(folder: Path, tmp_path: Path) -> None:
    checked = gt.check(folder / "north/retailer.toml", folder / "plan.toml")
    assert checked.ok
    assert standing(checked).verdict == "yes"
    assert standing(checked).found == "56 products can be looked for, 3 cannot"
    shutil.copytree(folder / "north", tmp_path / "north")
    lacks_key = gt.check(tmp_path / "north/retailer.toml", folder / "plan.toml")
    assert not lacks_key.ok
    assert "catalogue-key FILE" in standing(lacks_key).found
    path = tmp_path / "north/retailer.toml"
    path.write_text(path.read_text().split("\n", 1)[1])
    names_none = gt.check(path, folder / "plan.toml")
    assert names_none.ok
    assert standing(names_none).verdict == "look"
    products = tmp_path / "north/data/products.csv"
    pl.read_csv(products, infer_schema=False).with_columns(gtin=pl.lit("1")).write_csv(products)
    assert standing(gt.check(path, folder / "plan.toml")).verdict == "no"


# --- the same digests, however it is run ---


def facts(run: gt.Run):
    finished = run.folder.finished()
    assert finished is not None
    return {name: finished[name] for name in ("models", "totals", "rounds")}


def test_processes_give_the_same_digests(folder: Path, run: gt.Run) -> None:
    apart = gt.run(folder / "plan.toml", folder / "apart", processes=True)
    assert facts(apart) == facts(run)
    assert apart.scores == run.scores


class KilledError(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize(
    "last",
    [
        lambda record: record.get("query") == "catalogue-presence" and record["round"] == 4,
        lambda record: record["task"] == "catalogue" and "deliver" in record,
        lambda record: record["task"] == "demand",
        lambda record: "pooled" in record,
    ],
    ids=["between its rounds", "when it is delivered", "in a task", "at the comparison"],
)
def test_a_run_that_was_killed_resumes_to_the_same_digests(
    folder: Path, run: gt.Run, tmp_path: Path, last
) -> None:
    def listener(record):
        if last(record):
            raise KilledError

    with pytest.raises(KilledError):
        gt.run(folder / "plan.toml", tmp_path, listener=listener)
    resumed = gt.resume("latest", tmp_path)
    assert facts(resumed) == facts(run)
    assert resumed.scores == run.scores


def test_a_catalogue_that_was_not_recorded_as_delivered_is_delivered_again(
    run: gt.Run, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.folder.path, copy)
    rounds = copy / "coordinator/rounds.jsonl"
    kept = [line for line in rounds.read_bytes().splitlines(True) if b'"catalogue"' in line][:-1]
    rounds.write_bytes(b"".join(kept))
    (copy / "simulation.json").unlink()
    assert facts(gt.resume(copy)) == facts(run)


def test_a_simulation_makes_a_key_for_retailers_that_name_none(folder: Path, run: gt.Run) -> None:
    plain = folder / "plain"
    for name in MEMBERS:
        shutil.copytree(folder / name, plain / name)
        path = plain / name / "retailer.toml"
        path.write_text(path.read_text().split("\n", 1)[1])
    shutil.copy(folder / "plan.toml", plain)
    made = gt.run(plain / "plan.toml", plain / "runs")
    assert made.matched("north") == run.matched("north")
    keys = {path.read_bytes() for path in made.folder.path.rglob("catalogue.key")}
    assert len(keys) == 1
    assert not list(made.folder.coordinator.rglob("*.key"))
    # Another key, other numbers: the products are the same, their order is not.
    assert made.folder.plan().common.catalogue != run.folder.plan().common.catalogue
    with pytest.raises(PlanError, match="catalogue-key FILE"):
        opener("north", plain / "north/retailer.toml", folder / "new")(
            Plan.read(plain / "plan.toml").content
        )


def test_retailers_with_different_keys_are_told_what_to_look_at(
    folder: Path, tmp_path: Path
) -> None:
    gt.catalogue_key(tmp_path / "other.key")
    for name in MEMBERS:
        shutil.copytree(folder / name, tmp_path / name)
        path = tmp_path / name / "retailer.toml"
        path.write_text(path.read_text().replace("../catalogue.key", "own.key"))
        gt.catalogue_key(tmp_path / name / "own.key")
    shutil.copy(folder / "plan.toml", tmp_path)
    with pytest.raises(PlanError, match="all have the same catalogue key"):
        gt.run(tmp_path / "plan.toml", tmp_path / "runs")


def test_a_retailer_without_the_column_says_which_table_it_lacks(
    folder: Path, tmp_path: Path
) -> None:
    for name in MEMBERS:
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "plan.toml", tmp_path)
    shutil.copy(folder / "catalogue.key", tmp_path)
    path = tmp_path / "west/data/products.csv"
    pl.read_csv(path, infer_schema=False).drop("gtin").write_csv(path)
    with pytest.raises(RetailerError, match=r"(?s)'west'.*column 'gtin'") as refused:
        gt.run(tmp_path / "plan.toml", tmp_path / "runs")
    assert "'north'" not in str(refused.value)


def test_a_retailer_with_more_products_than_agreed_refuses(folder: Path, tmp_path: Path) -> None:
    path = folder / "few.toml"
    path.write_text(PLAN.replace("catalogue_most = 500", "catalogue_most = 20"))
    with pytest.raises(RetailerError, match=r"56 products here.*catalogue_most is 20"):
        gt.run(path, tmp_path)


# --- what is kept ---


def test_the_plan_travels_without_products_and_its_digest_does_not_change(
    folder: Path, run: gt.Run
) -> None:
    plan = Plan.read(folder / "plan.toml")
    assert plan.common.catalogue == ()
    assert json.loads(plan.content)["consortium"]["catalogue"] == "private"
    assert digest(run.folder.plan().content) == digest(plan.content)
    assert Plan.parse(plan.content) == plan


def test_the_delivered_catalogue_holds_numbers_and_no_counts(run: gt.Run) -> None:
    for name in MEMBERS:
        arrays, meta = load_arrays(run.folder.retailer(name) / "catalogue.safetensors")
        assert set(arrays) == {"buckets"}
        assert meta == {"minimum": 3}
    (delivered,) = (
        record
        for record in read_log(run.folder.coordinator / "rounds.jsonl")
        if record["task"] == "catalogue" and "deliver" in record
    )
    assert delivered["deliver"] == arrays_digest(arrays)


def test_a_second_catalogue_is_refused_and_the_first_stays(run: gt.Run, tmp_path: Path) -> None:
    shutil.copy(run.folder.retailer("north") / "catalogue.safetensors", tmp_path)
    kept = load_arrays(catalogue_path(tmp_path))[0]
    joined: list[int] = []
    nothing = Assortment((), np.empty(0, np.uint64), 0, 0, 0, ())
    part = Matching(nothing, tmp_path, lambda: joined.append(1))
    part.receive({"minimum": 3}, kept)
    assert joined == [1]
    with pytest.raises(AnswerError, match="another catalogue") as refused:
        part.receive({"minimum": 3}, {"buckets": kept["buckets"][1:]})
    assert refused.value.code == Code.ANSWER_CHANGED
    assert arrays_digest(load_arrays(catalogue_path(tmp_path))[0]) == arrays_digest(kept)
    assert joined == [1]
