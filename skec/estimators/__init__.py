"""Estimators that train a network, prune it and train it on."""

from .classifier import PrunedMLPClassifier
from .pruner import ECPruner
from .regressor import PrunedMLPRegressor

__all__ = ["ECPruner", "PrunedMLPClassifier", "PrunedMLPRegressor"]
