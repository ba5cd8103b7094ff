import numpy as np
import pytest
import torch
from torch import nn

from archrep.errors import ConfigError
from archrep.predictors.base import standardised
from archrep.predictors.mlp import MlpEnsemble

SMALL = {"members": 2, "layers": 3, "epochs": 4, "batch_size": 16}


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(3, 41, 13, generator=generator) > 0.5).float()
    return x, x[..., 0] + 0.5 * x[..., 1] - x[..., 2] * x[..., 3]


def streams(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def trained_by_torch(x, y, rng, *, members, layers, epochs, batch_size, width=20):
    """The same training with torch's modules, autograd and optimiser, one network at a time."""
    shapes = [(x.shape[1], width), *[(width, width)] * (layers - 1), (width, 1)]
    starts = []
    for fan_in, fan_out in shapes:
        bound = (6 / (fan_in + fan_out)) ** 0.5
        drawn = rng.uniform(-bound, bound, (members, fan_in * fan_out))
        starts.append(drawn.reshape(members, fan_in, fan_out))
    orders = [[rng.permutation(len(x)) for _ in range(members)] for _ in range(epochs)]
    target = standardised(y[None].double())[0][0]
    networks = []
    for member in range(members):
        parts = []
        for start, (fan_in, fan_out) in zip(starts, shapes, strict=True):
            linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
            linear.weight.data.copy_(torch.from_numpy(start[member].T))
            nn.init.zeros_(linear.bias)
            parts += [linear, nn.ReLU()]
        network = nn.Sequential(*parts[:-1])
        adam = torch.optim.Adam(network.parameters(), lr=0.01)
        for epoch in range(epochs):
            for rows in torch.from_numpy(orders[epoch][member]).split(batch_size):
                adam.zero_grad()
                nn.functional.l1_loss(network(x[rows])[:, 0], target[rows]).backward()
                adam.step()
        networks.append(network)
    return networks


def test_training_is_that_of_torch_with_autograd():
    # In float64: errors' signs cancel, and Adam makes whole steps of what rounding leaves.
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(3, 41, 13, generator=generator, dtype=torch.float64)
    y = torch.randn(3, 41, generator=generator, dtype=torch.float64)
    ensemble = MlpEnsemble(**SMALL, dtype=torch.float64).fit(x, y, streams(7, 8, 9))
    networks = trained_by_torch(x[1], y[1], np.random.default_rng(8), **SMALL)
    _, centre, scale = standardised(y[1][None].double())
    with torch.no_grad():
        wanted = torch.stack([network(x[0])[:, 0] for network in networks]).double()
    torch.testing.assert_close(
        ensemble.predict_members(1, x[0]), wanted * scale + centre, atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("company", [[0], [1, 0, 2], [2, 2, 1, 1, 0]])
@pytest.mark.parametrize("count", [10, 41])
def test_a_run_comes_out_the_same_in_any_company(data, company, count):
    x, y = data[0][:, :count], data[1][:, :count]
    alone = MlpEnsemble(epochs=10).fit(x[:1], y[:1], streams(0))
    beside = MlpEnsemble(epochs=10).fit(x[company], y[company], streams(*company))
    place = company.index(0)
    for ours, theirs in zip(alone.predict(data[0][1]), beside.predict(data[0][1]), strict=True):
        assert torch.equal(ours[0], theirs[place])


def test_it_learns_a_simple_function(data):
    x, y = data
    mean, std = MlpEnsemble(layers=3).fit(x, y, streams(0, 1, 2)).predict(x[0])
    assert np.corrcoef(mean[0], y[0])[0, 1] > 0.95
    assert (std > 0).all()


def test_one_network_has_no_spread(data):
    x, y = data
    _, std = MlpEnsemble(members=1, epochs=1).fit(x, y).predict(x[0])
    assert (std == 0).all()


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="must be positive. Got members=0, layers=10"):
        MlpEnsemble(members=0)
