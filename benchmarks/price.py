"""Price elasticities: published ones reproduced, under epsilon, planted ones found, and the time.

Published: Dominick's orange juice, ten retailers of its 83 stores. The three brands of the extract
that textbooks use are Dominick's, Minute Maid and Tropicana Premium of 64 ounces: brands 10, 5 and
1 of 11, in all 9,649 store-weeks each. Their specification is log units on log price with a level
for each brand (not each store), without promotions: -3.139 with one slope, -3.378, -3.321 and
-2.712 with three; `GLM` on those rows. The task's own, with levels of store x brand and the two
promotions, is beside it; federated and pooled are compared over all 11 brands and all arrays.

Under epsilon = 1, delta = 1e-6: two rounds of clipped pairs and nothing else, the product's noise
through messages, egress and ledger, against the exact estimate of the same specification. What is
hidden is a store-week of a brand: price, promotions and units. The clips were chosen on the eight
other brands. By customer: complete-journey, product categories as products (prices relative to
each product's mean, so that a category's price is not its mix), five retailers, 8 rows a customer.

Planted: prices and promotions of all 11 brands as they were; units from drawn elasticities, with
promotions that raise sales at the low prices they come with, a year's season, levels that move by
half-year together with prices, and errors that hang together within a series. Bias is the mean
error of a brand over the replications, the largest of the 11 in size; coverage is of all 95 %
intervals, before shrinkage and after.

Time: generated lines, 8 a customer, 500 products, five retailers; rows made from tables and both
models fitted with validation, in one process. With --quick fewer draws, replications, customers.
"""

import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.orange_juice import COLUMNS, PUBLISHED, SEASON, WEEKS, Sales, orange_juice
from benchmarks.rows import Row, at_most, need
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.elasticity import Elasticity
from grandtotal.algorithms.elasticity_in_noise import ElasticityInNoise
from grandtotal.algorithms.glm import GLM
from grandtotal.algorithms.price_rows import PricePanel, PriceRows
from grandtotal.consortium.totals import Local
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Release
from grandtotal.tasks.price import GRID, Price
from grandtotal.tasks.task import Common

BRANDS = tuple(range(1, 12))
ANSWERS = (-3.378, -3.321, -2.712)
EPSILON, DELTA = 1.0, 1e-6


def run(data: Path, quick: bool) -> list[Row]:
    """Returns the rows of all parts."""
    sales = orange_juice(data)
    return [
        *published(sales),
        *exact(sales),
        *in_noise(sales, 3 if quick else 25),
        *by_customer(data, 1 if quick else 3),
        *planted(sales, 20 if quick else 200, 5 if quick else 40),
        *times((20_000, 40_000) if quick else (250_000, 500_000, 1_000_000)),
    ]


# --- published ---


def published(sales: Sales) -> list[Row]:
    """Returns the textbook's specification from ten retailers' totals."""
    rows = []
    for by_brand, answers in ((False, (-3.139,)), (True, ANSWERS)):
        with federated(sales.designs(PUBLISHED, by_brand)) as consortium:
            glm = GLM("ridge", l2=1e-9)
            found, _ = glm.fit(consortium.of(TASK), 3 + len(answers), "test", {})
        slopes = Sales.slopes(found, 3)
        names = [f"brand {brand}" for brand in PUBLISHED] if by_brand else ["pooled"]
        for name, slope, answer in zip(names, slopes, answers, strict=True):
            missed = abs(float(slope) - answer)
            rows.append(Row(f"published, {name}: elasticity", float(slope)))
            rows.append(at_most(0.0005, f"published, {name}: from {answer}", missed))
    return rows


def exact(sales: Sales) -> list[Row]:
    """Returns how far federated is from pooled, and the task's own estimates of the three."""
    rows, place = [], [BRANDS.index(brand) for brand in PUBLISHED]
    for family in ("log-log", "ppml"):
        for season in (WEEKS, 26):
            holders = sales.holders(BRANDS, season, cross=True)
            algorithm = Elasticity(family, columns=SEASON)
            with federated(holders) as consortium:
                model = algorithm.fit(consortium.of(TASK), len(BRANDS), "test")
            pooled = algorithm.fit(Local(_pooled(holders)), len(BRANDS), "test")
            apart = max(
                float(np.nanmax(np.abs(model.arrays[name] - pooled.arrays[name]), initial=0.0))
                for name in model.arrays
            )
            what = f"{family}, levels of {season} weeks"
            rows.append(at_most(1e-9, f"{what}: federated from pooled, all arrays", apart))
            for brand, i in zip(PUBLISHED, place, strict=True):
                rows.append(Row(f"{what}, brand {brand}: elasticity", float(model.raw[i])))
                rows.append(Row(f"{what}, brand {brand}: its sd", float(model.raw_sd[i])))
    return rows


def _pooled(holders: dict) -> dict:
    parts = [rows["test"] for rows in holders.values()]
    panel = PricePanel.pooled(parts)
    return {"test": panel, "shared test": panel}


# --- under epsilon ---


def in_noise(sales: Sales, draws: int) -> list[Row]:
    """Returns the errors of the three brands, over draws of the noise."""
    holders = sales.holders(PUBLISHED)
    truth = Elasticity("log-log", columns=COLUMNS).fit(Local(_pooled(holders)), 3, "test").raw
    algorithm = ElasticityInNoise(columns=COLUMNS, window=WEEKS, weeks=WEEKS)
    errors = np.array([_private(holders, algorithm, 3) - truth for _ in range(draws)])
    name = f"epsilon {EPSILON:g}, store-week, {draws} draws"
    middle = float(np.median(np.abs(errors)))
    return [
        at_most(0.05, f"{name}: median absolute error", middle),
        *(
            Row(f"{name}, brand {brand}: median absolute error", float(np.median(np.abs(error))))
            for brand, error in zip(PUBLISHED, errors.T, strict=True)
        ),
    ]


def _private(holders: dict, algorithm: ElasticityInNoise, products: int) -> NDArray[np.float64]:
    agreement = Agreement(epsilon=EPSILON, delta=DELTA)
    asked = (Release("price-pairs", len(algorithm.clips)),)
    budget = Budget.of(agreement, {TASK: asked}, len(holders))
    with federated(holders, budget=budget) as consortium:
        return algorithm.fit(consortium.of(TASK), products, "test").own


def by_customer(data: Path, draws: int) -> list[Row]:
    """Returns the errors of the 20 largest categories of complete-journey, by household."""
    folder = data / "complete-journey"
    lines = _journey(folder)
    catalogue = tuple(lines["product"].value_counts(sort=True)["product"].head(40).sort())
    common = Common(date(2018, 1, 1), catalogue, privacy=Agreement(epsilon=EPSILON, delta=DELTA))
    task = Price(common, history=52, test=2, rows_per_customer=8)
    listed = pl.DataFrame({"product": catalogue})
    holders = {
        f"retailer {i}": task.rows(
            {"transactions": lines.filter(pl.col("owner") == i), "products": listed}
        )
        for i in range(5)
    }
    truth = GRID["log-log"].fit(Local(task.pooled(list(holders.values()))), 40, "test")
    large = np.argsort(-truth.observations)[:20]
    algorithm = task._in_noise()
    errors = np.array([(_private(holders, algorithm, 40) - truth.own)[large] for _ in range(draws)])
    name = f"epsilon {EPSILON:g}, customer, complete-journey"
    return [
        Row(f"{name}: median absolute error of 20 categories", float(np.median(np.abs(errors)))),
        Row(f"{name}: median sd of the exact estimate", float(np.median(truth.own_sd[large]))),
    ]


def _journey(folder: Path) -> pl.DataFrame:
    """Returns transaction lines whose product is a category, at prices relative to the product."""
    source = "github.com/bradleyboehmke/completejourney"
    lines = pl.read_csv(
        need(folder / "transactions_sample.csv.gz", source), infer_schema_length=None
    )
    products = pl.read_csv(need(folder / "products.csv.gz", source), infer_schema_length=None)
    category = products.select(
        pl.col("product_id").cast(pl.Int64), category=pl.col("product_category")
    )
    price = pl.col("sales_value") / pl.col("quantity")
    return (
        lines.join(category, on="product_id")
        .filter((pl.col("quantity") > 0) & (pl.col("sales_value") > 0))
        .filter(pl.col("category").is_not_null())
        .with_columns(unit=price)
        .select(
            product=pl.col("category").cast(pl.String),
            time=pl.col("transaction_timestamp").str.to_datetime(),
            quantity=pl.col("quantity").cast(pl.Float64),
            price=pl.col("unit") / pl.col("unit").mean().over("product_id"),
            promotion=pl.when(pl.col("retail_disc") > 0).then(pl.lit("1")),
            customer=pl.col("household_id").cast(pl.String),
            owner=pl.col("store_id") % 5,
        )
    )


# --- planted ---


def planted(sales: Sales, replications: int, of_ppml: int) -> list[Row]:
    """Returns bias and coverage of both models on units drawn at real prices and promotions."""
    rows = sales.rows(BRANDS, 26, False)
    found = []
    for family, count in (("log-log", replications), ("ppml", of_ppml)):
        errors, inside, shrunk = [], [], []
        for draw in range(count):
            rng = np.random.default_rng([11, draw])
            truth = rng.normal(-2.6, 0.6, len(BRANDS))
            drawn = replace(rows, y=_drawn(rng, rows, truth))
            panel = {"test": PricePanel((drawn,))}
            model = Elasticity(family, columns=SEASON).fit(Local(panel), len(BRANDS), "test")
            errors.append(model.raw - truth)
            inside.append(np.abs(model.raw - truth) <= 1.959964 * model.raw_sd)
            shrunk.append(np.abs(model.own - truth) <= 1.959964 * model.own_sd)
        name = f"planted, {family}, {count} x {len(BRANDS)}"
        bias = float(np.abs(np.mean(errors, axis=0)).max())
        found.append(at_most(0.05, f"{name}: largest bias of a brand", bias))
        for what, hits in (("", inside), (" after shrinkage", shrunk)):
            share = 100 * float(np.mean(hits))
            ok = 93.0 <= share <= 97.0
            found.append(Row(f"{name}: coverage{what}", share, "%", "93 to 97", ok))
    return found


def _drawn(
    rng: np.random.Generator, rows: PriceRows, truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns units (rows,): never below 1, so that each has a logarithm."""
    price, feat, deal = rows.x[:, 0], rows.x[:, 2], rows.x[:, 3]
    product = rows.product[rows.series]
    year = 0.2 * np.sin(2 * np.pi * rows.week / 52)
    count = rows.per_group(np.ones(len(rows.y)))
    dear = rows.per_group(price - price.mean()) / count
    # Where prices were high demand was too: without levels of a season that looks like no effect.
    level = (0.5 * dear + 0.3 * rng.normal(size=rows.groups))[rows.group]
    own = rng.normal(6.0, 0.5, len(rows.product))[rows.series]
    log_units = own + level + year + truth[product] * (price - price.mean())
    log_units += 0.6 * feat + 0.2 * deal + _hanging(rng, rows)
    return np.maximum(np.exp(log_units), 1.0)


def _hanging(rng: np.random.Generator, rows: PriceRows) -> NDArray[np.float64]:
    """Returns errors of sd 0.4 with a correlation of 0.4 from one row of a series to the next."""
    fresh = rng.normal(0, 0.4 * np.sqrt(1 - 0.4**2), len(rows.y))
    error, first = np.empty(len(rows.y)), np.diff(rows.series, prepend=-1) != 0
    before = 0.0
    for i in range(len(error)):
        before = fresh[i] / np.sqrt(1 - 0.4**2) if first[i] else 0.4 * before + fresh[i]
        error[i] = before
    return error


# --- time ---


def times(sizes: tuple[int, ...]) -> list[Row]:
    """Returns seconds to make the rows and to fit, for so many customers of five retailers."""
    rows, seconds = [], []
    for customers in sizes:
        products = tuple(f"P{i:03}" for i in range(500))
        task = Price(Common(date(2024, 1, 1), products), history=104)
        parts, made = [], 0.0
        for number in range(5):
            frames = _lines(customers // 5, products, number)
            started = time.monotonic()
            parts.append(task.rows(frames))
            made += time.monotonic() - started
        started = time.monotonic()
        with federated({f"retailer {i}": part for i, part in enumerate(parts)}, task) as both:
            fitted = task.fit(both.of(TASK))
        seconds.append(made + time.monotonic() - started)
        weeks = sum(len(part["test"].parts[0].y) for part in parts)
        name = f"{customers:,} customers, {8 * customers:,} lines, {weeks:,} rows"
        rows += [
            Row(f"{name}: rows from tables", made, "s"),
            Row(f"{name}: fit of both models", seconds[-1] - made, "s"),
            Row(f"{name}: mean elasticity, planted -2", float(fitted.model.means[0])),
        ]
    growth = seconds[-1] / seconds[-2] / (sizes[-1] / sizes[-2])
    return [*rows, at_most(1.3, "time for twice the customers, over twice the time", growth)]


def _lines(customers: int, products: tuple[str, ...], number: int) -> dict:
    """Returns the lines of one retailer, one store for every 12,500 of its customers."""
    rng = np.random.default_rng([3, number])
    weeks, count, stores = 104, 8 * customers, max(1, customers // 12_500)
    base = rng.lognormal(1, 0.4, len(products))
    moves = rng.choice([0.85, 0.95, 1.0, 1.1], (weeks // 4, len(products)))
    price = base * np.repeat(moves, 4, axis=0)
    pull = np.cumsum((price / base) ** -2.0 / (1 + np.arange(len(products)) % 50), axis=1)
    week = rng.integers(0, weeks, count)
    product = np.empty(count, np.int64)
    for one in range(weeks):
        here = week == one
        product[here] = np.searchsorted(pull[one], rng.random(here.sum()) * pull[one, -1])
    first = datetime(2024, 1, 1) - timedelta(weeks=weeks)
    days = pl.Series(week * 7 + rng.integers(0, 7, count))
    frame = pl.DataFrame(
        {
            "product": pl.Series(np.array(products)[product]),
            "time": pl.select(pl.lit(first) + pl.duration(days=days)).to_series(),
            "quantity": np.ones(count),
            "price": price[week, product].round(2),
            "store": pl.Series(rng.integers(0, stores, count)).cast(pl.String),
        }
    )
    kind = pl.Series(np.arange(len(products)) % 20).cast(pl.String)
    return {
        "transactions": frame,
        "products": pl.DataFrame({"product": products, "category": kind}),
    }
