"""The regressor and the classifier that choose their pruning ratio and method."""

from __future__ import annotations

from typing import ClassVar

from .classifier import CLASSIFIER_PARAMETERS, PrunedMLPClassifier
from .documentation import documented
from .regressor import REGRESSOR_PARAMETERS, PrunedMLPRegressor
from .search import SEARCH_ATTRIBUTES, SEARCH_PARAMETERS, RatioSearch, searching


@documented(
    own_parameters=f"{SEARCH_PARAMETERS}\n{REGRESSOR_PARAMETERS}", own_attributes=SEARCH_ATTRIBUTES
)
@searching
class PrunedMLPRegressorCV(RatioSearch, PrunedMLPRegressor):
    """Regressor that chooses its pruning ratio and method by cross-validation.

    It takes the other parameters of :class:`skec.PrunedMLPRegressor`. A dense network is trained
    once per fold, and all candidates are pruned from it.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    skec.PrunedMLPRegressor : The same with given values.

    Notes
    -----
    All candidates are pruned and scored in all folds first, which is cheap. Then they are
    fine-tuned fold by fold, and each fold leaves fewer of them: at each pruning ratio the better
    half of the methods, by the scores before the refit, enters the first fold. After each fold the
    better third goes on, by the mean score so far, and at least two. With ``one_standard_error``,
    the best method of each ratio goes on instead. ``refit_all=True`` leaves none out.

    Up to eight networks of a fold are fine-tuned as one, with stacked weights. This is faster for
    small networks, and each ends with the weights of its own fine-tuning up to rounding. They are
    fine-tuned one after the other if they have callbacks, held-out rows, batch normalisation,
    another loss than the default one, or modules and optimisers that are not known to allow it.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skec import PrunedMLPRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = PrunedMLPRegressorCV(
    ...     (16,), pruning_ratios=[0.5, 0.9], cv=2, max_epochs=10, random_state=0
    ... ).fit(X, y)
    >>> net.best_pruning_ratio_ in (0.5, 0.9), net.scores_.shape
    (True, (1, 2, 2))
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **PrunedMLPRegressor._parameter_constraints,
        **RatioSearch._parameter_constraints,
    }


@documented(
    own_parameters=f"{SEARCH_PARAMETERS}\n{CLASSIFIER_PARAMETERS}", own_attributes=SEARCH_ATTRIBUTES
)
@searching
class PrunedMLPClassifierCV(RatioSearch, PrunedMLPClassifier):
    """Classifier that chooses its pruning ratio and method by cross-validation.

    It takes the other parameters of :class:`skec.PrunedMLPClassifier`. A dense network is trained
    once per fold, and all candidates are pruned from it.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    skec.PrunedMLPClassifier : The same with given values.
    skec.PrunedMLPRegressorCV : Its notes say which candidates are fine-tuned.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skec import PrunedMLPClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> net = PrunedMLPClassifierCV(
    ...     (16,), pruning_ratios=[0.5, 0.9], cv=2, lr=0.01, max_epochs=10, random_state=0
    ... ).fit(X, y)
    >>> net.best_pruning_ratio_ in (0.5, 0.9), net.classes_
    (True, array([0, 1, 2]))
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **PrunedMLPClassifier._parameter_constraints,
        **RatioSearch._parameter_constraints,
    }
