"""What a network is, and what is refused as it is declared: one line that says where."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, UsageError
from spiking.network import models, network, plasticity
from spiking.network.batch import Batch
from spiking.network.connectivity import AllToAll, FixedNumber, OneToOne, Pairs, Profile, Random, Uniform
from spiking.network.models import Drive, Jump, NeuronModel
from spiking.network.network import Network
from spiking.network.sources import PoissonInput, SpikeInput, ValueInput
from spiking.parameters import LPLSynapse
from spiking.rule import lpl
from spiking.stimuli import RateTrace
from spiking.synapses import Conv, Dense
from tests.spiking.network.zoo import ZOO

LPL = lpl(LPLSynapse(), 1e-4)


def made(**changes: Any) -> Network:
    """Two populations and two sources, and what `changes` connect."""
    net = Network(1e-3, seed=1)
    net.population("inputs", PoissonInput(30.0), 10)
    net.population("values", ValueInput(np.ones(4)), 4)
    net.population("cells", models.lif(), 4)
    net.population("others", models.exponential_current_lif(), 5)
    net.population("sums", models.integrator(), 4)
    if changes:
        net.connect(
            **{"source": "inputs", "target": "cells", "connectivity": AllToAll(), "receptor": "delta", **changes}
        )
    return net


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such population": ({"source": "input"}, "population 'input': is none of this network"),
    "to a source": ({"target": "values"}, "projection inputs -> values: its target is a source, which takes nothing"),
    "no receptor": (
        {"receptor": "ampa"},
        "projection inputs -> cells: there is no receptor 'ampa' in cells; it has drive, delta",
    ),
    "which receptor": ({"receptor": ""}, "projection inputs -> cells: say which receptor; it has drive, delta"),
    "not on the grid": (
        {"delay": 1.5e-3},
        "projection inputs -> cells: a delay of 0.0015 s is no multiple of dt = 0.001 s",
    ),
    "negative": ({"delay": -1e-3}, "projection inputs -> cells: delays must be finite and not negative"),
    "number of delays": ({"delay": [1e-3] * 3}, "projection inputs -> cells: 3 delays for 40 synapses"),
    "one to one": (
        {"connectivity": OneToOne()},
        "projection inputs -> cells: OneToOne: needs as many units on both sides, got 10 and 4",
    ),
    "size of a map": (
        {"connectivity": Dense(np.ones((4, 9)))},
        "projection inputs -> cells: Dense: takes 9 inputs, got 10",
    ),
    "where a map leads": (
        {"connectivity": Dense(np.ones((3, 10)))},
        "projection inputs -> cells: Dense: leads to (3,), not to (4,)",
    ),
    "index": (
        {"connectivity": Pairs([0, 10], [0, 1])},
        "projection inputs -> cells: Pairs.pre: must lie in 0..9, got 10",
    ),
    "too many inputs": (
        {"connectivity": FixedNumber(11)},
        "projection inputs -> cells: FixedNumber.inputs: 11 distinct inputs cannot be had from 10",
    ),
    "no spikes": ({"source": "sums"}, "projection sums -> cells: sums never spikes; say which variable it sends"),
    "no variable": ({"source": "cells", "sends": "u"}, "projection cells -> cells: cells has no variable 'u' to send"),
    "of a source": ({"sends": "v"}, "projection inputs -> cells: inputs has no variable 'v' to send"),
    "input of what": (
        {"receptor": "a -> b.target"},
        "projection inputs -> cells: 'a -> b' is no plastic projection to cells",
    ),
    "start of what": (
        {"start": {"w": 1.0}},
        "projection inputs -> cells: it is not plastic, so nothing of it starts anywhere",
    ),
    "start of nothing": (
        {"plasticity": plasticity.pair_stdp(), "start": {"z": 1.0}},
        "projection inputs -> cells: its rule has no variable 'z'",
    ),
    "shape of a start": (
        {"plasticity": plasticity.pair_stdp(), "start": {"y": [1.0, 2.0]}},
        "projection inputs -> cells: variable y must be one number or (4,), got shape (2,)",
    ),
    "times of a rule": (
        {"plasticity": plasticity.clopath(interval=1.5e-3)},
        "update.interval: must be a multiple of dt = 0.001 s, got 0.0015 s",
    ),
    "values cannot learn": (
        {"source": "values", "receptor": "drive", "plasticity": plasticity.pair_stdp()},
        "projection values -> cells: plasticity needs a source that spikes",
    ),
    "delays and a rule": (
        {"plasticity": plasticity.pair_stdp(), "delay": [0.0] * 40},
        "projection inputs -> cells: a plastic projection has one delay",
    ),
    "no potential": (
        {"target": "gate", "receptor": "x", "plasticity": plasticity.pair_stdp()},
        "projection inputs -> gate: the model of gate does not say which variable is its potential",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_one_line_that_names_the_projection(what: str) -> None:
    changes, message = REFUSED[what]
    net = made()
    net.population("gate", NeuronModel("gate", {"v": 0.0}, "v = x", receptors={"x": Drive()}), 2)
    before = str(net)
    with pytest.raises(UsageError, match=f"^{re.escape(message)}[^\n]*$"):
        net.connect(
            **{"source": "inputs", "target": "cells", "connectivity": AllToAll(), "receptor": "delta", **changes}
        )
    assert str(net) == before


POPULATIONS: dict[str, tuple[Callable[[Network], Any], str]] = {
    "twice": (lambda net: net.population("cells", models.lif(), 2), "population 'cells': exists"),
    "no name": (lambda net: net.population("a b", models.lif(), 2), "population 'a b': a name consists of letters"),
    "no unit": (lambda net: net.population("x", models.lif(), 0), "population x: its shape must be one whole number"),
    "parameter": (
        lambda net: net.population("x", models.lif(), 2, parameters={"taus": 1.0}),
        "population x: there is no parameter 'taus'; there are tau, r, v_leak, v_threshold, v_reset",
    ),
    "values": (
        lambda net: net.population("x", models.lif(), 2, start={"v": [1.0, 2.0, 3.0]}),
        "population x: variable v must be one number or (2,), got shape (3,)",
    ),
    "not finite": (
        lambda net: net.population("x", models.lif(), 2, start={"v": np.nan}),
        "population x: variable v must be finite",
    ),
    "rate": (
        lambda net: net.population("x", PoissonInput(2000.0), 2),
        "population x: PoissonInput.rate: 2000 Hz is more than one spike in a step of 0.001 s",
    ),
    "rates": (
        lambda net: net.population("x", PoissonInput([1.0, 2.0]), 3),
        "population x: PoissonInput.rate: must be one number or (3,), got shape (2,)",
    ),
    "traces": (
        lambda net: net.population("x", PoissonInput([RateTrace(np.array([1.0]))] * 2), 3),
        "population x: PoissonInput.rate: 2 traces do not share out 3 units",
    ),
    "spike ids": (
        lambda net: net.population("x", SpikeInput([0.1], [5]), 3),
        "population x: SpikeInput.ids: must lie in 0..2, got 5..5",
    ),
    "spike times": (
        lambda net: net.population("x", SpikeInput([0.0105], [0]), 3),
        "population x: SpikeInput.times: 0.0105 s is no multiple of dt = 0.001 s",
    ),
    "values of a source": (
        lambda net: net.population("x", ValueInput(np.ones(3)), 4),
        "population x: ValueInput.values: must end in (4,), got shape (3,)",
    ),
    "a source has none": (
        lambda net: net.population("x", PoissonInput(1.0), 4, start={"v": 1.0}),
        "population x: a source has no parameters and no variables",
    ),
    "refractoriness": (
        lambda net: net.population("x", models.lif(refractory=1.5e-3), 4),
        "population x: refractory: must be a multiple of dt = 0.001 s",
    ),
    "input": (
        lambda net: net.input("cells.reward", np.ones(4)),
        "input 'cells.reward': cells has no such input; it has none",
    ),
    "input of what": (
        lambda net: net.input("cell.reward", np.ones(4)),
        "input 'cell.reward': there is no population and no plastic projection 'cell'",
    ),
}


@pytest.mark.parametrize("what", POPULATIONS)
def test_what_does_not_fit_is_one_line_that_names_the_population(what: str) -> None:
    call, message = POPULATIONS[what]
    with pytest.raises(UsageError, match=f"^{re.escape(message)}[^\n]*$"):
        call(made())


MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "undeclared": ({"step": "v += x"}, "NeuronModel 'mine': step: unknown name 'x'; known are "),
    "call": ({"step": "v = print(v)"}, "NeuronModel 'mine': step: can call exp, log, "),
    "attribute": ({"step": "v = v.real"}, "NeuronModel 'mine': step: must not use Attribute: v = v.real"),
    "assigned": ({"step": "tau = 1"}, "NeuronModel 'mine': step: must not assign to tau"),
    "drive in a reset": ({"reset": "v = drive"}, "NeuronModel 'mine': reset: unknown name 'drive'"),
    "two meanings": ({"parameters": {"v": 1.0}}, "NeuronModel 'mine': 'v' has two meanings"),
    "no threshold": ({"threshold": ""}, "NeuronModel 'mine': has no threshold, so no reset and no refractoriness"),
    "jump": (
        {"receptors": {"j": Jump("g")}, "step": ""},
        "NeuronModel 'mine': receptor 'j' adds to 'g', which is no variable",
    ),
    "gain": (
        {"receptors": {"j": Jump("v", "v")}, "step": ""},
        "NeuronModel 'mine': receptor 'j': unknown name 'v'; known are dt, second, tau",
    ),
    "potential": ({"potential": "u"}, "NeuronModel 'mine': potential: 'u' is no variable"),
    "start": ({"variables": {"v": np.inf}}, "NeuronModel 'mine': variables: v must be a finite plain number"),
}


@pytest.mark.parametrize("what", MODELS)
def test_what_is_wrong_with_a_model_is_named(what: str) -> None:
    changes, message = MODELS[what]
    given: dict[str, Any] = {
        "variables": {"v": 0.0},
        "step": "v += dt/tau*(drive - v)",
        "threshold": "v > 1",
        "reset": "v = 0",
        "parameters": {"tau": 1e-2},
        "receptors": {"drive": Drive()},
    }
    with pytest.raises(UsageError, match=f"^{re.escape(message)}[^\n]*$"):
        NeuronModel("mine", **{**given, **changes})


def test_a_circle_of_drives_without_delay_is_refused_and_a_delay_opens_it() -> None:
    net = made(receptor="drive")
    net.connect("cells", "sums", OneToOne())
    circle = "^populations cells, sums: drive one another in the same step; give a projection a delay$"
    with pytest.raises(UsageError, match=circle):
        net.connect("sums", "cells", OneToOne(), receptor="drive", sends="v")
    net.connect("sums", "cells", OneToOne(), receptor="drive", sends="v", delay=1e-3)
    assert [p.name for p in net.order()].index("cells") < [p.name for p in net.order()].index("sums")
    net.connect("cells", "cells", OneToOne(), receptor="delta")  # a jump acts from the next step on anyway
    with pytest.raises(UsageError, match="drive one another"):  # and what was refused has not left its rule
        net.connect("cells", "cells", OneToOne(), receptor="drive", plasticity=plasticity.pair_stdp(), name="own")
    assert net.learners() == []


def test_more_synapses_than_memory_are_refused_before_any_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "free_memory", lambda: 10**9)
    net = Network(1e-3)
    one, other = (net.population(name, models.lif(), 100_000) for name in ("one", "other"))
    message = (
        "^projection one -> other: 1,000,000,000 synapses take 24.0 GB of memory, 1.0 GB are free: 41,666,666 would"
    )
    with pytest.raises(RatespikeError, match=message):
        net.connect(one, other, Random(0.1), receptor="delta")
    assert net.projections == {}


def test_convolutions_share_weights_and_do_not_learn() -> None:
    net = Network(1e-3)
    net.population("below", models.lif(), (1, 4, 4))
    net.population("above", models.lif(), (2, 3, 3))
    with pytest.raises(UsageError, match="synapses of a convolution share weights"):
        net.connect("below", "above", Conv(np.ones((2, 1, 2, 2))), receptor="delta", plasticity=plasticity.pair_stdp())


def test_a_network_shows_what_it_is() -> None:
    text = str(ZOO["two rules in one population"]())
    assert "network: dt 1 ms, seed 14" in text
    assert "  exc    20  Poisson input" in text
    assert "  inh -> cells  40 synapses to in_, 1 ms, SpikeTriggeredRule" in text
    assert "drive without" not in text
    assert re.search(r"a run takes about [\d.]+ kB$", text)


@pytest.mark.parametrize(
    "kind",
    [
        Random(0.3, Uniform(0, 1)),
        Random(0.5, itself=False),
        FixedNumber(4),
        FixedNumber(5, itself=False),
        Profile(3.0),
        AllToAll(itself=False),
    ],
)
def test_kinds_of_connectivity_keep_what_they_say(kind: Any) -> None:
    rng = np.random.default_rng(0)
    made = kind.make((12,), (12,), rng)
    assert np.array_equal(np.lexsort((made.post, made.pre)), np.arange(made.pre.size))
    assert len({*zip(made.pre.tolist(), made.post.tolist(), strict=True)}) == made.pre.size
    assert made.pre.size <= max(kind.count((12,), (12,)) * 2, 12)
    if not getattr(kind, "itself", True):
        assert not (made.pre == made.post).any()
    if isinstance(kind, FixedNumber):
        assert (np.bincount(made.post, minlength=12) == kind.inputs).all()


def test_the_same_seed_draws_the_same_and_names_draw_apart() -> None:
    def synapses(seed: int, name: str) -> Any:
        net = Network(1e-3, seed)
        net.population("a", models.lif(), 30)
        return net.connect("a", "a", Random(0.2, Uniform(0, 1)), receptor="delta", name=name).synapses

    one, again, other, named = synapses(1, "x"), synapses(1, "x"), synapses(2, "x"), synapses(1, "y")
    np.testing.assert_array_equal(one.weight, again.weight)
    assert not np.array_equal(one.pre, other.pre)
    assert not np.array_equal(one.pre, named.pre)


def test_spikes_are_given_in_any_order_and_sources_draw_apart() -> None:
    given = SpikeInput([0.02, 0.001, 0.02, 0.001, 0.02], [1, 2, 0, 0, 1])  # one of them twice
    events = given.fired(0, 30, 3, 1e-3, 0)
    assert list(zip(events.step.tolist(), events.source.tolist(), strict=True)) == [(1, 0), (1, 2), (20, 0), (20, 1)]
    assert given.fired(2, 10, 3, 1e-3, 0).source.size == 0
    net = Network(1e-3, seed=4)
    one, other = (net.population(name, PoissonInput(50.0), 10) for name in ("one", "other"))
    drawn = [PoissonInput(50.0).fired(0, 500, 10, 1e-3, net.seed_of(p)) for p in (one, other)]
    assert not np.array_equal(drawn[0].step, drawn[1].step)
    whole, part = (PoissonInput(50.0).fired(n, 25_000 - n, 10, 1e-3, 7) for n in (0, 9_990))
    kept = whole.step >= 9_990
    np.testing.assert_array_equal(part.step + 9_990, whole.step[kept])
    np.testing.assert_array_equal(part.source, whole.source[kept])


def test_a_batch_shares_structure_and_differs_in_numbers() -> None:
    def member(seed: int, tau: float = 20e-3, delay: float = 1e-3, **more: Any) -> Network:
        net = Network(1e-3, seed)
        net.population("inputs", PoissonInput(10.0 * (seed + 1)), 10)
        net.population("cells", models.lif(tau=tau), 3)
        rule = plasticity.pair_stdp(A_plus=0.01 * (seed + 1))
        net.connect("inputs", "cells", Random(0.5, 0.1 * seed), receptor="delta", delay=delay, plasticity=rule, **more)
        return net

    assert len(Batch([member(0), member(1, tau=10e-3)])) == 2
    with pytest.raises(
        UsageError, match=r"^batch: network 1 differs from the first in the delay of projection inputs -> cells"
    ):
        Batch([member(0), member(1, delay=2e-3)])
    with pytest.raises(
        UsageError, match=r"^batch: network 1 differs from the first in its projections: inputs -> cells, x"
    ):
        Batch([member(0), member(1, name="x")])
    other = member(1)
    other.population("more", models.lif(), 2)
    with pytest.raises(UsageError, match=r"^batch: network 2 differs from the first in its populations: more$"):
        Batch([member(0), member(1), other])
    changed = Network(1e-3)
    changed.population("inputs", PoissonInput(10.0), 10)
    changed.population("cells", models.cuba_lif(), 3)
    changed.connect("inputs", "cells", Random(0.5), receptor="delta", delay=1e-3, plasticity=plasticity.pair_stdp())
    with pytest.raises(UsageError, match=r"differs from the first in the model of population cells"):
        Batch([member(0), changed])
    with pytest.raises(UsageError, match=r"^batch: there is no network in it$"):
        Batch([])
