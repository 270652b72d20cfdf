"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skec import PrunedMLPClassifier, PrunedMLPRegressor

SMALL = {
    "hidden_layer_sizes": (16,),
    "pruning_ratio": 0.5,
    "scope": "layer",
    "n_steps": 1,
    "lr": 0.03,
    "lr_schedule": "cosine",
    "max_epochs": 10,
    "refit_epochs": 10,
    "batch_size": 64,
}
VARIANTS = [
    {},  # as it comes
    SMALL | {"early_stopping": True, "refit_strategy": "none"},
    SMALL | {"method": "magnitude", "dtype": "float64", "refit_strategy": "rewind"},
]


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")  # tiny networks of the checks
@parametrize_with_checks(
    [kind(**variant) for variant in VARIANTS for kind in (PrunedMLPRegressor, PrunedMLPClassifier)]
)
def test_the_estimator_follows_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)
