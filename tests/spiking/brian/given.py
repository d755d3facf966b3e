"""Synapses whose activity is given: Brian2 sources and neurons for it, and a plain stepping of any three-factor rule.

The stepping is written from the equations in `spiking.rule` and shares no code with `spiking.brian`.
"""

from typing import Any

import numpy as np
from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, StateMonitor, TimedArray, second
from numpy.typing import NDArray

Floats = NDArray[Any]


def spike_source(spikes: Floats, dt: float) -> SpikeGeneratorGroup:
    """Inputs that spike as given, (T, n)."""
    steps, ids = np.nonzero(spikes)
    return SpikeGeneratorGroup(spikes.shape[1], ids, steps * dt * second, dt=dt * second)


def prescribed(potential: Floats, spikes: Floats, dt: float) -> NeuronGroup:
    """Neurons whose potential u (T, n) and spikes (T, n) are given."""
    arrays = {"u_t": TimedArray(potential, dt=dt * second), "s_t": TimedArray(spikes * 1.0, dt=dt * second)}
    group = NeuronGroup(
        spikes.shape[1], "u : 1\ng : 1", threshold="s_t(t, i) > 0", reset="", dt=dt * second, namespace=arrays
    )
    group.run_regularly("u = u_t(t, i)", when="groups", clock=group.clock)
    return group


def earlier(x: Floats, steps: int) -> Floats:
    """What x (T, n) was that many steps ago; 0 before the first."""
    return np.concatenate([np.zeros((steps, x.shape[1])), x[: len(x) - steps]])


def step_by_step(
    s_in: Floats,
    err: Floats,
    factor: Floats,
    w: Floats,
    *,
    dt: float,
    psi: tuple[float, float],
    epsilon: tuple[float, float],
    alpha: tuple[float, float],
    eta: float,
    interval: float,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    alignment: float = 0.0,
    growth: float = 0.0,
    tau_w: float = np.inf,
    tau_rms: float | None = None,
) -> dict[str, Floats]:
    """All states of error and synapses at the end of each step, flat.

    Spikes (T, n_pre) are those that arrive; error and factor are (T, n_post), w is (n_pre, n_post); times are in s, and
    filters (rise, decay).
    """
    window = round(interval / dt)
    psp, trpre = np.zeros((2, w.shape[0]))
    tr_err, tr_err_flt = np.zeros((2, w.shape[1]))
    el, el_flt, el_sum, dw_sum, g2 = np.zeros((5, *w.shape))
    psp_before = np.zeros((len(s_in), w.shape[0]))
    lag = round(alignment / dt)
    record: dict[str, list[Floats]] = {}
    for n in range(len(s_in)):
        el_sum = el_sum + growth * s_in[n][:, None]
        psp_before[n] = psp
        if n >= lag:
            el = el + np.outer(psp_before[n - lag], factor[n - lag])
        el_flt = el_flt + dt / epsilon[1] * (el - el_flt)
        el = el * np.exp(-dt / epsilon[0])
        el_sum = el_sum + el_flt * tr_err_flt
        if n % window == 0:
            gradient = el_sum / window
            dw_sum = dw_sum + gradient
            if tau_rms is not None:
                g2 = np.maximum(np.exp(-interval / tau_rms) * g2, gradient**2)
                gradient = gradient / (np.sqrt(g2) + 1e-32)
            w = np.clip(w - eta * w * (1 - np.exp(-interval / tau_w)) + eta * gradient, *bounds)
            el_sum = np.zeros_like(el_sum)
        psp = psp + dt / psi[1] * (trpre - psp)
        trpre = (trpre + s_in[n]) * np.exp(-dt / psi[0])
        tr_err = tr_err + dt / alpha[0] * (err[n] - tr_err)
        tr_err_flt = tr_err_flt + dt / alpha[1] * (tr_err - tr_err_flt)
        state = {"err": err[n], "tr_err": tr_err, "tr_err_flt": tr_err_flt, "sigma_prime": factor[n],
                 "el": el, "el_flt": el_flt, "el_sum": el_sum, "dw_sum": dw_sum, "w": w}  # fmt: skip
        for name, value in state.items():
            record.setdefault(name, []).append(value.ravel())
    return {name: np.array(values) for name, values in record.items()}


def run_and_compare(parts: list[Any], plastic: Any, expected: dict[str, Floats], dt: float) -> None:
    """Run the network of `parts` and `plastic`; every state of every step must be as expected, (T, n)."""
    monitors: dict[str, StateMonitor] = {}
    for group in (plastic.synapses, plastic.post):
        names = [name for name in expected if name in group.variables and name not in monitors]
        monitor = StateMonitor(group, names, record=True, when="end", dt=dt * second)
        monitors |= dict.fromkeys(names, monitor)
    assert monitors.keys() == expected.keys()
    steps = len(expected["w"])
    Network(*parts, plastic, set(monitors.values())).run(steps * dt * second, namespace={})
    for name, monitor in monitors.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(
            getattr(monitor, f"{name}_").T, expected[name], rtol=0, atol=1e-12 * scale, err_msg=name
        )


def assert_weights_moved(w: Floats, by: float, windows: int) -> None:
    """In so many windows, some weight of w (T, n) by at least that much."""
    assert np.count_nonzero(np.abs(np.diff(w, axis=0)).max(axis=1) > by) >= windows
