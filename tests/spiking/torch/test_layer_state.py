"""A plastic layer's state is whole: saved, loaded, copied, pickled and reset in any order, it goes on all the same.

A layer and its twin get the same steps and resets. Between them the twin alone is taken through files and copies; it
must not differ in a single bit.
"""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spiking.parameters import LPLSynapse
from spiking.rule import ThreeFactorRule, lpl, super_spike
from spiking.torch.layers import PlasticConv2d, PlasticLinear, reset
from spiking.torch.online import PlasticLayer

DT = 1e-3
RULES: dict[str, Callable[[], ThreeFactorRule]] = {
    "lpl": lambda: lpl(LPLSynapse.current(axonal_delay=2e-3, update_interval=0.007, augment_gradient=True), DT),
    "short": lambda: lpl(LPLSynapse.current(axonal_delay=0.0, update_interval=0.002), DT),
    "super spike": lambda: super_spike(interval=0.005, axonal_delay=1e-3),
}
SHAPES = {"linear": ((3,), (2,)), "conv": ((1, 4, 4), (2, 2, 2))}


def made(kind: str, name: str, seed: int = 0) -> PlasticLayer:
    torch.manual_seed(seed)
    more: dict[str, Any] = {} if name == "super spike" else {"start": {"tr_mean": 6e3, "sigma2": 10.0}}
    if kind == "linear":
        return PlasticLinear(3, 2, RULES[name](), DT, **more)
    return PlasticConv2d(1, 2, 3, RULES[name](), DT, **more)


def step(layers: list[PlasticLayer], kind: str, batch: int, seed: int, learns: bool = True) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = SHAPES[kind]
    x = (torch.rand(batch, *inputs, generator=generator) < 0.4).float()
    spk = (torch.rand(batch, *outputs, generator=generator) < 0.3).float()
    mem = torch.randn(batch, *outputs, generator=generator)
    for layer in layers:
        layer(x)
        if learns:
            layer.learn(spk, mem, **dict.fromkeys(layer.rule.signal.inputs, 0.5))


def assert_same(one: PlasticLayer, other: PlasticLayer) -> None:
    mine, others = one.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        assert torch.equal(value, others[name]), name
    assert one.eta == other.eta


class Life(RuleBasedStateMachine):
    """What may happen to a layer, in any order."""

    @initialize(kind=st.sampled_from(sorted(SHAPES)), name=st.sampled_from(sorted(RULES)))
    def begin(self, kind: str, name: str) -> None:
        self.kind, self.name, self.batch, self.count = kind, name, 2, 0
        self.layer, self.twin = made(kind, name), made(kind, name)

    @rule(number=st.integers(1, 9), learns=st.booleans())
    def steps(self, number: int, learns: bool) -> None:
        for _ in range(number):
            self.count += 1
            step([self.layer, self.twin], self.kind, self.batch, self.count, learns)

    @rule(batch=st.integers(1, 3))
    def reset(self, batch: int) -> None:
        self.batch = batch
        for each in (self.layer, self.twin):
            each.reset()

    @rule(eta=st.sampled_from([0.0, 1e-3, 0.1]))
    def learn_at_another_rate(self, eta: float) -> None:
        self.layer.eta = self.twin.eta = eta

    @rule()
    def into_a_new_layer(self) -> None:
        loaded = made(self.kind, self.name, seed=1)
        loaded.load_state_dict(copy.deepcopy(self.twin.state_dict()))
        self.twin = loaded

    @rule(batch=st.integers(1, 4), number=st.integers(1, 12), learns=st.booleans())
    def into_one_that_has_run(self, batch: int, number: int, learns: bool) -> None:
        used = made(self.kind, self.name, seed=2)
        for count in range(number):
            step([used], self.kind, batch, 1000 + count, learns)
        used.load_state_dict(copy.deepcopy(self.twin.state_dict()))
        self.twin = used

    @rule()
    def through_a_file(self) -> None:
        file = io.BytesIO()
        torch.save(torch.nn.Sequential(self.twin), file)
        file.seek(0)
        (self.twin,) = torch.load(file, weights_only=False)

    @rule()
    def copied(self) -> None:
        self.twin = copy.deepcopy(self.twin)

    @rule()
    def pickled(self) -> None:
        self.twin = pickle.loads(pickle.dumps(self.twin))

    @rule(names=st.sets(st.sampled_from(["weight", "total", "postsynaptic.statistics"])))
    def its_own_parts_loaded(self, names: set[str]) -> None:
        state = self.twin.state_dict()
        self.twin.load_state_dict({name: state[name].clone() for name in names}, strict=False)

    @invariant()
    def nothing_differs(self) -> None:
        if hasattr(self, "twin"):
            assert_same(self.layer, self.twin)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=60, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)

EVERY = [(kind, name) for kind in SHAPES for name in RULES]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_state_without_its_samples_is_loaded_as_after_a_reset(kind: str, name: str) -> None:
    layer = made(kind, name)
    for count in range(4):
        step([layer], kind, 2, count)
    state = {key: value for key, value in layer.state_dict().items() if not key.endswith(("_record", "tr_err"))}
    for used in (False, True):
        other = made(kind, name, seed=1)
        if used:
            step([other], kind, 3, 99)
        other.load_state_dict(state, strict=False)
        step([other], kind, 3 if other.axon is None else 2, 5)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_weights_alone_change_nothing_else(kind: str, name: str) -> None:
    layer = made(kind, name)
    for count in range(4):
        step([layer], kind, 2, count)
    before = copy.deepcopy(layer.state_dict())
    layer.load_state_dict({"weight": torch.zeros_like(layer.weight)}, strict=False)
    after = layer.state_dict()
    assert not after["weight"].any()
    assert all(torch.equal(after[key], value) for key, value in before.items() if key != "weight")
    step([layer], kind, 2, 5)


def test_a_state_of_before_eta_was_in_it_is_read() -> None:
    layer, other = made("linear", "lpl"), made("linear", "lpl", seed=1)
    for count in range(4):
        step([layer], "linear", 2, count)
    state = layer.state_dict()
    state["_extra_state"] = state["_extra_state"][:5].long()
    other.eta = 0.25
    other.load_state_dict(state)
    assert other.eta == 0.25
    other.eta = layer.eta
    for count in range(4, 12):
        step([layer, other], "linear", 2, count)
    assert_same(layer, other)


def test_a_layer_goes_to_another_process() -> None:
    process = torch.multiprocessing.get_context("spawn").Process(target=reset, args=(made("linear", "lpl"),))
    process.start()
    process.join(120)
    assert process.exitcode == 0
