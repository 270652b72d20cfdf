"""What a net of skorch can do, these estimators can do."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import accuracy_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LoadInitState,
    LRScheduler,
)
from torch import nn


def losses(estimator, name="train_loss", phase="dense"):
    return [row[name] for row in estimator.history if row["phase"] == phase]


# -- callbacks ------------------------------------------------------------------------------------


class OwnScore(Callback):
    """A score of the network at the end of each epoch, without skorch's scoring."""

    def on_train_begin(self, net, **kwargs):
        self.scores_ = []

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if dataset_valid is not None:
            data = dataset_train, dataset_valid
            self.scores_.append([self.score(net, d.X.numpy(), d.y.numpy().ravel()) for d in data])

    def score(self, net, X, y):
        predicted = net.predict(X).ravel()
        if y.dtype.kind == "f":
            return -mean_absolute_error(y, predicted)
        return accuracy_score(y, predicted)


def scored(case, *callbacks, **parameters):
    """Fit with targets as users have them; callbacks see classes as numbers."""
    y = case.y if case.y.dtype.kind == "f" else np.array(["a", "b", "c"])[case.y]
    estimator = case.make(early_stopping=True, callbacks=list(callbacks), **parameters)
    return estimator.fit(case.X, y)


def scoring(case):
    return "neg_mean_absolute_error" if case.y.dtype.kind == "f" else "accuracy"


@pytest.mark.parametrize("on_train", [True, False])
def test_epoch_scoring_predicts_at_the_end_of_each_epoch(case, on_train):
    own = OwnScore()
    theirs = EpochScoring(scoring(case), on_train=on_train, use_caching=False, name="score")
    estimator = scored(case, ("own", own), ("theirs", theirs), refit_strategy="none")
    expected = [pair[0 if on_train else 1] for pair in own.scores_]
    np.testing.assert_allclose(losses(estimator, "score"), expected, rtol=1e-6)
    assert len(expected) == 4


def test_epoch_scoring_takes_the_predictions_that_were_made_anyway(case):
    own = OwnScore()
    valid = EpochScoring(scoring(case), name="score")
    estimator = scored(case, ("own", own), ("valid", valid), refit_strategy="none")
    expected = [pair[1] for pair in own.scores_]
    np.testing.assert_allclose(losses(estimator, "score"), expected, rtol=1e-5)


def test_epoch_scoring_takes_the_predictions_of_the_training(case):
    own = OwnScore()  # with steps so small, before or after them makes no difference
    train = EpochScoring(scoring(case), on_train=True, name="score")
    settings = {"lr": 1e-9, "refit_strategy": "none", "module__zero_output": False}
    estimator = scored(case, ("own", own), ("train", train), **settings)
    expected = [pair[0] for pair in own.scores_]
    np.testing.assert_allclose(losses(estimator, "score"), expected, rtol=1e-4)


def test_early_stopping_of_skorch_ends_the_dense_phase(case):
    stop = EarlyStopping(
        monitor="train_loss", patience=2, threshold=100.0, threshold_mode="abs", sink=str
    )
    estimator = case.fit(callbacks=[("stop", stop)], max_epochs=30)
    assert len(losses(estimator)) == 3  # the first, and two that were not better by 100
    assert estimator.sparsity_ > 0
    assert estimator.history[3]["phase"] == "prune"


class Rates(Callback):
    def on_train_begin(self, net, **kwargs):
        self.rates_ = {"dense": [], "refit": []}

    def on_epoch_begin(self, net, **kwargs):
        rate = net.optimizer_.param_groups[0]["lr"]
        self.rates_[net.history[-1]["phase"]].append(rate)


def test_a_scheduler_of_torch_sets_the_rate(case):
    rates = Rates()
    scheduler = LRScheduler("ExponentialLR", gamma=0.5)
    estimator = case.make(lr_schedule="constant", callbacks=[("s", scheduler), ("rates", rates)])
    estimator.partial_fit(case.X, case.y)
    np.testing.assert_allclose(rates.rates_["dense"], [0.01, 0.005, 0.0025, 0.00125])


def test_a_scheduler_of_torch_sets_the_rate_of_the_refit_too(case):
    rates = Rates()
    scheduler = LRScheduler("ExponentialLR", gamma=0.5)
    case.fit(lr_schedule="constant", callbacks=[("s", scheduler), ("rates", rates)])
    first, second = rates.rates_["refit"]
    assert second == pytest.approx(first / 2)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "multicycle"])
def test_the_rate_is_the_users_again_after_a_phase(case, schedule):
    estimator = case.make(lr_schedule=schedule).partial_fit(case.X, case.y)
    assert [group["lr"] for group in estimator.optimizer_.param_groups] == [0.01]


def test_checkpoints_hold_the_weights(case, tmp_path, assert_same_weights):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    estimator = case.fit(callbacks=[("checkpoint", checkpoint)])
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, value in estimator.module_.state_dict().items():
        assert torch.equal(saved[name], value)
    assert {path.name for path in tmp_path.iterdir()} >= {"optimizer.pt", "history.json"}


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_frozen_layers_do_not_move(case, slow, every_batch):
    callbacks = [("freezer", Freezer("hidden_0.*"))] + [("slow", every_batch)] * slow
    settings = {"pruning_ratio": 0.0, "module__zero_output": False}
    frozen = case.fit(callbacks=callbacks, **settings).module_
    initial = case.fit(max_epochs=0, **settings).module_
    assert torch.equal(frozen.hidden_0.weight, initial.hidden_0.weight)
    assert torch.equal(frozen.hidden_0.bias, initial.hidden_0.bias)
    assert not torch.equal(frozen.output.weight, initial.output.weight)


def test_gradients_can_be_clipped(case, assert_same_weights):
    settings = {"optimizer": torch.optim.SGD, "lr": 1.0, "lr_schedule": "constant"}
    clipped = case.fit(
        callbacks=[("clip", GradientNormClipping(1e-9))], pruning_ratio=0.0, **settings
    )
    initial = case.fit(max_epochs=0, pruning_ratio=0.0, **settings)
    assert_same_weights(clipped.module_, initial.module_, atol=1e-7)


def test_callbacks_can_be_left_out(case, assert_same_weights):
    silent = case.fit(callbacks="disable")
    assert silent.callbacks_ == []
    assert_same_weights(silent.module_, case.fit().module_)
    assert all("train_loss" not in row for row in silent.history if row["phase"] == "dense")
    no_log = case.fit(callbacks__print_log=None, verbose=1)
    assert "print_log" not in dict(no_log.callbacks_)


def test_callbacks_have_names_and_parameters(case):
    estimator = case.make(
        callbacks=[("score", EpochScoring("r2")), EpochScoring(scoring(case), name="a"), Rates()],
        callbacks__score__name="first",
        early_stopping=True,
    )
    estimator.set_params(callbacks__score__scoring=scoring(case))
    estimator.fit(case.X, case.y)
    names = [name for name, _ in estimator.callbacks_]
    assert names[0] == "epoch_timer" and names[-1] == "print_log"
    assert {"score", "EpochScoring", "Rates", "train_loss", "valid_loss"} < set(names)
    score = dict(estimator.callbacks_)["score"]
    assert (score.name, score.scoring) == ("first", scoring(case))
    assert estimator.history[0]["first"] == estimator.history[0]["a"]


class Boom(Callback):
    """Fails in its second epoch."""

    epochs = 0

    def on_epoch_end(self, net, **kwargs):
        self.epochs += 1
        if self.epochs == 2:
            raise RuntimeError("boom")


@pytest.mark.parametrize("method", ["fit", "refit", "partial_fit"])
def test_a_callback_that_fails_leaves_the_fitted_network(case, method, weights_of):
    estimator = case.fit()
    weights, n_rows = weights_of(estimator.module_), len(estimator.history)
    outputs, state = case.outputs(estimator), set(vars(estimator))
    estimator.set_params(callbacks=[("boom", Boom())])
    with pytest.raises(RuntimeError, match="boom"):
        getattr(estimator, method)(case.X, case.y)
    np.testing.assert_array_equal(case.outputs(estimator), outputs)
    assert len(estimator.history) == n_rows
    assert set(vars(estimator)) == state
    for name, value in weights_of(estimator.module_).items():
        assert torch.equal(value, weights[name])


def test_a_callback_that_fails_leaves_an_unfitted_estimator_unfitted(case):
    estimator = case.make(callbacks=[("boom", Boom())])
    state = set(vars(estimator))
    with pytest.raises(RuntimeError, match="boom"):
        estimator.fit(case.X, case.y)
    assert set(vars(estimator)) == state


# -- the history, and what is printed -------------------------------------------------------------


def test_the_history_can_be_sliced(case):
    estimator = case.fit(early_stopping=True)
    history = estimator.history
    assert history[:, "phase"] == ["dense"] * 4 + ["prune"] + ["refit"] * 2
    assert history[:, ("epoch", "train_loss")][-1] == (7, history[-1, "train_loss"])
    assert len(history[:4, "valid_loss"]) == 4
    assert all(duration >= 0 for duration in history[:4, "dur"])
    assert history.to_list()[0]["train_batch_count"] == 3  # 108 samples in batches of 50


def test_the_first_loss_is_that_of_the_mean(case):
    """The output layer starts at zero, so the network starts from the mean."""
    estimator = case.fit(batch_size=-1, module__zero_output=True)
    expected = 1.0 if case.y.dtype.kind == "f" else np.log(3)
    assert estimator.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_verbose_nets_print_a_row_for_each_epoch(case, capsys):
    case.fit(verbose=1, early_stopping=True)
    header, line, *rows = capsys.readouterr().out.rstrip().split("\n")
    assert {"epoch", "phase", "train_loss", "valid_loss", "dur"} <= set(header.split())
    assert set(line) <= {"-", " "}
    phases = ["dense"] * 4 + ["prune"] + ["refit"] * 2
    expected = [[str(epoch), phase] for epoch, phase in enumerate(phases, start=1)]
    assert [row.split()[:2] for row in rows] == expected
    case.fit(verbose=0)
    assert capsys.readouterr().out == ""


# -- initialising, saving, going on ---------------------------------------------------------------


def test_a_net_can_be_initialised_without_data(case, assert_same_weights):
    n_outputs = 1 if case.y.dtype.kind == "f" else 3
    estimator = case.make(module__n_features=5, module__n_outputs=n_outputs).initialize()
    assert estimator.initialized_
    assert estimator.module_.hidden_0.weight.shape == (16, 5)
    assert estimator.module_.output.weight.shape == (n_outputs, 16)
    assert estimator.predict(case.X).shape == (len(case.X),)
    estimator.partial_fit(case.X, case.y)
    assert estimator.history[-1]["train_loss"] < estimator.history[0]["train_loss"]


def test_initialising_needs_to_know_the_shape(case):
    with pytest.raises(ValueError, match="module__n_features and module__n_outputs"):
        case.make().initialize()
    with pytest.raises(ValueError, match="set module__n_outputs before"):
        case.make(module__n_features=5).initialize()


def saved_and_new(case, **settings):
    """A fitted estimator, and a new one whose network has its shape."""
    shape = {"module__n_features": 5, "module__n_outputs": 1 if case.y.dtype.kind == "f" else 3}
    return case.fit(**shape, **settings), case.make(**shape, **settings).initialize()


def safetensors(use):
    if use:
        pytest.importorskip("safetensors")
    return {"use_safetensors": use}


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_saved_weights_give_the_same_predictions(case, tmp_path, use_safetensors):
    files = {"f_params": tmp_path / "net", "f_history": tmp_path / "history.json"}
    files |= safetensors(use_safetensors)
    saved, loaded = saved_and_new(case)
    saved.save_params(**files)
    loaded.load_params(**files)
    np.testing.assert_array_equal(case.outputs(loaded), case.outputs(saved))
    assert loaded.history == saved.history


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_a_file_has_the_scale_of_the_targets(regression, use_safetensors):
    """Also where the loading estimator has another one, or none, and for several targets."""
    regression.y = np.column_stack([regression.y, 1e6 * regression.y**2])
    saved = regression.fit()
    other = regression.make().fit(regression.X, regression.y / 7)
    plain = regression.fit(normalize_y=False, max_epochs=1)
    for loaded in (other, plain):
        del loaded.masks_
        file = io.BytesIO()
        saved.save_params(f_params=file, **safetensors(use_safetensors))
        file.seek(0)
        loaded.load_params(f_params=file, **safetensors(use_safetensors))
        np.testing.assert_array_equal(loaded.predict(regression.X), saved.predict(regression.X))


def test_a_loaded_network_is_trained_on_in_its_units(regression, tmp_path, assert_same_weights):
    saved, loaded = saved_and_new(regression, pruning_ratio=0.0, refit_strategy="none")
    saved.save_params(tmp_path / "net.pt")
    loaded.load_params(tmp_path / "net.pt")
    loaded.partial_fit(regression.X, regression.y)
    np.testing.assert_array_equal(loaded.y_scale_, saved.y_scale_)
    assert loaded.history[-1]["train_loss"] < saved.history[0]["train_loss"] < 1.5


def test_a_file_is_a_state_of_the_module(regression, tmp_path):
    """Torch loads it with no word about targets; files of other nets load, in their units."""
    saved, loaded = saved_and_new(regression)
    before = list(saved.module_.state_dict())
    saved.save_params(f_params=tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    assert list(state) == before == list(saved.module_.state_dict())
    network = copy.deepcopy(loaded.module_)
    network.load_state_dict(state, strict=True)
    torch.save(dict(network.state_dict()), tmp_path / "other.pt")
    loaded.load_params(f_params=tmp_path / "other.pt")
    X = torch.from_numpy(regression.X).float()
    expected = network(X)[:, 0].detach().numpy()
    np.testing.assert_allclose(loaded.predict(regression.X), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.* weights of the file were left out:UserWarning")
def test_a_file_that_does_not_fit_changes_neither_scale_nor_mask(
    regression, tmp_path, count_revived
):
    """Torch loads the layers that fit before it says that others do not."""
    regression.fit(hidden_layer_sizes=(16, 3)).save_params(f_params=tmp_path / "net.pt")
    estimator = regression.make().fit(regression.X, 3 * regression.y)
    with pytest.raises(RuntimeError, match="size mismatch"):
        estimator.load_params(f_params=tmp_path / "net.pt")
    assert estimator.y_scale_ == pytest.approx(3 * regression.y.std())
    assert count_revived(estimator) == 0


@pytest.mark.parametrize("slow", [False, True])
def test_weights_loaded_in_training_are_in_units_of_the_new_targets(
    regression, tmp_path, every_batch, slow
):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None)
    regression.fit(callbacks=[checkpoint])
    callbacks = [LoadInitState(checkpoint)] + [every_batch] * slow
    estimator = regression.make(callbacks=callbacks, max_epochs=20)
    estimator.fit(regression.X, 1000 * regression.y)
    assert estimator.y_scale_ == pytest.approx(1000 * regression.y.std())
    assert estimator.score(regression.X, 1000 * regression.y) > 0.5


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_a_loaded_file_revives_no_weight(case, tmp_path, use_safetensors, count_revived):
    files = {"f_params": tmp_path / "net"} | safetensors(use_safetensors)
    case.fit(pruning_ratio=0.0, refit_strategy="none").save_params(**files)
    estimator = case.fit()
    left = estimator.n_nonzero_parameters_
    removed = sum(int((~mask).sum()) for mask in estimator.masks_.values())
    with pytest.warns(UserWarning, match=rf"^{removed} weights of the file were left out"):
        estimator.load_params(**files)
    assert count_revived(estimator) == 0
    assert estimator.n_nonzero_parameters_ == left


def test_weights_can_be_put_back(case, tmp_path):
    estimator = case.fit()
    before = case.outputs(estimator)
    names = {"f_params": tmp_path / "net.pt", "f_optimizer": tmp_path / "optimizer.pt"}
    estimator.save_params(**names)
    estimator.partial_fit(case.X, case.y)
    assert (case.outputs(estimator) != before).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.load_params(**names)
    np.testing.assert_array_equal(case.outputs(estimator), before)


ONE_BATCH = {"batch_size": -1, "lr_schedule": "constant"}


def test_partial_fit_goes_on(case, assert_same_weights):
    twice = case.make(max_epochs=2, **ONE_BATCH)
    twice.partial_fit(case.X, case.y).partial_fit(case.X, case.y)
    once = case.make(max_epochs=4, **ONE_BATCH).partial_fit(case.X, case.y)
    assert_same_weights(twice.module_, once.module_)
    assert losses(twice) == losses(once)


def test_the_dense_phase_is_partial_fit(case, assert_same_weights):
    dense = case.make().partial_fit(case.X, case.y)
    assert_same_weights(case.fit().dense_module_, dense.module_)


def test_a_warm_start_goes_on(case, assert_same_weights):
    cold, warm = case.fit(**ONE_BATCH), case.fit(warm_start=True, **ONE_BATCH)
    first, n_rows = losses(warm)[0], len(warm.history)
    cold.fit(case.X, case.y)
    warm.fit(case.X, case.y)
    assert len(cold.history) == n_rows
    assert losses(cold)[0] == first  # it began anew
    assert len(warm.history) == 2 * n_rows
    assert losses(warm)[4] < 0.95 * first  # the first epoch of the second fit


def test_a_warm_start_of_a_new_estimator_is_a_start(case, assert_same_weights):
    assert_same_weights(case.fit(warm_start=True).module_, case.fit().module_)


# -- modules, losses, optimisers ------------------------------------------------------------------


class Own(nn.Module):
    def __init__(self, n_features, n_outputs, width=6):
        super().__init__()
        self.first = nn.Linear(n_features, width)
        self.last = nn.Linear(width, n_outputs)

    def forward(self, X, gain=1.0):
        return gain * self.last(torch.tanh(self.first(X)))


def test_a_module_of_the_users_own_learns_its_shape(case):
    estimator = case.fit(module=Own, module__width=9)
    assert estimator.module_.first.weight.shape == (9, 5)
    assert list(estimator.masks_) == ["first", "last"]
    assert estimator.sparsity_ == 0.5
    assert losses(estimator)[-1] < losses(estimator)[0]


def test_a_module_that_is_given_is_copied(case, weights_of, assert_same_weights):
    module = Own(5, 1 if case.y.dtype.kind == "f" else 3).double()
    before = weights_of(module)
    estimator = case.fit(module=module, dtype="float32", max_epochs=0, pruning_ratio=0.0)
    assert estimator.module is module
    for name, value in weights_of(module).items():
        assert torch.equal(value, before[name]) and value.dtype == torch.float64
    assert_same_weights(estimator.module_, copy.deepcopy(module).float())
    trained = case.fit(module=module)
    assert not torch.equal(trained.module_.first.weight, module.first.weight.float())
    for name, value in weights_of(module).items():
        assert torch.equal(value, before[name])


def test_arguments_of_fit_reach_the_module(case):
    estimator = case.make(module=Own, batch_size=-1)
    estimator.fit(case.X, case.y, gain=0.0)  # the outputs are zero whatever the weights
    expected = 1.0 if case.y.dtype.kind == "f" else np.log(3)
    np.testing.assert_allclose(losses(estimator), expected, rtol=1e-5)


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
@pytest.mark.parametrize(
    "criterion, parameters, expected",
    [
        (nn.L1Loss, {}, lambda z: np.abs(z).mean()),
        (nn.MSELoss, {"criterion__reduction": "sum"}, lambda z: (z**2).sum()),
        (
            nn.HuberLoss,
            {"criterion__delta": 0.3},
            lambda z: np.where(np.abs(z) < 0.3, z**2 / 2, 0.3 * (np.abs(z) - 0.15)).mean(),
        ),
    ],
)
def test_the_loss_can_be_chosen(regression, criterion, parameters, expected, slow, every_batch):
    estimator = regression.fit(
        criterion=criterion,
        batch_size=-1,
        module__zero_output=True,
        callbacks=[("every", every_batch)] if slow else None,
        **parameters,
    )
    z = (regression.y - regression.y.mean()) / regression.y.std()
    assert estimator.history[0]["train_loss"] == pytest.approx(expected(z), rel=1e-5)
    assert losses(estimator)[-1] < losses(estimator)[0]


def softmax_net(seed=0):
    torch.manual_seed(seed)
    linear = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        linear[2].weight.mul_(5.0)  # probabilities that differ
    return linear, nn.Sequential(*copy.deepcopy(linear), nn.Softmax(dim=1))


@pytest.mark.parametrize("method", ["ec", "magnitude", "gradient", "taylor"])
@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_probabilities_and_nll_are_logits_and_cross_entropy(classification, method):
    logits, probabilities = softmax_net()
    settings = {"dtype": "float64", "method": method, "output_metric": "identity"}
    if method == "ec":
        settings |= {"method": "magnitude", "compensation": "none"}
    a = classification.fit(module=logits, **settings)
    b = classification.fit(module=probabilities, criterion=nn.NLLLoss, **settings)
    for name, mask in a.masks_.items():
        assert torch.equal(b.masks_[name], mask)
    np.testing.assert_allclose(
        b.predict_proba(classification.X), a.predict_proba(classification.X), atol=1e-6
    )


def test_parameters_of_the_optimiser_arrive(case):
    estimator = case.fit(optimizer=torch.optim.Adam, optimizer__weight_decay=0.25)
    assert type(estimator.optimizer_) is torch.optim.Adam
    assert estimator.optimizer_.param_groups[0]["weight_decay"] == 0.25


def test_layers_can_have_rates_of_their_own(case, weights_of):
    settings = {"optimizer": torch.optim.SGD, "lr_schedule": "constant"}
    settings |= {"pruning_ratio": 0.0, "module__zero_output": False}
    start = weights_of(case.fit(max_epochs=0, **settings).module_)
    still = case.fit(optimizer__param_groups=[("hidden_0.*", {"lr": 0.0})], **settings)
    after = weights_of(still.module_)
    assert torch.equal(after["hidden_0.weight"], start["hidden_0.weight"])
    assert not torch.equal(after["output.weight"], start["output.weight"])


@pytest.mark.parametrize("strategy", ["finetune", "rewind"])
def test_rates_of_layers_keep_their_proportion_in_the_refit(case, strategy):
    groups = [("output.*", {"lr": 0.001})]
    estimator = case.fit(
        optimizer__param_groups=groups, lr=0.01, refit_lr=None, refit_strategy=strategy
    )
    output, rest = (group["lr"] for group in estimator.optimizer_.param_groups)
    assert output / rest == pytest.approx(0.1)


def test_outputs_of_a_prediction_can_be_changed(classification):
    halved = classification.fit(predict_nonlinearity=lambda outputs: torch.sigmoid(outputs) / 2)
    outputs = np.concatenate([np.asarray(batch) for batch in halved.forward_iter(classification.X)])
    np.testing.assert_allclose(
        halved.predict_proba(classification.X), 0.5 / (1 + np.exp(-outputs)), rtol=1e-5
    )


# -- parameters -----------------------------------------------------------------------------------


def test_parameters_can_be_read_and_set(case):
    estimator = case.make(optimizer__weight_decay=0.1, callbacks=[("rates", Rates())])
    parameters = estimator.get_params()
    assert parameters["optimizer__weight_decay"] == 0.1
    assert parameters["hidden_layer_sizes"] == (16,)
    estimator.set_params(optimizer__weight_decay=0.2, pruning_ratio=0.25, module__bias=False)
    assert estimator.get_params()["optimizer__weight_decay"] == 0.2
    assert estimator.get_params()["module__bias"] is False
    estimator.set_params(compensation="none").fit(case.X, case.y)
    assert estimator.sparsity_ == pytest.approx(0.25, abs=0.01)
    assert estimator.optimizer_.param_groups[0]["weight_decay"] == 0.2
    assert estimator.module_.hidden_0.bias is None
    assert isinstance(estimator.get_params()["callbacks__rates"], Rates)


def test_parameters_of_a_fitted_optimiser_change_at_once(case):
    estimator = case.fit()
    estimator.set_params(lr=0.123)
    assert [group["lr"] for group in estimator.optimizer_.param_groups] == [0.123]
    estimator.set_params(optimizer__weight_decay=0.4)
    assert estimator.optimizer_.param_groups[0]["weight_decay"] == 0.4


@pytest.mark.parametrize(
    "parameters",
    [
        {"optimizer": torch.optim.SGD},
        {"iterator_train": torch.utils.data.DataLoader},
        {"iterator_valid": torch.utils.data.DataLoader},
        {"dataset": "auto"},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_every_parameter_of_a_fitted_estimator_can_be_set(case, parameters, assert_same_weights):
    estimator = case.fit().set_params(**parameters)
    (name,) = parameters
    assert getattr(estimator, name) is parameters[name]
    assert_same_weights(estimator.fit(case.X, case.y).module_, case.fit(**parameters).module_)


def test_a_parameter_that_is_set_to_its_value_changes_nothing(case):
    estimator = case.fit()
    before = case.outputs(estimator)
    estimator.set_params(**estimator.get_params(deep=False))
    np.testing.assert_array_equal(case.outputs(estimator), before)


def test_a_clone_has_the_parameters_and_nothing_else(case, assert_same_weights):
    estimator = case.fit(optimizer__weight_decay=0.1, callbacks=[("rates", Rates())])
    twin = clone(estimator)
    assert not twin.initialized_ and not hasattr(twin, "module_")
    ours, theirs = (e.get_params(deep=False) for e in (twin, estimator))
    (name, callback), (_, original) = ours.pop("callbacks")[0], theirs.pop("callbacks")[0]
    assert ours == theirs
    assert name == "rates" and type(callback) is Rates and callback is not original
    assert_same_weights(twin.fit(case.X, case.y).module_, estimator.module_)


def test_instances_do_not_share_state(case):
    a, b = case.fit(), case.fit()
    a.set_params(lr=0.5)
    assert b.lr == 0.01
    assert [group["lr"] for group in b.optimizer_.param_groups] != [0.5]
    assert not case.make().initialized_
    assert case.make().history_ is None


@pytest.mark.parametrize("fitted", [False, True])
def test_pickles_hold_everything(case, fitted):
    estimator = case.fit(early_stopping=True) if fitted else case.make()
    again = pickle.loads(pickle.dumps(estimator))
    assert repr(again) == repr(estimator)
    assert set(vars(again)) == set(vars(estimator))
    if fitted:
        np.testing.assert_array_equal(case.outputs(again), case.outputs(estimator))
        assert again.history == estimator.history
        assert again.pruning_report_ == estimator.pruning_report_
        again.prune(pruning_ratio=0.7)
        estimator.prune(pruning_ratio=0.7)
        np.testing.assert_array_equal(case.outputs(again), case.outputs(estimator))
    else:
        np.testing.assert_array_equal(
            case.outputs(again.fit(case.X, case.y)), case.outputs(case.fit())
        )


def test_cross_validation_is_fitting_on_the_folds(case):
    folds = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(case.make(), case.X, case.y, cv=folds)
    expected = [
        case.make().fit(case.X[train], case.y[train]).score(case.X[test], case.y[test])
        for train, test in folds.split(case.X)
    ]
    np.testing.assert_array_equal(scores, expected)


def test_a_search_can_set_every_kind_of_parameter(case):
    grid = {
        "pruning_ratio": [0.2, 0.6],
        "optimizer__weight_decay": [0.5],
        "module__zero_output": [False],
    }
    search = GridSearchCV(case.make(), grid, cv=2).fit(case.X, case.y)
    best = search.best_estimator_
    assert best.optimizer_.param_groups[0]["weight_decay"] == 0.5
    assert best.sparsity_ == pytest.approx(search.best_params_["pruning_ratio"], abs=0.01)
    assert len(search.cv_results_["params"]) == 2


def test_the_estimators_are_nets_of_skorch(case):
    estimator = case.fit()
    assert isinstance(estimator, NeuralNet)
    outputs = estimator.forward(case.X)
    assert outputs.shape == (len(case.X), estimator.n_outputs_)
    with torch.no_grad():
        expected = estimator.module_(torch.from_numpy(case.X).float())
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)
