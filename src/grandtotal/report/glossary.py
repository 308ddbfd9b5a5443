"""What the report calls rows, metrics, models and questions, for readers who are no statisticians.

A name that is not listed is shown as it is: tasks, models and queries may come from elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from grandtotal.durable import Json
from grandtotal.report.words import plain

ROW_MEANING: Mapping[str, str] = {
    "baseline": "what the retailer would do without any model of ours",
    "alone": "the same candidates, trained on the retailer’s own rows only",
    "federated": "trained on the totals of all retailers",
    "pooled": "trained on all rows in one place; possible in a simulation only",
}
TASK_QUESTION: Mapping[str, str] = {
    "recommend": "Which products new to a customer will that customer buy next?",
    "demand": "How many units of each product will be sold in the coming periods?",
}
_METRIC_NAME: Mapping[str, str] = {
    "ndcg": "NDCG@{top}",
    "recall": "recall@{top}",
    "hit_rate": "hit rate@{top}",
    "recall_repeat": "recall@{top} of bought before",
    "recall_explore": "recall@{top} of new products",
    "coverage": "coverage",
    "coverage_80": "inside 80 %",
    "coverage_95": "inside 95 %",
    "bias": "bias",
}
_METRIC_WORD: Mapping[str, str] = {"ndcg": "ranking quality", "wape": "forecast error"}
_METRIC_PLAIN: Mapping[str, str] = {
    "ndcg": (
        "From 0 to 1: how many of a customer’s later purchases are in the list of {top} "
        "recommendations, those near the top counting more"
    ),
    "wape": (
        "0 is perfect; 0.8 means that the forecast missed 80 units, too many or too few, for every "
        "100 sold"
    ),
    "coverage": "share of the catalogue that was recommended to anybody",
}
_MODEL_NAME: Mapping[str, str] = {
    "popularity": "bestsellers",
    "item-knn": "item to item (ItemKNN)",
    "ease": "item to item (EASE)",
    "edlae": "item to item (EDLAE)",
    "ridge": "ridge regression",
    "poisson": "Poisson regression",
    "mean": "recent mean",
    "seasonal": "last season",
}


def metric_name(metric: str, top: int | None) -> str:
    """Returns the metric's short name; top is the k of ranking metrics."""
    known = _METRIC_NAME.get(metric, metric.upper() if len(metric) < 6 else metric)
    return known.format(top=top or "k")


def metric_word(metric: str, top: int | None) -> str:
    """Returns the metric as a phrase, such as "forecast error (WAPE)"."""
    name = metric_name(metric, top)
    return f"{_METRIC_WORD[metric]} ({name})" if metric in _METRIC_WORD else name


def metric_plain(metric: str, top: int | None) -> str:
    """Returns what the metric's number says, in plain words, or nothing."""
    return _METRIC_PLAIN.get(metric, "").format(top=top or "k")


def model_name(chosen: Json) -> str:
    """Returns a chosen model with its settings: "item to item (EASE), l2 = 1,000"."""
    name = _MODEL_NAME.get(str(chosen.get("model")), str(chosen.get("model", "model")))
    settings = {k: v for k, v in chosen.items() if k != "model" and not isinstance(v, dict)}
    return ", ".join([name, *(_setting(key, settings[key]) for key in sorted(settings))])


def _setting(key: str, value: object) -> str:
    if key == "days":
        return f"last {plain(value)} days" if value else "all time"
    if key == "neighbours":
        return f"{plain(value)} neighbours"
    return f"{key}\u00a0=\u00a0{plain(value)}"


@dataclass(frozen=True)
class Question:
    """What a query asks, and what its exact answer tells whoever sees it."""

    asks: str
    reveals: str


QUESTIONS: Mapping[str, Question] = {
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
    "co-purchases": Question(
        "For every pair of products: how many customers bought both before a date. "
        "The diagonal counts the customers of each product.",
        "A cell of 1 is one customer’s basket: exactly one customer bought both products. In a "
        "retailer’s summand that customer is one of its own; in the total it is one of anybody’s.",
    ),
    "purchase-counts": Question(
        "How many customers bought each product before a date, and how many customers there are.",
        "A summand is the retailer’s own bestseller list and the number of its customers.",
    ),
    "quantile-counts": Question(
        "How many rows have a value in each of many narrow ranges, each a percent or so wide.",
        "The distribution of the column. A count of 1 in the total is one row’s value, to the "
        "width of its range, without saying whose.",
    ),
    "ranking-scores": Question(
        "How well a candidate model ranks for the retailer’s customers: three summed scores and "
        "the number of customers scored.",
        "How many customers came back for something new, and how predictable they are on average.",
    ),
    "basket-scores": Question(
        "How well a candidate model names the products that the retailer’s customers buy next, for "
        "several weights of their own habits: three summed scores for each, and the number of "
        "customers scored.",
        "How many customers came back, and how habitual they are on average.",
    ),
    "demand-series": Question(
        "Units sold of each product in each period, with single large outliers capped.",
        "The total is the consortium’s sales volumes by product and period, and it travels to "
        "every retailer as a part of the model. A summand is one retailer’s own volumes.",
    ),
    "glm-moments": Question(
        "One step of fitting the forecast: sums over product-periods of products of their features "
        "(recent sales, season, price level, holidays), of errors, of the loss, and their number.",
        "Averages over many product-periods; what only a few of them have in common can be read "
        "from the sums.",
    ),
    "forecast-errors": Question(
        "How far a forecast was off before the test: how many product-periods sold so many times "
        "what was forecast, by the size of the forecast and how far ahead it was.",
        "How predictable the retailer’s sales are, and how many product-periods of each size it "
        "has. A count of 1 is one product in one period.",
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
    "forecast-scores": Question(
        "How far a candidate forecast was off: units missed and units sold, two sums.",
        "The retailer’s sales volume in the weeks that were scored.",
    ),
    "test-scores": Question(
        "The final scores of three rows (baseline, alone, federated) as sums, how many customers "
        "or products were scored and, for recommendations, how often each product was shown.",
        "How well the retailer does without the consortium, and which products its customers are "
        "shown.",
    ),
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
