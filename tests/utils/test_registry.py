"""Names with parameters, and own objects, wherever a method or a compensation is given."""

from pathlib import Path

import pytest
import torch
from torch import nn

from skec import compensation, criteria, prune
from skec.compensation import COMPENSATIONS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria import CRITERIA, Criterion
from skec.criteria.units import UNIT_CRITERIA, UnitCriterion
from skec.pruning.granularity import get_granularity
from skec.utils.registry import Registered, Registry

pytestmark = pytest.mark.filterwarnings("ignore::skec.PruningWarning")


class Shape(Registered, registry=Registry("shape")):
    pass


class Circle(Shape):
    name = "circle"

    def __init__(self, radius=1.0, centre=0.0):
        self.radius, self.centre = radius, centre


class Point(Shape):
    name = "point"


shape = Shape.registry.make


def test_a_name_makes_an_object_with_its_parameters():
    assert (shape("circle").radius, shape("circle", {}).radius) == (1.0, 1.0)
    circle = shape("circle", {"radius": 2.0})
    assert (circle.radius, circle.centre) == (2.0, 0.0)
    assert isinstance(shape("point"), Point)


def test_an_object_is_itself():
    circle = Circle()
    assert shape(circle) is circle
    assert shape(circle, {}) is circle


@pytest.mark.parametrize(
    ("value", "parameters", "message"),
    [
        ("square", None, r"shape='square' is unknown\. Choose one of \['circle', 'point'\], or"),
        (Circle, None, r"shape=<class .*Circle'> is unknown\. Choose one of \['circle'"),
        (["circle"], None, r"shape=\['circle'\] is unknown"),
        ("circle", {"r": 1}, r"shape_params=\{'r': 1\} .* shape='circle'.*\['radius', 'centre'\]"),
        ("point", {"r": 1}, r"shape_params=\{'r': 1\} .* shape='point'\. It has no parameters"),
        ("circle", 3, "shape_params=3 does not fit shape='circle'"),
        (Circle(), {"radius": 1}, r"shape_params=\{'radius': 1\}.* an object already"),
    ],
)
def test_messages_name_the_parameter_the_value_and_what_is_known(value, parameters, message):
    with pytest.raises(ValueError, match=message):
        shape(value, parameters)


def test_the_methods_with_parameters_take_them():
    assert CRITERIA.make("surgeon", {"damping": 0.5}).damping == 0.5
    found = COMPENSATIONS.make("network", {"damping": 0.5, "iterations": 3, "max_memory": 10})
    assert (found.damping, found.iterations, found.max_memory) == (0.5, 3, 10)


# -- in pruning ------------------------------------------------------------------------------------


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


X = torch.randn(31, 4, generator=torch.Generator().manual_seed(1)).double() + 0.5


def pruned(**kwargs):
    return prune(network(), X, pruning_ratio=0.5, random_state=0, **kwargs)


def assert_same(found, expected):
    for left, right in zip(found.module.parameters(), expected.module.parameters(), strict=True):
        assert torch.equal(left, right)


def test_parameters_belong_to_what_gives_the_scores():
    given = {"method": "surgeon", "method_params": {"damping": 10.0}, "compensation": "none"}
    own = CRITERIA["surgeon"](damping=10.0)
    assert_same(pruned(**given), pruned(method=own, compensation="none"))
    default = pruned(method="surgeon", compensation="none")
    assert not torch.equal(default.scores["0"], pruned(**given).scores["0"])


def test_parameters_of_the_compensation_are_its_own():
    own = COMPENSATIONS["weights"](damping=10.0)
    expected = pruned(method="ec", compensation=own)
    params = {"compensation_params": {"damping": 10.0}}
    assert_same(pruned(compensation="weights", **params), expected)
    network_params = {"damping": 10.0, "iterations": 1}
    found = pruned(method="surgeon", compensation_params=network_params)  # "auto" stands for it
    own = COMPENSATIONS["network"](**network_params, preconditioner="rows")
    assert_same(found, pruned(method="surgeon", compensation=own))
    assert not torch.equal(expected.module[0].weight, pruned().module[0].weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "ecc"}, "='ecc' is unknown. Choose one of .*'ec', 'ec_exact'"),
        ({"method_params": {"damping": 1}}, "method_params=.*'damping': 1.*method='ec'.*no param"),
        (
            {"method": "surgeon", "method_params": {"dampening": 1}},
            r"method_params=\{'dampening': 1\}.*\['damping', 'max_memory'\]",
        ),
        (
            {"method": CRITERIA["surgeon"](), "method_params": {"damping": 1}},
            r"method_params=\{'damping': 1\}.*object already",
        ),
        (
            {"compensation": "network", "compensation_params": {"steps": 1}},
            r"compensation_params=\{'steps': 1\}.*'network'.*\['damping', .*'preconditioner'\]",
        ),
        ({"compensation_params": {"damping": 1}}, "compensation_params=.*compensation='bias'"),
    ],
)
def test_unknown_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pruned(**arguments)


def test_criteria_of_a_subclass_inherit_parameters():
    class Cautious(CRITERIA["surgeon"]):
        pass

    assert isinstance(Cautious(damping=0.1), Criterion)
    assert_same(
        pruned(method=Cautious(damping=0.1), compensation="none"),
        pruned(method="surgeon", method_params={"damping": 0.1}, compensation="none"),
    )


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "a", None, True])
@pytest.mark.parametrize("name", ["damping", "max_memory"])
def test_parameters_of_the_surgeon_are_positive_numbers(name, value):
    for registry, method in ((CRITERIA, "surgeon"), (COMPENSATIONS, "weights")):
        with pytest.raises(ValueError, match=f"{name} must be a .* number; got {value!r}"):
            registry.make(method, {name: value})


@pytest.mark.parametrize("value", [-1, 1.5, "3", None])
def test_the_number_of_iterations_is_a_non_negative_integer(value):
    with pytest.raises(
        ValueError, match=f"iterations must be a non-negative integer; got {value!r}"
    ):
        COMPENSATIONS.make("network", {"iterations": value})


def test_damping_of_zero_is_refused():
    with pytest.raises(ValueError, match="damping must be a positive number; got 0"):
        CRITERIA.make("surgeon", {"damping": 0})


def test_there_is_no_third_name_for_the_scores():
    with pytest.raises(TypeError, match="criterion"):
        prune(torch.nn.Linear(2, 2), pruning_ratio=0.5, criterion="magnitude")


# -- for whole units -------------------------------------------------------------------------------


def test_names_of_units_are_those_of_the_classes():
    for registry in (UNIT_CRITERIA, UNIT_COMPENSATIONS):
        assert all(kind.name == name for name, kind in registry.items())
    assert sorted(UNIT_CRITERIA) == [
        "ec", "elimination", "geometric_median", "l1", "l2", "random",
    ]  # fmt: skip
    assert sorted(UNIT_COMPENSATIONS) == [
        "bias", "lbyl", "least_squares", "mean", "merging", "none",
    ]  # fmt: skip
    assert not set(CRITERIA.values()) & set(UNIT_CRITERIA.values())


def test_methods_of_units_take_their_parameters():
    assert UNIT_CRITERIA.make("elimination", {"damping": 0.5}).damping == 0.5
    assert UNIT_COMPENSATIONS.make("least_squares", {"damping": 0.5}).damping == 0.5
    found = UNIT_COMPENSATIONS.make("lbyl", {"ridge": 0.6, "shift_penalty": 0.1})
    assert (found.ridge, found.shift_penalty) == (0.6, 0.1)
    found = UNIT_COMPENSATIONS.make("merging", {"threshold": 0.4, "cosine_weight": 0.7})
    assert (found.threshold, found.cosine_weight) == (0.4, 0.7)


@pytest.mark.parametrize(
    ("known", "other", "granularity"),
    [
        (CRITERIA, UNIT_CRITERIA, "neuron"),
        (UNIT_CRITERIA, CRITERIA, "weight"),
        (COMPENSATIONS, UNIT_COMPENSATIONS, "neuron"),
        (UNIT_COMPENSATIONS, COMPENSATIONS, "weight"),
    ],
)
def test_names_that_are_known_elsewhere_are_told_from_those_that_are_not(known, other, granularity):
    assert set(other) - set(known)
    for name in set(other) - set(known):
        with pytest.raises(ValueError, match=f"'{name}' .* requires granularity='{granularity}'"):
            known.make(name)
    with pytest.raises(ValueError, match=r"'nothing' is unknown\. Choose") as error:
        known.make("nothing")
    assert str(sorted(known)) in str(error.value)


def test_auto_is_the_compensation_of_the_method():
    for name, kind in UNIT_CRITERIA.items():
        expected = UNIT_COMPENSATIONS[kind.compensation]
        found = get_granularity("neuron", name, "auto").compensation
        assert type(found) is expected, name
    with pytest.raises(ValueError, match="compensation='auto' is unknown"):
        UNIT_COMPENSATIONS.make("auto")


@pytest.mark.parametrize("package", [criteria, criteria.units, compensation, compensation.units])
def test_every_file_of_a_registry_is_imported_by_its_package(package):
    files = {file.stem for file in Path(package.__file__).parent.glob("[!_]*.py")}
    assert files
    assert files <= set(package.__all__)


def test_objects_of_one_granularity_do_not_go_with_the_other():
    with pytest.raises(ValueError, match=r"instance of skec\.criteria\.units\.UnitCriterion"):
        UNIT_CRITERIA.make(CRITERIA["ec"]())
    with pytest.raises(ValueError, match=r"instance of skec\.criteria\.Criterion"):
        CRITERIA.make(UNIT_CRITERIA["ec"]())
    with pytest.raises(ValueError, match=r"instance of skec\.compensation\.units\.UnitComp"):
        UNIT_COMPENSATIONS.make(COMPENSATIONS["bias"]())
    own = UNIT_CRITERIA["elimination"](damping=0.5)
    assert UNIT_CRITERIA.make(own) is own
    assert isinstance(own, UnitCriterion)
