"""Any declared rule at Brian2 synapses: every state of every step against a plain stepping, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brian2 import NeuronGroup, Synapses, TimedArray, prefs, second

from foundation.errors import UsageError
from spiking.brian.plasticity import attach_rule
from spiking.rule import Cascade, PostsynapticSignal, ThreeFactorRule, WeightUpdate, super_spike
from tests.spiking.brian.given import (
    assert_weights_moved,
    earlier,
    prescribed,
    run_and_compare,
    spike_source,
    step_by_step,
)

DT = 5e-4
STEPS, N_PRE, N_POST = 400, 5, 3
SILENT = np.zeros((4, N_POST))
ALL_TO_ALL: dict[str, Any] = dict(zip("ij", np.indices((N_PRE, N_POST)).reshape(2, -1), strict=True))
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "three-factor-rules.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def numpy_target():
    previous, prefs.codegen.target = prefs.codegen.target, "numpy"
    yield
    prefs.codegen.target = previous


def activity(seed):
    """Input and output spikes, (T, n_pre) and (T, n_post), and initial weights, (n_pre, n_post)."""
    rng = np.random.default_rng(seed)
    s_in, s_out = rng.random((STEPS, N_PRE)) < 0.1, rng.random((STEPS, N_POST)) < 0.05
    return rng, s_in, s_out, rng.uniform(-0.2, 0.3, (N_PRE, N_POST))


def attach(s_in, u, s_out, rule, w, **more):
    source, target = spike_source(s_in, DT), prescribed(u, s_out, DT)
    plastic = attach_rule(
        source, target, rule, **ALL_TO_ALL, w=w.ravel(), potential="u", on_pre="g_post += w", dt=DT, **more
    )
    return [source, target], plastic


# --- SuperSpike -------------------------------------------------------------------------------------------------------
def target_from_array(plastic, target):
    plastic.post.namespace["spikes"] = TimedArray(target * 1.0, dt=DT * second)
    plastic.post.run_regularly("target = spikes(t, i)", when="start", clock=plastic.post.clock)
    return []


def target_from_spikes(plastic, target):
    teacher = spike_source(target, DT)
    teach = Synapses(teacher, plastic.post, on_pre="target_post = 1", clock=plastic.post.clock)
    teach.connect(j="i")
    plastic.post.run_regularly("target = 0", when="end", clock=plastic.post.clock)
    return [teacher, teach]


@pytest.mark.parametrize("teach", [target_from_array, target_from_spikes])
@pytest.mark.parametrize("tau_rms", [None, 0.2])
def test_super_spike_equals_plain_stepping(teach, tau_rms):
    rng, s_in, s_out, w = activity(1)
    u, target = rng.normal(-0.055, 5e-3, s_out.shape), rng.random(s_out.shape) < 0.05
    eta = 1e-3 if tau_rms is None else 0.05
    rule = super_spike(eta=eta, interval=0.03, tau_rms=tau_rms, w_max=0.5, axonal_delay=1e-3)
    expected = step_by_step(
        earlier(s_in, 2), target * 1.0 - s_out, 1000 / (1 + 1000 * abs(u + 0.05)) ** 2, w, dt=DT, psi=(5e-3, 10e-3),
        epsilon=(5e-3, 10e-3), alpha=(5e-3, 10e-3), eta=eta, interval=0.03, bounds=(-np.inf, 0.5), tau_rms=tau_rms,
    )  # fmt: skip
    parts, plastic = attach(s_in, u, s_out, rule, w)
    run_and_compare([*parts, *teach(plastic, target)], plastic, expected, DT)
    assert_weights_moved(expected["w"], 0.02, windows=5)


# --- rules of one's own -----------------------------------------------------------------------------------------------
def own_rule(**changes):
    """With everything that a rule can have; its traces keep a value from before it changes."""
    signal = PostsynapticSignal(
        error="gain*reward*(s_late - dt/tau_mean*mean) - cost*int(var > 0.01)",
        filter=Cascade(2e-3, 9e-3),
        traces="old = mean; mean += s_now - dt/tau_mean*mean\nvar += dt/tau_var*((s_now - dt/tau_mean*old)**2 - var)",
        variables=("mean", "var"),
        statistics=("mean",),
        parameters={"gain": 1.5, "tau_var": 0.04},
        inputs=("reward",),
        delays={"late": 2.5e-3},
    )
    given: dict[str, Any] = {
        "presynaptic": Cascade(3e-3, 8e-3),
        "factor": "clip(slope*(u - theta), 0, 1)",
        "eligibility": Cascade(4e-3, 12e-3),
        "signal": signal,
        "update": WeightUpdate(0.5, 0.03, w_min=-0.3, tau_w=0.5),
        "constants": {"tau_mean": 0.3, "cost": 0.02, "slope": 0.8, "theta": -0.2},
        "axonal_delay": 1e-3,
    }
    return ThreeFactorRule(**{**given, **changes})


def own_signal(s_out, reward, gain, tau_var, mean, var):
    """Error, mean and var of every neuron in each step, (T, n_post)."""
    record: dict[str, list[np.ndarray]] = {"err": [], "mean": [], "var": []}
    for late, now, r in zip(earlier(s_out, 5), s_out, reward, strict=True):
        record["err"].append(gain * r * (late - DT / 0.3 * mean) - 0.02 * (var > 0.01))
        var = var + DT / tau_var * ((now - DT / 0.3 * mean) ** 2 - var)
        mean = mean + now - DT / 0.3 * mean
        record["mean"].append(mean)
        record["var"].append(var)
    return {name: np.array(values) for name, values in record.items()}


@pytest.mark.parametrize(
    ("alignment", "growth", "arrived"), [(0.0, 0.0, False), (DT, 1.0, False), (1.5e-3, 0.0, True), (0.0, 1.0, True)]
)
def test_a_rule_of_ones_own_equals_plain_stepping(alignment, growth, arrived):
    rng, s_in, s_out, w = activity(2)
    u, reward = rng.normal(0.3, 0.6, s_out.shape), rng.normal(0.5, 1.0, s_out.shape)
    gain, tau_var, mean = np.array([1.0, 0.5, 2.0]), np.array([0.02, 0.05, 0.1]), np.array([3.0, -1.0, 9.0])
    signal = own_signal(s_out, reward, gain, tau_var, mean, np.full(3, 0.02))
    assert 0.2 < np.mean(signal["var"] > 0.01) < 0.98
    expected = signal | step_by_step(
        earlier(s_in, 0 if arrived else 2), signal["err"], np.clip(0.8 * (u + 0.2), 0, 1), w, dt=DT,
        psi=(3e-3, 8e-3), epsilon=(4e-3, 12e-3), alpha=(2e-3, 9e-3), eta=0.5, interval=0.03, bounds=(-0.3, np.inf),
        alignment=alignment, growth=growth, tau_w=0.5,
    )  # fmt: skip
    rule, start = own_rule(alignment=alignment, growth=growth), {"mean": mean, "var": 0.02}
    parts, plastic = attach(s_in, u, s_out, rule, w, start=start, arrived=arrived)
    np.testing.assert_array_equal(plastic.post.gain, 1.5)
    np.testing.assert_array_equal(plastic.post.tau_var / second, 0.04)
    plastic.post.gain, plastic.post.tau_var = gain, tau_var * second
    plastic.post.namespace["rewards"] = TimedArray(reward, dt=DT * second)
    plastic.post.run_regularly("reward = rewards(t, i)", when="start", clock=plastic.post.clock)
    run_and_compare(parts, plastic, expected, DT)
    assert_weights_moved(expected["w"], 0.02, windows=5)


def test_a_rule_without_potential_and_without_traces():
    _, s_in, s_out, w = activity(3)
    signal = PostsynapticSignal("reward", Cascade(2e-3, 9e-3), inputs=("reward",))
    rule = own_rule(factor="1", signal=signal, constants={}, update=WeightUpdate(1e-2, 0.03), axonal_delay=0.0)
    expected = step_by_step(
        s_in, np.tile([1.0, -1.0, 0.5], (STEPS, 1)), np.ones(s_out.shape), w, dt=DT, psi=(3e-3, 8e-3),
        epsilon=(4e-3, 12e-3), alpha=(2e-3, 9e-3), eta=1e-2, interval=0.03,
    )  # fmt: skip
    parts, plastic = attach(s_in, np.zeros(s_out.shape), s_out, rule, w)
    plastic.post.reward = [1.0, -1.0, 0.5]  # stays as it is until it is set anew
    run_and_compare(parts, plastic, expected, DT)
    assert_weights_moved(expected["w"], 0.02, windows=5)


# --- what is refused --------------------------------------------------------------------------------------------------
def attach_declared(rule, target=None, **more):
    given: dict[str, Any] = {"i": [0], "j": [0], "w": 0.1, "potential": "u", "on_pre": "g_post += w", "dt": DT}
    target = prescribed(SILENT, SILENT, DT) if target is None else target
    return attach_rule(spike_source(np.ones((4, N_PRE)), DT), target, rule, **given, **more)


@pytest.mark.parametrize("name", ["t", "i", "N", "ms", "e", "log10", "unit", "err", "tr_err", "potential", "ring_size"])
def test_a_constant_or_local_variable_with_another_meaning_is_refused(name):
    taken = f"^rule: its name '{name}' has another meaning in Brian2 or in the code around it$"
    with pytest.raises(UsageError, match=taken):
        attach_declared(super_spike_like(constants={name: 1.0}))
    with pytest.raises(UsageError, match=taken):
        attach_declared(super_spike_like(traces=f"{name} = 2*s_now"))


@pytest.mark.parametrize("kind", ["inputs", "variables", "parameters"])
@pytest.mark.parametrize("name", ["t", "ms", "xi", "sigma_prime", "cell_now", "x_post", "unit", "ring_size"])
def test_a_variable_with_another_meaning_is_refused(kind, name):
    with pytest.raises(UsageError, match=rf"^rule: .*'{name}'.*$"):
        attach_declared(super_spike_like(**{kind: {name: 0.0} if kind == "parameters" else (name,)}))


def super_spike_like(constants=None, **changes):
    signal = PostsynapticSignal(**{"error": "s_now", "filter": Cascade(2e-3, 9e-3), **changes})
    return own_rule(factor="u", signal=signal, constants=constants or {})


@pytest.mark.parametrize("name", ["psp_d", "growth", "window"])
def test_a_variable_of_the_target_with_a_name_of_the_rule_is_refused(name):
    clash = NeuronGroup(1, f"u : 1\ng : 1\n{name} : 1", threshold="u > 1", reset="u = 0", dt=DT * second)
    with pytest.raises(UsageError, match=f"^target: its variable '{name}' bears a name of the rule; choose another$"):
        attach_declared(own_rule(), clash)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"var": 1.0, "men": 1.0}, "start: the rule has no variable 'men'; it has mean, var"),
        ({"gain": 1.0}, "start: the rule has no variable 'gain'; it has mean, var"),
        ({"mean": [1.0, 2.0]}, r"start: mean: must be one number or have shape \(3,\), got \(2,\)"),
        ({"mean": np.nan}, "start: mean: must be finite"),
    ],
)
def test_what_cannot_start_is_refused(start, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        attach_declared(own_rule(), start=start)


def test_the_rule_has_to_fit_dt_and_the_weights_the_rule():
    with pytest.raises(UsageError, match=r"^delays: late: must be a multiple of dt = 0\.0005 s, got 0\.0007 s$"):
        attach_declared(super_spike_like(delays={"late": 7e-4}))
    with pytest.raises(UsageError, match=r"^w: must lie in \[0\.2, inf\], got 0\.1\.\.0\.1$"):
        attach_declared(own_rule(update=WeightUpdate(1.0, 0.03, w_min=0.2)))


# --- the page ---------------------------------------------------------------------------------------------------------
def test_the_page_runs_as_it_stands(capsys):
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
    assert "attach_rule(" in code
    exec(compile(code, "three-factor-rules.md", "exec"), {})
    said = re.findall(r"# (0\.\d\d), (0\.\d\d)\n", code)
    printed = re.findall(r"(0\.\d\d) where inputs are rewarded, (0\.\d\d) elsewhere", capsys.readouterr().out)
    assert printed == said
    assert len(said) == 2  # Brian2, then snnTorch
    assert all(float(rewarded) > float(others) + 0.03 for rewarded, others in said)
