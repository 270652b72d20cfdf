"""What holds while other threads run: same seed, same result, and no global state is changed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor, prune

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 5))
Y = np.sin(X[:, 0]) + X[:, 1]
SMALL = {"hidden_layer_sizes": (12,), "max_epochs": 3, "random_state": 0, "pruning_ratio": 0.5}
N_THREADS = 8


def in_threads(function, n=N_THREADS):
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda _: function(), range(n)))


def weights(estimator):
    return torch.cat([p.detach().flatten() for p in estimator.network_.parameters()])


SETTINGS = {
    "default": {},
    "dropout": {"dropout": 0.3},
    "batch norm": {"batch_norm": True, "dropout": 0.2},
    "surgeon": {"method": "surgeon", "n_steps": 2},
    "network": {"compensation": "network", "n_steps": 2},
    "exact": {"method": "ec_exact", "n_steps": 1, "calibration_samples": 20},
    "units": {"granularity": "neuron", "method": "elimination"},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", [PrunedMLPRegressor, PrunedMLPClassifier])
def test_fits_in_threads_are_those_of_one_thread(kind, name):
    y = Y if kind is PrunedMLPRegressor else (Y > 0).astype(int)

    def fitted():
        return weights(kind(**(SMALL | SETTINGS[name])).fit(X, y))

    expected = fitted()
    assert all(torch.equal(found, expected) for found in in_threads(fitted))


@pytest.mark.parametrize("name", ["default", "dropout", "units"])
def test_a_fit_takes_nothing_from_the_global_generator(name):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    PrunedMLPRegressor(**(SMALL | SETTINGS[name])).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)
    expected = torch.rand(4000, generator=torch.Generator().manual_seed(0))

    def draw():  # another thread draws while fits run
        return torch.cat([torch.rand(1) for _ in range(4000)])

    with ThreadPoolExecutor(2) as pool:
        torch.manual_seed(0)
        drawn = pool.submit(draw)
        while not drawn.done():
            PrunedMLPRegressor(**(SMALL | SETTINGS[name])).fit(X, Y)
    assert torch.equal(drawn.result(), expected)


LARGE = {"hidden_layer_sizes": (512, 512), "batch_size": 64, "max_epochs": 2, "refit_epochs": 1}


class Count(Callback):
    """Notes the number of threads of each epoch in the history."""

    def on_epoch_begin(self, net, **kwargs):
        net.history.record("n_threads", torch.get_num_threads())


def counts(net):
    return set(net.history_[:, "n_threads"])


def large(**settings):
    return PrunedMLPRegressor(**(SMALL | LARGE | settings), callbacks=[Count()])


def test_large_steps_use_several_threads():
    net, alone = large(n_threads=2).fit(X, Y), large().fit(X, Y)
    assert counts(net) == {2} and counts(alone) == {1}
    assert torch.equal(weights(large(n_threads=2).fit(X, Y)), weights(net))
    np.testing.assert_allclose(alone.predict(X), net.predict(X), atol=1e-4)
    small = PrunedMLPRegressor(**SMALL, n_threads=2, callbacks=[Count()]).fit(X, Y)
    assert counts(small) == {1}


def test_large_fits_do_not_depend_on_the_jobs_of_a_search():
    grid = {"lr": [0.001, 0.002]}
    one, two = (GridSearchCV(large(n_threads=2), grid, cv=2, n_jobs=n).fit(X, Y) for n in (1, 2))
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])
    assert torch.equal(weights(one.best_estimator_), weights(two.best_estimator_))


def test_the_number_of_threads_is_changed_nowhere_else():
    before, seen = torch.get_num_threads(), []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            with ThreadPoolExecutor(1) as pool:  # a thread that starts meanwhile
                seen.append((torch.get_num_threads(), pool.submit(torch.get_num_threads).result()))

    PrunedMLPRegressor(**SMALL, callbacks=[Look()]).fit(X, Y)
    assert torch.get_num_threads() == before
    assert set(seen) == {(1, before)}


@pytest.mark.parametrize("method", ["surgeon", "ec_exact"])
def test_prunings_in_threads_are_those_of_one_thread(method):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))

    def pruned():
        return prune(module, X[:40], method=method, pruning_ratio=0.5, n_steps=1).module[0].weight

    expected = pruned()
    assert all(torch.equal(found, expected) for found in in_threads(pruned))


def test_transforms_in_threads_do_not_mix_up_their_rows():
    torch.manual_seed(0)
    net = NeuralNetRegressor(
        nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 1)), max_epochs=2, verbose=0
    )
    pruner = ECPruner(net, pruning_ratio=0.5).fit(X.astype("float32"), Y[:, None].astype("float32"))
    parts = [X[i : i + 10].astype("float32") for i in range(0, 120, 10)] * 5
    expected = [pruner.transform(part) for part in parts]
    with ThreadPoolExecutor(N_THREADS) as pool:
        found = list(pool.map(pruner.transform, parts))
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right)
