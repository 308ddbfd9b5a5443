"""What a retailer trains at home: its own parameters, its own network, and the steps it makes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from builders.networks import NETWORK, make_windows
from grandtotal.algorithms.local_optimizers import Adam, Descent, RowAdam
from grandtotal.algorithms.networks import stays
from grandtotal.algorithms.neural_at_home import AtHome
from grandtotal.algorithms.neural_local import Loaded, LocalTraining, Trainer, device, initial
from grandtotal.errors import PlanError

WEIGHTS = initial(NETWORK, 3)
# Where the last layer is still 0, nothing before it has a gradient.
LATER = {**WEIGHTS, "last.weight": np.full_like(WEIGHTS["last.weight"], 0.3)}
HOME = AtHome({"batch": 16, "rate": 1e-2, "epochs": 3})


@pytest.fixture
def rows():
    return {"test": make_windows(np.random.default_rng(4), 6)}


def arrays(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def test_only_what_stays_at_a_retailer_is_found_again(rows):
    found = arrays(HOME.fitted(NETWORK, LATER, rows, "test"))
    for name, array in found.items():
        if stays(NETWORK, name):
            assert array.shape[0] == 6
            assert np.any(array)
        else:
            assert np.array_equal(array, LATER[name])


def test_a_network_without_local_parameters_is_the_shared_one(rows):
    plain = replace(NETWORK, embedding=0)
    weights = initial(plain, 3)
    found = arrays(HOME.fitted(plain, weights, rows, "test"))
    assert all(np.array_equal(found[name], array) for name, array in weights.items())


def test_a_network_that_goes_on_learning_is_kept_where_it_was_better(rows):
    # Weights as they were drawn forecast the mean: going on to learn the planted days is better.
    assert HOME.better_whole(NETWORK, WEIGHTS, rows, "test")
    learned = HOME.fitted(NETWORK, WEIGHTS, rows, "test", whole=True)
    assert not np.array_equal(arrays(learned)["last.weight"], WEIGHTS["last.weight"])


def test_a_network_that_got_worse_at_home_is_not_kept(rows):
    # Steps of 5 a weight: nothing is left of what was learned.
    assert not replace(HOME, slower=500.0).better_whole(NETWORK, WEIGHTS, rows, "test")


def gradient(rows, values):
    indices = torch.tensor([rows])
    return torch.sparse_coo_tensor(indices, torch.tensor(values), (4, 2), check_invariants=True)


def adam(x, gradients, rate, decay=0.0):
    """Returns where Adam with decoupled decay arrives, as it is published."""
    first, second = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        x = x - rate * decay * x
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        m, v = first / (1 - 0.9**t), second / (1 - 0.999**t)
        x = x - rate * m / (np.sqrt(v) + 1e-8)
    return x


def test_a_vector_moves_as_published():
    vector = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    step, gradients = Adam(vector, 0.1, 0.01), np.random.default_rng(2).normal(size=(3, 7))
    expected = adam(np.linspace(-1, 1, 7), gradients, 0.1, 0.01)
    for each in gradients:
        vector.grad = torch.tensor(each, dtype=torch.float32)
        step.step()
    assert vector.detach().numpy() == pytest.approx(expected, rel=1e-4)


def test_rows_of_a_table_move_as_published_and_others_stay():
    table = torch.nn.Parameter(torch.ones(4, 2))
    step = RowAdam(table, 0.1)
    for values in ([[1.0, -2.0], [0.5, 1.0]], [[3.0, 0.5], [0.25, -4.0]]):
        # Both rows of a batch are the same row of the table.
        table.grad = gradient([2, 2], values)
        step.step()
    expected = adam(np.ones(2), np.array([[1.5, -1.0], [3.25, -3.5]]), 0.1)
    assert table[2].detach().numpy() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(table[[0, 1, 3]], torch.ones(3, 2))


def test_plain_steps_decay_and_take_the_gradient_of_few_rows():
    vector = torch.nn.Parameter(torch.ones(2))
    vector.grad = torch.tensor([1.0, 0.0])
    Descent(vector, 0.1, decay=1.0).step()
    assert vector.tolist() == pytest.approx([0.8, 0.9])
    table = torch.nn.Parameter(torch.zeros(4, 2))
    table.grad = gradient([1], [[1.0, 2.0]])
    Descent(table, 0.5).step()
    assert table.tolist() == [[0, 0], [-0.5, -1], [0, 0], [0, 0]]


def test_nothing_to_learn_from_changes_nothing(rows):
    none = replace(rows["test"], training=rows["test"].training[:0])
    module = HOME.fitted(NETWORK, WEIGHTS, {"test": none}, "test", whole=True)
    trainer = Trainer(NETWORK, module, LocalTraining())
    outcome = trainer.train(Loaded.of(NETWORK.examples({"test": none}, "test", False)), None, 1)
    assert not any(np.any(array) for array in outcome.update.values())
    assert (outcome.loss, outcome.steps) == (0.0, 0)


def test_a_gpu_that_is_not_there_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("GRANDTOTAL_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PlanError, match="GRANDTOTAL_DEVICE = 'cuda', but torch finds no GPU"):
        device()
