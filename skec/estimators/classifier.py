"""The classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d
from skorch import NeuralNetClassifier
from skorch.utils import to_numpy
from torch import Tensor, nn

from ..networks import MLP, loss_of_outputs, weighted_loss
from ..training import AdamW
from .attributes import AnyScopeLike, CompensationLike, MethodLike, MetricLike, Params, ScheduleLike
from .base import PrunedMLP
from .documentation import documented
from .prediction import predictions
from .training_data import first_item

_Self = TypeVar("_Self", bound="PrunedMLPClassifier")


@documented(
    own_parameters='class_weight : dict, "balanced" or None\n'
    '    Weights of the classes in the loss; ``"balanced"`` makes all classes weigh the same.',
)
class PrunedMLPClassifier(PrunedMLP, NeuralNetClassifier):
    """Multi-layer perceptron classifier that is trained, pruned and fine-tuned.

    ``fit`` trains a dense network, removes the least important weights, adjusts the biases to
    compensate for them, and fine-tunes the network. Scale the features, for instance with
    ``StandardScaler``.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    classes_ : array of shape (n_classes,)
        Class labels.

    See Also
    --------
    PrunedMLPRegressor : The same for numbers.
    skec.ECPruner : Prunes the network of another estimator.
    skec.prune : Prunes any torch module.

    References
    ----------
    .. [1] Ballini, Muscarnera, Fumagalli, Scotti, Regazzoni, "Elimination-compensation pruning
       for fully-connected neural networks", arXiv:2602.20467 (2026).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skec import PrunedMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = PrunedMLPClassifier((32,), max_epochs=30, pruning_ratio=0.5, random_state=0)
    >>> net.fit(X, y).sparsity_
    0.5
    >>> bool(net.score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (128, 128, 128),
        *,
        activation: str = "silu",
        dropout: float = 0.0,
        batch_norm: bool = False,
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
        step_epochs: int = 0,
        prune_output_layer: bool = True,
        calibration_samples: int | None = 4096,
        calibration_batch_size: int = 512,
        refit_epochs: int | None = None,
        refit_lr: float | None = None,
        refit_weight_decay: float | Literal["auto"] | None = "auto",
        refit_strategy: Literal["finetune", "rewind", "none"] = "finetune",
        optimizer: Any = AdamW,
        lr: float = 1e-2,
        lr_schedule: str = "cosine",
        max_epochs: int = 64,
        batch_size: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = None,
        tol: float = 0.0,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        random_state: Any = None,
        warm_start: bool = False,
        module: Any = MLP,
        criterion: Any = torch.nn.CrossEntropyLoss,
        iterator_train: Any = "auto",
        iterator_valid: Any = "auto",
        dataset: Any = "auto",
        train_split: Any = "auto",
        callbacks: Any = None,
        predict_nonlinearity: Any = "auto",
        verbose: int = 0,
        device: Any = "cpu",
        compile: bool = False,
        use_caching: Any = "auto",
        torch_load_kwargs: Params = None,
        **component__params: Any,
    ):
        self._store_parameters(locals())

    _parameter_constraints: ClassVar[dict[str, list]] = {
        name: allowed
        for name, allowed in PrunedMLP._parameter_constraints.items()
        if name != "normalize_y"
    }

    class_weight: dict[Any, float] | Literal["balanced"] | None
    classes = None  # skorch's parameter of this name; here the classes are those of y

    @property
    def classes_(self) -> np.ndarray:
        """Class labels, shape (n_classes,)."""
        if "_classes_" in vars(self):
            return self._classes_
        if hasattr(self, "n_outputs_"):
            return np.arange(self.n_outputs_)
        raise AttributeError(f"This {type(self).__name__} is not fitted and has no classes_ yet.")

    def _check_targets(self, y: Any, *, reset: bool, classes: Any = None) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if reset:
            labels = np.unique(y) if classes is None else np.unique(np.asarray(classes))
            if len(labels) < 2:
                raise ValueError(
                    f"y has 1 class, {labels[0]!r}; a classifier needs samples of at least 2 "
                    f"classes."
                )
            self._classes_ = labels
            self.n_outputs_ = len(labels)
        elif "_classes_" not in vars(self):  # only the number of outputs was known
            labels = np.unique(y if classes is None else classes)
            if len(labels) == self.n_outputs_:
                self._classes_ = labels
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={np.unique(classes)} differs from the classes of this estimator, "
                f"{self.classes_}. Name all classes in the first call of partial_fit, or call fit."
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has labels {unknown[:5]} that are not among the classes {self.classes_}. Call "
                f"fit for other classes, or name all of them in the first partial_fit(classes=...)."
            )
        return np.searchsorted(self.classes_, y)

    def _with_class_weight(self, y: np.ndarray, sample_weight: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        labels = self.classes_[y]
        if isinstance(self.class_weight, dict):
            bad = [w for w in self.class_weight.values() if not (np.isfinite(w) and w >= 0)]
            if bad or not any(self.class_weight.get(label, 1) for label in np.unique(labels)):
                raise ValueError(
                    f"class_weight must map classes to non-negative numbers that are not all zero; "
                    f"got {self.class_weight}."
                )
        if self.class_weight == "balanced" and sample_weight is not None:
            # class frequencies are sums of sample weights
            totals = np.bincount(y, sample_weight, minlength=len(self.classes_))
            present = totals > 0
            by_class = np.zeros(len(totals))
            by_class[present] = totals.sum() / (present.sum() * totals[present])
            return by_class[y] * sample_weight
        by_class = compute_sample_weight(self.class_weight, labels)
        return by_class if sample_weight is None else by_class * sample_weight

    def _describe_dataset(self, dataset: Any) -> None:
        x, _ = first_item(dataset)
        self.n_features_in_ = int(np.shape(x)[0])
        labels = np.unique([int(dataset[i][1]) for i in range(len(dataset))])
        if len(labels) < 2:
            raise ValueError(
                f"The Dataset has 1 class, {labels[0]}; a classifier needs at least 2."
            )
        self._classes_ = np.arange(labels.max() + 1)
        self.n_outputs_ = len(self._classes_)

    @classmethod
    def from_network(
        cls: type[_Self],
        network: nn.Module,
        *,
        classes: Any = None,
        feature_names_in: np.ndarray | None = None,
        **parameters: Any,
    ) -> _Self:
        """Make a fitted estimator from a trained network.

        Parameters
        ----------
        network : torch.nn.Module
            It is copied. It returns one logit for each class.
        classes : array of shape (n_classes,), default=None
            Class labels in the order of the outputs; by default 0, 1, …
        feature_names_in : array of str, default=None
            Names of the features.
        **parameters : dict
            Parameters of the estimator. ``module`` is the network by default, unless that is a
            :class:`skec.networks.MLP`.

        Returns
        -------
        estimator
            Call ``prune(X)`` to prune it.

        Examples
        --------
        >>> import torch, skec
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3))
        >>> skec.PrunedMLPClassifier.from_network(network, classes=["a", "b", "c"]).classes_
        array(['a', 'b', 'c'], dtype='<U1')
        """
        net = super().from_network(network, feature_names_in=feature_names_in, **parameters)
        if classes is not None:
            labels = np.asarray(classes).copy()
            if len(labels) != net.n_outputs_:
                raise ValueError(
                    f"classes has {len(labels)} labels, and the network has {net.n_outputs_} "
                    f"outputs. Pass one label for each output."
                )
            net._classes_ = labels
        return net

    def _take_outputs(self, n_outputs: int) -> None:
        self.n_outputs_, self._classes_ = n_outputs, np.arange(n_outputs)

    def _target_facts(self) -> dict[str, list[Any]]:
        if "_classes_" not in vars(self) or self._classes_.dtype.kind not in "biufUO":
            return {}
        return {"classes": self._classes_.tolist(), "dtype": [self._classes_.dtype.str]}

    def _take_target_facts(self, facts: dict[str, list[Any]]) -> None:
        labels = np.asarray(facts.get("classes", []), np.dtype(facts.get("dtype", ["O"])[0]))
        n_outputs = getattr(self, "n_outputs_", len(labels))
        if labels.shape != (n_outputs,) or len(np.unique(labels)) < n_outputs:
            raise ValueError(
                f"The file has no valid class labels: {labels.tolist()[:10]} for {n_outputs} "
                f"outputs. Save the weights again with save_params of a fitted estimator."
            )
        self._classes_ = labels

    def _fit_target_scale(
        self,
        y: Any,
        sample_weight: Any,
        weight: float | None = None,
        *,
        reset: bool,
        part: bool = False,
    ) -> None:
        pass

    def _update_target_scale(self, y: Any, sample_weight: Any, weight: float) -> None:
        pass

    def _noise_decay(self, dataset: Any) -> float:
        return 0.0

    def _stratification(self, y: Any) -> np.ndarray | None:
        return None if y is None or type_of_target(y) == "continuous" else np.asarray(y)

    def _mismatch(self, shape: tuple[int, ...]) -> str:
        categorical = isinstance(self.criterion_, nn.CrossEntropyLoss | nn.NLLLoss)
        if not categorical or (len(shape) >= 2 and shape[1] == self.n_outputs_):
            return ""
        return f"it needs one output for each of the {self.n_outputs_} classes"

    def _network_targets(self, y: Any) -> Tensor:
        return y.long()

    def _loss(self, outputs: Any, targets: Tensor, weights: Tensor | None) -> Tensor:
        criterion = loss_of_outputs(self.criterion_, classifier=True)
        return weighted_loss(criterion, outputs, targets, weights)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_classes)
            float64; columns in the order of ``classes_``.
        """
        nonlinearity = self._nonlinearity()
        return predictions(self, X, lambda outputs: to_numpy(nonlinearity(outputs.double())))

    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,)
            Labels, as in ``classes_``. During training, callbacks get class indices, because the
            network is trained on these.
        """
        indices = self.predict_proba(X).argmax(axis=1)
        if self._phase is not None or not hasattr(self, "classes_"):  # initialized without data
            return indices
        return self.classes_[indices]
