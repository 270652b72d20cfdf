"""What a user has is never changed: data, losses, estimators after a failure, rows of a split."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.model_selection import PredefinedSplit
from skorch.dataset import ValidSplit
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor, prune
from skec.networks import weighted_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
Y = X[:, 0] - X[:, 1] ** 2
SMALL = {"hidden_layer_sizes": (10,), "max_epochs": 2, "random_state": 0, "pruning_ratio": 0.5}


def state(estimator):
    return {name: value.clone() for name, value in estimator.network_.state_dict().items()}


def assert_same_state(estimator, before):
    for name, value in state(estimator).items():
        assert torch.equal(value, before[name]), name


# -- losses ------------------------------------------------------------------------------------


class Fragile(nn.MSELoss):
    """A loss that fails if it is asked for single samples."""

    def forward(self, outputs, targets):
        if self.reduction == "none":
            raise RuntimeError("no single samples")
        return super().forward(outputs, targets)


def test_a_loss_that_fails_keeps_its_reduction():
    loss = Fragile()
    with pytest.raises(RuntimeError, match="no single samples"):
        weighted_loss(loss, torch.zeros(3, 1), torch.zeros(3, 1), torch.ones(3))
    assert loss.reduction == "mean"


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_loss_is_never_changed(reduction):
    seen = []

    class Watched(nn.MSELoss):
        def __setattr__(self, name, value):
            if name == "reduction" and getattr(self, "done", False):
                seen.append(id(self))
            super().__setattr__(name, value)

    loss = Watched(reduction=reduction)
    loss.done = True
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    prune(module, X, Y[:, None], method="taylor", pruning_ratio=0.5, loss=loss)
    if reduction != "sum":
        weights = np.ones(len(X))
        prune(
            module, X, Y[:, None], method="taylor", pruning_ratio=0.5, loss=loss,
            sample_weight=weights,
        )  # fmt: skip
    assert id(loss) not in seen
    assert loss.reduction == reduction


# -- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_later_changes_of_the_users_arrays_do_not_matter(dtype):
    x, y, w = X.astype(dtype), Y.copy(), RNG.uniform(0.5, 1.5, len(X)).astype(dtype)
    found, expected = (
        PrunedMLPRegressor(**SMALL, dtype=dtype).fit(x, y, sample_weight=w) for _ in range(2)
    )
    found.prune(x, sample_weight=w, pruning_ratio=0.2)
    expected.prune(x.copy(), sample_weight=w.copy(), pruning_ratio=0.2)
    x[:], y[:], w[:] = 7.0, 7.0, 7.0
    found.prune()
    expected.prune()
    assert_same_state(found, state(expected))


class InPlace(nn.Module):
    """Writes into its input."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(n_features, 8), nn.Linear(8, n_outputs)

    def forward(self, X):
        X.mul_(0.5)
        return self.last(torch.relu(self.first(X)))


class OutOfPlace(InPlace):
    def forward(self, X):
        return self.last(torch.relu(self.first(X * 0.5)))


@pytest.mark.parametrize(
    "settings", [{}, {"batch_size": -1}, {"max_epochs": 5, "early_stopping": True}]
)
def test_a_forward_that_writes_into_its_input_spoils_no_data(settings):
    nets = [
        PrunedMLPRegressor(**(SMALL | {"module": kind} | settings)).fit(X, Y)
        for kind in (InPlace, OutOfPlace)
    ]
    assert_same_state(nets[0], state(nets[1]))
    np.testing.assert_array_equal(nets[0].predict(X), nets[1].predict(X))


# -- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PrunedMLPRegressor, PrunedMLPClassifier])
@pytest.mark.parametrize("other", [{"hidden_layer_sizes": (10, 10)}, {"hidden_layer_sizes": (7,)}])
def test_a_file_that_does_not_fit_changes_nothing(kind, other, tmp_path):
    y = Y if kind is PrunedMLPRegressor else (Y > 0).astype(int)
    net = kind(**SMALL).fit(X, y)
    kind(**(SMALL | other)).fit(X, y).save_params(f_params=tmp_path / "weights.pt")
    before, expected = state(net), net.predict(X)
    with pytest.raises(RuntimeError, match="state_dict"):
        net.load_params(f_params=tmp_path / "weights.pt")
    assert_same_state(net, before)
    np.testing.assert_array_equal(net.predict(X), expected)


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize(
    "labels", [[3, 7, 9], ["ab", "c", "d"], [0.0, 1.0, 5.0], np.array(["x", "yy", "z"], object)]
)
def test_a_file_has_the_class_labels(labels, safetensors, tmp_path):
    y = np.asarray(labels)[np.digitize(Y, [-1.0, 0.0])]
    net = PrunedMLPClassifier(**SMALL).fit(X, y)
    kwargs = {"f_params": tmp_path / "weights", "use_safetensors": safetensors}
    net.save_params(**kwargs)
    new = PrunedMLPClassifier(**SMALL, module__n_features=4, module__n_outputs=3).initialize()
    new.load_params(**kwargs)
    assert new.classes_.dtype == net.classes_.dtype
    np.testing.assert_array_equal(new.classes_, net.classes_)
    np.testing.assert_array_equal(new.predict(X), net.predict(X))


@pytest.mark.parametrize("bad", [{"y_mean_": [0.0, 1.0]}, {"y_scale_": [np.nan]}, {"y_mean_": []}])
def test_a_file_with_a_malformed_scale_changes_nothing(bad, tmp_path):
    net = PrunedMLPRegressor(**SMALL).fit(X, Y)
    other = PrunedMLPRegressor(**SMALL).fit(X, 3 * Y)
    facts = other._target_facts() | bad
    with mock.patch.object(other, "_target_facts", lambda: facts):
        other.save_params(f_params=tmp_path / "weights.pt")
    before, expected = state(net), net.predict(X)
    with pytest.raises(ValueError, match="no valid scale of the targets"):
        net.load_params(f_params=tmp_path / "weights.pt")
    assert_same_state(net, before)
    np.testing.assert_array_equal(net.predict(X), expected)


def test_a_compaction_that_is_interrupted_changes_nothing():
    pruner = ECPruner(PrunedMLPRegressor(**SMALL), pruning_ratio=0.9).fit(X, Y)
    expected, masks = pruner.transform(X), copy.deepcopy(pruner.masks_)
    place = "skec.networks.support.Support.after_compaction"
    with mock.patch(place, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        pruner.compact()
    np.testing.assert_array_equal(pruner.transform(X), expected)
    assert all(torch.equal(pruner.masks_[name], mask) for name, mask in masks.items())
    np.testing.assert_allclose(pruner.compact().transform(X), expected, atol=1e-5)


# -- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_a_split_by_row_numbers_gets_the_rows_as_they_were_given(weighted):
    x = np.round(X[:30], 0)  # with equal rows
    y, seen = np.arange(30.0), []
    x[:, 0] = 0.0
    folds = np.where(np.arange(30) >= 20, 0, -1)
    weights = {"sample_weight": (np.arange(30) % 3 > 0).astype(float)} if weighted else {}

    class Seen(PrunedMLPRegressor):
        def on_train_begin(self, net, X=None, y=None, **kwargs):
            super().on_train_begin(net, X=X, y=y, **kwargs)

        def get_iterator(self, dataset, training=False):
            if not training:
                seen.append(dataset.y.numpy().ravel())
            return super().get_iterator(dataset, training)

    settings = SMALL | {"train_split": ValidSplit(PredefinedSplit(folds)), "refit_strategy": "none"}
    Seen(**settings).fit(x, y, **weights)
    np.testing.assert_allclose(seen[0], np.arange(20.0, 30.0), atol=1e-4)
