"""What decisions on prices earn in a market of another model class: Dominick's orange juice.

Elasticities of ten retailers (83 stores) are learnt from weeks 40-100; the market is a nested logit
fitted on weeks 101-160 (`benchmarks/juice_market.py`). Prices may change by 10 % of each brand's
mean price, objective margin. "uniform": one price a brand for all stores, from the consortium's
elasticities. "store": every store's own, which it draws from its own rows towards the consortium's.
"usual": the mean price of each brand. "best": who knows the market. "same basket": what is bought
now may not cost more. Brackets are 95 % intervals over stores (bootstrap).

Montgomery, "Creating micro-marketing pricing strategies using supermarket scanner data", 1997,
reports +2.74 % for prices by store, over the prices that were in force. The bar asks it of prices
by store over the best uniform price; what is possible at all is the row beside it.

Regret: profit lost in the mean of all weeks so far against the best uniform price. Twenty stores,
prices within 40 %, a batch is four weeks. Passive learning takes the best price by what is known.

Segments: a made-up market of three tiers whose elasticities are known, -1.7, -2.6 and -4.1; what
the discounts truly earn. Epsilon covers all that is asked about segments; the unit is a customer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.juice_market import EARLY, Juice, Market, juice, market
from benchmarks.rows import Row, at_least, at_most
from benchmarks.segment_prices import by_segment
from benchmarks.simulation import TASK, federated
from grandtotal.algorithms.bandit import PriceBandit, Trials
from grandtotal.algorithms.elasticity import Elasticity
from grandtotal.algorithms.elasticity_in_noise import ElasticityInNoise
from grandtotal.algorithms.elasticity_model import Elasticities
from grandtotal.algorithms.price_rows import PricePanel, PriceRows, whole
from grandtotal.algorithms.shrinkage import Believed, prior_of
from grandtotal.consortium.query import Rows, shared
from grandtotal.consortium.totals import Local
from grandtotal.decide.of_model import category_cross
from grandtotal.decide.prices import decide_prices
from grandtotal.decide.response import Responses
from grandtotal.decide.rules import PriceRules
from grandtotal.privacy.accounting import Budget
from grandtotal.privacy.agreement import Agreement
from grandtotal.privacy.bound import Release

Floats = NDArray[np.float64]

RETAILERS = 10
CHANGE = 0.1
STEP = 0.02  # cents an ounce
_COLUMNS = 4  # price, others' price, feature, deal
_SERIAL = 2.0  # how much less than they seem weeks that follow each other tell


def run(data: Path, quick: bool) -> list[Row]:
    """Returns profit over uniform and usual prices, the cost of epsilon, and regret."""
    of = juice(data)
    sold = market(of)
    parts = [np.flatnonzero(np.arange(len(of.units)) % RETAILERS == i) for i in range(RETAILERS)]
    tried = Tried(of, sold, parts)
    exact = tried.shared(None)
    rows = tried.earned("free", exact, None)
    if not quick:
        rows += tried.earned("same basket", exact, 0.0)
    return [*rows, *tried.cost_of_epsilon(exact, 2 if quick else 6), *_learning(tried, quick)]


def _learning(tried: "Tried", quick: bool) -> list[Row]:
    return [*regret(tried, quick), *by_segment(1000 if quick else 4000, 1 if quick else 10)]


@dataclass(frozen=True)
class Tried:
    """The consortium's rows, the market, and which stores each retailer has."""

    of: Juice
    market: Market
    parts: list[NDArray[np.intp]]

    # --- what is learnt ---

    def shared(self, epsilon: float | None) -> Elasticities:
        """Returns the consortium's elasticities; under epsilon with the noise of the product."""
        brands = self.of.units.shape[1]
        if epsilon is None:
            with federated(self._holders("test", _COLUMNS)) as consortium:
                return Elasticity("log-log", _COLUMNS).fit(consortium.of(TASK), brands, "test")
        algorithm = ElasticityInNoise(columns=3, window=13, weeks=61)
        releases = {TASK: (Release("price-pairs", len(algorithm.clips)),)}
        budget = Budget.of(Agreement(epsilon=epsilon, delta=1e-6), releases, RETAILERS)
        holders = self._holders(shared("test"), 3)
        # Who lists a brand is asked of the same rows: it is no customer's.
        holders = {name: {**rows, "test": rows[shared("test")]} for name, rows in holders.items()}
        with federated(holders, budget=budget) as consortium:
            return algorithm.fit(consortium.of(TASK), brands, "test")

    def _holders(self, split: str, columns: int) -> Mapping[str, Rows]:
        return {
            f"retailer {i}": {split: PricePanel((self._rows(stores, columns),))}
            for i, stores in enumerate(self.parts)
        }

    def _rows(self, stores: NDArray[np.intp], columns: int) -> PriceRows:
        """Returns the early weeks of some stores; of three columns a promotion is either kind."""
        units, price = (v[stores][:, :, EARLY] for v in (self.of.units, np.log(self.of.price)))
        feat, deal = (np.nan_to_num(v[stores][:, :, EARLY]) for v in (self.of.feat, self.of.deal))
        there = np.isfinite(units) & (units > 0)
        apart = np.where(there, price - np.nanmean(price, axis=2, keepdims=True), 0.0)
        others = (apart.sum(axis=1, keepdims=True) - apart) / np.maximum(
            there.sum(axis=1, keepdims=True) - there, 1
        )
        promoted = [feat, deal] if columns == _COLUMNS else [np.maximum(feat, deal)]
        brands = units.shape[1]
        series, week = np.nonzero(there.reshape(-1, units.shape[2]))
        columns_of = [whole(price), whole(others), *promoted]
        return PriceRows(
            x=np.stack([column[there] for column in columns_of], axis=1),
            y=units[there],
            series=series,
            week=week,
            product=np.tile(np.arange(brands), len(stores)),
            season=1000,
            categories=np.zeros(brands, np.int16),
        )

    # --- what is decided ---

    def uniform(self, known: Elasticities, dearer: float | None) -> Floats:
        """Returns one price a brand, (brands,)."""
        cross = self._cross(np.arange(len(self.of.units)))
        base = self.market.units(np.broadcast_to(self.market.usual, self.market.level.shape))
        cost = (self.market.cost * base).sum(axis=0) / base.sum(axis=0)
        return self._decided(base.sum(axis=0), cost, (known.own, known.own_sd, cross), dearer)

    def by_store(self, known: Elasticities, dearer: float | None) -> Floats:
        """Returns every store's own prices, (stores, brands)."""
        base = self.market.units(np.broadcast_to(self.market.usual, self.market.level.shape))
        prices = np.empty_like(base)
        for stores in self.parts:
            cross, (own, own_sd) = self._cross(stores), self._at_home(known, stores)
            for i, s in enumerate(stores):
                given = (own[i], own_sd[i], cross)
                prices[s] = self._decided(base[s], self.market.cost[s], given, dearer)
        return prices

    def _at_home(self, known: Elasticities, stores: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Returns the elasticities of a retailer's stores and their sd, (stores, brands).

        A store is drawn to its retailer's mean, and that to the consortium's, each as far as the
        retailer's own stores say that they differ.
        """
        brands = len(known.own)
        raw, variance = np.array([self._of_store(int(s)) for s in stores]).transpose(2, 0, 1)
        group = np.tile(np.arange(brands), len(stores))
        believed = Believed(0.0, 0.3, 0.3)
        apart = (raw - known.own).ravel()
        prior = prior_of(apart, variance.ravel(), group, brands, believed)
        between = prior.between**2
        weight = between / (between + variance)
        mean = known.own + prior.mean[:brands]
        return mean + weight * (raw - mean), np.sqrt((1 - weight) * between + known.own_sd**2)

    def _of_store(self, store: int) -> list[tuple[float, float]]:
        rows = self._rows(np.array([store]), _COLUMNS)
        return [_least_squares(rows, j) for j in range(self.of.units.shape[1])]

    def _cross(self, stores: NDArray[np.intp]) -> Floats:
        """Returns a retailer's own cross elasticities: under epsilon none are shared."""
        own = self._alone(stores)
        base = self.market.units(np.broadcast_to(self.market.usual, self.market.level.shape))
        weight = base[stores].sum(axis=0) * self.market.usual
        return category_cross(own.own, own.cross, np.zeros(len(weight), np.intp), weight)

    def _alone(self, stores: NDArray[np.intp]) -> Elasticities:
        rows = {"test": PricePanel((self._rows(stores, _COLUMNS),))}
        brands = self.of.units.shape[1]
        return Elasticity("log-log", _COLUMNS, retailers=1).fit(Local(rows), brands, "test")

    def _decided(
        self,
        units: Floats,
        cost: Floats,
        known: tuple[Floats, Floats, Floats],
        dearer: float | None,
    ) -> Floats:
        rules = PriceRules(largest_change=CHANGE, step=STEP, dearer_basket=dearer)
        return decide_prices(_products(self.market.usual, units, cost, known), rules).price

    # --- what it earns ---

    def earned(self, name: str, known: Elasticities, dearer: float | None) -> list[Row]:
        """Returns profits over each other, of decided and of best prices."""
        profit, usual = self.market.profit, self.market.profit(self.market.usual)
        uniform = profit(self.uniform(known, dearer))
        store = profit(self.by_store(known, dearer))
        best = profit(self.market.best(CHANGE, dearer))
        stores = range(len(usual))
        most = np.array([profit(self.market.best(CHANGE, dearer, s), s).sum() for s in stores])
        label = f"{name}: profit of"
        gain = f"{label} store over best uniform prices {_interval(store, best)}"
        return [
            _over(f"{label} uniform over usual prices", uniform, usual),
            at_least(
                2.7,
                f"{label} store over usual prices {_interval(store, usual)}",
                _gain(store, usual),
                "%",
            ),
            _over(f"{label} store over uniform prices", store, uniform),
            at_least(2.7, gain, _gain(store, best), "%"),
            _over(f"{label} best store over best uniform prices: the most that can be", most, best),
            _over(f"{label} best store over usual prices", most, usual),
        ]

    def cost_of_epsilon(self, exact: Elasticities, draws: int) -> list[Row]:
        """Returns what epsilon = 1 takes off the profit of store prices, in points of the usual."""
        usual = float(self.market.profit(self.market.usual).sum())
        noisy = [self.shared(1.0) for _ in range(draws)]
        earned = [float(self.market.profit(self.by_store(each, None)).sum()) for each in noisy]
        without = float(self.market.profit(self.by_store(exact, None)).sum())
        lost = [100 * (without - each) / usual for each in earned]
        error = np.median([np.abs(each.own - exact.own) for each in noisy])
        return [
            at_most(
                0.3,
                f"epsilon 1: profit lost, mean of {draws} draws",
                float(np.mean(lost)),
                "points",
            ),
            Row("epsilon 1: profit lost, worst draw", max(lost), "points"),
            Row("epsilon 1: median error of an elasticity", float(error)),
        ]


def _least_squares(rows: PriceRows, brand: int) -> tuple[float, float]:
    """Returns a store's own elasticity of a brand and its variance, weeks hanging together."""
    here = rows.product[rows.series] == brand
    x, y = rows.within[here], rows.centred(np.log(rows.y))[here]
    inverse = np.linalg.pinv(x.T @ x)
    b = inverse @ x.T @ y
    noise = float(np.sum((y - x @ b) ** 2)) / max(len(y) - x.shape[1] - 1, 1)
    return float(b[0]), max(_SERIAL * noise * float(inverse[0, 0]), 1e-3)


def _products(
    usual: Floats, units: Floats, cost: Floats, known: tuple[Floats, Floats, Floats]
) -> Responses:
    names = tuple(f"brand {j + 1}" for j in range(len(usual)))
    own, own_sd, cross = known
    return Responses(
        product=names,
        title=names,
        category=("juice",) * len(usual),
        price=usual,
        units=units,
        cost=cost,
        own=np.minimum(own, -0.05),
        own_sd=own_sd,
        cross=cross,
        lowest=0.5 * usual,
        highest=1.5 * usual,
        unknown=("",) * len(usual),
        noise=np.full(len(usual), 0.5),
    )


def _gain(one: Floats, other: Floats) -> float:
    return 100 * (float(one.sum() / other.sum()) - 1)


def _over(name: str, one: Floats, other: Floats) -> Row:
    return Row(f"{name} {_interval(one, other)}", _gain(one, other), "%")


def _interval(one: Floats, other: Floats) -> str:
    """Returns the 95 % interval of the gain over draws of the stores."""
    drawn = np.random.default_rng(7).integers(0, len(one), (1000, len(one)))
    gains = 100 * (one[drawn].sum(axis=1) / other[drawn].sum(axis=1) - 1)
    low, high = np.quantile(gains, [0.025, 0.975])
    return f"[{low:.1f}, {high:.1f}]"


# --- learning while prices are set ---

STORES, BATCHES, WEEKS, REACH = 20, 13, 4, 0.4


def regret(tried: Tried, quick: bool) -> list[Row]:
    """Returns the profit lost by Thompson sampling and by passive learning, as time goes by."""
    cross = tried._cross(np.arange(len(tried.of.units)))
    seeds = range(1 if quick else 4)
    lost = {
        name: np.mean([_lost(tried.market, cross, explore, seed) for seed in seeds], axis=0)
        for name, explore in (("Thompson", True), ("passive", False))
    }
    return [
        Row(f"regret after {WEEKS * (batch + 1)} weeks: {name}", float(curve[batch]), "%")
        for batch in (0, 3, BATCHES - 1)
        for name, curve in lost.items()
    ]


def _lost(sold: Market, cross: Floats, explore: bool, seed: int) -> Floats:
    """Returns the mean profit lost up to the end of each batch, % of the best uniform price's."""
    rng, stores = np.random.default_rng(seed), np.arange(STORES)
    bandit, usual = PriceBandit(sd=(0.1, 1.0), noise=sold.noise), sold.usual
    base = sold.units(usual, stores)
    best = float(sold.profit(sold.best(REACH, None, stores), stores).sum())
    sums, earned = np.zeros((len(usual), 5)), []
    for batch in range(BATCHES):
        known = bandit.posterior(sums)
        given = (known.own, known.own_sd, np.minimum(cross, -0.75 * np.minimum(known.own, 0)))
        for week in range(WEEKS):
            price, pull = _prices(sold, given, base, explore, (seed, batch, week))
            earned.append(float(sold.profit(price, stores).sum()))
            # What other prices did is taken off at home, as far as it is known there.
            seen = np.log(sold.units(price, stores) / base / pull)
            tried = Trials(
                np.tile(np.arange(len(usual)), STORES),
                np.log(price / usual).ravel(),
                (seen + rng.normal(0, sold.noise, base.shape)).ravel(),
                np.repeat(stores, len(usual)),
            )
            sums = sums + bandit.ask(Local({"week": tried}), len(usual), "week")
    lost = 100 * (1 - np.cumsum(earned) / (best * np.arange(1, len(earned) + 1)))
    return np.asarray(lost[WEEKS - 1 :: WEEKS])


def _prices(
    sold: Market,
    given: tuple[Floats, Floats, Floats],
    base: Floats,
    explore: bool,
    at: tuple[int, ...],
) -> tuple[Floats, Floats]:
    """Returns the prices of a week that each store decides on, and how they pull its products."""
    rules = {"largest_change": REACH, "step": 0.1, "risk": 0.0, "explore": explore}
    prices, pulls = np.empty_like(base), np.empty_like(base)
    for s in range(len(base)):
        seed = int(np.random.default_rng((*at, s)).integers(2**62))
        of = _products(sold.usual, base[s], sold.cost[s], given)
        prices[s] = decide_prices(of, PriceRules(seed=seed, **rules)).price  # type: ignore[arg-type]
        pulls[s] = of.pull(prices[s])
    return prices, pulls
