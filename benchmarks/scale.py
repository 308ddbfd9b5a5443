"""What a consortium of twenty million lines costs, on generated files whose truth is known.

Five retailers, 2 million customers, 20,000 products (`planted.py`). Each size is measured in a
process of its own: `check` of every retailer's files, then the purchases of every customer before
the last 91 days, read from the files again; then the co-purchase totals through messages, envelope
and egress, in the clear, and EASE on the coordinator. Retailers and coordinator share the process,
so memory is that of all of them together, at its peak (VmHWM). EASE against popularity: NDCG@10 of
products new to a customer in the last 91 days, over 2,000 customers of each retailer.

A doubling is the work for twice as much over the work for as much, in seconds of all cores; with
the lines double the customers. Reading is `Tables` against a plain polars scan of the same files,
all columns of one retailer, medians over alternating pairs. Load is the system's mean number of
running processes over the last minute: where others use the machine, seconds on the wall are theirs
as well. --quick: small sizes, and bars only for what does not depend on the size.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.planted import Size
from benchmarks.rows import Row, at_least, at_most
from benchmarks.scale_cost import Cost, measured

SECONDS, GIB = 180.0, 8.0
TWICE = 2.2  # what twice the lines may cost, if the cost is to be linear
READING = 1.5

Series = Mapping[str, tuple[Size, ...]]
"""Sizes by what doubles in them."""


def run(data: Path, quick: bool) -> list[Row]:  # noqa: ARG001
    """Returns what the whole costs, what a doubling costs, and how fast files are read."""
    if quick:
        small = Size(20_000, 2_000, 200, 3)
        whole, many = replace(small, lines=40_000, customers=4_000), replace(small, retailers=50)
        series = _series(small, small, 2)
    else:
        whole, many = Size(), Size(5_000_000, 500_000, 5_000, 50)
        series = _series(Size(1_000_000, 100_000, 2_000), Size(1_000_000, 100_000, 2_500), 3)
    sizes = dict.fromkeys([whole, *itertools.chain(*series.values()), many])
    costs = dict(zip(sizes, measured(list(sizes), apart=not quick), strict=True))
    return [
        *_whole(whole, costs[whole], quick),
        *_doublings(series, costs, quick),
        *_many(many, costs[many]),
    ]


def _series(lines: Size, products: Size, length: int) -> Series:
    doubled = [2**i for i in range(length)]
    more = [replace(lines, lines=n * lines.lines, customers=n * lines.customers) for n in doubled]
    return {
        "lines": tuple(more),
        "products": tuple(replace(products, products=n * products.products) for n in doubled),
        "retailers": tuple(replace(lines, retailers=n * lines.retailers) for n in doubled),
    }


def _whole(size: Size, cost: Cost, quick: bool) -> Iterator[Row]:
    customers, products = f"{size.customers:,} customers", f"{size.products:,} products"
    about = f"{size.lines:,} lines, {customers}, {products}, {size.retailers} retailers"
    yield Row(f"{about}: check", cost.waited.check, "s")
    yield Row(f"{about}: every customer's purchases", cost.waited.purchases, "s")
    yield Row(f"{about}: co-purchase totals", cost.waited.totals, "s")
    yield Row(f"{about}: EASE", cost.waited.ease, "s")
    yield _under(SECONDS, Row(f"{about}: all of these", cost.waited.whole, "s"), quick)
    yield Row(f"{about}: all of these, of all cores", cost.worked.whole, "s")
    yield _under(GIB, Row(f"{about}: memory of all parties", cost.memory, "GiB"), quick)
    yield Row(f"{about}: load of the machine", cost.load, "processes")
    yield Row(f"{about}: NDCG@10 of EASE", cost.ndcg_ease)
    yield Row(f"{about}: NDCG@10 of popularity", cost.ndcg_popularity)
    yield at_least(1.5, f"{about}: EASE over popularity", cost.ndcg_ease / cost.ndcg_popularity)
    yield _under(
        READING, Row(f"{about}: reading over a plain scan", cost.reading.waited, "x"), quick
    )
    yield Row(f"{about}: reading over a plain scan, of all cores", cost.reading.worked, "x")


def _doublings(series: Series, costs: Mapping[Size, Cost], quick: bool) -> Iterator[Row]:
    for what, sizes in series.items():
        for once, twice in itertools.pairwise(sizes):
            about = f"{what} from {getattr(once, what):,} to {getattr(twice, what):,}"
            few, more = costs[once].worked, costs[twice].worked
            reading = Row(f"{about}: check and purchases", more.rows / few.rows, "x")
            totals = Row(f"{about}: co-purchase totals", more.totals / few.totals, "x")
            linear = quick or what != "lines"
            yield _under(TWICE, reading, linear)
            yield _under(TWICE, totals, linear)
            yield Row(f"{about}: EASE", more.ease / few.ease, "x")
            yield Row(
                f"{about}: memory of all parties", costs[twice].memory / costs[once].memory, "x"
            )


def _many(size: Size, cost: Cost) -> Iterator[Row]:
    each = size.lines // size.retailers
    about = f"{size.retailers} retailers of {each:,} lines, {size.products:,} products"
    yield Row(f"{about}: check and purchases", cost.waited.rows, "s")
    yield Row(f"{about}: co-purchase totals", cost.waited.totals, "s")
    yield Row(f"{about}: EASE", cost.waited.ease, "s")
    yield Row(f"{about}: memory of all parties", cost.memory, "GiB")


def _under(bar: float, row: Row, reported: bool) -> Row:
    """Returns the row with its bar, or as it is where it is only reported."""
    if reported or row.value is None:
        return row
    return at_most(bar, row.name, row.value, row.unit)
