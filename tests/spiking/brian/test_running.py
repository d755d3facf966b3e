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
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with code_generation("numpy"), pytest.raises(KeyboardInterrupt):
        run_network(ticking(), 1e5, label="long")
    timer.join()
    assert b2.prefs["core.stop_on_keyboard_interrupt"] is True  # as it was


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
