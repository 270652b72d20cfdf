"""The classifier."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d
from skorch import NeuralNetClassifier
from skorch.utils import to_numpy
from torch import Tensor

from ..networks import MLP, loss_of_outputs, weighted_loss
from ..training import AdamW
from .base import AUTO, PrunedMLP
from .documentation import documented


@documented(
    own_parameters='class_weight : dict, "balanced" or None\n'
    '    Weights of the classes in the loss; ``"balanced"`` makes all classes weigh the same.',
    **AUTO,
)
class PrunedMLPClassifier(PrunedMLP, NeuralNetClassifier):
    """Multi-layer perceptron classifier that is trained, pruned and trained on.

    ``fit`` trains a dense network, removes the weights that matter least while the biases make up
    for them, and trains on what is left. Scale the features, for instance with ``StandardScaler``.

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
        hidden_layer_sizes=(128, 128, 128),
        *,
        activation="silu",
        dropout=0.0,
        batch_norm=False,
        pruning_ratio=0.8,
        granularity="weight",
        method="ec",
        compensation="auto",
        method_params=None,
        compensation_params=None,
        scope="auto",
        n_steps="auto",
        schedule="geometric",
        output_metric="auto",
        n_probes="auto",
        step_epochs=0,
        prune_output_layer=True,
        calibration_samples=4096,
        calibration_batch_size=512,
        refit_epochs=None,
        refit_lr=None,
        refit_weight_decay="auto",
        refit_strategy="finetune",
        optimizer=AdamW,
        lr=1e-2,
        lr_schedule="cosine",
        max_epochs=64,
        batch_size="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=None,
        tol=0.0,
        class_weight=None,
        dtype="float32",
        random_state=None,
        warm_start=False,
        module=MLP,
        criterion=torch.nn.CrossEntropyLoss,
        iterator_train="auto",
        iterator_valid="auto",
        dataset="auto",
        train_split="auto",
        callbacks=None,
        predict_nonlinearity="auto",
        verbose=0,
        device="cpu",
        compile=False,
        use_caching="auto",
        torch_load_kwargs=None,
        **component__params,
    ):
        self._store_parameters(locals())

    _parameter_constraints: ClassVar[dict[str, list]] = {
        name: allowed
        for name, allowed in PrunedMLP._parameter_constraints.items()
        if name != "normalize_y"
    }

    classes = None  # skorch's parameter of this name; here the classes are those of y

    @property
    def classes_(self):
        """Class labels, shape (n_classes,)."""
        if "_classes_" in vars(self):
            return self._classes_
        if self.initialized_:
            return np.arange(self.n_outputs_)
        raise AttributeError(f"This {type(self).__name__} is not fitted and has no classes_ yet.")

    def _check_targets(self, y, *, reset, classes=None):
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
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has labels {unknown[:5]} that are not among the classes {self.classes_}. Call "
                f"fit for other classes, or name all of them in the first partial_fit(classes=...)."
            )
        return np.searchsorted(self.classes_, y)

    def _with_class_weight(self, y, sample_weight):
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
            # frequencies count with the samples' weights
            totals = np.bincount(y, sample_weight, minlength=len(self.classes_))
            present = totals > 0
            by_class = np.zeros(len(totals))
            by_class[present] = totals.sum() / (present.sum() * totals[present])
            return by_class[y] * sample_weight
        by_class = compute_sample_weight(self.class_weight, labels)
        return by_class if sample_weight is None else by_class * sample_weight

    def _describe_dataset(self, dataset) -> None:
        x, _ = dataset[0]
        x = x["X"] if isinstance(x, dict) else x
        self.n_features_in_ = int(np.shape(x)[0])
        labels = np.unique([int(dataset[i][1]) for i in range(len(dataset))])
        if len(labels) < 2:
            raise ValueError(
                f"The Dataset has 1 class, {labels[0]}; a classifier needs at least 2."
            )
        self._classes_ = np.arange(labels.max() + 1)
        self.n_outputs_ = len(self._classes_)

    @classmethod
    def from_network(cls, network, *, classes=None, feature_names_in=None, **parameters):
        """Make a fitted estimator of a trained network.

        Parameters
        ----------
        network : torch.nn.Module
            It is copied. It returns one logit for each class.
        classes : array of shape (n_classes,), default=None
            Class labels in the order of the outputs; by default 0, 1, …
        feature_names_in : array of str, default=None
            Names of the features.
        **parameters : dict
            Parameters of the estimator. For a network that is no :class:`skec.networks.MLP`,
            ``module`` is set to it.

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
        """Be fitted to a network with so many outputs."""
        self.n_outputs_, self._classes_ = n_outputs, np.arange(n_outputs)

    def _fit_target_scale(self, y, sample_weight, *, reset) -> None:
        pass

    def _noise_decay(self, dataset) -> float:
        return 0.0

    def _stratification(self, y):
        return None if y is None or type_of_target(y) == "continuous" else np.asarray(y)

    def _network_targets(self, y: Tensor) -> Tensor:
        return y.long()

    def _loss(self, outputs, targets, weights):
        criterion = loss_of_outputs(self.criterion_, classifier=True)
        return weighted_loss(criterion, outputs, targets, weights)

    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_classes)
            float64; columns in the order of ``classes_``.
        """
        nonlinearity = self._get_predict_nonlinearity()
        batches = (
            output[0] if isinstance(output, tuple) else output for output in self.forward_iter(X)
        )
        return np.concatenate([to_numpy(nonlinearity(batch.double())) for batch in batches])

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,)
            Labels, as in ``classes_``. Callbacks that score during training see class indices,
            which is what the network is trained on.
        """
        indices = self.predict_proba(X).argmax(axis=1)
        return indices if self._phase is not None else self.classes_[indices]
