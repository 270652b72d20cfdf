"""Estimators that lose whole units."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import skec
from skec import PrunedMLPClassifier, PruningWarning
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria.units import UNIT_CRITERIA
from skec.networks import MLP

UNITS = {"granularity": "neuron", "hidden_layer_sizes": (12, 8), "scope": "auto"}
TINY = {"hidden_layer_sizes": (6, 5), "max_epochs": 1, "refit_epochs": 1, "batch_size": 60}


def units_left(estimator):
    """Units of each hidden layer that have weights on both sides."""
    *hidden, last = [m for m in estimator.module_.modules() if isinstance(m, nn.Linear)]
    readers = [*hidden[1:], last]
    return [
        int(((layer.weight != 0).any(1) & (reader.weight != 0).any(0)).sum())
        for layer, reader in zip(hidden, readers, strict=True)
    ]


QUICK = {
    "hidden_layer_sizes": (16,),
    "granularity": "neuron",
    "scope": "auto",
    "pruning_ratio": 0.4,
    "n_steps": 1,
    "lr": 0.03,
    "lr_schedule": "cosine",
    "max_epochs": 10,
    "refit_epochs": 5,
    "batch_size": 64,
    "early_stopping": False,
}


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")  # tiny networks of the checks
@parametrize_with_checks([PrunedMLPClassifier(**QUICK)])
def test_the_estimator_follows_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


# -- how many units ------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.9])
def test_the_ratio_counts_the_units_of_each_layer(case, ratio, n_steps):
    settings = UNITS | {"activation": "silu", "n_steps": n_steps}
    estimator = case.fit(pruning_ratio=ratio, **settings)
    expected = [max(1, math.floor(n * (1 - ratio) + 1e-9)) for n in (12, 8)]
    assert units_left(estimator) == expected
    a, b = expected
    n_outputs = 1 if case.y.dtype.kind == "f" else 3
    total = 5 * 12 + 12 * 8 + 8 * n_outputs
    left = 5 * a + a * b + b * n_outputs
    assert estimator.sparsity_ == 1 - left / total
    assert {name: int(mask.sum()) for name, mask in estimator.masks_.items()} == {
        "hidden_0": 5 * a,
        "hidden_1": a * b,
        "output": b * n_outputs,
    }


def test_units_may_compete_over_the_network(case):
    estimator = case.fit(pruning_ratio=0.6, **(UNITS | {"scope": "global"}))
    assert sum(units_left(estimator)) == 8
    assert min(units_left(estimator)) >= 1


def test_a_mapping_gives_each_hidden_layer_its_ratio(case):
    estimator = case.fit(pruning_ratio=0.9, **(UNITS | {"scope": {"hidden_1": 0.5}}))
    assert units_left(estimator) == [12, 4]
    assert estimator.masks_["hidden_0"].all()


def test_the_output_layer_has_no_say(case, assert_same_weights):
    estimators = [case.fit(prune_output_layer=given, **UNITS) for given in (False, True)]
    assert_same_weights(*[estimator.module_ for estimator in estimators])


# -- what an estimator knows of it ----------------------------------------------------------------


def own_loss(case, network):
    """The loss of a network on all data, computed without skec."""
    with torch.no_grad():
        outputs = network(torch.from_numpy(case.X)).numpy()
    if case.y.dtype.kind == "f":
        return mean_squared_error((case.y - case.y.mean()) / case.y.std(), outputs[:, 0])
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return log_loss(case.y, exponentials / exponentials.sum(axis=1, keepdims=True))


def test_the_report_has_a_row_for_each_hidden_layer(case):
    settings = UNITS | {"dtype": "float64", "refit_strategy": "none", "calibration_samples": None}
    estimator = case.fit(**settings)
    report = estimator.pruning_report_
    assert [(row["layer"], row["units"], row["units_left"]) for row in report] == [
        ("hidden_0", 12, 6),
        ("hidden_1", 8, 4),
    ]
    assert [(row["weights"], row["weights_left"]) for row in report] == [(60, 30), (96, 24)]
    before = own_loss(case, estimator.dense_module_)
    assert [row["loss_before"] for row in report] == pytest.approx([before] * 2)
    assert report.loss_before == pytest.approx(before)
    assert report.loss_after == pytest.approx(own_loss(case, estimator.module_))
    (row,) = [row for row in estimator.history if row["phase"] == "prune"]
    assert row["train_loss"] == pytest.approx(report.loss_after)
    assert sum(row["predicted_error"] for row in report) == pytest.approx(
        estimator.predicted_error_
    )


def test_the_report_tells_the_loss_of_a_layer_alone(case):
    settings = UNITS | {"dtype": "float64", "refit_strategy": "none", "calibration_samples": None}
    estimator = case.fit(**(settings | {"hidden_layer_sizes": (12,)}))
    (row,) = estimator.pruning_report_
    assert row["loss_after"] == pytest.approx(own_loss(case, estimator.module_))


def test_a_layer_that_loses_nothing_has_the_loss_from_before(case):
    settings = UNITS | {"scope": {"hidden_1": 0.5}, "refit_strategy": "none"}
    first, second = case.fit(**settings).pruning_report_
    assert second["loss_after"] != second["loss_before"]
    assert first["loss_after"] == first["loss_before"]


def test_the_history_lists_the_phases(case):
    estimator = case.fit(**UNITS, max_epochs=2, refit_epochs=1)
    assert [row["phase"] for row in estimator.history] == ["dense", "dense", "prune", "refit"]
    row = estimator.history[2]
    assert (row["pruning_ratio"], row["sparsity"]) == (0.5, estimator.sparsity_)


@pytest.mark.parametrize("settings", [{}, {"batch_norm": True, "dropout": 0.2}], ids=str)
def test_units_that_are_gone_stay_gone(case, settings, count_revived):
    estimator = case.fit(**UNITS, n_steps=3, step_epochs=1, **settings)
    left = units_left(estimator)
    assert left == [6, 4]
    estimator.refit(case.X, case.y).partial_fit(case.X, case.y)
    assert units_left(estimator) == left
    assert count_revived(estimator) == 0


def test_whole_weights_of_samples_are_copies(case):
    weight = np.arange(len(case.X)) % 3
    rows = np.repeat(np.arange(len(case.X)), weight)
    settings = UNITS | {"max_epochs": 0, "refit_strategy": "none", "dtype": "float64"}
    settings |= {"module__zero_output": False, "normalize_y": False, "method": "elimination"}
    if case.kind is PrunedMLPClassifier:
        del settings["normalize_y"]
    weighted = case.make(**settings).fit(case.X, case.y, sample_weight=weight)
    copied = case.make(**settings).fit(case.X[rows], case.y[rows])
    plain = case.make(**settings).fit(case.X, case.y)
    np.testing.assert_allclose(case.outputs(weighted), case.outputs(copied), rtol=1e-6, atol=1e-9)
    assert not np.allclose(case.outputs(weighted), case.outputs(plain), rtol=1e-4)


def test_compensation_makes_up_for_units(case):
    settings = UNITS | {"refit_strategy": "none", "max_epochs": 15, "method": "l2"}
    losses = {
        name: case.fit(compensation=name, **settings).pruning_report_.loss_after
        for name in ("none", "bias", "least_squares")
    }
    assert losses["least_squares"] < losses["bias"] < losses["none"]


@pytest.mark.parametrize("compensation", ["lbyl", "merging"])
def test_the_precision_hardly_matters(compensation):
    torch.manual_seed(0)
    module = MLP(5, 2, (12, 10, 8), "relu", zero_output=False)
    settings = {"granularity": "neuron", "method": "l2", "pruning_ratio": 0.5}
    single, double = (
        skec.prune(network, compensation=compensation, **settings)
        for network in (module, copy.deepcopy(module).double())
    )
    assert not any(scores.requires_grad for scores in double.scores.values())
    for a, b in zip(single.module.parameters(), double.module.parameters(), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


# -- pruned again ---------------------------------------------------------------------------------


def test_it_goes_from_weights_to_units_and_back(case, assert_same_weights):
    estimator = case.fit(hidden_layer_sizes=(12, 8), refit_strategy="none")
    weights = case.fit(hidden_layer_sizes=(12, 8), refit_strategy="none")
    units = case.fit(**UNITS, refit_strategy="none")
    estimator.prune(granularity="neuron", scope="auto")
    assert_same_weights(estimator.module_, units.module_)
    assert units_left(estimator) == [6, 4]
    assert [row["layer"] for row in estimator.pruning_report_] == ["hidden_0", "hidden_1"]
    assert estimator.granularity == "weight"
    estimator.prune()
    assert_same_weights(estimator.module_, weights.module_)
    assert [row["layer"] for row in estimator.pruning_report_] == ["hidden_0", "hidden_1", "output"]


def test_a_method_of_weights_alone_needs_another_for_units(case):
    estimator = case.fit(method="magnitude", hidden_layer_sizes=(12, 8), scope="layer")
    before = case.outputs(estimator)
    with pytest.raises(ValueError, match=r"'magnitude' is unknown for whole units.*'weight'"):
        estimator.prune(granularity="neuron", scope="layer")
    np.testing.assert_array_equal(case.outputs(estimator), before)
    estimator.prune(granularity="neuron", scope="layer", method="l1")
    assert units_left(estimator) == [6, 4]


# -- among others ---------------------------------------------------------------------------------


def left_as_asked(estimator, X, y):
    assert np.isfinite(estimator.predict(X)).all()
    return {"units": sum(units_left(estimator)), "sparsity": estimator.sparsity_}


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_every_way_to_prune_can_be_searched(case):
    assert set(UNIT_CRITERIA) >= {"ec", "elimination", "geometric_median", "l1", "l2", "random"}
    units = {
        "granularity": ["neuron"],
        "method": sorted(UNIT_CRITERIA),
        "compensation": ["auto", *sorted(UNIT_COMPENSATIONS)],
    }
    weights = {
        "granularity": ["weight"],
        "method": ["ec", "magnitude", "surgeon"],
        "compensation": ["auto", "none", "bias", "weights"],
    }
    estimator = case.make(**(TINY | {"scope": "auto", "activation": "relu"}))
    split = np.split(np.arange(len(case.X)), [80])
    search = GridSearchCV(
        estimator,
        [units, weights],
        scoring=left_as_asked,
        refit=False,
        cv=[split],
        error_score="raise",
    ).fit(case.X, case.y)
    found = search.cv_results_
    of_units = found["param_granularity"] == "neuron"
    assert of_units.sum() == len(UNIT_CRITERIA) * (len(UNIT_COMPENSATIONS) + 1)
    assert set(found["mean_test_units"][of_units]) == {3 + 2}
    assert np.allclose(found["mean_test_sparsity"][~of_units], 0.5, atol=0.01)


def test_in_a_pipeline(case):
    model = make_pipeline(StandardScaler(), case.make(**UNITS)).fit(case.X, case.y)
    assert units_left(model[-1]) == [6, 4]
    name = model.steps[-1][0]
    model.set_params(**{f"{name}__granularity": "weight"}).fit(case.X, case.y)
    assert model[-1].sparsity_ == pytest.approx(0.5, abs=0.01)


def test_the_random_state_decides(case, assert_same_weights):
    settings = UNITS | {"method": "random"}
    fits = [case.fit(**settings, random_state=seed) for seed in (0, 0, 1)]
    assert_same_weights(fits[0].module_, fits[1].module_)
    kept = [estimator.masks_["hidden_0"].any(1) for estimator in fits]
    assert not torch.equal(kept[0], kept[2])


# -- what does not work ---------------------------------------------------------------------------


class Skip(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.direct, self.output = nn.Linear(n_features, 4), nn.Linear(4, n_outputs)

    def forward(self, X):
        return self.output(self.direct(X) + torch.tanh(self.direct(X)))


ERRORS = [
    ({"method": "magnitude"}, "method='magnitude' is unknown for whole units; it requires"),
    ({"method": "best"}, "method='best' is unknown. Choose one of"),
    ({"compensation": "weights"}, "compensation='weights' is unknown for whole units"),
    ({"compensation": "all"}, "compensation='all' is unknown. Choose 'auto' or one of"),
    ({"granularity": "weight", "method": "l2"}, "method='l2' is unknown for single weights"),
    ({"granularity": "weight", "compensation": "lbyl"}, "'lbyl' is unknown for single weights"),
    ({"granularity": "filter"}, "granularity"),
    ({"scope": "row"}, "scope='row' is unknown for whole units"),
    ({"scope": "2:4"}, "scope='2:4' is unknown for whole units"),
    ({"scope": "wide"}, "scope='wide' is unknown"),
    ({"scope": {"output": 0.5}}, "scope names layers ['output'] that cannot be pruned"),
    ({"scope": {"hidden_0": 1.0}}, "scope['hidden_0'] must be"),
    ({"method_params": {"damping": 1.0}}, "does not fit method='ec'"),
    ({"hidden_layer_sizes": ()}, "this network has none. Use granularity='weight'"),
    ({"module": Skip}, "granularity='neuron' cannot prune this network"),
]


@pytest.mark.parametrize(("parameters", "message"), ERRORS, ids=str)
def test_errors_come_before_the_training(case, epoch_counter, parameters, message):
    settings = UNITS | {"callbacks": [("counter", epoch_counter)]} | parameters
    with pytest.raises(ValueError) as error:
        case.fit(**settings)
    assert message in str(error.value)
    assert epoch_counter.began == 0


def test_a_refused_pruning_changes_nothing(case):
    estimator = case.fit(**UNITS)
    before, history = case.outputs(estimator), len(estimator.history)
    for parameters, message in ERRORS[:13]:
        with pytest.raises(ValueError) as error:
            estimator.prune(**parameters)
        assert message in str(error.value)
    np.testing.assert_array_equal(case.outputs(estimator), before)
    assert len(estimator.history) == history
    assert units_left(estimator) == [6, 4]


def test_a_warning_tells_of_outputs_that_lost_all(case):
    constant = np.zeros_like(case.X)
    with pytest.warns(PruningWarning, match="no longer depend on the inputs|no weight left"):
        case.make(pruning_ratio=0.99, hidden_layer_sizes=(12, 8)).fit(constant, case.y)
