"""Who recommendations reach, and what reaching more costs: the frontier of one weight."""

from collections.abc import Mapping

from grandtotal.durable import Json
from grandtotal.report.markup import Html, Row, joined, paragraph, table, tag

_HEADING = "Who is reached, and what reaching more costs"
_BY_RETAILER = "Who is reached, by the size of the retailer"
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
    heads += [*(f"NDCG, {name}" for name in parts[0]["groups"]), "gap between these"]
    heads += ["small brands"] if small else []
    heads += ["of other retailers"] if _others(parts, 0) else []
    rows = [
        Row(
            f"{weight:g}",
            (*_cells(parts, place), *_small(small, place + 1), *_others(parts, place)),
        )
        for place, weight in enumerate(parts[0]["weights"])
    ]
    sold = _small(small, 0)
    told = (
        f" Small brands, the smaller half of all, are {sold[0]} of the purchases." if sold else ""
    )
    note = paragraph(_NOTE + told, class_="note")
    return joined([tag("h3", _HEADING), note, table(_HEADING, heads, rows)])


def by_retailer(parts: Mapping[str, Json]) -> Html:
    """Returns the table of the retailers without a weight, the largest first; nothing for one."""
    if len(parts) < 2:
        return Html("")
    named = sorted(parts.items(), key=lambda pair: (-pair[1]["customers"], pair[0]))
    everybody = max(sum(part["customers"] for part in parts.values()), 1)
    heads = ["retailer", "customers", "NDCG", "different products", "popularity lift"]
    heads += ["slow sellers"]
    rows = [
        Row(who, (f"{part['customers'] / everybody:.0%}", *_cells([part], 0)[:4]))
        for who, part in named
    ]
    note = paragraph("Customers: share of all whose lists were scored.", class_="note")
    return joined([tag("h3", _BY_RETAILER), note, table(_BY_RETAILER, heads, rows)])


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
        *_groups(parts, place),
    )


def _lift(parts: list[Json], place: int) -> float:
    """Returns the sum over places of lists of (popularity over the retailer's usual one) - 1."""
    lift = 0.0
    for part in parts:
        usual = part["bought"] / max(part["customers"], 1)
        if usual:
            lift += part["popularity"][place] / usual - part["shown"][place]
    return lift


def _groups(parts: list[Json], place: int) -> tuple[str, ...]:
    """Returns the NDCG of each group of customers, and the largest less the smallest."""
    found: list[float | None] = []
    for name in parts[0]["groups"]:
        customers = sum(part["groups"][name][0] for part in parts)
        gained = sum(part["groups"][name][1 + place] for part in parts)
        found.append(gained / customers if customers else None)
    known = [each for each in found if each is not None]
    gap = max(known) - min(known) if known else None
    return tuple("–" if each is None else f"{each:.3f}" for each in (*found, gap))


def _small(parts: list[list[float]], place: int) -> tuple[str, ...]:
    return (f"{sum(part[place] for part in parts) / len(parts):.1%}",) if parts else ()


def _others(parts: list[Json], place: int) -> tuple[str, ...]:
    """Returns the share of places for what other retailers offer; nothing where nobody does."""
    if not any(any(part.get("others", ())) for part in parts):
        return ()
    shown = max(sum(part["shown"][place] for part in parts), 1)
    return (f"{sum(part['others'][place] for part in parts) / shown:.1%}",)
