"""The rules at spikes against NEST 3.10's synapses (`conftest` says how to get it), with given spikes on both sides.

NEST's delay is dendritic: a postsynaptic spike reaches the synapse one delay later, and the presynaptic one at once.
Ours is axonal; here it is 0, and NEST's postsynaptic spikes come a delay earlier. NEST writes weights at presynaptic
spikes alone, when it makes up for the postsynaptic ones until then, those of the same step included; so weights are
compared at the end of every step of a presynaptic spike. Both leave out pairs of the same step.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from spiking.network import stepper
from spiking.network.connectivity import Pairs
from spiking.network.models import Drive, NeuronModel
from spiking.network.network import Network
from spiking.network.parts import Floats
from spiking.network.plasticity import Rule, clopath, pair_stdp, symmetric_inhibition, triplet_stdp
from spiking.network.sources import ValueInput
from spiking.parameters import InhibitoryPlasticity
from tests.spiking.network import given_pairs
from tests.spiking.network.conftest import Ask

DELAY = 1.0  # ms
DURATION = 3000.0  # ms


def trains(dt: float, seed: int = 3, *, coincident: bool) -> tuple[Floats, Floats]:
    """Steps of pre- and postsynaptic spikes, none of them the same, or many."""
    rng = np.random.default_rng(seed)
    grid = np.arange(round(5 / dt), round((DURATION - 10) / dt))
    pre, post = (np.sort(rng.choice(grid, n, replace=False)) for n in (90, 90))
    post = np.union1d(post, pre[::3]) if coincident else np.setdiff1d(post, pre)
    pre = np.append(pre[pre < post[-1]], grid[-1] + 2)  # at the end there is a presynaptic one
    return pre, post


def compare(
    ask_nest: Ask,
    rule: Rule,
    synapse: str,
    parameters: Mapping[str, float],
    target: Mapping[str, float],
    weight: float,
    dt: float,
    *,
    coincident: bool = False,
    reaches: float | None = None,
) -> Floats:
    """By how much our weights differ from NEST's at presynaptic spikes, in units of the range of the weights."""
    pre, post = trains(dt, coincident=coincident)
    assert (np.intersect1d(pre, post).size > 20) == coincident
    asked: dict[str, Any] = {"synapse": synapse, "parameters": dict(parameters), "target": dict(target)}
    asked |= {"weight": weight, "delay": DELAY, "dt": dt}
    (theirs,) = ask_nest("plasticity", {**asked, "pre": (pre * dt).tolist(), "post": (post * dt - DELAY).tolist()})
    np.testing.assert_allclose(theirs["pre"], pre * dt, atol=1e-9)
    np.testing.assert_allclose(theirs["post"], post * dt - DELAY, atol=1e-9)
    np.testing.assert_allclose(theirs["times"], pre * dt, atol=1e-9)
    s = dt * 1e-3
    net = given_pairs.network(rule, [pre * s], [post * s], dt=s, weight=weight)
    every = given_pairs.weights(net, (pre[-1] + 1) * s)[:, 0]
    assert theirs["weights"][-1] == theirs["end"]
    assert (every == reaches).any() == (reaches is not None)
    assert len({*theirs["weights"]}) > 15  # it does change
    expected = np.array(theirs["weights"])
    return np.asarray((every[pre] - expected) / np.ptp(expected))


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.25])
@pytest.mark.parametrize("mu", [0.0, 0.4, 1.0])
def test_pair_stdp(ask_nest: Ask, mu: float, dt: float) -> None:
    """Additive, power law, multiplicative."""
    rule = pair_stdp(tau_plus=15e-3, tau_minus=30e-3, A_plus=0.01, A_minus=0.0084, mu=mu, w_max=100.0)
    given = {"lambda": 0.01, "alpha": 0.84, "mu_plus": mu, "mu_minus": mu, "Wmax": 100.0, "tau_plus": 15.0}
    off = compare(ask_nest, rule, "stdp_synapse", given, {"tau_minus": 30.0}, 50.0, dt)
    assert np.abs(off).max() < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["low", "high"])
def test_pair_stdp_at_its_bounds(ask_nest: Ask, bound: str) -> None:
    alpha = {"low": 4.0, "high": 0.1}[bound]
    rule = pair_stdp(A_plus=0.05, A_minus=0.05 * alpha, w_max=10.0)
    given = {"lambda": 0.05, "alpha": alpha, "mu_plus": 0.0, "mu_minus": 0.0, "Wmax": 10.0, "tau_plus": 20.0}
    off = compare(ask_nest, rule, "stdp_synapse", given, {"tau_minus": 20.0}, 5.0, 1.0, reaches=[0.0, 10.0][alpha < 1])
    assert np.abs(off).max() < 1e-11


@pytest.mark.slow
def test_pairs_of_one_step_are_left_out(ask_nest: Ask) -> None:
    """By both. Where changes do not depend on the weight, the order in which the two spikes act does not matter.

    Where they do: the postsynaptic spike acts first there, and the presynaptic one here.
    """
    rule = pair_stdp(A_plus=0.01, A_minus=0.0084, w_max=100.0)
    given = {"lambda": 0.01, "alpha": 0.84, "mu_plus": 0.0, "mu_minus": 0.0, "Wmax": 100.0, "tau_plus": 20.0}
    off = compare(ask_nest, rule, "stdp_synapse", given, {"tau_minus": 20.0}, 50.0, 1.0, coincident=True)
    assert np.abs(off).max() < 1e-11
    soft = pair_stdp(A_plus=0.01, A_minus=0.0084, w_max=100.0, mu=1.0)
    given |= {"mu_plus": 1.0, "mu_minus": 1.0}
    off = compare(ask_nest, soft, "stdp_synapse", given, {"tau_minus": 20.0}, 50.0, 1.0, coincident=True)
    assert 1e-4 < np.abs(off).max() < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_nearest_pairs(ask_nest: Ask, dt: float) -> None:
    rule = pair_stdp(tau_plus=15e-3, tau_minus=30e-3, A_plus=0.01, A_minus=0.0084, w_max=100.0, nearest=True)
    given = {"lambda": 0.01, "alpha": 0.84, "mu_plus": 0.0, "mu_minus": 0.0, "Wmax": 100.0, "tau_plus": 15.0}
    off = compare(ask_nest, rule, "stdp_nn_symm_synapse", given, {"tau_minus": 30.0}, 50.0, dt)
    assert np.abs(off).max() < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.25])
@pytest.mark.parametrize("coincident", [False, True])
def test_triplet_stdp(ask_nest: Ask, coincident: bool, dt: float) -> None:
    rule = triplet_stdp(A2_plus=4e-3, A3_plus=6.2e-3, A2_minus=7e-3, A3_minus=2.3e-3, w_max=100.0)
    given = {"Aplus": 4e-3, "Aplus_triplet": 6.2e-3, "Aminus": 7e-3, "Aminus_triplet": 2.3e-3, "Wmax": 100.0}
    given |= {"tau_plus": 16.8, "tau_plus_triplet": 101.0}
    target = {"tau_minus": 33.7, "tau_minus_triplet": 125.0}
    off = compare(ask_nest, rule, "stdp_triplet_synapse", given, target, 5.0, dt, coincident=coincident)
    assert np.abs(off).max() < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("dt", [1.0, 0.25])
@pytest.mark.parametrize("coincident", [False, True])
def test_symmetric_inhibition(ask_nest: Ask, coincident: bool, dt: float) -> None:
    """Away from the bounds, which are one-sided here and two-sided there; alpha is 2 kappa tau."""
    rule = symmetric_inhibition(InhibitoryPlasticity(zeta=1e-3, kappa=10.0, tau=20e-3, w_max=1.0))
    given = {"eta": 1e-3, "alpha": 0.4, "Wmax": 1.0, "tau": 20.0}
    off = compare(
        ask_nest, rule, "vogels_sprekeler_synapse", given, {"tau_minus": 20.0}, 0.5, dt, coincident=coincident
    )
    assert np.abs(off).max() < 1e-11


CLAMPED = NeuronModel(
    "clamped",
    {"v": -70.6e-3},
    "v = clamp",
    receptors={"learned": Drive()},
    inputs=("clamp",),
    potential="v",
)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["depression", "potentiation"])
def test_clopath(ask_nest: Ask, part: str) -> None:
    """The rule on NEST's own potential: its neuron's is clamped on ours.

    The potential reaches NEST's synapse one delay later; its filtered potentials can be delayed further
    (delay_u_bars), by no less than the step by which ours lie behind. Ours are filtered by forward Euler and NEST's
    adaptively: weights come to NEST's in proportion to dt.
    """
    rng = np.random.default_rng(2)
    pre, kicks = (np.sort(rng.choice(np.arange(10.0, 480.0), n, replace=False)) for n in (40, 30))  # ms
    pre = np.append(pre, 490.0)
    A_ltd, A_ltp = (14e-5, 0.0) if part == "depression" else (0.0, 8e-5)
    steps = [0.1, 0.05, 0.025]
    asked: dict[str, Any] = {"pre": pre.tolist(), "kicks": kicks.tolist(), "kick": 20.0, "weight": 10.0}
    asked |= {"delay": DELAY, "synapse": {"Wmax": 100.0, "tau_x": 15.0}}
    answers = ask_nest(
        "clopath",
        *({**asked, "dt": dt, "parameters": {"delay_u_bars": dt, "A_LTD": A_ltd, "A_LTP": A_ltp}} for dt in steps),
    )
    off = []
    for dt, theirs in zip(steps, answers, strict=True):
        assert len(theirs["times"]) >= 3  # postsynaptic spikes
        number, s = round(490 / dt), dt * 1e-3
        v = np.concatenate([np.full(round(DELAY / dt), -70.6), theirs["V_m"]])[:number]
        net = Network(s)
        net.population("pre", given_pairs.spike_input([(np.rint(pre / dt) - 1) * s]), 1)
        net.population("post", CLAMPED, 1)
        net.connect(
            *("pre", "post", Pairs([0], [0], 10.0)),
            receptor="learned",
            plasticity=clopath(A_ltd=A_ltd, A_ltp=A_ltp, w_max=100.0, interval=s),
            start={"u_minus": -70.6e-3, "u_plus": -70.6e-3},
            name="learned",
        )
        net.input("post.clamp", ValueInput(v[:, None] * 1e-3, every=s))
        change = stepper.run(net, number).state["learned/w"][0] - 10.0
        assert (change > 0) == (part == "potentiation")
        off.append(abs(change / (theirs["end"] - 10.0) - 1))
    assert abs(change) > 0.05
    if part == "depression":
        assert max(off) < 3e-4
    else:
        assert (np.array(off) < 0.25 * np.array(steps)).all()
        assert off[2] < 0.35 * off[0]
