"""Networks in torch: every option against plain stepping, and a batch of different networks against each of them alone.

Both step loops, the compiled program and tensor operations.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import UsageError
from spiking.brian.network_simulator import BrianNetwork
from spiking.compilers import trouble
from spiking.paper.network import InputSpikes, NetworkConfig, Projection, Wiring, draw_wiring, segments
from spiking.parameters import ConductanceNeuron, InhibitoryPlasticity
from spiking.rule import Cascade, super_spike
from spiking.simulation import State
from spiking.torch import engines
from spiking.torch.batch import Batch, Member
from spiking.torch.network_simulator import TorchNetworks
from spiking.torch.stepping import TensorStepper
from tests.spiking.network_cases import (
    RATES,
    SMALL,
    VARIANTS,
    assert_same_spikes,
    differences,
    in_plain_numpy,
    start,
)
from tests.spiking.plain_network import PlainNetwork


@pytest.fixture(params=["compiled", "eager"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "compiled" and trouble():
        pytest.skip("no C++ compiler on this machine")
    return str(request.param)


@pytest.fixture(params=["cpu compiled", "cpu eager", "cuda eager", "cuda compiled"])
def where(request: pytest.FixtureRequest) -> dict[str, str]:
    """Device and engine."""
    device, engine = request.param.split()
    asked = request.config.getoption("--device")
    if asked not in (None, device):
        pytest.skip(f"asked for {asked}")
    if device == "cuda" and asked is None and not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    if request.param == "cpu compiled" and trouble():
        pytest.skip("no C++ compiler on this machine")
    return {"device": device, "engine": engine}


Outcome = tuple[dict[str, Any], State]


def in_torch(
    configs: Sequence[NetworkConfig],
    wirings: Sequence[Wiring],
    *,
    longest: float = 50.0,
    precision: str = "float64",
    **where: Any,
) -> list[Outcome]:
    """Spikes (step, unit) and the state at the end, of every network of a batch."""
    inputs = [InputSpikes(config, RATES) for config in configs]
    delay = configs[0].rule.steps(configs[0].dt).axonal_delay
    spikes: list[dict[str, list[Any]]] = [{"exc": [], "inh": []} for _ in configs]
    with TorchNetworks(configs, wirings, inputs[0].lines, precision=precision, **where) as networks:
        states = networks.start()
        for config, state in zip(configs, states, strict=True):
            for name in ("tr_mean", "sigma2"):
                state[f"ext.post/{name}"][:] = start(config, name)
        for piece in segments(configs[0], longest, 50.0):
            arrivals = [each.fired(piece.first - delay, piece.steps) for each in inputs]
            done = networks.advance(states, arrivals, piece.learning)
            states = [each.state for each in done]
            for each, found in zip(done, spikes, strict=True):
                for name, (step, unit) in each.spikes.items():
                    found[name].append(np.stack([step + piece.first, unit], 1))
    return [
        ({name: np.concatenate(parts) for name, parts in found.items()}, state)
        for found, state in zip(spikes, states, strict=True)
    ]


def alone(config: NetworkConfig, wiring: Wiring | None = None, **where: Any) -> Outcome:
    (found,) = in_torch([config], [draw_wiring(config, 16) if wiring is None else wiring], **where)
    return found


@cache
def plainly(config: NetworkConfig) -> tuple[dict[str, Any], State, list[Any], dict[str, int]]:
    """What plain stepping makes of a network; and how often inhibitory weights reached their bounds."""
    wiring = draw_wiring(config, 16)
    before, hits = wiring.ie.w, {"w_min": 0, "w_max": 0}

    def look(network: PlainNetwork) -> None:
        nonlocal before
        for name, bound in (("w_min", 0.0), ("w_max", 1.0)):
            hits[name] += int(np.count_nonzero((network.ie.w == bound) & (before != bound)))
        before = network.ie.w.copy()

    spikes, state, weights = in_plain_numpy(config, wiring, look)
    if config.inhibition == "none":  # it has no inhibitory neurons; ours are there, and silent
        state.pop("ie.post/x")
    return spikes, {name: value for name, value in state.items() if value.size}, weights, hits


@pytest.mark.slow
@pytest.mark.skipif(bool(trouble()), reason="no C++ compiler on this machine")
def test_what_a_gpu_compiles_is_right_when_a_cpu_compiles_it(monkeypatch):
    """The element-wise functions through torch.compile; CUDA graphs need a GPU ("cuda compiled")."""
    monkeypatch.setattr(engines, "TensorStepper", lambda batch, compiled: TensorStepper(batch, compiled=True))
    config = NetworkConfig(**{**SMALL, **VARIANTS["recurrence"]})
    spikes, state = alone(config, engine="eager")
    expected, plain, _, _ = plainly(config)
    assert_same_spikes(spikes, expected)
    assert differences(state, plain, 1e-9) == {}


def without_maxima(state: State) -> State:
    """Of squared gradients, which batches work out only if one of their networks needs them."""
    return {name: value for name, value in state.items() if not name.endswith("/g2")}


@cache
def every_variant(device: str) -> dict[str, Outcome]:
    """All variants in tensor operations, those that last equally long in one batch."""
    configs = {name: NetworkConfig(**{**SMALL, **changes}) for name, changes in VARIANTS.items()}
    found: dict[str, Outcome] = {}
    for name, config in configs.items():
        if name in found:
            continue
        alike = {
            other: c
            for other, c in configs.items()
            if (c.dt, c.priming, c.duration) == (config.dt, config.priming, config.duration)
        }
        wirings = [draw_wiring(c, 16) for c in alike.values()]
        outcomes = in_torch([*alike.values()], wirings, device=device, engine="eager")
        found |= dict(zip(alike, outcomes, strict=True))
    return found


# --- against plain stepping -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_equals_plain_stepping(name, where):
    config = NetworkConfig(**{**SMALL, **VARIANTS[name]})
    spikes, state = alone(config, **where) if where["engine"] == "compiled" else every_variant(where["device"])[name]
    expected, plain, weights, _ = plainly(config)
    if not config.augment_gradient:
        state = without_maxima(state)
    if config.inhibition == "none":
        assert not spikes["inh"].size
        np.testing.assert_array_equal(state["inh/U"], -70e-3)
    assert_same_spikes({group: events for group, events in spikes.items() if events.size}, expected)
    assert differences(state, plain, 1e-9) == {}
    changes = [np.abs(new - old).max() for old, new in pairwise(weights)]
    assert np.count_nonzero(np.array(changes) > 2e-3) >= 2
    assert ("ee/w" in state) == config.recurrence
    assert ("ie/w" in state) == (config.inhibition != "none")
    assert all(np.ptp(state[name]) > 0.03 for name in ("ext/w", "ee/w") if name in state)


def test_traces_in_float32_are_those_of_the_published_program(engine):
    """The mean to the last bit. What feeds the variance is rounded more often there, and may differ in the last."""
    config = NetworkConfig(
        **{**SMALL, "dt": 4e-4, "tau_mean": 600.0, "tau_sigma2": 30.0, "duration": 0.8}, float32_traces=True
    )
    (spikes, state), (expected, plain, *_) = alone(config, engine=engine), plainly(config)
    assert len(spikes["exc"]) > 100
    np.testing.assert_array_equal(spikes["exc"], expected["exc"])
    np.testing.assert_array_equal(state["ext.post/tr_mean"], plain["ext.post/tr_mean"])
    assert differences(state, plain, 1e-6) == {}
    if engine == "compiled":
        _, exact = alone(replace(config, float32_traces=False), engine=engine)
        assert {"ext.post/tr_mean", "ext.post/sigma2"} <= differences(exact, plain, 1e-5).keys()


@pytest.mark.parametrize("absent", [{"p_ie": 0.0}, {"p_ii": 0.0}, {"sigma_ei": 1e-9, "inh": 1}, {"zeta": 0.0}])
def test_a_projection_without_synapses_does_no_harm(absent, engine):
    config = NetworkConfig(**{**SMALL, "duration": 0.56, **absent})
    (spikes, state), (expected, plain, *_) = alone(config, engine=engine), plainly(config)
    np.testing.assert_array_equal(spikes["exc"], expected["exc"])
    np.testing.assert_array_equal(spikes["inh"], expected["inh"])
    assert len(spikes["exc"]) > 100
    assert differences(state, plain, 1e-9) == {}


def test_inputs_and_neurons_without_synapses(engine):
    config = NetworkConfig(**{**SMALL, "p_ext": 0.15, "w_ext": 1.0, "recurrence": True})
    wiring = draw_wiring(config, 16)
    assert np.setdiff1d(np.arange(16), wiring.ext.pre).size
    assert np.setdiff1d(np.arange(12), wiring.ext.post).size
    (spikes, state), (expected, plain, *_) = alone(config, engine=engine), plainly(config)
    np.testing.assert_array_equal(spikes["exc"], expected["exc"])
    assert len(spikes["exc"]) > 50
    assert differences(state, plain, 1e-9) == {}


# Inhibition that hits both bounds all the time, in blocks of 8 steps.
BOUNDS = NetworkConfig(**{**SMALL, "exc": 20, "inh": 10, "p_ext": 0.6, "w_ext": 0.9, "w_ei": 1.5, "dt": 1e-4,
                          "duration": 0.55, "zeta": 0.6, "eta": 0.1, "kappa": 30.0})  # fmt: skip


def orders_in_a_block(spikes: dict[str, Any], config: NetworkConfig) -> dict[str, int]:
    """How often an inhibitory spike that arrives and a spike of its target fall into one block, by their order.

    Blocks begin with every stretch: with step 0, and with steps 1, 5001, ...
    """
    steps, wiring = config.rule.steps(config.dt), draw_wiring(config, 16)
    found = {"target first": 0, "arrival first": 0, "in one step": 0}
    arrivals, targets = spikes["inh"] + [steps.axonal_delay, 0], spikes["exc"]
    connected = set(zip(wiring.ie.pre.tolist(), wiring.ie.post.tolist(), strict=True))

    def block(step: int) -> tuple[int, int]:
        stretch, place = divmod(step - 1, steps.update_interval)
        return stretch, place // steps.axonal_delay

    for a, j in arrivals.tolist():
        for p, i in targets[np.abs(targets[:, 0] - a) < steps.axonal_delay].tolist():
            if (j, i) in connected and block(a) == block(p):
                found["target first" if p < a else "arrival first" if a < p else "in one step"] += 1
    return found


@pytest.mark.parametrize(
    "changes", [{}, {"recurrence": True}, {"w_ie": 1.0}], ids=["plain", "recurrent", "from the bound"]
)
def test_inhibition_at_both_bounds(engine, changes):
    """Where an order of operations that is wrong shows; weights may begin at a bound."""
    config = replace(BOUNDS, **changes)
    expected, plain, _, hits = plainly(config)
    assert min(hits.values()) > 100
    assert min(orders_in_a_block(expected, config).values()) > 5
    spikes, state = alone(config, engine=engine)
    assert_same_spikes(spikes, expected)
    assert differences(state, plain, 1e-9) == {}


def test_in_pieces_it_is_the_same_as_in_one_go(engine):
    config = NetworkConfig(**{**SMALL, **VARIANTS["recurrence"], "augment_gradient": True, "duration": 1.16})
    (spikes, state), (expected, whole) = (alone(config, longest=most, engine=engine) for most in (0.5, 50.0))
    assert_same_spikes(spikes, expected)
    assert differences(state, whole, 1e-9) == {}
    assert state.keys() == whole.keys()


def test_the_two_step_loops_have_the_same_states():
    """All that is handed on, also what plain stepping does not have: what is aligned, and what is remembered."""
    if trouble():
        pytest.skip("no C++ compiler on this machine")
    one, other = alone(NetworkConfig(**{**SMALL, **VARIANTS["recurrence"]}))[1], every_variant("cpu")["recurrence"][1]
    assert one.keys() == other.keys()
    assert {"ext.pre/arrived", "ee.pre/psp_aligned", "spikes_past", "ext.post/factor_past"} <= one.keys()
    assert {name: value.dtype for name, value in one.items()} == {name: value.dtype for name, value in other.items()}
    assert differences(one, other, 1e-9) == {}
    assert one["spikes_past"].any()


# --- batches ----------------------------------------------------------------------------------------------------------
MIXED: list[dict[str, Any]] = [
    {"dt": 4e-4},
    {"seed": 1},
    {"phi": 0.0, "inhibition": "fixed"},
    {"lambda_": 0.0, "tau_weights": 2.0},
    {"inhibition": "none", "w_ext": 0.3},
    {"recurrence": True, "w_ext": 0.3, "eta": 0.1},
    {"augment_gradient": True, "eta": 0.03},
    {"variant": "as_reported", "eta": 3.0},
    {"variant": "as_reported", "recurrence": True, "augment_gradient": True, "eta": 0.03, "tau_weights": 5.0},
    {"tau_mean": 0.3, "tau_sigma2": 0.7, "zeta": 0.2, "kappa": 20.0},
    {"p_ie": 0.0, "p_ext": 0.4, "w_ii": 0.1},
]


def members(changes: Sequence[dict[str, Any]], **common: Any) -> list[NetworkConfig]:
    every = {**SMALL, "dt": 4e-4, "priming": 0.5, **common}
    return [NetworkConfig(**{**every, "seed": k, **own}) for k, own in enumerate(changes)]


def test_a_batch_of_all_conditions_equals_each_network_alone(engine):
    """To the last bit in the compiled program."""
    changes = MIXED if engine == "compiled" else [{**own, "dt": 8e-4} for own in MIXED[2:9]]
    configs = members(changes, **{"duration": 2.5} if engine == "compiled" else {"duration": 0.6, "priming": 0.0})
    wirings = [draw_wiring(config, 16) for config in configs]
    together = in_torch(configs, wirings, engine=engine)
    for config, wiring, (spikes, state) in zip(configs, wirings, together, strict=True):
        expected, single = alone(config, wiring, engine=engine)
        if not config.augment_gradient:
            state, single = without_maxima(state), without_maxima(single)
        assert len(spikes["exc"]) > 40
        np.testing.assert_array_equal(spikes["exc"], expected["exc"])
        np.testing.assert_array_equal(spikes["inh"], expected["inh"])
        assert state.keys() == single.keys()
        if engine == "compiled":
            for name, value in single.items():
                np.testing.assert_array_equal(state[name], value, err_msg=name)
        assert differences(state, single, 1e-9) == {}


def test_the_order_of_a_batch_does_not_matter(engine):
    configs = members(MIXED, duration=0.6, priming=0.0)
    wirings = [draw_wiring(config, 16) for config in configs]
    forward = in_torch(configs, wirings, engine=engine)
    backward = in_torch(configs[::-1], wirings[::-1], engine=engine)[::-1]
    for (spikes, state), (expected, other) in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(spikes["exc"], expected["exc"])
        assert differences(state, other, 1e-9) == {}


def test_float32_agrees_with_float64_in_rates_and_weights():
    """Spike by spike they part after some seconds; 24 networks together tell a bias from chance."""
    if trouble():
        pytest.skip("no C++ compiler on this machine")
    configs = members([{}] * 24, dt=4e-4, duration=4.0)
    wirings = [draw_wiring(config, 16) for config in configs]
    single, double = (
        in_torch(configs, wirings, precision=precision, engine="compiled") for precision in ("float32", "float64")
    )
    assert {value.dtype for _, state in single for value in state.values()} == {
        np.dtype(kind) for kind in ("float32", "float64", "uint8")
    }
    for name, bar in (("exc", 0.005), ("inh", 0.01)):
        counts = np.array([[len(spikes[name]) for spikes, _ in found] for found in (single, double)])
        assert counts[1].min() > 300
        assert np.abs(counts[0].sum() / counts[1].sum() - 1) < bar
    for name in ("ext/w", "ie/w"):
        ours, exact = (np.array([state[name].mean() for _, state in found]) for found in (single, double))
        assert np.abs(exact - 0.5).mean() > 0.02  # they have changed
        assert np.abs(ours.mean() - exact.mean()) < 2e-3
        assert np.abs(ours - exact).max() < 0.1


def test_float32_follows_float64_at_first(where):
    """As long as no spike has moved: states agree as far as float32 goes."""
    config = NetworkConfig(**{**SMALL, "dt": 4e-4, "duration": 0.6})
    (spikes, state), (expected, exact) = (alone(config, precision=p, **where) for p in ("float32", "float64"))
    assert len(spikes["exc"]) > 80
    np.testing.assert_array_equal(spikes["exc"], expected["exc"])
    np.testing.assert_array_equal(spikes["inh"], expected["inh"])
    assert differences(state, exact, 1e-3) == {}
    assert differences(state, exact, 1e-12) != {}


# --- what does not fit together ---------------------------------------------------------------------------------------
def refused(configs: Sequence[NetworkConfig], message: str) -> None:
    wirings = [draw_wiring(config, 16) for config in configs]
    with pytest.raises(UsageError, match=message) as error:
        TorchNetworks(configs, wirings, 16, precision="float64", engine="eager")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 8e-4}, "dt: must be the same in all networks of a batch"),
        ({"exc": 13}, "number of neurons and inputs: must be the same in all .* differ in network 2"),
        ({"inh": 5}, "number of neurons and inputs: must be the same in all .* differ in network 2"),
        ({"float32_traces": True}, "code of the rule: must be the same in all .* differ in network 2"),
    ],
)
def test_networks_that_do_not_fit_together(changes, message):
    refused(members([{}, {}, changes]), message)


def member(rule: Any = None, **changes: Any) -> Member:
    config = members([{}])[0]
    made = Member.of(config, draw_wiring(config, 16), 16)
    return replace(made, rule=made.rule if rule is None else rule, **changes)


def test_rules_that_do_not_fit_together():
    """Which names what differs; anything that is not a number."""
    rule, dt = member().rule, 4e-4
    different = {
        "delays and interval of the rule": replace(rule, update=replace(rule.one_term("").update, interval=0.2)),
        "filters of the rule": replace(rule, presynaptic=Cascade(6e-3, 20e-3)),
        "filter of the signal": replace(rule, signal=replace(rule.signal, filter=Cascade(5e-3, 20e-3))),
        "variables of the rule": replace(rule, signal=replace(rule.signal, statistics=())),
    }
    for what, other in different.items():
        with pytest.raises(UsageError, match=f"^{what}: must be the same in all networks of a batch.*in network 1"):
            Batch([member(), member(other)], ConductanceNeuron(), dt)
    inhibitory = member().inhibitory
    assert inhibitory is not None
    with pytest.raises(UsageError, match=r"^tau of inhibitory plasticity: must be the same.*in network 1"):
        Batch([member(), member(inhibitory=replace(inhibitory, tau=30e-3))], ConductanceNeuron(), dt)
    with pytest.raises(UsageError, match=r"^networks: there is none"):
        Batch([], ConductanceNeuron(), dt)


def test_without_inhibition_there_is_none_whatever_the_wiring_says(engine):
    config = NetworkConfig(**{**SMALL, "inhibition": "none", "w_ext": 0.3, "duration": 0.56})
    connected = draw_wiring(replace(config, inhibition="plastic"), 16)
    assert connected.ie.pre.size > 10
    none = Projection.none()
    (spikes, state), (expected, other) = (
        alone(config, wiring, engine=engine) for wiring in (connected, replace(connected, ei=none, ie=none, ii=none))
    )
    assert len(expected["exc"]) > 100
    np.testing.assert_array_equal(spikes["exc"], expected["exc"])
    assert not spikes["inh"].size
    assert differences(state, other, 0.0) == {}


def test_a_wiring_that_dense_matrices_cannot_hold():
    config = members([{}])[0]
    wiring = draw_wiring(config, 16)
    twice = np.r_[0, np.arange(wiring.ie.pre.size)]
    double = replace(wiring, ie=Projection(wiring.ie.pre[twice], wiring.ie.post[twice], wiring.ie.w[twice]))
    with pytest.raises(UsageError, match=r"wiring\.ie: network 1 has two synapses between the same neurons"):
        TorchNetworks([config] * 2, [wiring, double], 16, engine="eager")
    above = InhibitoryPlasticity(w_min=0.1)
    with pytest.raises(UsageError, match=r"w_min: of inhibitory weights must not be above 0, got 0\.1"):
        Batch([member(inhibitory=above)], ConductanceNeuron(), 4e-4)


def test_what_a_network_cannot_have():
    rule, dt = member().rule, 4e-4
    with pytest.raises(UsageError, match="axonal_delay: must be at least one step in a recurrent network"):
        Batch([member(replace(rule, axonal_delay=0.0))], ConductanceNeuron(), dt)
    with pytest.raises(UsageError, match=r"axonal_delay: must not exceed the 3.2 ms for which a neuron is silent"):
        Batch([member(replace(rule, axonal_delay=4e-3))], ConductanceNeuron(), dt)
    with pytest.raises(UsageError, match="rule: its signal needs target, which a network does not have"):
        Batch([member(super_spike())], ConductanceNeuron(), dt)


def test_a_neuron_is_silent_for_as_long_as_the_batch_says():
    """Whatever drives it: the threshold lies above the largest potential."""
    batch = Batch([member()], ConductanceNeuron(), 1e-4)
    assert batch.silent == 34  # 5 ms ln(100 mV / 50 mV) = 3.47 ms


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "float16"}, "precision: must be one of float32, float64, got 'float16'"),
        ({"engine": "magic"}, "engine: must be one of auto, compiled, eager, got 'magic'"),
        ({"threads": 0}, "threads: must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_exist(changes, message):
    configs = members([{}])
    with pytest.raises(UsageError, match=message):
        TorchNetworks(configs, [draw_wiring(configs[0], 16)], 16, **changes)


@pytest.mark.parametrize("engine", ["eager", "brian2"])
def test_pieces_do_not_begin_within_a_window(engine):
    """Weights are written at steps counted from the start of a piece: other pieces would learn something else."""
    config = NetworkConfig(**SMALL)
    wiring, interval = draw_wiring(config, 16), config.rule.steps(config.dt).update_interval
    inputs = InputSpikes(config, RATES)
    if engine == "eager":
        networks = TorchNetworks([config], [wiring], 16, engine=engine)

        def advance(state: State, steps: int) -> State:
            return networks.advance([state], [inputs.fired(0, steps)], True)[0].state

        (start,) = networks.start()
    else:
        network = BrianNetwork(config, wiring, 16, "numpy")

        def advance(state: State, steps: int) -> State:
            return network.advance(state, inputs.fired(0, steps), True).state

        start = network.start()
    advance(advance(start, interval), 7)
    within = advance(start, 7)
    with pytest.raises(
        UsageError, match=f"^arrivals: go on within a window; pieces must be multiples of {interval} steps$"
    ):
        advance(within, interval)
