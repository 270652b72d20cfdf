"""Subclasses of the estimators, as users of skorch write them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.exceptions import SkorchAttributeError
from torch import nn

from skec import PrunedMLPClassifier, PrunedMLPRegressor


def subclass(case, **members):
    return type("Own", (case.kind,), members)


def make(kind, case, **parameters):
    return kind(**(case.make().get_params(deep=False) | parameters))


# -- parameters -----------------------------------------------------------------------------------


def with_own_parameter(case):
    class Own(case.kind):
        def __init__(self, *args, factor=1.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.factor = factor

        def get_loss(self, y_pred, y_true, X=None, training=False):
            return self.factor * super().get_loss(y_pred, y_true, X, training)

    return Own


def test_a_subclass_may_add_parameters(case, assert_same_weights):
    own = make(with_own_parameter(case), case, factor=3.0, optimizer__weight_decay=0.1)
    assert own.get_params()["factor"] == 3.0
    assert own.get_params()["hidden_layer_sizes"] == (16,)
    twin = clone(own)
    assert twin.get_params(deep=False) == own.get_params(deep=False)
    own.fit(case.X, case.y)
    plain = case.fit(optimizer__weight_decay=0.1)
    assert own.history[0]["train_loss"] == pytest.approx(3 * plain.history[0]["train_loss"])
    assert_same_weights(twin.fit(case.X, case.y).module_, own.module_)
    assert twin.set_params(factor=0.5).factor == 0.5


def test_a_subclass_may_pass_positional_arguments_on(case):
    own = with_own_parameter(case)((7,), factor=2.0)
    assert own.hidden_layer_sizes == (7,)
    assert clone(own).hidden_layer_sizes == (7,)


def test_a_subclass_may_choose_its_parameters(case):
    class Small(case.kind):
        def __init__(self, width=6, pruning_ratio=0.5, random_state=None):
            super().__init__(
                (width,),
                pruning_ratio=pruning_ratio,
                random_state=random_state,
                max_epochs=2,
                module__bias=False,
                feature_embedding=None,
            )
            self.width = width

    small = Small(width=5, random_state=0)
    assert set(small.get_params(deep=False)) == {"width", "pruning_ratio", "random_state"}
    small.fit(case.X, case.y)
    assert small.module_.hidden_0.weight.shape == (5, 5)
    assert small.dense_module_.hidden_0.bias is None
    again = clone(small.set_params(width=4)).fit(case.X, case.y)
    assert again.module_.hidden_0.weight.shape == (4, 5)


def test_a_module_may_be_a_parameter(case):
    class Own(case.kind):
        def __init__(self, *args, extra=None, **kwargs):
            self.extra = extra  # before the constructor of the parent, as skorch demands
            super().__init__(*args, **kwargs)

    extra = nn.Linear(2, 2)
    own = make(Own, case, extra=extra).fit(case.X, case.y)
    assert own.extra is extra
    assert type(clone(own).extra) is nn.Linear
    with pytest.raises(SkorchAttributeError, match="initialize_module"):
        own.other = nn.Linear(2, 2)


@pytest.mark.parametrize(
    "name, meant",
    [
        ("iterator_train_shuffle", "iterator_train__shuffle"),
        ("optimizer_momentum", "optimizer__momentum"),
        ("modulewidth", "module__width"),
        ("mxa_epochs", "max_epochs"),
    ],
)
def test_a_wrong_name_is_explained_where_it_is_given(case, name, meant):
    with pytest.raises(TypeError, match=f"{name!r}. Did you mean {meant}"):
        case.kind(**{name: 1})
    with pytest.raises(TypeError, match=f"{name!r}. Did you mean {meant}"):
        with_own_parameter(case)(**{name: 1})


# -- further modules, losses and optimisers -------------------------------------------------------


class Shift(nn.Module):
    """Learns one number that is added to the outputs; it starts at ``start``."""

    def __init__(self, start=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(start)))


def two_networks(case, separate=False):
    class Two(case.kind):
        def __init__(self, *args, second=Shift, **kwargs):
            super().__init__(*args, **kwargs)
            self.second = second

        def initialize_module(self):
            super().initialize_module()
            self.second_ = self.second(**self.get_params_for("second"))
            return self

        def infer(self, x, **fit_params):
            return super().infer(x, **fit_params) + self.second_.value

    class WithTwoOptimizers(Two):
        def initialize_optimizer(self):
            args, kwargs = self.get_params_for_optimizer(
                "optimizer", self.module_.named_parameters()
            )
            self.optimizer_ = self.optimizer(*args, **kwargs)
            args, kwargs = self.get_params_for_optimizer(
                "optimizer2", self.second_.named_parameters()
            )
            kwargs.pop("fused", None)
            self.optimizer2_ = torch.optim.SGD(*args, **kwargs)
            return self

    return WithTwoOptimizers if separate else Two


@pytest.mark.parametrize("separate", [False, True])
def test_a_second_network_is_trained_too(case, separate, count_revived):
    own = make(two_networks(case, separate), case, second__start=0.5)
    if separate:
        own.set_params(optimizer2__lr=0.1)
    own.fit(case.X, case.y)
    assert own.sparsity_ == 0.5 and count_revived(own) == 0
    if case.kind is PrunedMLPRegressor:  # adding a number to all logits changes no probability
        assert own.second_.value.item() != 0.5
    assert own.get_params()["second__start"] == 0.5
    assert clone(own).second__start == 0.5
    if separate:
        assert [group["lr"] for group in own.optimizer2_.param_groups] == [0.1]
        own.set_params(optimizer2__lr=0.2)
        assert [group["lr"] for group in own.optimizer2_.param_groups] == [0.2]
    own.set_params(second__start=4.0)  # takes effect at the next fit
    assert own.second_.value.item() != 4.0
    own.set_params(max_epochs=0, pruning_ratio=0.0).fit(case.X, case.y)
    assert own.second_.value.item() == 4.0


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_second_network_is_copied_and_saved(regression, again, tmp_path):
    kind = two_networks(regression)
    Kept.kind = kind  # pickle finds classes by name
    kind.__qualname__ = "Kept.kind"
    kind.__module__ = __name__
    own = make(kind, regression).fit(regression.X, regression.y)
    twin = again(own)
    assert twin.second_.value.item() == own.second_.value.item()
    twin.partial_fit(regression.X, regression.y)
    assert twin.second_.value.item() != own.second_.value.item()
    own.save_params(f_params=tmp_path / "net.pt", f_second=tmp_path / "second.pt")
    twin.load_params(f_params=tmp_path / "net.pt", f_second=tmp_path / "second.pt")
    np.testing.assert_array_equal(twin.predict(regression.X), own.predict(regression.X))


class Kept:
    """Holds a class that a test pickles."""


class FailLater(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) % 3 == 0:
            raise RuntimeError("boom")


@pytest.mark.parametrize("separate", [False, True])
def test_a_failing_call_changes_no_part_of_the_net(regression, separate):
    own = make(two_networks(regression, separate), regression).fit(regression.X, regression.y)
    before, outputs = own.second_.value.item(), own.predict(regression.X)
    own.set_params(callbacks=[FailLater()])
    with pytest.raises(RuntimeError, match="boom"):
        own.partial_fit(regression.X, regression.y)
    assert own.second_.value.item() == before
    np.testing.assert_array_equal(own.predict(regression.X), outputs)


def test_the_best_weights_are_those_of_one_epoch(regression):
    """With validation data, the second network is restored together with the first one."""
    seen = []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append((net.history[-1]["valid_loss"], net.second_.value.item()))

    own = make(
        two_networks(regression),
        regression,
        callbacks=[Look()],
        early_stopping=True,
        lr=0.3,
        lr_schedule="constant",
        max_epochs=12,
        refit_strategy="none",
    ).fit(regression.X, regression.y)
    best = min(seen)
    assert best != seen[-1]
    assert own.second_.value.item() == best[1]


def test_a_further_loss_gets_its_parameters(regression):
    class Own(PrunedMLPRegressor):
        def initialize_criterion(self):
            super().initialize_criterion()
            self.penalty_ = nn.HuberLoss(**self.get_params_for("penalty"))
            return self

        def get_loss(self, y_pred, y_true, X=None, training=False):
            y_true = self._network_targets(y_true)
            return super().get_loss(y_pred, y_true) + self.penalty_(y_pred, y_true)

    own = make(Own, regression, penalty__delta=0.25).fit(regression.X, regression.y)
    assert own.penalty_.delta == 0.25
    own.set_params(penalty__delta=0.5)  # a loss changes at once, as in skorch
    assert own.penalty_.delta == 0.5


@pytest.mark.parametrize("name", ["module", "criterion"])
def test_a_net_needs_its_network_and_its_loss(case, name):
    def initialize(self):
        setattr(self, f"my{name}_", nn.Linear(5, 1))

    own = make(subclass(case, **{f"initialize_{name}": initialize}), case)
    with pytest.raises(AttributeError, match=f"initialize_{name} must set {name}_"):
        own.fit(case.X, case.y)


# -- overridden steps -----------------------------------------------------------------------------


class Recorded:
    """Notes its calls and does what its parent does."""

    def train_step(self, batch, **fit_params):
        self.calls_["train_step"] += 1
        return super().train_step(batch, **fit_params)

    def validation_step(self, batch, **fit_params):
        self.calls_["validation_step"] += 1
        return super().validation_step(batch, **fit_params)

    def evaluation_step(self, batch, training=False):
        self.calls_["evaluation_step"] += 1
        return super().evaluation_step(batch, training)

    def run_single_epoch(self, *args, **kwargs):
        self.calls_["run_single_epoch"] += 1
        return super().run_single_epoch(*args, **kwargs)

    def get_dataset(self, X, y=None):  # the signature of skorch
        self.calls_["get_dataset"] += 1
        return super().get_dataset(X, y)

    def get_split_datasets(self, X, y=None, **fit_params):
        self.calls_["get_split_datasets"] += 1
        return super().get_split_datasets(X, y, **fit_params)

    def check_data(self, X, y=None):
        self.calls_["check_data"] += 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        names = set(vars(Recorded)) - {"__init__"}
        self.calls_ = {name: 0 for name in names if not name.startswith("__")}


def test_overridden_steps_are_called(case, assert_same_weights):
    own = type("Own", (Recorded, case.kind), {})
    net = make(own, case, early_stopping=True).fit(case.X, case.y)
    case.outputs(net)
    assert all(n > 0 for n in net.calls_.values()), net.calls_
    plain = case.fit(early_stopping=True)
    assert_same_weights(net.dense_module_, plain.dense_module_, atol=1e-4)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_removed_weights_stay_zero_where_a_subclass_takes_the_steps(case, optimizer):
    """Gradient accumulation, as skorch's documentation has it."""
    revived = []

    class Accumulated(case.kind):
        def train_step(self, batch, **fit_params):
            step = self.train_step_single(batch, **fit_params)
            if len(self.history[-1, "batches"]) % 2 == 0:
                self.optimizer_.step()
                self.optimizer_.zero_grad()
            return step

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            if hasattr(net, "masks_"):
                revived.append(net._masked_weights().count_revived())

    settings = {"batch_size": 16, "callbacks": [Look()], "optimizer": optimizer, "refit_epochs": 3}
    net = make(Accumulated, case, **settings).fit(case.X, case.y)
    assert revived == [0, 0, 0]
    assert net.history[0]["train_loss"] > net.history[3]["train_loss"]
    before = [p.clone() for p in net.dense_module_.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, net.module_.parameters(), strict=True))


def test_an_own_schedule_of_steps_ends_at_the_users_rate(case):
    class Accumulated(case.kind):
        def train_step(self, batch, **fit_params):
            step = self.train_step_single(batch, **fit_params)
            rates.append(self.optimizer_.param_groups[0]["lr"])
            self.optimizer_.step()
            return step

    rates = []
    net = make(Accumulated, case, refit_strategy="none").fit(case.X, case.y)
    assert rates == sorted(rates, reverse=True) and rates[0] > 5 * rates[-1]  # the cosine
    assert [group["lr"] for group in net.optimizer_.param_groups] == [0.01]


def test_an_own_loss_may_use_the_history(classification):
    class Own(PrunedMLPClassifier):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            loss = super().get_loss(y_pred, y_true, X, training)
            self.history.record_batch("loss_a", loss.item())
            return loss

    net = make(Own, classification).fit(classification.X, classification.y)
    assert len(net.history[0, "batches", :, "loss_a"]) == 3
