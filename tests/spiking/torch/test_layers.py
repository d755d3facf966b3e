"""Plastic layers against stepping every synapse, and what a user of snnTorch relies on."""

import copy
import doctest
import importlib.util
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn
from torch.nn import functional

from foundation.errors import RatespikeError, UsageError
from spiking.parameters import LPLSynapse
from spiking.rule import Cascade, PostsynapticSignal, ThreeFactorRule, WeightUpdate, lpl, super_spike
from spiking.torch import layers, postsynaptic
from spiking.torch.layers import PlasticConv2d, PlasticLinear, reset
from spiking.torch.online import PlasticLayer
from spiking.torch.plasticity import Coefficients, Eligibility, Presynaptic
from spiking.torch.postsynaptic import surrogate_derivative

DT = 1e-3
DOCS = Path(__file__).resolve().parents[3] / "docs"
LPL = LPLSynapse.current(
    lambda_=0.7, phi=1.3, eta=0.2, xi=0.05, delta=1e-2, tau_mean=0.3, tau_sigma2=0.2, update_interval=0.02,
    prediction_delay=6e-3, axonal_delay=2e-3,
)  # fmt: skip
# In an hour of steps eligibilities fade to nothing: several blocks in a window, and memories that end.
BRIEF: dict[str, Any] = {"tau_el_rise": 0.3e-3, "tau_el_decay": 1e-3}
RULES = {
    "as simulated": lpl(LPL, DT),
    "without axons": lpl(replace(LPL, axonal_delay=0.0), DT),
    "every step": lpl(replace(LPL, update_interval=DT, eta=0.02), DT),
    "as reported": lpl(replace(LPL, variant="as_reported", xi=1e-4, delta=0.3), DT),
    "augmented": lpl(replace(LPL, augment_gradient=True, tau_rms=0.05, eta=0.02, tau_w=1.0, w_min=-0.1, w_max=0.5), DT),
    "brief eligibilities, every step": lpl(replace(LPL, **BRIEF, update_interval=DT, eta=0.02), DT),
    "brief eligibilities, long window": lpl(replace(LPL, **BRIEF, update_interval=60e-3), DT),
    "SuperSpike": super_spike(eta=0.05, beta=20.0, theta=1.0, interval=0.02, tau_rms=None, axonal_delay=1e-3),
}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "strided": {"stride": (2, 1), "padding": 1},
    "dilated": {"dilation": (1, 2), "padding": (0, 2)},
    "grouped": {"groups": 2, "stride": 2},
}


class EverySynapse:
    """A rule for every synapse (B, units, inputs of a unit, positions), step by step, as its papers have it."""

    def __init__(self, layer: PlasticLayer) -> None:
        self.rule, self.k, self.weight = (
            layer.rule,
            Coefficients.of(layer.rule, DT),
            layer.weight.detach().double().clone(),
        )
        self.convolution = layer if isinstance(layer, PlasticConv2d) else None
        self.spikes: list[Tensor] = []
        self.mean = self.variance = torch.zeros(len(self.weight), 1, dtype=torch.float64)
        self.g2: Tensor | float = 0.0
        self.steps = 0
        self.lately: list[tuple[Tensor, Tensor]] = []

    def patches(self, x: Tensor) -> Tensor:
        """(B, units or 1, inputs of a unit, positions): what every synapse gets of inputs x."""
        c = self.convolution
        if c is None:
            return x[:, None, :, None]
        columns = functional.unfold(x, c.kernel_size, c.dilation, c.padding, c.stride)
        return columns.view(len(x), c.groups, -1, columns.shape[-1]).repeat_interleave(c.out_channels // c.groups, 1)

    def step(self, arrived: Tensor, spk: Tensor, mem: Tensor, target: Tensor | None) -> None:
        now, u = (
            spk.flatten(2) if spk.dim() > 2 else spk[..., None],
            mem.flatten(2) if mem.dim() > 2 else mem[..., None],
        )
        if not self.spikes:
            self.presynaptic = Presynaptic(torch.zeros_like(arrived), torch.zeros_like(arrived))
            self.filtered = torch.zeros_like(now), torch.zeros_like(now)
            zeros = torch.zeros_like(self.patches(arrived) * now[:, :, None])
            self.eligibility = Eligibility(zeros, zeros, zeros)
        self.spikes.append(now)
        constants, update = self.rule.constants, self.rule.one_term("").update
        factor = constants["beta"] / (1 + constants["beta"] * abs(u - constants["theta"])) ** 2
        self.lately.append((self.patches(self.presynaptic.psp), factor[:, :, None]))
        psp, f = self.lately[-1 - self.rule_steps.alignment] if len(self.lately) > self.rule_steps.alignment else (0, 0)
        coincidence = psp * f + torch.zeros_like(self.eligibility.el)
        self.eligibility = self.eligibility.step(coincidence, self.filtered[1][:, :, None], self.k)
        total = self.eligibility.total + self.rule.growth * self.patches(arrived)
        self.eligibility = self.eligibility._replace(total=total)
        error = self.lpl_error(now) if target is None else target[..., None] - now
        self.steps += 1
        if self.steps % self.rule_steps.interval == 0:
            gradient = total.sum(3).mean(0).view_as(self.weight) / self.rule_steps.interval
            self.eligibility = self.eligibility._replace(total=torch.zeros_like(total))
            if update.augment:
                decay = torch.exp(torch.tensor(-update.interval / update.tau_rms, dtype=torch.float64))
                self.g2 = torch.maximum(decay * self.g2, gradient**2)
                gradient = gradient / self.g2.sqrt()
            if update.tau_w is not None:
                rate = torch.tensor(-update.interval / update.tau_w, dtype=torch.float64)
                self.weight = self.weight * (1 - update.eta * (1 - rate.exp()))
            self.weight = self.weight + update.eta * gradient
            if update.w_min is not None:
                self.weight = self.weight.clamp(update.w_min, update.w_max)
        self.presynaptic = self.presynaptic.step(arrived, self.k)
        once, twice = self.filtered
        once = once + DT / self.rule.one_term("").filter.rise * (error - once)
        self.filtered = once, twice + DT / self.rule.one_term("").filter.decay * (once - twice)

    @property
    def rule_steps(self):
        return self.rule.steps(DT)

    def lpl_error(self, now: Tensor) -> Tensor:
        """lpl-spiking 2.6; mean and variance are those of all samples and positions."""
        c, p = self.rule.constants, self.rule.signal.parameters
        delays = self.rule_steps.delays
        delayed, old = (
            self.spikes[-1 - d] if len(self.spikes) > d else torch.zeros_like(now)
            for d in (delays["delayed"], delays["old"])
        )
        centred = delayed - DT / c["tau_mean"] * self.mean
        error = p["lambda_i"] * c["scale"] * centred / (self.variance + c["xi_0"]) + c["delta_err"]
        error = error - p["phi_i"] * (delayed - old)
        faded = [torch.exp(torch.tensor(-DT / c[tau], dtype=torch.float64)) for tau in ("tau_mean", "tau_sigma2")]
        self.variance = ((self.variance + c["scale"] * centred**2 / c["tau_sigma2"]) * faded[1]).mean((0, 2))[:, None]
        self.mean = ((self.mean + now) * faded[0]).mean((0, 2))[:, None]
        return error


def lively(layer: PlasticLayer, generator: torch.Generator, mean: float = 0.15) -> PlasticLayer:
    with torch.no_grad():
        w = torch.rand(layer.weight.shape, generator=generator, dtype=torch.float64) - 0.5
        layer.weight.copy_(0.4 * w + mean)
    return layer


def dense(rule: ThreeFactorRule, dtype: torch.dtype = torch.float64, **options: Any) -> PlasticLayer:
    return lively(PlasticLinear(6, 4, rule, DT, dtype=dtype, **options), torch.Generator().manual_seed(3))


def convolution(rule: ThreeFactorRule, dtype: torch.dtype = torch.float64, **options: Any) -> PlasticLayer:
    layer = PlasticConv2d(2, 4, (3, 2), rule, DT, dtype=dtype, **options)
    return lively(layer, torch.Generator().manual_seed(3), mean=0.1)


def spikes_in(layer: PlasticLayer, steps: int, batch: int = 3) -> Tensor:
    shape = (6,) if isinstance(layer, PlasticLinear) else (2, 6, 7)
    random = torch.rand(steps, batch, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return (random < 0.15).to(layer.weight)


def inputs_of(layer: PlasticLayer, like: Tensor, step: int) -> dict[str, Tensor]:
    return (
        {"target": (torch.arange(like.numel()).view_as(like) % 7 == step % 7).to(like)}
        if layer.rule.signal.inputs
        else {}
    )


def neurons(**options: Any) -> snn.Leaky:
    lif = snn.Leaky(beta=0.9, reset_delay=False, **options)
    snn.SpikingNeuron.instances.remove(lif)  # or snnTorch keeps it for ever
    return lif


def live(layer: PlasticLayer, x: Tensor, mem: Tensor | None = None, first: int = 0) -> Tensor:
    lif = neurons()
    mem = lif.reset_mem() if mem is None else mem
    for step, spikes in enumerate(x, first):
        spk, mem = lif(layer(spikes), mem)
        layer.learn(spk, mem, **inputs_of(layer, mem, step))
    return mem


def check_against_every_synapse(layer: PlasticLayer, steps: int, tolerance: float) -> None:
    every, lif, x = EverySynapse(layer), neurons(), spikes_in(layer, steps)
    initial, mem, total = every.weight, lif.reset_mem(), 0.0
    delay = layer.steps.axonal_delay
    for step in range(steps):
        arrived = x[step - delay] if step >= delay else torch.zeros_like(x[0])
        current = layer(x[step])
        torch.testing.assert_close(current, layer.current(arrived))
        spk, mem = lif(current, mem)
        inputs = inputs_of(layer, mem, step)
        layer.learn(spk, mem, **inputs)
        every.step(arrived.double(), spk.double(), mem.double(), inputs.get("target"))
        change = (every.weight - initial).abs().max()
        difference = (layer.weight - every.weight).abs().max()
        rounding = 4 * torch.finfo(layer.weight.dtype).eps * every.weight.abs().max()  # of the weights themselves
        assert difference <= tolerance * change + rounding, (step, difference, change)
        total += float(spk.sum())
    assert change > 1e-3  # there was something to compare
    assert 0.02 < total / (steps * mem.numel()) < 0.7


@pytest.mark.parametrize("rule", RULES)
def test_dense_weights_equal_those_of_stepping_every_synapse(rule):
    check_against_every_synapse(dense(RULES[rule]), 130, 1e-12)


@pytest.mark.parametrize("rule", ["as simulated", "as reported", "augmented", "every step"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolved_weights_equal_those_of_stepping_every_synapse(rule, geometry):
    check_against_every_synapse(convolution(RULES[rule], **GEOMETRIES[geometry]), 70, 1e-12)


@pytest.mark.parametrize(
    "rule", ["as simulated", "brief eligibilities, every step", "brief eligibilities, long window"]
)
@pytest.mark.parametrize("make", [dense, convolution])
def test_weights_in_float32(rule, make):
    check_against_every_synapse(make(RULES[rule], torch.float32), 130, 1e-4)


def test_memory_is_bounded_and_a_long_window_is_summed_in_parts():
    layer = dense(RULES["brief eligibilities, long window"])
    live(layer, spikes_in(layer, 1))
    assert layer.signal_record.shape == (48, 3, 4)  # of 60 steps; 12 steps later an eligibility is below 1e-17
    assert layer.psp_record.shape == (12 + 2 + 48, 3, 6)  # as long, and the alignment


# --- surrogates, declared code ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_surrogate_derivative_in_every_mode(mode, dtype):
    x = torch.linspace(-1, 1, 7, dtype=dtype)
    with mode():
        found = surrogate_derivative(surrogate.fast_sigmoid(slope=25), x)
        assert surrogate_derivative(surrogate.atan(), x).shape == x.shape
    assert found.dtype == dtype
    torch.testing.assert_close(found, 1 / (1 + 25 * x.abs()) ** 2)


def test_surrogate_takes_the_place_of_the_factor():
    # LPL's factor is beta/(1 + beta|u - theta|)^2: the surrogate of slope beta, times beta
    rule = RULES["as simulated"]
    weaker = replace(rule, update=replace(rule.update, eta=rule.update.eta * 20.0))
    mine, theirs = dense(rule), dense(weaker, spike_grad=surrogate.fast_sigmoid(slope=20.0), threshold=1.0)
    for layer in (mine, theirs):
        live(layer, spikes_in(layer, 60))
    torch.testing.assert_close(mine.weight, theirs.weight, rtol=1e-12, atol=0)


def test_a_rule_of_ones_own_with_state_per_sample_and_a_constant_factor():
    rule = ThreeFactorRule(
        presynaptic=Cascade(5e-3, 10e-3),
        factor="1",
        eligibility=Cascade(2e-3, 10e-3),
        signal=PostsynapticSignal(
            "reward*s_now - seen", Cascade(2e-3, 5e-3), traces="seen = 0.5*seen + s_now\nsteps = steps + 1",
            variables=("seen", "steps", "never"), statistics=("steps",), inputs=("reward",),
        ),
        update=WeightUpdate(0.1, 5e-3),
    )  # fmt: skip
    layer = PlasticLinear(2, 3, rule, DT, start={"seen": 0.25})
    for _ in range(2):
        layer(torch.ones(4, 2))
        layer.learn(torch.ones(4, 3), torch.zeros(4, 3), reward=0.5)
    assert layer.postsynaptic.statistics.tolist() == [[2.0] * 3]
    assert torch.all(layer.postsynaptic.variables[0] == 0.5 * (0.5 * 0.25 + 1) + 1)
    assert torch.all(layer.postsynaptic.variables[1] == 0)
    layer.reset()
    assert layer.postsynaptic.statistics.tolist() == [[2.0] * 3]  # neurons grow older, samples come and go


# --- conventions of torch ---------------------------------------------------------------------------------------------
def test_no_graph_is_kept():
    rule = RULES["without axons"]
    first, second, lif = nn.Linear(6, 6), PlasticLinear(6, 4, rule, DT), neurons()
    out = second(first(torch.ones(3, 6)))
    spk, mem = lif(out, lif.reset_mem())
    second.learn(spk, mem)
    assert not any(x.requires_grad for x in (out, spk, mem, *second.state_dict().values()))
    assert [p.requires_grad for p in second.parameters()] == [False]


@pytest.mark.parametrize("make", [dense, convolution])
def test_modes_do_not_matter(make):
    weights = []
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        layer = make(RULES["augmented"])
        x = spikes_in(layer, 50)
        with mode():
            mem = live(layer, x[:30])
        live(layer, x[30:], mem.clone(), 30)  # what was made in inference mode is of use outside
        weights.append(layer.weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("rule", ["augmented", "as reported", "SuperSpike"])
@pytest.mark.parametrize("make", [dense, convolution])
@pytest.mark.parametrize("at", [0, 1, 27, 40])
def test_a_checkpoint_goes_on_bit_for_bit(make, rule, at, tmp_path):
    if make is convolution and rule == "SuperSpike":
        rule = "without axons"
    layer, other = make(RULES[rule]), make(RULES[rule])
    x = spikes_in(layer, 70)
    mem = live(layer, x[:at]) if at else None
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    live(layer, x[at:], mem, at)
    live(other, x[:13, :2])  # another batch: its state must not shine through
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    live(other, x[at:], mem, at)
    assert layer.state_dict().keys() == other.state_dict().keys()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_copy_lives_its_own_life():
    layer = dense(RULES["as simulated"])
    mem = live(layer, spikes_in(layer, 25))
    twin, before = copy.deepcopy(layer), layer.weight.clone()
    live(twin, spikes_in(layer, 25), mem)
    assert torch.equal(layer.weight, before)
    assert not torch.equal(twin.weight, before)


def test_eval_mode_leaves_everything_as_it_is():
    layer = dense(RULES["without axons"])
    mem = live(layer, spikes_in(layer, 25))
    before = copy.deepcopy(layer.state_dict())
    layer.eval()
    live(layer, spikes_in(layer, 30), mem)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_reset_forgets_samples_but_not_what_was_learned():
    layer = dense(RULES["as simulated"])
    net = nn.Sequential(nn.ModuleList([layer]))
    live(layer, spikes_in(layer, 30))
    statistics, weight = layer.postsynaptic.statistics.clone(), layer.weight.clone()
    reset(net)
    assert {k for k in layer.state_dict() if "extra" not in k} == {"weight", "total", "postsynaptic.statistics"}
    assert torch.equal(layer.postsynaptic.statistics, statistics)
    assert torch.equal(layer.weight, weight)
    assert layer.total.abs().sum() > 0  # ten steps of the second window, summed
    live(layer, spikes_in(layer, 10, batch=8))  # another batch ends it
    assert not torch.equal(layer.weight, weight)
    assert not layer.total.any()


def test_batch_of_equal_samples_learns_as_one_sample():
    one, many = dense(RULES["as simulated"]), dense(RULES["as simulated"])
    x = spikes_in(one, 50, batch=1)
    live(one, x)
    live(many, x.expand(-1, 5, -1))
    torch.testing.assert_close(one.weight, many.weight, rtol=1e-12, atol=0)


def test_statistics_stay_in_double_precision():
    layer = dense(RULES["augmented"]).to(torch.float32)
    assert layer.total.dtype == torch.float32
    assert layer.g2 is not None
    assert layer.g2.dtype == layer.postsynaptic.statistics.dtype == torch.float64
    live(layer, spikes_in(layer, 30))
    assert layer.postsynaptic.statistics.dtype == torch.float64
    assert layer.psp is not None
    assert layer.psp.dtype == torch.float32


@pytest.mark.parametrize("make", [dense, convolution])
def test_devices(make, each_device):
    layer, there = make(RULES["augmented"]), make(RULES["augmented"])
    x = spikes_in(layer, 45)
    live(layer, x)
    mem = live(there, x[:15])
    there.to(each_device)  # in the middle of a window
    lif = neurons().to(each_device)
    mem = mem.to(each_device)
    for spikes in x[15:].to(each_device):
        spk, mem = lif(there(spikes), mem)
        there.learn(spk, mem)
    assert all(value.device.type == each_device for name, value in there.state_dict().items() if "extra" not in name)
    torch.testing.assert_close(there.weight.cpu(), layer.weight, rtol=1e-9, atol=1e-12)


# --- what is refused --------------------------------------------------------------------------------------------------
def after(layer: PlasticLayer, shape: tuple[int, ...], out: tuple[int, ...]) -> PlasticLayer:
    layer(torch.zeros(shape, dtype=layer.weight.dtype))
    layer.learn(torch.zeros(out), torch.zeros(out))
    return layer


LINEAR = lambda: after(dense(RULES["without axons"]), (32, 6), (32, 4))  # noqa: E731
CONV = lambda: after(convolution(RULES["as simulated"]), (5, 2, 6, 7), (5, 4, 4, 6))  # noqa: E731
REFUSED = {
    "batch": (LINEAR, lambda layer: layer(torch.zeros(16, 6)), "batch of 16 samples where there were 32; call reset()"),
    "batch, conv": (CONV, lambda layer: layer(torch.zeros(4, 2, 6, 7)), "batch of 4 samples where there were 5"),
    "image size": (CONV, lambda layer: layer(torch.zeros(5, 2, 6, 8)), "input of shape (5, 2, 6, 8) where it was"),
    "features": (LINEAR, lambda layer: layer(torch.zeros(32, 7)), "PlasticLinear(6, 4): input must have shape (batch,"),
    "one sample": (LINEAR, lambda layer: layer(torch.zeros(6)), "must have shape (batch, 6), got (6,)"),
    "no sample": (LINEAR, lambda layer: layer(torch.zeros(0, 6)), "got (0, 6)"),
    "channels": (CONV, lambda layer: layer(torch.zeros(5, 3, 6, 7)), "PlasticConv2d(2, 4): input must have"),
    "dims": (CONV, lambda layer: layer(torch.zeros(2, 6, 7)), "H >= 3, W >= 2), got (2, 6, 7)"),
    "small": (CONV, lambda layer: layer(torch.zeros(5, 2, 2, 7)), "H >= 3"),
    "no call": (LINEAR, lambda layer: layer.learn(torch.zeros(32, 4), torch.zeros(32, 4)), "call the layer on"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_by_name(what):
    make, call, message = REFUSED[what]
    layer = make()
    with pytest.raises(UsageError) as error:
        call(layer)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_learn_refuses_what_does_not_fit():
    layer = dense(RULES["SuperSpike"])
    x, ok = torch.zeros(3, 6), torch.zeros(3, 4)
    layer(x)
    for spk, mem, inputs, message in [
        (torch.zeros(3, 5), ok, {"target": ok}, "PlasticLinear(6, 4).learn: spk must have shape (3, 4), got (3, 5)"),
        (ok, torch.zeros(3), {"target": ok}, "mem must have shape (3, 4), got (3,)"),
        (ok, ok, {}, "input 'target' is missing"),
        (ok, ok, {"target": ok, "reward": 1.0}, "input 'reward' is not one of the rule's (target)"),
        (ok, ok, {"target": torch.zeros(3)}, "target must have shape (3, 4), got (3,)"),
    ]:
        with pytest.raises(UsageError) as error:
            layer.learn(spk, mem, **cast(dict[str, Tensor], inputs))
        assert message in str(error.value)
    broken = ok.clone()
    broken[1, 2] = torch.nan
    with pytest.raises(RatespikeError, match=r"PlasticLinear\(6, 4\).learn: mem of shape \(3, 4\) is not finite"):
        layer.learn(ok, broken, target=ok)
    layer.learn(ok, ok, target=torch.zeros(4))  # nothing of all that has left a trace
    with pytest.raises(UsageError, match="once in every step"):
        layer.learn(ok, ok, target=ok)


def test_an_update_that_is_not_finite_is_not_written():
    layer = dense(RULES["SuperSpike"])
    before = layer.weight.clone()
    silence, at_threshold = torch.zeros(3, 4), torch.ones(3, 4)
    for _ in range(layer.steps.interval):
        layer(torch.ones(3, 6))
        if layer.state_dict()["_extra_state"][1] == layer.steps.interval - 1:
            with pytest.raises(RatespikeError, match="the update is not finite"):
                layer.learn(silence, at_threshold, target=torch.inf)
        else:
            layer.learn(silence, at_threshold, target=torch.inf)
    assert torch.equal(layer.weight, before)


def test_construction_refuses_what_does_not_fit():
    with pytest.raises(UsageError, match=r"axonal_delay: must be a multiple of dt = 0.001 s, got 0.0008 s"):
        PlasticLinear(6, 4, lpl(LPLSynapse.current(), DT), DT)
    with pytest.raises(UsageError, match="start: the rule has no variable 'mean'; it has tr_mean, sigma2"):
        dense(RULES["as simulated"], start={"mean": 1.0})
    with pytest.raises(
        UsageError, match=r"PlasticConv2d\(2, 4\): padding must be one or two whole numbers, got 'same'"
    ):
        convolution(RULES["as simulated"], padding="same")
    with pytest.raises(UsageError, match="weights must be float32 or float64"):
        live(dense(RULES["as simulated"], torch.bfloat16), torch.zeros(2, 3, 6, dtype=torch.bfloat16))


@pytest.mark.parametrize("module", [layers, postsynaptic])
def test_doctests(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


# --- what the documentation shows -------------------------------------------------------------------------------------
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "snntorch-layers.md").read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(compile(code, "snntorch-layers.md", "exec"), scope)
    fresh, learned = scope["Net"](), scope["Net"]()
    learned.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(learned.fc1.weight, scope["net"].fc1.weight)
    assert learned.fc1.psp is not None
    assert fresh.fc1.psp is None


def example() -> Any:
    spec = importlib.util.spec_from_file_location("plastic_layers", DOCS / "examples" / "plastic_layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_the_example_runs(tmp_path, capsys):
    short = ["--images", "128", "--epochs", "1", "--shown", "0.1"]
    results = example().main([*short, "--out", str(tmp_path / "figure.png")])
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert list(results) == ["untrained", "LPL", "predictive off"]
    weights = [result.weights for result in results.values()]
    assert not any(torch.equal(weights[a], weights[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert all(math.isfinite(x) for result in results.values() for x in (*result.accuracy, *result.views))
    assert len(capsys.readouterr().out.splitlines()) == 7
    with pytest.raises(UsageError, match="--images: must be at least 64"):
        example().main(["--images", "63"])


@pytest.mark.slow
def test_the_example_shows_what_the_page_says(tmp_path):
    results = example().main(["--out", str(tmp_path / "figure.png")])
    assert results["LPL"].accuracy[1] > results["untrained"].accuracy[1] + 0.04
    assert results["LPL"].accuracy[1] > results["predictive off"].accuracy[1]
    assert all(results["LPL"].views[k] < results["untrained"].views[k] - 0.03 for k in range(2))
