"""Names of one's own: what is stored in one network is restored in the same one, built again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brian2 import Hz, Network, NeuronGroup, PoissonGroup, ms, second, seed

from foundation.errors import UsageError
from spiking.brian.conductance import conductance_layer
from spiking.brian.current import current_layer, plain_layer
from spiking.brian.delays import axon
from spiking.brian.inhibition import attach_inhibitory_plasticity
from spiking.brian.plasticity import attach_lpl, attach_rule
from spiking.brian.running import code_generation
from spiking.parameters import ConductanceNeuron, CurrentNeuron, InhibitoryPlasticity, LPLSynapse
from spiking.rule import super_spike

DT = 5e-4
PRE, POST = np.arange(6), np.arange(6) % 2
RULE = LPLSynapse.current(axonal_delay=1e-3, update_interval=0.1)


@pytest.fixture(autouse=True)
def numpy_code() -> Iterator[None]:
    with code_generation("numpy"):
        yield


def cells() -> NeuronGroup:
    model = "dv/dt = (1.2 - v)/(10*ms) : 1"
    return NeuronGroup(2, model, threshold="v > 1", reset="v = 0", method="euler", dt=DT * second, name="cells")


def by_rule(x: Any) -> tuple[Any, ...]:
    y, rule = cells(), super_spike(interval=0.1, axonal_delay=1e-3)
    attached = attach_rule(
        x, y, rule, i=PRE, j=POST, w=0.3, potential="v", on_pre="v_post += 0.1*w", dt=DT, name="mine"
    )
    return y, attached, attached.synapses


def by_lpl(x: Any) -> tuple[Any, ...]:
    y = cells()
    given: dict[str, Any] = {"i": PRE, "j": POST, "w": 0.3, "potential": "v", "on_pre": "v_post += 0.1*w", "dt": DT}
    first, second_ = (attach_lpl(x, y, RULE, **given, name=name) for name in ("one", "two"))  # between the same groups
    return y, first, second_, first.synapses


def by_inhibition(x: Any) -> tuple[Any, ...]:
    y, far = cells(), axon(x, 2, name="far")
    held = attach_inhibitory_plasticity(
        far.end, y, InhibitoryPlasticity(kappa=10.0), i=PRE, j=POST, w=0.1, on_pre="v_post -= 0.1*w", name="held"
    )
    return y, far, held, held.synapses


def in_currents(x: Any) -> tuple[Any, ...]:
    neuron, weights, bias = CurrentNeuron(leaky=False, tau_mem=2e-3, r_max=200.0), np.full((2, 6), 0.3), np.full(2, 0.3)
    layer = current_layer(x, weights, bias, neuron, RULE, dt=DT, name="current")
    plain = plain_layer(x, weights, bias, neuron, 1e-3, dt=DT, name="plain")
    return layer, plain, layer.lpl.synapses


def in_conductances(x: Any) -> tuple[Any, ...]:
    weights = np.where(np.arange(12) % 3 > 0, 0.5, -0.1).reshape(2, 6)
    given: tuple[Any, ...] = (
        x,
        weights,
        np.full(2, 0.1),
        ConductanceNeuron(),
        LPLSynapse(axonal_delay=1e-3, update_interval=0.1, eta=1e-4),
    )
    learns = conductance_layer(*given, dt=DT, inhibitory=InhibitoryPlasticity(kappa=10.0), name="learns")
    fixed = conductance_layer(*given, dt=DT, name="fixed")
    return learns, fixed, learns.lpl.synapses


def network(parts: Callable[[Any], tuple[Any, ...]]) -> tuple[Network, Any]:
    x = PoissonGroup(6, 60 * Hz, dt=DT * second, name="inputs")
    *made, synapses = parts(x)
    return Network(x, *made), synapses


@pytest.mark.parametrize(
    "parts", [by_rule, by_lpl, by_inhibition, in_currents, pytest.param(in_conductances, marks=pytest.mark.slow)]
)
def test_what_was_stored_goes_on_in_a_network_that_was_built_again(
    parts: Callable[[Any], tuple[Any, ...]], tmp_path: Path
) -> None:
    file = str(tmp_path / "state")
    seed(1)
    net, synapses = network(parts)  # it lives on while the other is built
    net.run(0.23 * second)  # amid a window
    net.store("here", file)
    net.restore("here", file, restore_random_state=True)
    net.run(0.2 * second)
    again, others = network(parts)
    again.restore("here", file, restore_random_state=True)
    again.run(0.2 * second)
    np.testing.assert_array_equal(others.w, synapses.w)
    assert float(np.ptp(synapses.w)) > 0
    for name, value in net.get_states().items():
        if isinstance(value, dict):
            for key, numbers in value.items():
                np.testing.assert_array_equal(again.get_states()[name][key], numbers, err_msg=f"{name}.{key}")


def test_without_a_name_everything_has_one_of_its_own() -> None:
    x, y = PoissonGroup(6, 60 * Hz, dt=DT * second), cells()
    given: dict[str, Any] = {"i": PRE, "j": POST, "w": 0.3, "potential": "v", "on_pre": "v_post += 0.1*w", "dt": DT}
    both = [attach_lpl(x, y, RULE, **given) for _ in range(2)]
    Network(x, y, *both).run(2 * ms)
    names = [part.name for projection in both for part in projection]
    assert len({*names}) == len(names)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"name: must be letters, digits and _, and may end in \*, got 'my name'"):
        attach_lpl(
            PoissonGroup(6, 60 * Hz, dt=DT * second), cells(), RULE,
            i=PRE, j=POST, w=0.3, potential="v", on_pre="v_post += w", dt=DT, name="my name",
        )  # fmt: skip
