import pytest
import torch
from torch import nn

import skec
from skec.networks import MLP
from skec.training import small_network_mode, threads_for, threads_for_steps


def flushes():
    return (torch.full((1,), 1e-38) * 1e-3).item() == 0.0


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=[False, True])
def flushing(request):
    before = flushes()
    if not torch.set_flush_denormal(request.param):
        pytest.skip("this processor cannot flush denormal numbers")
    yield request.param
    torch.set_flush_denormal(before)


def test_runs_on_one_thread_without_denormals(threads, flushing):
    with small_network_mode():
        assert torch.get_num_threads() == 1
        assert flushes()
        with small_network_mode():
            pass
        assert torch.get_num_threads() == 1
        assert flushes()
    assert torch.get_num_threads() == threads
    assert flushes() == flushing


def test_puts_everything_back_after_an_error(threads, flushing):
    with pytest.raises(KeyError), small_network_mode():
        raise KeyError
    assert torch.get_num_threads() == threads
    assert flushes() == flushing


SMALL = {"perceptron": MLP(4, 1, (8, 8)), "wide input": nn.Linear(2**18 - 1, 1)}
LARGE = {
    "many weights": nn.Linear(512, 512),
    "one large layer of several": nn.Sequential(nn.Linear(4, 600), nn.ReLU(), nn.Linear(600, 600)),
    "convolution": nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()),
    "convolution in one dimension": nn.Conv1d(1, 1, 3),
}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_small_network_has_one_thread(name, threads, flushing):
    with threads_for(SMALL[name]):
        assert torch.get_num_threads() == 1
        assert flushes()
    assert torch.get_num_threads() == threads
    assert flushes() == flushing


@pytest.mark.parametrize("name", sorted(LARGE))
def test_a_large_network_has_the_threads_of_the_caller(name, threads, flushing):
    with threads_for(LARGE[name]):
        assert torch.get_num_threads() == threads
        assert flushes() == flushing


@pytest.mark.parametrize("large", [False, True])
def test_pruning_follows_the_rule(large, threads):
    seen = []
    module = nn.Sequential(nn.Linear(4, 600 if large else 8), nn.ReLU())
    module.append(nn.Linear(module[0].out_features, module[0].out_features))
    module[1].register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    result = skec.prune(module, torch.randn(70, 4), method="wanda", pruning_ratio=0.5)
    assert result.sparsity == 0.5
    assert set(seen[1:]) == {threads if large else 1}  # the first call shows the outputs
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("n_rows", [63, 64])
def test_large_steps_have_several_threads(n_rows, threads, flushing):
    module = nn.Linear(512, 512, bias=False)
    with small_network_mode():
        with threads_for_steps(module, n_rows, 2):
            assert torch.get_num_threads() == (2 if n_rows == 64 else 1)
            assert flushes()
        assert torch.get_num_threads() == 1
        with threads_for_steps(module, n_rows, 1):
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
    assert flushes() == flushing


def test_large_steps_put_everything_back_after_an_error(threads):
    module = nn.Linear(512, 512)
    with pytest.raises(KeyError), small_network_mode(), threads_for_steps(module, 64, 2):
        raise KeyError
    assert torch.get_num_threads() == threads
