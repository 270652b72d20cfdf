import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.criteria import CRITERIA
from skec.metric import OUTPUT_METRICS, probes_for
from skec.statistics import SensitivityMoments

seeds = st.integers(0, 2**31 - 1)
every_metric = pytest.mark.parametrize("name", sorted(OUTPUT_METRICS))


def drawn(seed, n_outputs=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, n_outputs, generator=generator, dtype=torch.float64)


def matrices(name, outputs):
    """The metric of each sample from its definition: for a softmax the mean of its log-gradients'
    outer products."""
    k = outputs.shape[1]
    if name == "identity":
        return torch.eye(k).double().expand(len(outputs), k, k)
    p = torch.softmax(outputs, 1)
    rest = torch.eye(k).double() - p[:, None, :]
    return torch.einsum("nc,nci,ncj->nij", p, rest, rest)


@every_metric
@given(seed=seeds, n_outputs=st.integers(2, 6))
def test_the_rows_of_the_root_make_up_the_metric(name, seed, n_outputs):
    outputs, change = drawn(seed, n_outputs)
    metric, M = OUTPUT_METRICS[name], matrices(name, outputs)
    rows = torch.stack(list(metric(outputs)), dim=1)
    torch.testing.assert_close(rows.mT @ rows, M)
    torch.testing.assert_close(metric.multiply(outputs, change)[..., None], M @ change[..., None])
    combined = metric.combine(outputs, change)
    torch.testing.assert_close(combined[..., None], rows.mT @ change[..., None])


@given(seed=seeds)
def test_the_fisher_metric_is_the_curvature_of_the_cross_entropy(seed):
    outputs, change = drawn(seed)
    for y, d, product in zip(
        outputs, change, OUTPUT_METRICS["fisher"].multiply(outputs, change), strict=True
    ):
        hessian = torch.func.hessian(lambda y: torch.logsumexp(y, 0))(y)
        torch.testing.assert_close(product, hessian @ d)


def test_the_fisher_metric_needs_several_outputs():
    with pytest.raises(ValueError, match=r"output_metric='fisher' .* has one"):
        next(OUTPUT_METRICS["fisher"](torch.zeros(5, 1)))


@every_metric
def test_metrics_leave_what_they_are_given(name):
    outputs, change = drawn(0)
    before = outputs.clone(), change.clone()
    metric = OUTPUT_METRICS[name].probed(2, torch.Generator().manual_seed(0))
    for seed in metric(outputs):
        seed.zero_()
    metric.combine(outputs, change).zero_()
    assert torch.equal(outputs, before[0])
    assert torch.equal(change, before[1])


@every_metric
@pytest.mark.parametrize("n_probes", [1, 3])
def test_probes_measure_the_same_on_average(name, n_probes):
    outputs, change = drawn(0)
    metric = OUTPUT_METRICS[name]
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
