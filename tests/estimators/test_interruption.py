"""Ctrl-C, and callbacks that stop a phase."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skec import ECPruner, PrunedMLPRegressor
from skec.networks import MLP

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 4))
Y = X[:, 0] - X[:, 1] ** 2


class Interrupted(MLP):
    """A network whose user presses Ctrl-C in one of its forward passes in training."""

    countdown = 0

    def forward(self, inputs):
        if self.training:
            type(self).countdown -= 1
            if type(self).countdown == 0:
                raise KeyboardInterrupt
        return super().forward(inputs)


def make(**settings):
    defaults = {
        "hidden_layer_sizes": (10,), "max_epochs": 4, "refit_epochs": 4, "random_state": 0,
        "pruning_ratio": 0.5, "early_stopping": False, "batch_size": 50, "n_steps": 2,
    }  # fmt: skip
    return PrunedMLPRegressor(**(defaults | settings))


def interrupted(countdown, **settings):
    Interrupted.countdown = countdown
    return make(module=Interrupted, **settings)


# three batches an epoch, four epochs a phase
@pytest.mark.parametrize(
    ("countdown", "phase", "epoch"), [(1, "dense", 1), (8, "dense", 3), (13, "refit", 1)]
)
def test_a_single_fit_warns_and_keeps_what_is_there(countdown, phase, epoch):
    with pytest.warns(ConvergenceWarning, match=f"in epoch {epoch} of the {phase} phase"):
        net = interrupted(countdown).fit(X, Y)
    assert np.isfinite(net.predict(X)).all()
    phases = [row["phase"] for row in net.history]
    if phase == "dense":
        assert set(phases) == {"dense"}
        assert net.sparsity_ == 0.0
        assert not hasattr(net, "pruning_report_")
        nonzero = sum(int(p.count_nonzero()) for p in net.network_.parameters())
        assert net.n_nonzero_parameters_ == nonzero
        assert net.prune().sparsity_ == 0.5
    else:
        assert phases == ["dense"] * 4 + ["prune", "refit"]
        assert net.sparsity_ == 0.5
    for name, mask in net.masks_.items():
        assert not net.network_.get_submodule(name).weight[~mask].any()
    assert np.isfinite(net.refit(X, Y).score(X, Y))


@pytest.mark.parametrize("countdown", [2, 14])
def test_an_interrupt_stops_a_search(countdown):
    net = interrupted(countdown)
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(net, {"pruning_ratio": [0.25, 0.5]}, cv=2).fit(X, Y)
    Interrupted.countdown = countdown
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(make_pipeline(StandardScaler(), clone(net)), X, Y, cv=2)


def test_an_interrupt_of_the_dense_training_stops_a_pruner():
    pruner = ECPruner(make().set_params(module=Interrupted))
    before = dict(vars(pruner))
    Interrupted.countdown = 5
    with pytest.raises(KeyboardInterrupt):
        pruner.fit(X, Y)
    assert vars(pruner) == before


def test_an_interrupt_in_a_pipeline_ends_the_fit():
    with pytest.warns(ConvergenceWarning, match="interrupted by the user"):
        model = make_pipeline(StandardScaler(), interrupted(2)).fit(X, Y)
    assert np.isfinite(model.predict(X)).all()


class Stop(Callback):
    """Stops each phase after two epochs, as skorch's EarlyStopping does."""

    def on_train_begin(self, net, **kwargs):
        self.epochs_ = 0

    def on_epoch_end(self, net, **kwargs):
        self.epochs_ += 1
        if self.epochs_ == 2:
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_a_callback_ends_its_phase_quietly():
    net = make(callbacks=[Stop()]).fit(X, Y)
    assert [row["phase"] for row in net.history] == ["dense"] * 2 + ["prune"] + ["refit"] * 2
    search = GridSearchCV(make(callbacks=[Stop()]), {"pruning_ratio": [0.25, 0.5]}, cv=2)
    assert search.fit(X, Y).best_estimator_.sparsity_ == pytest.approx(
        search.best_params_["pruning_ratio"], abs=0.01
    )


def test_an_interrupt_in_a_refit_or_partial_fit_keeps_the_masks():
    net = interrupted(0).fit(X, Y)
    for call in (net.refit, net.partial_fit):
        Interrupted.countdown = 5
        with pytest.warns(ConvergenceWarning, match="in epoch 2 of the refit phase"):
            call(X, Y)
        assert net.sparsity_ == 0.5
        for name, mask in net.masks_.items():
            assert not net.network_.get_submodule(name).weight[~mask].any()
        assert torch.isfinite(net.network_.hidden_0.weight).all()
