"""Small neural networks for tabular data, pruned inside scikit-learn."""

from .estimators import (
    ECPruner,
    PrunedMLPClassifier,
    PrunedMLPClassifierCV,
    PrunedMLPRegressor,
    PrunedMLPRegressorCV,
)
from .interop import from_sklearn, from_torch_prune, to_sklearn, to_torch_prune
from .networks import compact
from .pruning import PruningResult, PruningWarning, prune, pruning_path

__version__ = "0.1.0"

__all__ = [
    "ECPruner",
    "PrunedMLPClassifier",
    "PrunedMLPClassifierCV",
    "PrunedMLPRegressor",
    "PrunedMLPRegressorCV",
    "PruningResult",
    "PruningWarning",
    "compact",
    "from_sklearn",
    "from_torch_prune",
    "prune",
    "pruning_path",
    "to_sklearn",
    "to_torch_prune",
]
