"""An interrupted simulation is never taken for a finished one."""

import os
import signal
import threading

import brian2 as b2
import pytest

from foundation.errors import RatespikeError
from spiking.brian.running import code_generation, run_network


def ticking() -> b2.Network:
    group = b2.NeuronGroup(1, "x : 1", dt=1 * b2.ms)
    return b2.Network(group, group.run_regularly("x += 1", dt=1 * b2.ms))


def test_ctrl_c_breaks_a_simulation_off() -> None:
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with code_generation("numpy"), pytest.raises(KeyboardInterrupt):
        run_network(ticking(), 1e5, label="long")
    timer.join()
    assert b2.prefs["core.stop_on_keyboard_interrupt"] is True  # as it was
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("after", [0.3, 0.5, 0.7, 1.1])
def test_wherever_a_step_is(after: float) -> None:
    """Much of a step is inside Brian2's generated code, where an interrupt would be lost in its error handling."""
    source = b2.PoissonGroup(200, 50 * b2.Hz, dt=1 * b2.ms)
    target = b2.NeuronGroup(
        200, "dv/dt = -v/(10*ms) : 1", threshold="v > 1", reset="v = 0", method="euler", dt=1 * b2.ms
    )
    synapses = b2.Synapses(source, target, on_pre="v_post += 0.01")
    synapses.connect()
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with code_generation("numpy"), pytest.raises(KeyboardInterrupt):
        run_network(b2.Network(source, target, synapses), 1e4)
    timer.join()


def test_a_simulation_that_stopped_by_itself_is_an_error() -> None:
    network = ticking()
    network.add(b2.NetworkOperation(lambda: b2.stop(), dt=5 * b2.ms, when="end"))
    with code_generation("numpy"), pytest.raises(RatespikeError, match="stopped after"):
        run_network(network, 0.1)


def test_code_generation_is_for_a_while_only() -> None:
    before = b2.prefs.codegen.target
    with code_generation("numpy"):
        assert b2.prefs.codegen.target == "numpy"
    assert b2.prefs.codegen.target == before
