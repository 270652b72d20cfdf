"""A search by Optuna that trains one dense network per fold.

Optuna draws the pruning ratio, the method and the learning rate of the fine-tuning. None of them
changes the dense training, so with ``memory`` all trials share five dense networks.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna_integration import OptunaSearchCV
from sklearn.datasets import load_diabetes

from skec import PrunedMLPRegressor, PruningWarning

N_TRIALS = 12
SPACE = {
    "pruning_ratio": FloatDistribution(0.3, 0.95),
    "method": CategoricalDistribution(["ec", "magnitude", "lamp"]),
    "refit_lr": FloatDistribution(1e-3, 1e-2, log=True),
}


def main() -> None:
    """Search, and print the best parameters and the number of dense networks."""
    warnings.simplefilter("ignore", PruningWarning)
    warnings.filterwarnings("ignore", module="optuna")  # its notes on its own future
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    X, y = load_diabetes(return_X_y=True)
    with tempfile.TemporaryDirectory() as folder:
        net = PrunedMLPRegressor((32, 32), max_epochs=30, memory=folder, random_state=0)
        search = OptunaSearchCV(net, SPACE, n_trials=N_TRIALS, cv=5, refit=False, random_state=0)
        start = time.perf_counter()
        search.fit(X, y)
        seconds = time.perf_counter() - start
        n_dense = len(list(Path(folder).rglob("*.pkl")))
    print(
        f"{N_TRIALS} trials with five folds each: {seconds:.1f} s, {n_dense} dense networks trained"
    )
    print(f"mean R² in cross-validation: {search.best_score_:.3f}")
    for name, value in search.best_params_.items():
        print(f"  {name} = {value if isinstance(value, str) else round(value, 4)}")


if __name__ == "__main__":
    main()
