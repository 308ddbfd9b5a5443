"""What crossed the door: rounds, seconds and bytes, and in plain words what was in them."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby

from grandtotal.plan import Plan
from grandtotal.privacy.protocol import threshold, tolerated
from grandtotal.report.glossary import QUESTIONS, question_of
from grandtotal.report.markup import MISSING, Html, Row, joined, listed, paragraph, table, tag
from grandtotal.report.plots import bars
from grandtotal.report.source import Release, Source, View
from grandtotal.report.words import all_of, counted, seconds, sentence, size, spelled, times


def rounds_and_bytes(source: Source) -> Html:
    """Returns how often was asked, how long it took, and how much left each retailer."""
    queries = _bytes_per_query(source)
    drawn = bars("Bytes that left one retailer, by question", queries)
    caption = "Bytes that left one retailer over the whole run, by question, on one linear scale."
    return joined(
        [
            paragraph(_how_many(source)),
            _per_task(source),
            _per_retailer(source),
            tag("figure", drawn, tag("figcaption", caption)),
        ]
    )


def _how_many(source: Source) -> str:
    total = sum(sum(release.bytes.values()) for release in source.releases)
    rounds = counted(len(source.releases), "round")
    if source.view is View.RETAILER:
        return f"{source.retailer} answered in {rounds}; {size(total)} left it."
    took = seconds(source.finished.get("seconds"))
    return (
        f"The run took {rounds} and {took}; {size(total)} left the "
        f"{spelled(len(source.plan.members))} retailers together. A round is one question that "
        "every retailer answers with one summand, of the same size for all."
    )


def _per_task(source: Source) -> Html:
    if source.view is View.RETAILER:
        return Html("")
    # A private catalogue is found before the tasks, in rounds of its own.
    names = dict.fromkeys(release.task for release in source.releases if release.task)
    rows = [Row(name, tuple(_task_cells(name, source))) for name in names]
    heads = (
        "Task",
        "Rounds",
        "Out, per retailer",
        "In, per retailer",
        "Asking and adding",
        "Delivery, training alone, scoring",
    )
    return table("Rounds, bytes and seconds of each task", heads, rows)


def _task_cells(name: str, source: Source) -> Iterator[str]:
    asked = [release for release in source.releases if release.task == name]
    given = [delivery for delivery in source.deliveries if delivery.task == name]
    yield str(len(asked))
    yield _range([sum(r.bytes.get(m, 0) for r in asked) for m in source.plan.members])
    yield size(sum(r.broadcast_bytes or 0 for r in asked) + sum(d.bytes for d in given))
    yield seconds(sum(r.seconds or 0.0 for r in asked))
    yield seconds(sum(d.seconds for d in given)) if given else MISSING


def _range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return size(low) if low == high else f"{size(low)} to {size(high)}"


def _per_retailer(source: Source) -> Html:
    queries = list(dict.fromkeys(release.query for release in source.releases))
    heads = ("Bytes out", *queries, "Together")
    rows = [
        Row(name, tuple(size(count) for count in [*found, sum(found)]))
        for name in _answering(source)
        for found in [[_sent(source, name, query) for query in queries]]
    ]
    return table("Bytes that left each retailer, by question", heads, rows)


def _answering(source: Source) -> tuple[str, ...]:
    return source.plan.members if source.retailer is None else (source.retailer,)


def _sent(source: Source, retailer: str, query: str) -> int:
    return sum(r.bytes.get(retailer, 0) for r in source.releases if r.query == query)


def _bytes_per_query(source: Source) -> list[tuple[str, int]]:
    found: Counter[str] = Counter()
    for release in source.releases:
        found[release.query] += max(release.bytes.values())
    return found.most_common()


def what_left(source: Source) -> Html:
    """Returns for each question what was in the answers and what they tell, and what stayed."""
    ordered = sorted(source.releases, key=lambda release: release.query)
    grouped = [list(same) for _, same in groupby(ordered, key=lambda release: release.query)]
    queries = {release.query for release in source.releases}
    biggest_first = sorted(grouped, key=lambda same: -_one_retailers(same))
    return joined(
        [
            paragraph(
                "Numbers left, each a count or a sum over rows, written as whole numbers of "
                "an agreed step. Here is every kind of answer that was given, largest first."
            ),
            *(_question(same) for same in biggest_first),
            tag("h3", "What did not leave"),
            listed(_stayed(queries)),
            tag("h3", "What came in"),
            paragraph(_came_in(queries)),
            tag("h3", "What is promised, and what is not"),
            listed(_not_done(source)),
        ]
    )


def _one_retailers(releases: Iterable[Release]) -> int:
    return sum(max(release.bytes.values()) for release in releases)


def _question(releases: Sequence[Release]) -> Html:
    words = question_of(releases[0].query)
    terms = [
        ("Asks", words.asks),
        ("Fields", _fields(releases)),
        ("How often", _how_often(releases)),
        ("What it tells", words.reveals),
    ]
    pairs = [joined([tag("dt", term), tag("dd", said)]) for term, said in terms]
    return tag(
        "section", tag("h3", tag("code", releases[0].query)), tag("dl", *pairs), class_="query"
    )


def _how_often(releases: Sequence[Release]) -> str:
    each = _range([max(release.bytes.values()) for release in releases])
    if len(releases) == 1:
        return f"Once: {each} from each retailer."
    total = size(_one_retailers(releases))
    return f"{sentence(times(len(releases)))}, {each} each time: {total} from each retailer."


def _fields(releases: Sequence[Release]) -> Html:
    """Returns the fields with their shapes; those of the same shapes stand together."""
    shapes: dict[str, list[str]] = {}
    for release in releases:
        for name, shape in release.fields.items():
            shapes.setdefault(name, []).append(_shape(shape))
    named: dict[str, list[str]] = {}
    for name, found in shapes.items():
        named.setdefault(" or ".join(dict.fromkeys(found)), []).append(name)
    return joined([_same_shape(shape, names) for shape, names in named.items()], "; ")


def _same_shape(shape: str, names: Sequence[str]) -> Html:
    codes = joined([tag("code", name) for name in names], ", ")
    return joined([codes, ": ", shape, " each" if len(names) > 1 else ""])


def _shape(shape: tuple[int, ...]) -> str:
    if len(shape) < 2:
        count = shape[0] if shape else 1
        return "one number" if count == 1 else f"{count:,} numbers" if count else "nothing"
    return " × ".join(f"{length:,}" for length in shape) + " numbers"


def _stayed(queries: Collection[str]) -> list[str]:
    added = sorted(set(queries) - QUESTIONS.keys())
    unsure = [f"Not known to this report: what {all_of(added)} may hold; see its package."]
    price = " Price levels enter the forecast’s sums as one feature among many."
    return [
        "No row of any table: no line, no receipt, no order.",
        "No customer number, e-mail address or other mark that a customer is known by, and no list "
        "by customer of what was bought.",
        "No price of a line." + (price if "glm-moments" in queries else ""),
        "No score of a single customer; no log, no file name, no reason for an error beyond a code "
        "from a fixed list.",
        *(unsure if added else []),
    ]


def _came_in(queries: Collection[str]) -> str:
    volumes = "; for demand that is the consortium’s volumes by product and period"
    return (
        "Each question arrived with the model as it stood, and at the end the finished model. What "
        "a model holds is made of totals, so every retailer can read those parts of the totals "
        f"from it{volumes if 'demand-series' in queries else ''}."
    )


def _dropped_out(source: Source) -> list[str]:
    left = source.left
    if not left:
        return []
    table = "" if source.view is View.RETAILER else ", and so is the table above"
    return [
        f"{all_of(left)} dropped out during the run, as the plan allows: totals after that are of "
        f"the others{table}."
    ]


def _seen_by_the_coordinator(source: Source) -> str:
    if not source.plan.common.privacy.secure_sum:
        return (
            "There were no secure sums: the coordinator’s process saw every retailer’s summand "
            "before it added them, as the plan said."
        )
    count = len(source.plan.members)
    # All but one have the remaining one's summand whatever the protocol does.
    lie, tell = min(tolerated(count), count - 2), min(threshold(count) - 1, count - 2)
    return (
        "Summands were masked: the coordinator could read totals alone, as long as at most "
        f"{spelled(lie)} of the {spelled(count)} retailers took sides with it against the "
        f"protocol, or {spelled(tell)} only told it what they saw. Masks hide a summand, not "
        "what the total itself tells."
    )


def _noise(plan: Plan) -> str:
    promised = plan.common.privacy
    if promised.epsilon is None:
        return (
            "There is no differential privacy in this plan: totals are exact, no noise is added "
            "and no customer’s share is bounded. What an exact total tells is said above, question "
            "by question."
        )
    known = promised.known_to(len(plan.members))
    return (
        f"Totals are noised: epsilon = {promised.epsilon:g} at delta = {promised.delta:g} for the "
        f"whole run, for one unit of each query (a customer, where it says so) that is known to at "
        f"most {spelled(known)} of the retailers, as long as at most {spelled(promised.colluders)} "
        f"of them collude with the coordinator and every retailer clips and adds noise as its "
        f"software does: one that does not cannot be caught under masks. Noise hides a unit, not a "
        f"retailer’s volumes."
    )


def _not_done(source: Source) -> list[str]:
    members = source.plan.members
    return [
        *_dropped_out(source),
        _seen_by_the_coordinator(source),
        _noise(source.plan),
        f"There are {spelled(len(members))} retailers. All but one of them together can read the "
        "remaining one’s summand by taking their own from the total"
        + (": here that needs only two." if len(members) == 3 else "."),
    ]
