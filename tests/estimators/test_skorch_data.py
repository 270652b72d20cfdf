"""Data, splits, batches and callbacks, as users of skorch pass them."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    PredefinedSplit,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    LRScheduler,
    ProgressBar,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SkorchDoctor, SliceDataset, SliceDict, predefined_split
from skorch.utils import to_numpy
from torch import nn

from skec import PrunedMLPClassifier, PrunedMLPRegressor


def n_outputs(case):
    return 1 if case.kind is PrunedMLPRegressor else 3


def as_users_have_it(case):
    """Targets of a regressor as they are; classes as strings."""
    return case.y if case.kind is PrunedMLPRegressor else np.array(["a", "b", "c"])[case.y]


class Split:
    """Notes what it gets, and holds out the last rows."""

    def __call__(self, dataset, y=None, groups=None):
        self.dataset, self.y, self.groups = dataset, y, groups
        rows = np.arange(len(dataset))
        return tuple(torch.utils.data.Subset(dataset, part) for part in (rows[:90], rows[90:]))


class Look(Callback):
    """Notes the data that a net trains on."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.X, self.y = X, y

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.train, self.valid = dataset_train, dataset_valid


# -- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [-1, 50])
def test_a_split_gets_the_rows_and_targets_as_they_were_given(case, batch_size):
    """Also if the data fit in one batch, where equal rows are merged without such a split."""
    X = np.round(case.X[:, [0, 1, 0, 1, 0]])  # with equal rows
    y, split = as_users_have_it(case), Split()
    case.make(train_split=split, batch_size=batch_size).fit(X, y)
    np.testing.assert_array_equal(split.dataset.X.numpy(), X.astype(np.float32))
    assert split.y.tolist() == y.tolist()


@pytest.mark.parametrize(
    "cv",
    [PredefinedSplit(np.repeat([-1, 0, -1], [30, 40, 50])), TimeSeriesSplit(4)],
    ids=["predefined", "time_series"],
)
def test_splits_by_the_order_of_rows_validate_on_the_right_rows(case, cv):
    look = Look()
    case.fit(train_split=ValidSplit(cv), callbacks=[look], batch_size=-1)
    train, valid = next(iter(cv.split(case.X)))
    np.testing.assert_array_equal(look.train.X.numpy(), case.X[train].astype(np.float32))
    np.testing.assert_array_equal(look.valid.X.numpy(), case.X[valid].astype(np.float32))


def test_a_split_of_false_is_none(case, assert_same_weights):
    off = case.fit(train_split=False)
    assert "valid_loss" not in off.history[0]
    assert_same_weights(off.module_, case.fit(train_split=None).module_)


def test_validation_data_of_the_users_own_are_in_the_users_units(case):
    """Batches and labels of such data are checked like those of ``fit``."""
    y = as_users_have_it(case)
    valid = Dataset(case.X[90:].astype(np.float32), y[90:])
    own = case.make(train_split=predefined_split(valid)).partial_fit(case.X[:90], y[:90])
    if case.kind is PrunedMLPClassifier:
        loss = -np.log(own.predict_proba(case.X[90:])[np.arange(30), case.y[90:]]).mean()
    else:
        loss = (((own.predict(case.X[90:]) - y[90:]) / own.y_scale_) ** 2).mean()
    seen = min(row["valid_loss"] for row in own.history if row["phase"] == "dense")
    assert loss == pytest.approx(seen, rel=1e-4)


def test_validation_data_with_unknown_labels_are_an_error(classification):
    valid = Dataset(classification.X.astype(np.float32), np.repeat("d", 120))
    net = classification.make(train_split=predefined_split(valid))
    with pytest.raises(ValueError, match=r"\['d'\] that are not among the classes"):
        net.fit(classification.X, as_users_have_it(classification))


# -- further arguments of fit ---------------------------------------------------------------------


class Gained(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, X, gain=1.0):
        return gain * self.linear(X)


GROUPS = np.arange(120) % 6


@pytest.mark.parametrize("method", ["fit", "partial_fit", "refit"])
def test_groups_go_to_the_split_and_gains_to_the_network(case, method):
    split = Split()
    net = case.make(train_split=split, module=Gained)
    if method == "refit":
        net.fit(case.X, case.y)
        split.groups = None
    getattr(net, method)(case.X, case.y, groups=GROUPS, gain=0.0)
    assert split.groups is GROUPS
    expected = 1.0 if case.kind is PrunedMLPRegressor else np.log(3)  # outputs of zero
    assert net.history[-1 if method == "refit" else 0]["train_loss"] == pytest.approx(
        expected, rel=0.2
    )


class Demanding(Gained):
    def forward(self, X, gain):
        return gain * self.linear(X)


def test_a_forward_needs_defaults_for_further_arguments(case, epoch_counter):
    net = case.make(module=Demanding, callbacks=[epoch_counter])
    with pytest.raises(TypeError, match=r"arguments \['gain'\] of fit: give them default values"):
        net.fit(case.X, case.y, gain=1.0)
    assert epoch_counter.began == 0


def test_groups_are_not_divided(case):
    look = Look()
    split = ValidSplit(GroupKFold(3))
    case.make(train_split=split, callbacks=[look]).fit(case.X, case.y, groups=GROUPS)
    rows = {tuple(row): group for row, group in zip(case.X.astype(np.float32), GROUPS, strict=True)}
    train, valid = (
        {rows[tuple(row)] for row in part.X.numpy()} for part in (look.train, look.valid)
    )
    assert len(train) == 4 and len(valid) == 2 and not train & valid


@pytest.mark.parametrize("train_split", ["auto", None, ValidSplit(3)])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "refit"])
def test_an_argument_that_nothing_takes_is_an_error(case, train_split, method, epoch_counter):
    net = case.fit(train_split=train_split)
    net.set_params(callbacks=[epoch_counter])
    before = case.outputs(net)
    with pytest.raises(TypeError, match="unexpected argument 'gruops'"):
        getattr(net, method)(case.X, case.y, gruops=GROUPS)
    assert epoch_counter.began == 0
    np.testing.assert_array_equal(case.outputs(net), before)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_groups_are_routed_to_the_splitter(case):
    look = Look()
    split = ValidSplit(GroupKFold(3).set_split_request(groups=True))
    pipeline = make_pipeline(StandardScaler(), case.make(train_split=split, callbacks=[look]))
    pipeline.fit(case.X, case.y, groups=GROUPS)
    assert len(look.valid) == 40


@pytest.mark.usefixtures("routing")
def test_requested_arguments_are_routed(case):
    net = case.make(module=Gained, pruning_ratio=0.0, max_epochs=1)
    net.set_fit_request(gain=True, sample_weight=True).set_score_request(sample_weight=True)
    cv = GroupShuffleSplit(2, random_state=0)
    scores = cross_val_score(
        make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net),
        case.X,
        case.y,
        cv=cv,
        params={"gain": 0.0, "sample_weight": np.ones(120), "groups": GROUPS},
    )
    assert np.isfinite(scores).all()
    with pytest.raises(TypeError, match="not routed"):
        net.fit(case.X, case.y, other=1)


# -- containers of skorch -------------------------------------------------------------------------


def test_slices_of_datasets_and_of_dicts_are_arrays(case, assert_same_weights):
    y = as_users_have_it(case)
    expected = case.make().fit(case.X, y)
    pairs = [(x, target) for x, target in zip(case.X, y, strict=True)]

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(pairs)

        def __getitem__(self, i):
            return pairs[i]

    dataset = Pairs()
    for X in (SliceDataset(dataset), SliceDict(X=case.X), {"X": case.X}):
        found = case.make().fit(X, SliceDataset(dataset, idx=1))
        assert_same_weights(found.module_, expected.module_)
        np.testing.assert_array_equal(case.outputs(found, X), case.outputs(expected))
    scores = cross_val_score(case.make(), SliceDict(X=case.X), y, cv=3)
    np.testing.assert_array_equal(scores, cross_val_score(case.make(), case.X, y, cv=3))
    search = GridSearchCV(case.make(), {"pruning_ratio": [0.3]}, cv=2)
    search.fit(SliceDataset(dataset), to_numpy(SliceDataset(dataset, idx=1)))
    assert search.best_estimator_.sparsity_ == pytest.approx(0.3, abs=0.01)


def test_several_inputs_are_an_error(case):
    with pytest.raises(ValueError, match=r"keys \['X', 'Z'\]. Only a network with one input"):
        case.make().fit({"X": case.X, "Z": case.X}, case.y)


class Items(torch.utils.data.Dataset):
    """Samples in a form of the user's own."""

    def __init__(self, case, item):
        X, y = torch.from_numpy(case.X).float(), torch.from_numpy(case.y)
        self.items = [item(*pair) for pair in zip(X, y, strict=True)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_a_dataset_may_return_dicts_with_weights(case):
    weighted = Items(case, lambda x, y: ({"X": x, "sample_weight": torch.tensor(1.0)}, y))
    plain = Items(case, lambda x, y: (x, y))
    nets = [case.make().fit(dataset) for dataset in (weighted, plain)]
    assert nets[0].sparsity_ == nets[1].sparsity_ == 0.5
    np.testing.assert_allclose(*(case.outputs(net) for net in nets), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "item, what", [(lambda x, y: x[0].item(), "float"), (lambda x, y: (x, y, y), "3 values")]
)
def test_a_dataset_with_other_items_is_an_error(case, item, what):
    with pytest.raises(ValueError, match=rf"must return pairs \(x, y\); .* returns {what}"):
        case.make().fit(Items(case, item))


def test_targets_beside_a_dataset_are_for_the_split(case):
    split = Split()
    dataset = Items(case, lambda x, y: (x, y))
    case.make(train_split=split).fit(dataset, case.y)
    assert split.dataset is dataset
    np.testing.assert_array_equal(split.y, case.y)


# -- batches --------------------------------------------------------------------------------------


def collate(samples):
    X, y = zip(*samples, strict=True)
    return torch.stack(X), torch.stack(y)


@pytest.mark.parametrize("phase", ["train", "valid"])
@pytest.mark.parametrize(
    "parameters",
    [{"num_workers": 0}, {"collate_fn": collate}, {"sampler": None}],
    ids=lambda p: next(iter(p)),
)
def test_parameters_of_a_loader_do_not_change_the_units(case, phase, parameters):
    """Only what slices of tensors cannot do is left to a loader, and it gets the same samples."""
    named = {f"iterator_{phase}__{name}": value for name, value in parameters.items()}
    settings = {"early_stopping": True, "refit_strategy": "none", "batch_size": -1}
    loader, plain = case.fit(**settings, **named), case.fit(**settings)
    for name in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(loader.history[:4, name], plain.history[:4, name], rtol=1e-4)


def test_workers_load_batches(case):
    settings = {"refit_strategy": "none", "max_epochs": 1, "batch_size": -1}
    net = case.fit(**settings, iterator_train__num_workers=1)
    expected = case.fit(**settings).history[0]["train_loss"]
    assert net.history[0]["train_loss"] == pytest.approx(expected, rel=1e-4)


# -- callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "refit", "partial_fit"])
def test_callbacks_get_the_users_data(case, method):
    y, look = list(as_users_have_it(case)), Look()
    net = case.make(batch_size=-1).fit(case.X, y)
    net.set_params(callbacks=[look])
    getattr(net, method)(case.X, y)
    (callback,) = (c for _, c in net.callbacks_ if isinstance(c, Look))
    assert callback.X is case.X and callback.y is y


class Sized(nn.Module):
    def __init__(self, input_dim=2, n_outputs=1):
        super().__init__()
        self.linear, self.output = nn.Linear(input_dim, 6), nn.Linear(6, n_outputs)

    def forward(self, X):
        return self.output(torch.tanh(self.linear(X)))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("strategy", ["finetune", "rewind"])
def test_a_callback_may_set_the_shape_of_the_network(case, method, strategy):
    settings = {"module": Sized, "module__n_outputs": n_outputs(case), "refit_strategy": strategy}
    setter = case.make(callbacks=[InputShapeSetter()], **settings)
    given = case.make(module__input_dim=5, **settings)
    for net in (setter, given):
        getattr(net, method)(case.X, case.y)
        assert net.module_.linear.weight.shape == (6, 5)
    np.testing.assert_array_equal(case.outputs(setter), case.outputs(given))
    weights = setter.module_.linear.weight.clone()
    setter.set_params(max_epochs=0).partial_fit(case.X, case.y)
    assert torch.equal(
        setter.module_.linear.weight, weights
    )  # the shape fits: nothing is made anew


def test_a_net_of_the_users_module_can_be_initialised_first(case):
    settings = {"module": Sized, "module__input_dim": 5, "module__n_outputs": n_outputs(case)}
    net = case.make(**settings).initialize()
    assert len(net.predict(case.X)) == 120
    net.partial_fit(case.X, as_users_have_it(case))
    assert net.n_features_in_ == 5 and net.n_outputs_ == n_outputs(case)
    fitted = case.make(**settings).partial_fit(case.X, as_users_have_it(case))
    np.testing.assert_array_equal(case.outputs(net), case.outputs(fitted))
    assert net.prune(pruning_ratio=0.5).sparsity_ == 0.5


def test_labels_of_an_initialised_network_are_those_of_the_first_part(classification):
    shape = {"module__n_features": 5, "module__n_outputs": 3}
    net = classification.make(**shape).initialize()
    net.partial_fit(classification.X, as_users_have_it(classification))
    assert net.classes_.tolist() == ["a", "b", "c"]
    net = classification.make(**shape).initialize()
    rows = classification.y < 2
    net.partial_fit(classification.X[rows], classification.y[rows])  # the third may follow
    assert net.partial_fit(classification.X, classification.y).classes_.tolist() == [0, 1, 2]


def test_callbacks_work_in_partial_fit(case, tmp_path, capsys):
    monitored = [
        ("checkpoint", Checkpoint(dirname=tmp_path, monitor="valid_loss_best")),
        (
            "plateau",
            LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0, threshold=9),
        ),
        ("stop", EarlyStopping("valid_loss", patience=6, threshold=9, sink=str)),
        ("batches", BatchScoring(lambda net, X, y: len(y), name="n_rows", lower_is_better=False)),
        ("score", EpochScoring("r2" if n_outputs(case) == 1 else "accuracy", name="score")),
        ("bar", ProgressBar()),
    ]
    net = case.make(
        callbacks=monitored,
        early_stopping=True,
        max_epochs=30,
        lr_schedule="constant",
        optimizer=torch.optim.SGD,
    )
    net.partial_fit(case.X, case.y)
    assert len(net.history) == 7
    assert net.optimizer_.param_groups[0]["lr"] < 0.01
    assert {path.name for path in tmp_path.iterdir()} >= {"params.pt", "history.json"}
    assert net.history[0]["n_rows"] > 0 and np.isfinite(net.history[0]["score"])
    assert capsys.readouterr().err.count("/4 [") >= 7  # batches: three of training, one held out


def test_the_doctor_of_skorch_takes_a_net(case):
    settings = {"module": Sized, "module__input_dim": 5, "module__n_outputs": n_outputs(case)}
    doctor = SkorchDoctor(case.make(max_epochs=2, **settings))
    doctor.fit(case.X, case.y)
    assert set(doctor.get_layer_names()["module"]) == {"linear", "output"}
    assert len(doctor.param_update_recs_["module"]) == 6  # three batches in each epoch


def test_a_loss_knows_whether_it_is_trained(regression):
    seen = []

    class Loss(nn.MSELoss):
        def forward(self, outputs, targets):
            seen.append((self.training, len(targets)))
            return super().forward(outputs, targets)

    regression.fit(criterion=Loss, early_stopping=True, batch_size=-1, refit_strategy="none")
    modes = {rows: {mode for mode, n in seen if n == rows} for _, rows in seen}
    assert modes[108] == {True} and modes[12] == {False}
