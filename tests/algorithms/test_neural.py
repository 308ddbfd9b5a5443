"""Networks: what a round of training sends, what stays at home, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from builders.networks import NETWORK, make_windows
from conftest import MEMBERS, PLAN, TASK, Recording, masked_plan
from grandtotal.algorithms import networks
from grandtotal.algorithms.cnn import CNN
from grandtotal.algorithms.lstm import LSTM
from grandtotal.algorithms.mlp import MLP
from grandtotal.algorithms.networks import Examples, network_of, settings_of
from grandtotal.algorithms.neural import FederatedTraining
from grandtotal.algorithms.neural_local import Dropout, Loaded, LocalTraining, Trainer, built
from grandtotal.algorithms.server_optimizers import Moments, Server, mean_update
from grandtotal.algorithms.windows import Windows
from grandtotal.consortium.consortium import Consortium
from grandtotal.consortium.retailer import Retailer
from grandtotal.consortium.totals import Local
from grandtotal.durable import arrays_digest
from grandtotal.errors import PlanError, RetailerError

SHAPE = {"history": 6, "horizon": 2, "features": 3, "traits": 1, "period": 3, "width": 4}


@dataclass(frozen=True)
class Line:
    """Finds one number for each of the columns of "x": the loss is (w - x)^2 times "steep"."""

    name: ClassVar[str] = "line"
    local: ClassVar[tuple[str, ...]] = ()
    rowwise: ClassVar[tuple[str, ...]] = ()

    columns: int = 1

    def build(self, sizes: Mapping[str, int]):  # noqa: ARG002
        module = torch.nn.Linear(1, self.columns, bias=False)
        module.weight.data.zero_()
        return module

    def examples(self, rows, split, scored):
        kept = {name: array[: len(array) * (not scored)] for name, array in rows[split].items()}
        return Examples({name: array.astype(np.float32) for name, array in kept.items()})

    def loss(self, module, batch, draw):  # noqa: ARG002
        return ((module.weight[:, 0] - batch["x"]) ** 2 * batch["steep"]).sum(1)


@dataclass(frozen=True)
class Table(Line):
    """Finds a number for each row of a table, of which a retailer has few."""

    name: ClassVar[str] = "table"
    rowwise: ClassVar[tuple[str, ...]] = ("weight",)

    def build(self, sizes: Mapping[str, int]):  # noqa: ARG002
        return torch.nn.Embedding(self.columns, 1, sparse=True)

    def loss(self, module, batch, draw):  # noqa: ARG002
        return ((module(batch["which"].long()) - batch["x"]) ** 2).sum(1)


@pytest.fixture(autouse=True)
def _more_networks(monkeypatch):
    found = {"line": Line, "table": Table, "mlp": MLP, "lstm": LSTM, "cnn": CNN}
    monkeypatch.setattr(networks, "installed", lambda _: found)


def points(x, steep=1.0, count=8):
    return {"test": {"x": np.full((count, 1), x), "steep": np.full((count, 1), steep)}}


def windows(*series):
    rng = np.random.default_rng(4)
    return [{"test": make_windows(rng, count)} for count in series]


def fitted(totals, network=NETWORK, **other):
    local = {"batch": 16, "rate": 3e-3, **other.pop("local", {})}
    return FederatedTraining(**{"rounds": 3, **other}, local=local).fit(totals, network, "test")


DESCENT = {"optimizer": "sgd", "batch": 8, "clip": 0.0}


# --- what the coordinator does with a mean update ---


def test_fedavg_is_the_mean_of_the_weights(federate):
    federation = federate([points(1.0), points(2.0, count=16), points(3.5)])
    # One step of 0.5 on (w - x)^2 arrives at x; the second has half of the records.
    found = fitted(federation.totals, Line(), rounds=1, local={**DESCENT, "batch": 16, "rate": 0.5})
    assert found.arrays["weight"] == pytest.approx(np.array([[2.125]]), abs=1e-6)


def test_fedadam_and_fedyogi_are_the_published_steps():
    delta = {"w": np.array([0.5, -0.25])}
    for name, second in (("fedadam", 0.99e-6 + 0.01 * delta["w"] ** 2), ("fedyogi", None)):
        server = Server(name, rate=0.1)
        if second is None:
            second = 1e-6 + 0.01 * delta["w"] ** 2
        moved, moments = server.step({"w": np.zeros(2)}, delta, Moments())
        expected = 0.1 * 0.1 * delta["w"] / (np.sqrt(second) + 1e-3)
        assert moved["w"] == pytest.approx(expected, rel=1e-6)
        assert moments.second["w"] == pytest.approx(second)


def test_a_row_that_nobody_changed_stays_and_others_are_means_of_who_did():
    found = mean_update(np.array([[2.0, 4.0], [0.0, 0.0], [1.0, 1.0]]), np.array([0.5, 0.0, 1.0]))
    assert found.tolist() == [[4.0, 8.0], [0.0, 0.0], [1.0, 1.0]]


def test_rows_of_a_table_are_averaged_over_those_who_touched_them(federate):
    def rows(which, x):
        return {"test": {"which": np.full(8, which), "x": np.full((8, 1), x)}}

    parts = [rows(0, 1.0), rows(0, 3.0), rows(1, 3.5)]
    start = {"weight": np.zeros((3, 1), np.float32)}
    training = FederatedTraining(rounds=1, local={**DESCENT, "rate": 0.5})
    found = training.fit(federate(parts).totals, Table(3), "test", start)
    assert found.arrays["weight"][:, 0] == pytest.approx([2.0, 3.5, 0.0], abs=1e-5)


def test_fedprox_without_its_term_is_fedavg_and_with_it_stays_nearer():
    (rows,) = windows(5)
    plain, none, near = (
        fitted(Local(rows), local=local, rounds=1)
        for local in ({}, {"proximal": 0.0}, {"proximal": 100.0, "optimizer": "sgd", "rate": 5e-3})
    )
    free = fitted(Local(rows), local={"optimizer": "sgd", "rate": 5e-3}, rounds=1)
    assert arrays_digest(plain.arrays) == arrays_digest(none.arrays)
    assert arrays_digest(near.arrays) != arrays_digest(free.arrays)


def test_scaffold_finds_the_optimum_that_fedavg_misses(federate):
    # Ten steps at home nearly arrive at x where it is steep: FedAvg gives that too little weight.
    parts = [points(0.0, 1.0, 80), points(3.0, 0.1, 80), points(3.0, 0.1, 80)]
    optimum = 0.2 * 3.0 / 1.2
    off = {}
    for scaffold in (False, True):
        local = {**DESCENT, "rate": 0.1, "scaffold": scaffold}
        totals = federate(parts, f"scaffold {scaffold}").totals
        found = fitted(totals, Line(), rounds=25, local=local)
        off[scaffold] = abs(float(found.arrays["weight"][0, 0]) - optimum)
    assert off[True] < 1e-3
    assert off[False] > 0.2


# --- the way of a summand ---


def test_whoever_has_no_rows_adds_nothing(federate):
    rows, nobody, neither = windows(5, 0, 0)
    federated = fitted(federate([rows, nobody, neither]).totals)
    assert arrays_digest(federated.arrays) == arrays_digest(fitted(Local(rows)).arrays)


def test_masks_change_nothing(federate):
    parts = windows(3, 4, 2)
    plain = fitted(federate(parts, "plain").totals)
    masked = fitted(federate(parts, "masked", plan=masked_plan(3)).totals)
    assert arrays_digest(plain.arrays) == arrays_digest(masked.arrays)


def test_a_round_is_as_large_as_the_parameters_and_what_is_local_is_not_in_it(federate):
    parts = windows(3, 4, 2)
    network = replace(NETWORK, history=60, width=64)
    for part in parts:
        part["test"] = replace(part["test"], units=np.tile(part["test"].units, 4))
        part["test"] = replace(part["test"], known=np.tile(part["test"].known, (1, 4, 1)))
        part["test"] = replace(part["test"], training=part["test"].training + np.array([0, 60]))
    federation = federate(parts)
    found = fitted(federation.totals, network, rounds=1)
    sent = [r for r in federation.rounds() if r["query"] == "network-updates"]
    assert sent[0]["bytes_out"]["north"] <= 1.05 * 4 * found.report["parameters"]
    assert not [name for name in sent[0]["fields"] if "series" in name]
    assert not [name for name in found.arrays if "series" in name]
    kept = list((federation.folder / "north" / "networks").iterdir())
    assert len(kept) == 1


HOME = {"moments": True, "epochs": 2}


def test_a_retailer_that_loses_its_memory_answers_the_same(federate):
    parts = windows(3, 4, 2)
    expected = fitted(federate(parts, "remembers").totals, local=HOME)
    federation = federate(parts, "forgets")

    class Forgetful:
        def total(self, query, broadcast=None):
            for retailer in federation.retailers.values():
                retailer.memory.clear()
            return federation.totals.total(query, broadcast)

    found = fitted(Forgetful(), local=HOME)
    assert arrays_digest(found.arrays) == arrays_digest(expected.arrays)
    assert len(list((federation.folder / "north" / "networks").iterdir())) == 2


def test_a_run_that_was_killed_goes_on_to_the_same_weights(federate):
    parts = windows(3, 4, 2)
    expected = fitted(federate(parts, "whole").totals, local=HOME)
    federation = federate(parts, "killed")

    class KilledError(Exception):
        pass

    class Dying:
        left = 3

        def total(self, query, broadcast=None):
            Dying.left -= 1
            if Dying.left < 0:
                raise KilledError
            return federation.totals.total(query, broadcast)

    with pytest.raises(KilledError):
        fitted(Dying(), local=HOME)
    for retailer in federation.retailers.values():
        retailer.close()
    again = {
        name: Retailer(name, old.folder, lambda _, half=half: {TASK: half}, old._door)
        for (name, old), half in zip(
            federation.retailers.items(), federation.held.values(), strict=True
        )
    }
    folder = federation.folder / "coordinator"
    consortium = Consortium(MEMBERS[:3], Recording(again), folder)
    consortium.open(PLAN)
    found = fitted(consortium.of(TASK), local=HOME)
    assert arrays_digest(found.arrays) == arrays_digest(expected.arrays)


def test_nothing_depends_on_the_random_numbers_of_the_process():
    (rows,) = windows(5)
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        digests.add(arrays_digest(fitted(Local(rows), replace(NETWORK, dropout=0.5)).arrays))
    assert len(digests) == 1


def test_without_watching_the_last_weights_are_taken_and_nothing_later_is_read(federate):
    parts = windows(3, 4, 2)
    other = [{"test": replace(p["test"], scored=p["test"].scored[:0])} for p in parts]
    training = FederatedTraining(rounds=2, local={"batch": 16})
    found = [
        training.fit(federate(rows, f"run {i}").totals, NETWORK, "test", watch=False)
        for i, rows in enumerate((parts, other))
    ]
    assert arrays_digest(found[0].arrays) == arrays_digest(found[1].arrays)
    assert found[0].report["losses"] == []


# --- what goes wrong ---


def test_a_round_that_diverged_is_taken_back_at_half_of_the_rate(federate):
    # |1 - 2 rate| is above 1 at 1.9, so that 200 steps overflow, and below 1 at 0.95.
    parts = [points(1.0, count=1600), points(2.0), points(3.0)]
    found = fitted(federate(parts).totals, Line(), local={**DESCENT, "rate": 1.9})
    assert (found.report["taken_back"], found.report["rate"]) == (1, 0.95)
    assert np.isfinite(found.arrays["weight"]).all()


def test_a_retailer_whose_loss_is_never_finite_is_named_and_says_why_at_home(federate):
    parts = [points(1.0), points(np.nan), points(3.0)]
    federation = federate(parts)
    with pytest.raises(RetailerError, match="'south': its answer holds a value that is not"):
        fitted(federation.totals, Line(), local=DESCENT)
    log = (federation.folder / "south" / "log.txt").read_text()
    assert "network 'line': its loss or weights were not finite in round 0" in log
    assert not (federation.folder / "north" / "log.txt").exists()


def test_a_network_of_another_shape_is_refused_by_the_name_of_its_parameter(federate):
    parts = [points(1.0), points(2.0), points(3.0)]
    federation = federate(parts)
    start = {"weight": np.zeros((2, 1), np.float32)}
    with pytest.raises(RetailerError, match="'north': its answer has other fields"):
        FederatedTraining(local=DESCENT).fit(federation.totals, Line(), "test", start)
    log = (federation.folder / "north" / "log.txt").read_text()
    assert "parameter 'weight' is (1, 1) here, (2, 1) at the coordinator" in log


@dataclass(frozen=True)
class OfRows(Line):
    """As wide as a retailer's own rows, as a network of another version may be."""

    name: ClassVar[str] = "of-rows"

    def build(self, sizes: Mapping[str, int]):
        return Line(sizes.get("columns", 1)).build({})

    def examples(self, rows, split, scored):
        found = super().examples(rows, split, scored)
        return replace(found, sizes={"columns": rows[split]["x"].shape[1]})


def test_a_retailer_whose_network_has_another_shape_is_named_and_says_why_at_home(
    federate, monkeypatch
):
    monkeypatch.setattr(networks, "installed", lambda _: {"of-rows": OfRows})
    wide = {"test": {"x": np.ones((8, 2)), "steep": np.ones((8, 1))}}
    federation = federate([points(1.0), wide, points(3.0)])
    with pytest.raises(RetailerError, match="'south': its answer has other fields"):
        fitted(federation.totals, OfRows(), local=DESCENT)
    log = (federation.folder / "south" / "log.txt").read_text()
    assert "parameter 'weight' is (2, 1) here, (1, 1) at the coordinator" in log
    assert not (federation.folder / "north" / "log.txt").exists()


def test_running_statistics_of_a_retailers_batches_are_refused(monkeypatch):
    monkeypatch.setattr(Line, "build", lambda *_: torch.nn.BatchNorm1d(3))
    with pytest.raises(PlanError, match="use LayerNorm"):
        built(Line(), {}, 0)


def test_without_torch_the_extra_is_named(monkeypatch):
    class Missing(dict):
        def __getitem__(self, name):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(networks, "installed", lambda _: Missing({"mlp": None}))
    with pytest.raises(PlanError, match=r"pip install 'grandtotal\[neural\]'"):
        network_of("mlp", "{}")


def test_unknown_networks_settings_and_optimizers_are_refused():
    with pytest.raises(PlanError, match="no network 'mpl' is installed"):
        network_of("mpl", "{}")
    with pytest.raises(PlanError, match="network 'line' with"):
        network_of("line", '{"colums": 2}')
    with pytest.raises(PlanError, match="optimizer = 'rmsprop'"):
        LocalTraining(optimizer="rmsprop")
    with pytest.raises(PlanError, match="server = 'fedsgd'"):
        Server("fedsgd")
    with pytest.raises(PlanError, match="scaffold corrects plain steps"):
        LocalTraining(scaffold=True)
    with pytest.raises(PlanError, match="a multiple of 7"):
        MLP(history=20, horizon=7, features=1)
    with pytest.raises(PlanError, match="not known yet"):
        MLP(history=21, horizon=7, features=1, lags=(3,))


# --- networks that forecast ---


@pytest.mark.parametrize("kind", [MLP, LSTM, CNN])
def test_a_forecasting_network_learns_what_planted_series_do(kind):
    (rows,) = windows(12)
    network = network_of(kind.name, settings_of(kind(**SHAPE, dropout=0.0)))
    found = fitted(Local(rows), network, rounds=6, local={"rate": 1e-2})
    assert found.report["losses"][found.report["best"]] < 0.6 * found.report["losses"][0]


@pytest.mark.parametrize("kind", [MLP, LSTM, CNN])
def test_no_forecast_sees_what_comes_after_its_origin(kind):
    before = make_windows(np.random.default_rng(4), 3)
    network = kind(**SHAPE, lags=(2,))
    module = built(network, {"series": 3}, 1)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))

    def forecast(windows):
        loaded = Loaded.of(network.examples({"test": windows}, "test", True))
        return network.quantiles(module, next(loaded.ordered(99)))

    units = before.units.copy()
    units[:, 22:] = 1e6
    after = replace(before, units=units)
    assert np.array_equal(forecast(before), forecast(after))
    units[:, 21] += 40
    assert not np.array_equal(forecast(before), forecast(replace(before, units=units)))


def test_quantiles_are_in_order_and_not_below_nothing():
    module = built(NETWORK, {"series": 3}, 1)
    rows = {"test": make_windows(np.random.default_rng(4), 3)}
    loaded = Loaded.of(NETWORK.examples(rows, "test", True))
    found = NETWORK.quantiles(module, next(loaded.ordered(99)))
    assert (np.diff(found, axis=2) >= 0).all()
    assert (found >= 0).all()


def test_series_of_several_retailers_pool():
    rng = np.random.default_rng(1)
    parts = [make_windows(rng, 2), make_windows(rng, 3)]
    whole = Windows.pooled(parts)
    series, origin = whole.training[-1]
    assert np.array_equal(whole.units[series], parts[1].units[-1], equal_nan=True)
    assert origin == parts[1].training[-1][1]


def test_moments_that_were_kept_are_those_that_go_on():
    (rows,) = windows(4)
    loaded = Loaded.of(NETWORK.examples(rows, "test", False))
    local = LocalTraining(batch=16, moments=True)
    trainer, again = (Trainer(NETWORK, built(NETWORK, {"series": 4}, 1), local) for _ in range(2))
    trainer.train(loaded, None, 1)
    again.restore(trainer.kept())
    again.put({n: p.detach().numpy().copy() for n, p in trainer.shared.items()})
    first, second = (each.train(loaded, None, 2).update for each in (trainer, again))
    assert arrays_digest(first) == arrays_digest(second)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_leaves_out_its_share_and_keeps_the_mean(share):
    layer = Dropout(share).train()
    layer.draw = torch.Generator().manual_seed(1)
    found = layer(torch.ones(1001, 99))  # no multiple of the four that are drawn at once
    kept = found > 0
    # Four standard deviations of a share of 99,099 draws are .0064 at most.
    assert float(kept.float().mean()) == pytest.approx(1 - share, abs=0.0064)
    assert found[kept].unique().tolist() == [pytest.approx(1 / (1 - share), rel=1e-4)]
    assert not torch.equal(kept[:500], kept[500:1000])
    assert torch.equal(layer.eval()(found), found)


def test_pairs_of_times_are_the_dilated_convolutions_at_the_last_time():
    layers = 3
    encoder, _ = CNN(history=8, horizon=2, features=1, period=2, filters=5, layers=layers).encoder()
    window = torch.randn(4, 8, 2, generator=torch.Generator().manual_seed(1))
    x = encoder.first(window).transpose(1, 2)
    for k, layer in enumerate(encoder.layers):
        weight = layer.weight.view(5, 2, 5).permute(0, 2, 1)
        before = torch.nn.functional.pad(x, (2**k, 0))
        x = x + torch.relu(torch.nn.functional.conv1d(before, weight, layer.bias, dilation=2**k))
    expected = encoder.norm(x[:, :, -1]).detach().numpy()
    assert encoder(window).detach().numpy() == pytest.approx(expected, abs=1e-5)
