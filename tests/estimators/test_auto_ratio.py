"""The automatic pruning ratio, and the pruning path of an estimator."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor, PruningWarning
from skec.estimators.rows import split_indices

GRID = [round(0.02 * i, 2) for i in range(1, 50)]
AUTO = {
    "pruning_ratio": "auto",
    "early_stopping": "auto",
    "validation_fraction": 0.3,
    "max_loss_increase": 0.3,
    "refit_strategy": "none",
    "dtype": "float64",
    "max_epochs": 40,
    "lr": 0.03,
}


@pytest.fixture
def fit(case):
    return lambda **parameters: case.fit(**(AUTO | parameters))


def held_out_rows(estimator, y):
    """The rows that the dense phase holds out, and the sample order of the library's split."""
    rng = np.random.RandomState(estimator._seed_)
    stratify = None if y.dtype.kind == "f" or y.ndim > 1 else np.unique(y, return_inverse=True)[1]
    return split_indices(len(y), estimator.validation_fraction, rng, stratify)[1]


def losses_of_rows(estimator, module, X, y):
    """The loss of each row, computed with numpy."""
    with torch.no_grad():
        outputs = copy.deepcopy(module).eval()(torch.from_numpy(X)).numpy()
    if isinstance(estimator, PrunedMLPRegressor):
        targets = (y.reshape(len(y), -1) - estimator.y_mean_) / estimator.y_scale_
        return ((outputs - targets) ** 2).mean(axis=1)
    if y.ndim > 1:
        return (np.logaddexp(0.0, outputs) - y * outputs).mean(axis=1)
    logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(y)), np.searchsorted(estimator.classes_, y)]


def judged(estimator, ratio, X, y, weight=None):
    """Mean increase of the loss, its standard error and the verdict, by calls of ``prune``."""
    pruned = estimator.prune(pruning_ratio=ratio, copy=True)
    weight = np.ones(len(X)) if weight is None else weight / weight.mean()
    before = weight * losses_of_rows(estimator, estimator.dense_module_, X, y)
    difference = weight * losses_of_rows(estimator, pruned.module_, X, y) - before
    error = np.sqrt(np.sum((difference - difference.mean()) ** 2) / (len(X) - 1) / len(X))
    limit = estimator.max_loss_increase * abs(before.mean())
    return difference.mean(), error, difference.mean() + error <= limit


def assert_searched(estimator, X, y, weight=None):
    """The search is a bisection of the grid, by the rule, and its outcome is that of ``prune``."""
    low, high, expected = 0, len(GRID), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruningWarning)
        while low < high:
            middle = (low + high) // 2
            expected[GRID[middle]] = judged(estimator, GRID[middle], X, y, weight)
            low, high = (middle + 1, high) if expected[GRID[middle]][2] else (low, middle)
        ratio = GRID[low - 1] if low else 0.0
        alone = estimator.prune(pruning_ratio=ratio, copy=True)
    curve = estimator.pruning_curve_
    assert curve.pruning_ratios.tolist() == sorted(expected)
    increases, errors, accepted = zip(*(expected[r] for r in sorted(expected)), strict=True)
    np.testing.assert_allclose(curve.loss_increases, increases, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(curve.standard_errors, errors, rtol=1e-7, atol=1e-12)
    assert curve.accepted.tolist() == list(accepted)
    assert curve.n_samples == len(X)
    assert estimator.pruning_ratio_ == ratio
    assert estimator.sparsity_ == alone.sparsity_
    for name, mask in estimator.masks_.items():
        assert torch.equal(mask, alone.masks_[name])


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"max_loss_increase": 0.05, "method": "magnitude"},
        {"granularity": "neuron", "max_loss_increase": 1.0},
        {"n_steps": 3, "scope": "layer"},
        {"calibration_samples": 30, "prune_output_layer": False},
        {"early_stopping": True, "validation_fraction": 0.5},
    ],
    ids=str,
)
def test_the_ratio_is_the_largest_that_the_rule_accepts(case, fit, assert_same_weights, parameters):
    estimator = fit(**parameters)
    rows = held_out_rows(estimator, case.y)
    X, y = case.X[rows], case.y[rows]
    dense = losses_of_rows(estimator, estimator.dense_module_, X, y)
    assert estimator.pruning_curve_.dense_loss == pytest.approx(dense.mean(), rel=1e-9)
    assert_searched(estimator, X, y)
    assert 0 < estimator.pruning_ratio_ < 0.98, "the test needs a ratio between the ends"
    assert len(estimator.pruning_curve_.accepted) <= 6
    fixed = estimator.pruning_ratio_
    same = case.fit(**(AUTO | parameters | {"pruning_ratio": fixed}))
    assert_same_weights(estimator.module_, same.module_)


def test_a_larger_allowance_never_prunes_less(fit):
    ratios = [fit(max_loss_increase=share).pruning_ratio_ for share in (0.02, 0.1, 0.5, 2.0)]
    assert ratios == sorted(ratios)
    assert ratios[0] < ratios[-1]


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_an_unlimited_allowance_takes_the_largest_ratio(fit):
    estimator = fit(max_loss_increase=1e9)
    assert estimator.pruning_ratio_ == 0.98
    assert estimator.pruning_curve_.accepted.all()


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_without_an_acceptable_ratio_the_network_stays_dense(case, fit, assert_same_weights):
    with pytest.warns(UserWarning, match=r"stays dense\. Even pruning_ratio=0\.02.*Raise max_loss"):
        estimator = fit(max_loss_increase=0.0, method="random", refit_strategy="finetune")
    assert estimator.pruning_ratio_ == 0.0
    assert estimator.sparsity_ == 0.0
    assert not estimator.pruning_curve_.accepted.any()
    assert_same_weights(estimator.module_, estimator.dense_module_)
    assert [row["phase"] for row in estimator.history].count("refit") == 0


def test_the_chosen_network_warns_of_cuts_and_the_others_do_not(fit):
    with pytest.warns(PruningWarning) as caught:
        estimator = fit(max_loss_increase=1e9, method="random", scope="layer")
    assert estimator.pruning_ratio_ == 0.98
    assert len([each for each in caught if each.category is PruningWarning]) == 1


def test_a_loss_below_zero_is_taken_without_its_sign():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = rng.poisson(np.exp(2.0 + 0.5 * X[:, 0])).astype(float)
    estimator = PrunedMLPRegressor(
        (8,), criterion=nn.PoissonNLLLoss, normalize_y=False, random_state=0, **AUTO
    ).fit(X, y)
    curve = estimator.pruning_curve_
    assert curve.dense_loss < 0
    assert estimator.pruning_ratio_ > 0
    sums = curve.loss_increases + curve.standard_errors
    np.testing.assert_array_equal(curve.accepted, sums <= 0.3 * -curve.dense_loss)


# -- kinds of data ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_sample_weights_weight_the_losses(case):
    weight = np.random.default_rng(3).uniform(0.2, 3.0, len(case.X))
    estimator = case.make(**AUTO).fit(case.X, case.y, sample_weight=weight)
    rows = held_out_rows(estimator, case.y)
    assert_searched(estimator, case.X[rows], case.y[rows], weight[rows])


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_class_weights_weight_the_losses(classification):
    X, y = classification.X, classification.y
    estimator = classification.fit(**AUTO, class_weight={0: 3.0, 1: 0.5, 2: 1.0})
    rows = held_out_rows(estimator, y)
    assert_searched(estimator, X[rows], y[rows], np.array([3.0, 0.5, 1.0])[y[rows]])


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_several_outputs(regression):
    Y = np.column_stack([regression.y, 100.0 * regression.X[:, 2]])
    estimator = regression.make(**AUTO).fit(regression.X, Y)
    rows = held_out_rows(estimator, Y)
    assert_searched(estimator, regression.X[rows], Y[rows])


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_several_labels(classification):
    X = classification.X
    Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0.5]).astype(int)
    estimator = classification.make(**AUTO).fit(X, Y)
    rows = held_out_rows(estimator, Y)
    assert_searched(estimator, X[rows], Y[rows])


class FirstRows:
    """A split that holds out the first rows."""

    def __call__(self, dataset, y=None):
        n_rows = len(dataset)
        parts = np.arange(40, n_rows), np.arange(40)
        return tuple(torch.utils.data.Subset(dataset, part) for part in parts)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("loader", ["auto", torch.utils.data.DataLoader])
def test_a_split_of_the_user_holds_out_its_rows(case, fit, loader):
    estimator = fit(train_split=FirstRows(), early_stopping=False, iterator_train=loader)
    assert_searched(estimator, case.X[:40], case.y[:40])


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_a_dataset_has_held_out_rows_too(regression):
    X, y = torch.from_numpy(regression.X), torch.from_numpy(regression.y)
    dataset = torch.utils.data.TensorDataset(X, y[:, None] / 3.0)
    estimator = regression.make(**AUTO).fit(dataset)
    rows = held_out_rows(estimator, regression.y)
    assert_searched(estimator, regression.X[rows], regression.y[rows] / 3.0)


# -- mistakes --------------------------------------------------------------------------------------


class WithoutReduction(nn.Module):
    def forward(self, outputs, y):
        return torch.zeros(()) + outputs.square().mean()


class OnlyMean(nn.MSELoss):
    def forward(self, outputs, y):
        return outputs.square().mean()


class NothingHeldOut:
    def __repr__(self):
        return "NothingHeldOut()"

    def __call__(self, dataset, y=None):
        return dataset, None


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"early_stopping": False}, "0 are held out, with early_stopping=False.*=True.*a number"),
        ({"train_split": None}, "train_split=None.*train_split='auto'"),
        ({"train_split": NothingHeldOut()}, "of these 120 rows 0 are held out"),
        ({"validation_fraction": 0.001}, "1 are held out.*validation_fraction=0.001"),
        ({"step_epochs": 2}, r"got step_epochs=2\. Set step_epochs=0"),
        ({"criterion": WithoutReduction}, "'auto' needs a criterion with reduction='mean'"),
        ({"criterion": OnlyMean}, "OnlyMean does not return it with reduction='none'"),
        ({"scope": "2:4"}, "pruning_ratio='auto' compares.*scope=PatternScope replaces"),
        ({"scope": {"hidden_0": 0.5}}, "scope=LayerRatios replaces"),
        ({"granularity": "neuron", "scope": {"hidden_0": 0.5}}, "scope=UnitLayerRatios replaces"),
        ({"pruning_ratio": "best"}, "'pruning_ratio' parameter.*'auto'.*Got 'best'"),
        ({"max_loss_increase": -0.1}, "'max_loss_increase' parameter.*Got -0.1"),
        ({"max_loss_increase": True}, "'max_loss_increase' parameter.*Got True"),
        ({"max_loss_increase": None}, "'max_loss_increase' parameter.*Got None"),
    ],
    ids=str,
)
def test_a_mistake_is_named_before_any_training(case, epoch_counter, parameters, message):
    if "criterion" in parameters and case.kind is PrunedMLPClassifier:
        pytest.skip("losses of a regressor")
    callbacks = {"callbacks": [("counter", epoch_counter)]}
    estimator = case.make(**(AUTO | callbacks | parameters))
    state = vars(estimator).copy()
    with pytest.raises(ValueError, match=message):
        estimator.fit(case.X, case.y)
    assert epoch_counter.began == 0
    assert vars(estimator) == state


def test_few_rows_are_not_held_out_by_default(case):
    estimator = case.make(**AUTO)
    with pytest.raises(ValueError, match=r"of these 99 rows 0 are held out.*from 100 on"):
        estimator.fit(case.X[:99], case.y[:99])
    assert estimator.set_params(early_stopping=True).fit(case.X[:99], case.y[:99]).pruning_ratio_


def test_a_pruner_takes_no_automatic_ratio(case):
    with pytest.raises(ValueError, match=r"'pruning_ratio'.*ECPruner.*got 'auto'\. Pass a number"):
        ECPruner(case.make(), pruning_ratio="auto").fit(case.X, case.y)


def test_a_pruner_trains_the_estimator_without_its_automatic_ratio(case):
    inner = case.make(pruning_ratio="auto")  # holds out nothing
    pruner = ECPruner(inner, pruning_ratio=0.5).fit(case.X, case.y)
    assert pruner.sparsity_ == 0.5
    assert pruner.estimator_.pruning_ratio_ == 0.5


# -- pruning again ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_pruning_again_searches_again(case, fit, assert_same_weights):
    estimator = fit()
    first, curve = copy.deepcopy(estimator.module_), estimator.pruning_curve_
    estimator.prune(pruning_ratio=0.3)
    assert estimator.pruning_ratio_ == 0.3
    assert not hasattr(estimator, "pruning_curve_")
    estimator.prune()
    assert_same_weights(estimator.module_, first)
    for name, values in curve.items():
        np.testing.assert_array_equal(estimator.pruning_curve_[name], values)
    estimator.prune(max_loss_increase=1e9)
    assert estimator.pruning_ratio_ == 0.98
    assert estimator.max_loss_increase == AUTO["max_loss_increase"]
    estimator.prune(method="magnitude", max_loss_increase=0.3)
    other = fit(method="magnitude")
    assert estimator.pruning_ratio_ == other.pruning_ratio_
    assert_same_weights(estimator.module_, other.module_)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("training", [False, True])
def test_the_network_gets_the_modes_of_the_dense_network(case, fit, training):
    estimator = fit()
    estimator.dense_module_.train(training)
    estimator.prune(case.X)  # without targets: the report measures no losses
    assert all(part.training is training for part in estimator.module_.modules())


@pytest.mark.parametrize("forget", ["number", "partial_fit", "compact"])
def test_without_held_out_rows_there_is_no_automatic_ratio(case, fit, forget):
    estimator = fit(pruning_ratio=0.5) if forget == "number" else fit()
    if forget == "partial_fit":
        estimator.partial_fit(case.X, case.y, epochs=1)
    elif forget == "compact":
        estimator.compact()
    state = vars(estimator).copy()
    with pytest.raises(
        ValueError, match=r"needs rows on which.*Call fit with pruning_ratio='auto'"
    ):
        estimator.prune(case.X, case.y, pruning_ratio="auto")
    assert vars(estimator) == state


def test_a_new_fit_with_a_number_forgets_the_search(case, fit):
    estimator = fit()
    estimator.set_params(pruning_ratio=0.4).fit(case.X, case.y)
    assert estimator.pruning_ratio_ == 0.4
    assert not hasattr(estimator, "pruning_curve_")
    assert not hasattr(estimator, "_held_out_")


class Bomb(Callback):
    def on_prune_end(self, net, **kwargs):
        if net.pruning_ratio_ == 0.5:
            raise RuntimeError("boom")


def test_a_failed_pruning_restores_the_search(case, fit, assert_same_weights):
    estimator = fit(callbacks=[("bomb", Bomb())])
    before, state = copy.deepcopy(estimator.module_), vars(estimator).copy()
    assert estimator.pruning_ratio_ != 0.5
    with pytest.raises(RuntimeError, match="boom"):
        estimator.prune(pruning_ratio=0.5)
    assert vars(estimator) == state
    assert_same_weights(estimator.module_, before)


class Prunings(Callback):
    def __init__(self):
        self.results = []

    def on_prune_end(self, net, result=None, **kwargs):
        self.results.append(result.sparsity)


def test_the_history_and_the_callbacks_hear_of_one_pruning(fit):
    callback = Prunings()
    estimator = fit(callbacks=[("prunings", callback)], refit_strategy="finetune")
    assert callback.results == [estimator.sparsity_]
    (row,) = [row for row in estimator.history if row["phase"] == "prune"]
    assert row["pruning_ratio"] == estimator.pruning_ratio_
    assert [each["phase"] for each in estimator.history].count("refit") == 2


# -- scikit-learn ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_clones_and_pickles(case, fit, assert_same_weights):
    estimator = fit()
    again = clone(estimator).fit(case.X, case.y)
    assert_same_weights(again.module_, estimator.module_)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert loaded.pruning_ratio_ == estimator.pruning_ratio_
    assert_same_weights(loaded.prune().module_, estimator.module_)
    np.testing.assert_array_equal(loaded.pruning_curve_.accepted, estimator.pruning_curve_.accepted)


def test_a_trimmed_estimator_keeps_no_rows(fit):
    estimator = fit()
    estimator.trim_for_prediction()
    assert not hasattr(estimator, "_held_out_")


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_a_grid_search_compares_numbers_with_auto(case):
    search = GridSearchCV(
        case.make(**(AUTO | {"early_stopping": True})),
        {"pruning_ratio": [0.5, "auto"]}, cv=2, error_score="raise",
    ).fit(case.X, case.y)  # fmt: skip
    assert search.best_estimator_.pruning_ratio_ > 0
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_a_warm_start_searches_again(case, fit):
    estimator = fit(warm_start=True, refit_strategy="finetune")
    estimator.fit(case.X, case.y)
    rows = held_out_rows(estimator, case.y)
    assert_searched(estimator.prune(), case.X[rows], case.y[rows])


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_rewinding_and_other_splits(case, fit):
    estimator = fit(refit_strategy="rewind", train_split=ValidSplit(3))
    assert estimator.pruning_curve_.n_samples == 40
    assert estimator.sparsity_ == pytest.approx(estimator.pruning_ratio_, abs=0.01)


def test_a_given_number_is_the_ratio_that_was_used(case):
    estimator = case.fit(pruning_ratio=0.33)
    assert estimator.pruning_ratio_ == 0.33
    assert not hasattr(estimator, "pruning_curve_")
    assert not hasattr(estimator, "_held_out_")


# -- the path of an estimator ----------------------------------------------------------------------


SETTINGS = [
    {},
    {"method": "magnitude"},
    {"method": "random", "n_steps": 2},
    {"method": "ec", "n_steps": 3, "schedule": "linear", "output_metric": "identity"},
    {"method": "surgeon", "n_steps": 2},
    {"granularity": "neuron", "method": "elimination"},
    {"granularity": "neuron", "method": "l2", "compensation": "lbyl"},
    {"layers": ["hidden_0"], "scope": "row"},
]


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_ratio_of_a_path_is_that_of_prune(case, settings, with_data):
    estimator = case.fit(dtype="float64", method="taylor", prune_output_layer=False)
    data = (2.0 * case.X[:70], case.y[:70]) if with_data else ()
    path = estimator.pruning_path(*data, pruning_ratios=[0.0, 0.4, 0.7], **settings)
    for i, ratio in enumerate([0.0, 0.4, 0.7]):
        alone = estimator.prune(*data, pruning_ratio=ratio, copy=True, **settings)
        assert path.pruning_ratios[i] == ratio
        assert path.sparsities[i] == alone.sparsity_
        assert path.n_weights[i] == sum(int(mask.sum()) for mask in alone.masks_.values())
        predicted = np.nan if alone.predicted_error_ is None else alone.predicted_error_
        np.testing.assert_array_equal(path.predicted_errors[i], predicted)
        assert path.losses[i] == alone.pruning_report_.loss_after
    X, y = data if with_data else (case.X, case.y)
    expected = losses_of_rows(estimator, estimator.dense_module_, X, y).mean()
    assert path.dense_loss == pytest.approx(expected, rel=1e-9)


def state_of(value):
    """Everything that a value consists of, to the last bit."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy().tobytes(), value.requires_grad, value.grad
    if isinstance(value, nn.Module):
        modes = [part.training for part in value.modules()]
        return type(value), modes, state_of(dict(value.state_dict()))
    if isinstance(value, torch.optim.Optimizer):
        return state_of(value.state_dict())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.tolist()
    if isinstance(value, dict):
        return {key: state_of(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [state_of(each) for each in value]
    if isinstance(value, np.random.RandomState):
        return str(value.get_state())
    if hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return type(value), state_of(vars(value))
    return repr(value)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("kind", ["fitted", "auto", "stream", "made", "initialized"])
@pytest.mark.parametrize("with_data", [False, True])
def test_a_path_changes_nothing(case, fit, kind, with_data):
    random_state = np.random.RandomState(0)
    if kind == "auto":
        estimator = fit(random_state=random_state)
    elif kind == "stream":
        estimator = case.make(random_state=random_state, feature_scaling="auto")
        estimator.partial_fit(case.X[:20], case.y[:20], epochs=1)
    elif kind == "made":
        n_outputs = 1 if case.kind is PrunedMLPRegressor else 3
        network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, n_outputs))
        estimator = case.kind.from_network(network, random_state=random_state)
    elif kind == "initialized":
        sizes = {"n_features": 5, "n_outputs": 1 if case.kind is PrunedMLPRegressor else 3}
        module = {f"module__{name}": size for name, size in sizes.items()}
        estimator = case.make(random_state=random_state, feature_scaling="auto", **module)
        estimator.initialize()
    else:
        estimator = case.fit(random_state=random_state)
    data = (case.X, case.y) if with_data or kind in ("made", "initialized") else ()
    before = state_of(vars(estimator))
    names, objects = list(vars(estimator)), [id(each) for each in vars(estimator).values()]
    numpys, torchs = str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    for settings in ({}, {"method": "random", "n_steps": 2}, {"granularity": "neuron"}):
        assert np.isfinite(estimator.pruning_path(*data, **settings).losses).all()
    assert list(vars(estimator)) == names
    assert [id(each) for each in vars(estimator).values()] == objects
    assert state_of(vars(estimator)) == before
    assert str(np.random.get_state()) == numpys  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torchs)


class Counted(nn.MSELoss):
    """A loss that changes when it is called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, outputs, y):
        self.calls += 1
        return super().forward(outputs, y)


def test_a_path_does_not_call_the_loss_of_the_estimator(regression):
    estimator = regression.fit(criterion=Counted, method="taylor")
    calls = float(estimator.criterion_.calls)
    assert calls > 0
    assert np.isfinite(estimator.pruning_path(regression.X, regression.y).losses).all()
    assert float(estimator.criterion_.calls) == calls


def test_a_path_needs_no_targets(case):
    estimator = case.fit()
    path = estimator.pruning_path(case.X, pruning_ratios=[0.5])
    assert np.isnan([path.dense_loss, *path.losses]).all()
    assert path.sparsities[0] == 0.5


def test_sample_weights_weight_the_losses_of_a_path(case):
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(case.X))
    estimator = case.fit(dtype="float64")
    path = estimator.pruning_path(case.X, case.y, sample_weight=weight, pruning_ratios=[0.0])
    rows = losses_of_rows(estimator, estimator.dense_module_, case.X, case.y)
    assert path.dense_loss == pytest.approx(np.average(rows, weights=weight), rel=1e-9)


def test_a_path_without_calibration_samples_needs_data(case):
    estimator = case.fit().compact()
    with pytest.raises(ValueError, match=r"no calibration samples.*pass X and y to pruning_path"):
        estimator.pruning_path()
    assert len(estimator.pruning_path(case.X, case.y).losses) == 12
    path = estimator.pruning_path(method="magnitude", compensation="none")
    assert np.isnan(path.losses).all()


def test_a_path_works_with_an_automatic_ratio_and_other_mistakes_are_named(case, fit):
    estimator = fit()
    assert len(estimator.pruning_path(pruning_ratios=[0.1, 0.2]).losses) == 2
    with pytest.raises(ValueError, match="pruning_ratios must be a list"):
        estimator.pruning_path(pruning_ratios=0.5)
    with pytest.raises(ValueError, match=r"A pruning path compares.*scope=PatternScope"):
        estimator.pruning_path(scope="2:4")
    with pytest.raises(ValueError, match="'n_steps' parameter"):
        estimator.pruning_path(n_steps=0)
