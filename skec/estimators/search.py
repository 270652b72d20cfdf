"""Estimators that choose their pruning ratio and method by cross-validation."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from itertools import product
from numbers import Integral
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import indexable

from .base import PrunedMLP
from .blockwise import check_in_memory
from .elimination import Elimination, Fold
from .parameters import Number
from .rollback import unchanged_on_error
from .streams import check_no_stream

_Class = TypeVar("_Class", bound=type)
_Self = TypeVar("_Self", bound="RatioSearch")

# Parameters that the search sets, or that make no sense in it.
_LEFT_OUT = (
    "pruning_ratio",
    "max_loss_increase",
    "max_change",
    "method",
    "method_params",
    "step_epochs",
    "warm_start",
    "memory",
)
_PARAMETERS: dict[str, Any] = {
    "pruning_ratios": (0.5, 0.7, 0.8, 0.9, 0.95),
    "methods": ("ec",),
    "cv": None,
    "scoring": None,
    "n_jobs": None,
    "one_standard_error": False,
    "refit_all": False,
}
SEARCH_PARAMETERS = (
    "pruning_ratios : sequence of float\n"
    "    The pruning ratios to choose from.\n"
    "methods : sequence of str, Criterion or UnitCriterion\n"
    "    The methods to choose from.\n"
    "cv : int, splitter, iterable or None\n"
    "    How the data are split, as in ``GridSearchCV``; None takes five folds.\n"
    "scoring : str, callable or None\n"
    "    The score to maximise, as in ``GridSearchCV``; None takes ``score``. It is weighted with\n"
    "    the sample weights.\n"
    "n_jobs : int or None\n"
    "    Number of processes. The result does not depend on it.\n"
    "one_standard_error : bool\n"
    "    Whether to take the largest pruning ratio whose mean score is within one standard error\n"
    "    of the best one.\n"
    "refit_all : bool\n"
    "    Whether to fine-tune every candidate in every fold. By default, candidates that are\n"
    "    unlikely to win are left out, see the notes."
)

SEARCH_ATTRIBUTES = """
best_pruning_ratio_, best_method_ : float, str or Criterion
best_score_, best_index_ : float, int
    The mean score of the best candidate, and its place in ``cv_results_``.
cv_results_ : dict of str to array
    As in ``GridSearchCV``, and the scores before the refit. A score is nan in folds in which a
    candidate was left out; ``n_folds`` counts the others.
scores_ : array of shape (n_methods, n_pruning_ratios, n_splits)
    The scores of the folds.
n_splits_ : int
refit_time_ : float
    Seconds of the final fit.
"""


def searching(cls: _Class) -> _Class:
    """Class decorator: the constructor has the parameters of the parent and those of a search."""
    parent = next(base for base in cls.__mro__[1:] if "__init__" in vars(base))
    signature = inspect.signature(vars(parent)["__init__"])
    kept = [p for name, p in signature.parameters.items() if name not in _LEFT_OUT]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in _PARAMETERS.items()
    ]
    signature = signature.replace(parameters=[*kept[:-1], *added, kept[-1]])

    def __init__(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        args[0]._store_parameters(dict(bound.arguments))

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    cls.__init__ = __init__
    return cls


class RatioSearch(PrunedMLP):
    """Chooses the pruning ratio and the method, then fits with them."""

    pruning_ratios: Sequence[float]
    methods: Sequence[Any]
    cv: Any
    scoring: Any
    n_jobs: int | None
    one_standard_error: bool
    refit_all: bool

    max_loss_increase = 0.01
    max_change = None
    method_params = None
    step_epochs = 0
    warm_start = False
    memory = None

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "pruning_ratios": ["array-like"],
        "methods": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "n_jobs": [Number(Integral, None, None, closed="neither"), None],
        "one_standard_error": ["boolean"],
        "refit_all": ["boolean"],
    }

    @property
    def pruning_ratio(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The best pruning ratio; before the search a default."""
        return vars(self).get("best_pruning_ratio_", 0.8)

    @property
    def method(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The best method; before the search a default."""
        return vars(self).get("best_method_", "ec")

    def fit(
        self: _Self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> _Self:
        """Choose pruning ratio and method by cross-validation, then fit on all data with them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        check_no_stream(self, X)
        check_in_memory("fit", X, y, sample_weight)
        with unchanged_on_error(self):
            self._forget("best_pruning_ratio_", "best_method_")
            candidates = self._candidates()
            for method, ratio in candidates:  # errors come before any work
                self._plain(method, ratio)._check_parameters()
            if y is None:
                raise ValueError(
                    f"{type(self).__name__} requires y to be passed, but the target y is None. "
                    f"Pass X and y as arrays, so that they can be split into folds."
                )
            X, y, sample_weight = indexable(X, y, sample_weight)
            self._check_training_data(X, y, sample_weight, reset=True)
            splitter: Any = check_cv(self.cv, y, classifier=is_classifier(self))
            folds = list(splitter.split(X, y))
            search = Elimination(
                self._plain(*candidates[0]),
                candidates,
                (X, y, sample_weight),
                fit_params,
                cast(Any, check_scoring(self, self.scoring)),
                self.refit_all,
                self.one_standard_error,
                self.n_jobs,
                self.progress,
            )
            self._take_results(candidates, search.run(folds))
            start = time.perf_counter()
            super().fit(X, y, sample_weight, **fit_params)
            self.refit_time_ = time.perf_counter() - start
        return self

    def _candidates(self) -> list[tuple[Any, float]]:
        """Methods with pruning ratios, in the order of the parameters."""
        self._check_parameters()
        ratios, methods = list(self.pruning_ratios), list(self.methods)
        for name, values in (("pruning_ratios", ratios), ("methods", methods)):
            if not values:
                raise ValueError(f"{name} is empty; name at least one value to choose from.")
        return [(method, float(ratio)) for method, ratio in product(methods, ratios)]

    def _plain(self, method: Any, ratio: float) -> Any:
        """The estimator without the search."""
        kind = next(base for base in type(self).__mro__ if not issubclass(base, RatioSearch))
        given = self.get_params(deep=False)
        given = {name: value for name, value in given.items() if name not in _PARAMETERS}
        chosen = {"method": method, "pruning_ratio": ratio, "progress": False}
        return clone(kind(**given | chosen))

    def _take_results(self, candidates: list[tuple[Any, float]], folds: list[Fold]) -> None:
        """Set the attributes of the search."""
        scores = np.array(
            [[fold.scores.get(i, np.nan) for fold in folds] for i in range(len(candidates))]
        )
        complete = ~np.isnan(scores).any(1)
        means = np.where(complete, scores.mean(1), -np.inf)
        best = int(np.argmax(means))
        if self.one_standard_error:
            error = scores[best].std(ddof=1) / len(folds) ** 0.5 if len(folds) > 1 else 0.0
            within = np.flatnonzero(means >= means[best] - error)
            best = max(within, key=lambda i: (candidates[i][1], means[i]))
        self.cv_results_ = _results(candidates, folds, scores)
        self.best_index_, self.best_score_ = int(best), float(means[best])
        self.best_method_, self.best_pruning_ratio_ = candidates[best]
        self.n_splits_ = len(folds)
        self.scores_ = scores.reshape(len(self.methods), len(self.pruning_ratios), len(folds))


def _results(
    candidates: list[tuple[Any, float]], folds: list[Fold], scores: np.ndarray
) -> dict[str, Any]:
    """The results with the names of ``GridSearchCV``; nan marks folds that were left out."""
    params = [{"method": method, "pruning_ratio": ratio} for method, ratio in candidates]
    results: dict[str, Any] = {"params": params}
    for name in params[0]:
        values = [one[name] for one in params]
        results[f"param_{name}"] = np.ma.MaskedArray(values, mask=False, dtype=object)
    n_refits = (~np.isnan(scores)).sum(1)
    with_refits = np.array(
        [
            [fold.fit_seconds + fold.seconds[i] + fold.refit_seconds.get(i, 0.0) for fold in folds]
            for i in range(len(candidates))
        ]
    )
    results["mean_fit_time"], results["std_fit_time"] = with_refits.mean(1), with_refits.std(1)
    before = np.array([fold.before_refit for fold in folds]).T
    for number in range(len(folds)):
        results[f"split{number}_test_score"] = scores[:, number]
        results[f"split{number}_test_score_before_refit"] = before[:, number]
    complete = n_refits == len(folds)
    known = np.where(np.isnan(scores), 0.0, scores)
    mean = np.where(n_refits > 0, known.sum(1) / np.maximum(n_refits, 1), np.nan)
    results["mean_test_score"] = mean
    results["std_test_score"] = np.where(complete, scores.std(1), np.nan)
    results["mean_test_score_before_refit"] = before.mean(1)
    results["n_folds"] = n_refits
    # candidates that were left out earlier rank behind the others
    order = [(-n, -m if np.isfinite(m) else np.inf) for n, m in zip(n_refits, mean, strict=True)]
    places = sorted(set(order))
    ranks = rankdata([places.index(one) for one in order], method="min")
    results["rank_test_score"] = ranks.astype(np.int32)
    return results
