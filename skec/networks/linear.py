"""Conversion between torch modules and the weights of scikit-learn's multilayer perceptrons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .chain import NotAChain, hidden_layers
from .features import FeatureScaling, FeatureWeights, InputColumns, PeriodicEmbedding
from .mlp import MLP

# Names of activations in scikit-learn by their torch modules.
ACTIVATION_NAMES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "logistic",
}
ALLOWED = "'relu', 'tanh', 'logistic' and 'identity'"

# Modules without effect in evaluation mode.
_WITHOUT_EFFECT = (nn.Identity, nn.Dropout, nn.AlphaDropout, nn.Flatten)


def network_of(mlp: Any) -> MLP:
    """The network of a multilayer perceptron of scikit-learn, without its output activation.

    Parameters
    ----------
    mlp : fitted MLPRegressor or MLPClassifier
        It is not changed.

    Returns
    -------
    MLP
        In the dtype of ``coefs_``. Its layers are ``hidden_0``, …, ``output``; their weights of
        shape (n_out, n_in) are ``coefs_`` transposed.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> mlp = MLPRegressor(hidden_layer_sizes=2).partial_fit([[0.0, 1.0], [1.0, 1.0]], [0.0, 1.0])
    >>> network_of(mlp)
    MLP(
      (hidden_0): Linear(in_features=2, out_features=2, bias=True)
      (activation_0): ReLU()
      (output): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    n_features, *sizes = (len(coef) for coef in mlp.coefs_)
    generator = torch.Generator()  # its weights are replaced below
    module = MLP(n_features, mlp.n_outputs_, sizes, mlp.activation, generator=generator)
    module = module.to(getattr(torch, mlp.coefs_[0].dtype.name))
    with torch.no_grad():
        layers = [part for part in module if isinstance(part, nn.Linear)]
        for layer, coef, intercept in zip(layers, mlp.coefs_, mlp.intercepts_, strict=True):
            layer.weight.copy_(torch.tensor(coef.T))
            layer.bias.copy_(torch.tensor(intercept))
    return module


def set_coefs(mlp: Any, layers: LinearLayers) -> None:
    """Replace the weights of a multilayer perceptron of scikit-learn.

    The optimiser of an earlier training is deleted, because its moments belong to the old weights.
    The best loss and the best validation score are reset.

    Parameters
    ----------
    mlp : fitted MLPRegressor or MLPClassifier
        It is changed.
    layers : LinearLayers
    """
    dtype = mlp.coefs_[0].dtype
    mlp.coefs_ = [weight.t().contiguous().numpy().astype(dtype) for weight in layers.weights]
    mlp.intercepts_ = [bias.numpy().astype(dtype) for bias in layers.biases]
    for name, worst in (("best_loss_", np.inf), ("best_validation_score_", -np.inf)):
        if getattr(mlp, name, None) is not None:
            setattr(mlp, name, worst)
    vars(mlp).pop("_optimizer", None)


class LinearLayers:
    """The linear layers of a network, with batch normalisation and column selection folded in.

    Batch normalisation in evaluation mode is folded into the layer before it, or into the layer
    after it if an activation precedes it. Removed input columns get weights of zero. Dropout has
    no effect in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        A ``torch.nn.Sequential``, nested or not, of linear layers, dropout, batch normalisation
        and the activations relu, tanh and logistic. It is not changed.

    Attributes
    ----------
    weights : list of float64 tensors of shape (n_out, n_in)
    biases : list of float64 tensors of shape (n_out,)
    activation : str
        Of all hidden layers: ``"relu"``, ``"tanh"``, ``"logistic"`` or ``"identity"``.
    softmax : bool
        Whether a softmax follows the last layer.

    Raises
    ------
    ValueError
        If the layers do not form a sequence, or if the hidden layers have different activations
        or one that scikit-learn lacks.

    Examples
    --------
    >>> module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Tanh(), nn.Linear(2, 1))
    >>> layers = LinearLayers(module)
    >>> [tuple(weight.shape) for weight in layers.weights], layers.activation
    ([(2, 3), (1, 2)], 'tanh')
    """

    def __init__(self, module: nn.Module):
        try:
            hidden_layers(module)
        except NotAChain as error:
            raise NotAChain(f"scikit-learn has no network like this one. {error}") from None
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        self.softmax = False
        self._activations: list[str] = []  # of the layers added so far
        self._columns: Tensor | None = None  # input columns of the first layer
        self._scale: Tensor | float = 1.0  # of the inputs of the next layer
        self._shift: Tensor | float = 0.0
        with torch.no_grad():
            for name, part in module.named_modules(remove_duplicate=False):
                if not isinstance(part, nn.Sequential):
                    self._add(name, part)
        self._spread_columns()
        self.activation = self._common_activation()

    @property
    def _after_a_layer(self) -> bool:
        """Whether the last layer added has no activation yet."""
        return len(self.weights) > len(self._activations)

    def _add(self, name: str, part: nn.Module) -> None:
        if isinstance(part, nn.Linear):
            self._add_linear(part)
        elif isinstance(part, nn.BatchNorm1d):
            self._add_batch_norm(name, part)
        elif isinstance(part, InputColumns):
            self._add_columns(part)
        elif isinstance(part, FeatureWeights):
            factor = part.rate * part.weight.detach().cpu().double()
            self._scale, self._shift = self._scale * factor, self._shift * factor
        elif isinstance(part, FeatureScaling | PeriodicEmbedding):
            raise ValueError(
                f"Module {name!r} is a {type(part).__name__}, which scikit-learn's networks do not "
                f"have. Train with feature_scaling=None and feature_embedding=None, after a scaler "
                f"of scikit-learn."
            )
        elif type(part) in ACTIVATION_NAMES and self._after_a_layer:
            self._activations.append(ACTIVATION_NAMES[type(part)])
        elif isinstance(part, nn.Softmax) and self._after_a_layer:
            self.softmax = True
        elif not isinstance(part, _WITHOUT_EFFECT):
            raise ValueError(
                f"Module {name!r} is a {type(part).__name__}, which cannot be converted here. "
                f"scikit-learn's networks have one of the activations {ALLOWED} after each hidden "
                f"layer. Train a network with one of them and without other modules, except "
                f"dropout and batch normalisation."
            )

    def _add_linear(self, layer: nn.Linear) -> None:
        if self._after_a_layer:
            self._activations.append("identity")
        weight = layer.weight.detach().cpu().double()
        bias = weight.new_zeros(len(weight))
        if layer.bias is not None:
            bias = layer.bias.detach().cpu().double()
        if isinstance(self._shift, Tensor):
            bias = bias + weight @ self._shift
        self.weights.append(weight * self._scale)
        self.biases.append(bias)
        self._scale, self._shift = 1.0, 0.0

    def _add_batch_norm(self, name: str, norm: nn.BatchNorm1d) -> None:
        if norm.running_mean is None:
            raise ValueError(
                f"The batch normalisation {name!r} has no running statistics, so it depends on the "
                f"batch and cannot be folded into a layer. Train it with track_running_stats=True."
            )
        state = {key: value.cpu().double() for key, value in norm.state_dict().items()}
        scale = state.get("weight", 1.0) / torch.sqrt(state["running_var"] + norm.eps)
        shift = state.get("bias", 0.0) - state["running_mean"] * scale
        if self._after_a_layer:
            self.weights[-1] = self.weights[-1] * scale[:, None]
            self.biases[-1] = self.biases[-1] * scale + shift
        else:
            self._scale, self._shift = self._scale * scale, self._shift * scale + shift

    def _add_columns(self, part: InputColumns) -> None:
        index = part.index.cpu()
        if isinstance(self._scale, Tensor):
            self._scale = self._scale[index]
        if isinstance(self._shift, Tensor):
            self._shift = self._shift[index]
        self._columns = index if self._columns is None else self._columns[index]
        self._n_features = getattr(self, "_n_features", part.n_features)

    def _spread_columns(self) -> None:
        """Insert weights of zero for removed input columns."""
        if self._columns is not None:
            whole = self.weights[0].new_zeros(len(self.weights[0]), self._n_features)
            whole[:, self._columns] = self.weights[0]
            self.weights[0] = whole

    def _common_activation(self) -> str:
        *hidden, last = self._activations + ["identity"] * self._after_a_layer
        if last != "identity":
            raise ValueError(
                f"The network ends in the activation {last!r}. scikit-learn's networks have no "
                f"output activation, except the softmax of a classifier. Remove it."
            )
        if len(set(hidden)) > 1:
            raise ValueError(
                f"scikit-learn's networks have one activation for all hidden layers; this network "
                f"has {hidden}. Use one of {ALLOWED} for all hidden layers."
            )
        return hidden[0] if hidden else "relu"
