"""Parameters that are set in a fitted estimator: what takes effect at once, and what does not."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from skec.estimators.memory import LATER_PARAMETERS
from skec.networks import MLP

OTHER = {
    "hidden_layer_sizes": (8, 8),
    "activation": "tanh",
    "dropout": 0.2,
    "batch_norm": True,
    "pruning_ratio": 0.7,
    "max_loss_increase": 0.02,
    "max_change": None,
    "feature_scaling": "robust",
    "feature_embedding": "periodic",
    "feature_weights": "learned",
    "granularity": "neuron",
    "method": "magnitude",
    "compensation": "none",
    "method_params": {},
    "compensation_params": {},
    "scope": "layer",
    "n_steps": 3,
    "schedule": "linear",
    "output_metric": "identity",
    "n_probes": 1,
    "layers": ["hidden_0"],
    "step_epochs": 1,
    "prune_output_layer": False,
    "calibration_samples": 50,
    "calibration_batch_size": 20,
    "refit_epochs": 1,
    "refit_lr": 0.001,
    "refit_weight_decay": 0.1,
    "refit_strategy": "none",
    "optimizer": torch.optim.SGD,
    "lr": 0.02,
    "lr_schedule": "constant",
    "max_epochs": 2,
    "batch_size": 30,
    "early_stopping": True,
    "validation_fraction": 0.3,
    "n_iter_no_change": 2,
    "tol": 0.1,
    "normalize_y": False,
    "class_weight": "balanced",
    "label_smoothing": 0.1,
    "dtype": "float64",
    "random_state": 5,
    "warm_start": False,
    "memory": None,
    "module": nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)),
    "criterion": nn.L1Loss,
    "iterator_train": torch.utils.data.DataLoader,
    "iterator_valid": torch.utils.data.DataLoader,
    "dataset": "auto",
    "train_split": ValidSplit(4),
    "callbacks": [("rate", LRScheduler(policy="StepLR", step_size=1))],
    "predict_nonlinearity": None,
    "verbose": 0,
    "progress": True,
    "n_threads": 2,
    "device": "cpu",
    "compile": False,
    "use_caching": False,
    "torch_load_kwargs": {"weights_only": True},
    "optimizer__weight_decay": 0.3,
    "module__hidden_layer_sizes": (4,),
    "iterator_train__drop_last": True,
    "iterator_valid__batch_size": 7,
    "callbacks__print_log": None,
}


def other_value(case, name):
    if name == "criterion" and not hasattr(case.make(), "normalize_y"):
        return nn.MultiMarginLoss
    if name == "module":
        n_outputs = 1 if hasattr(case.make(), "normalize_y") else 3
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, n_outputs))
    return OTHER[name]


def names_of(case):
    return [*case.make().get_params(deep=False), *(name for name in OTHER if "__" in name)]


def test_every_parameter_has_another_value_here(case):
    assert set(case.make().get_params(deep=False)) <= set(OTHER)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_the_network_is_kept_and_the_next_fit_takes_the_value(
    case, name, assert_same_weights, count_revived
):
    if name not in names_of(case):
        pytest.skip("no such parameter")
    estimator, value = case.fit(), other_value(case, name)
    raw, weights = estimator.forward(case.X), copy.deepcopy(estimator.module_)
    state = {key: vars(estimator)[key] for key in ("masks_", "sparsity_", "pruning_report_")}
    estimator.set_params(**{name: value})
    assert estimator.get_params(deep=False)[name] is value
    torch.testing.assert_close(estimator.forward(case.X), raw, rtol=0, atol=1e-6)  # other batches
    assert_same_weights(estimator.module_, weights)
    assert all(vars(estimator)[key] is value for key, value in state.items())
    assert len(case.outputs(estimator)) == len(case.X)
    if name not in ("criterion", "iterator_train__drop_last"):
        estimator.refit(case.X, case.y, epochs=1)
        assert count_revived(estimator) == 0
        estimator.prune()
        assert count_revived(estimator) == 0
    again = estimator.fit(case.X, case.y)
    fresh = case.make(**{name: value}).fit(case.X, case.y)
    assert_same_weights(again.module_, fresh.module_)
    assert again.history[:, "phase"] == fresh.history[:, "phase"]


def test_parameters_of_the_loss_and_the_optimiser_take_effect_at_once(regression, count_revived):
    estimator = regression.fit().set_params(
        criterion=nn.HuberLoss, criterion__delta=0.5, optimizer=torch.optim.SGD, lr=0.123
    )
    assert estimator.criterion_.delta == 0.5
    assert type(estimator.optimizer_) is torch.optim.SGD
    assert estimator.optimizer_.param_groups[0]["lr"] == 0.123
    estimator.set_params(optimizer__momentum=0.4)
    assert estimator.optimizer_.param_groups[0]["momentum"] == 0.4
    assert estimator.optimizer__momentum == 0.4
    assert count_revived(estimator.refit(regression.X, regression.y)) == 0


def test_a_rate_that_is_set_keeps_the_moments(case):
    estimator = case.fit()
    moments = copy.deepcopy(estimator.optimizer_.state_dict()["state"])
    assert moments
    estimator.set_params(lr=0.5, optimizer__weight_decay=0.1)
    after = estimator.optimizer_.state_dict()["state"]
    torch.testing.assert_close(after, moments, rtol=0, atol=0)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"pruning_ration": 0.5}, "Invalid parameter 'pruning_ration'"),
        ({"lr": 0.5, "criterion__deltas": 1.0}, "deltas"),
        ({"pruning_ratio": 0.9, "optimizer__momentun": 1.0}, "momentun"),
        ({"pruning_ratio": 0.9, "callbacks__none__such": 1.0}, "none"),
    ],
    ids=["name", "loss", "optimiser", "callback"],
)
def test_a_wrong_parameter_changes_nothing(case, parameters, message):
    estimator = case.fit()
    before = vars(estimator).copy()
    rates = [group["lr"] for group in estimator.optimizer_.param_groups]
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.set_params(**parameters)
    assert vars(estimator) == before
    assert [group["lr"] for group in estimator.optimizer_.param_groups] == rates


def test_an_unfitted_estimator_stays_unfitted(case):
    estimator = case.make().set_params(
        lr=0.5, module=MLP, callbacks__print_log=None, optimizer__weight_decay=0.5
    )
    assert set(vars(estimator)) == set(estimator.get_params(deep=False))


def test_a_value_in_another_precision_is_predicted_in_that_of_the_network(regression):
    estimator = regression.fit()
    expected = regression.outputs(estimator)
    estimator.set_params(dtype="float64")
    np.testing.assert_array_equal(regression.outputs(estimator), expected)
    estimator.partial_fit(regression.X, regression.y)
    assert next(estimator.module_.parameters()).dtype == torch.float32
    assert next(estimator.fit(regression.X, regression.y).module_.parameters()).dtype == (
        torch.float64
    )


@pytest.mark.parametrize("name", sorted(OTHER))
@pytest.mark.filterwarnings("ignore")
def test_a_parameter_belongs_to_the_dense_phase_or_to_later_ones(case, name, tmp_path, dense_fits):
    own = case.make()
    known = {*own.get_params(deep=False), *(n for n in OTHER if "__" in n)}
    if name not in known:
        pytest.skip("a parameter of the other estimator")
    if name == "memory":
        pytest.skip("it is the memory")
    case.fit(memory=tmp_path)
    value = other_value(case, name)
    if value == getattr(own, name, None):
        pytest.skip("no other value is allowed")
    with_memory = case.fit(**{"memory": tmp_path, name: value})
    later = name in LATER_PARAMETERS - {"random_state"}
    assert dense_fits() == (1 if later else 2)
    without = case.fit(**{name: value})
    np.testing.assert_array_equal(case.outputs(with_memory), case.outputs(without))
