"""What every test may use."""

from pathlib import Path

import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the tests that can run on a GPU: cpu, cuda")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--device"))


@pytest.fixture(params=["cpu", "cuda"])
def each_device(request: pytest.FixtureRequest) -> str:
    """The CPU, and the GPU where there is one."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    return str(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20231)


@pytest.fixture
def data() -> Path:
    """The folder of the reference numbers."""
    return Path(__file__).parent / "data"
