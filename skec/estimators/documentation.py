"""The documentation that the estimators share, with the defaults of their signatures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)

PARAMETERS = """
hidden_layer_sizes : sequence of int
    Numbers of units of the hidden layers.
activation : {"relu", "tanh", "logistic", "identity", "gelu", "silu", "elu", "leaky_relu"}
    Activation of the hidden layers.
feature_scaling : {"auto", "robust"} or None
    Whether the network scales its features: with the median and the interquartile range of the
    training data, and a smooth limit for outliers. See :class:`skec.networks.FeatureScaling`. The
    scale is that of the first data; ``partial_fit`` needs 16 rows for it. Ignored with your own
    ``module``, as the next two.
feature_embedding : {"auto", "periodic"} or None
    Whether the network adds learned periodic functions of each feature to it. See
    :class:`skec.networks.PeriodicEmbedding`. ``"auto"`` does so for up to 128 features.
feature_weights : {"auto", "learned"} or None
    Whether the network learns a factor for each column of the first layer. See
    :class:`skec.networks.FeatureWeights`.
dropout : float
    Probability of setting a hidden unit to zero in training.
batch_norm : bool
    Whether to normalise the pre-activations over the batch. Training then uses autograd and is
    slower.
pruning_ratio : float or "auto"
    Fraction of the weights, or of the hidden units, to remove, in [0, 1). A bias is only removed
    with its unit. ``"auto"`` takes the largest ratio that ``max_loss_increase`` or ``max_change``
    allows. See the section on the automatic ratio in the user guide.
max_loss_increase : float
    How much the loss on held-out data may grow with ``pruning_ratio="auto"``, as a share of the
    dense network's loss. The mean increase plus its standard error must not exceed it. The loss is
    measured before the fine-tuning. Ignored with a number as ``pruning_ratio``, and with
    ``max_change``.
max_change : MaxChange or None
    How far predictions may change with ``pruning_ratio="auto"``: a
    :class:`skec.bounds.MaxChange`, which decides in place of the loss. The ratios are tested on the
    held-out rows in increasing order, up to the first that fails. What is shown is about the
    network before the fine-tuning; see the page on certificates.
granularity : {"weight", "neuron"}
    What is removed: single weights, or hidden units with all their weights.
method : str, Criterion or UnitCriterion
    The scores of weights or units: a key of ``skec.criteria.CRITERIA`` or of
    ``skec.criteria.units.UNIT_CRITERIA``, or your own object.
compensation : str, Compensation or UnitCompensation
    How the remaining parameters compensate for removed weights or units: a key of
    ``skec.compensation.COMPENSATIONS`` or of ``skec.compensation.units.UNIT_COMPENSATIONS``, your
    own object, or ``"auto"`` for the default of the method.
method_params : dict or None
    Parameters of a method that is given by its name, such as ``{"damping": 0.01}``.
compensation_params : dict or None
    Parameters of a compensation that is given by its name.
scope : str, dict, Scope or UnitScope
    Which weights compete with each other: all weights of the network (``"global"``), those of a
    layer (``"layer"``, ``"erdos_renyi"``, ``"lamp"``), the incoming weights of a unit (``"row"``)
    or groups of them (``"2:4"`` and other patterns); see :func:`skec.prune`. Units compete in
    their layer (``"layer"``) or over the network (``"global"``). ``"auto"`` is ``"global"`` for
    weights and ``"layer"`` for units. A pattern, or a dict of ratios per layer (``"hidden_0"``, …,
    ``"output"``), replaces ``pruning_ratio``. It may be your own object.
n_steps : int or "auto"
    Number of pruning steps. The scores are computed again after each step. One is one-shot pruning.
    ``"auto"`` takes the number that the method recommends (see :func:`skec.prune`), and at least 5
    if ``step_epochs`` trains the network between the steps.
schedule : {"geometric", "linear", "cubic"} or Schedule
    How the pruning ratio grows over the steps.
output_metric : {"auto", "identity", "fisher"} or OutputMetric
    How a change of the outputs is measured; see :func:`skec.prune`. ``"auto"`` is ``"fisher"`` if
    the Fisher metric of the loss is known, as for the cross-entropy, and the method is not
    ``"surgeon"``. Otherwise it is ``"identity"``.
n_probes : int, "auto" or None
    Number of random combinations of the outputs that replace the single outputs in the scores;
    see :func:`skec.prune`.
layers : list of str or None
    Names of the layers to prune, or patterns such as ``"hidden_*"``; None takes all. Name the
    layers of a ``module`` in which some layers cannot be pruned.
step_epochs : int
    Epochs of training between two pruning steps of ``fit``, with removed weights kept at zero, at
    the learning rate of the fine-tuning. With ``refit_strategy="rewind"`` each of these trainings
    starts from the initial weights, as in iterative magnitude pruning.
prune_output_layer : bool
    Whether the weights of the output layer are pruned too. Ignored if ``layers`` is given.
calibration_samples : int or None
    Number of training samples on which the scores are computed, drawn at random; None takes all.
    They are kept in memory and in pickles for later calls of ``prune``.
calibration_batch_size : int
    Calibration samples processed at a time; limits the memory.
refit_epochs : int or None
    Epochs of fine-tuning. None takes the number of epochs after which the dense network had its
    best weights, and at least half of ``max_epochs``.
refit_lr : float or None
    Learning rate of the fine-tuning. None takes half of ``lr``, or ``lr`` with
    ``refit_strategy="rewind"``.
refit_weight_decay : float, "auto" or None
    Weight decay of the fine-tuning. None takes the optimiser's. ``"auto"`` does so too, except for
    a regressor with the squared error whose dense network had its lowest validation loss in the
    first 60 % of ``max_epochs``: there it raises the weight decay to at least 1500 v / n_samples,
    where v is the fraction of the variance of y that the network did not explain on the validation
    data.
refit_strategy : {"finetune", "rewind", "none"}
    Whether to fine-tune the pruned weights, to reset the kept weights to their initial values
    before training them (the lottery ticket of Frankle & Carbin, ICLR 2019), or to do neither.
optimizer : torch optimiser class
    Its parameters are set as ``optimizer__weight_decay`` and so on.
lr : float
    Learning rate.
lr_schedule : {"cosine", "multicycle", "constant"}
    How the learning rate changes over each phase. Use ``"constant"`` with a scheduler of your own.
max_epochs : int
    Epochs of the dense phase.
batch_size : int or "auto"
    Samples per step; -1 takes all. ``"auto"`` is the power of two nearest to n_samples / 32, from
    32 to 256.
early_stopping : bool or "auto"
    Whether to hold out validation data and keep the weights of the epoch with the lowest
    validation loss. ``True`` does so in both phases. ``"auto"`` does so in the dense phase, if
    there are 100 samples or more, and fine-tunes on all samples, unless a callback monitors a
    validation loss.
validation_fraction : float
    Fraction of the samples to hold out.
n_iter_no_change : int or None
    Number of epochs without progress after which a phase ends; None trains for all epochs. Progress
    is a decrease of the validation loss, or of the training loss if no data are held out.
tol : float
    The least decrease of the loss that counts as progress.
{own_parameters}
dtype : {"float32", "float64"}
    Precision of the network.
random_state : int, RandomState or None
    Seed of all random numbers. With an int, the same data give the same network, bit for bit on
    one machine.
warm_start : bool
    Whether ``fit`` continues from the present weights.
memory : str, path, joblib.Memory or None
    A folder for dense fits, as in ``sklearn.pipeline.Pipeline``. A fit with equal data, an equal
    seed and equal parameters of the dense phase takes the dense network from there, so that a
    search over parameters of the pruning and the refit trains once for each part of the data.
    Needs ``random_state``. Callbacks do not see the epochs of a dense network that was stored.
module : torch module class or instance
    The network. A class is called with ``n_features`` and ``n_outputs`` if it takes them; an
    instance is copied. Parameters are set as ``module__…``.
criterion : torch loss class
    The loss. Parameters are set as ``criterion__…``.
iterator_train, iterator_valid : "auto" or iterator class
    ``"auto"`` slices tensors in memory. With another class, such as ``DataLoader``, training uses
    skorch's loop, which is slower.
dataset : "auto" or Dataset class
    ``"auto"`` keeps the data as tensors.
train_split : "auto", None or callable
    ``"auto"`` follows ``early_stopping``. A callable of skorch, such as ``ValidSplit``, replaces
    it.
callbacks, predict_nonlinearity
    As in skorch. A callback may define ``on_prune_begin`` and ``on_prune_end``. With a callback
    for single batches (``on_batch_end``, ``EpochScoring``) training uses skorch's loop, which is
    slower.
verbose : int
    Whether to print a table with a row for each epoch and for the pruning.
progress : bool
    Whether to show a progress bar for each phase on standard error, with the loss and the time
    left. The training is the same.
n_threads : int
    Number of threads for large training steps: those with weights times rows of 2**24 or more, such
    as two hidden layers of 256 units with batches of 256. More threads help wide networks on an
    idle machine. On a busy one they take many times as long. The weights depend on the number, by
    rounding.
device, compile, use_caching, torch_load_kwargs
    As in skorch.
**component__params
    Parameters of components, such as ``optimizer__weight_decay=0.1``.
"""

ATTRIBUTES = """
masks_ : dict of layer name to bool tensor of shape (n_out, n_in)
    True marks a kept weight.
sparsity_ : float
    Fraction of the prunable weights that were removed.
pruning_ratio_ : float
    The pruning ratio that was used.
pruning_curve_ : Bunch
    Only with ``pruning_ratio="auto"``: the ratios that were tried (``pruning_ratios``), the mean
    increase of the loss at each on held-out rows (``loss_increases``), its standard error
    (``standard_errors``) and whether it was accepted (``accepted``). ``dense_loss`` is the loss of
    the dense network on these ``n_samples`` rows. With ``max_change`` it has the ratios that were
    tested, the number of held-out rows that changed by more than epsilon (``n_exceeding``), the
    p-values (``p_values``) and whether each was accepted. ``certificate`` is the
    :class:`skec.bounds.ChangeCertificate` of the network that the pruning gave, before any
    fine-tuning; None if it stays dense.
predicted_error_ : float or None
    The mean squared change of the outputs that the scores predict, in the units of the network.
n_steps_ : int
    Number of pruning steps.
pruning_report_ : PruningReport
    One row per layer: its size, the number of remaining weights and of dead units, and the loss on
    calibration samples before pruning and with only this layer pruned.
n_parameters_, n_nonzero_parameters_ : int
    Number of weights and biases, and of those that are not zero.
history : skorch.history.History
    One row per epoch, with the phase (``"dense"``, ``"prune"``, ``"refit"``) and the losses.
n_iter_ : int
    Number of epochs of training, in all phases since the last ``fit``.
loss_curve_, loss_ : list of float, float
    Training loss of each of these epochs, and of the last one.
validation_scores_, best_validation_score_ : list of float, float; or None
    Negative validation loss of each epoch with held-out data, and the highest of them; None if no
    data were held out. By default these are the epochs of the dense phase.
best_loss_ : float or None
    Lowest training loss of an epoch; None if data were held out.
module_ : torch.nn.Module
    The pruned network.
dense_module_ : torch.nn.Module
    The network before pruning; dropped by ``compact``.
feature_mask_ : bool array of shape (n_features,)
    Which columns of X can affect the outputs. A column whose weights were all removed is not among
    them, nor is one that only dead units read. ``compact`` keeps these columns. If the layers of
    the network do not form a sequence, all columns count.
n_features_in_, n_outputs_ : int
    Numbers of columns of X and of outputs of the network.
feature_names_in_ : array of shape (n_features,)
    Defined if X is a frame with string column names.
"""


def documented(*, own_parameters: str, own_attributes: str = "") -> Callable[[_Class], _Class]:
    """Class decorator that replaces ``{parameters}`` and ``{attributes}`` in a docstring.

    Parameters
    ----------
    own_parameters : str
        Documentation of the parameters that only this class has.
    own_attributes : str, default=""
        The same for attributes.
    """

    def decorate(cls: _Class) -> _Class:
        signature = inspect.signature(cls).parameters

        def with_default(match: re.Match[str]) -> str:
            names = match.group(1).split(", ")
            parameter = signature.get(names[0])
            if len(names) > 1 or parameter is None or parameter.default is parameter.empty:
                return match.group(0)
            default = parameter.default
            text = default.__name__ if inspect.isclass(default) else repr(default)
            return f"{match.group(0)}, default={text}"

        parameters = PARAMETERS.replace("{own_parameters}", own_parameters)
        parameters = re.sub(_ENTRY, partial(_if_declared, declared=signature), parameters)
        parameters = re.sub(r"(?m)^(\w[\w, ]*) : .*$", with_default, parameters)
        text = (cls.__doc__ or "").replace("    {parameters}\n", _indented(parameters))
        cls.__doc__ = text.replace("    {attributes}\n", _indented(own_attributes + ATTRIBUTES))
        return cls

    return decorate


# a parameter with its description
_ENTRY = re.compile(r"^(\w[\w, ]*) : .*\n(?:    .*\n|\n)*", re.MULTILINE)


def _if_declared(match: re.Match[str], declared: Mapping[str, Any]) -> str:
    """The documentation of a parameter, if the class has it."""
    return match.group(0) if match.group(1).split(", ")[0] in declared else ""


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "" for line in text.strip().split("\n"))
