"""The contract of every algorithm: it sees totals, so who holds the rows makes no difference."""

import numpy as np
import pytest

from grandtotal.algorithms.als import ALS
from grandtotal.algorithms.blend import Blended
from grandtotal.algorithms.content import CONTENT, Content, Hybrid
from grandtotal.algorithms.content_based import ContentBased
from grandtotal.algorithms.elasticity import Elasticity
from grandtotal.algorithms.glm import GLM
from grandtotal.algorithms.item_similarity import EASE, EDLAE, ItemKNN
from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.algorithms.popularity import Popularity
from grandtotal.algorithms.purchases import Purchases
from grandtotal.algorithms.transitions import Transitions
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.tasks.demand_model import GRID
from grandtotal.tasks.demand_queries import DemandSeries
from grandtotal.tasks.price import GRID as PRICE_GRID
from grandtotal.tasks.price_sales import PriceHistory
from grandtotal.tasks.recommend_models import GRIDS
from grandtotal.tasks.sales import Panel

PRODUCTS = 12


def item_model(algorithm):
    return lambda totals: algorithm.fit(totals, PRODUCTS, "test").arrays


def regression(algorithm):
    def fit(totals):
        series = totals.total(DemandSeries(8, 70))["units"]
        coefficients, report = algorithm.fit(totals, 22, "test", {"series": series})
        assert report["converged"]
        return {"coefficients": coefficients, "series": series}

    return fit


def elasticities(family):
    def fit(totals):
        model = Elasticity(family).fit(totals, 6, "test")
        assert model.meta["fit"]["converged"]
        return model.arrays

    return fit


ALGORITHMS = {
    "log-log": elasticities("log-log"),
    "ppml": elasticities("ppml"),
    "popularity": item_model(Popularity(days=90)),
    "item-knn": item_model(ItemKNN(shrink=3.0, neighbours=5)),
    "ease": item_model(EASE(l2=2.0)),
    "edlae": item_model(EDLAE(l2=2.0, dropout=0.4)),
    "als": item_model(ALS(factors=4, epochs=2)),
    "als by conjugate gradients": item_model(ALS(factors=4, epochs=2, steps=2)),
    "content": item_model(ContentBased()),
    "hybrid": item_model(Hybrid(factors=4, epochs=2)),
    "transitions": item_model(Transitions()),
    "blend": item_model(Blended((EASE(l2=2.0), Transitions()), (0.25, 0.75))),
    "ridge": regression(GLM("ridge")),
    "poisson": regression(GLM("poisson")),
}


@pytest.fixture(params=sorted(ALGORITHMS))
def fit(request):
    return ALGORITHMS[request.param]


@pytest.fixture
def deal(request, build):
    """Returns a dealer of one set of rows to a number of retailers, at random for each seed."""
    rng = np.random.default_rng(11)
    if "fit" in request.fixturenames and request.node.callspec.params["fit"] in GRID:
        parts = [build.sales(rng) for _ in range(7)]

        def of(chosen):
            return {"test": build.panel([parts[i] for i in chosen])}

        count = len(parts)
    elif "fit" in request.fixturenames and request.node.callspec.params["fit"] in PRICE_GRID:
        parts = [build.prices(rng, 9) for _ in range(7)]

        def of(chosen):
            return {"test": PriceHistory.joined([parts[i] for i in chosen])}

        count = len(parts)
    else:
        everyone = build.purchases(rng, 60, PRODUCTS)
        listed = build.content(rng, PRODUCTS)
        count = 60

        def of(chosen):
            # A listing goes with the customer of its number.
            own = [i for i in chosen if i < len(listed.products)]
            return {
                "test": Purchases(everyone.history[chosen], everyone.future[chosen]),
                CONTENT: Content(listed.features[own], listed.products[own]),
            }

    def dealt(retailers, seed):
        order = np.random.default_rng(seed).permutation(count)
        cuts = np.sort(np.random.default_rng(seed).choice(count - 1, retailers - 1, False)) + 1
        return [of(chosen) for chosen in np.split(order, cuts)]

    return dealt


def test_every_model_that_a_plan_can_name_is_tested_here():
    networks = {
        "gru",
        "sasrec",
        "two-tower",
    }  # means of what was learnt at home, never the pooled model
    assert {*GRIDS, *GRID, *PRICE_GRID} - networks <= set(ALGORITHMS)


@pytest.mark.parametrize("retailers", [3, 5])
def test_federated_is_pooled_on_any_split(fit, deal, federate, retailers):
    (pooled,) = deal(1, 0)
    expected = arrays_digest(fit(Local(pooled)))
    for seed in (1, 2):
        federation = federate(deal(retailers, seed), f"{retailers}-{seed}")
        assert arrays_digest(fit(federation.totals)) == expected


def test_alone_is_another_model_than_federated(fit, deal):
    (pooled,), (alone, *_) = deal(1, 0), deal(3, 1)
    assert arrays_digest(fit(Local(alone))) != arrays_digest(fit(Local(pooled)))


def test_a_saved_model_is_the_same_model(fit, deal, tmp_path):
    arrays = fit(Local(deal(1, 0)[0]))
    save_arrays(tmp_path / "model.safetensors", arrays, {"model": "any", "l2": 0.1})
    loaded, meta = load_arrays(tmp_path / "model.safetensors")
    assert arrays_digest(loaded) == arrays_digest(arrays)
    assert meta == {"model": "any", "l2": 0.1}


def test_a_retailer_without_any_row_adds_nothing(deal, build, federate):
    (pooled,) = deal(1, 0)
    nobody = {"test": build.purchases(np.random.default_rng(1), 0, PRODUCTS)}
    for name in set(ALGORITHMS) - set(GRID) - set(PRICE_GRID):
        federated = ALGORITHMS[name](federate([pooled, nobody, nobody], name).totals)
        assert arrays_digest(federated) == arrays_digest(ALGORITHMS[name](Local(pooled)))


def test_panels_pool_their_parts(build):
    rng = np.random.default_rng(2)
    panels = [build.panel([build.sales(rng)]) for _ in range(3)]
    together = Panel.pooled(panels)
    assert together.parts == tuple(panel.parts[0] for panel in panels)
    assert (together.origins, together.scored) == (panels[0].origins, panels[0].scored)
