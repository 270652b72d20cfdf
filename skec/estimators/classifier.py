"""The classifier."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from inspect import isclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils.multiclass import type_of_target
from skorch import NeuralNetClassifier
from skorch.utils import to_numpy
from torch import Tensor, nn

from ..bounds import MaxChange
from ..networks import MLP
from ..training import AdamW
from .attributes import AnyScopeLike, CompensationLike, MethodLike, MetricLike, Params, ScheduleLike
from .blockwise import by_blocks
from .class_loss import ClassLoss
from .documentation import documented
from .prediction import predictions
from .targets import check_indicator, check_labels, is_indicator, with_class_weight
from .torch_datasets import first_item

_Self = TypeVar("_Self", bound="PrunedMLPClassifier")


CLASSIFIER_PARAMETERS = (
    'class_weight : dict, "balanced" or None\n'
    '    Weights of the classes in the loss; ``"balanced"`` makes all classes weigh the same.\n'
    "label_smoothing : float\n"
    "    Share of the target that is spread evenly over the classes in training, in [0, 1]. It\n"
    "    makes the probabilities less extreme. It belongs to ``CrossEntropyLoss``; other losses,\n"
    "    and several labels per sample, do without."
)


@documented(own_parameters=CLASSIFIER_PARAMETERS)
class PrunedMLPClassifier(ClassLoss, NeuralNetClassifier):
    """Multi-layer perceptron classifier that is trained, pruned and fine-tuned.

    ``fit`` trains a dense network, removes the least important weights, adjusts the biases to
    compensate for them, and fine-tunes the network. The network scales and embeds its features.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    classes_ : array of shape (n_classes,)
        Class labels; with several labels per sample the numbers of the columns of y.

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
        feature_scaling: Literal["auto", "robust"] | None = "auto",
        feature_embedding: Literal["auto", "periodic"] | None = "auto",
        feature_weights: Literal["auto", "learned"] | None = "auto",
        dropout: float = 0.2,
        batch_norm: bool = False,
        pruning_ratio: float | Literal["auto"] = 0.8,
        max_loss_increase: float = 0.01,
        max_change: MaxChange | None = None,
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
        calibration_batch_size: int = 1024,
        refit_epochs: int | None = None,
        refit_lr: float | None = None,
        refit_weight_decay: float | Literal["auto"] | None = "auto",
        refit_strategy: Literal["finetune", "rewind", "none"] = "finetune",
        optimizer: Any = AdamW,
        lr: float = 1e-3,
        lr_schedule: str = "cosine",
        max_epochs: int = 64,
        batch_size: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = None,
        tol: float = 0.0,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        label_smoothing: float = 0.02,
        dtype: Literal["float32", "float64"] = "float32",
        random_state: Any = None,
        warm_start: bool = False,
        memory: Any = None,
        module: Any = MLP,
        criterion: Any = torch.nn.CrossEntropyLoss,
        iterator_train: Any = "auto",
        iterator_valid: Any = "auto",
        dataset: Any = "auto",
        train_split: Any = "auto",
        callbacks: Any = None,
        predict_nonlinearity: Any = "auto",
        verbose: int = 0,
        progress: bool = False,
        n_threads: int = 1,
        device: Any = "cpu",
        compile: bool = False,
        use_caching: Any = "auto",
        torch_load_kwargs: Params = None,
        **component__params: Any,
    ):
        self._store_parameters(locals())

    _parameter_constraints: ClassVar[dict[str, list]] = {
        name: allowed
        for name, allowed in ClassLoss._parameter_constraints.items()
        if name != "normalize_y"
    }

    class_weight: dict[Any, float] | Literal["balanced"] | None
    label_smoothing: float
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
        multilabel, new = is_indicator(y), reset or "_classes_" not in vars(self)
        if not new and multilabel != self._multilabel_:
            raise ValueError(
                f"y has {'several labels' if multilabel else 'one class'} per sample, but this "
                f"estimator was fitted with {'one class' if multilabel else 'several labels'} per "
                f"sample. Call fit for other targets."
            )
        if multilabel:
            y = check_indicator(y, None if reset else self.n_outputs_, classes)
            if new:
                self._set_classes(np.arange(y.shape[1]), multilabel=True)
            if new and not reset:  # only the number of outputs was known
                self.initialize_criterion()
            return y
        y = check_labels(y)
        if reset:
            labels = np.unique(y) if classes is None else np.unique(np.asarray(classes))
            if len(labels) < 2:
                raise ValueError(
                    f"y has 1 class, {labels[0]!r}; a classifier needs samples of at least 2 "
                    f"classes."
                )
            self._set_classes(labels)
        elif new:  # only the number of outputs was known
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

    def _encoded_targets(self, y: Any) -> np.ndarray:
        if self._multilabel_:
            return (y.toarray() if issparse(y) else np.asarray(y)).astype(np.int8)
        return np.searchsorted(self.classes_, np.asarray(y))

    def _set_classes(self, labels: np.ndarray, multilabel: bool = False) -> None:
        self._classes_, self.n_outputs_, self._multilabel_ = labels, len(labels), multilabel

    def _with_class_weight(self, y: np.ndarray, sample_weight: Any) -> Any:
        if self.class_weight is not None and self._multilabel_:
            raise ValueError(
                f"class_weight={self.class_weight!r} needs one class per sample. For several "
                f"labels use sample_weight or criterion__pos_weight."
            )
        return with_class_weight(self.class_weight, self.classes_, y, sample_weight)

    def _describe_dataset(self, dataset: Any) -> None:
        x, y = first_item(dataset)
        self.n_features_in_ = int(np.shape(x)[0])
        if np.ndim(y) == 1 and len(y) > 1:
            self._set_classes(np.arange(len(y)), multilabel=True)
            return
        labels = np.unique(list({int(dataset[i][1]) for i in range(len(dataset))}))
        if len(labels) < 2:
            raise ValueError(f"The Dataset has 1 class, {labels[0]}; a classifier needs two.")
        self._set_classes(np.arange(labels.max() + 1))

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
            It is copied. It returns one logit for each class. With
            ``criterion=torch.nn.BCEWithLogitsLoss`` and several outputs, each is the logit of a
            label that a sample may have beside others.
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
        loss = self.criterion if isclass(self.criterion) else type(self.criterion)
        several = n_outputs > 1 and issubclass(loss, nn.BCEWithLogitsLoss)
        self._set_classes(np.arange(n_outputs), multilabel=several)

    def _target_facts(self) -> dict[str, list[Any]]:
        if "_classes_" not in vars(self) or self._classes_.dtype.kind not in "biufUO":
            return {}
        facts = {"classes": self._classes_.tolist(), "dtype": [self._classes_.dtype.str]}
        return facts | ({"multilabel": [True]} if self._multilabel_ else {})

    def _take_target_facts(self, facts: dict[str, list[Any]]) -> None:
        labels = np.asarray(facts.get("classes", []), np.dtype(facts.get("dtype", ["O"])[0]))
        n_outputs = getattr(self, "n_outputs_", len(labels))
        if labels.shape != (n_outputs,) or len(np.unique(labels)) < n_outputs:
            raise ValueError(
                f"The file has no valid class labels: {labels.tolist()[:10]} for {n_outputs} "
                f"outputs. Save the weights again with save_params of a fitted estimator."
            )
        multilabel = facts.get("multilabel", [False]) == [True]
        changed = multilabel != self._multilabel_
        self._set_classes(labels, multilabel)
        if changed:
            self.initialize_criterion()

    def _stratification(self, y: Any) -> np.ndarray | None:
        several = self._multilabel_ or y is None or type_of_target(y) == "continuous"
        return None if several else np.asarray(y)

    def _answers(self, outputs: Tensor, of: str) -> np.ndarray:
        probabilities: Any = to_numpy(self._nonlinearity()(outputs.double()))
        return probabilities if of == "probabilities" else self._indices(probabilities)

    def _indices(self, probabilities: np.ndarray) -> np.ndarray:
        """Class indices; with several labels per sample ones and zeros."""
        if self._multilabel_:
            return (probabilities > 0.5).astype(np.int64)
        return probabilities.argmax(axis=1)

    @by_blocks
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), Dataset, or batches
            Or a Dask array or dataframe. The result is then a Dask array, not yet computed.

        Returns
        -------
        array of shape (n_samples, n_classes)
            float64; columns in the order of ``classes_``. With one class per sample, the
            probabilities of a row sum to one. With several labels per sample, each is the
            probability that the sample has the label.
        """
        return predictions(self, X, partial(self._answers, of="probabilities"))

    @by_blocks
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithm of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), Dataset, or batches
            Or a Dask array or dataframe. The result is then a Dask array, not yet computed.

        Returns
        -------
        array of shape (n_samples, n_classes)
            The logarithm of ``predict_proba``, minus infinity for a probability of zero.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @by_blocks
    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), Dataset, or batches
            Or a Dask array or dataframe. The result is then a Dask array, not yet computed.

        Returns
        -------
        array of shape (n_samples,), or of shape (n_samples, n_labels)
            Labels, as in ``classes_``. With several labels per sample, ones for the labels whose
            probability is above a half, and zeros for the others. During training, callbacks get
            class indices, because the network is trained on these.
        """
        indices = self._indices(self.predict_proba(X))
        known = hasattr(self, "classes_")  # not if it was initialized without data
        as_they_are = self._multilabel_ or self._phase is not None or not known
        return indices if as_they_are else self.classes_[indices]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
