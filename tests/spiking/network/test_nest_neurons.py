"""The neuron models against NEST 3.10's (`conftest` says how to get it), with given spikes and a constant current.

What the two call the same, found by experiment and held here:

* NEST's time t is the end of step t/dt - 1 of ours: of spikes, of what its multimeter shows, and of given spikes.
* A delay is the same number of steps. What arrives acts from the next step on in both.
* NEST holds the potential for t_ref after a spike, Brian2 and we count from the start of the spike's step: t_ref + dt
  of ours is t_ref of NEST's.
* iaf_psc_exp, iaf_psc_alpha and izhikevich are integrated as ours are: the same spikes, and the same potentials but
  for rounding. iaf_cond_exp and aeif_cond_exp are integrated adaptively: ours come to NEST's in proportion to dt.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from spiking.network import models, stepper
from spiking.network.connectivity import Pairs
from spiking.network.models import NeuronModel
from spiking.network.network import Network
from spiking.network.parts import Floats
from spiking.network.sources import SpikeInput
from spiking.network.state import Recorded
from tests.spiking.network.conftest import Ask

DURATION = 300.0  # ms
DELAY = 2.0  # ms
RNG = np.random.default_rng(7)
EXCITATION, INHIBITION = (
    np.sort(RNG.choice(np.arange(2, 270), n, replace=False)).astype(float) for n in (60, 30)
)  # ms


def question(model: str, dt: float, parameters: Mapping[str, float], weights: tuple[float, float]) -> dict[str, Any]:
    record = {"izhikevich": ["V_m", "U_m"], "aeif_cond_exp": ["V_m", "w"]}.get(model, ["V_m"])
    inputs = [
        {"times": times.tolist(), "weight": w} for times, w in zip((EXCITATION, INHIBITION), weights, strict=True)
    ]
    return {
        "model": model,
        "parameters": dict(parameters),
        "dt": dt,
        "duration": DURATION + dt,
        "delay": DELAY,
        "inputs": inputs,
        "record": record,
    }


def ours(
    model: NeuronModel,
    dt: float,
    parameters: Mapping[str, float],
    receptors: tuple[str, str],
    weights: tuple[float, float],
) -> tuple[Floats, dict[str, Floats]]:
    """Times of spikes in ms as NEST says them, and all variables at the end of every step."""
    net = Network(dt * 1e-3)
    net.population("cell", model, 1, parameters=parameters)
    for name, times, receptor, w in zip(("e", "i"), (EXCITATION, INHIBITION), receptors, weights, strict=True):
        net.population(name, SpikeInput((times - dt) * 1e-3, np.zeros(times.size, np.int64)), 1)
        net.connect(name, "cell", Pairs([0], [0], w), receptor=receptor, delay=DELAY * 1e-3)
    record = [Recorded("cell", tuple(model.variables))]
    result = stepper.run(net, round(DURATION / dt), record=record)
    found = {name: result.recorded[f"cell/{name}"][:, 0, 0] for name in model.variables}
    return (result.spikes["cell"][:, 0] + 1) * dt, found


def until_the_end(theirs: dict[str, Any]) -> Floats:
    """NEST runs for one step more, so that its multimeter shows the last of ours."""
    times = np.array(theirs["times"])
    return times[times < DURATION + 1e-9]


def largest(theirs: list[float], mine: Floats) -> float:
    assert len(theirs) == mine.size > 100
    return float(np.abs(np.array(theirs) - mine).max())


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.1, 0.05])  # ms
@pytest.mark.parametrize("tau_ex", [3.0, 10.0])  # 10: that of the membrane
@pytest.mark.parametrize(("kind", "scale"), [("exp", 1.0), ("alpha", 0.5)])
def test_currents_are_the_same(ask_nest: Ask, kind: str, scale: float, tau_ex: float, dt: float) -> None:
    weights = (scale * 250.0, -scale * 200.0)
    given = {"I_e": 360.0, "tau_syn_ex": tau_ex, "tau_syn_in": 5.0, "t_ref": 2.0}
    (theirs,) = ask_nest("neuron", question(f"iaf_psc_{kind}", dt, given, weights))
    make = models.exponential_current_lif if kind == "exp" else models.alpha_current_lif
    model = make(refractory=(2.0 + dt) * 1e-3, tau_ex=tau_ex * 1e-3, tau_in=5e-3)
    receptors = ("ex", "in_")
    spikes, found = ours(model, dt, {"I_e": 360e-12}, receptors, (weights[0] * 1e-12, weights[1] * 1e-12))
    assert len(spikes) > 5
    np.testing.assert_allclose(spikes, until_the_end(theirs), rtol=0, atol=1e-9)
    assert largest(theirs["V_m"], 1e3 * found["V"]) < 1e-11  # mV
    without, _ = ours(model, dt, {"I_e": 360e-12}, receptors, (0.0, 0.0))
    assert spikes.size != without.size  # what arrives matters


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_spikes_of_neurons_travel_as_in_nest(ask_nest: Ask, dt: float) -> None:
    """Three neurons in a ring, with delays of one step and of several."""
    synapses = [(800.0, 1.0), (700.0, 2.0), (600.0, dt)]
    asked = {"model": "iaf_psc_exp", "parameters": {"I_e": 400.0}, "dt": dt, "duration": DURATION + dt}
    (theirs,) = ask_nest("ring", {**asked, "synapses": synapses})
    model = models.exponential_current_lif(refractory=(2.0 + dt) * 1e-3)
    net = Network(dt * 1e-3)
    for k in range(3):
        net.population(f"n{k}", model, 1, parameters={"I_e": 400e-12})
    for k, (w, delay) in enumerate(synapses):
        net.connect(f"n{k}", f"n{(k + 1) % 3}", Pairs([0], [0], w * 1e-12), receptor="ex", delay=delay * 1e-3)
    result = stepper.run(net, round(DURATION / dt), record=[Recorded("n2", ("V",))])
    spikes = (result.spikes["n2"][:, 0] + 1) * dt
    assert len(spikes) > 5
    np.testing.assert_allclose(spikes, until_the_end(theirs), rtol=0, atol=1e-9)
    assert largest(theirs["V_m"], 1e3 * result.recorded["n2/V"][:, 0, 0]) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.2, 0.1])
@pytest.mark.parametrize("cell", [(0.02, 0.2, -65.0, 8.0), (0.02, 0.2, -50.0, 2.0), (0.1, 0.2, -65.0, 2.0)])
def test_izhikevich_is_the_same(ask_nest: Ask, cell: tuple[float, float, float, float], dt: float) -> None:
    """Regular, chattering and fast spiking: the same spikes, and every step leads to the same state.

    Rounding grows on the way to a spike, so potentials are compared from step to step, each from NEST's. Unlike NEST,
    we look at the threshold before what arrives is added; no spike here comes from the sum alone.
    """
    a, b, c, d = cell
    given = {"a": a, "b": b, "c": c, "d": d, "V_m": c, "U_m": b * c, "I_e": 8.0}
    model = models.izhikevich(a=a, b=b, c=c, d=d)
    noisy, quiet = ask_nest("neuron", *(question("izhikevich", dt, given, w) for w in ((1.0, -1.0), (0.0, 0.0))))
    spikes, _ = ours(model, dt, {"I_e": 8.0}, ("delta", "delta"), (1.0, -1.0))
    assert len(spikes) > 5
    np.testing.assert_allclose(spikes, until_the_end(noisy), rtol=0, atol=1e-9)
    assert noisy["times"] != quiet["times"]
    v, u = np.array(quiet["V_m"]), np.array(quiet["U_m"])
    net = Network(dt * 1e-3)
    net.population("cell", model, v.size - 1, parameters={"I_e": 8.0}, start={"v": v[:-1], "u_rec": u[:-1]})
    after = stepper.run(net, 1).state
    np.testing.assert_allclose(after["cell/v"][0], v[1:], rtol=1e-13, atol=1e-11)
    np.testing.assert_allclose(after["cell/u_rec"][0], u[1:], rtol=1e-13, atol=1e-11)


# NEST's name: our model, parameters of both but I_e, and a bound for the k-th spike's error, in k dt
ADAPTIVE: dict[str, tuple[NeuronModel, dict[str, float], dict[str, float], float]] = {
    "iaf_cond_exp": (
        models.conductance_lif(tau={"ex": 2e-3, "in_": 5e-3}, reversal={"ex": 0.0, "in_": -85e-3}),
        {"tau_syn_ex": 2.0, "tau_syn_in": 5.0},
        {},
        1.0,
    ),
    "aeif_cond_exp": (
        models.adex(tau_ex=2e-3, tau_in=5e-3),
        {
            **{"tau_syn_ex": 2.0, "tau_syn_in": 5.0, "t_ref": 2.0, "gsl_error_tol": 1e-9},
            **{"V_peak": 20.0, "V_reset": -60.0, "E_in": -80.0},
        },
        {"V_reset": -60e-3},
        6.0,
    ),
}


def both(
    ask_nest: Ask, name: str, current: float, steps: list[float]
) -> Iterator[tuple[float, dict[str, Any], Floats, dict[str, Floats]]]:
    """The same in NEST and in our stepper, at several dt."""
    model, given, parameters, _ = ADAPTIVE[name]
    answers = ask_nest("neuron", *(question(name, dt, {**given, "I_e": current}, (3.0, -2.0)) for dt in steps))
    for dt, theirs in zip(steps, answers, strict=True):
        held = replace(model, refractory=(2.0 + dt) * 1e-3)
        given_here = {**parameters, "I_e": current * 1e-12}
        yield dt, theirs, *ours(held, dt, given_here, ("ex", "in_"), (3e-9, 2e-9))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "current", "number"), [("iaf_cond_exp", 500.0, 50), ("aeif_cond_exp", 1200.0, 17)])
def test_spikes_come_to_nests_as_dt_falls(ask_nest: Ask, name: str, current: float, number: int) -> None:
    """Each interval adds an error in proportion to dt, of both sides: that of spike k is below a bound times k dt."""
    mean = []
    for dt, theirs, spikes, _ in both(ask_nest, name, current, [0.1, 0.05, 0.02, 0.01]):
        assert len(spikes) == len(until_the_end(theirs)) == number
        off = np.abs(spikes - until_the_end(theirs))
        assert (off <= ADAPTIVE[name][3] * np.arange(1, number + 1) * dt + 1e-9).all(), dt
        mean.append(off.mean())
    assert mean[-1] < 0.4 * mean[0]
    assert mean[-1] < {"iaf_cond_exp": 0.05, "aeif_cond_exp": 0.4}[name]  # ms


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTIVE)
def test_potentials_come_to_nests_in_proportion_to_dt(ask_nest: Ask, name: str) -> None:
    """Below the threshold, where nothing but the integration differs."""
    off = []
    for _, theirs, spikes, found in both(ask_nest, name, 100.0, [0.2, 0.1, 0.05]):
        assert len(spikes) == len(until_the_end(theirs)) == 0
        off.append(largest(theirs["V_m"], 1e3 * found["V"]))
        assert np.ptp(found["V"]) > 2e-3
    assert off[-1] < 0.1  # mV
    for coarse, fine in pairwise(off):
        assert 1.7 < coarse / fine < 2.3
