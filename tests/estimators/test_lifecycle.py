"""Train, prune, train on: what each phase does and what it leaves behind."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor
from skorch.callbacks import Callback
from torch import nn

import skec
from skec import PrunedMLPClassifier


def phases(estimator):
    return [row["phase"] for row in estimator.history]


def removed(estimator):
    return sum(int((~mask).sum()) for mask in estimator.masks_.values())


# -- the order of the phases ---------------------------------------------------------------------


@pytest.mark.parametrize("max_epochs, refit_epochs", [(4, 2), (1, 0), (0, 2)])
def test_the_history_lists_the_phases_in_order(case, max_epochs, refit_epochs):
    estimator = case.fit(max_epochs=max_epochs, refit_epochs=refit_epochs)
    expected = ["dense"] * max_epochs + ["prune"] + ["refit"] * refit_epochs
    assert phases(estimator) == expected
    assert [row["epoch"] for row in estimator.history] == list(range(1, len(expected) + 1))


@pytest.mark.parametrize("parameters", [{"refit_strategy": "none"}, {"pruning_ratio": 0.0}])
def test_there_is_no_refit_without_a_reason(case, parameters):
    assert phases(case.fit(max_epochs=2, **parameters)) == ["dense", "dense", "prune"]


def test_the_row_of_the_pruning_says_what_was_asked_and_what_was_done(case):
    estimator = case.fit(pruning_ratio=0.33)
    (row,) = [row for row in estimator.history if row["phase"] == "prune"]
    assert row["pruning_ratio"] == 0.33
    assert row["sparsity"] == estimator.sparsity_


class Recorder(Callback):
    def __init__(self):
        self.events = []

    def on_epoch_end(self, net, **kwargs):
        self.events.append("epoch")

    def on_prune_begin(self, net, X=None, y=None, **kwargs):
        self.events.append(("begin", net, X, y, hasattr(net, "masks_")))

    def on_prune_end(self, net, X=None, y=None, result=None, **kwargs):
        self.events.append(("end", net, X, y, result))


def test_callbacks_hear_of_the_pruning_once_with_its_result(case):
    recorder = Recorder()
    estimator = case.fit(callbacks=[("recorder", recorder)])
    events = recorder.events
    assert [event == "epoch" for event in events] == [True] * 4 + [False] * 2 + [True] * 2
    begin, end = events[4:6]
    assert begin[:2] == ("begin", estimator)
    assert end[:2] == ("end", estimator)
    for event in (begin, end):
        assert event[2] is case.X
        assert event[3] is case.y
    assert not begin[4], "the network has masks before it is pruned"
    assert isinstance(end[4], skec.PruningResult)
    assert end[4].masks is estimator.masks_
    assert end[4].sparsity == estimator.sparsity_


def test_callbacks_hear_of_a_later_pruning_too(case):
    recorder = Recorder()
    estimator = case.fit(callbacks=[("recorder", recorder)])
    recorder.events.clear()
    estimator.prune(pruning_ratio=0.2)
    (begin, end) = recorder.events
    assert (begin[0], begin[2], begin[3]) == ("begin", None, None)
    assert (end[0], end[2], end[3]) == ("end", None, None)
    assert end[4].sparsity == estimator.sparsity_


class OldCallback(Callback):
    """A callback that knows nothing of pruning."""

    epochs = 0

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1


def test_callbacks_need_not_know_of_pruning(case):
    callback = OldCallback()
    case.fit(callbacks=[("old", callback)])
    assert callback.epochs == 4 + 2


# -- what a fitted estimator knows ----------------------------------------------------------------


def n_prunable(case, *, output=True):
    n_outputs = 1 if case.y.dtype.kind == "f" else 3
    return 5 * 16 + (16 * n_outputs if output else 0)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ratio=st.floats(0, 0.9),
    scope=st.sampled_from(["global", "layer", "row"]),
    n_steps=st.integers(1, 3),
    output=st.booleans(),
)
def test_the_ratio_is_met_to_one_weight(regression, ratio, scope, n_steps, output):
    estimator = regression.fit(
        max_epochs=0,
        refit_strategy="none",
        pruning_ratio=ratio,
        scope=scope,
        n_steps=n_steps,
        prune_output_layer=output,
        module__zero_output=False,
    )
    total = n_prunable(regression, output=output)
    assert sum(mask.numel() for mask in estimator.masks_.values()) == total
    assert abs(removed(estimator) - ratio * total) <= 1
    assert estimator.sparsity_ == removed(estimator) / total


@pytest.mark.parametrize("schedule", ["geometric", "linear", "cubic"])
def test_several_steps_reach_the_same_ratio_and_train_no_more(case, schedule):
    estimator = case.fit(n_steps=4, schedule=schedule, pruning_ratio=0.6)
    assert abs(removed(estimator) - 0.6 * n_prunable(case)) <= 1
    assert phases(estimator).count("prune") == 1
    assert len(estimator.history) == 4 + 1 + 2


def test_the_output_layer_can_be_left_alone(case):
    estimator = case.fit(prune_output_layer=False, refit_strategy="none", pruning_ratio=0.7)
    assert list(estimator.masks_) == ["hidden_0"]
    assert removed(estimator) == round(0.7 * 80)
    dense = estimator.dense_module_.output.weight
    assert torch.equal(estimator.module_.output.weight, dense)


def test_a_mapping_gives_each_layer_its_ratio(case):
    estimator = case.fit(scope={"hidden_0": 0.25}, pruning_ratio=0.9)
    assert int((~estimator.masks_["hidden_0"]).sum()) == 20
    assert estimator.masks_["output"].all()
    assert estimator.sparsity_ == 20 / n_prunable(case)


def test_parameters_are_counted_with_biases(case):
    estimator = case.fit(pruning_ratio=0.4)
    n_outputs = 1 if case.y.dtype.kind == "f" else 3
    assert estimator.n_parameters_ == 5 * 16 + 16 + 16 * n_outputs + n_outputs
    arrays = [parameter.detach().numpy() for parameter in estimator.module_.parameters()]
    assert estimator.n_nonzero_parameters_ == sum(np.count_nonzero(array) for array in arrays)
    assert estimator.n_nonzero_parameters_ <= estimator.n_parameters_ - removed(estimator)


def test_shapes_and_names_of_the_data_are_kept(case):
    frame = pd.DataFrame(case.X, columns=list("abcde"))
    estimator = case.make().fit(frame, case.y)
    assert estimator.n_features_in_ == 5
    assert list(estimator.feature_names_in_) == list("abcde")
    assert not hasattr(case.fit(), "feature_names_in_")
    assert estimator.n_outputs_ == (1 if case.y.dtype.kind == "f" else 3)


def own_loss(case, network):
    """The loss of a network on all data, computed without skec."""
    with torch.no_grad():
        outputs = network(torch.from_numpy(case.X)).numpy()
    if case.y.dtype.kind == "f":
        return mean_squared_error((case.y - case.y.mean()) / case.y.std(), outputs[:, 0])
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return log_loss(case.y, exponentials / exponentials.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("batch_size", [50, -1])
def test_the_report_tells_the_losses_and_the_weights_of_each_layer(case, batch_size):
    estimator = case.fit(
        refit_strategy="none", dtype="float64", batch_size=batch_size, calibration_samples=None
    )
    report = estimator.pruning_report_
    dense, pruned = estimator.dense_module_, estimator.module_
    assert list(report[0]) == [
        "layer", "shape", "weights", "weights_left", "sparsity", "dead_units", "predicted_error",
        "loss_before", "loss_after",
    ]  # fmt: skip
    assert report.loss_before == pytest.approx(own_loss(case, dense), rel=1e-6)
    assert report.loss_after == pytest.approx(own_loss(case, pruned), rel=1e-6)
    for row, name in zip(report, ["hidden_0", "output"], strict=True):
        mask = estimator.masks_[name]
        assert row["layer"] == name
        assert (row["weights"], row["weights_left"]) == (mask.numel(), int(mask.sum()))
        assert row["sparsity"] == pytest.approx(1 - mask.double().mean().item())
        alone = copy.deepcopy(dense)
        setattr(alone, name, copy.deepcopy(pruned.get_submodule(name)))
        assert row["loss_before"] == pytest.approx(own_loss(case, dense), rel=1e-6)
        assert row["loss_after"] == pytest.approx(own_loss(case, alone), rel=1e-6)


# -- pruning again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"pruning_ratio": 0.8},
        {"pruning_ratio": 0.0},
        {"method": "magnitude"},
        {"method": "random"},
        {"method": "taylor", "pruning_ratio": 0.3},
        {"compensation": "none"},
        {"scope": "layer"},
        {"scope": {"hidden_0": 0.6}},
        {"n_steps": 3, "schedule": "linear"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_pruning_again_starts_from_the_dense_weights(case, changes, assert_same_weights):
    estimator = case.fit()
    parameters, n_rows = estimator.get_params(deep=False), len(estimator.history)
    assert estimator.prune(**changes) is estimator
    fresh = case.fit(refit_strategy="none", **changes)
    assert_same_weights(estimator.module_, fresh.module_)
    for name in ("sparsity_", "n_nonzero_parameters_", "predicted_error_", "pruning_report_"):
        assert getattr(estimator, name) == getattr(fresh, name), name
    assert phases(estimator)[n_rows:] == ["prune"], "pruning alone must not train"
    assert estimator.get_params(deep=False) == parameters


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_pruning_twice_is_pruning_once(case, assert_same_weights):
    estimator = case.fit()
    estimator.prune(pruning_ratio=0.9).prune(pruning_ratio=0.3)
    assert_same_weights(estimator.module_, case.fit().prune(pruning_ratio=0.3).module_)


def test_pruning_the_training_data_again_changes_nothing(case, assert_same_weights):
    estimator = case.fit(calibration_samples=None, refit_strategy="none")
    before = copy.deepcopy(estimator.module_)
    estimator.prune(case.X, case.y)
    assert_same_weights(estimator.module_, before)


@pytest.mark.parametrize("method", ["ec", "taylor"])
def test_new_calibration_data_take_the_place_of_the_old(case, method, assert_same_weights):
    estimator = case.fit(method=method, dtype="float64")
    X, y = 2.0 * case.X[:40] + 1.0, case.y[:40]
    estimator.prune(X, y)
    if case.y.dtype.kind == "f":
        targets, loss = torch.from_numpy((y - case.y.mean()) / case.y.std()), nn.MSELoss()
    else:
        targets, loss = torch.from_numpy(y), nn.CrossEntropyLoss()
    expected = skec.prune(
        estimator.dense_module_, X, targets, n_steps=1, pruning_ratio=0.5, method=method, loss=loss
    )
    assert_same_weights(estimator.module_, expected.module, atol=1e-12)
    kept = copy.deepcopy(estimator.module_)
    assert_same_weights(estimator.prune().module_, kept)  # the new data are kept


@pytest.mark.parametrize("with_targets", [True, False])
def test_calibration_data_may_have_weights(case, with_targets, assert_same_weights):
    weights = np.random.default_rng(0).integers(0, 4, size=len(case.X))
    y = case.y if with_targets else None
    repeated = case.fit(dtype="float64").prune(
        np.repeat(case.X, weights, axis=0), None if y is None else np.repeat(y, weights)
    )
    weighted = case.fit(dtype="float64").prune(case.X, y, sample_weight=weights)
    unweighted = case.fit(dtype="float64").prune(case.X, y)
    assert_same_weights(weighted.module_, repeated.module_, atol=1e-12)
    with pytest.raises(AssertionError):
        assert_same_weights(weighted.module_, unweighted.module_, atol=1e-6)


def test_a_network_trained_in_parts_can_be_pruned(case):
    estimator = case.make().partial_fit(case.X, case.y)
    dense = copy.deepcopy(estimator.module_)
    assert not hasattr(estimator, "sparsity_")
    estimator.prune()
    expected = skec.prune(
        dense, case.X.astype("f"), n_steps=1, pruning_ratio=0.5, loss=estimator.criterion_
    )
    for name, mask in estimator.masks_.items():
        assert torch.equal(mask, expected.masks[name])
    assert removed(estimator) == round(0.5 * n_prunable(case))


# -- training on ----------------------------------------------------------------------------------


def test_refit_trains_for_the_given_epochs(case, count_revived):
    estimator = case.fit(refit_strategy="none")
    before = copy.deepcopy(estimator.module_)
    assert estimator.refit(case.X, case.y, epochs=3) is estimator
    assert phases(estimator)[4:] == ["prune"] + ["refit"] * 3
    assert not torch.equal(estimator.module_.hidden_0.weight, before.hidden_0.weight)
    assert count_revived(estimator) == 0
    estimator.refit(case.X, case.y)
    assert phases(estimator)[4:] == ["prune"] + ["refit"] * (3 + 2)


def test_prune_and_refit_by_hand_are_what_fit_does(case, assert_same_weights):
    # with one batch an epoch there is no order of the batches that could differ
    by_hand = case.make(batch_size=-1, pruning_ratio=0.2, refit_lr=0.003)
    by_hand.fit(case.X, case.y).prune(pruning_ratio=0.7).refit(case.X, case.y)
    at_once = case.fit(batch_size=-1, pruning_ratio=0.7, refit_lr=0.003)
    assert_same_weights(by_hand.module_, at_once.module_)


def test_refit_lr_is_the_rate_of_the_refit(case, weights_of):
    sgd = {"optimizer": torch.optim.SGD, "lr_schedule": "constant", "batch_size": -1}
    start = weights_of(case.fit(refit_epochs=0, **sgd).module_)
    steps = [
        weights_of(case.fit(refit_epochs=1, refit_lr=rate, **sgd).module_) for rate in (0.01, 0.02)
    ]
    for name, value in start.items():  # one step of gradient descent is linear in its rate
        torch.testing.assert_close(
            steps[1][name] - value, 2 * (steps[0][name] - value), rtol=1e-3, atol=1e-6
        )


def test_finetuning_starts_from_the_pruned_weights(case, assert_same_weights):
    finetuned = case.fit(refit_strategy="finetune", refit_epochs=0)
    assert_same_weights(finetuned.module_, case.fit(refit_strategy="none").module_)


def test_rewinding_starts_from_the_initial_weights(case):
    rewound = case.fit(refit_strategy="rewind", refit_epochs=0, module__zero_output=False)
    initial = case.fit(max_epochs=0, pruning_ratio=0.0, module__zero_output=False).module_
    for name, mask in rewound.masks_.items():
        layer, first = rewound.module_.get_submodule(name), initial.get_submodule(name)
        assert torch.equal(layer.weight, torch.where(mask, first.weight, 0.0))
        assert torch.equal(layer.bias, first.bias)
    assert any(not mask.all() for mask in rewound.masks_.values())


def test_a_rewound_network_is_masked_before_its_first_batch(case):
    settings = {"refit_strategy": "rewind", "module__zero_output": False, "batch_size": -1}
    start = case.fit(refit_epochs=0, **settings)
    trained = case.fit(refit_epochs=1, **settings)
    network = start.module_.double()
    assert trained.history[-1]["train_loss"] == pytest.approx(own_loss(case, network), rel=1e-5)


@pytest.mark.parametrize("start", ["fit", "partial_fit"])
def test_rewinding_needs_the_initial_weights(case, start):
    estimator = getattr(case.make(), start)(case.X, case.y).prune()
    before = case.outputs(estimator)
    estimator.set_params(refit_strategy="rewind")
    with pytest.raises(ValueError, match="rewind"):
        estimator.refit(case.X, case.y)
    np.testing.assert_array_equal(case.outputs(estimator), before)


def test_a_ratio_of_zero_keeps_the_dense_network(case, assert_same_weights):
    estimator = case.fit(pruning_ratio=0.0)
    assert estimator.sparsity_ == 0.0
    assert all(mask.all() for mask in estimator.masks_.values())
    assert_same_weights(estimator.module_, estimator.dense_module_)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_fit_forgets_the_former_life(case, assert_same_weights):
    estimator = case.fit()
    estimator.prune(pruning_ratio=0.9).refit(case.X, case.y).partial_fit(case.X, case.y)
    fresh = case.fit()
    assert_same_weights(estimator.fit(case.X, case.y).module_, fresh.module_)
    assert phases(estimator) == phases(fresh)


# -- early stopping -------------------------------------------------------------------------------


class HeldOut(Callback):
    """Remembers the datasets of the first epoch and of the last."""

    first = None

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.last = (dataset_train, dataset_valid)
        self.first = self.first or self.last


class Wreck(Callback):
    """Takes large steps from the fourth epoch on."""

    def __init__(self, lr=5.0):
        self.lr = lr

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 4:
            for group in net.optimizer_.param_groups:
                group["lr"] = self.lr


class Everything:
    """All data of a case in the form of a dataset."""

    def __init__(self, case):
        self.X, self.y = torch.from_numpy(case.X), torch.from_numpy(case.y)


def validation_losses(estimator, phase):
    return [row["valid_loss"] for row in estimator.history if row["phase"] == phase]


def loss_on(case, estimator, dataset):
    X, y = dataset.X.double().numpy(), dataset.y.numpy()
    if case.y.dtype.kind == "f":
        return mean_squared_error(y, estimator.predict(X)) / estimator.y_scale_.item() ** 2
    return log_loss(y.ravel(), estimator.predict_proba(X), labels=[0, 1, 2])


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_the_weights_of_the_best_epoch_are_kept(case, slow, every_batch):
    held_out = HeldOut()
    callbacks = [("held_out", held_out), ("wreck", Wreck())] + [("slow", every_batch)] * slow
    estimator = case.fit(
        early_stopping=True,
        lr_schedule="constant",
        max_epochs=6,
        pruning_ratio=0.0,
        callbacks=callbacks,
    )
    losses = validation_losses(estimator, "dense")
    assert np.argmin(losses) < 3, "the training was not wrecked after the third epoch"
    assert loss_on(case, estimator, held_out.first[1]) == pytest.approx(min(losses), rel=1e-5)


def sorted_rows(X):
    return np.asarray(X)[np.lexsort(np.asarray(X).T)]


def test_the_refit_holds_out_what_was_held_out_before(case):
    held_out = HeldOut()
    case.fit(early_stopping=True, callbacks=[("held_out", held_out)])
    (_, dense), (_, refit) = held_out.first, held_out.last
    np.testing.assert_array_equal(sorted_rows(refit.X), sorted_rows(dense.X))


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_a_refit_that_only_harms_is_undone(case, slow, every_batch, assert_same_weights):
    settings = {"early_stopping": True, "lr_schedule": "constant", "pruning_ratio": 0.1}
    callbacks = [("slow", every_batch)] if slow else None
    harmed = case.fit(refit_lr=5.0, callbacks=callbacks, **settings)
    spared = case.fit(refit_strategy="none", **settings)
    assert min(validation_losses(harmed, "refit")) > validation_losses(spared, "dense")[-1]
    assert_same_weights(harmed.module_, spared.module_, atol=1e-6)


def test_unless_told_otherwise_the_refit_trains_on_all_samples(case):
    held_out = HeldOut()
    case.fit(early_stopping="auto", callbacks=[("held_out", held_out)])
    (_, dense), (train, refit) = held_out.first, held_out.last
    assert len(dense) > 0
    assert refit is None
    np.testing.assert_array_equal(sorted_rows(train.X), sorted_rows(case.X.astype("f")))


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("tol", [0.0, 0.02])
def test_training_stops_when_it_makes_no_progress(case, patience, tol):
    estimator = case.fit(
        early_stopping=True,
        lr_schedule="constant",
        max_epochs=30,
        n_iter_no_change=patience,
        tol=tol,
        refit_strategy="none",
        callbacks=[("wreck", Wreck())],
    )
    losses = validation_losses(estimator, "dense")
    best, waited = np.inf, 0
    for loss in losses:
        assert waited < patience, "training went on although it should have stopped"
        waited = 0 if loss < best - tol else waited + 1
        best = loss if waited == 0 else best
    assert waited == patience


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("tol", [0.0, 0.3])
def test_without_held_out_data_the_training_loss_decides(case, patience, tol):
    estimator = case.fit(
        early_stopping=False,
        lr_schedule="constant",
        lr=0.1,
        refit_lr=0.1,
        max_epochs=120,
        refit_epochs=120,
        n_iter_no_change=patience,
        tol=tol,
    )
    for phase in ("dense", "refit"):
        best, waited = np.inf, 0
        for row in estimator.history:
            if row["phase"] == phase:
                assert waited < patience, "training went on although it should have stopped"
                waited = 0 if row["train_loss"] < best - tol else waited + 1
                best = row["train_loss"] if waited == 0 else best
        assert waited == patience, phase
    assert estimator.dense_epochs_ == sum(row["phase"] == "dense" for row in estimator.history)


@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
def test_the_training_has_the_attributes_of_scikit_learns_perceptrons(case, early_stopping):
    estimator = case.make(early_stopping=early_stopping)
    names = ["n_iter_", "loss_", "loss_curve_", "best_loss_", "validation_scores_"]
    names.append("best_validation_score_")
    assert not any(hasattr(estimator, name) for name in names)
    estimator.fit(case.X, case.y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 6
    losses = [row["train_loss"] for row in estimator.history if row["phase"] != "prune"]
    assert estimator.loss_curve_ == losses
    assert estimator.loss_ == losses[-1]
    mlp = MLPClassifier if case.kind is PrunedMLPClassifier else MLPRegressor
    theirs = mlp(early_stopping=bool(early_stopping), max_iter=6).fit(case.X, case.y)
    for name in names:
        ours = getattr(estimator, name)
        kind = (int, float, list, type(None))
        assert [isinstance(ours, k) for k in kind] == [
            isinstance(getattr(theirs, name), k) for k in kind
        ], name
    if early_stopping:
        scores = [-row["valid_loss"] for row in estimator.history if "valid_loss" in row]
        assert estimator.validation_scores_ == scores
        assert len(scores) == (6 if early_stopping is True else 4)
        assert estimator.best_validation_score_ == max(scores)
    else:
        assert estimator.best_loss_ == min(losses)
    assert estimator.partial_fit(case.X, case.y).n_iter_ == 10
    assert estimator.fit(case.X, case.y).n_iter_ == 6


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_the_held_out_samples_are_the_given_fraction(case, fraction):
    held_out = HeldOut()
    case.fit(early_stopping=True, validation_fraction=fraction, callbacks=[("h", held_out)])
    train, valid = held_out.first
    assert len(valid) == round(fraction * len(case.X))
    both = np.concatenate([train.X, valid.X])
    np.testing.assert_array_equal(sorted_rows(both), sorted_rows(case.X.astype("f")))


def test_classes_are_held_out_in_proportion(classification):
    held_out = HeldOut()
    classification.fit(
        early_stopping=True, validation_fraction=0.25, callbacks=[("h", held_out)], max_epochs=1
    )
    everything = np.bincount(classification.y) / 4
    assert np.abs(np.bincount(held_out.first[1].y) - everything).max() <= 1


@pytest.mark.parametrize("parameters", [{"early_stopping": False}, {"train_split": None}])
def test_without_validation_the_last_weights_are_kept(case, parameters):
    settings = {"early_stopping": True, "lr_schedule": "constant", "refit_strategy": "none"}
    settings |= {"batch_size": -1, "callbacks": [("wreck", Wreck(0.3))]} | parameters
    estimator = case.fit(**settings, max_epochs=5)
    assert all("valid_loss" not in row for row in estimator.history)
    # one more epoch begins with the loss of the weights that were kept
    longer = case.fit(**settings, max_epochs=6)
    kept = loss_on(case, estimator.prune(pruning_ratio=0.0), Everything(case))
    assert longer.history[5]["train_loss"] == pytest.approx(kept, rel=1e-4)
