"""Fig. 5 in the library's own terms: the stepper against the plain stepping of the paper's description."""

from typing import Any

import numpy as np
import pytest

from spiking.brian import declared
from spiking.network import stepper
from spiking.network.network import Network
from spiking.network.parts import State
from spiking.network.state import initial_state
from spiking.pairing import PairingProtocol
from spiking.paper.declared import PaperInput, declare, declare_pairing
from spiking.paper.network import InputSpikes, NetworkConfig, draw_wiring, segments
from tests.spiking import plain_pairing
from tests.spiking.network_cases import RATES, SMALL, VARIANTS, assert_same_spikes, differences, in_plain_numpy, start

RULE = "exc.rule0"


def network_of(config: NetworkConfig) -> Network:
    inputs = InputSpikes(config, RATES)
    return declare(config, draw_wiring(config, inputs.lines), PaperInput(inputs), inputs.lines)


def begun(net: Network, config: NetworkConfig) -> State:
    state = initial_state(net)
    for name in ("tr_mean", "sigma2"):
        state[f"{RULE}/{name}"] = start(config, name)[None]
    return state


def in_its_words(net: Network, state: State) -> dict[str, Any]:
    """The state by the names of the plain stepping."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        owner, _, variable = name.rpartition("/")
        flat = value[0] if value.ndim == 2 else value
        if owner in ("exc", "inh"):
            found[f"{owner}/{variable}"] = flat
        elif owner in ("ext", "ee"):
            last = len(net.projections[owner].rule.every_term()) - 1  # type: ignore[union-attr]
            words = {f"el{last}_rise": "el", f"el{last}": "el_flt", f"psp{last}": "psp", f"psp{last}_rise": "trpre"}
            variable = words.get(variable, variable)
            found[f"{owner}.pre/{variable}" if variable in ("psp", "trpre") else f"{owner}/{variable}"] = flat
        elif owner == RULE:
            found |= {f"{name}.post/{variable}": flat for name in ("ext", "ee") if name in net.projections}
        elif owner == "ie":
            found["ie.pre/y" if variable == "y" else f"ie/{variable}"] = flat
        elif owner == "exc.rule1":
            found[f"ie.post/{variable}"] = flat
    return found


FAST = ("LPL, primed", "everything, at 0.1 ms", "prediction off, inhibition fixed", "recurrence alone, as reported")
VARIED = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]


@pytest.mark.parametrize("name", VARIED)
def test_every_option_equals_plain_stepping(name):
    config = NetworkConfig(**{**SMALL, **VARIANTS[name]})
    net = network_of(config)
    state, spikes = begun(net, config), dict[str, list[Any]](exc=[], inh=[])
    for piece in segments(config, 50.0, 50.0):
        frozen = () if piece.learning else tuple(p for p in ("ext", "ee") if p in net.projections)
        done = stepper.run(net, piece.steps, state, frozen=frozen)
        state = done.state
        for key, parts in spikes.items():
            parts.append(done.spikes.get(key, np.zeros((0, 3), np.int64))[:, [0, 2]])
    expected, plain, _ = in_plain_numpy(config, draw_wiring(config, 16))
    found = {key: np.concatenate(parts) for key, parts in spikes.items()}
    assert_same_spikes({key: found[key] for key in expected if key in net.populations}, expected)
    ours = in_its_words(net, state)
    assert {"exc/U", "ext/w", "ext/el_flt", "ext.pre/psp", "ext.post/tr_err_flt"} <= ours.keys() & plain.keys()
    assert differences(ours, plain, 1e-12) == {}


def test_a_run_can_be_cut_anywhere():
    """To the same bits, in pieces that are no multiple of the interval between weight updates."""
    config = NetworkConfig(**{**SMALL, "duration": 0.8, "recurrence": True})
    net = network_of(config)
    whole = stepper.run(net, 900, begun(net, config))
    state, spikes = begun(net, config), []
    for steps in (1, 7, 300, 592):
        done = stepper.run(net, steps, state)
        state = done.state
        spikes.append(done.spikes["exc"])
    np.testing.assert_array_equal(np.concatenate(spikes), whole.spikes["exc"])
    assert state.keys() == whole.state.keys()
    for name, value in whole.state.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)
    assert np.abs(whole.state["ext/w"] - net.projections["ext"].synapses.weight).max() > 1e-3


def test_the_pairing_protocol_equals_plain_stepping():
    """The clamp at the end of every step, and the weights after all pairings."""
    protocol = PairingProtocol(frequency=40.0, pairings=12, inputs=6, eta=1.0)
    net = declare_pairing(protocol)
    expected = plain_pairing.run(protocol)
    for done in (stepper.run(net, protocol.steps), declared.run(net, protocol.steps, codegen="numpy")):
        np.testing.assert_array_equal(done.spikes["neuron"][:, 0], expected.spikes)
        moved = np.abs(expected.weights - protocol.w_0).max()
        np.testing.assert_allclose(done.state["ext/w"], expected.weights, rtol=0, atol=1e-10 * moved)
