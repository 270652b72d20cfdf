"""The documentation that the estimators share, with defaults read from their signatures."""

from __future__ import annotations

import inspect
import re

PARAMETERS = """
hidden_layer_sizes : sequence of int
    Numbers of units of the hidden layers.
activation : {"relu", "tanh", "logistic", "identity", "gelu", "silu", "elu", "leaky_relu"}
    Activation of the hidden layers.
dropout : float
    Probability of setting a hidden unit to zero in training.
batch_norm : bool
    Whether to normalise the pre-activations over the batch. Trains through autograd, more slowly.
pruning_ratio : float
    Fraction of the weights, or of the hidden units, to remove, in [0, 1). Biases are never
    removed by themselves.
granularity : {"weight", "neuron"}
    What is removed as one: a single weight, or a hidden unit with all its weights.
method : str, Criterion or UnitCriterion
    The score of a weight or unit: a key of ``skec.criteria.CRITERIA`` or of
    ``skec.criteria.units.UNIT_CRITERIA``, or an own object.
compensation : str, Compensation or UnitCompensation
    What the rest does about what goes: a key of ``skec.compensation.COMPENSATIONS`` or of
    ``skec.compensation.units.UNIT_COMPENSATIONS``, an own object, or ``"auto"`` for the method's
    own.
method_params : dict or None
    Parameters of a method that is given by its name, such as ``{"damping": 0.01}``.
compensation_params : dict or None
    The same for the compensation.
scope : str or dict
    Where weights compete: over the network (``"global"``), in their layer (``"layer"``,
    ``"erdos_renyi"``, ``"lamp"``), among the incoming weights of a unit (``"row"``) or of a group
    of them (``"2:4"`` and other patterns); see :func:`skec.prune`. Units compete in their layer
    (``"layer"``) or over the network (``"global"``). ``"auto"`` is ``"global"`` for weights and
    ``"layer"`` for units. A pattern, or a dict of ratios per layer (``"hidden_0"``, …,
    ``"output"``), takes the place of ``pruning_ratio``.
n_steps : int or "auto"
    Number of pruning steps. The scores are computed again after each step. One is one-shot pruning.
    ``"auto"`` takes as many as the method recommends (see :func:`skec.prune`), and at least 5 where
    ``step_epochs`` trains the network between the steps.
schedule : {"geometric", "linear", "cubic"}
    How the ratio grows over the steps.
output_metric : {"auto", "identity", "fisher"}
    How a change of the outputs is measured; see :func:`skec.prune`. ``"auto"`` is ``"fisher"``
    with a loss whose Fisher metric is known, such as the cross-entropy, and any method but the
    surgeon, and ``"identity"`` otherwise.
n_probes : int, "auto" or None
    Random combinations of the outputs that are looked at in place of each one; see
    :func:`skec.prune`.
step_epochs : int
    Epochs of training under the mask between two pruning steps of ``fit``, at the rate of the
    refit. With ``refit_strategy="rewind"`` each of them starts from the initial weights, as in
    iterative magnitude pruning.
prune_output_layer : bool
    Whether the weights of the output layer are pruned too.
calibration_samples : int or None
    Number of training samples that the scores are computed on, drawn at random; None takes all.
    They are kept, in memory and in a pickle, so that ``prune`` can be called again.
calibration_batch_size : int
    Calibration samples processed at a time; bounds the memory.
refit_epochs : int or None
    Epochs of training under the mask. None takes as many as the dense phase took
    to its best weights, and at least half of ``max_epochs``.
refit_lr : float or None
    Learning rate of the refit; None takes half of ``lr``, or ``lr`` when rewinding.
refit_weight_decay : float, "auto" or None
    Weight decay of the refit; None takes the optimiser's. ``"auto"`` raises it to
    1500 v / n_samples for a regressor with the squared error whose dense network was best on
    held-out data before 60 %% of ``max_epochs``, with v the part of the variance of y that it left
    unexplained there, and is None otherwise.
refit_strategy : {"finetune", "rewind", "none"}
    Whether the refit goes on from the pruned weights or from the initial weights of those that
    were kept (the lottery ticket of Frankle & Carbin, ICLR 2019), or is left out.
optimizer : torch optimiser class
    Its parameters are set as ``optimizer__weight_decay`` and so on.
lr : float
    Learning rate.
lr_schedule : {"cosine", "multicycle", "constant"}
    How the rate moves over each phase. Take ``"constant"`` with a scheduler of your own.
max_epochs : int
    Epochs of the dense phase.
batch_size : int or "auto"
    Samples of a step; -1 takes all. ``"auto"`` is %(auto_batch_size)s.
early_stopping : bool or "auto"
    Whether to hold out a part of the data and keep the weights of the epoch with the lowest
    validation loss. ``True`` does in both phases. ``"auto"`` does in the dense phase, if
    %(auto_early_stopping)s, and refits on all samples; where a callback monitors a validation
    loss, it holds out in the refit too.
validation_fraction : float
    The part held out.
n_iter_no_change : int or None
    Stop a phase after so many epochs without progress on the held-out data; None never stops.
tol : float
    A loss counts as progress if it is lower by this much.
%(own_parameters)s
dtype : {"float32", "float64"}
    Precision of the network.
random_state : int, RandomState or None
    Seeds everything random: with an int, the same data give the same network, bit for bit on one
    machine.
warm_start : bool
    Whether ``fit`` goes on from the present weights.
module : torch module class or instance
    The network. A class that takes ``n_features`` and ``n_outputs`` gets them; an instance is
    copied. Parameters are set as ``module__…``.
criterion : torch loss class
    The loss. Parameters are set as ``criterion__…``.
iterator_train, iterator_valid : "auto" or iterator class
    ``"auto"`` slices tensors in memory; a ``DataLoader`` class takes skorch's own, slower path.
dataset : "auto" or Dataset class
    ``"auto"`` keeps the data as tensors.
train_split : "auto", None or callable
    ``"auto"`` follows ``early_stopping``; a callable of skorch (``ValidSplit``) takes its place.
callbacks, predict_nonlinearity, verbose, device, compile, use_caching, torch_load_kwargs
    As in skorch. A callback may have the methods ``on_prune_begin`` and ``on_prune_end``. One
    that looks at every batch (``on_batch_end``, ``EpochScoring``) makes training take skorch's
    own, slower path.
**component__params
    Parameters of components, such as ``optimizer__weight_decay=0.1``.
"""

ATTRIBUTES = """
masks_ : dict of layer name to bool tensor of shape (n_out, n_in)
    True marks a kept weight.
sparsity_ : float
    Removed weights over all weights that could be removed.
predicted_error_ : float or None
    The mean squared output change that the scores foresaw, in the units of the network.
n_steps_ : int
    Number of pruning steps.
pruning_report_ : PruningReport
    One row per layer: its size, the weights left, the dead units, and the loss on calibration
    samples before pruning and with this layer alone pruned.
n_parameters_, n_nonzero_parameters_ : int
    Number of weights and biases, and of those that are not zero.
history : skorch.history.History
    One row per epoch, with the phase (``"dense"``, ``"prune"``, ``"refit"``) and the losses.
module_ : torch.nn.Module
    The pruned network.
dense_module_ : torch.nn.Module
    The network before pruning; dropped by ``compact``.
feature_mask_ : bool array of shape (n_features,)
    Which columns of X the network takes in; others than all of them after ``compact``.
n_features_in_, n_outputs_ : int
    Numbers of columns of X and of outputs of the network.
feature_names_in_ : array of shape (n_features,)
    Defined where X is a frame with string column names.
"""


def documented(**texts):
    """Class decorator that puts the shared sections into a docstring.

    ``{parameters}`` and ``{attributes}`` stand on lines of their own in the docstring.
    """

    def decorate(cls):
        signature = inspect.signature(cls).parameters

        def with_default(match):
            names = match.group(1).split(", ")
            parameter = signature.get(names[0])
            if len(names) > 1 or parameter is None or parameter.default is parameter.empty:
                return match.group(0)
            default = parameter.default
            text = default.__name__ if inspect.isclass(default) else repr(default)
            return f"{match.group(0)}, default={text}"

        parameters = re.sub(r"(?m)^(\w[\w, ]*) : .*$", with_default, PARAMETERS % texts)
        cls.__doc__ = cls.__doc__.replace("    {parameters}\n", _indented(parameters))
        cls.__doc__ = cls.__doc__.replace("    {attributes}\n", _indented(ATTRIBUTES))
        return cls

    return decorate


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "" for line in text.strip().split("\n"))
