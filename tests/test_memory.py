"""An allocation that cannot fit is refused before it is made, in one line that says how large it is."""

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from infocap import _memory
from infocap.attribution import gauss_newton_influence, influence
from infocap.sample_information import leave_one_out, train_linearized
from infocap.tangent import jacobian, ntk, sampled_ntk
from infocap.training import fit_many

CPU = torch.device("cpu")


def networks(width: int = 100, count: int = 3):
    inputs, targets = torch.zeros(4, width), torch.zeros(4, dtype=torch.long)
    seeds = {"init_seeds": range(count), "order_seeds": range(count)}
    options = {"loss": nn.functional.cross_entropy, "optimizer": torch.optim.SGD, "steps": 1, "batch_size": 2}
    subsets = torch.arange(4).expand(count, -1)
    return fit_many(lambda: nn.Linear(width, 10, bias=False), inputs, targets, subsets, **seeds, **options)


def chain(m: int = 100):
    return torch.eye(100), torch.ones(100), torch.zeros(m, 100)


CALLS = {  # what is held at least, in bytes; what the message names
    "ntk": (lambda: ntk(nn.Linear(3, 5), torch.rand(20, 3)), 4 * 100**2, "inputs: their kernel [n, C, m, C]"),
    "ntk of two sets": (
        lambda: ntk(nn.Linear(3, 5), torch.rand(20, 3), torch.rand(2, 3)),
        4 * 1000,
        "inputs: their kernel",
    ),
    "sampled": (
        lambda: sampled_ntk(nn.Linear(3, 5), torch.rand(20, 3), coordinates=3),
        4 * 100**2,
        "inputs: their kernel",
    ),
    "jacobian": (
        lambda: jacobian(nn.Linear(3, 5), torch.rand(20, 3)),
        4 * 100 * 20,
        "inputs: their Jacobian [n, C, d]",
    ),
    "to the end": (lambda: leave_one_out(*chain()), 8 * 5 * 100**2, "kernel, kernel_eval: three matrices [100, 100]"),
    "a horizon": (lambda: leave_one_out(*chain(), steps=9, learning_rate=0.1), 8 * 5 * 100**2, "and two [100, 100]"),
    "one evaluation input": (lambda: leave_one_out(*chain(1)), 8 * (3 * 100**2 + 200), "and two [1, 100] in float64"),
    "a linearized training": (lambda: train_linearized(*chain(), steps=9, learning_rate=0.1), 40 * 100**2, "three"),
    "influence": (lambda: influence(*chain(), ridge=1.0), 8 * 5 * 100**2, "three matrices [100, 100]"),
    "influence among weights": (
        lambda: gauss_newton_influence(
            nn.Linear(3, 5), torch.rand(20, 3), torch.rand(20, 5), torch.rand(4, 3), damping=1.0
        ),
        8 * (20 + 4) * 5 * 20,
        "inputs, eval_inputs: their Jacobians [n, C, d] and [m, C, d] in float64",
    ),
    "networks": (networks, 2 * 3 * 4 * 1000, "subsets: 3 networks and their stacked weights"),
}


@pytest.mark.parametrize("name", CALLS)
def test_just_enough_memory_is_accepted_and_a_byte_less_refused(name, monkeypatch):
    call, size, words = CALLS[name]
    monkeypatch.setattr(_memory, "available", lambda device: size)
    call()
    monkeypatch.setattr(_memory, "available", lambda device: size - 1)
    with pytest.raises(MemoryError) as refused:
        call()
    message = str(refused.value)
    assert words in message and message.endswith("would take less") and "\n" not in message


def test_a_kernel_larger_than_this_machine_is_refused_at_once():
    if _memory.available(CPU) == float("inf"):
        pytest.skip("nobody says how much memory is available here")
    size = round(32 * 2**20 / 10)  # nC = 2^25 and 2^52 bytes in float32
    with pytest.raises(MemoryError, match=r"would take 4\.19e\+06 GiB, and .* GiB are available on cpu; fewer inputs"):
        ntk(nn.Linear(1, 10), torch.zeros(size, 1))


def test_networks_are_not_built_before_they_are_refused(monkeypatch):
    built = []
    monkeypatch.setattr(_memory, "available", lambda device: 0)
    with pytest.raises(MemoryError):
        fit_many(
            lambda: built.append(1) or nn.Linear(1, 2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.long),
            torch.arange(2).expand(9, -1), init_seeds=range(9), order_seeds=range(9),
            loss=nn.functional.cross_entropy, optimizer=torch.optim.SGD, steps=1, batch_size=2,
        )  # fmt: skip
    assert len(built) == 1


def test_the_error_says_what_is_available(monkeypatch):
    monkeypatch.setattr(_memory, "available", lambda device: 2**30)
    _memory.require("x", "it", 2**30, CPU, "less")
    with pytest.raises(MemoryError) as refused:
        _memory.require("x", "it", 3 * 2**30, CPU, "half of it")
    assert str(refused.value) == "x: it would take 3 GiB, and 1 GiB are available on cpu; half of it would take less"


def test_linux_says_how_much_there_is():
    total = _memory.available(CPU)
    assert total == float("inf") if not Path("/proc/meminfo").exists() else 2**26 < total < 2**50


def test_a_cuda_device_is_asked_for_its_own(monkeypatch):
    for name, value in [("mem_get_info", (700, 1000)), ("memory_reserved", 200), ("memory_allocated", 50)]:
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert _memory.available(torch.device("cuda")) == 850


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says what a process holds")
def test_freed_memory_goes_back_to_the_system():
    pieces = [bytearray(50_000) for _ in range(4000)]  # too small to be mapped each for itself
    kept = pieces[-1]
    del pieces
    before = int(Path("/proc/self/statm").read_text().split()[1])
    _memory.trim()
    freed = before - int(Path("/proc/self/statm").read_text().split()[1])
    assert freed * resource.getpagesize() > 100e6 and len(kept) == 50_000
