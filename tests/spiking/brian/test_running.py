"""An interrupted simulation is never taken for a finished one."""

import os
import signal
import threading

import brian2 as b2
import pytest

from foundation.errors import RatespikeError
from spiking.brian.running import code_generation, run_network


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


def test_code_generation_is_for_a_while_only() -> None:
    before = b2.prefs.codegen.target
    with code_generation("numpy"):
        assert b2.prefs.codegen.target == "numpy"
    assert b2.prefs.codegen.target == before
