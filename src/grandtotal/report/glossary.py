"""What the report calls rows, metrics, models and questions, for readers who are no statisticians.

A name that is not listed is shown as it is: tasks, models and queries may come from elsewhere.
"""

from collections.abc import Mapping

from grandtotal.durable import Json
from grandtotal.report.details import KINDS
from grandtotal.report.details.kind import Measure, Question
from grandtotal.report.words import plain

ROW_MEANING: Mapping[str, str] = {
    "baseline": "what the retailer would do without any model of ours",
    "alone": "the same candidates, trained on the retailer’s own rows only",
    "federated": "trained on the totals of all retailers",
    "pooled": "trained on all rows in one place; possible in a simulation only",
}
_MEASURES: Mapping[str, Measure] = {
    k: m for kind in KINDS.values() for k, m in kind.measures.items()
}
_MODELS: Mapping[str, str] = {k: m for kind in KINDS.values() for k, m in kind.models.items()}


def task_question(kind: str) -> str:
    """Returns what a task answers, as its user would ask it; nothing for a kind from elsewhere."""
    return KINDS[kind].question if kind in KINDS else ""


def metric_name(metric: str, top: int | None) -> str:
    """Returns the metric's short name; top is the k of ranking metrics."""
    known = _MEASURES.get(metric)
    name = known.name if known else metric.upper() if len(metric) < 6 else metric
    return name.format(top=top or "k")


def metric_word(metric: str, top: int | None) -> str:
    """Returns the metric as a phrase, such as "forecast error (WAPE)"."""
    name = metric_name(metric, top)
    known = _MEASURES.get(metric)
    return f"{known.word} ({name})" if known and known.word else name


def metric_plain(metric: str, top: int | None) -> str:
    """Returns what the metric's number says, in plain words, or nothing."""
    known = _MEASURES.get(metric)
    return known.plain.format(top=top or "k") if known else ""


def model_name(chosen: Json) -> str:
    """Returns a chosen model with its settings: "item to item (EASE), l2 = 1,000"."""
    if chosen.get("model") == "blend":
        return " + ".join(
            f"{part['share']:.0%} {model_name({k: v for k, v in part.items() if k != 'share'})}"
            for part in chosen["parts"]
        )
    name = _MODELS.get(str(chosen.get("model")), str(chosen.get("model", "model")))
    settings = {k: v for k, v in chosen.items() if k != "model" and not isinstance(v, dict)}
    return ", ".join([name, *(_setting(key, settings[key]) for key in sorted(settings))])


def _setting(key: str, value: object) -> str:
    if key == "days":
        return f"last {plain(value)} days" if value else "all time"
    if key == "neighbours":
        return f"{plain(value)} neighbours"
    return f"{key}\u00a0=\u00a0{plain(value)}"


# Of the algorithms and of the run; those of one kind of task stand in `details`.
_SHARED: Mapping[str, Question] = {
    "catalogue-presence": Question(
        "For every bucket of keyed product hashes: whether the retailer has a product in it. The "
        "buckets with enough retailers are split in the next round, until one is one product.",
        "How many retailers sell each number, also where they are too few. Which product a number "
        "is, the retailers with the key can tell, for products that they know; the coordinator "
        "has no key. A summand says which numbers one retailer sells.",
    ),
    "category-counts": Question(
        "How many rows each category has, counted by a keyed hash of its name.",
        "How common each number is; a summand says it of one retailer.",
    ),
    "quantile-counts": Question(
        "How many rows have a value in each of many narrow ranges, each a percent or so wide.",
        "The distribution of the column. A count of 1 in the total is one row’s value, to the "
        "width of its range, without saying whose.",
    ),
    "glm-moments": Question(
        "One step of fitting the forecast: sums over product-periods of products of their features "
        "(recent sales, season, price level, holidays), of errors, of the loss, and their number.",
        "Averages over many product-periods; what only a few of them have in common can be read "
        "from the sums.",
    ),
    "target-sums": Question(
        "The sum of a target and the number of rows for each category and fold.",
        "The mean of the target by category. A count of 1 is one row’s target.",
    ),
    "tree-histograms": Question(
        "One step of growing trees: for some groups of rows, sums of what the earlier trees missed "
        "and the number of rows, by narrow ranges of each feature that the tree may use.",
        "How the rows of a group are spread over each feature. A count of 1 in the total is one "
        "row’s value, to the width of its range, and by how much the forecast missed it.",
    ),
    "tree-leaves": Question(
        "One step of growing trees whose splits were drawn by lot: for each group of rows that "
        "they make, the sum of what the earlier trees missed, each customer’s part cut to a limit.",
        "Under noise only: how often something happened in groups of many rows, roughly.",
    ),
    "tree-progress": Question(
        "How far the trees so far are off: the summed loss, the number of rows, and how many "
        "errors have each order of magnitude.",
        "How predictable the retailer’s rows are. A count of 1 is one row’s order of magnitude.",
    ),
    "tree-residuals": Question(
        "How the errors of the rows in each leaf of a tree are spread over narrow ranges.",
        "The distribution of errors in a group of rows. A count of 1 is one row’s error.",
    ),
    "tree-target": Question(
        "The sum of the target, the number of rows, and how many targets have each order of "
        "magnitude.",
        "The mean of the target. A count of 1 is one row’s order of magnitude.",
    ),
    "test-scores": Question(
        "The final scores of three rows (baseline, alone, federated) as sums, how many customers "
        "or products were scored and, for recommendations, how often each product was shown.",
        "How well the retailer does without the consortium, and which products its customers are "
        "shown.",
    ),
}
QUESTIONS: Mapping[str, Question] = {
    **_SHARED,
    **{query: question for kind in KINDS.values() for query, question in kind.asked.items()},
}


def question_of(query: str) -> Question:
    """Returns the words for a query; for one from elsewhere, where they are to be found."""
    return QUESTIONS.get(
        query,
        Question(
            "A question of an added package; this report knows its fields, not its meaning.",
            "Ask the package's author what its exact total tells.",
        ),
    )
