"""Removed weights are exactly zero at every moment after the pruning."""

import copy
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    "Adam": {"weight_decay": 0.1, "amsgrad": True},
    "AdamW": {"weight_decay": 0.1},
    "RMSprop": {"momentum": 0.9, "centered": True, "weight_decay": 0.1},
    "Adagrad": {"weight_decay": 0.1},
    "Adadelta": {"weight_decay": 0.1},
    "Adamax": {"weight_decay": 0.1},
    "NAdam": {"weight_decay": 0.1},
    "RAdam": {"weight_decay": 0.1},
    "Rprop": {},
    "ASGD": {"weight_decay": 0.1},
    "LBFGS": {"max_iter": 3, "history_size": 5},
    "Adafactor": {"weight_decay": 0.1},
    "Muon": {"momentum": 0.9, "weight_decay": 0.1},
}
for missing in [name for name in OPTIMIZERS if not hasattr(torch.optim, name)]:
    del OPTIMIZERS[missing]  # added by later versions of torch


def settings_of(name):
    settings = {f"optimizer__{key}": value for key, value in OPTIMIZERS[name].items()}
    if name == "Muon":  # takes matrices alone, so there are no biases
        settings |= {"module__bias": False, "compensation": "none"}
    settings |= {"scope": "layer"}  # which leaves no row or column whole
    return settings | {"optimizer": getattr(torch.optim, name)}


class Revived(Callback):
    """Counts the removed weights that are not zero after each epoch or batch."""

    def __init__(self, count):
        self.count, self.seen = count, []

    def look(self, net):
        if net.history[-1]["phase"] == "refit":
            self.seen.append(self.count(net))


class RevivedAfterEpoch(Revived):
    def on_epoch_end(self, net, **kwargs):
        self.look(net)


class RevivedAfterBatch(Revived):
    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        if training:
            self.look(net)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("watch, times", [(RevivedAfterEpoch, 2), (RevivedAfterBatch, 6)])
def test_no_optimizer_revives_a_weight(regression, optimizer, watch, times, count_revived):
    watched = watch(count_revived)
    estimator = regression.fit(callbacks=[("watched", watched)], **settings_of(optimizer))
    assert watched.seen == [0] * times
    assert type(estimator.optimizer_).__name__ == optimizer
    start = regression.fit(refit_epochs=0, **settings_of(optimizer))
    mask = estimator.masks_["hidden_0"]
    moved = estimator.module_.hidden_0.weight != start.module_.hidden_0.weight
    assert moved[mask].any(), "the optimizer trains nothing"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_weight_that_is_gone_has_no_influence(regression, optimizer, count_revived):
    """Momentum from before the pruning, or from elsewhere, would show later."""
    estimator = regression.fit(**settings_of(optimizer))
    estimator.prune(pruning_ratio=0.8).refit(regression.X, regression.y)
    estimator.partial_fit(regression.X, regression.y)
    assert count_revived(estimator) == 0
    assert sum(int((~mask).sum()) for mask in estimator.masks_.values()) == round(0.8 * 96)


class Times(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight):
        return weight * self.mask


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
@pytest.mark.parametrize(
    "optimizer, parameters",
    [
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.Adam, {}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.LBFGS, {"max_iter": 4}),
    ],
)
def test_the_refit_is_training_of_what_is_left(
    regression, optimizer, parameters, slow, every_batch
):
    """The same steps, taken by torch alone on weights that are multiplied by their masks."""
    settings = {f"optimizer__{name}": value for name, value in parameters.items()}
    settings |= {"optimizer": optimizer, "dtype": "float64", "batch_size": -1}
    settings |= {"lr_schedule": "constant", "refit_lr": 0.02}
    refitted = regression.fit(
        refit_epochs=5, callbacks=[("every", every_batch)] if slow else None, **settings
    )
    network = regression.fit(refit_strategy="none", **settings).module_
    for name, mask in refitted.masks_.items():
        layer = network.get_submodule(name)
        nn.utils.parametrize.register_parametrization(layer, "weight", Times(mask))
    mean, scale = regression.y.mean(), regression.y.std()
    X, y = torch.from_numpy(regression.X), torch.from_numpy((regression.y - mean) / scale)
    steps = optimizer(network.parameters(), lr=0.02, **parameters)

    def loss():
        steps.zero_grad()
        value = nn.functional.mse_loss(network(X)[:, 0], y)
        value.backward()
        return value

    for _ in range(5):
        steps.step(loss)
    expected = network(X)[:, 0].detach().numpy() * scale + mean
    np.testing.assert_allclose(refitted.predict(regression.X), expected, rtol=1e-8)


CHANGES = {
    "partial_fit": lambda estimator, X, y: estimator.partial_fit(X, y),
    "refit": lambda estimator, X, y: estimator.refit(X, y),
    "fit_loop": lambda estimator, X, y: estimator.fit_loop(X, y, epochs=2),
    "weights": lambda estimator, X, y: estimator.refit(X, y, np.arange(len(X)) % 3),
    "pickle": lambda estimator, X, y: pickle.loads(pickle.dumps(estimator)).partial_fit(X, y),
    "deepcopy": lambda estimator, X, y: copy.deepcopy(estimator).partial_fit(X, y),
    "lr": lambda estimator, X, y: estimator.set_params(lr=0.1).partial_fit(X, y),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "parameters",
    [{"n_steps": 2}, {"iterator_train": DataLoader, "batch_norm": True, "dropout": 0.3}],
    ids=str,
)
def test_further_training_respects_the_masks(case, change, parameters, count_revived):
    estimator = case.fit(**parameters)
    before = copy.deepcopy(estimator.module_)
    after = CHANGES[change](estimator, case.X, case.y)
    assert count_revived(after) == 0
    assert not torch.equal(before.hidden_0.weight, after.module_.hidden_0.weight)
    assert after.n_nonzero_parameters_ <= after.n_parameters_ - sum(
        int((~mask).sum()) for mask in after.masks_.values()
    )


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_trains_on_like_the_original(case, copied, assert_same_weights):
    original = case.fit()
    twin = copied(original)
    twin = pickle.loads(twin) if isinstance(twin, bytes) else twin
    np.testing.assert_array_equal(case.outputs(twin), case.outputs(original))
    original.partial_fit(case.X, case.y)
    twin.partial_fit(case.X, case.y)
    assert_same_weights(twin.module_, original.module_)


@pytest.mark.parametrize(
    "callback", [EarlyStopping, Checkpoint], ids=["EarlyStopping", "Checkpoint"]
)
@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_a_callback_that_loads_weights_revives_none(case, callback, tmp_path, count_revived):
    # the dense network is better than the pruned one, and both callbacks want the best
    if callback is Checkpoint:
        best = Checkpoint(monitor="train_loss_best", load_best=True, dirname=tmp_path)
    else:
        best = EarlyStopping(monitor="train_loss", load_best=True, patience=100)
    settings = {"pruning_ratio": 0.9, "refit_epochs": 1, "scope": "layer"}
    estimator = case.fit(callbacks=[("best", best)], **settings)
    assert count_revived(estimator) == 0
    arrays = [parameter.detach().numpy() for parameter in estimator.module_.parameters()]
    assert estimator.n_nonzero_parameters_ == sum(np.count_nonzero(array) for array in arrays)


def test_the_dense_network_is_left_alone(case, assert_same_weights):
    estimator = case.fit()
    dense = case.fit(pruning_ratio=0.0).module_
    assert_same_weights(estimator.dense_module_, dense)
    estimator.refit(case.X, case.y).partial_fit(case.X, case.y).prune(pruning_ratio=0.8)
    assert_same_weights(estimator.dense_module_, dense)


def test_a_mask_marks_what_the_network_lost(case):
    estimator = case.fit(refit_strategy="none")
    for name, mask in estimator.masks_.items():
        weight = estimator.module_.get_submodule(name).weight
        assert mask.dtype == torch.bool
        assert mask.shape == weight.shape
        assert torch.equal(weight != 0, mask)


# -- the fast and the slow path -------------------------------------------------------------------


class Skip(nn.Module):
    """A network that is no chain of layers."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features, 8)
        self.direct = nn.Linear(n_features, n_outputs)
        self.output = nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.output(torch.tanh(self.hidden(X))) + self.direct(X)


PATHS = [
    {},
    {"dtype": "float64"},
    {"batch_size": -1},
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": (8, 8), "activation": "gelu"},
    {"activation": "elu", "lr_schedule": "cosine"},
    {"activation": "leaky_relu", "lr_schedule": "constant"},
    {"activation": "tanh", "refit_lr": 0.002},
    {"activation": "logistic", "refit_strategy": "rewind"},
    {"activation": "relu", "method": "taylor"},
    {"activation": "identity", "module__bias": False},
    {"batch_norm": True},
    {"batch_norm": True, "batch_size": 17},  # a last batch of one sample
    {"early_stopping": True, "n_iter_no_change": 2},
    {"iterator_train__drop_last": True},
    {"iterator_train__shuffle": False, "iterator_train__batch_size": 40},
    {"module": Skip},
    {"module": nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.Mish(), nn.Linear(4, 3)))},
    {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    {"optimizer": torch.optim.Adam, "optimizer__amsgrad": True},
    {"optimizer": torch.optim.Adam, "optimizer__weight_decay": 0.1},
    {"optimizer": torch.optim.AdamW, "optimizer__foreach": True},
    {"optimizer": torch.optim.RMSprop},
    {"optimizer__param_groups": [("output*", {"lr": 0.1})]},
]
# Sums in another order: without float64, Adam would blow up the rounding.
WEIGHTED = [{"dtype": "float64"} | parameters for parameters in PATHS[::4]]


@pytest.mark.parametrize(
    "parameters, weighted",
    [(parameters, False) for parameters in PATHS] + [(parameters, True) for parameters in WEIGHTED],
    ids=str,
)
def test_both_paths_give_the_same_weights(
    case, parameters, weighted, every_batch, assert_same_weights
):
    X, y = case.X, case.y
    if isinstance(parameters.get("module"), nn.Module) and y.dtype.kind == "f":
        y = np.column_stack([y, -y, y**2])
    weights = np.random.default_rng(0).random(len(X)) if weighted else None
    parameters = {"dtype": "float64"} | parameters  # rounding would grow from step to step
    fast = case.make(**parameters).fit(X, y, weights)
    slow = case.make(callbacks=[("every", every_batch)], **parameters).fit(X, y, weights)
    batches = [len(row["batches"]) for row in slow.history if row["phase"] != "prune"]
    assert min(batches) > 1 or parameters.get("batch_size") == -1, "the slow path was not taken"
    assert_same_weights(fast.module_, slow.module_, atol=1e-6)
    for name in ("epoch", "phase", "train_loss", "valid_loss", "train_batch_count"):
        rows = [[row.get(name) for row in estimator.history] for estimator in (fast, slow)]
        for ours, theirs in zip(*rows, strict=True):
            assert ours == (
                pytest.approx(theirs, rel=1e-5) if isinstance(theirs, float) else theirs
            )
