"""Mistakes in the components of a net end in an error that says what to pass, before training."""

import numpy as np
import pytest
import torch
from skorch.callbacks import EarlyStopping
from torch import nn

from skec import ECPruner
from skec.estimators.parameters import CONSTRAINTS, Number

MISTAKES = [
    ({"optimizer": "adam"}, r"optimizer='adam'.*Pass optimizer=torch\.optim\.Adam\b"),
    ({"optimizer": "AdamW"}, r"Pass optimizer=torch\.optim\.AdamW"),
    ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, r"Pass optimizer=torch\.optim\.SGD"),
    ({"criterion": "mse"}, r"criterion='mse'.*Pass criterion=torch\.nn\.MSELoss"),
    ({"criterion": "log_loss"}, r"Pass criterion=torch\.nn\.CrossEntropyLoss"),
    ({"criterion": None}, "criterion=None must be a class or an instance"),
    ({"module": "mlp"}, r"module='mlp' must be a class or an instance"),
    ({"module": nn.Linear}, r"module=Linear could not be created.*in_features.*module__<name>"),
    ({"module": lambda: 3}, r"returned int; it must return a torch\.nn\.Module"),
    ({"callbacks": EarlyStopping()}, r"must be a list.*callbacks=\[EarlyStopping\(\)\]"),
    ({"callbacks": ["stop"]}, "must be a list of skorch callbacks"),
    ({"callbacks__stop": None}, r"callbacks__stop names no callback.*epoch_timer"),
    ({"callbacks__stop__patience": 3}, "callbacks__stop names no callback"),
    ({"train_split": 0.2}, r"train_split=0.2 is a number.*ValidSplit\(5\).*validation_fraction"),
    ({"train_split": 5}, "train_split=5 is a number"),
    ({"train_split": "half"}, "train_split"),
    ({"predict_nonlinearity": "soft"}, "predict_nonlinearity"),
    ({"iterator_train": "fast"}, "iterator_train"),
    ({"iterator_valid": 3}, "iterator_valid"),
    ({"dataset": 3}, "dataset"),
    ({"verbose": "loud"}, "verbose"),
    ({"compile": "yes"}, "compile"),
    ({"use_caching": 3}, "use_caching"),
    ({"torch_load_kwargs": 3}, "torch_load_kwargs"),
    ({"layers": ["first"]}, r"layers=\['first'\].*hidden_0.*output"),
    ({"layers": "hidden_0"}, "layers"),
    ({"layers": []}, "layers"),
    ({"hidden_layer_sizes": True}, "hidden_layer_sizes"),
    ({"hidden_layer_sizes": (True, 3)}, "hidden_layer_sizes"),
    ({"module": nn.Sequential(nn.Linear(4, 1))}, r"does not take X of shape \(8, 5\).*5 features"),
    ({"module": nn.Sequential(nn.Linear(5, 7))}, r"outputs of shape \(8, 7\).*do not fit.*outputs"),
]


@pytest.mark.parametrize("parameters, message", MISTAKES, ids=range(len(MISTAKES)))
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_mistake_is_named_before_any_training(case, epoch_counter, method, parameters, message):
    if "layers" in parameters and method == "partial_fit":
        pytest.skip("partial_fit does not prune")
    callbacks = {"callbacks": [("counter", epoch_counter)]}
    estimator = case.make(**(callbacks | parameters))
    state = vars(estimator).copy()
    with pytest.raises((TypeError, ValueError), match=r"(?s)" + message):
        getattr(estimator, method)(case.X, case.y)
    assert epoch_counter.began == 0
    assert vars(estimator) == state


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_a_classifier_needs_an_output_for_each_class(classification, n_outputs):
    estimator = classification.make(module=nn.Sequential(nn.Linear(5, n_outputs)))
    with pytest.raises(ValueError, match="one output for each of the 3 classes"):
        estimator.fit(classification.X, classification.y)


def test_a_loss_that_does_not_fit_is_named_before_training(classification, epoch_counter):
    estimator = classification.make(criterion=nn.MSELoss(), callbacks=[("counter", epoch_counter)])
    with pytest.raises(ValueError, match=r"outputs of shape \(8, 3\).*MSELoss"):
        estimator.fit(classification.X, classification.y)
    assert epoch_counter.began == 0


NUMBERS = [
    name
    for name, allowed in CONSTRAINTS.items()
    if any(isinstance(each, Number) for each in allowed) and "boolean" not in allowed
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, np.True_])
def test_a_boolean_is_no_number(case, name, value):
    if name not in case.make().get_params(deep=False):
        pytest.skip("a parameter of the other estimator")
    with pytest.raises(ValueError, match=name):
        case.make(**{name: value}).fit(case.X, case.y)


@pytest.mark.parametrize("name", ["n_steps", "refit_epochs", "calibration_samples", "batch_size"])
def test_a_boolean_is_no_number_for_the_pruner_either(case, name):
    with pytest.raises(ValueError, match=name):
        ECPruner(case.make(), **{name: True}).fit(case.X, case.y)


@pytest.mark.parametrize(
    "name, here",
    [
        ("max_iter", "max_epochs"),
        ("alpha", "optimizer__weight_decay"),
        ("learning_rate_init", "lr"),
        ("solver", "optimizer"),
    ],
)
def test_names_of_scikit_learn_get_a_hint(case, name, here):
    message = f"What scikit-learn calls {name} is {here} here"
    with pytest.raises(TypeError, match=message):
        case.make(**{name: 1})
    with pytest.raises(ValueError, match=message):
        case.make().set_params(**{name: 1})


def test_a_slip_of_a_name_gets_a_hint(case):
    with pytest.raises(TypeError, match=r"'prunning_ratio'\. Did you mean pruning_ratio\?"):
        case.make(prunning_ratio=0.5)


def test_prune_takes_the_ratio_by_name(case):
    estimator = case.fit()
    with pytest.raises(TypeError, match=r"prune got X=0.5.*prune\(pruning_ratio=0.5\)"):
        estimator.prune(0.5)
