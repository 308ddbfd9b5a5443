"""One task on the page: the four rows of every retailer, what was chosen, and the task's detail."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from grandtotal.durable import Json
from grandtotal.report.details import KINDS
from grandtotal.report.details.kind import figure
from grandtotal.report.gains import gain_of
from grandtotal.report.glossary import (
    ROW_MEANING,
    metric_name,
    metric_plain,
    metric_word,
    model_name,
    task_question,
)
from grandtotal.report.markup import (
    MISSING,
    Group,
    Html,
    Row,
    folded,
    joined,
    listed,
    paragraph,
    table,
    tag,
)
from grandtotal.report.plots import Dot, dots
from grandtotal.report.source import Findings
from grandtotal.report.words import counted, gain_words, interval, number, sentence

_ALL = "All retailers together"


def task_section(name: str, found: Findings) -> Html:
    """Returns everything that is known of one task."""
    return joined(
        [
            paragraph(task_question(found.task.kind), class_="question"),
            _rows_meaning(found),
            _plot(name, found),
            _four_rows(found),
            _every_metric(found),
            _choices(found),
            _bit_for_bit(found),
            _details(found),
        ]
    )


def _top(found: Findings) -> int | None:
    return getattr(found.task, "top", None)


def _described(found: Findings) -> list[tuple[str, Json]]:
    overall = [] if found.overall is None else [(_ALL, found.overall)]
    return [*found.retailers.items(), *overall]


def _sample(described: Json) -> str:
    if described["sample"] is None:  # under epsilon nobody is counted
        return f"{described['units']}, not counted"
    return counted(described["sample"], described["units"].removesuffix("s"), described["units"])


def _rows_meaning(found: Findings) -> Html:
    rows = [
        joined([tag("b", row), ": ", ROW_MEANING.get(row, "another model")])
        for row in found.first["rows"]
    ]
    headline = found.first["headline"]
    better = "higher" if found.first["higher_is_better"] else "lower"
    plain = metric_plain(headline, _top(found)) or found.first["metrics"][headline]
    return joined(
        [
            paragraph(
                f"The measure is the {metric_word(headline, _top(found))}; {better} is better. ",
                f"{plain}.",
            ),
            paragraph("The rows of the table are different ways to get a model:"),
            listed(rows),
        ]
    )


def _plot(name: str, found: Findings) -> Html:
    headline = found.first["headline"]
    groups = [
        (
            f"{who} · {_sample(one)}",
            [Dot(row, row, one["rows"][row][headline]) for row in one["rows"]],
        )
        for who, one in _described(found)
    ]
    higher = found.first["higher_is_better"]
    word = metric_word(headline, _top(found))
    side = "right" if higher else "left"
    intervals = " with 95 % intervals" if found.retailers else ""
    caption = f"{sentence(word)} on the test rows{intervals}. Further {side} is better."
    return figure(dots(f"{sentence(name)}: {word} by retailer and row", groups), caption)


def _four_rows(found: Findings) -> Html:
    metric = metric_name(found.first["headline"], _top(found))
    heads = ("Row", "Model", metric, "95 % interval", "Gain of federated over it")
    groups = [
        Group(f"{who} · {_sample(one)}", tuple(_four(one, found))) for who, one in _described(found)
    ]
    return table(f"{metric} on the test rows", heads, groups, words=2)


def _four(described: Json, found: Findings) -> Iterator[Row]:
    for row, scores in described["rows"].items():
        entry = scores[described["headline"]]
        gain = MISSING if row == "federated" else gain_words(gain_of(described, row))
        cells = (_model(row, described, found), number(entry["value"]), interval(entry), gain)
        yield Row(row, cells)


def _model(row: str, described: Json, found: Findings) -> str:
    if row in ("federated", "pooled"):
        choice = found.choice if row == "federated" else (found.pooled or {}).get("choice", {})
        return model_name(choice["chosen"]) if "chosen" in choice else MISSING
    choice = described.get("choices", {}).get(row, {})
    if "label" in choice:
        return str(choice["label"])
    return model_name(choice["chosen"]) if "chosen" in choice else "each retailer’s own"


def _every_metric(found: Findings) -> Html:
    names = list(dict.fromkeys([*found.first["metrics"], *found.first["rows"]["federated"]]))
    groups = [
        Group(who, tuple(Row(row, _values(one["rows"][row], names)) for row in one["rows"]))
        for who, one in _described(found)
    ]
    heads = ("Row", *(metric_name(name, _top(found)) for name in names))
    meanings = [_meaning(name, found) for name in names]
    return folded(
        "All metrics, and what they mean", listed(meanings), table("All metrics", heads, groups)
    )


def _values(scores: Json, names: list[str]) -> tuple[str, ...]:
    return tuple(number(scores.get(name, {}).get("value")) for name in names)


def _meaning(name: str, found: Findings) -> Html:
    top = _top(found)
    texts = [metric_plain(name, top), _written(name, found.first["metrics"].get(name, ""))]
    said = ". ".join(sentence(text) for text in texts if text)
    k = f" Here k is {top}." if "k" in said.split() or "@k" in said else ""
    return joined([tag("b", metric_name(name, top)), f": {said}.{k}"])


def _written(name: str, meaning: str) -> str:
    """Returns the metric's own sentence without its name, which stands before it already."""
    before, colon, after = meaning.partition(": ")
    return after if colon and before.lower() == metric_name(name, None).lower() else meaning


def _choices(found: Findings) -> Html:
    chosen = model_name(found.choice["chosen"])
    parts = [
        tag("h3", "What was chosen"),
        paragraph(
            f"Federated: {chosen}, the best on the summed validation rows, which lie before the "
            "test rows. Alone, each retailer chose among the same candidates on its own validation "
            "rows. The test rows were scored once, after every choice."
        ),
        *([paragraph(sentence(found.choice["why"]) + ".")] if "why" in found.choice else []),
        folded("Everything that was tried, with its validation score", _tried(found)),
    ]
    return joined(parts)


def _tried(found: Findings) -> Html:
    sides = [("federated", found.choice), *_alone(found.retailers)]
    scores = [_by_model(choice, found) for _, choice in sides]
    chosen = [model_name(choice.get("chosen", {})) for _, choice in sides]
    rows = [
        Row(model, tuple(map(_score, scores, chosen, [model] * len(sides))))
        for model in dict.fromkeys(chain.from_iterable(scores))
    ]
    metric = metric_name(found.first["headline"], _top(found))
    heads = ("Candidate", *(name for name, _ in sides))
    return table(f"{metric} on the validation rows; the chosen one in bold", heads, rows)


def _alone(retailers: Mapping[str, Json]) -> list[tuple[str, Json]]:
    return [
        (f"{who}, alone", one.get("choices", {}).get("alone", {})) for who, one in retailers.items()
    ]


def _by_model(choice: Json, found: Findings) -> dict[str, Any]:
    """Returns the validation score of each candidate, by the name that stands in the table."""
    scores = {*found.first["metrics"], *found.first["rows"]["federated"]}
    return {
        model_name({k: v for k, v in tried.items() if k not in scores}): tried.get(
            found.first["headline"]
        )
        for tried in choice.get("tried", [])
    }


def _score(scores: Mapping[str, Any], chosen: str, model: str) -> str:
    value = number(scores.get(model))
    return tag("strong", value) if model == chosen else value


def _bit_for_bit(found: Findings) -> Html:
    if found.pooled is None:
        return Html("")
    digest = found.pooled["digest"]
    if found.pooled["same_as_federated"]:
        return paragraph(
            "The model trained on all rows in one place ",
            tag("b", "is the federated model, bit for bit"),
            " (digest ",
            tag("code", digest[:16] + "…"),
            "). No accuracy was lost by leaving the rows where they are.",
        )
    return paragraph(
        "The model trained on all rows in one place ",
        tag("b", "is not the federated model"),
        ": its digest is ",
        tag("code", digest[:16] + "…"),
        ", the federated model’s ",
        tag("code", found.model[:16] + "…"),
        ". What that costs is the difference between the last two rows.",
    )


def _details(found: Findings) -> Html:
    kind = KINDS.get(found.task.kind)
    return kind.details(found) if kind else Html("")
