# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The same plasticity in rates and in spikes
#
# Latent predictive learning (LPL; Halvagal & Zenke 2023) is one rule at two levels. With $z_i$ a unit's rate,
# $a_i$ its drive and $x_j$ its input, the rate rule changes a synapse by
#
# $$\Delta w_{ij} \propto \left[ -(z_i(t) - z_i(t - \Delta t))
#   + \lambda \frac{z_i - \bar z_i}{\sigma_i^2 + \xi} + \delta \right] f'(a_i)\, x_j$$
#
# In spikes, $z_i$ becomes a spike train, $f'$ a surrogate derivative of the membrane potential, and everything is
# filtered as a synapse filters. Here both see the same stimulus. What agrees, and where do they part?

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from bridge.config import ConversionConfig
from bridge.conversion import convert_network
from bridge.learning import LearningConfig, learn_layer
from bridge.levels import LevelsConfig, compare_levels, images_layer, paper_layer
from bridge.levels.learning import learn_both
from bridge.levels.parts import parts_of
from bridge.lowering import lower_encoder
from foundation.data.images import load_images
from foundation.figures import BLUE, GREY, ORANGE, STYLE, VERMILLION
from ratenets.evaluation.readout import codes, fit
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import train_lpl
from ratenets.run_config import RunConfig
from ratenets.sequences.augmentation import image_sequence
from spiking.torch.integrate_and_fire import simulate

plt.rcParams.update(STYLE)
seconds, realisations, epochs, images = 20.0, 8, 100, 12  # smaller is quicker, and noisier

# %% [markdown]
# ## One stimulus
#
# The five input populations of the paper's network: P0 fires at a constant rate, P1 and P2 follow slow signals, and
# their controls fire at the same rates in shuffled order, so that there is nothing to predict.

# %%
layer = paper_layer(duration=seconds)
t = np.arange(len(layer.stimulus.values)) * layer.stimulus.dt
figure, axis = plt.subplots(figsize=(6, 2.2))
for group, colour in ((1, BLUE), (3, VERMILLION), (0, GREY)):
    axis.plot(t, layer.stimulus.values[:, layer.groups == group][:, 0], color=colour, label=layer.group_names[group])
axis.set(xlabel="time (s)", ylabel="input rate (Hz)", xlim=(0, min(10, seconds)), ylim=(-0.5, 21))
axis.legend(loc="upper right", ncols=3)
plt.show()

# %% [markdown]
# ## The same weights, frozen, at both levels
#
# `compare_levels` climbs from the rate rule to spikes, one step of realism at a time, and returns every synapse's
# expected update at every rung.

# %%
ladder = compare_levels(layer, LevelsConfig(realisations=realisations))
print(f"{'':16}{'predictive':>24}{'Hebbian':>24}")
for rung in ladder.rungs:
    row = [ladder.agreement[rung.name][term] for term in ("predictive", "Hebbian")]
    text = [f"r = {np.median(a.pearson):5.2f}, ceiling {np.median(a.pearson_ceiling):4.2f}" for a in row]
    print(f"{rung.name:16}{text[0]:>24}{text[1]:>24}   {rung.rates.mean():5.1f} Hz")

# %%
first, spiking = ladder.rungs[0], ladder.rungs[4]
figure, axes = plt.subplots(2, 2, figsize=(8, 5), sharex=True)
for column, term in enumerate(("predictive", "Hebbian")):
    for axis, rung, colour in ((axes[0, column], first, BLUE), (axes[1, column], spiking, VERMILLION)):
        update = rung.mean(term)[0]
        axis.bar(np.arange(len(update)), update / np.abs(update).max(), width=1.0, color=colour)
        axis.axhline(0, color="black", lw=0.6)
        axis.set(ylabel=f"{rung.name}\nupdate (of the largest)" if column == 0 else "", ylim=(-1.1, 1.1))
    axes[0, column].set_title(f"{term} term, one unit")
    axes[1, column].set_xticks([20 + 40 * g for g in range(5)], layer.group_names)
plt.show()

# %% [markdown]
# The Hebbian term survives: inputs that fire when the unit fires gain in either level. The predictive term does not, at
# least not for signals as slow as these: within $\Delta t$ = 20 ms the rates hardly change, and the filters of the
# synapse and of the rule are as long as that. What is left of it is mostly what the unit's own spikes add: its
# derivative is high before a spike and low after the reset, so that every spike lowers the synapses that were active.

# %%
for term, parts in parts_of(ladder).items():
    shares = {name: f"{100 * share:4.0f} %" for name, share in parts.projections().items()}
    print(f"{term:10}", shares)

# %%
figure, axis = plt.subplots(figsize=(6, 2.8))
names = [rung.name for rung in ladder.rungs]
for term, colour in (("predictive", BLUE), ("Hebbian", ORANGE), ("LPL", "black")):
    axis.plot(names, [np.median(ladder.agreement[n][term].pearson) for n in names], "o-", color=colour, label=term)
axis.axhline(0, color="black", lw=0.6)
axis.set(ylabel="correlation with the rate rule", ylim=(-0.6, 1.05))
axis.legend(loc="lower left")
plt.setp(axis.get_xticklabels(), rotation=20)
plt.show()

# %% [markdown]
# ## Learning on
#
# Both levels start from the same weights and learn from the same stimulus.

# %%
learned = learn_both(ladder, change=0.1)
print(f"cosine of the two levels' weight changes: {learned.overall:.2f} over all synapses")
print("linear CKA of responses:", {pair: round(value, 2) for pair, value in learned.cka.items()})
print("readout of the inputs, R^2:", {name: round(value, 2) for name, value in learned.readout.items()})

# %% [markdown]
# ## From a trained rate network to a spiking one that goes on learning
#
# A small network learns from digits with LPL, becomes a spiking network, and its first layer goes on learning there.

# %%
digits = load_images("digits")
config = LPLConfig.for_data("digits", encoder=EncoderConfig(hidden=(64, 64)), run=RunConfig(epochs=epochs))
encoder, _ = train_lpl(config, digits)
train, test = prepare(digits.train_images, config), prepare(digits.test_images, config)
readout = fit(codes(encoder, train)[-1], digits.train_labels)
file = convert_network(lower_encoder(encoder, readout, digits.image_shape), train, ConversionConfig())
result = simulate(file.network, test.double().numpy(), steps=32)
accuracy = (result.predictions() == digits.test_labels[:, None]).mean(0)
print(f"rates {readout.accuracy(codes(encoder, test)[-1], digits.test_labels):.3f}, spikes {accuracy[-1]:.3f} (T = 32)")

# %%
generator = torch.Generator().manual_seed(0)
frames = image_sequence(train[torch.randperm(len(train), generator=generator)[:images]], 4, config.views, generator)
on = learn_layer(file, 1, frames, LearningConfig(change=0.02))
after = simulate(on.file.network, test.double().numpy(), steps=32).predictions()[:, -1] == digits.test_labels
print(f"weights moved by {100 * on.relative_change:.1f} % of their norm; accuracy in spikes {after.mean():.3f}")

# %% [markdown]
# Here frames change as a whole from one $\Delta t$ to the next, and neurons fire often within it. That is where the
# two levels agree in the predictive term, too:

# %%
part = file.network.neurons[0]
sequence = np.minimum(frames.flatten(1).double().numpy(), 1.0)
through = compare_levels(
    images_layer(sequence, part.weight, part.bias), LevelsConfig(realisations=realisations, unit_rate=500.0)
)
for term in ("predictive", "Hebbian"):
    found = through.agreement["spiking unit"][term]
    print(f"{term:10} r = {np.median(found.pearson):.2f}, ceiling {np.median(found.pearson_ceiling):.2f}")
