"""The same seed gives the same network, and nothing else has a say."""

import contextlib

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.dataset import Dataset
from torch.utils.data import DataLoader

PATHS = {
    "plain": {},
    "dropout": {"dropout": 0.3, "early_stopping": True},
    "random": {"method": "random", "refit_strategy": "rewind"},
    "DataLoader": {"iterator_train": DataLoader, "iterator_train__shuffle": True, "dropout": 0.3},
    "Dataset": {"dataset": Dataset},
    "module": {"module": torch.nn.Linear, "module__in_features": 5, "module__out_features": 3},
}


def targets(case, path):
    if path == "module" and case.y.dtype.kind == "f":
        return np.column_stack([case.y, case.y, case.y])
    return case.y


@pytest.mark.parametrize("path", PATHS)
def test_the_same_seed_gives_the_same_network(case, path, assert_same_weights):
    a, b, other = (
        case.make(**PATHS[path], random_state=seed).fit(case.X, targets(case, path))
        for seed in (0, 0, 1)
    )
    assert_same_weights(a.module_, b.module_)
    assert_same_weights(a.dense_module_, b.dense_module_)
    with pytest.raises(AssertionError):
        assert_same_weights(a.module_, other.module_)
    for method in ("prune", "refit", "partial_fit"):
        for estimator in (a, b):
            getattr(estimator, method)(case.X, targets(case, path))
        assert_same_weights(a.module_, b.module_)


def test_a_generator_is_a_seed_too(case, assert_same_weights):
    a, b = (case.fit(random_state=np.random.RandomState(3)) for _ in range(2))
    assert_same_weights(a.module_, b.module_)


@pytest.mark.parametrize("path", PATHS)
def test_global_generators_are_left_alone_and_have_no_say(case, path, assert_same_weights):
    fitted = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        estimator = case.make(**PATHS[path]).fit(case.X, targets(case, path))
        estimator.prune(case.X, targets(case, path)).refit(case.X, targets(case, path))
        estimator.partial_fit(case.X, targets(case, path))
        fitted.append(estimator)
        np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[1]), "torch's generator moved"
    assert_same_weights(fitted[0].module_, fitted[1].module_)


def test_fitting_a_dataset_leaves_global_generators_alone(case):
    before = torch.get_rng_state()
    y = case.y.astype(np.float32) if case.y.dtype.kind == "f" else case.y
    case.make().fit(Dataset(case.X.astype(np.float32), y))
    assert torch.equal(torch.get_rng_state(), before)


@contextlib.contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_does_not_matter(case):
    X = np.tile(case.X, (20, 1)) * np.linspace(1, 2, 2400)[:, None]
    y = np.tile(case.y, 20)
    settings = {"hidden_layer_sizes": (64, 64), "batch_size": 400, "max_epochs": 2}
    outputs = []
    for number in (1, 2, 3):
        with threads(number):
            outputs.append(case.outputs(case.make(**settings).fit(X, y), X))
            assert torch.get_num_threads() == number
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_denormal_numbers_are_as_before_a_fit(case):
    case.fit()
    assert (torch.full((1,), 1e-38) * 1e-3).item() > 0
    assert np.float32(1e-38) * np.float32(1e-3) > 0


def test_the_number_of_processes_does_not_matter(regression):
    searches = [
        GridSearchCV(
            regression.make(early_stopping=True, dropout=0.2),
            {"pruning_ratio": [0.2, 0.7], "method": ["ec", "magnitude"]},
            cv=2,
            n_jobs=n_jobs,
        ).fit(regression.X, regression.y)
        for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_ for search in searches)
    assert list(one) == list(two)
    for name in one:
        if "time" not in name:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    np.testing.assert_array_equal(
        searches[0].predict(regression.X), searches[1].predict(regression.X)
    )
