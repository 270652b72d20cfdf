"""Conversion between scikit-learn's multilayer perceptrons and the library's estimators."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..estimators import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor
from ..networks import MLP, LinearLayers, network_of, set_coefs


def from_sklearn(mlp: MLPRegressor | MLPClassifier) -> PrunedMLPRegressor | PrunedMLPClassifier:
    """Convert a fitted perceptron of scikit-learn to an estimator of this library.

    The result makes the same predictions. It can be pruned with ``prune(X)``, trained further with
    ``refit`` and ``partial_fit``, and made smaller with ``compact``. :class:`skec.ECPruner` prunes
    scikit-learn's estimator without a conversion.

    Parameters
    ----------
    mlp : fitted MLPRegressor or MLPClassifier
        It is not changed.

    Returns
    -------
    PrunedMLPRegressor or PrunedMLPClassifier
        With the same layers, activation, ``random_state`` and dtype, ``normalize_y=False``, and
        without dropout and modules for features. Its other parameters have their defaults. A
        classifier of two classes has two outputs: zero, and the logit of the second class.

    Raises
    ------
    TypeError
        If ``mlp`` is not one of these estimators.
    sklearn.exceptions.NotFittedError
        If ``mlp`` is not fitted.
    ValueError
        For ``loss="poisson"``, and for a classifier that was fitted to a single class.

    See Also
    --------
    to_sklearn : The conversion in the other direction.

    Examples
    --------
    >>> import numpy as np, skec
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((32,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> net = skec.from_sklearn(mlp)
    >>> np.allclose(net.predict_proba(X), mlp.predict_proba(X))
    True
    >>> net.prune(X, pruning_ratio=0.5).sparsity_
    0.5
    """
    _check_mlp(mlp)
    _, *sizes = (len(coef) for coef in mlp.coefs_)
    parameters: dict[str, Any] = {
        "hidden_layer_sizes": tuple(sizes),
        "activation": mlp.activation,
        "dtype": mlp.coefs_[0].dtype.name,
        "random_state": copy.deepcopy(mlp.random_state),
        "feature_scaling": None,
        "feature_embedding": None,
        "feature_weights": None,
        "dropout": 0.0,
        "feature_names_in": getattr(mlp, "feature_names_in_", None),
    }
    network = network_of(mlp)
    if isinstance(mlp, MLPRegressor):
        return PrunedMLPRegressor.from_network(network, normalize_y=False, **parameters)
    if mlp.n_outputs_ == 1:
        network = _with_two_outputs(network)
    elif mlp.out_activation_ == "logistic":
        parameters["criterion"] = nn.BCEWithLogitsLoss  # several labels per sample
    return PrunedMLPClassifier.from_network(network, classes=mlp.classes_, **parameters)


def _with_two_outputs(network: MLP) -> MLP:
    """A binary classifier with two logits: zero, and the logit of the second class."""
    state = network.state_dict()
    for name in ("output.weight", "output.bias"):
        state[name] = torch.cat([torch.zeros_like(state[name]), state[name]])
    weight = state["output.weight"]
    network.output = nn.utils.skip_init(nn.Linear, weight.shape[1], 2, dtype=weight.dtype)
    network.load_state_dict(state)
    return network


def _check_mlp(mlp: object) -> None:
    if not isinstance(mlp, MLPRegressor | MLPClassifier):
        raise TypeError(
            f"mlp must be a fitted MLPRegressor or MLPClassifier of scikit-learn; got "
            f"{type(mlp).__name__}. Pass the last step of a pipeline, or the best_estimator_ of a "
            f"search."
        )
    check_is_fitted(mlp)
    if mlp.out_activation_ == "exp":
        raise ValueError(
            f"mlp has loss={mlp.loss!r}, which applies an exponential to the outputs; "
            f"PrunedMLPRegressor does not support this. Use loss='squared_error', or prune mlp "
            f"itself with ECPruner(mlp)."
        )
    if isinstance(mlp, MLPClassifier) and len(mlp.classes_) < 2:
        raise ValueError(
            f"mlp was fitted to one class, {mlp.classes_[0]!r}; PrunedMLPClassifier needs at least "
            f"2. Fit mlp to samples of at least 2 classes."
        )


def to_sklearn(
    net: PrunedMLPRegressor | PrunedMLPClassifier | ECPruner,
) -> MLPRegressor | MLPClassifier:
    """Convert a fitted estimator of this library to a perceptron of scikit-learn.

    The result makes the same predictions without torch. It can be trained further with
    ``partial_fit`` or, with ``warm_start=True``, with ``fit``. scikit-learn has no masks, so this
    training also changes removed weights, which are zero before it. Call ``compact`` first to get
    smaller layers.

    Parameters
    ----------
    net : fitted PrunedMLPRegressor, PrunedMLPClassifier, or ECPruner
        It is not changed. An ECPruner must contain a fitted MLPRegressor, MLPClassifier or one of
        the other two estimators, trained with ``feature_scaling=None`` and
        ``feature_embedding=None``. Batch normalisation, ``feature_weights`` and the scale of the
        targets are folded into the weights. Dropout is left out. Input columns that a compact
        network does not read get weights of zero.

    Returns
    -------
    MLPRegressor or MLPClassifier
        With the same layers, activation and ``random_state``, and float64 weights; its other
        parameters have their defaults. For an :class:`skec.ECPruner` of an ``MLPRegressor`` or
        ``MLPClassifier``, a copy of its ``estimator_``.

    Raises
    ------
    TypeError
        If ``net`` is not one of these estimators.
    sklearn.exceptions.NotFittedError
        If ``net`` is not fitted.
    ValueError
        If scikit-learn cannot represent the network: its activation is not ``"relu"``, ``"tanh"``,
        ``"logistic"`` or ``"identity"``, it scales or embeds its features, its layers do not form a
        sequence, or its predictions are not the outputs or, for a classifier, their softmax, or
        sigmoid for several labels.

    See Also
    --------
    from_sklearn : The conversion in the other direction.

    Examples
    --------
    >>> import numpy as np, skec
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = skec.PrunedMLPClassifier(
    ...     (32,), activation="relu", feature_scaling=None, feature_embedding=None, random_state=0
    ... )
    >>> mlp = skec.to_sklearn(net.fit(X, y).compact())
    >>> np.allclose(mlp.predict_proba(X), net.predict_proba(X), atol=1e-5)
    True
    """
    estimator: Any = net
    if isinstance(net, ECPruner):
        check_is_fitted(net)
        estimator = net.estimator_
        if isinstance(estimator, MLPRegressor | MLPClassifier):
            return copy.deepcopy(estimator)
    if not isinstance(estimator, PrunedMLPRegressor | PrunedMLPClassifier):
        raise TypeError(
            f"net must be a fitted PrunedMLPRegressor or PrunedMLPClassifier, or an ECPruner of "
            f"one; got {type(estimator).__name__}."
        )
    estimator.check_is_fitted()
    layers = LinearLayers(estimator.network_)
    _check_predictions(estimator, layers)
    if isinstance(estimator, PrunedMLPClassifier):
        classes = estimator.classes_
        several = _predicts_labels(estimator)
        if len(classes) == 2 and not several:
            _subtract_first_logit(layers)
        y = np.eye(1, len(classes), dtype=int) if several else classes[:1]
        mlp = _untrained(MLPClassifier, layers, y, classes=classes)
    else:
        _fold_target_scale(layers, estimator.y_mean_, estimator.y_scale_)
        n_outputs = len(layers.biases[-1])
        mlp = _untrained(MLPRegressor, layers, np.zeros(1 if n_outputs == 1 else (1, n_outputs)))
    set_coefs(mlp, layers)
    _copy_attributes(estimator, mlp)
    return mlp


def _check_predictions(net: PrunedMLPRegressor | PrunedMLPClassifier, layers: LinearLayers) -> None:
    """Raise unless the predictions are the outputs, or for a classifier their softmax."""
    X = np.linspace(-1.0, 1.0, 3 * net.n_features_in_).reshape(3, -1)
    with torch.no_grad():
        outputs = net.network_(torch.tensor(X).to(next(net.network_.parameters()))).double()
    if isinstance(net, PrunedMLPClassifier):
        if _predicts_labels(net):
            expected = torch.sigmoid(outputs)
        else:
            expected = outputs if layers.softmax else torch.softmax(outputs, 1)
        fits = np.allclose(net.predict_proba(X), expected.numpy(), atol=1e-4)
    else:
        expected = (outputs.numpy() * net.y_scale_ + net.y_mean_).reshape(net.predict(X).shape)
        fits = not layers.softmax and np.allclose(net.predict(X), expected, rtol=1e-3)
    if not fits:
        raise ValueError(
            f"scikit-learn's regressors predict the outputs of the network, and its classifiers "
            f"their softmax, or their sigmoid for several labels per sample. The predictions of "
            f"net differ, with criterion={net.criterion!r} and "
            f"predict_nonlinearity={net.predict_nonlinearity!r}. Use MSELoss, CrossEntropyLoss or "
            f"BCEWithLogitsLoss, and predict_nonlinearity='auto'."
        )


def _predicts_labels(net: PrunedMLPClassifier) -> bool:
    """Whether a classifier predicts several labels per sample."""
    return net.predict(np.zeros((1, net.n_features_in_))).ndim == 2


def _subtract_first_logit(layers: LinearLayers) -> None:
    """Replace the logits of two classes by their difference, the logit of the second class."""
    for values in (layers.weights, layers.biases):
        first, second = values[-1]
        values[-1] = (second - first)[None]


def _fold_target_scale(layers: LinearLayers, mean: np.ndarray, scale: np.ndarray) -> None:
    """Make the last layer return outputs in the units of the targets."""
    factor = torch.as_tensor(scale)
    layers.weights[-1] = layers.weights[-1] * factor[:, None]
    layers.biases[-1] = layers.biases[-1] * factor + torch.as_tensor(mean)


def _untrained(
    kind: type[Any], layers: LinearLayers, y: np.ndarray, **classes: np.ndarray
) -> MLPRegressor | MLPClassifier:
    """An estimator with layers of these sizes, as scikit-learn has it before the first step.

    It is fitted with one step on one sample, so that scikit-learn sets all its attributes.
    """
    mlp = kind(
        hidden_layer_sizes=tuple(len(bias) for bias in layers.biases[:-1]),
        activation=layers.activation,
        random_state=0,
    )
    mlp.partial_fit(np.zeros((1, layers.weights[0].shape[1])), y, **classes)
    mlp.n_iter_, mlp.t_, mlp.loss_curve_ = 0, 0, []
    del mlp.loss_
    return mlp


def _copy_attributes(source: Any, target: Any) -> None:
    """Copy ``random_state`` and the feature names."""
    target.random_state = copy.deepcopy(source.random_state)
    if hasattr(source, "feature_names_in_"):
        target.feature_names_in_ = source.feature_names_in_.copy()
