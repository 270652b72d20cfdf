import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.calibration import (
    OUTPUT_METRICS,
    bernoulli_metric,
    fisher_metric,
    identity_metric,
    metric_for,
    poisson_metric,
    probes_for,
)
from skec.calibration.statistics import SensitivityMoments
from skec.criteria import CRITERIA

seeds = st.integers(0, 2**31 - 1)
METRICS = OUTPUT_METRICS | {"bernoulli": bernoulli_metric, "poisson": poisson_metric}
every_metric = pytest.mark.parametrize("name", sorted(METRICS))

TWO_TENSORS = [torch.zeros(5, 2), torch.zeros(5, 3)]


def drawn(seed, n_outputs=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, n_outputs, generator=generator, dtype=torch.float64)


def matrices(name, outputs):
    """The metric of each sample: the curvature of the loss that torch has for the distribution,
    for targets that are drawn from it; the losses are linear in the target, so its mean will do."""
    functional = nn.functional
    expected_loss = {
        "identity": lambda y, mean: (y - mean).square().sum() / 2,
        "fisher": lambda y, mean: functional.cross_entropy(y, mean),
        "bernoulli": lambda y, mean: functional.binary_cross_entropy_with_logits(
            y, mean, reduction="sum"
        ),
        "poisson": lambda y, mean: functional.poisson_nll_loss(y, mean, reduction="sum"),
    }[name]
    mean = {
        "identity": lambda y: y,
        "fisher": lambda y: torch.softmax(y, 0),
        "bernoulli": torch.sigmoid,
        "poisson": torch.exp,
    }[name]
    return torch.stack([torch.func.hessian(expected_loss)(y, mean(y)) for y in outputs])


@every_metric
@given(seed=seeds, n_outputs=st.integers(2, 6))
def test_the_rows_of_the_root_make_up_the_metric(name, seed, n_outputs):
    outputs, change = drawn(seed, n_outputs)
    metric, M = METRICS[name], matrices(name, outputs)
    rows = torch.stack(list(metric(outputs)), dim=1)
    torch.testing.assert_close(rows.mT @ rows, M)
    torch.testing.assert_close(metric.multiply(outputs, change)[..., None], M @ change[..., None])
    combined = metric.combine(outputs, change)
    torch.testing.assert_close(combined[..., None], rows.mT @ change[..., None])


@pytest.mark.parametrize("name", ["bernoulli", "poisson"])
def test_the_metric_of_independent_outputs_is_that_of_each(name):
    (outputs, change), metric = drawn(0), METRICS[name]
    alone = [metric.multiply(outputs[:, [k]], change[:, [k]]) for k in range(3)]
    torch.testing.assert_close(torch.cat(alone, 1), metric.multiply(outputs, change))


@pytest.mark.parametrize("logit", [0.0, 40.0, -40.0, 1000.0])
def test_the_bernoulli_metric_of_a_sure_answer_is_small_and_finite(logit):
    """p (1 − p) = 1 / (2 + 2 cosh z)."""
    found = bernoulli_metric.multiply(torch.full((1, 1), logit), torch.ones(1, 1))
    expected = 1 / (2 + 2 * torch.tensor(logit).double().cosh())
    torch.testing.assert_close(found.double(), expected.reshape(1, 1), rtol=1e-5, atol=0)


def test_the_fisher_metric_needs_several_outputs():
    with pytest.raises(ValueError, match=r"output_metric='fisher' .* has one"):
        next(OUTPUT_METRICS["fisher"](torch.zeros(5, 1)))


@every_metric
def test_metrics_leave_what_they_are_given(name):
    outputs, change = drawn(0)
    before = outputs.clone(), change.clone()
    metric = METRICS[name].probed(2, torch.Generator().manual_seed(0))
    for seed in metric(outputs):
        seed.zero_()
    metric.combine(outputs, change).zero_()
    assert torch.equal(outputs, before[0])
    assert torch.equal(change, before[1])


@every_metric
@pytest.mark.parametrize("n_probes", [1, 3])
def test_probes_measure_the_same_on_average(name, n_probes):
    outputs, change = drawn(0)
    metric = METRICS[name]
    generator = torch.Generator().manual_seed(0)
    n = 1000
    repeated = outputs.repeat(n, 1)
    probes = list(metric.probed(n_probes, generator)(repeated))
    assert len(probes) == n_probes
    squares = sum((probe.reshape(n, *change.shape) * change).sum(2) ** 2 for probe in probes)
    expected = (change * metric.multiply(outputs, change)).sum(1)
    error = squares.std(0) / n**0.5
    assert (error > 0).all()
    assert ((squares.mean(0) - expected).abs() < 4 * error).all()


def test_a_probed_metric_multiplies_exactly():
    outputs, change = drawn(0)
    metric = OUTPUT_METRICS["fisher"]
    found = metric.probed(1, torch.Generator()).multiply(outputs, change)
    assert torch.equal(found, metric.multiply(outputs, change))


# -- the metric of a loss --------------------------------------------------------------------------


class OwnLoss(nn.Module):
    def forward(self, outputs, y):
        return (outputs - y).abs().mean()


@pytest.mark.parametrize(
    ("loss", "auto", "fisher"),
    [
        (None, identity_metric, fisher_metric),
        (nn.CrossEntropyLoss(), fisher_metric, fisher_metric),
        (nn.BCEWithLogitsLoss(), bernoulli_metric, bernoulli_metric),
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(1)), bernoulli_metric, bernoulli_metric),
        (nn.PoissonNLLLoss(), poisson_metric, poisson_metric),
        (OwnLoss(), identity_metric, fisher_metric),
        (nn.NLLLoss(), identity_metric, fisher_metric),
    ],
)
def test_the_metric_follows_the_loss(loss, auto, fisher):
    assert metric_for("auto", loss) is auto
    assert metric_for("auto", loss, TWO_TENSORS) is identity_metric
    assert metric_for("fisher", loss) is fisher
    assert metric_for("identity", loss) is identity_metric


@pytest.mark.parametrize(
    "loss",
    [
        *(nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss(), nn.GaussianNLLLoss()),
        *(nn.PoissonNLLLoss(log_input=False), nn.BCELoss()),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_losses_without_a_known_distribution_have_the_identity_alone(loss):
    assert metric_for("auto", loss) is identity_metric
    name = type(loss).__name__
    with pytest.raises(ValueError, match=f"not known for loss={name}.*output_metric='identity'"):
        metric_for("fisher", loss)


def test_several_tensors_have_no_fisher_metric():
    with pytest.raises(ValueError, match=r"output_metric='fisher' .* returns 2 tensors"):
        metric_for("fisher", nn.CrossEntropyLoss(), TWO_TENSORS)


@pytest.mark.parametrize(
    ("n_outputs", "n_probes", "expected"),
    [(32, "auto", None), (33, "auto", 16), (1000, None, None), (2, 4, 4), (40, 3, 3)],
)
def test_auto_probes_more_than_32_outputs(n_outputs, n_probes, expected):
    assert probes_for(n_outputs, n_probes) == expected


# -- probes in pruning -----------------------------------------------------------------------------


def network(n_outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, n_outputs)).double()


X = torch.randn(29, 4, generator=torch.Generator().manual_seed(1)).double()


class Seen(CRITERIA["ec"]):
    """Keeps the mean sensitivity of each unit."""

    def __init__(self):
        self.sensitivity = []

    def score(self, weight, statistics, generator):
        moments = statistics[SensitivityMoments]
        self.sensitivity.append(moments.sensitivity / moments.total_weight)
        return super().score(weight, statistics, generator)


def sensitivity(n_outputs, **kwargs):
    """Mean sensitivities of the hidden units, and what is said about their error."""
    seen = Seen()
    result = prune(network(n_outputs), X, pruning_ratio=0, layers=["0"], method=seen, **kwargs)
    return seen.sensitivity[0], result.probe_error


@pytest.mark.parametrize("metric", sorted(OUTPUT_METRICS))
def test_probed_scores_are_right_on_average_and_their_error_is_known(metric):
    weights = torch.rand(29, generator=torch.Generator().manual_seed(2)) + 0.5
    kwargs = {"output_metric": metric, "sample_weight": weights}
    exact, no_error = sensitivity(40, n_probes=None, **kwargs)
    assert no_error is None
    found, said = zip(
        *(sensitivity(40, n_probes=4, random_state=seed, **kwargs) for seed in range(300)),
        strict=True,
    )
    relative = torch.stack(found) / exact - 1
    spread = relative.square().mean(0).sqrt()
    assert (relative.mean(0).abs() < 4 * spread / 300**0.5).all()
    spread = float((spread * exact).sum() / exact.sum())
    assert spread < sum(said) / 300 < 2 * spread


def test_one_output_needs_no_luck():
    exact, _ = sensitivity(1, n_probes=None)
    torch.testing.assert_close(sensitivity(1, n_probes=1, random_state=0)[0], exact)


@pytest.mark.parametrize(("n_outputs", "n_probes"), [(32, None), (33, 16)])
def test_auto_is_what_it_stands_for(n_outputs, n_probes):
    found, error = sensitivity(n_outputs, random_state=3)
    expected, same_error = sensitivity(n_outputs, n_probes=n_probes, random_state=3)
    assert torch.equal(found, expected)
    assert error == same_error
    assert (error is None) == (n_probes is None)


def test_probes_are_drawn_by_the_random_state():
    first, again, other = (sensitivity(40, random_state=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_more_probes_have_a_smaller_error():
    few, many = (sensitivity(40, n_probes=n, random_state=0)[1] for n in (4, 64))
    assert 3 < few / many < 7  # the square root of 16, and few probes exaggerate


@pytest.mark.parametrize("method", ["magnitude", "gradient", "wanda", "ec_exact"])
def test_methods_without_sensitivities_have_no_probes(method):
    y = torch.zeros(29, 40).double()
    result = prune(network(40), X[:2], y[:2], pruning_ratio=0, method=method, n_probes=2)
    assert result.probe_error is None


@pytest.mark.parametrize("n_probes", [0, -1, 1.5, True, "all", "8"])
def test_a_bad_number_of_probes_is_named(n_probes):
    with pytest.raises(ValueError, match=f"n_probes must be a positive .* got {n_probes!r}"):
        prune(network(2), X, pruning_ratio=0.5, n_probes=n_probes)
