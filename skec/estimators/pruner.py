"""The meta-estimator that prunes the network of another estimator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ..networks import Support
from ..utils import private
from ..utils.private import StrOptions
from .adapters import Adapter
from .attributes import AnyScopeLike, CompensationLike, MethodLike, MetricLike, Params, ScheduleLike
from .before_training import check_network, check_settings
from .blockwise import by_blocks, check_in_memory, for_prediction
from .delegation import Delegation
from .inner import (
    check_estimator,
    fit_with_weights,
    is_prefit,
    parts_of,
    routed_fit_params,
    selects_columns,
    unfrozen,
)
from .memory import fit_or_recall
from .parameters import CONSTRAINTS, Number, check_given_ratio
from .prune_estimator import PRUNING_PARAMETERS, PruningSettings, execution_order, prune_estimator
from .representation import OUTPUTS, Representation
from .rollback import all_unchanged_on_error, unchanged_on_error
from .streams import check_no_stream
from .versions import of_this_version, with_version

_Self = TypeVar("_Self", bound="ECPruner")


class ECPruner(Delegation, SelectorMixin, MetaEstimatorMixin, BaseEstimator):
    """Prune the network of an estimator, and use the pruned network to predict or to transform.

    Parameters
    ----------
    estimator : estimator
        A ``PrunedMLPRegressor``, a ``PrunedMLPClassifier`` (trained without its own pruning), an
        ``MLPRegressor`` or ``MLPClassifier`` of scikit-learn, any skorch net whose module has
        linear layers or convolutions, or a ``Pipeline`` whose last step is one of them: its
        earlier steps are fitted, and transform X for the network. A clone of it is fitted. With
        ``prefit=True``, or in a ``sklearn.frozen.FrozenEstimator``, it is fitted already, and a
        copy of it is pruned. The given estimator is never changed.
    pruning_ratio : float, default=0.8
        Fraction of the weights, or of the hidden units, to remove, in [0, 1).
    granularity : {"weight", "neuron"}, default="weight"
        What is removed: single weights, or hidden units with all their weights.
    method, compensation, method_params, compensation_params
        As in :func:`skec.prune`.
    scope, n_steps, schedule, output_metric, n_probes
        As in :func:`skec.prune`.
    layers : list of str, default=None
        Names of the layers to prune; None takes all.
    prune_output_layer : bool, default=True
        Whether the weights of the last layer are pruned too. Ignored if ``layers`` is given.
    calibration_samples : int or None, default=4096
        Number of samples on which the scores are computed, drawn at random; None takes all.
    batch_size : int, default=512
        Calibration samples processed at a time.
    refit_epochs : int, default=0
        Epochs of fine-tuning. Needs ``y``, and for scikit-learn's perceptrons the solver
        ``"adam"`` or ``"sgd"``. Their ``early_stopping`` applies only to the dense training. The
        estimators of this library follow their own ``refit_strategy``, ``refit_lr`` and
        ``refit_weight_decay``.
    output : {"hidden", "output", "features"}, default="hidden"
        What ``transform`` returns: the units of the last hidden layer that are still used, the
        network's outputs, or the columns of X that still have a weight.
    prefit : bool, default=False
        Whether ``estimator`` is fitted already.
    memory : str, path, joblib.Memory or None, default=None
        A folder for fits of ``estimator``, as in ``sklearn.pipeline.Pipeline``: an equal estimator
        is not fitted again to equal data. Needs an integer as ``random_state``, here or of the
        estimator.
    random_state : int, RandomState or None, default=None
        Seed of the calibration samples and of the scores of ``method="random"``. It also seeds an
        estimator whose own ``random_state`` is None, and the first weights, batches and dropout of
        a skorch net. The latter draw from torch's global generator, which is put back afterwards,
        so skorch nets are then fitted by one thread at a time.

    Attributes
    ----------
    estimator_ : estimator
        The fitted, pruned estimator, with the parameters of the given one. A perceptron of
        scikit-learn has the pruned weights in its ``coefs_``. It has no masks, so its own
        ``partial_fit`` makes removed weights nonzero again.
    masks_ : dict of layer name to bool tensor of shape (n_out, n_in)
        True marks a kept weight. The layers of scikit-learn's perceptrons are ``hidden_0``, …,
        ``output``, and their ``coefs_`` have the shape (n_in, n_out).
    scores_ : dict of layer name to float64 tensor of shape (n_out, n_in)
        Scores of the dense network's weights.
    pruning_report_ : PruningReport
        One row per layer. With ``y``, it has the losses on calibration samples before and after
        the pruning. Like ``scores_`` and ``sparsity_`` it describes the pruning, not the network
        after a later ``compact``.
    sparsity_ : float
        Fraction of the prunable weights that were removed.
    predicted_error_ : float or None
        See :class:`skec.PruningResult`.
    n_steps_ : int
        Number of pruning steps.
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features,)
        Defined if X is a frame with string column names.
    classes_ : array of shape (n_classes,)
        Defined for classifiers.

    See Also
    --------
    skec.prune : The same for a torch module, without scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skec import ECPruner, PrunedMLPRegressor
    >>> X, y = make_regression(200, 5, random_state=0)
    >>> net = PrunedMLPRegressor(hidden_layer_sizes=(32,), max_epochs=20, random_state=0)
    >>> pruner = ECPruner(net, pruning_ratio=0.5).fit(X, y)
    >>> round(pruner.sparsity_, 3)
    0.5
    >>> pruner.set_params(output="features").transform(X).shape
    (200, 5)

    The result for a perceptron of scikit-learn is one too:

    >>> from sklearn.neural_network import MLPRegressor
    >>> mlp = MLPRegressor(hidden_layer_sizes=32, solver="lbfgs", tol=1.0, random_state=0)
    >>> pruner = ECPruner(mlp, granularity="neuron", pruning_ratio=0.75).fit(X, y)
    >>> [coef.shape for coef in pruner.compact().estimator_.coefs_]
    [(5, 8), (8, 1)]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{name: CONSTRAINTS[name] for name in (*PRUNING_PARAMETERS, "prune_output_layer")},
        **{name: CONSTRAINTS[name] for name in ("calibration_samples", "memory", "random_state")},
        "pruning_ratio": [Number(Real, 0, 1, closed="left")],
        "estimator": "no_validation",
        "layers": ["array-like", None],
        "batch_size": CONSTRAINTS["calibration_batch_size"],
        "refit_epochs": [Number(Integral, 0, None, closed="left")],
        "output": [StrOptions(set(OUTPUTS))],
        "prefit": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        pruning_ratio: float = 0.8,
        granularity: Literal["weight", "neuron"] = "weight",
        method: MethodLike = "ec",
        compensation: CompensationLike = "auto",
        method_params: Params = None,
        compensation_params: Params = None,
        scope: AnyScopeLike = "auto",
        n_steps: int | Literal["auto"] = "auto",
        schedule: ScheduleLike = "geometric",
        output_metric: MetricLike = "auto",
        n_probes: int | Literal["auto"] | None = "auto",
        layers: Sequence[str] | None = None,
        prune_output_layer: bool = True,
        calibration_samples: int | None = 4096,
        batch_size: int = 512,
        refit_epochs: int = 0,
        output: Literal["hidden", "output", "features"] = "hidden",
        prefit: bool = False,
        memory: Any = None,
        random_state: Any = None,
    ):
        self.estimator = estimator
        self.pruning_ratio = pruning_ratio
        self.granularity = granularity
        self.method = method
        self.compensation = compensation
        self.method_params = method_params
        self.compensation_params = compensation_params
        self.scope = scope
        self.n_steps = n_steps
        self.schedule = schedule
        self.output_metric = output_metric
        self.n_probes = n_probes
        self.layers = layers
        self.prune_output_layer = prune_output_layer
        self.calibration_samples = calibration_samples
        self.batch_size = batch_size
        self.refit_epochs = refit_epochs
        self.output = output
        self.prefit = prefit
        self.memory = memory
        self.random_state = random_state

    n_features_in_: int

    def set_params(self: _Self, **params: Any) -> _Self:
        """Set parameters of the pruner, and those of ``estimator`` as ``estimator__parameter``.

        If one of them is invalid, none is set.
        """
        with all_unchanged_on_error([self, *parts_of(self.estimator)]):
            return super().set_params(**params)

    # -- fitting ------------------------------------------------------------------------------

    @fit_with_weights
    def fit(
        self: _Self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> _Self:
        """Fit the estimator unless it is fitted already, prune it, and fine-tune it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like, default=None
            Needed to fit or fine-tune the estimator, and by ``"gradient"`` and ``"taylor"``.
        sample_weight : array-like of shape (n_samples,), default=None
        **fit_params : dict
            Passed to the ``fit`` of ``estimator``.

        Returns
        -------
        self
        """
        check_no_stream(self, X)
        check_in_memory("fit", X, y, sample_weight)
        check_given_ratio(self)
        private.validate_parameters(self)
        settings = PruningSettings.of(self)
        given = check_estimator(self, y)
        check_settings(given, settings, y, prefit=is_prefit(self))
        fit_params = routed_fit_params(self, given.estimator, sample_weight, fit_params)
        with unchanged_on_error(self):
            X = given.features(self, X, reset=True)
            adapter = given.copied() if is_prefit(self) else given.cloned()
            if not is_prefit(self):
                check = partial(check_network, adapter, settings, X, y)
                adapter = fit_or_recall(self, adapter, X, y, fit_params, check)
            self._prune(adapter, settings, X, y, sample_weight)
            if self.refit_epochs:
                adapter.refit(
                    X,
                    y,
                    self.masks_,
                    epochs=self.refit_epochs,
                    random_state=self.random_state,
                    **fit_params,
                )
            self.estimator_ = adapter.estimator
            self._support = Support.of(adapter.network, self._support.order)  # after the refit
        return self

    def _prune(
        self, adapter: Adapter, settings: PruningSettings, X: Any, y: Any, sample_weight: Any
    ) -> None:
        samples = adapter.calibration_data(
            X,
            y,
            sample_weight,
            n_samples=self.calibration_samples,
            random_state=self.random_state,
        )
        network = adapter.network
        order = execution_order(network, samples.X)
        result = prune_estimator(
            adapter,
            network,
            settings,
            samples,
            batch_size=self.batch_size,
            random_state=self.random_state,
            order=order,
        )
        self.masks_, self.scores_ = result.masks, result.scores
        self.pruning_report_ = adapter.report(result, network, samples, self.batch_size)
        self.sparsity_, self.predicted_error_ = result.sparsity, result.predicted_error
        self.n_steps_ = result.n_steps
        self._support = Support.of(adapter.network, order)

    def compact(self: _Self) -> _Self:
        """Make the network smaller without changing its outputs; see :func:`skec.compact`.

        Returns
        -------
        self
            Its ``estimator_`` is a new one with a smaller network. A perceptron of scikit-learn
            loses units, but no columns of X. ``transform`` returns the same columns with the same
            names.

        Raises
        ------
        ValueError
            If the layers of the network do not form a sequence.
        """
        check_is_fitted(self)
        adapter = self._adapter.copied()
        masks = adapter.compact(self.masks_)
        support = self._support.after_compaction(adapter.network)
        with unchanged_on_error(self):
            self.estimator_, self.masks_, self._support = adapter.estimator, masks, support
        return self

    def _for_prediction(self: _Self) -> _Self:
        """A shallow copy without what only the pruning needs."""
        check_is_fitted(self)
        twin = object.__new__(type(self))
        vars(twin).update({n: v for n, v in vars(self).items() if n != "scores_"})
        twin.estimator = twin.estimator_ = for_prediction(self.estimator_)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return with_version(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(of_this_version(self, state))

    def _sk_visual_block_(self) -> Any:
        """The box of the HTML representation, with the sparsity of a fitted pruner."""
        if not parts_of(self.estimator):  # no estimator at all
            return private.visual_block("single", self, type(self).__name__)
        name = type(unfrozen(self.estimator)).__name__
        pruned = f" ({self.sparsity_:.1%} pruned)" if hasattr(self, "sparsity_") else ""
        return private.visual_block("parallel", [self.estimator], [f"estimator: {name}{pruned}"])

    # -- transformation -------------------------------------------------------------------------

    @property
    def _representation(self) -> Representation:
        return Representation(self.output, self._support, self._adapter, self.n_features_in_)

    @by_blocks
    def transform(self, X: Any) -> Any:
        """Return the pruned network's representation of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Or a Dask array or dataframe. The result is then a Dask array, not yet computed.

        Returns
        -------
        array of shape (n_samples, n_units)
            Units, outputs or columns of X, see ``output``.
        """
        check_is_fitted(self)
        representation = self._representation
        representation.check()
        if self.output == "features":
            formats, dtypes = self._adapter.accepts_sparse, [np.float64, np.float32]
            checked: Any = validate_data(self, X, reset=False, accept_sparse=formats, dtype=dtypes)
            return checked[:, self._support.features]
        return representation.of(self._adapter.features(self, X, reset=False))

    def _get_support_mask(self) -> np.ndarray:
        """Which columns of X still have a weight, for ``get_support`` of scikit-learn."""
        check_is_fitted(self)
        self._representation.check_columns()
        return self._support.features.copy()

    @available_if(selects_columns)
    def inverse_transform(self, X):
        """Put selected columns back into their places; for ``output="features"`` only."""
        return super().inverse_transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that ``transform`` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X; by default those seen in ``fit``, or ``x0``, ``x1``, …

        Returns
        -------
        array of str
        """
        check_is_fitted(self)
        self._representation.check()
        if self.output == "features":
            return super().get_feature_names_out(input_features)
        return self._representation.names(getattr(self, "classes_", None))
