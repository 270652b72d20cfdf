"""Certificates of a fitted estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..bounds import ChangeCertificate, LossCertificate, certify, equal_rows
from .path import PruningPath

_BLOCK = 1024  # rows compared at a time


class Certification(PruningPath):
    """A net that keeps its dense network, with which it can be compared."""

    def certify(
        self,
        X: Any,
        y: Any = None,
        *,
        of: Literal["auto", "predictions", "labels", "probabilities", "loss"] = "auto",
        epsilon: float | None = None,
        alpha: float | None = None,
        delta: float = 0.05,
        norm: Literal["euclidean", "max"] = "euclidean",
        loss: str | Callable[[Any, np.ndarray], np.ndarray] = "auto",
        loss_range: tuple[float, float] | None = None,
        interval: Literal["auto", "t", "bernstein", "betting"] = "auto",
        check_rows: bool = True,
    ) -> ChangeCertificate | LossCertificate:
        """Bound how much the network differs from the dense network on new rows.

        The network is the present one, after fine-tuning if there was any. The dense one is that
        from which ``prune`` starts.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Rows that were not used in ``fit``.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs), default=None
            Targets. If they are given without epsilon and alpha, the certificate is about the mean
            loss.
        of, epsilon, alpha, delta, norm, loss, loss_range, interval : optional
            As in :func:`skec.bounds.certify`.
        check_rows : bool, default=True
            Whether to refuse rows that were used in ``fit``. Only the kept rows can be seen: the
            calibration samples, and the held-out rows of an automatic ratio.

        Returns
        -------
        ChangeCertificate or LossCertificate
            Its ``str`` is a sentence.

        Raises
        ------
        ValueError
            As in :func:`skec.bounds.certify`, and if there is no dense network, as after
            ``compact``.

        Examples
        --------
        >>> from sklearn.datasets import make_regression
        >>> from skec import PrunedMLPRegressor
        >>> X, y = make_regression(800, 4, random_state=0)
        >>> net = PrunedMLPRegressor((16,), max_epochs=10, pruning_ratio=0.5, random_state=0)
        >>> certificate = net.fit(X[:400], y[:400]).certify(X[400:], alpha=0.05)
        >>> certificate.alpha, certificate.n_rows, certificate.n_exceeding
        (0.05, 400, 12)
        """
        self._check_fitted("certify")
        if not hasattr(self, "dense_module_"):
            raise ValueError(
                "certify compares the network with the dense one, and this estimator has none: it "
                "was not pruned, or compact or trim_for_prediction dropped it. Certify before that "
                "call, or compare two estimators with skec.bounds.certify(pruned, dense, X)."
            )
        return certify(
            self,
            _with_dense_network(self),
            X,
            y,
            of=of,
            epsilon=epsilon,
            alpha=alpha,
            delta=delta,
            norm=norm,
            loss=loss,
            loss_range=loss_range,
            interval=interval,
            check_rows=check_rows,
        )

    def _rows_used_in_fit(self, X: Any) -> np.ndarray | None:
        """Which rows are equal to kept rows of the fit, in the precision of the network."""
        kept = [getattr(self, name, None) for name in ("_calibration_", "_held_out_")]
        earlier = [part.X.cpu().numpy() for part in kept if part is not None]
        if not earlier:
            return None
        rows = self._data.features(X)
        blocks = [rows[i : i + _BLOCK].cpu().numpy() for i in range(0, len(rows), _BLOCK)]
        return equal_rows(np.concatenate(blocks), np.concatenate(earlier))


def _with_dense_network(net: Any) -> Any:
    """An estimator with the state of another, and its dense network."""
    twin = object.__new__(type(net))
    vars(twin).update(vars(net))
    vars(twin)["module_"] = copy.deepcopy(net.dense_module_)
    return twin
