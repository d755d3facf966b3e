"""Why rate and spiking updates part at low firing rates: a spike meets its own surrogate derivative.

A plain-numpy stepping of the spiking rule, apart from Brian2, in which the error of one realisation can be paired with
the eligibility of another: the same stimulus, other spikes. What the two levels then regain was lost to coincidence.
"""

import numpy as np
import pytest
import torch

from bridge.comparison import Statistics, cosine
from bridge.config import ComparisonConfig
from bridge.lowering import array
from foundation.data.images import load_images
from ratenets.evaluation.readout import codes
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.rule import online_update
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import train_lpl
from ratenets.run_config import RunConfig
from ratenets.sequences.augmentation import image_sequence

Floats = np.ndarray


def spiking_updates(frames: Floats, weights: Floats, bias: Floats, config: ComparisonConfig, *, copies: int):
    """Mean predictive update with a neuron's own error and with that of another realisation, each (M, N)."""
    rng = np.random.default_rng(0)
    rule, neuron = config.rule(), config.neuron
    dt, lag = config.dt, round(config.frame / config.dt)
    units, inputs = weights.shape
    trace, psp, current = (np.zeros((copies, inputs)) for _ in range(3))
    u, rising, error = rng.random((copies, units)), np.zeros((copies, units)), np.zeros((copies, units))
    el, el_flt, own, other = (np.zeros((copies, units, inputs)) for _ in range(4))
    spikes = np.zeros((len(frames) * lag, copies, units))
    decay, gain = np.exp(-dt / neuron.tau_syn), -np.expm1(-dt / neuron.tau_syn) / (neuron.r_max * dt)
    for step in range(len(spikes)):
        arriving = rng.random((copies, inputs)) < frames[step // lag] * neuron.r_max * dt
        current = current * decay + arriving * gain
        u += dt / neuron.tau_mem * (current @ weights.T + bias)
        spikes[step] = u >= 1
        u -= spikes[step]
        el += psp[:, None, :] * (rule.beta / (1 + rule.beta * abs(u - 1)) ** 2)[:, :, None]
        el_flt += dt / rule.tau_el_decay * (el - el_flt)
        el *= np.exp(-dt / rule.tau_el_rise)
        own += el_flt * error[:, :, None]
        other += el_flt * np.roll(error, 1, axis=0)[:, :, None]
        psp += dt / rule.tau_mem * (trace - psp)
        trace = (trace + arriving) * np.exp(-dt / rule.tau_syn)
        now = (spikes[step - lag] if step >= lag else 0.0) - spikes[step]
        rising += dt / rule.tau_err_rise * (now - rising)
        error += dt / rule.tau_err_decay * (rising - error)
    return own.mean(0), other.mean(0)


@pytest.mark.slow
def test_at_low_rates_agreement_is_lost_to_a_spike_meeting_its_own_eligibility():
    images = load_images("digits")
    run = LPLConfig(learning_rate=2e-3, encoder=EncoderConfig(hidden=(32,)), run=RunConfig(epochs=100))
    encoder, _ = train_lpl(run, images)
    train = prepare(images.train_images, run)
    frames = image_sequence(train[:16], 4, run.views, torch.Generator().manual_seed(3)).flatten(1).double().numpy()
    scale = np.percentile(codes(encoder, train)[0], 99.9)
    synapses = next(iter(encoder)).synapses
    assert synapses.bias is not None
    weights, bias = (array(values) / scale for values in (synapses.weight, synapses.bias))
    agreement = {}
    for rate in (500.0, 50.0):
        config = ComparisonConfig(unit_rate=rate)
        drive = (frames @ weights.T + bias) * rate
        statistics = Statistics.of(np.maximum(drive, 0) / rate, config)
        rule = online_update(
            frames,
            drive,
            lambda_=0.0,
            phi=1.0,
            mean=statistics.mean_rate,
            variance=statistics.sigma2,
        )
        own, other = spiking_updates(frames, weights, bias, config, copies=6)
        active = statistics.mean_rate > 1
        agreement[rate] = [float(np.median(cosine(update, rule)[active])) for update in (own, other)]
    (fast_own, fast_other), (slow_own, slow_other) = agreement[500.0], agreement[50.0]
    assert fast_own > 0.9, agreement
    assert abs(fast_other - fast_own) < 0.05, agreement  # many spikes per filter: it makes no difference whose
    assert slow_own < fast_own - 0.15, agreement
    assert slow_other > slow_own + 0.15, agreement
