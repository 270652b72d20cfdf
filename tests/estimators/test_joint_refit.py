"""Several pruned networks that are fine-tuned as one."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit
from torch import nn

from skec.estimators import joint_refit
from skec.estimators.joint_refit import can_be_stacked, refit_together

CANDIDATES = [("ec", 0.3), ("magnitude", 0.6), ("lamp", 0.9)]
FEATURES = {
    "feature_scaling": "auto",
    "feature_embedding": "auto",
    "feature_weights": "auto",
}


def pruned(case, **settings):
    """Copies of one dense estimator, pruned in different ways."""
    neurons = settings.pop("neurons", False)
    dense = case.fit(**({"dtype": "float64", "refit_strategy": "none"} | settings))
    vars(dense)["refit_strategy"] = settings.get("refit_strategy", "finetune")
    methods = [("ec", 0.2), ("l2", 0.6)] if neurons else CANDIDATES
    granularity = "neuron" if neurons else "weight"
    return [
        dense.prune(method=method, pruning_ratio=ratio, granularity=granularity, copy=True)
        for method, ratio in methods
    ]


@pytest.fixture
def stacks(monkeypatch):
    """The sizes of the stacks that are made."""
    sizes = []

    def counted(networks):
        sizes.append(len(networks))
        return original(networks)

    original = joint_refit.stacked
    monkeypatch.setattr(joint_refit, "stacked", counted)
    return sizes


@pytest.mark.parametrize(
    "settings",
    [
        {},
        FEATURES,
        {"dropout": 0.3},
        {"hidden_layer_sizes": (8, 6), "activation": "relu"},
        {"module__bias": False, "compensation": "none"},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
        {"lr_schedule": "multicycle", "batch_size": 32, "refit_epochs": 5},
        {"early_stopping": "auto", "refit_weight_decay": "auto"},
        {"batch_size": -1},
        {"neurons": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_each_network_ends_as_after_its_own_refit(case, settings, weighted, stacks):
    nets = pruned(case, **settings)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(case.X)) if weighted else None
    alone = copy.deepcopy(nets)
    refit_together(nets, (case.X, case.y, weights), {})
    assert stacks == [len(nets)]
    for net, single in zip(nets, alone, strict=True):
        before = case.outputs(single)
        single.refit(case.X, case.y, weights)
        assert not np.allclose(before, case.outputs(single), rtol=1e-6)
        np.testing.assert_allclose(case.outputs(net), case.outputs(single), rtol=1e-8)
        for name, mask in net.masks_.items():
            assert not net.network_.get_submodule(name).weight[~mask].any()


class Own(nn.Sequential):
    def __init__(self, n_features, n_outputs):
        super().__init__(nn.Linear(n_features, 8), nn.LayerNorm(8), nn.Linear(8, n_outputs))


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_norm": True},
        {"refit_strategy": "rewind"},
        {"n_iter_no_change": 2},
        {"early_stopping": True},
        {"train_split": ValidSplit(3)},
        {"callbacks": [EpochScoring("neg_mean_squared_error", name="score")]},
        {"optimizer": torch.optim.RMSprop},
        {"iterator_train": torch.utils.data.DataLoader},
        {"module": Own},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_other_estimators_are_fine_tuned_alone(regression, settings, stacks):
    dense = regression.fit(dtype="float64", pruning_ratio=0.0, **settings)
    nets = [dense.prune(pruning_ratio=ratio, copy=True) for ratio in (0.3, 0.6)]
    assert not can_be_stacked(nets[0])
    alone = [copy.deepcopy(net).refit(regression.X, regression.y) for net in nets]
    refit_together(nets, (regression.X, regression.y, None), {})
    assert not stacks
    for net, single in zip(nets, alone, strict=True):
        np.testing.assert_array_equal(regression.outputs(net), regression.outputs(single))


def test_networks_with_different_biases_are_fine_tuned_alone(case, stacks):
    nets = pruned(case, module__bias=False)  # the compensation of "ec" adds biases
    alone = [copy.deepcopy(net).refit(case.X, case.y) for net in nets]
    refit_together(nets, (case.X, case.y, None), {})
    assert not stacks
    for net, single in zip(nets, alone, strict=True):
        np.testing.assert_array_equal(case.outputs(net), case.outputs(single))


@pytest.mark.filterwarnings("ignore")
def test_one_network_that_diverges_does_not_disturb_the_others(regression, stacks):
    nets = pruned(regression)
    with torch.no_grad():
        for parameter in nets[1].network_.parameters():
            parameter.mul_(1e160)
    alone = [copy.deepcopy(net).refit(regression.X, regression.y) for net in nets]
    refit_together(nets, (regression.X, regression.y, None), {})
    assert stacks == [3]
    for net, single in zip(nets, alone, strict=True):
        np.testing.assert_array_equal(regression.outputs(net), regression.outputs(single))


def test_the_check_changes_nothing(case):
    net = pruned(case)[0]
    assert can_be_stacked(net)
    assert all(parameter.grad is None for parameter in net.network_.parameters())
