"""From scikit-learn's multilayer perceptrons to the library's estimators, and back."""

from __future__ import annotations

import copy

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..estimators import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor
from ..networks import MLP, LinearLayers, network_of, set_coefs


def from_sklearn(mlp: MLPRegressor | MLPClassifier) -> PrunedMLPRegressor | PrunedMLPClassifier:
    """Make a fitted estimator of this library from one of scikit-learn's.

    It predicts the same, and can be pruned with ``prune(X)``, trained on with ``refit`` and
    ``partial_fit``, and made compact. :class:`skec.ECPruner` prunes scikit-learn's estimator as it
    is, without a conversion.

    Parameters
    ----------
    mlp : fitted MLPRegressor or MLPClassifier
        It is not changed.

    Returns
    -------
    PrunedMLPRegressor or PrunedMLPClassifier
        With the same layers, activation, ``random_state`` and dtype; its other parameters have
        their defaults. Targets are not standardised inside, ``normalize_y=False``. A classifier of
        two classes has two outputs: zero, and the logit of the second class.

    Raises
    ------
    TypeError
        If ``mlp`` is something else.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        For ``loss="poisson"``, and for a classifier that predicts several labels at once or has
        seen one class alone.

    See Also
    --------
    to_sklearn : The way back.

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
    parameters = {
        "hidden_layer_sizes": tuple(sizes),
        "activation": mlp.activation,
        "dtype": mlp.coefs_[0].dtype.name,
        "random_state": copy.deepcopy(mlp.random_state),
        "feature_names_in": getattr(mlp, "feature_names_in_", None),
    }
    network = network_of(mlp)
    if not is_classifier(mlp):
        return PrunedMLPRegressor.from_network(network, normalize_y=False, **parameters)
    if mlp.n_outputs_ == 1:
        network = _with_two_outputs(network)
    return PrunedMLPClassifier.from_network(network, classes=mlp.classes_, **parameters)


def _with_two_outputs(network: MLP) -> MLP:
    """The same classifier with the logits zero and that of the second class."""
    state = network.state_dict()
    for name in ("output.weight", "output.bias"):
        state[name] = torch.cat([torch.zeros_like(state[name]), state[name]])
    layers = list(network.children())
    output = layers[-1]
    network.output = nn.utils.skip_init(nn.Linear, output.in_features, 2, dtype=output.weight.dtype)
    network.load_state_dict(state)
    return network


def _check_mlp(mlp) -> None:
    if not isinstance(mlp, MLPRegressor | MLPClassifier):
        raise TypeError(
            f"mlp must be a fitted MLPRegressor or MLPClassifier of scikit-learn; got "
            f"{type(mlp).__name__}. Pass the last step of a pipeline, or the best_estimator_ of a "
            f"search."
        )
    check_is_fitted(mlp)
    if mlp.out_activation_ == "exp":
        raise ValueError(
            f"mlp has loss={mlp.loss!r}, whose outputs go through an exponential; "
            f"PrunedMLPRegressor has none. Use loss='squared_error', or ECPruner(mlp), which "
            f"prunes it as it is."
        )
    if mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1:
        raise ValueError(
            f"mlp predicts {mlp.n_outputs_} labels at once; PrunedMLPClassifier predicts one class "
            f"for a sample. Use ECPruner(mlp), which prunes it as it is, or train one "
            f"classifier for each label with sklearn.multioutput.MultiOutputClassifier."
        )
    if is_classifier(mlp) and len(mlp.classes_) < 2:
        raise ValueError(
            f"mlp knows one class, {mlp.classes_[0]!r}; PrunedMLPClassifier needs at least 2. Fit "
            f"it to samples of more classes."
        )


def to_sklearn(net) -> MLPRegressor | MLPClassifier:
    """Make a fitted estimator of scikit-learn from one of this library.

    It predicts the same without torch, and can be trained on with ``partial_fit`` or, with
    ``warm_start=True``, with ``fit``. scikit-learn knows no masks: removed weights are zeros until
    it is trained. Call ``compact`` first to have smaller layers.

    Parameters
    ----------
    net : fitted PrunedMLPRegressor, PrunedMLPClassifier, or ECPruner around one
        It is not changed. Batch normalisation and the scale of the targets become a part of the
        weights, dropout goes, and columns that a compact network leaves out get weights of zero.

    Returns
    -------
    MLPRegressor or MLPClassifier
        With the same layers, activation and ``random_state``, and float64 weights; its other
        parameters have their defaults. Of an :class:`skec.ECPruner` around one, a copy of its
        ``estimator_``.

    Raises
    ------
    TypeError
        If ``net`` is something else.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        If scikit-learn has no such network: its activation is none of ``"relu"``, ``"tanh"``,
        ``"logistic"`` and ``"identity"``, its layers do not simply follow each other, or its
        predictions are made from the outputs in another way.

    See Also
    --------
    from_sklearn : The way back.

    Examples
    --------
    >>> import numpy as np, skec
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = skec.PrunedMLPClassifier((32,), activation="relu", max_epochs=20, random_state=0)
    >>> mlp = skec.to_sklearn(net.fit(X, y).compact())
    >>> np.allclose(mlp.predict_proba(X), net.predict_proba(X), atol=1e-5)
    True
    """
    if isinstance(net, ECPruner):
        check_is_fitted(net)
        net = net.estimator_
        if isinstance(net, MLPRegressor | MLPClassifier):
            return copy.deepcopy(net)
    if not isinstance(net, PrunedMLPRegressor | PrunedMLPClassifier):
        raise TypeError(
            f"net must be a fitted PrunedMLPRegressor or PrunedMLPClassifier, or an ECPruner "
            f"around one; got {type(net).__name__}."
        )
    net.check_is_fitted()
    layers = LinearLayers(net.network_)
    _check_predictions(net, layers)
    if is_classifier(net):
        if len(net.classes_) == 2:
            _subtract_first_logit(layers)
        mlp = _untrained(MLPClassifier, layers, net.classes_[:1], classes=net.classes_)
    else:
        _fold_target_scale(layers, net.y_mean_, net.y_scale_)
        n_outputs = len(layers.biases[-1])
        mlp = _untrained(MLPRegressor, layers, np.zeros(1 if n_outputs == 1 else (1, n_outputs)))
    set_coefs(mlp, layers)
    mlp.random_state = copy.deepcopy(net.random_state)
    _copy_feature_names(net, mlp)
    return mlp


def _check_predictions(net: PrunedMLPRegressor | PrunedMLPClassifier, layers: LinearLayers) -> None:
    """Raise unless predictions are the outputs, or for a classifier a softmax of them."""
    X = np.linspace(-1.0, 1.0, 3 * net.n_features_in_).reshape(3, -1)
    with torch.no_grad():
        outputs = net.network_(torch.tensor(X).to(next(net.network_.parameters()))).double()
    if isinstance(net, PrunedMLPClassifier):
        expected = outputs if layers.softmax else torch.softmax(outputs, 1)
        fits = np.allclose(net.predict_proba(X), expected.numpy(), atol=1e-4)
    else:
        expected = (outputs.numpy() * net.y_scale_ + net.y_mean_).reshape(net.predict(X).shape)
        fits = not layers.softmax and np.allclose(net.predict(X), expected, rtol=1e-3)
    if not fits:
        raise ValueError(
            f"scikit-learn's networks predict their outputs, and those of a classifier a softmax "
            f"of them. This network does not, with criterion={net.criterion!r} and "
            f"predict_nonlinearity={net.predict_nonlinearity!r}. Use MSELoss or CrossEntropyLoss "
            f"and predict_nonlinearity='auto'."
        )


def _subtract_first_logit(layers: LinearLayers) -> None:
    """Make of the logits of two classes the one of the second class."""
    for values in (layers.weights, layers.biases):
        first, second = values[-1]
        values[-1] = (second - first)[None]


def _fold_target_scale(layers: LinearLayers, mean: np.ndarray, scale: np.ndarray) -> None:
    """Let the last layer give outputs in the units of the targets."""
    mean, scale = torch.as_tensor(mean), torch.as_tensor(scale)
    layers.weights[-1] = layers.weights[-1] * scale[:, None]
    layers.biases[-1] = layers.biases[-1] * scale + mean


def _untrained(kind, layers: LinearLayers, y, **classes) -> MLPRegressor | MLPClassifier:
    """An estimator of these sizes, in the state that scikit-learn gives it before the first step.

    It takes one step on one sample, so that scikit-learn itself sets all that it needs.
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


def _copy_feature_names(source, target) -> None:
    if hasattr(source, "feature_names_in_"):
        target.feature_names_in_ = source.feature_names_in_.copy()
