"""The conductance-based neuron as a step function, against plain stepping."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UsageError
from spiking.parameters import ConductanceNeuron
from spiking.torch.neuron import NeuronState, conductance_step
from tests.spiking.plain_network import Neurons


def arrivals(rng: np.random.Generator, steps: int, shape: tuple[int, ...], rate: float) -> np.ndarray:
    return (rng.random((steps, *shape)) < rate) * rng.uniform(0.0, 1.5, (steps, *shape))


@pytest.mark.parametrize("dt", [1e-4, 8e-4])
def test_it_equals_plain_stepping(rng, dt, each_device):
    """Bombarded until it spikes, saturates at both reversal potentials, and is silent for a while."""
    steps, shape = 1500, (3, 20)
    ampa, gaba = arrivals(rng, steps, shape, 150 * dt), arrivals(rng, steps, shape, 60 * dt)
    gaba[:, 0] = 0
    ampa[:, 1] = 0
    ampa[300, 0], gaba[300, 1] = 500.0, 500.0
    plain = Neurons(rng.uniform(-80e-3, -45e-3, 60), dt)
    step = conductance_step(ConductanceNeuron(), dt)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values.reshape(shape), dtype=torch.float64, device=each_device)

    state = NeuronState(*(tensor(x) for x in (plain.v, plain.ampa, plain.nmda, plain.gaba, plain.threshold)))
    count, lowest, highest = 0, 0.0, -1.0
    for n in range(steps):
        before = [value.clone() for value in state]
        after, spiked = step(state)
        assert all(torch.equal(value, old) for value, old in zip(state, before, strict=True))  # nothing in place
        expected = plain.step()
        np.testing.assert_array_equal(spiked.cpu().numpy().ravel(), expected)
        assert spiked.dtype == torch.bool
        theirs = (plain.v, plain.ampa, plain.nmda, plain.gaba, plain.threshold)
        for value, other in zip(after, theirs, strict=True):
            np.testing.assert_allclose(value.cpu().numpy().ravel(), other, rtol=1e-11, atol=1e-16)
        plain.ampa += ampa[n].ravel()
        plain.gaba += gaba[n].ravel()
        state = after._replace(g_ampa=after.g_ampa + tensor(ampa[n]), g_gaba=after.g_gaba + tensor(gaba[n]))
        count += int(expected.sum())
        lowest, highest = min(lowest, plain.v.min()), max(highest, plain.v.max())
    assert count > 100
    assert lowest == pytest.approx(-80e-3, abs=1e-4)
    assert highest > -10e-3  # behind a raised threshold


@settings(deadline=None, max_examples=50)
@given(
    values=st.tuples(st.floats(-0.08, 0.0), st.floats(0, 5), st.floats(0, 5), st.floats(0, 5), st.floats(0, 0.1)),
    neuron=st.builds(
        ConductanceNeuron,
        tau_mem=st.floats(5e-3, 0.05),
        tau_ampa=st.floats(1e-3, 0.05),
        tau_nmda=st.floats(1e-3, 0.5),
        tau_gaba=st.floats(1e-3, 0.05),
        tau_thr=st.floats(1e-3, 0.05),
        ampa_to_nmda=st.floats(0, 10),
        u_rest=st.floats(-0.075, -0.055),
        theta_spike=st.floats(0, 0.2),
    ),
)
def test_every_parameter_is_where_the_equations_have_it(values, neuron):
    dt = 1e-4
    U, ampa, nmda, gaba, thr = values
    after, spiked = conductance_step(neuron, dt)(NeuronState(*(torch.tensor([v], dtype=torch.float64) for v in values)))
    share = neuron.ampa_to_nmda / (1 + neuron.ampa_to_nmda)
    current = (share * ampa + (1 - share) * nmda) * (0.0 - U) + gaba * (-80e-3 - U)
    u = min(max(U + dt / neuron.tau_mem * (neuron.u_rest - U + current), -80e-3), 0.0)
    kept = np.exp(-dt / neuron.tau_nmda)
    threshold = thr * np.exp(-dt / neuron.tau_thr)
    fired = u > -50e-3 + threshold
    expected = [
        -70e-3 if fired else u,
        ampa * np.exp(-dt / neuron.tau_ampa),
        (nmda + (1 - kept) * ampa) * kept,
        gaba * np.exp(-dt / neuron.tau_gaba),
        neuron.theta_spike if fired else threshold,
    ]
    assert [value.item() for value in after] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert spiked.item() == fired


def test_a_step_that_euler_cannot_take_is_refused():
    with pytest.raises(UsageError, match=r"dt: must be positive and below ConductanceNeuron.tau_mem"):
        conductance_step(ConductanceNeuron(), 0.02)


def test_float32_stays_float32():
    state = NeuronState(*torch.zeros(5, 4))
    after, _ = conductance_step(ConductanceNeuron(), 1e-4)(state)
    assert {value.dtype for value in after} == {torch.float32}
