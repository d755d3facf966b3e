"""The symmetric inhibitory rule on prescribed spikes, against a plain stepping of it (lpl-spiking 2.3)."""

import doctest
from typing import Any

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, StateMonitor, TimedArray, prefs, second

from foundation.errors import UsageError
from spiking.brian import inhibition
from spiking.brian.inhibition import attach_inhibitory_plasticity
from spiking.parameters import InhibitoryPlasticity

DT, STEPS, N_PRE, N_POST = 1e-3, 300, 4, 3
PRE, POST = np.array([0, 0, 1, 1, 2, 3, 3]), np.array([0, 2, 1, 2, 0, 1, 2])
W = np.array([0.05, 0.9, 0.5, 0.1, 0.7, 0.95, 0.3])
RULE = InhibitoryPlasticity(zeta=0.1, kappa=15.0, tau=15e-3, w_min=0.02, w_max=0.97)


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


def step_by_step(rule, s_in, s_out, delay) -> dict[str, Any]:
    """All states at the end of each step."""
    w, g, x, y = W.copy(), np.zeros(N_POST), np.zeros(N_POST), np.zeros(N_PRE)
    record: dict[str, list[Any]] = {}
    for n in range(len(s_in)):
        arrived = s_in[n - delay] if n >= delay else np.zeros(N_PRE, bool)
        for k, (j, i) in enumerate(zip(PRE, POST, strict=True)):
            if arrived[j]:
                g[i] += w[k]
                w[k] = max(w[k] + rule.zeta * (x[i] - 2 * rule.kappa * rule.tau), rule.w_min)
        for k, (j, i) in enumerate(zip(PRE, POST, strict=True)):
            if s_out[n, i]:
                w[k] = min(w[k] + rule.zeta * y[j], rule.w_max)
        y, x = ((trace + now) * np.exp(-DT / rule.tau) for trace, now in ((y, arrived), (x, s_out[n])))
        for name, value in (("w", w), ("g", g), ("x", x), ("y", y)):
            record.setdefault(name, []).append(value.copy())
    return {name: np.array(values) for name, values in record.items()}


@pytest.mark.parametrize("delay", [0, 1, 8])
def test_every_step_equals_plain_stepping(rng, delay):
    s_in, s_out = rng.random((STEPS, N_PRE)) < 0.1, rng.random((STEPS, N_POST)) < 0.05
    s_out[100] = s_in[100 - delay] = True  # all at once: both changes in one step
    s_out[200:], s_in[:50] = False, False
    expected = step_by_step(RULE, s_in, s_out, delay)

    steps, units = np.nonzero(s_in)
    source = SpikeGeneratorGroup(N_PRE, units, steps * DT * second, dt=DT * second)
    spikes = {"s_t": TimedArray(s_out * 1.0, dt=DT * second)}
    target = NeuronGroup(N_POST, "g : 1", threshold="s_t(t, i) > 0", reset="", dt=DT * second, namespace=spikes)
    held = attach_inhibitory_plasticity(
        source, target, RULE, i=PRE, j=POST, w=W, on_pre="g_post += w", delay=delay * DT
    )
    watched = {"w": held.synapses, "g": target, "x": held.post, "y": held.pre}
    monitors = {k: StateMonitor(v, k, record=True, when="end", dt=DT * second) for k, v in watched.items()}
    Network(source, target, held, *monitors.values()).run(STEPS * DT * second, namespace={})

    for name, monitor in monitors.items():
        np.testing.assert_allclose(getattr(monitor, name).T, expected[name], rtol=1e-12, atol=1e-15)
    w = expected["w"]
    assert w.min() == RULE.w_min
    assert (w == RULE.w_max).any()
    assert w.max() > RULE.w_max  # above it by a spike that arrived: each bound holds for one kind of change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"i": [0, 4]}, r"i: must lie in 0\.\.3, got 0\.\.4"),
        ({"j": [-1, 0]}, r"j: must lie in 0\.\.2, got -1\.\.0"),
        ({"j": [0]}, "i, j: must have the same length, got 2 and 1"),
        ({"w": [0.1]}, r"w: must be one number or have shape \(2,\)"),
        ({"w": 0.98}, r"w: must lie in \[0.02, 0.97\]"),
    ],
)
def test_errors_name_the_argument(changes, message):
    source = SpikeGeneratorGroup(N_PRE, [], [] * second, dt=DT * second)
    target = NeuronGroup(N_POST, "g : 1", threshold="g > 1", reset="g = 0", dt=DT * second)
    arguments: dict[str, Any] = {"i": [0, 1], "j": [0, 1], "w": 0.1, "on_pre": "g_post += w", **changes}
    with pytest.raises(UsageError, match=message):
        attach_inhibitory_plasticity(source, target, RULE, **arguments)


def test_example_in_the_docstring():
    outcome = doctest.testmod(inhibition)
    assert outcome.attempted > 5
    assert outcome.failed == 0
