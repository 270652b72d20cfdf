"""ECPruner: pruning the network of another estimator."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

import skec
from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor

SMALL = {"hidden_layer_sizes": (24, 16), "max_epochs": 8, "batch_size": 32, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 6))
TARGET = X[:, 0] - X[:, 1] ** 2
LABELS = (TARGET > 0).astype(int)


def regressor(**parameters):
    return PrunedMLPRegressor(**(SMALL | parameters))


def classifier(**parameters):
    return PrunedMLPClassifier(**(SMALL | parameters))


def skorch_net(kind=NeuralNetClassifier, **parameters):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(6, 20), nn.BatchNorm1d(20), nn.Tanh(), nn.Dropout(0.1), nn.Linear(20, 12),
        nn.GELU(), nn.Linear(12, 2 if kind is NeuralNetClassifier else 1),
    )  # fmt: skip
    if kind is NeuralNetClassifier:
        parameters.setdefault("criterion", nn.CrossEntropyLoss)
    defaults = {"max_epochs": 3, "verbose": 0, "train_split": None, "lr": 0.05}
    return kind(module, **(defaults | parameters))


def states(net):
    return [p.detach().clone() for p in net.module_.parameters()]


QUICK = {"hidden_layer_sizes": (16,), "lr": 0.03, "max_epochs": 10, "refit_epochs": 10}


@parametrize_with_checks(
    [ECPruner(PrunedMLPRegressor(**QUICK)), ECPruner(PrunedMLPClassifier(**QUICK))]
)
def test_conformance(estimator, check):
    check(estimator)


class TestWhatIsPruned:
    @pytest.mark.parametrize("ratio", [0.0, 0.37, 0.8])
    def test_sparsity_is_exact_and_zeros_are_zeros(self, ratio):
        pruner = ECPruner(regressor(), pruning_ratio=ratio).fit(X, TARGET)
        total = sum(mask.numel() for mask in pruner.masks_.values())
        removed = sum(int((~mask).sum()) for mask in pruner.masks_.values())
        assert removed == round(ratio * total)
        assert pruner.sparsity_ == removed / total
        for name, mask in pruner.masks_.items():
            weight = pruner.estimator_.module_.get_submodule(name).weight
            assert (weight[~mask] == 0).all()

    def test_it_prunes_as_the_function_does(self):
        net = regressor(pruning_ratio=0.0).fit(X, TARGET)
        pruner = ECPruner(net, prefit=True, pruning_ratio=0.6, n_steps=1, random_state=0)
        pruner.fit(X, TARGET)
        expected = skec.prune(
            net.module_, X, pruning_ratio=0.6, n_steps=1, loss=nn.MSELoss(), batch_size=512
        )
        for name, mask in expected.masks.items():
            assert torch.equal(pruner.masks_[name], mask)
            torch.testing.assert_close(pruner.scores_[name], expected.scores[name])

    def test_a_pruned_mlp_is_trained_dense(self):
        a = ECPruner(regressor(pruning_ratio=0.9), pruning_ratio=0.3).fit(X, TARGET)
        b = ECPruner(regressor(pruning_ratio=0.0), pruning_ratio=0.3).fit(X, TARGET)
        np.testing.assert_array_equal(a.predict(X), b.predict(X))

    def test_the_output_layer_and_chosen_layers(self):
        whole = ECPruner(regressor(), prune_output_layer=False).fit(X, TARGET)
        assert list(whole.masks_) == ["hidden_0", "hidden_1"]
        chosen = ECPruner(regressor(), layers=["hidden_1"]).fit(X, TARGET)
        assert list(chosen.masks_) == ["hidden_1"]

    def test_layers_count_in_the_order_of_the_forward_pass(self):
        class Reversed(nn.Module):
            def __init__(self):
                super().__init__()
                self.last, self.first = nn.Linear(5, 2), nn.Linear(6, 5)

            def forward(self, x):
                return self.last(torch.relu(self.first(x)))

        net = NeuralNetClassifier(
            Reversed, criterion=nn.CrossEntropyLoss, verbose=0, train_split=None, max_epochs=1
        )
        pruner = ECPruner(net, prune_output_layer=False).fit(X, LABELS)
        assert list(pruner.masks_) == ["first"]
        assert pruner.transform(X).shape[1] <= 5


class TestTheCallersEstimator:
    @pytest.mark.parametrize("how", ["prefit", "frozen"])
    @pytest.mark.parametrize("make", [regressor, classifier, skorch_net])
    def test_is_never_changed(self, make, how):
        y = TARGET if make is regressor else LABELS
        net = make().fit(X.astype(np.float32), y)
        before, parameters = states(net), copy.copy(vars(net))
        given = FrozenEstimator(net) if how == "frozen" else net
        pruner = ECPruner(given, prefit=how == "prefit", pruning_ratio=0.7, refit_epochs=2)
        pruner.fit(X, y)
        assert pruner.estimator_ is not net
        assert all(map(torch.equal, states(net), before))
        assert set(vars(net)) == set(parameters)
        assert any((p == 0).any() for p in states(pruner.estimator_))

    def test_is_cloned_and_fitted_otherwise(self):
        net = regressor()
        pruner = ECPruner(net).fit(X, TARGET)
        with pytest.raises(NotFittedError):
            net.predict(X)
        assert pruner.predict(X).shape == (150,)

    def test_a_failed_fit_leaves_the_pruner(self):
        pruner = ECPruner(regressor()).fit(X, TARGET)
        before = pruner.predict(X)
        with pytest.raises(ValueError, match="NaN"):
            pruner.fit(X * np.nan, TARGET)
        np.testing.assert_array_equal(pruner.predict(X), before)

    def test_data_are_not_changed(self):
        X_, y_ = X.copy(), TARGET.copy()
        ECPruner(regressor(), refit_epochs=1).fit(X_, y_).transform(X_)
        np.testing.assert_array_equal(X_, X)
        np.testing.assert_array_equal(y_, TARGET)


class TestTransform:
    def hidden(self, pruner):
        """The last hidden layer, computed by hand."""
        module = copy.deepcopy(pruner.estimator_.module_).eval()
        *body, last = list(module)
        with torch.no_grad():
            h = nn.Sequential(*body)(torch.tensor(X, dtype=torch.float32))
        return h.numpy(), (last.weight != 0).any(0).numpy()

    def test_hidden_units_that_are_alive(self):
        pruner = ECPruner(regressor(), pruning_ratio=0.95, n_steps=10).fit(X, TARGET)
        h, outgoing = self.hidden(pruner)
        constant = h.std(0) < 1e-7
        found = pruner.transform(X)
        np.testing.assert_allclose(found, h[:, outgoing & ~constant], rtol=1e-5, atol=1e-6)
        assert found.shape[1] < 16
        names = pruner.get_feature_names_out()
        assert list(names) == [f"hidden_{i}" for i in np.flatnonzero(outgoing & ~constant)]

    def test_hidden_units_behind_an_activation_that_occurs_twice(self):
        torch.manual_seed(0)
        act = nn.Tanh()
        module = nn.Sequential(nn.Linear(6, 9), act, nn.Linear(9, 8), act, nn.Linear(8, 2))
        net = NeuralNetClassifier(
            module, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0, train_split=None
        )
        pruner = ECPruner(net, pruning_ratio=0.3).fit(X.astype(np.float32), LABELS)
        h, outgoing = self.hidden(pruner)
        np.testing.assert_allclose(pruner.transform(X), h[:, outgoing], rtol=1e-5, atol=1e-6)

    def test_outputs(self):
        pruner = ECPruner(regressor(), output="output").fit(X, TARGET)
        np.testing.assert_array_equal(pruner.transform(X), pruner.predict(X)[:, None])
        pruner = ECPruner(classifier(), output="output").fit(X, np.array(["no", "yes"])[LABELS])
        np.testing.assert_array_equal(pruner.transform(X), pruner.predict_proba(X))
        assert list(pruner.get_feature_names_out()) == ["output_no", "output_yes"]

    def test_columns_can_be_put_back(self):
        pruner = ECPruner(regressor(), output="features", pruning_ratio=0.9).fit(X, TARGET)
        back, support = pruner.inverse_transform(pruner.transform(X)), pruner.get_support()
        np.testing.assert_array_equal(back[:, support], X[:, support])
        assert not back[:, ~support].any()

    @pytest.mark.parametrize("output", ["hidden", "output"])
    def test_units_and_outputs_are_no_columns(self, output):
        pruner = ECPruner(regressor(), output=output).fit(X, TARGET)
        assert not hasattr(pruner, "inverse_transform")

    def test_the_support_is_that_of_the_network_after_the_refit(self):
        settings = {"output": "features", "pruning_ratio": 0.9, "random_state": 0}
        pruner = ECPruner(regressor(), refit_epochs=3, **settings).fit(X, TARGET)
        used = (pruner.estimator_.network_.hidden_0.weight != 0).any(0)
        used = used.unflatten(0, (6, -1)).any(1).numpy()  # the columns of each embedding
        assert (pruner.get_support() <= used).all()
        moved = X.copy()
        moved[:, ~pruner.get_support()] += 5.0
        np.testing.assert_array_equal(pruner.predict(moved), pruner.predict(X))

    def test_features_that_have_a_weight(self):
        wide = np.column_stack([X, np.ones((150, 3))])  # constant columns cost nothing
        pruner = ECPruner(regressor(), output="features", pruning_ratio=0.8).fit(wide, TARGET)
        support = pruner.get_support()
        assert not support[6:].any()
        assert support[:2].all()
        np.testing.assert_array_equal(pruner.transform(wide), wide[:, support])
        np.testing.assert_array_equal(pruner.get_support(indices=True), np.flatnonzero(support))

    def test_frames(self):
        frame = pd.DataFrame(X, columns=list("abcdef"))
        pruner = ECPruner(regressor(), output="features").set_output(transform="pandas")
        out = pruner.fit_transform(frame, TARGET)
        assert list(out.columns) == [
            n for n, s in zip("abcdef", pruner.get_support(), strict=True) if s
        ]
        with pytest.raises(ValueError, match="feature names"):
            pruner.transform(frame.rename(columns={"a": "z"}))

    def test_unknown_output(self):
        pruner = ECPruner(regressor()).fit(X, TARGET).set_params(output="middle")
        with pytest.raises(ValueError, match="'hidden', 'output', 'features'"):
            pruner.transform(X)


class TestSkorchNets:
    @pytest.mark.parametrize("kind", [NeuralNetClassifier, NeuralNetRegressor])
    @pytest.mark.parametrize("method", ["ec", "magnitude", "gradient", "taylor", "random"])
    def test_any_method(self, kind, method):
        y = LABELS if kind is NeuralNetClassifier else TARGET[:, None].astype(np.float32)
        pruner = ECPruner(skorch_net(kind), pruning_ratio=0.5, method=method, random_state=0)
        pruner.fit(X, y)
        assert pruner.sparsity_ == pytest.approx(0.5, abs=1 / 400)
        assert pruner.predict(X).shape == ((150,) if kind is NeuralNetClassifier else (150, 1))

    def test_refit_and_later_training_keep_the_mask(self):
        net = skorch_net(optimizer=torch.optim.AdamW, optimizer__weight_decay=0.5)
        pruner = ECPruner(net, pruning_ratio=0.7, refit_epochs=2).fit(X, LABELS)
        trained = pickle.loads(pickle.dumps(pruner)).estimator_
        before = states(trained)
        trained.partial_fit(X.astype(np.float32), LABELS)
        assert any(not torch.equal(a, b) for a, b in zip(states(trained), before, strict=True))
        for name, mask in pruner.masks_.items():
            assert (trained.module_.get_submodule(name).weight[~mask] == 0).all()

    def test_a_net_without_linear_layers(self):
        class Bilinear(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(6, 2))

            def forward(self, x):
                return x @ self.weight

        net = skorch_net()
        net.set_params(module=Bilinear)
        with pytest.raises(ValueError, match="no prunable layer"):
            ECPruner(net).fit(X, LABELS)


class TestUnits:
    @pytest.mark.parametrize("make", [regressor, classifier, skorch_net])
    def test_are_removed_from_any_estimator(self, make):
        y = TARGET if make is regressor else LABELS
        pruner = ECPruner(make(), granularity="neuron", pruning_ratio=0.5).fit(X, y)
        first, second = (20, 12) if make is skorch_net else (24, 16)
        assert [(row["units"], row["units_left"]) for row in pruner.pruning_report_] == [
            (first, first // 2),
            (second, second // 2),
        ]
        assert [len(scores) for scores in pruner.scores_.values()] == [first, second]
        assert pruner.transform(X).shape == (150, second // 2)
        assert len(pruner.masks_) == 3
        for name, mask in pruner.masks_.items():
            weight = pruner.estimator_.module_.get_submodule(name).weight
            assert not weight[~mask].any()

    def test_it_prunes_as_the_function_does(self):
        net = regressor(pruning_ratio=0.0).fit(X, TARGET)
        choice = {"granularity": "neuron", "pruning_ratio": 0.6, "method": "elimination"}
        pruner = ECPruner(net, prefit=True, n_steps=2, random_state=0, **choice).fit(X, TARGET)
        expected = skec.prune(
            net.module_, X, n_steps=2, loss=nn.MSELoss(), random_state=0, **choice
        )
        for name, mask in expected.masks.items():
            assert torch.equal(pruner.masks_[name], mask)

    def test_of_chosen_layers(self):
        pruner = ECPruner(regressor(), granularity="neuron", layers=["hidden_1"]).fit(X, TARGET)
        assert list(pruner.scores_) == ["hidden_1"]
        with pytest.raises(ValueError, match="'output' are the network's outputs"):
            ECPruner(regressor(), granularity="neuron", layers=["output"]).fit(X, TARGET)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"method": "magnitude"}, "it requires granularity='weight'"),
            ({"method": "obd"}, "it requires granularity='weight'"),
            ({"scope": "row"}, "scope='row' is unknown for whole units"),
            ({"granularity": "weight", "method": "l1"}, "it requires granularity='neuron'"),
            ({"granularity": "channel"}, "granularity"),
        ],
        ids=str,
    )
    def test_names_are_checked_before_the_estimator_is_fitted(self, parameters, message):
        class Untrained(PrunedMLPRegressor):
            def fit(self, *args, **kwargs):
                raise AssertionError("it was fitted")

        with pytest.raises(ValueError, match=message):
            ECPruner(Untrained(), **({"granularity": "neuron"} | parameters)).fit(X, TARGET)


COMPACT = {
    "weights": {"pruning_ratio": 0.95},
    "units": {"granularity": "neuron", "pruning_ratio": 0.6},
    "refitted": {"pruning_ratio": 0.95, "refit_epochs": 2},
    "units, refitted": {"granularity": "neuron", "pruning_ratio": 0.6, "refit_epochs": 2},
}
WIDE = np.column_stack([X, np.ones((150, 3))])  # constant columns cost nothing


@pytest.fixture(scope="module", params=COMPACT)
def fitted_pruner(request, make):
    pruner = ECPruner(make(), random_state=0, **COMPACT[request.param])
    y = TARGET if make is regressor else LABELS
    return pruner.fit(X if make is skorch_net else WIDE, y)


@pytest.fixture(
    scope="module", params=[regressor, classifier, skorch_net], ids=lambda make: make.__name__
)
def make(request):
    return request.param


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestCompact:
    @pytest.fixture
    def pruner(self, fitted_pruner):
        return copy.deepcopy(fitted_pruner)

    def data(self, pruner):
        return WIDE if pruner.n_features_in_ == 9 else X

    @pytest.mark.parametrize("output", ["hidden", "output", "features"])
    def test_returns_the_same_columns_with_the_same_names(self, pruner, output):
        rows = self.data(pruner)
        pruner.set_params(output=output)
        smaller = copy.deepcopy(pruner).compact()
        expected = pruner.transform(rows)
        np.testing.assert_allclose(smaller.transform(rows), expected, rtol=1e-5, atol=1e-5)
        names = list(pruner.get_feature_names_out())
        assert list(smaller.get_feature_names_out()) == names
        assert len(names) == expected.shape[1]
        np.testing.assert_array_equal(smaller.get_support(), pruner.get_support())
        again = copy.deepcopy(smaller).compact()
        np.testing.assert_allclose(again.transform(rows), expected, rtol=1e-5, atol=1e-5)
        assert list(again.get_feature_names_out()) == names

    def test_predicts_the_same_in_less_room(self, pruner):
        rows = self.data(pruner)
        smaller = copy.deepcopy(pruner).compact()
        score = "predict_proba" if hasattr(pruner, "predict_proba") else "predict"
        expected = getattr(pruner, score)(rows)
        np.testing.assert_allclose(getattr(smaller, score)(rows), expected, rtol=1e-5, atol=1e-5)
        sizes = [sum(p.numel() for p in states(p.estimator_)) for p in (smaller, pruner)]
        assert sizes[0] < 0.7 * sizes[1]
        assert smaller.n_features_in_ == rows.shape[1]
        with pytest.raises(ValueError, match="features"):
            smaller.predict(rows[:, :4])

    def test_stores_and_trains_on(self, pruner):
        rows = self.data(pruner).astype(np.float32)
        y = LABELS if hasattr(pruner, "predict_proba") else TARGET
        smaller = pickle.loads(pickle.dumps(pruner.compact()))
        np.testing.assert_array_equal(smaller.predict(rows), pruner.predict(rows))
        before = states(smaller.estimator_)
        smaller.estimator_.partial_fit(rows, y)
        after = states(smaller.estimator_)
        assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
        for name, mask in smaller.masks_.items():
            weight = smaller.estimator_.module_.get_submodule(name).weight
            assert mask.shape == weight.shape
            assert not weight[~mask].any()

    def test_the_columns_that_are_left_are_those_of_the_support(self):
        pruner = ECPruner(regressor(), pruning_ratio=0.8).fit(WIDE, TARGET).compact()
        assert not pruner.get_support()[6:].any()
        np.testing.assert_array_equal(pruner.estimator_.feature_mask_, pruner.get_support())

    def test_leaves_the_given_estimator_alone(self):
        net = regressor(pruning_ratio=0.0).fit(X, TARGET)
        before = states(net)
        ECPruner(net, prefit=True, pruning_ratio=0.9).fit(X, TARGET).compact()
        assert all(map(torch.equal, states(net), before))

    def test_a_new_fit_starts_over(self):
        pruner = ECPruner(regressor(), pruning_ratio=0.9).fit(X, TARGET)
        expected = pruner.predict(X)
        np.testing.assert_array_equal(pruner.compact().fit(X, TARGET).predict(X), expected)
        assert pruner.masks_["hidden_0"].shape == (24, 6 * 4)

    def test_a_compact_estimator_can_be_pruned(self):
        small = regressor(pruning_ratio=0.9).fit(WIDE, TARGET).compact()
        pruner = ECPruner(small, prefit=True, pruning_ratio=0.3, output="features").fit(WIDE)
        assert pruner.get_support().shape == (9,)
        assert not (pruner.get_support() & ~small.feature_mask_).any()
        assert pruner.transform(WIDE).shape == (150, pruner.get_support().sum())

    def test_what_is_no_sequence_is_refused_and_stays(self):
        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.last = nn.Linear(6, 6), nn.Linear(6, 2)

            def forward(self, x):
                return self.last(x + torch.tanh(self.inner(x)))

        net = NeuralNetClassifier(
            Residual, criterion=nn.CrossEntropyLoss, verbose=0, train_split=None, max_epochs=1
        )
        pruner = ECPruner(net).fit(X, LABELS)
        before = pruner.predict_proba(X)
        with pytest.raises(ValueError, match="cannot be made compact"):
            pruner.compact()
        np.testing.assert_array_equal(pruner.predict_proba(X), before)

    def test_unfitted(self):
        with pytest.raises(NotFittedError):
            ECPruner(regressor()).compact()


class TestAmongOthers:
    def test_in_a_pipeline_before_another_estimator(self):
        model = make_pipeline(StandardScaler(), ECPruner(classifier()), LogisticRegression())
        assert model.fit(X, LABELS).score(X, LABELS) > 0.7

    def test_in_a_grid_search(self):
        grid = {"pruning_ratio": [0.3, 0.9], "method": ["ec", "random"], "estimator__lr": [0.01]}
        search = GridSearchCV(ECPruner(regressor(), random_state=0), grid, cv=2).fit(X, TARGET)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        again = GridSearchCV(ECPruner(regressor(), random_state=0), grid, cv=2, n_jobs=2)
        again.fit(X, TARGET)
        for key in ("split0_test_score", "split1_test_score"):
            np.testing.assert_array_equal(search.cv_results_[key], again.cv_results_[key])

    def test_in_a_column_transformer(self):
        frame = pd.DataFrame(X, columns=list("abcdef"))
        steps = [("net", ECPruner(regressor()), ["a", "b"])]
        columns = ColumnTransformer(steps, remainder="passthrough")
        out = columns.fit_transform(frame, TARGET)
        names = columns.get_feature_names_out()
        assert out.shape[1] == len(names)
        assert names[0].startswith("net__hidden_")
        assert list(names[-4:]) == [f"remainder__{c}" for c in "cdef"]
        assert make_pipeline(columns, Ridge()).fit(frame, TARGET).predict(frame).shape == (150,)

    def test_methods_are_those_of_the_estimator(self):
        assert hasattr(ECPruner(classifier()), "predict_proba")
        assert not hasattr(ECPruner(regressor()), "predict_proba")
        assert not hasattr(ECPruner(classifier()), "decision_function")

    def test_sample_weight(self):
        weight = RNG.integers(0, 3, 30).astype(float)
        rows = np.repeat(np.arange(30), weight.astype(int))
        a = ECPruner(regressor(batch_size=64)).fit(X[:30], TARGET[:30], sample_weight=weight)
        b = ECPruner(regressor(batch_size=64)).fit(X[rows], TARGET[rows])
        np.testing.assert_array_equal(a.predict(X), b.predict(X))
        with pytest.raises(ValueError, match="sample_weight"):
            ECPruner(skorch_net()).fit(X, LABELS, sample_weight=np.ones(150))


class TestErrors:
    def test_of_the_estimator(self):
        with pytest.raises(TypeError, match="got Ridge"):
            ECPruner(Ridge()).fit(X, TARGET)

    @pytest.mark.parametrize(
        "bad",
        [
            {"pruning_ratio": 1.0},
            {"method": "best"},
            {"scope": "unit"},
            {"n_steps": 0},
            {"schedule": "late"},
            {"compensation": "all"},
            {"refit_epochs": -1},
            {"output": "top"},
            {"calibration_samples": 0},
        ],
        ids=str,
    )
    def test_of_parameters_name_them(self, bad):
        (name,) = bad
        with pytest.raises(ValueError, match=name):
            ECPruner(regressor(), **bad).fit(X, TARGET)

    def test_of_missing_targets(self):
        with pytest.raises(ValueError, match="requires y"):
            ECPruner(regressor()).fit(X)
        net = regressor().fit(X, TARGET)
        with pytest.raises(ValueError, match="refit_epochs=3 needs y"):
            ECPruner(net, prefit=True, refit_epochs=3).fit(X)
        assert ECPruner(net, prefit=True).fit(X).sparsity_ == pytest.approx(0.8, abs=1e-3)

    def test_unfitted(self):
        for method in ("transform", "predict", "get_support", "get_feature_names_out"):
            with pytest.raises(NotFittedError):
                getattr(ECPruner(regressor()), method)(*([X] if "get" not in method else []))
        with pytest.raises(NotFittedError):
            ECPruner(regressor(), prefit=True).fit(X, TARGET)

    def test_clone_and_parameters(self):
        pruner = ECPruner(regressor(lr=0.02), pruning_ratio=0.4)
        assert clone(pruner).get_params()["estimator__lr"] == 0.02
        assert clone(pruner).pruning_ratio == 0.4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "ecc"}, "method='ecc' is unknown"),
        ({"method": "ecc"}, "='ecc' is unknown"),
        ({"compensation": "weighing"}, "compensation='weighing' is unknown"),
        ({"scope": "4:2"}, "scope='4:2' must keep"),
        ({"scope": "rows"}, "scope='rows' is unknown"),
        ({"method_params": {"damping": 1.0}}, "method_params=.*does not fit method='ec'"),
    ],
    ids=str,
)
def test_names_are_checked_before_the_estimator_is_fitted(parameters, message):
    class Untrained(PrunedMLPRegressor):
        def fit(self, *args, **kwargs):
            raise AssertionError("it was fitted")

    with pytest.raises(ValueError, match=message):
        ECPruner(Untrained(), **parameters).fit(np.zeros((10, 2)), np.arange(10.0))
