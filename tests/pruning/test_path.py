"""The pruning path: every ratio is that of ``prune``, and the losses are those of its networks."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import skec
from skec import PruningWarning
from skec.compensation import COMPENSATIONS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA
from skec.pruning import RatioPruner, resolve

RATIOS = [0.0, 0.3, 0.8, 0.5]
RESULTS = ["pruning_ratios", "sparsities", "n_weights", "predicted_errors", "losses"]

DEFAULTS = {
    "granularity": "weight",
    "compensation": "auto",
    "method_params": None,
    "compensation_params": None,
    "scope": "auto",
    "n_steps": "auto",
    "schedule": "geometric",
    "output_metric": "auto",
    "n_probes": "auto",
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 8), nn.SiLU(), nn.Linear(8, 3)
    ).double()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 4)), rng.normal(size=(50, 3))


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.mean, self.spread = nn.Linear(4, 6), nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, x):
        h = torch.tanh(self.trunk(x))
        return self.mean(h), self.spread(h)


class OfHeads(nn.Module):
    def forward(self, outputs, y):
        mean, spread = outputs
        return ((mean - y[:, None]) ** 2 + 0.5 * spread**2).mean()


def settings_of_all_methods():
    """Each method with its own compensation, and each compensation with a method."""
    weights = [{"method": name} for name in CRITERIA]
    weights += [{"method": "ec", "compensation": name} for name in COMPENSATIONS]
    units = [{"method": name} for name in UNIT_CRITERIA]
    units += [{"method": "ec", "compensation": name} for name in UNIT_COMPENSATIONS]
    every = weights + [{"granularity": "neuron"} | unit for unit in units]
    every += [{"method": "ec", "n_probes": 2}, {"method": "random", "n_steps": 3}]
    every += [{"granularity": "neuron", "method": "ec", "n_probes": 2, "n_steps": 2}]
    every += [{"method": "ec", "scope": scope} for scope in ("layer", "row", "lamp")]
    return [{"n_steps": 2} | each for each in every] + [{"method": "magnitude"}, {"method": "ec"}]


def name_of(settings):
    return "-".join(map(str, settings.values()))


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("settings", settings_of_all_methods(), ids=name_of)
def test_every_ratio_is_that_of_prune_to_the_last_bit(network, data, settings):
    X, y = data
    path = skec.pruning_path(network, X, y, pruning_ratios=RATIOS, random_state=3, **settings)
    for i, ratio in enumerate(RATIOS):
        alone = skec.prune(network, X, y, pruning_ratio=ratio, random_state=3, **settings)
        assert path.pruning_ratios[i] == ratio
        assert path.sparsities[i] == alone.sparsity
        assert path.n_weights[i] == sum(int(mask.sum()) for mask in alone.masks.values())
        predicted = np.nan if alone.predicted_error is None else alone.predicted_error
        np.testing.assert_array_equal(path.predicted_errors[i], predicted)
        with torch.no_grad():
            outputs = alone.module(torch.from_numpy(X)).numpy()
        assert path.losses[i] == pytest.approx(np.mean((outputs - y) ** 2), rel=1e-12)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("settings", settings_of_all_methods(), ids=name_of)
def test_the_networks_of_a_path_are_those_of_prune(network, data, settings, assert_equal_networks):
    X, y = data
    request = resolve(
        network, X, y, None, pruning_ratio=0.5, loss=None, layers=None, batch_size=512,
        random_state=3, **(DEFAULTS | settings),
    )  # fmt: skip
    pruner = RatioPruner(request, network)
    for ratio in (*RATIOS, RATIOS[1]):
        one = pruner.prune(ratio)
        alone = skec.prune(network, X, y, pruning_ratio=ratio, random_state=3, **settings)
        assert_equal_networks(one.module, alone.module)
        assert list(one.masks) == list(alone.masks)
        assert all(torch.equal(mask, alone.masks[name]) for name, mask in one.masks.items())
        assert all(torch.equal(score, alone.scores[name]) for name, score in one.scores.items())
        assert (one.probe_error, one.n_steps) == (alone.probe_error, alone.n_steps)


@pytest.fixture
def assert_equal_networks():
    def assert_equal_networks(a, b):
        assert [name for name, _ in a.named_modules()] == [name for name, _ in b.named_modules()]
        assert [part.training for part in a.modules()] == [part.training for part in b.modules()]
        a, b = a.state_dict(), b.state_dict()
        assert list(a) == list(b)
        assert all(torch.equal(value, b[name]) for name, value in a.items())

    return assert_equal_networks


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 512])
def test_the_dense_loss_is_that_of_the_given_network(network, data, batch_size):
    X, y = data
    path = skec.pruning_path(network, X, y, pruning_ratios=[0.0], batch_size=batch_size)
    with torch.no_grad():
        expected = np.mean((network(torch.from_numpy(X)).numpy() - y) ** 2)
    assert path.dense_loss == pytest.approx(expected, rel=1e-12)
    assert path.losses[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batch_size", [7, 512])
def test_sample_weights_weight_the_losses(network, data, batch_size):
    X, y = data
    weight = np.random.default_rng(1).uniform(0.0, 3.0, len(X))
    path = skec.pruning_path(
        network, X, y, pruning_ratios=[0.5], sample_weight=weight, batch_size=batch_size
    )
    alone = skec.prune(network, X, pruning_ratio=0.5, sample_weight=weight, batch_size=batch_size)
    with torch.no_grad():
        rows = np.mean((alone.module(torch.from_numpy(X)).numpy() - y) ** 2, axis=1)
    assert path.losses[0] == pytest.approx(np.average(rows, weights=weight), rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("batch_size", [7, 512])
def test_the_loss_may_have_any_reduction(network, data, reduction, batch_size):
    X, _ = data
    labels = np.random.default_rng(2).integers(0, 3, len(X))
    loss = nn.CrossEntropyLoss(reduction=reduction)
    path = skec.pruning_path(
        network, X, labels, pruning_ratios=[0.6], loss=loss, batch_size=batch_size
    )
    alone = skec.prune(network, X, pruning_ratio=0.6, loss=loss, batch_size=batch_size)
    with torch.no_grad():
        logits = alone.module(torch.from_numpy(X)).numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -np.mean(logs[np.arange(len(X)), labels])
    assert path.losses[0] == pytest.approx(expected, rel=1e-10)


def test_the_loss_follows_the_targets(network, data):
    X, _ = data
    labels = np.random.default_rng(2).integers(0, 3, len(X))
    path = skec.pruning_path(network, X, labels, pruning_ratios=[0.0])
    with torch.no_grad():
        expected = nn.functional.cross_entropy(
            network(torch.from_numpy(X)), torch.from_numpy(labels)
        )
    assert path.dense_loss == pytest.approx(float(expected), rel=1e-12)


def test_networks_with_several_heads_need_their_own_loss(data):
    torch.manual_seed(0)
    network, (X, y) = Heads().double(), data
    path = skec.pruning_path(network, X, y[:, 0], pruning_ratios=[0.0, 0.5], loss=OfHeads())
    with torch.no_grad():
        mean, spread = (part.numpy()[:, 0] for part in network(torch.from_numpy(X)))
    expected = np.mean((mean - y[:, 0]) ** 2 + 0.5 * spread**2)
    assert path.dense_loss == pytest.approx(expected, rel=1e-12)
    assert path.losses[0] == path.dense_loss
    with pytest.raises(ValueError, match="loss=None compares one tensor"):
        skec.pruning_path(network, X, y[:, 0])


def test_the_network_is_measured_without_dropout(data):
    torch.manual_seed(0)
    X, y = data
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)).double()
    assert network.training
    path = skec.pruning_path(network, X, y, pruning_ratios=[0.0, 0.5])
    alone = skec.prune(network, X, pruning_ratio=0.5)
    for loss, module in [(path.dense_loss, network), (path.losses[1], alone.module)]:
        with torch.no_grad():
            outputs = copy.deepcopy(module).eval()(torch.from_numpy(X)).numpy()
        assert loss == pytest.approx(np.mean((outputs - y) ** 2), rel=1e-12)


@pytest.mark.parametrize("settings", [{"method": "ec"}, {"method": "magnitude"}], ids=name_of)
def test_without_targets_there_is_no_loss(network, data, settings):
    X, y = data
    path = skec.pruning_path(network, X, pruning_ratios=RATIOS, **settings)
    with_losses = skec.pruning_path(network, X, y, pruning_ratios=RATIOS, **settings)
    assert np.isnan(path.dense_loss)
    assert np.isnan(path.losses).all()
    assert np.isfinite(with_losses.losses).all()
    for name in RESULTS[:-1]:
        np.testing.assert_array_equal(path[name], with_losses[name])


def test_methods_without_data_need_none(network):
    path = skec.pruning_path(network, method="magnitude", pruning_ratios=[0.25, 0.75])
    assert list(path.sparsities) == pytest.approx([0.25, 0.75], abs=0.01)
    assert np.isnan(path.losses).all()


# -- the form of the result ------------------------------------------------------------------------


def test_the_default_is_an_increasing_grid(network, data):
    path = skec.pruning_path(network, *data)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98]
    assert path.pruning_ratios.tolist() == expected
    assert (np.diff(path.n_weights) < 0).all()
    assert set(path) == {*RESULTS, "dense_loss"}
    for name in RESULTS:
        assert isinstance(path[name], np.ndarray)
        assert path[name].shape == (12,)
        assert path[name].dtype == (np.int64 if name == "n_weights" else np.float64)
    assert isinstance(path.dense_loss, float)


def test_nothing_is_changed(network, data):
    X, y = (torch.from_numpy(values) for values in data)
    network.train()
    network[2].eval()
    before = copy.deepcopy(network)
    modes = [part.training for part in network.modules()]
    copies = X.clone(), y.clone()
    numbers, torchs = str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    skec.pruning_path(network, X, y, method="random", n_steps=2, random_state=0)
    assert all(torch.equal(a, b) for a, b in zip((X, y), copies, strict=True))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before.state_dict()[name])
    assert [part.training for part in network.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert torch.equal(torch.get_rng_state(), torchs)
    assert str(np.random.get_state()) == numbers  # noqa: NPY002


def test_all_ratios_share_one_seed(network):
    X = np.random.default_rng(0).normal(size=(20, 4))
    state = np.random.RandomState(5)
    path = skec.pruning_path(
        network, X, network(torch.from_numpy(X)).detach(), method="random",
        pruning_ratios=[0.5, 0.5], random_state=state,
    )  # fmt: skip
    assert path.losses[0] == path.losses[1]
    once = np.random.RandomState(5)
    once.randint(np.iinfo(np.int32).max)
    assert state.randint(1000) == once.randint(1000)


def test_training_between_the_steps_is_possible(network, data):
    X, y = data
    calls = []

    def double_the_bias(module, masks):
        calls.append(sum(int(mask.sum()) for mask in masks.values()))
        with torch.no_grad():
            module[0].bias.mul_(2.0)

    given = {"n_steps": 2, "after_step": double_the_bias}
    path = skec.pruning_path(network, X, y, pruning_ratios=[0.2, 0.7], **given)
    assert len(calls) == 2
    for ratio, loss in zip([0.2, 0.7], path.losses, strict=True):
        alone = skec.prune(network, X, y, pruning_ratio=ratio, **given)
        with torch.no_grad():
            outputs = alone.module(torch.from_numpy(X)).numpy()
        assert loss == pytest.approx(np.mean((outputs - y) ** 2), rel=1e-12)


def test_a_path_does_not_warn_of_cuts(network, data):
    with pytest.warns(PruningWarning):
        skec.prune(network, data[0], pruning_ratio=0.98)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        skec.pruning_path(network, *data, pruning_ratios=[0.98])


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ratios, message",
    [
        ([], r"pruning_ratios must be a list of at least one ratio.*got \[\]"),
        (0.5, r"pruning_ratios must be a list.*got 0\.5"),
        ([[0.5]], "pruning_ratios must be a list"),
        ([0.5, 1.0], r"pruning_ratios must be.*in \[0, 1\); got 1\.0"),
        ([-0.1], r"got -0\.1"),
        ([np.nan], "got nan"),
        ([True], "got True"),
        (["a"], "got 'a'"),
        ("auto", "got 'auto'"),
    ],
)
def test_wrong_ratios_are_named(network, data, ratios, message):
    with pytest.raises(ValueError, match=message):
        skec.pruning_path(network, *data, pruning_ratios=ratios)


@pytest.mark.parametrize(
    "settings", [{"scope": "2:4"}, {"scope": {"0": 0.5}},
                 {"scope": {"0": 0.5}, "granularity": "neuron"}],
)  # fmt: skip
def test_a_scope_with_its_own_ratios_has_no_path(network, data, settings):
    with pytest.raises(ValueError, match=r"scope=\w+ replaces the ratio.*Use a scope"):
        skec.pruning_path(network, *data, **settings)


def test_targets_that_do_not_fit_are_named_before_the_scores(network, data, monkeypatch):
    def scored(*args):
        raise AssertionError("the network was scored")

    monkeypatch.setattr("skec.pruning.path.score_dense", scored)
    for n_columns in (1, 2):
        match = rf"loss=MSELoss does not take.*shape \(50, {n_columns}\).*\(50, 3\)\. Pass"
        with pytest.raises(ValueError, match=match):
            skec.pruning_path(network, data[0], data[1][:, :n_columns])
    with pytest.raises(ValueError, match=r"loss=CrossEntropyLoss does not take"):
        skec.pruning_path(network, data[0], np.full(50, 7))
    with pytest.raises(ValueError, match="sample_weight needs a criterion with reduction"):
        loss = nn.MSELoss(reduction="sum")
        skec.pruning_path(network, *data, loss=loss, sample_weight=np.ones(50))
