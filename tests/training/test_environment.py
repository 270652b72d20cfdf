import pytest
import torch

from skec.training import small_network_mode


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
