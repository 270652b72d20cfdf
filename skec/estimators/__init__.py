"""Estimators that train a network, prune it and fine-tune it."""

from .classifier import PrunedMLPClassifier
from .pruner import ECPruner
from .regressor import PrunedMLPRegressor
from .search_estimators import PrunedMLPClassifierCV, PrunedMLPRegressorCV

__all__ = [
    "ECPruner",
    "PrunedMLPClassifier",
    "PrunedMLPClassifierCV",
    "PrunedMLPRegressor",
    "PrunedMLPRegressorCV",
]
