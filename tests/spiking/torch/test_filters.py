"""Linear systems that take a block of steps at once, against stepping them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking.torch.filters import BlockFilter, LinearSystem


def random_system(rng: np.random.Generator, order: int, *, stable: float = 0.95) -> LinearSystem:
    M = rng.uniform(-1, 1, (order, order))
    M *= stable / max(np.abs(np.linalg.eigvals(M)).max(), 1e-6)
    return LinearSystem(M, rng.normal(size=order), rng.normal(size=order), float(rng.normal()))


def stepped(system: LinearSystem, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Backward: from the last row of x (L, S) to its first."""
    y = np.empty_like(x)
    for n in reversed(range(len(x))):
        y[n] = system.c @ z + system.d * x[n]
        z = system.M @ z + system.v[:, None] * x[n]
    return y, z


@settings(deadline=None, max_examples=60)
@given(order=st.integers(1, 4), length=st.integers(1, 40), width=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_a_block_equals_its_steps(order, length, width, seed):
    rng = np.random.default_rng(seed)
    system = random_system(rng, order)
    x, z = rng.normal(size=(length, width)), rng.normal(size=(order, width))
    expected, state = stepped(system, x, z)
    ours, after = BlockFilter(system, length, torch.zeros(0, dtype=torch.float64))(torch.tensor(x), torch.tensor(z))
    assert ours.shape == (length, width)
    assert after.shape == (order, width)
    scale = max(np.abs(expected).max(), np.abs(state).max(), np.abs(z).max())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(after.numpy(), state, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("lengths", [[30], [1] * 30, [7, 7, 7, 7, 2], [2, 28]])
def test_blocks_of_any_length_follow_one_another(rng, lengths, each_device):
    """The last rows first; what one leaves behind is where the next begins."""
    system = random_system(rng, 3)
    x, z = rng.normal(size=(30, 2)), rng.normal(size=(3, 2))
    expected, state = stepped(system, x, z)
    like = torch.zeros(0, dtype=torch.float64, device=each_device)
    rows, now, end = torch.tensor(x).to(like), torch.tensor(z).to(like), 30
    found: list[Tensor] = []
    for length in lengths:
        part, now = BlockFilter(system, length, like)(rows[end - length : end], now)
        found.insert(0, part)
        end -= length
    np.testing.assert_allclose(torch.cat(found).cpu().numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(now.cpu().numpy(), state, rtol=0, atol=1e-12)


def test_an_impulse_in_the_last_row_is_seen_in_all_before_it():
    """z(0) = v, z(1) = M v, ...: y = d, c v, c M v."""
    system = LinearSystem(np.array([[0.5]]), np.array([2.0]), np.array([3.0]), 7.0)
    x = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    y, z = BlockFilter(system, 3, x)(x, torch.zeros(1, 1, dtype=torch.float64))
    assert y.ravel().tolist() == [3.0, 6.0, 7.0]
    assert z.item() == 0.5


def test_memory_to_work_in_is_used_and_changes_no_number(rng):
    system = random_system(rng, 2)
    x, z = torch.tensor(rng.normal(size=(9, 4))), torch.tensor(rng.normal(size=(2, 4)))
    block = BlockFilter(system, 9, x)
    expected, state = block(x, z)
    out = torch.full((11, 4), torch.nan, dtype=torch.float64)
    ours, after = block(x, z, out=out)
    assert ours.data_ptr() == out.data_ptr()
    assert torch.equal(ours, expected)
    assert torch.equal(after, state)


def test_in_float32_matrices_are_worked_out_in_float64(rng):
    system = random_system(rng, 2)
    block = BlockFilter(system, 50, torch.zeros(0))
    exact = BlockFilter(system, 50, torch.zeros(0, dtype=torch.float64))
    x, z = torch.tensor(rng.normal(size=(50, 3))), torch.tensor(rng.normal(size=(2, 3)))
    (y, _), (expected, _) = block(x.float(), z.float()), exact(x, z)
    assert y.dtype == torch.float32
    assert (y - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 8, 100])
def test_the_impulse_response_is_m_to_the_n_times_v(rng, steps):
    system = random_system(rng, 3)
    found, state = system.impulse_response(steps), system.v
    assert found.shape == (steps + 1, 3)
    for row in found:
        np.testing.assert_allclose(row, state, rtol=0, atol=1e-12)
        state = system.M @ state
