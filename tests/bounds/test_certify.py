"""Certificates of two networks."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skec
from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor
from skec.bounds import (
    LossCertificate,
    betting_upper_bound,
    certify,
    changes,
    equal_rows,
    t_upper_bound,
)

N_FIT, N_NEW = 300, 400
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N_FIT + N_NEW, 4))
Y = X[:, 0] + np.sin(2 * X[:, 1])
LABELS = np.digitize(Y, [-0.5, 0.7])
OLD, NEW = X[:N_FIT], X[N_FIT:]


class Fixed:
    """An estimator that predicts what it is given; a row of X is the number of a row."""

    _estimator_type = "regressor"

    def __init__(self, table):
        self.table_ = np.asarray(table)

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.table_[np.asarray(X)[:, 0].astype(int)]

    def __sklearn_tags__(self):
        return PrunedMLPRegressor().__sklearn_tags__()


def numbers(n):
    return np.arange(n, dtype=float).reshape(-1, 1)


def regressors(changes_of_rows):
    base = np.linspace(-3, 3, len(changes_of_rows))
    return Fixed(base + np.asarray(changes_of_rows)), Fixed(base)


@pytest.fixture(scope="module")
def mlps():
    dense = MLPRegressor(hidden_layer_sizes=16, solver="lbfgs", max_iter=60, random_state=0)
    dense.fit(OLD, Y[:N_FIT])
    return ECPruner(dense, pruning_ratio=0.3, prefit=True).fit(OLD), dense


@pytest.fixture(scope="module")
def classifiers():
    dense = MLPClassifier(hidden_layer_sizes=16, solver="lbfgs", max_iter=60, random_state=0)
    dense.fit(OLD, LABELS[:N_FIT])
    return ECPruner(dense, pruning_ratio=0.3, prefit=True).fit(OLD), dense


@pytest.fixture(scope="module")
def net():
    net = PrunedMLPRegressor((16,), max_epochs=10, pruning_ratio=0.5, random_state=0)
    return net.fit(OLD, Y[:N_FIT])


def test_a_given_change_has_the_bound_of_clopper_and_pearson(mlps):
    size = np.abs(mlps[0].predict(NEW) - mlps[1].predict(NEW))
    epsilon = np.quantile(size, 0.9)
    found = certify(*mlps, NEW, epsilon=epsilon, delta=0.1)
    count = int((size > epsilon).sum())
    interval = binomtest(count, N_NEW, alternative="less").proportion_ci(0.9, method="exact")
    assert found.n_exceeding == count and found.rate == count / N_NEW
    assert found.alpha == pytest.approx(interval.high)
    assert found.holds
    assert not certify(*mlps, NEW, epsilon=epsilon, alpha=0.1).holds
    assert certify(*mlps, NEW, epsilon=epsilon, alpha=0.2).holds


def test_a_given_share_has_the_order_statistic(mlps):
    size = np.sort(np.abs(mlps[0].predict(NEW) - mlps[1].predict(NEW)))
    left_out = max(m for m in range(N_NEW) if binom.cdf(m, N_NEW, 0.05) <= 0.1)
    found = certify(*mlps, NEW, alpha=0.05, delta=0.1)
    assert found.epsilon == pytest.approx(size[N_NEW - 1 - left_out])
    assert found.n_exceeding == left_out and found.alpha == 0.05
    assert certify(*mlps, NEW).alpha == 0.01


def test_equal_predictions_do_not_change():
    found = certify(*regressors(np.zeros(299)), numbers(299))
    assert found.epsilon == 0.0 and found.n_exceeding == 0
    assert "change by more than 0 for at most 1 % of new rows" in str(found)


def test_ties_at_epsilon_do_not_exceed_it():
    size = np.repeat([0.0, 1.0, 2.0], 100)
    pair = Fixed(size), Fixed(np.zeros(300))
    assert certify(*pair, numbers(300), epsilon=1.0).n_exceeding == 100
    assert certify(*pair, numbers(300), alpha=0.3).epsilon == 2.0
    assert certify(*pair, numbers(300), alpha=0.39).epsilon == 1.0  # 101 rows may be left out
    assert binom.cdf(100, 300, 0.39) <= 0.05 < binom.cdf(100, 300, 0.37)


def test_several_outputs_and_their_norms():
    pair = Fixed(np.tile([3.0, 4.0], (300, 1))), Fixed(np.zeros((300, 2)))
    assert certify(*pair, numbers(300)).epsilon == 5.0
    largest = certify(*pair, numbers(300), norm="max")
    assert largest.epsilon == 4.0 and "(largest of 2 outputs)" in str(largest)
    assert changes([[1.0, 2.0]], [[1.0, 0.0]], "max") == [2.0]


def test_the_sentence_names_the_standard_deviation_of_the_target(net, mlps):
    found = net.certify(NEW, alpha=0.05)
    assert found.scale == pytest.approx(np.std(Y[:N_FIT]))
    assert "% of the target's standard deviation) for at most 5 % of new rows" in str(found)
    assert certify(*mlps, NEW).scale is None
    assert certify(*mlps, NEW, Y[N_FIT:], alpha=0.05).scale == pytest.approx(np.std(Y[N_FIT:]))


def test_labels_and_probabilities_of_classifiers(classifiers):
    pruned, dense = classifiers
    changed = pruned.predict(NEW) != dense.predict(NEW)
    found = certify(pruned, dense, NEW, alpha=0.5)
    assert found.of == "labels" and found.n_exceeding == changed.sum() and found.holds
    assert "predicted labels change for at most" in str(found)
    size = np.linalg.norm(pruned.predict_proba(NEW) - dense.predict_proba(NEW), axis=1)
    found = certify(pruned, dense, NEW, epsilon=0.1)
    assert found.of == "probabilities" and found.n_exceeding == (size > 0.1).sum()
    assert certify(pruned, dense, NEW, of="probabilities", alpha=0.05).epsilon in size


def test_the_loss_of_regressors(mlps):
    y = Y[N_FIT:]
    after, before = ((each.predict(NEW) - y) ** 2 for each in mlps)
    found = certify(*mlps, NEW, y)
    assert isinstance(found, LossCertificate) and found.interval == "t"
    assert found.increase == pytest.approx(t_upper_bound(after - before))
    assert found.mean_increase == pytest.approx((after - before).mean())
    assert "mean squared error on new rows grows by at most" in str(found)
    bounded = certify(*mlps, NEW, y, loss_range=(0.0, 100.0), delta=0.1)
    expected = betting_upper_bound(after - before, -100.0, 100.0, 0.1)
    assert bounded.interval == "betting" and bounded.increase == pytest.approx(expected)
    own = certify(*mlps, NEW, y, loss=lambda y, found: (found - y) ** 2)
    assert own.increase == pytest.approx(found.increase)


def test_the_loss_of_classifiers(classifiers):
    pruned, dense = classifiers
    y = LABELS[N_FIT:]
    found = certify(pruned, dense, NEW, y)
    assert found.interval == "betting" and found.loss_range == (0.0, 1.0)
    lost = dense.score(NEW, y) - pruned.score(NEW, y)
    assert found.mean_increase == pytest.approx(lost)
    logs = [-np.log(e.predict_proba(NEW)[np.arange(N_NEW), y]).mean() for e in classifiers]
    found = certify(pruned, dense, NEW, y, loss="log_loss")
    assert found.mean_increase == pytest.approx(logs[0] - logs[1])


def test_modules_are_compared_as_they_are():
    dense = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
    calibration = torch.from_numpy(OLD.astype(np.float32))
    result = skec.prune(dense, calibration, pruning_ratio=0.3)
    modes = [part.training for part in dense.modules()]
    found = certify(result, dense, NEW)
    assert [part.training for part in dense.modules()] == modes
    with torch.no_grad():
        rows = torch.from_numpy(NEW.astype(np.float32))
        outputs = [copy.deepcopy(m).eval()(rows) for m in (result.module, dense)]
    size = (outputs[0] - outputs[1]).norm(dim=1)
    assert found.epsilon == pytest.approx(float(size.max()), rel=1e-5) and found.n_outputs == 2
    labels = certify(result.module, dense, rows, of="labels")
    assert labels.n_exceeding == int((outputs[0].argmax(1) != outputs[1].argmax(1)).sum())


def test_the_estimator_is_compared_with_its_dense_network(net):
    before = copy.deepcopy(vars(net)["module_"].state_dict())
    dense = copy.deepcopy(net).prune(pruning_ratio=0.0)
    assert net.certify(NEW, alpha=0.05) == certify(net, dense, NEW, alpha=0.05)
    assert all(torch.equal(before[name], v) for name, v in net.module_.state_dict().items())
    with pytest.raises(ValueError, match=r"this estimator has none: .*compact"):
        copy.deepcopy(net).compact().certify(NEW)
    with pytest.raises(NotFittedError):
        PrunedMLPRegressor().certify(NEW)


def test_rows_of_the_fit_are_refused(net):
    seen = np.concatenate([NEW, OLD[:2]])
    with pytest.raises(ValueError, match=r"2 of the 402 rows .* the first is row 400"):
        net.certify(seen)
    assert net.certify(seen, check_rows=False).n_rows == 402
    pipeline = make_pipeline(StandardScaler(), copy.deepcopy(net)).fit(OLD, Y[:N_FIT])
    with pytest.raises(ValueError, match="2 of the 402 rows"):
        certify(pipeline, pipeline, seen)
    pruner = ECPruner(PrunedMLPRegressor((8,), max_epochs=2, random_state=0), pruning_ratio=0.5)
    with pytest.raises(ValueError, match="2 of the 402 rows"):
        certify(pruner.fit(OLD, Y[:N_FIT]), net, seen)


def test_rows_are_compared_number_by_number():
    found = equal_rows([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [[-0.0, 1.0], [2.0, 2.0]])
    assert found.tolist() == [True, False, True]


def test_inputs_are_not_modified(mlps):
    rows, y = NEW.copy(), Y[N_FIT:].copy()
    certify(*mlps, rows, y)
    assert np.array_equal(rows, NEW) and np.array_equal(y, Y[N_FIT:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.001}, "alpha=0.001 and delta=0.05 needs at least 2995 rows; got 400"),
        ({"alpha": 0.0}, r"alpha must be a number in \(0, 1\)"),
        ({"delta": 1.0}, "delta must be a number"),
        ({"epsilon": -1.0}, "epsilon must be a number of at least 0; got -1.0"),
        ({"epsilon": np.nan}, "epsilon must be a number"),
        ({"of": "loss"}, "needs the targets. Pass y"),
        ({"of": "labels"}, "of='labels' is not possible for a regressor"),
        ({"of": "all"}, "of='all' is unknown"),
        ({"norm": "l1"}, "norm='l1' is unknown"),
        ({"interval": "t"}, "are for the change of the loss"),
        ({"y": Y[N_FIT:], "of": "loss", "alpha": 0.1}, "are about changes of predictions"),
        ({"y": Y[N_FIT:], "loss": "zero_one"}, "loss='zero_one' is not known for a regressor"),
        ({"y": Y[N_FIT:], "interval": "betting"}, "needs loss_range"),
        ({"y": Y[N_FIT:], "loss_range": (1, 0)}, "low < high"),
        ({"y": Y[N_FIT:], "loss_range": (0, 1e-9)}, "outside of loss_range"),
        ({"y": Y[:5]}, "X has 400 rows and y has 5"),
        ({"y": Y[N_FIT:], "loss": lambda y, found: 0.0}, "one number for each row"),
    ],
)
def test_bad_arguments_are_refused(mlps, arguments, message):
    with pytest.raises(ValueError, match=message):
        certify(*mlps, NEW, **arguments)


def test_networks_that_cannot_be_compared_are_refused(mlps, classifiers):
    regressor, classifier = mlps[1], classifiers[1]
    with pytest.raises(TypeError, match=r"pruned is a regressor.* and dense is a classifier"):
        certify(regressor, classifier, NEW)
    with pytest.raises(TypeError, match="got a int"):
        certify(3, regressor, NEW)
    with pytest.raises(TypeError, match="X must be an array"):
        certify(*mlps, [(NEW, None)])
    other = MLPRegressor(hidden_layer_sizes=4, max_iter=5)
    with pytest.raises(ValueError, match="pruned takes 2 features and dense takes 4"):
        certify(other.fit(OLD[:, :2], Y[:N_FIT]), regressor, NEW)
    with pytest.raises(ValueError, match=r"different shapes, \(400, 2\) and \(400,\)"):
        certify(other.fit(OLD, OLD[:, :2]), regressor, NEW)
    named = PrunedMLPClassifier((4,), max_epochs=1).fit(OLD, LABELS[:N_FIT] + 1)
    with pytest.raises(ValueError, match="Compare classifiers with the same classes"):
        certify(named, classifier, NEW)
    with pytest.raises(ValueError, match=r"Linear does not take X of shape \(400, 4\)"):
        certify(nn.Linear(3, 1), nn.Linear(4, 1), NEW)
    with pytest.raises(ValueError, match="X has no rows"):
        certify(*mlps, NEW[:0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_not_finite_are_refused(value):
    broken = np.zeros(300)
    broken[7] = value
    with pytest.raises(ValueError, match="pruned network predicts nan or infinity for 1 rows"):
        certify(Fixed(broken), Fixed(np.zeros(300)), numbers(300))
    with pytest.raises(ValueError, match="dense network predicts nan or infinity"):
        certify(Fixed(np.zeros(300)), Fixed(broken), numbers(300), np.zeros(300))


@pytest.mark.parametrize("given", [{"alpha": 0.05}, {"epsilon": 2.0}])
def test_new_rows_fulfil_the_certificate_as_often_as_it_says(given):
    """Discrete changes, so that the true share of each change is known."""
    values, shares = np.arange(6.0), np.array([0.5, 0.3, 0.145, 0.045, 0.008, 0.002])
    above = {v: shares[values > v].sum() for v in values}
    rng, failures, n_repeats = np.random.default_rng(0), 0, 2000
    rows, dense = numbers(150), Fixed(np.zeros(150))
    for _ in range(n_repeats):
        found = certify(Fixed(rng.choice(values, 150, p=shares)), dense, rows, delta=0.1, **given)
        failures += above[found.epsilon] > found.alpha + 1e-12
    assert failures <= binom.isf(1e-6, n_repeats, 0.1)
