"""In short: what federation gained each retailer over training alone, and where it did not."""

from collections.abc import Mapping, Sequence

from grandtotal.durable import Json
from grandtotal.report.glossary import metric_word, task_question
from grandtotal.report.markup import Html, joined, paragraph, tag
from grandtotal.report.plots import Scale, axis, gains_scale, strip
from grandtotal.report.source import Findings, Source, View
from grandtotal.report.words import (
    Verdict,
    all_of,
    gain_entry,
    gain_words,
    is_relative,
    sentence,
    spelled,
    verdict,
)

_EVERYBODY = "all together"
_DEMO = {"north", "south", "west", "east", "abroad"}
_SAYS = {
    Verdict.GAINED: "gained {}",
    Verdict.LOST: "lost {}: training alone was better",
    Verdict.UNCLEAR: "no gain shown: {}",
    Verdict.BARE: "{}; totals alone give no interval",
    Verdict.UNKNOWN: "nothing to compare: {}",
}


def headline(source: Source) -> Html:
    """Returns the gains of all tasks, with what a reader must know before believing them."""
    blocks = [_task(name, found) for name, found in source.tasks.items()]
    return joined([_how_to_read(source), *blocks, _origin(source)])


def _how_to_read(source: Source) -> Html:
    interval = (
        "The coordinator holds totals only: no retailer’s own gain and no interval is known here."
        if source.view is View.CONSORTIUM
        else "The brackets hold the 95 % interval: how far the figure may be off by the chance of "
        "which customers or products were there to be scored. A gain counts only where the whole "
        "interval is above 0."
    )
    return paragraph(
        "Each figure compares the model trained on everybody’s totals with the model that "
        "the retailer trained alone, from the same candidates, on the same rows of its own. A plus "
        f"is better. {interval}",
        class_="lead",
    )


def _task(name: str, found: Findings) -> Html:
    return tag(
        "section",
        tag("h3", sentence(name)),
        paragraph(task_question(found.task.kind), class_="question"),
        paragraph(_summary(found), class_="summary"),
        _verdicts(found),
        paragraph(_measure(found), class_="note"),
        *_cautions(found.retailers),
        class_="gain",
    )


def gain_of(described: Json, over: str = "alone") -> Json:
    """Returns the gain of a description over one of its rows."""
    gain: Json = described["gain"].get(over) or {"value": None}
    return gain


def _summary(found: Findings) -> str:
    gains = {name: verdict(gain_of(one)) for name, one in found.retailers.items()}
    if not gains:
        return f"All retailers together: {gain_words(gain_of(found.first))}."
    if len(gains) == 1:
        return "".join(_of_one(name, gain_of(one)) for name, one in found.retailers.items())
    won = [name for name, judged in gains.items() if judged is Verdict.GAINED]
    lost = [name for name, judged in gains.items() if judged is Verdict.LOST]
    rest = [name for name in gains if name not in (*won, *lost)]
    return " ".join(
        [
            _winners(won, len(gains)),
            *([f"For {all_of(rest)} no gain was shown."] if rest else []),
            *([f"{sentence(all_of(lost))} did better alone."] if lost else []),
        ]
    )


def _winners(won: Sequence[str], all_: int) -> str:
    if len(won) == all_:
        return f"All {spelled(all_)} retailers gained over training alone."
    if not won:
        return f"None of the {spelled(all_)} retailers gained over training alone."
    return (
        f"{sentence(spelled(len(won)))} of {spelled(all_)} retailers gained over training alone: "
        f"{all_of(won)}."
    )


def _of_one(name: str, gain: Json) -> str:
    words = gain_words(gain)
    return {
        Verdict.GAINED: f"Federation gained {name} {words} over training alone.",
        Verdict.LOST: f"Federation did not gain {name} anything: alone was better, {words}.",
    }.get(verdict(gain), f"Federation showed no gain for {name} over training alone: {words}.")


def _measure(found: Findings) -> str:
    headline_ = found.first["headline"]
    word = metric_word(headline_, getattr(found.task, "top", None))
    direction = "higher" if found.first["higher_is_better"] else "lower"
    said = word.split(" (")[0]
    one = "an" if said[0] in "aeiou" else "a"
    return f"Measured in {word}: +10 % means {one} {said} that is 10 % {direction}." + (
        f" “{sentence(_EVERYBODY)}” scores every retailer’s {found.first['units']} as one set, so "
        "larger retailers weigh more."
        if found.overall is not None
        else ""
    )


def _verdicts(found: Findings) -> Html:
    lines = list(found.retailers.items())
    if found.overall is not None:
        lines.append((_EVERYBODY, found.overall))
    gains = [gain_of(one) for _, one in lines]
    relative = all(is_relative(gain) or gain["value"] is None for gain in gains)
    entries = [gain_entry(gain, relative) for gain in gains]
    scale = gains_scale(entries)
    items = [
        _verdict(name, one is found.overall, gain, _strip(name, gain, entry, scale))
        for (name, one), gain, entry in zip(lines, gains, entries, strict=True)
    ]
    foot = tag("li", axis(scale, "\u00a0%" if relative else ""), class_="foot", aria_hidden="true")
    return tag("ul", *items, foot, class_="verdicts")


def _strip(name: str, gain: Json, entry: Json, scale: Scale) -> Html:
    return strip(f"{name}: {_says(gain)}", entry, scale, verdict(gain).value)


def _verdict(name: str, total: bool, gain: Json, drawn: Html) -> Html:
    return tag(
        "li",
        tag("span", name, class_="who"),
        tag("span", _says(gain), class_="says"),
        drawn,
        class_=f"{verdict(gain).value}{' everybody' if total else ''}",
    )


def _says(gain: Json) -> str:
    return _SAYS[verdict(gain)].format(gain_words(gain))


def _cautions(retailers: Mapping[str, Json]) -> list[Html]:
    same = [name for name, one in retailers.items() if _alone_is_baseline(one)]
    behind = [name for name, one in retailers.items() if not _beats_baseline(one)]
    limited = [name for name, one in retailers.items() if not _settled(one)]
    texts = []
    if same:
        texts.append(
            f"For {all_of(same)} the model chosen alone scores exactly as the baseline: on the "
            "retailer’s own validation rows nothing did better. The gain over alone is then the "
            "gain over the baseline."
        )
    if behind:
        texts.append(f"For {all_of(behind)} the federated model is not shown to beat the baseline.")
    if limited:
        texts.append(
            f"Trained alone, the model of {all_of(limited)} reached its limit of rounds before it "
            "had settled; with more rounds it might do better, and the gain be smaller."
        )
    return [paragraph(tag("b", "Read with care. "), text, class_="caution") for text in texts]


def _alone_is_baseline(described: Json) -> bool:
    rows = described["rows"]
    return bool(rows["alone"] == rows["baseline"])


def _beats_baseline(described: Json) -> bool:
    return verdict(gain_of(described, "baseline")) is Verdict.GAINED


def _settled(described: Json) -> bool:
    chosen = described.get("choices", {}).get("alone", {}).get("chosen", {})
    return bool(chosen.get("fit", {}).get("converged", True))


def _origin(source: Source) -> Html:
    if source.plan.name != "demo" or set(source.plan.members) != _DEMO:
        return Html("")
    count = spelled(len(source.plan.members))
    return paragraph(
        tag("b", "Where the data come from. "),
        f"These {count} retailers are one retailer’s real data (UCI Online Retail II, CC BY 4.0), "
        f"split in {count}. They share one assortment, one price list and one season, which "
        "flatters federation a little: companies of their own differ more.",
        class_="caution",
    )
