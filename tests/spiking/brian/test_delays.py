"""Delays as explicit state: against spikes shifted by hand, and cut while they travel."""

from typing import Any

import numpy as np
import pytest
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, SpikeMonitor, StateMonitor, Synapses, prefs, second
from brian2.core.variables import ArrayVariable

from foundation.errors import UsageError
from spiking.brian.delays import axon, memory_cells, refer, remember_spikes
from spiking.brian.equations import ORDER, SLOT

DT, STEPS, UNITS = 1e-3, 60, 5


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


@pytest.fixture
def raster(rng):
    """(STEPS, UNITS), dense enough for spikes in successive steps, and in the first and the last."""
    spikes = rng.random((STEPS, UNITS)) < 0.4
    spikes[[0, -1]] = True
    return spikes


def spike_source(spikes) -> Any:
    steps, units = np.nonzero(spikes)
    return SpikeGeneratorGroup(spikes.shape[1], units, steps * DT * second, dt=DT * second)


def fired(monitor, steps=STEPS) -> Any:
    """The raster of what a monitor saw."""
    spikes = np.zeros((steps, UNITS), bool)
    spikes[np.rint(np.asarray(monitor.t / second) / DT).astype(int), monitor.i] = True
    assert spikes.sum() == monitor.num_spikes
    return spikes


def shifted(spikes, steps: int) -> Any:
    return np.concatenate([np.zeros((steps, spikes.shape[1]), bool), spikes])[: len(spikes)]


@pytest.mark.parametrize("steps", [1, 2, 8, 59, 60, 200])
def test_an_axon_repeats_its_source_so_many_steps_later(raster, steps):
    source = spike_source(raster)
    line = axon(source, steps)
    monitor = SpikeMonitor(line.end)
    Network(source, line, monitor).run(STEPS * DT * second, namespace={})
    np.testing.assert_array_equal(fired(monitor), shifted(raster, steps))


@pytest.mark.parametrize("delays", [(1, 8), (3, 3), (0, 4), (0, 0), (8, 200), (200, 1)])
def test_remembered_spikes_are_those_of_so_many_steps_ago(raster, delays):
    first, second_one = delays
    group = NeuronGroup(
        UNITS, f"s_now : 1\nseen_a : 1\nseen_b : 1\n{memory_cells('a', 'b')}", dt=DT * second, name="remembering"
    )
    memory = remember_spikes(group, {"a": first, "b": second_one})
    group.run_regularly("seen_a = s_a\nseen_b = s_b", clock=group.clock, when=SLOT, order=ORDER["error"])
    group.run_regularly("s_now = 0", clock=group.clock, when="end")
    source = spike_source(raster)
    relay = Synapses(source, group, on_pre="s_now = 1", clock=group.clock)
    relay.connect(j="i")
    monitor = StateMonitor(group, ("seen_a", "seen_b"), record=True, when="end", dt=DT * second)
    Network(source, group, memory, relay, monitor).run(STEPS * DT * second, namespace={})
    np.testing.assert_array_equal(monitor.seen_a.T, shifted(raster, first))
    np.testing.assert_array_equal(monitor.seen_b.T, shifted(raster, second_one))


def variables(*groups) -> dict[tuple[int, str], Any]:
    return {
        (number, name): variable
        for number, group in enumerate(groups)
        for name, variable in group.variables.items()
        if isinstance(variable, ArrayVariable) and variable.owner.name == group.name and not variable.read_only
    }


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_spikes_that_travel_survive_a_cut(raster, cut):
    """Two networks, the second of which knows of the first no more than the values of its variables."""
    seen: list[Any] = []
    state: dict[Any, Any] = {}
    for part in (raster[:cut], raster[cut:]):
        source = spike_source(part)
        line = axon(source, 8)
        for key, value in state.items():
            variables(line.end, line.memory)[key].set_value(value)
        monitor = SpikeMonitor(line.end)
        Network(source, line, monitor).run(len(part) * DT * second, namespace={})
        state = {key: np.array(v.get_value()) for key, v in variables(line.end, line.memory).items()}
        seen.append(fired(monitor, len(part)))
    np.testing.assert_array_equal(np.concatenate(seen), shifted(raster, 8))


def test_an_axon_of_no_length_is_refused(raster):
    with pytest.raises(UsageError, match="axon: its delay must be at least one step, got 0"):
        axon(spike_source(raster), 0)


def test_a_name_that_is_taken_is_refused():
    one, other = NeuronGroup(2, "x : 1\nk : integer"), NeuronGroup(2, "y : 1")
    refer(one, "mine", other, "y", "k")
    with pytest.raises(UsageError, match="its variable 'x' bears a name of the rule"):
        refer(one, "x", other, "y", "k")
