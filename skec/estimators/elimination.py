"""Scores pruning ratios and methods in folds, and leaves out those that are unlikely to win."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil
from operator import itemgetter
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone

from ..utils import private, progress_bar
from .fit_data import accepted
from .joint_refit import MOST_NETWORKS, can_be_stacked, refit_together
from .prune_estimator import PruningSettings, check_given, ratio_pruner


@dataclass
class Fold:
    """A dense network, the rows of its fold, and the scores of the candidates."""

    dense: Any
    train: Any
    test: Any
    fit_seconds: float
    before_refit: np.ndarray
    seconds: np.ndarray
    scores: dict[int, float] = field(default_factory=dict)
    refit_seconds: dict[int, float] = field(default_factory=dict)


@dataclass
class Elimination:
    """Scores candidates in all folds; a dense network is trained once per fold.

    A job has one argument, a tuple, and the data belong to this object. joblib's Dask backend would
    leave arrays that are arguments on a single worker, and fail if it is lost.

    Attributes
    ----------
    estimator : PrunedMLP
        With the parameters of the dense phase.
    candidates : list of (method, pruning ratio)
    data : tuple
        X, y and the sample weights.
    fit_params : mapping
    scorer : callable
    refit_all : bool
        Whether to fine-tune every candidate in every fold.
    by_ratio : bool
        Whether to keep a candidate of each ratio.
    n_jobs : int or None
    progress : bool
        Whether to show a bar.
    """

    estimator: Any
    candidates: list[tuple[Any, float]]
    data: tuple[Any, Any, Any]
    fit_params: Mapping[str, Any]
    scorer: Callable[..., float]
    refit_all: bool
    by_ratio: bool
    n_jobs: int | None
    progress: bool

    def run(self, rows: list[tuple[Any, Any]]) -> list[Fold]:
        """The folds with the scores; those of candidates that were left out are missing."""
        folds: list[Fold] = []
        jobs = [delayed(self._dense_fold)(parts) for parts in rows]
        with progress_bar(len(jobs), "folds", "fold", shown=self.progress) as advance:
            for fold in self._parallel(jobs):
                folds.append(fold)
                advance(score=fold.before_refit.max())
        net = self.estimator
        if net.refit_strategy == "none" or net.refit_epochs == 0:
            for fold in folds:
                fold.scores = dict(enumerate(fold.before_refit))
            return folds
        scores: Any = np.mean([fold.before_refit for fold in folds], axis=0)
        alive, n_done = list(range(len(self.candidates))), 0
        if not self.refit_all:
            alive = self._best_of_each_ratio(alive, scores, lambda n: ceil(n / 2))
        while n_done < len(folds):
            after = self._next_round(alive, scores)
            # once a round leaves out nobody, the folds that follow are independent of each other
            now = folds[n_done : n_done + 1] if len(after) < len(alive) else folds[n_done:]
            self._refit(now, alive)
            n_done += len(now)
            scores = {i: np.mean([fold.scores[i] for fold in folds[:n_done]]) for i in alive}
            alive = self._next_round(alive, scores)
        return folds

    def _next_round(self, alive: list[int], scores: Any) -> list[int]:
        """The candidates that go on, given the mean scores so far."""
        if self.refit_all:
            return alive
        if self.by_ratio:
            return self._best_of_each_ratio(alive, scores, lambda n: 1)
        return _best(alive, scores, min(len(alive), max(2, ceil(len(alive) / 3))))

    def _parallel(self, jobs: Iterable[Any]) -> Iterable[Any]:
        """The results of jobs in their order, as they come."""
        return cast(Any, Parallel(n_jobs=self.n_jobs, return_as="generator")(jobs))

    def _refit(self, folds: list[Fold], candidates: list[int]) -> None:
        """Fine-tune the candidates in each of these folds, and keep their scores."""
        jobs = [(fold, group) for fold in folds for group in self._groups(fold, candidates)]
        found = self._parallel(delayed(self._refit_scores)(job) for job in jobs)
        total = len(folds) * len(candidates)
        with progress_bar(total, "refit", "candidate", shown=self.progress) as advance:
            for (fold, group), (scores, seconds) in zip(jobs, found, strict=True):
                for i, score in zip(group, scores, strict=True):
                    fold.scores[i], fold.refit_seconds[i] = score, seconds / len(group)
                    advance(score=score)

    def _groups(self, fold: Fold, candidates: list[int]) -> list[list[int]]:
        """The candidates that are fine-tuned together; the same for any number of processes."""
        together = not self.fit_params and can_be_stacked(fold.dense)
        n_groups = ceil(len(candidates) / (MOST_NETWORKS if together else 1))
        return [candidates[start::n_groups] for start in range(n_groups)]

    def _best_of_each_ratio(
        self, alive: list[int], scores: Any, count: Callable[[int], int]
    ) -> list[int]:
        """At each ratio, the candidates with the best scores; ``count`` says how many of all."""
        kept: list[int] = []
        for ratio in dict.fromkeys(self.candidates[i][1] for i in alive):
            here = [i for i in alive if self.candidates[i][1] == ratio]
            kept += _best(here, scores, count(len(here)))
        return sorted(kept)

    def _part(self, rows: Any) -> tuple[Any, ...]:
        return tuple(None if part is None else private.take_rows(part, rows) for part in self.data)

    def _dense_fold(self, rows: tuple[Any, Any]) -> Fold:
        """Train the dense network of a fold, and score the candidates before a refit."""
        train, test = rows
        X, y, weight = self._part(train)
        net: Any = clone(self.estimator)
        vars(net)["_stays_dense"] = True
        start = time.perf_counter()
        net.fit(X, y, weight, **self.fit_params)
        seconds, scores, spent = time.perf_counter() - start, [], []
        pruned = deepcopy(net)
        for method, same_method in groupby(self.candidates, key=itemgetter(0)):
            given = check_given({"pruning_ratio": 0.0, "method": method}, net)
            pruner = ratio_pruner(net, PruningSettings.of(net, given), net._calibration_)
            for _, ratio in same_method:
                start = time.perf_counter()
                vars(pruned)["module_"] = pruner.prune(ratio).module
                spent.append(time.perf_counter() - start)
                scores.append(self._score(pruned, test))
        return Fold(net, train, test, seconds, np.array(scores), np.array(spent))

    def _refit_scores(self, job: tuple[Fold, list[int]]) -> tuple[list[float], float]:
        """The scores of candidates of a fold after their refit, and the seconds of the refit."""
        (fold, candidates), start = job, time.perf_counter()
        nets = []
        for method, ratio in (self.candidates[i] for i in candidates):
            nets.append(fold.dense.prune(pruning_ratio=ratio, method=method, copy=True))
        refit_together(
            [net for net in nets if net.sparsity_ > 0], self._part(fold.train), self.fit_params
        )
        seconds = time.perf_counter() - start
        return [self._score(net, fold.test) for net in nets], seconds

    def _score(self, net: Any, rows: Any) -> float:
        X, y, weight = self._part(rows)
        weights = {} if weight is None else accepted(self.scorer, {"sample_weight": weight})
        return float(self.scorer(net, X, y, **weights))


def _best(candidates: list[int], scores: Any, count: int) -> list[int]:
    """The candidates with the best scores, in their order; of equal ones the first."""
    return sorted(sorted(candidates, key=lambda i: -scores[i])[:count])
