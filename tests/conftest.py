"""What every test may use."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # a busy machine is no fault
settings.load_profile("any machine")

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, which share the cores; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", help="run what can run on a GPU there alone: cpu or cuda  [default: on both]")


@pytest.fixture(params=["cpu", "cuda"])
def each_device(request: pytest.FixtureRequest) -> str:
    """The CPU, and the GPU where there is one; with `--device cuda` the GPU alone, and it must be there."""
    import torch

    asked = request.config.getoption("--device")
    if asked not in (None, request.param):
        pytest.skip(f"asked for {asked}")
    if request.param == "cuda" and asked is None and not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    if request.param == "cuda":  # its convolutions have ten bits else, whatever a test compares
        torch.backends.cudnn.allow_tf32 = False
    return str(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20231)


@pytest.fixture
def data() -> Path:
    """The folder of the reference numbers."""
    return Path(__file__).parent / "data"
