"""Names of devices, and how much memory they have."""

import os

import pytest
import torch

from foundation.devices import find_device, free_memory
from foundation.errors import RatespikeError, UsageError


def test_a_device_that_is_there(each_device):
    assert find_device(each_device).type == each_device


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-2", "cpu cpu", "meta", "mps"])
def test_a_name_that_is_none_is_one_line(name):
    with pytest.raises(UsageError, match=f"^--device: must be cpu, cuda or cuda:N, got '{name}'$") as error:
        find_device(name, "--device")
    assert not isinstance(error.value.__cause__, Exception)


@pytest.mark.parametrize(("count", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2"), (2, "cuda:7")])
def test_a_device_that_is_not_there(monkeypatch, count, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(RatespikeError, match=f"^device: {name} is absent; this machine has {count} GPUs$") as error:
        find_device(name)
    assert not isinstance(error.value, UsageError)


def test_of_two_gpus_both_are_found(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [find_device(name).index for name in ("cuda", "cuda:0", "cuda:1")] == [None, 0, 1]


def test_free_memory_is_some_of_what_there_is(each_device):
    device = find_device(each_device)
    free = free_memory(device)
    if each_device == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
    else:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert isinstance(free, int)
    assert 0 < free <= total


def test_what_the_kernel_could_free_is_free(monkeypatch):
    text = "MemTotal: 9000 kB\nMemFree: 1000 kB\nMemAvailable: 4000 kB\n"
    monkeypatch.setattr("foundation.memory.Path.read_text", lambda path: text)
    assert free_memory(torch.device("cpu")) == 4_096_000
    monkeypatch.setattr("foundation.memory.Path.read_text", lambda path: "MemTotal: 9000 kB\n")
    assert free_memory(torch.device("cpu")) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
