"""The change of predictions that an automatic pruning ratio may cause."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from ..utils import check_choice
from .binomial import check_share
from .changes import NORMS, QUANTITIES


@dataclass(frozen=True)
class MaxChange:
    """How far pruning may change predictions: a value for the parameter ``max_change``.

    With ``pruning_ratio="auto"`` an estimator is pruned as far as it is shown, with confidence
    1 − delta, that predictions change by more than epsilon for at most the share alpha of new rows.

    Parameters
    ----------
    epsilon : float, default=None
        The change, in the units of y or of probabilities. A regressor needs it. For a classifier
        None is about labels, and a number about probabilities.
    alpha : float, default=0.01
        The share of new rows that may change by more.
    delta : float, default=0.05
        One minus the confidence.
    of : {"auto", "predictions", "labels", "probabilities"}, default="auto"
        What may change. ``"auto"`` is ``"predictions"`` for a regressor, see ``epsilon`` for a
        classifier.
    norm : {"euclidean", "max"}, default="euclidean"
        How the changes of several outputs are put together; see :func:`skec.bounds.changes`.

    Raises
    ------
    ValueError
        If a value is not allowed.

    References
    ----------
    .. [1] Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then test: calibrating predictive
       algorithms to achieve risk control", arXiv:2110.01052.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skec import PrunedMLPRegressor
    >>> from skec.bounds import MaxChange
    >>> X, y = make_regression(1000, 4, random_state=0)
    >>> net = PrunedMLPRegressor(
    ...     (16,),
    ...     max_epochs=5,
    ...     pruning_ratio="auto",
    ...     max_change=MaxChange(20.0, alpha=0.05),
    ...     refit_strategy="none",
    ...     random_state=0,
    ... )
    >>> certificate = net.fit(X, y).pruning_curve_.certificate
    >>> certificate.alpha, certificate.n_rows
    (0.05, 100)
    """

    epsilon: float | None = None
    alpha: float = 0.01
    delta: float = 0.05
    of: Literal["auto", "predictions", "labels", "probabilities"] = "auto"
    norm: Literal["euclidean", "max"] = "euclidean"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        check_share("alpha", self.alpha)
        check_share("delta", self.delta)
        check_choice("of", self.of, ("auto", *QUANTITIES))
        check_choice("norm", self.norm, NORMS)

    def quantity(self, kind: str) -> str:
        """What may change, for a kind of estimator.

        Parameters
        ----------
        kind : {"classifier", "regressor"}

        Raises
        ------
        ValueError
            If this is not possible for the kind, or epsilon is missing.
        """
        of = quantity(self.of, kind, self.epsilon)
        if of != "labels" and self.epsilon is None:
            raise ValueError(
                f"max_change={self!r} needs epsilon, the change of {of} that is allowed. Give it a "
                f"number, as in MaxChange(0.1)."
            )
        return of


def check_epsilon(epsilon: float | None) -> None:
    """Raise unless epsilon is None or a finite number that is not negative."""
    number = isinstance(epsilon, Real) and not isinstance(epsilon, bool)
    if epsilon is not None and not (number and 0 <= epsilon < math.inf):
        raise ValueError(f"epsilon must be a number of at least 0; got {epsilon!r}.")


def quantity(of: str, kind: str, epsilon: float | None) -> str:
    """The quantity whose change is meant, for a kind of network; raise if it is not possible."""
    if of == "auto":
        if kind != "classifier":
            return "predictions"
        of = "labels" if epsilon is None else "probabilities"
    allowed = {
        "classifier": ("labels", "probabilities"),
        "regressor": ("predictions",),
        "module": ("predictions", "labels"),
    }[kind]
    if of not in allowed:
        raise ValueError(f"of={of!r} is not possible for a {kind}. Choose one of {list(allowed)}.")
    if of == "labels" and epsilon:
        raise ValueError(
            f"Labels change or they do not, so epsilon={epsilon} has no meaning for of='labels'. "
            f"Leave epsilon out, or choose another value of the parameter 'of'."
        )
    return of
