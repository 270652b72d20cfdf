"""Training that leaves the range of numbers."""

import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

SGD = {"optimizer": torch.optim.SGD, "lr_schedule": "constant"}


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_a_first_epoch_that_diverges_is_an_error(case, slow, every_batch):
    callbacks = [("every", every_batch)] if slow else None
    estimator = case.make(lr=1e10, batch_size=10, callbacks=callbacks, **SGD)
    state = set(vars(estimator))
    with pytest.raises(ValueError, match=r"epoch 1 of the dense phase.*Lower lr.*StandardScaler"):
        estimator.fit(case.X, case.y)
    assert set(vars(estimator)) == state


def test_an_error_leaves_the_fitted_network(case):
    estimator = case.fit(batch_size=10)
    before = case.outputs(estimator)
    estimator.set_params(lr=1e30, lr_schedule="constant")
    with pytest.raises(ValueError, match="Lower lr"):
        estimator.fit(case.X, case.y)
    np.testing.assert_array_equal(case.outputs(estimator), before)


@pytest.mark.parametrize("max_epochs", [1, 2, 5])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_batch_an_epoch_diverges_without_harm(case, optimizer, max_epochs):
    """The loss of an epoch is that of the weights before its only step."""
    settings = {"lr_schedule": "constant", "batch_size": -1, "refit_strategy": "none"}
    estimator = case.make(lr=1e30, max_epochs=max_epochs, optimizer=optimizer, **settings)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            estimator.fit(case.X, case.y)
        except ValueError as error:
            assert re.search(r"(?i)\blower (lr|learning rate)\b", str(error))
            return
    if max_epochs > 1:
        assert any(re.search(r"Lower lr\b", str(warning.message)) for warning in warned)
    assert np.isfinite(case.outputs(estimator)).all()


REFITS = [
    pytest.param({"batch_size": 10, "refit_epochs": 2}, id="many batches"),
    pytest.param({"batch_size": -1, "refit_epochs": 1}, id="one batch, one epoch"),
    pytest.param({"batch_size": -1, "refit_epochs": 2}, id="one batch, two epochs"),
    pytest.param({"batch_size": -1, "refit_epochs": 9, **SGD}, id="one batch, SGD"),
]


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
@pytest.mark.parametrize("settings", REFITS)
def test_a_refit_that_diverges_keeps_the_last_good_weights(
    case, settings, slow, every_batch, count_revived
):
    callbacks = [("every", every_batch)] if slow else None
    settings = {"lr_schedule": "constant"} | settings
    with pytest.warns(ConvergenceWarning, match=r"refit phase.*Lower refit_lr \(now 1e\+30\)"):
        estimator = case.fit(refit_lr=1e30, callbacks=callbacks, **settings)
    assert np.isfinite(case.outputs(estimator)).all()
    assert count_revived(estimator) == 0


def test_a_refit_that_diverges_at_once_leaves_the_pruned_network(case, assert_same_weights):
    with pytest.warns(ConvergenceWarning, match="refit_lr"):
        estimator = case.fit(refit_lr=1e30, batch_size=10, lr_schedule="constant")
    pruned = case.fit(refit_strategy="none", batch_size=10, lr_schedule="constant")
    assert_same_weights(estimator.module_, pruned.module_)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_a_lower_rate_helps_after_a_divergence(case, optimizer):
    settings = {"optimizer": optimizer, "batch_size": 10, "lr_schedule": "constant"}
    settings |= {"optimizer__momentum": 0.9} if optimizer is torch.optim.SGD else {}
    with pytest.warns(ConvergenceWarning, match="refit_lr"):
        estimator = case.fit(refit_lr=1e30, **settings)
    before = case.outputs(estimator)
    estimator.set_params(refit_lr=0.001).refit(case.X, case.y)
    after = case.outputs(estimator)
    assert np.isfinite(after).all()
    assert (after != before).any()


class Explodes(nn.Module):
    """A network whose outputs in training become infinite after some batches."""

    def __init__(self, n_features, n_outputs, after=3):
        super().__init__()
        self.layer, self.left = nn.Linear(n_features, n_outputs), after

    def forward(self, X):
        self.left -= self.training
        return self.layer(X) * (torch.inf if self.training and self.left < 0 else 1.0)


def test_a_later_epoch_that_diverges_is_a_warning(case, weights_of):
    settings = {"module": Explodes, "batch_size": -1, "refit_strategy": "none", **SGD}
    settings |= {"pruning_ratio": 0.0}
    with pytest.warns(ConvergenceWarning, match=r"epoch 4 of the dense phase.*Lower lr"):
        estimator = case.fit(**settings, max_epochs=6)
    assert [row["phase"] for row in estimator.history].count("prune") == 1
    # the fourth loss is that of the weights after three steps; it says nothing good of them
    kept = weights_of(estimator.module_.layer)
    possible = [
        weights_of(case.fit(**settings, max_epochs=epochs).module_.layer) for epochs in (2, 3)
    ]
    assert any(all(torch.equal(kept[name], weights[name]) for name in kept) for weights in possible)
