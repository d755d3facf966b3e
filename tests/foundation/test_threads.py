"""How many threads work gets: by its size alone, for as long as it takes, and never against the user's word."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from foundation.data.images import ImageSet
from foundation.threads import LARGE, multiply_adds, threads_for
from ratenets.evaluation import readout
from ratenets.evaluation.features import pooled
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoder_config import EncoderConfig
from ratenets.lpl.encoders import build
from ratenets.lpl.training import LPLLearner, train_lpl
from ratenets.run_config import RunConfig
from spiking.integrate_and_fire import IFLayer, IFNetwork
from spiking.torch import integrate_and_fire


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which torch takes three threads, and a user who has said nothing."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads with which matrices are multiplied."""
    found: list[int] = []
    linear = torch.nn.functional.linear

    def noted(*arguments: torch.Tensor) -> torch.Tensor:
        found.append(torch.get_num_threads())
        return linear(*arguments)

    monkeypatch.setattr(torch.nn.functional, "linear", noted)
    return found


def test_small_work_has_one_thread_and_large_work_all() -> None:
    with threads_for(LARGE / 2):
        assert torch.get_num_threads() == 1
        assert all(pool["num_threads"] == 1 for pool in threadpool_info())
    assert torch.get_num_threads() == 3
    with threads_for(LARGE):
        assert torch.get_num_threads() == 3


def test_the_number_comes_back_whatever_happens() -> None:
    with pytest.raises(RuntimeError, match="mine"), threads_for(0):
        raise RuntimeError("mine")
    assert torch.get_num_threads() == 3


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "3")
    with threads_for(0):
        assert torch.get_num_threads() == 3


def test_products_and_convolutions_are_counted() -> None:
    x, w = torch.ones(2, 3), torch.ones(3, 5, requires_grad=True)
    assert multiply_adds(lambda: x @ w) == 2 * 3 * 5
    assert multiply_adds(lambda: (x @ w).sum().backward()) == 2 * 2 * 3 * 5
    image, kernel = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3)
    assert multiply_adds(lambda: torch.conv2d(image, kernel)) == 3 * 2 * 9 * 4


def images(n: int = 40) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(n) % 2
    return ImageSet("random", pixels, labels, pixels, labels, ("a", "b"))


@pytest.mark.parametrize(("large", "threads"), [(1e3, 3), (1e12, 1)])
def test_training_asks_for_its_size(monkeypatch: pytest.MonkeyPatch, large: float, threads: int) -> None:
    found: list[int] = []
    step = LPLLearner.step

    def noted(self: LPLLearner, epoch: int, index: int) -> object:
        found.append(torch.get_num_threads())
        return step(self, epoch, index)

    monkeypatch.setattr(LPLLearner, "step", noted)
    monkeypatch.setattr("foundation.threads.LARGE", large)
    train_lpl(LPLConfig(batch_size=20, run=RunConfig(epochs=1)), images(), None)
    assert found[1:] == [threads] * 2  # the first one is the rehearsal
    assert torch.get_num_threads() == 3


def test_readouts_codes_and_simulations_ask_for_theirs(monkeypatch: pytest.MonkeyPatch, seen: list[int]) -> None:
    pools: list[int] = []

    class Model:
        coef_, intercept_ = np.zeros((1, 3)), np.zeros(1)

        def __init__(self, **settings: object) -> None: ...

        def fit(self, x: np.ndarray, y: np.ndarray) -> "Model":
            pools.extend(pool["num_threads"] for pool in threadpool_info())
            return self

    monkeypatch.setattr("sklearn.linear_model.LogisticRegression", Model)
    readout.fit(np.random.default_rng(0).random((6, 3)), np.arange(6) % 2)
    assert set(pools) == {1}
    encoder = build(EncoderConfig(hidden=(4,)), (1, 8, 8), 0)
    pooled(encoder, torch.rand(5, 1, 8, 8), 2)
    assert seen[1:] == [1, 1, 1]  # the first one counts
    del seen[:]
    layers = [IFLayer.dense(name, np.eye(4), np.zeros(4), np.ones(1)) for name in ("one", "two")]
    integrate_and_fire.simulate(IFNetwork((layers[0],), layers[1]), np.ones((3, 4)), 2)
    assert seen
    assert set(seen) == {1}
    assert torch.get_num_threads() == 3
