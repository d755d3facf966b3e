"""An interrupted simulation is never taken for a finished one."""

import os
import signal
import threading

import brian2 as b2
import numpy as np
import pytest

from foundation.errors import RatespikeError
from spiking.brian import integrate_and_fire
from spiking.brian.feedforward import run_layer
from spiking.brian.running import code_for, code_generation, run_network
from spiking.integrate_and_fire import IFLayer, IFNetwork
from spiking.parameters import CurrentNeuron, LPLSynapse
from spiking.stimuli import SpikeEvents


def busy() -> b2.Network:
    """Most of a step of it is inside Brian2's generated code."""
    source = b2.PoissonGroup(200, 50 * b2.Hz, dt=1 * b2.ms)
    target = b2.NeuronGroup(
        200, "dv/dt = -v/(10*ms) : 1", threshold="v > 1", reset="v = 0", method="euler", dt=1 * b2.ms
    )
    synapses = b2.Synapses(source, target, on_pre="v_post += 0.01")
    synapses.connect()
    return b2.Network(source, target, synapses)


def interrupt_after(network: b2.Network, seconds: float) -> None:
    """Have Ctrl-C pressed so long after the simulation's first step, whatever building it takes."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))

    def start() -> None:
        if timer.ident is None:
            timer.start()

    network.add(b2.NetworkOperation(start, dt=1 * b2.ms, when="start"))


@pytest.mark.parametrize("after", [0.0, 0.01, 0.1, 0.25, 0.5])
def test_ctrl_c_breaks_a_simulation_off_wherever_a_step_is(after: float) -> None:
    """Inside the generated code, an interrupt of Python's own kind would be lost in its error handling."""
    before = signal.getsignal(signal.SIGINT)
    network = busy()
    interrupt_after(network, after)
    with code_generation("numpy"), pytest.raises(KeyboardInterrupt):
        run_network(network, 100.0, label="long" if after else None)
    assert float(network.t) < 100
    assert signal.getsignal(signal.SIGINT) is before
    assert b2.prefs["core.stop_on_keyboard_interrupt"] is True  # as it was


def test_a_simulation_that_stopped_by_itself_is_an_error() -> None:
    network = busy()
    network.add(b2.NetworkOperation(lambda: b2.stop(), dt=5 * b2.ms, when="end"))
    with code_generation("numpy"), pytest.raises(RatespikeError, match="stopped after"):
        run_network(network, 0.1)


@pytest.mark.parametrize(
    ("set_by_user", "steps", "asked", "target"),
    [
        ("auto", 100, "auto", "numpy"),
        ("auto", 10**6, "auto", "auto"),
        ("cython", 100, "auto", "cython"),
        ("numpy", 10**6, "auto", "numpy"),
        ("numpy", 100, "cython", "cython"),
    ],
)
def test_code_is_chosen_by_the_length_of_the_run_unless_somebody_chose(
    set_by_user: str, steps: int, asked: str, target: str
) -> None:
    with code_generation(set_by_user):
        with code_for(steps, asked):
            assert b2.prefs.codegen.target == target
        assert b2.prefs.codegen.target == set_by_user


def test_code_generation_is_for_a_while_only() -> None:
    before = b2.prefs.codegen.target
    with code_generation("numpy"):
        assert b2.prefs.codegen.target == "numpy"
    assert b2.prefs.codegen.target == before


def test_what_runs_networks_for_a_user_does_not_make_him_wait_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    run = b2.Network.run

    def noted(self: b2.Network, *arguments: object, **settings: object) -> object:
        found.append(b2.prefs.codegen.target)
        return run(self, *arguments, **settings)

    monkeypatch.setattr(b2.Network, "run", noted)
    layers = [IFLayer.dense(name, np.eye(2), np.zeros(2), np.ones(1)) for name in ("one", "two")]
    spikes = SpikeEvents(np.zeros(1, np.int64), np.zeros(1, np.int64), 2, 1e-3, 10)
    with code_generation("auto"):
        integrate_and_fire.simulate(IFNetwork((layers[0],), layers[1]), np.ones((2, 2)), 3)
        run_layer(spikes, np.eye(2), np.zeros(2), CurrentNeuron(), LPLSynapse.current(axonal_delay=1e-3))
        assert found == ["numpy", "numpy"]
        assert b2.prefs.codegen.target == "auto"
