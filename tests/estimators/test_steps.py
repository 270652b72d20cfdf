"""Training between pruning steps, and the parameters of methods, in the estimators."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from skec import ECPruner, prune
from skec.criteria import CRITERIA

STEPS = {"n_steps": 3, "step_epochs": 2, "pruning_ratio": 0.6}


def phases(estimator):
    return [row["phase"] for row in estimator.history]


def linear_layers(network, names):
    return {name: network.get_submodule(name) for name in names}


class Watch(Callback):
    """Looks at the masks and the weights whenever something happens."""

    def __init__(self):
        self.starts, self.revived, self.n_kept = [], 0, []

    def look(self, net):
        if hasattr(net, "masks_"):
            layers = linear_layers(net.module_, net.masks_)
            for name, mask in net.masks_.items():
                self.revived += int(layers[name].weight[~mask].count_nonzero())

    def on_train_begin(self, net, **kwargs):
        self.look(net)
        if hasattr(net, "masks_"):
            masks = {name: mask.clone() for name, mask in net.masks_.items()}
            state = {name: value.clone() for name, value in net.module_.state_dict().items()}
            self.starts.append((masks, state))
            self.n_kept.append(sum(int(mask.sum()) for mask in masks.values()))

    def on_epoch_begin(self, net, **kwargs):
        self.look(net)

    def on_epoch_end(self, net, **kwargs):
        self.look(net)

    def on_train_end(self, net, **kwargs):
        self.look(net)


class WatchBatches(Watch):
    def on_batch_end(self, net, **kwargs):
        self.look(net)


@pytest.mark.parametrize("strategy", ["finetune", "rewind", "none"])
def test_each_step_but_the_last_is_followed_by_training(case, strategy):
    estimator = case.fit(refit_strategy=strategy, **STEPS)
    after = [] if strategy == "none" else ["refit"] * 2
    assert phases(estimator) == ["dense"] * 4 + ["refit"] * 4 + ["prune"] + after
    assert [row["epoch"] for row in estimator.history] == list(range(1, len(estimator.history) + 1))
    assert estimator.sparsity_ == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("steps", [{"n_steps": 1, "step_epochs": 5}, {"n_steps": 3}])
def test_without_steps_or_epochs_there_is_no_training_between(case, steps):
    assert phases(case.fit(**steps)) == ["dense"] * 4 + ["prune"] + ["refit"] * 2


@pytest.mark.parametrize("watch", [Watch, WatchBatches])
@pytest.mark.parametrize("strategy", ["finetune", "rewind"])
def test_masked_weights_are_zero_at_all_times(case, strategy, watch, count_revived):
    callback = watch()
    estimator = case.fit(refit_strategy=strategy, callbacks=[("watch", callback)], **STEPS)
    assert len(callback.n_kept) == 3
    assert callback.n_kept[0] > callback.n_kept[1] > callback.n_kept[2]
    assert callback.revived == 0
    assert count_revived(estimator) == 0
    final = sum(int(mask.sum()) for mask in estimator.masks_.values())
    assert callback.n_kept[2] == final


def test_what_goes_in_a_later_step_depends_on_the_training_between(case):
    trained, untrained = case.fit(**STEPS), case.fit(**STEPS | {"step_epochs": 0})
    assert any(
        not torch.equal(mask, untrained.masks_[name]) for name, mask in trained.masks_.items()
    )


def test_rewinding_is_iterative_magnitude_pruning(case):
    watch = Watch()
    settings = STEPS | {"method": "magnitude", "module__zero_output": False}
    estimator = case.fit(refit_strategy="rewind", callbacks=[("watch", watch)], **settings)
    initial = case.fit(max_epochs=0, pruning_ratio=0.0, module__zero_output=False).module_
    assert len(watch.starts) == 3
    for masks, state in watch.starts:
        for name, layer in linear_layers(initial, masks).items():
            expected = torch.where(masks[name], layer.weight, 0.0)
            assert torch.equal(state[f"{name}.weight"], expected)
            assert torch.equal(state[f"{name}.bias"], layer.bias)
    for (before, _), (after, _) in zip(watch.starts, watch.starts[1:], strict=False):
        assert all((after[name] <= before[name]).all() for name in after)
    assert all(torch.equal(watch.starts[-1][0][n], m) for n, m in estimator.masks_.items())


def test_the_steps_are_those_of_the_function(case, assert_same_weights):
    """The first step is that of an untrained staircase, the last prunes what was trained."""
    watch = Watch()
    settings = STEPS | {"n_steps": 2, "schedule": "linear", "compensation": "none"}
    estimator = case.fit(refit_strategy="none", callbacks=[("watch", watch)], **settings)
    ((masks, state),) = watch.starts
    half = case.fit(refit_strategy="none", **settings | {"n_steps": 1, "pruning_ratio": 0.3})
    assert all(torch.equal(half.masks_[name], mask) for name, mask in masks.items())
    for name, value in half.module_.state_dict().items():
        assert torch.equal(state[name], value)
    assert_same_weights(half.dense_module_, estimator.dense_module_)


@pytest.mark.parametrize("strategy", ["finetune", "rewind"])
def test_the_same_seed_gives_the_same_network(case, strategy, assert_same_weights):
    first, again, other = (
        case.fit(refit_strategy=strategy, random_state=seed, **STEPS) for seed in (0, 0, 1)
    )
    assert_same_weights(first.module_, again.module_)
    assert not np.array_equal(case.outputs(first), case.outputs(other))


def test_each_step_draws_its_own_batches(case):
    class Order(Callback):
        seen = ()

        def on_batch_begin(self, net, batch=None, **kwargs):
            first = batch[0]["X"] if isinstance(batch[0], dict) else batch[0]
            self.seen = (*self.seen, (net._phase.name, first[0].tolist()))

    order = Order()
    case.fit(callbacks=[("order", order)], **STEPS)
    firsts = [str(row) for phase, row in order.seen if phase == "refit"]
    assert len(set(firsts)) > len(firsts) / 2


def test_sample_weights_reach_the_training_between_the_steps(case):
    weights = np.where(np.arange(len(case.X)) % 2, 1.0, 5.0)
    plain, weighted = (
        case.make(refit_strategy="none", max_epochs=0, **STEPS | {"pruning_ratio": 0.1}).fit(
            case.X, case.y, sample_weight=w
        )
        for w in (None, weights)
    )
    losses = [
        [row["train_loss"] for row in e.history if row["phase"] == "refit"]
        for e in (plain, weighted)
    ]
    assert losses[0] != losses[1]


def test_a_failure_between_the_steps_leaves_the_former_network(case, assert_same_weights):
    class Fails(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if net._phase.name == "refit" and self.armed:
                raise RuntimeError("between")

        armed = False

    fails = Fails()
    estimator = case.make(callbacks=[("fails", fails)], **STEPS).fit(case.X, case.y)
    before, n_rows = case.outputs(estimator), len(estimator.history)
    callback = dict(estimator.callbacks_)["fails"]
    fails.armed = callback.armed = True
    with pytest.raises(RuntimeError, match="between"):
        estimator.fit(case.X, case.y)
    np.testing.assert_array_equal(case.outputs(estimator), before)
    assert len(estimator.history) == n_rows


def test_pruning_again_trains_nothing(case):
    estimator = case.fit(**STEPS)
    before = phases(estimator)
    estimator.prune(pruning_ratio=0.3)
    assert phases(estimator) == [*before, "prune"]
    assert estimator.sparsity_ == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("step_epochs", [-1, 1.5, None, "2"])
def test_bad_numbers_of_epochs_are_named(case, step_epochs):
    with pytest.raises(ValueError, match="step_epochs"):
        case.fit(step_epochs=step_epochs)


# -- methods with parameters -----------------------------------------------------------------------

SURGEON = {
    "method": "surgeon",
    "method_params": {"damping": 0.1},
    "compensation_params": {"damping": 0.2, "iterations": 2},
    "refit_strategy": "none",
}


def test_parameters_of_methods_reach_the_function(case):
    estimator = case.fit(**SURGEON, n_steps=2)
    data = estimator._calibration_
    expected = prune(
        estimator.dense_module_, data.X, data.y, loss=estimator.criterion_, n_steps=2,
        pruning_ratio=0.5, **{k: v for k, v in SURGEON.items() if k != "refit_strategy"},
    )  # fmt: skip
    for name, value in expected.module.state_dict().items():
        torch.testing.assert_close(estimator.module_.state_dict()[name], value)
    assert estimator.predicted_error_ == pytest.approx(expected.predicted_error, rel=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"method_params": {"damping": 10.0}},
        {"compensation_params": {"damping": 10.0}},
        {"compensation": "none", "compensation_params": None},
    ],
)
def test_each_of_them_matters(case, change):
    first, second = case.fit(**SURGEON), case.fit(**SURGEON | change)
    assert not np.array_equal(case.outputs(first), case.outputs(second))


def test_probes_reach_the_function(case):
    n_outputs = 1 if case.y.dtype.kind == "f" else 3
    few, all_of_them = case.fit(n_probes=1), case.fit(n_probes=None)
    assert all_of_them.predicted_error_ == case.fit().predicted_error_
    if n_outputs > 1:
        assert few.predicted_error_ != all_of_them.predicted_error_
        assert few.predicted_error_ == case.fit(n_probes=1).predicted_error_


def test_prune_takes_them_for_one_call(case, assert_same_weights):
    estimator = case.fit(**SURGEON)
    again = {"method_params": {"damping": 10.0}, "compensation_params": {"iterations": 0}}
    expected = case.fit(**SURGEON | again)
    assert_same_weights(estimator.prune(**again).module_, expected.module_, atol=1e-6)
    assert estimator.method_params == {"damping": 0.1}
    own = CRITERIA["surgeon"](damping=10.0)
    own_settings = {"method": own, "method_params": None, "compensation_params": None}
    expected = case.fit(**SURGEON | own_settings)
    assert_same_weights(estimator.prune(method=own).module_, expected.module_, atol=1e-6)


@pytest.mark.parametrize("change", [{"method": "ec"}, {"compensation": "bias"}])
def test_another_method_leaves_the_parameters_behind(case, change):
    estimator = case.fit(**SURGEON).prune(**change)
    expected = case.fit(**SURGEON | change | {"method_params": None, "compensation_params": None})
    if "method" in change:
        assert all(torch.equal(expected.masks_[n], m) for n, m in estimator.masks_.items())
    assert estimator.sparsity_ == 0.5
    assert estimator.method_params == {"damping": 0.1}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method_params": {"damping": 1}}, r"method_params=\{'damping': 1\}.*method='ec'"),
        ({"method": "surgeon", "method_params": {"d": 1}}, r"method_params=.*\['damping', 'max_m"),
        ({"compensation_params": {"d": 1}}, r"compensation_params=.*compensation='bias'"),
        ({"method_params": 3}, "method_params"),
        ({"n_probes": 0}, "n_probes"),
        ({"n_probes": "all"}, "n_probes"),
        ({"scope": "4:2"}, "scope='4:2' must keep"),
        ({"scope": "a:b"}, "scope='a:b' is unknown"),
    ],
)
def test_bad_ones_are_named_before_any_training(case, parameters, message, epoch_counter):
    with pytest.raises(ValueError, match=message):
        case.fit(callbacks=[("counter", epoch_counter)], **parameters)
    with pytest.raises(ValueError, match=message):
        ECPruner(case.make(), **parameters).fit(case.X, case.y)
    assert epoch_counter.began == 0


def test_they_are_parameters_of_scikit_learn(case):
    given = SURGEON | {"n_probes": 3, "step_epochs": 1}
    estimator = clone(case.make(**given))
    assert {name: estimator.get_params()[name] for name in given} == given
    estimator.set_params(method_params={"damping": 0.5}, step_epochs=2, n_probes="auto")
    assert estimator.get_params()["method_params"] == {"damping": 0.5}
    assert (estimator.step_epochs, estimator.n_probes) == (2, "auto")
    pruner = ECPruner(estimator, method="surgeon", method_params={"damping": 0.3}, n_probes=2)
    pruner = clone(pruner).set_params(compensation_params={"iterations": 1})
    found = pruner.get_params(deep=False)
    assert found["method_params"] == {"damping": 0.3}
    assert found["compensation_params"] == {"iterations": 1}
    assert found["n_probes"] == 2


def test_a_grid_search_tries_them(case):
    grid = {
        "method_params": [{"damping": 1e-3}, {"damping": 10.0}],
        "compensation_params": [None, {"iterations": 1}],
        "step_epochs": [0, 1],
    }
    settings = SURGEON | {"max_epochs": 2, "n_steps": 2}
    search = GridSearchCV(case.make(**settings), grid, cv=2).fit(case.X, case.y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) > 2
    assert search.best_estimator_.sparsity_ == 0.5


def test_the_pruner_passes_them_on(case):
    given = {name: SURGEON[name] for name in ("method", "method_params", "compensation_params")}
    pruner = ECPruner(
        case.make(), pruning_ratio=0.5, n_steps=2, n_probes=2, random_state=3, **given
    )
    pruner.fit(case.X, case.y)
    net = pruner.estimator_
    data = net._calibration_
    expected = prune(
        net.dense_module_, data.X, data.y, loss=net.criterion_, pruning_ratio=0.5, n_steps=2,
        n_probes=2, random_state=3, **given,
    )  # fmt: skip
    for name, mask in expected.masks.items():
        assert torch.equal(pruner.masks_[name], mask)
    for name, value in expected.module.state_dict().items():
        torch.testing.assert_close(net.module_.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert any(
        not torch.equal(m, ECPruner(case.make(), pruning_ratio=0.5).fit(case.X, case.y).masks_[n])
        for n, m in pruner.masks_.items()
    )


# -- patterns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_epochs", [0, 1])
def test_two_of_four_are_half(case, step_epochs, count_revived):
    X = np.hstack([case.X, case.X[:, :3]])  # 8 columns
    estimator = case.make(scope="2:4", pruning_ratio=0.9, n_steps=2, step_epochs=step_epochs).fit(
        X, case.y
    )
    assert estimator.sparsity_ == 0.5
    assert count_revived(estimator) == 0
    for mask in estimator.masks_.values():
        assert (mask.reshape(len(mask), -1, 4).sum(2) == 2).all()
    assert estimator.prune(scope="1:4").sparsity_ == 0.75
    pruner = ECPruner(case.make(), scope="2:4").fit(X, case.y)
    assert pruner.sparsity_ == 0.5


class _Results(Callback):
    def __init__(self):
        self.seen = []

    def on_prune_end(self, net, result=None, **kwargs):
        self.seen.append(result)


@pytest.mark.parametrize(
    ("parameters", "n_steps"),
    [
        ({"method": "ec"}, 5),
        ({"method": "magnitude"}, 1),
        ({"method": "magnitude", "step_epochs": 1}, 5),
        ({"method": "surgeon", "step_epochs": 1, "calibration_samples": 40}, 15),
    ],
)
def test_the_automatic_number_of_steps(regression, parameters, n_steps):
    estimator = regression.fit(n_steps="auto", **parameters)
    assert estimator.n_steps_ == n_steps


def test_none_is_a_value_of_the_arguments_of_prune(classification):
    results = _Results()
    estimator = classification.fit(
        n_probes=2, method="surgeon", method_params={"damping": 0.1}, callbacks=[results]
    )
    estimator.prune()
    estimator.prune(n_probes=None)
    estimator.prune(method_params=None)
    probed, again, exact, damped = results.seen
    assert probed.probe_error == again.probe_error > 0
    assert exact.probe_error is None
    assert not torch.equal(damped.scores["output"], again.scores["output"])


def test_none_is_a_value_of_the_epochs_of_refit(regression, epoch_counter):
    estimator = regression.fit(refit_epochs=1, max_epochs=6, callbacks=[epoch_counter])
    for arguments, n_epochs in (({}, 1), ({"epochs": 2}, 2), ({"epochs": None}, 6)):
        epoch_counter.began = 0
        estimator.refit(regression.X, regression.y, **arguments)
        assert epoch_counter.began == n_epochs
