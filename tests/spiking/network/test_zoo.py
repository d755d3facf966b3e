"""Every network of the zoo on every backend, against the numpy stepper: spikes, states, weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import brian2 as b2
import numpy as np
import pytest

from foundation.errors import UsageError
from spiking.brian import declared
from spiking.brian.declared_program import DeclaredProgram
from spiking.brian.standalone import no_standalone
from spiking.network import models, plasticity, stepper
from spiking.network.connectivity import AllToAll, OneToOne, Random
from spiking.network.models import Drive, Jump, NeuronModel
from spiking.network.network import Network
from spiking.network.parts import State
from spiking.network.plasticity import SpikeTriggeredRule
from spiking.network.sources import PoissonInput, ValueInput
from spiking.network.state import Recorded, Result
from spiking.rule import IntervalCode
from spiking.simulate import joined
from tests.spiking.network.zoo import ZOO, balanced

Backend = Callable[..., Result]


def in_brian(network: Network, steps: int, state: State | None = None, **more: Any) -> Result:
    return declared.run(network, steps, state, codegen="numpy", **more)


@pytest.fixture(params=["brian2"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return {"brian2": in_brian}[request.param]


def assert_same(ours: Result, expected: Result, tolerance: float = 1e-12) -> None:
    """All spikes, and every variable as far as its largest value goes."""
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(ours.spikes[name], spikes, err_msg=name)
    assert ours.state.keys() == expected.state.keys()
    for name, value in expected.state.items():
        scale = np.abs(value).max(initial=0) or 1.0
        np.testing.assert_allclose(ours.state[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("name", ZOO)
def test_a_network_is_the_same_on_every_backend(name: str, backend: Backend) -> None:
    net = ZOO[name]()
    expected = stepper.run(net, steps := 2000)
    spiking = [each for p, each in expected.spikes.items() if net.populations[p].neuron]
    assert all(len(each) > 5 for each in spiking)
    for projection in net.projections.values():
        if projection.rule:
            moved = np.abs(expected.state[f"{projection.name}/w"] - projection.synapses.weight).max()
            assert moved > 1e-4, f"{projection.name} hardly learned"
    assert_same(backend(net, steps), expected)


@pytest.mark.parametrize("name", ZOO)
def test_a_run_can_be_cut_anywhere_to_the_same_bits(name: str) -> None:
    """By the stepper: it says what the state is."""
    net = ZOO[name]()
    whole = stepper.run(net, 300)
    first = stepper.run(net, 113)
    second = stepper.run(net, 187, first.state)
    for key, value in whole.state.items():
        np.testing.assert_array_equal(second.state[key], value, err_msg=key)
    for key, spikes in whole.spikes.items():
        np.testing.assert_array_equal(np.concatenate([first.spikes[key], second.spikes[key]]), spikes)


@pytest.mark.parametrize(
    "name",
    [
        "delays of synapses and of neurons",
        "a cycle of neurons and integrators",
        "two rules in one population",
        "reward modulated stdp",
        "stdp with code at intervals",
    ],
)
def test_a_backend_goes_on_from_any_state_to_the_same_bits(name: str, backend: Backend) -> None:
    net = ZOO[name]()
    whole = backend(net, 300).state
    cut = backend(net, 187, backend(net, 113).state).state
    for key, value in whole.items():
        np.testing.assert_array_equal(cut[key], value, err_msg=key)


@pytest.mark.skipif(bool(no_standalone()), reason="no C++ compiler on this machine")
@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_a_compiled_program_is_called_for_every_piece(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces that are no multiple of the interval between weight updates, with what is recorded.

    Brian2's own flags let the compiler reorder arithmetic (-ffast-math); one network then differs by 1.4e-12.
    """
    exact = ["-w", "-O2", "-ffp-contract=off", "-std=c++11"]
    monkeypatch.setitem(b2.prefs, "codegen.cpp.extra_compile_args_gcc", exact)
    net = ZOO[name]()
    learns = [p.name for p in net.projections.values() if p.rule]
    record = [Recorded(each, ("w",), every=7) for each in learns[:1]]
    expected = stepper.run(net, 2000, record=record)
    state, parts = None, []
    with DeclaredProgram(net, record) as program:
        for steps in (1, 37, 962, 1000):
            parts.append(program.run(steps, state))
            state = parts[-1].state
    assert_same(joined(parts), expected)
    for key, values in expected.recorded.items():
        np.testing.assert_allclose(joined(parts).recorded[key], values, rtol=0, atol=1e-12 * np.abs(values).max())


def test_weights_that_are_frozen_stay_and_all_else_goes_on(backend: Backend) -> None:
    net = ZOO["two rules in one population"]()
    names = [p.name for p in net.projections.values() if p.rule]
    done, expected = (each(net, 400, frozen=names) for each in (backend, stepper.run))
    assert_same(done, expected)
    for name in names:
        np.testing.assert_array_equal(done.state[f"{name}/w"], net.projections[name].synapses.weight)
    assert done.state["exc -> cells/el0_rise"].size if "exc -> cells/el0_rise" in done.state else True
    assert np.abs(done.state["cells.rule0/tr_err"]).max() > 0


def test_code_at_intervals_leaves_frozen_weights_alone(backend: Backend) -> None:
    """Scaling does not ask for a learning rate; what else the code keeps goes on."""
    net = ZOO["stdp with code at intervals"]()
    (projection,) = net.projections.values()
    done, expected = (each(net, 100, frozen=[projection.name]) for each in (backend, stepper.run))
    assert_same(done, expected)
    np.testing.assert_array_equal(done.state[f"{projection.name}/w"], projection.synapses.weight)
    assert (done.state[f"{projection.name}/age"] == 5).all()


def test_any_variable_can_be_recorded(backend: Backend) -> None:
    net = ZOO["two rules in one population"]()
    record = (
        Recorded("cells", ("v", "g")),
        Recorded("exc -> cells", ("w", "el1"), every=30, index=(0, 5, 79)),
        Recorded("cells.rule0", ("err", "factor1", "mean"), every=2, index=(1,)),
    )
    ours, expected = (each(net, 200, record=record) for each in (backend, stepper.run))
    assert ours.recorded["cells/v"].shape == (200, 1, 4)
    assert ours.recorded["exc -> cells/w"].shape == (7, 3)
    assert ours.recorded["exc -> cells/el1"].shape == (7, 1, 3)
    assert ours.recorded["cells.rule0/err"].shape == (100, 1, 1)
    assert np.ptp(ours.recorded["cells.rule0/err"]) > 0.1
    for name, values in expected.recorded.items():
        np.testing.assert_allclose(ours.recorded[name], values, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("conductances", [False, True])
def test_the_balanced_network_at_full_size(conductances: bool, backend: Backend) -> None:
    net = balanced(conductances, number=800)
    expected = stepper.run(net, 2000)
    assert len(expected.spikes["exc"]) > 1000
    assert_same(backend(net, 2000), expected, 1e-10)


def test_plastic_projections_may_be_empty(backend: Backend) -> None:
    net = Network(1e-3, seed=16)
    net.population("inputs", PoissonInput(50.0), 10)
    net.population("cells", models.lif(), 3)
    for k, p in enumerate((0.0, 0.6)):
        for rule in (plasticity.pair_stdp(), plasticity.bcm(interval=0.05)):
            kind = Random(p, 0.3)
            net.connect("inputs", "cells", kind, receptor="delta", plasticity=rule, name=f"{type(rule).__name__}{k}")
    assert_same(backend(net, 200), stepper.run(net, 200))


def test_variables_may_have_any_name(backend: Backend) -> None:
    """Those that mean something to Brian2, or to what is built around declared code."""
    names = ("t", "i", "N", "ms", "xi", "s_now", "eta", "w_sum", "nil", "shift")
    model = NeuronModel(
        "named",
        {name: 0.1 * k for k, name in enumerate(names)},
        "\n".join(f"{name} += dt*(drive + 1)" for name in names),
        "t > 0.3",
        "t = 0",
        receptors={"drive": Drive()},
        potential="t",
    )
    rule = SpikeTriggeredRule(
        on_pre="w += 0.01*f0 + j",
        on_post="w -= 0.01*N",
        pre="N += s",
        post="f0 += s_now",
        pre_variables=("N",),
        post_variables=("f0",),
        variables={"j": 0.001},
        at_intervals=IntervalCode("eta_ += 1\nw *= 0.9", 0.05, variables={"eta_": 0.0, "lastupdate": 0.0}),
    )
    net = Network(1e-3, seed=17)
    net.population("inputs", PoissonInput(50.0), 10)
    net.population("named", model, 3)
    net.connect("inputs", "named", AllToAll(0.1), plasticity=rule)
    assert_same(backend(net, 400), stepper.run(net, 400))


def pair_of(model: NeuronModel, source: Any = None, size: int = 2) -> Network:
    net = Network(1e-3, seed=18)
    net.population("a", source or ValueInput(np.ones(size)), size)
    net.population("b", model, size)
    return net


TAKES = NeuronModel(
    "takes",
    {"v": 0.0, "c": 0.0},
    "v += d",
    "v > 10",
    "v = 0",
    receptors={"d": Drive(), "jump": Jump("v"), "most": Drive("max")},
    potential="v",
    refractory=2e-3,
    end="c += active",
)


def test_what_brian_cannot_do_is_refused_in_one_line() -> None:
    net = pair_of(TAKES)
    net.connect("a", "b", OneToOne(0.5), receptor="jump")
    with pytest.raises(UsageError, match="takes values that are sent to a drive, nothing else"):
        in_brian(net, 5)
    net = pair_of(TAKES, PoissonInput(50.0))
    net.population("c", TAKES, 2)
    net.connect("b", "c", OneToOne(0.5), receptor="most", plasticity=plasticity.pair_stdp())
    with pytest.raises(UsageError, match="synapses that do not learn"):
        in_brian(net, 5)


def test_a_signal_reaches_the_rule_that_it_was_sent_to(backend: Backend) -> None:
    """And no other rule of that population that has an input of the same name; active at the end, after a reset."""
    net = pair_of(TAKES, PoissonInput(300.0))
    net.population("out", models.integrator(), 2)
    for name, gamma in (("x", 0.3), ("y", 0.6)):
        rule = plasticity.e_prop(gamma=gamma, interval=0.01)
        net.connect("a", "b", AllToAll(0.7), receptor="d", plasticity=rule, name=name)
    net.connect("b", "out", OneToOne(1.0))
    net.connect("out", "b", OneToOne(1.0), receptor="x.learning_signal", sends="v")
    expected = stepper.run(net, 60)
    assert_same(backend(net, 60), expected)
    assert len(expected.spikes["b"]) > 3
    np.testing.assert_array_equal(expected.state["y/w"], net.projections["y"].synapses.weight)


def test_sums_of_weights_are_those_of_the_step(backend: Backend) -> None:
    """Behind a bare spike's term, and behind code of every step; from the first step of a piece on."""
    scaling = IntervalCode("w = w*3/clip(w_sum, 0.1, 1e9)", 0.01)
    for rule in (
        replace(plasticity.clopath(interval=0.01), update=scaling),
        SpikeTriggeredRule(step="w *= 0.9", at_intervals=scaling),
    ):
        net = pair_of(models.lif(), PoissonInput(100.0), 5)
        net.connect("a", "b", AllToAll(0.2), receptor="delta", plasticity=rule)
        assert_same(backend(net, 25), stepper.run(net, 25))


def test_nothing_is_recorded_twice(backend: Backend) -> None:
    net = ZOO["pair stdp"]()
    with pytest.raises(UsageError, match=r"^record: cells/v stands there twice$"):
        backend(net, 5, record=[Recorded("cells", ("v",)), Recorded("cells", ("v",), every=2)])
