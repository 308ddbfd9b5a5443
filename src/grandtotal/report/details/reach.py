"""Who recommendations reach, and what reaching more costs: the frontier of one weight."""

from grandtotal.durable import Json
from grandtotal.report.markup import Html, Row, joined, paragraph, table, tag

_HEADING = "Who is reached, and what reaching more costs"
_NOTE = (
    "With a weight on reach, `grandtotal predict --reach` moves up what sells less. Popularity "
    "lift: how much more popular the recommended products are than those that customers had "
    "bought; 0 is alike. Slow sellers: places of lists for all products but the few that make up "
    "half of the purchases. The ranking quality is also shown apart, for customers of whom few and "
    "of whom many products are known."
)


def frontier(parts: list[Json]) -> Html:
    """Returns the table of a few weights, from the sums of each retailer; nothing without any."""
    if not parts:
        return Html("")
    small = [part["brands"] for part in parts if "brands" in part]
    heads = ["weight", "NDCG", "different products", "popularity lift", "slow sellers"]
    heads += [f"NDCG, {name}" for name in parts[0]["groups"]]
    heads += ["small brands"] if small else []
    rows = [
        Row(f"{weight:g}", (*_cells(parts, place), *_small(small, place + 1)))
        for place, weight in enumerate(parts[0]["weights"])
    ]
    sold = _small(small, 0)
    told = (
        f" Small brands, the smaller half of all, are {sold[0]} of the purchases." if sold else ""
    )
    note = paragraph(_NOTE + told, class_="note")
    return joined([tag("h3", _HEADING), note, table(_HEADING, heads, rows)])


def _cells(parts: list[Json], place: int) -> tuple[str, ...]:
    def total(name: str) -> float:
        return float(sum(part[name][place] for part in parts))

    customers = max(sum(part["customers"] for part in parts), 1)
    shown = max(total("shown"), 1.0)
    different = total("different") / max(sum(part["products"] for part in parts), 1)
    return (
        f"{total('ndcg') / customers:.4f}",
        f"{different:.0%}",
        f"{_lift(parts, place) / shown:+.0%}",
        f"{total('slow') / shown:.0%}",
        *(_group(parts, name, place) for name in parts[0]["groups"]),
    )


def _lift(parts: list[Json], place: int) -> float:
    """Returns the sum over places of lists of (popularity over the retailer's usual one) - 1."""
    lift = 0.0
    for part in parts:
        usual = part["bought"] / max(part["customers"], 1)
        if usual:
            lift += part["popularity"][place] / usual - part["shown"][place]
    return lift


def _group(parts: list[Json], name: str, place: int) -> str:
    customers = sum(part["groups"][name][0] for part in parts)
    gained = sum(part["groups"][name][1 + place] for part in parts)
    return f"{gained / customers:.3f}" if customers else "–"


def _small(parts: list[list[float]], place: int) -> tuple[str, ...]:
    return (f"{sum(part[place] for part in parts) / len(parts):.1%}",) if parts else ()
