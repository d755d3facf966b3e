"""Two plastic layers in an snnTorch model learn from images, without labels and online: `python plastic_layers.py`.

Images are shown as Poisson spikes, each for 0.1 s in two views of it (shifted, rotated), one after the other without a
pause. Both layers learn by latent predictive learning (LPL): keep what stays over 20 ms, vary otherwise. The paper's
inhibitory neurons are left out; in their place each neuron is inhibited by the last spikes of the others, and by a
current of its own that holds its mean rate near a target. Measured are the layers as they were (rates settled, weights
random), after LPL, and after LPL without its predictive term: how many test images a linear readout of the spike counts
names rightly, and how far apart the counts of two views of an image are, relative to those of two images.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import snntorch as snn
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from foundation.data.images import load_images
from foundation.errors import UsageError
from foundation.figures import BLUE, GREY, ORANGE, letter, save, styled
from ratenets.evaluation.readout import fit
from ratenets.sequences.augmentation import view
from ratenets.sequences.config import DEFAULT_VIEWS, ViewConfig
from spiking.parameters import LPLSynapse
from spiking.rule import lpl
from spiking.torch.layers import PlasticLinear, reset

DT = 1e-3  # s
UNITS = (64, 32)
MAX_RATE = 200.0  # Hz, of a white pixel
TARGET = 20.0  # Hz, mean rate of every neuron
INHIBITION = 15.0  # of a neuron by the mean of the others' spikes, in units of the threshold
BATCH = 64
COLOURS = {"untrained": GREY, "LPL": BLUE, "predictive off": ORANGE}


@dataclass(frozen=True)
class Settings:
    """How long to train, on what."""

    data: str
    images: int  # at most, for training
    epochs: int
    shown: float  # s, for which an image is shown
    seed: int


class Stage(nn.Module):
    """A plastic layer, its snnTorch neurons, and inhibition."""

    bias: Tensor

    def __init__(self, inputs: int, units: int, phi: float, eta: float) -> None:
        super().__init__()
        rule = LPLSynapse.current(
            lambda_=6.0, phi=phi, eta=eta, axonal_delay=0.0, tau_mean=20.0, tau_sigma2=20.0, update_interval=0.1
        )
        start = {"tr_mean": 20.0 * TARGET, "sigma2": TARGET}  # as if they had fired at the target rate before
        self.fc = PlasticLinear(inputs, units, lpl(rule, DT), DT, start=start)
        self.lif = snn.Leaky(beta=math.exp(-DT / 20e-3), reset_delay=False)  # membrane: 20 ms
        self.register_buffer("bias", torch.zeros(units))

    def forward(self, x: Tensor, spk: Tensor, mem: Tensor) -> tuple[Tensor, Tensor]:
        others = (spk.sum(1, keepdim=True) - spk) / spk.shape[1]
        spk, mem = self.lif(self.fc(x) - INHIBITION * others - self.bias, mem)
        self.fc.learn(spk, mem)
        if self.training:
            self.bias += 0.1 * (spk.mean(0) - TARGET * DT)
        return spk, mem


class Net(nn.Module):
    """Two stages."""

    def __init__(self, inputs: int, phi: float, generator: torch.Generator) -> None:
        super().__init__()
        self.stages = nn.ModuleList([Stage(inputs, UNITS[0], phi, 32 / inputs), Stage(*UNITS, phi, 2.0)])
        for fc, scale in zip(self.layers, (64 / inputs, 3.0), strict=True):
            fc.weight.copy_(scale * (0.01 + 0.03 * torch.randn(fc.weight.shape, generator=generator)))

    @property
    def layers(self) -> list[PlasticLinear]:
        return [stage.fc for stage in self.stages if isinstance(stage, Stage)]

    def begin(self, batch: int) -> list[tuple[Tensor, Tensor]]:
        """Spikes and potentials of every layer before the first step."""
        reset(self)
        return [(torch.zeros(batch, units), torch.zeros(batch, units)) for units in UNITS]

    def forward(self, x: Tensor, state: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        after = []
        for stage, before in zip(self.stages, state, strict=True):
            after.append(stage(x, *before))
            x = after[-1][0]
        return after


def poisson(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Spikes (B, pixels) of one step for images (B, 1, H, W) in 0 to 1."""
    return (torch.rand(frames.shape, generator=generator) < frames * MAX_RATE * DT).float().flatten(1)


def learn(net: Net, images: Tensor, settings: Settings, epochs: int, generator: torch.Generator) -> None:
    """Show `images` in random order, in as many streams as a batch has samples."""
    net.train()
    state, views = net.begin(BATCH), DEFAULT_VIEWS[settings.data]
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].view(-1, BATCH):
            for _ in range(2):
                frame = view(images[rows], views, generator).clamp(0, 1)
                for _ in range(round(settings.shown / 2 / DT)):
                    state = net(poisson(frame, generator), state)


def counts(net: Net, images: Tensor, settings: Settings, generator: torch.Generator) -> list[np.ndarray]:
    """Spikes of every neuron (N, units) while an image is shown, by layer; nothing learns."""
    net.eval()
    state, total = net.begin(len(images)), [torch.zeros(len(images), units) for units in UNITS]
    for _ in range(round(settings.shown / DT)):
        state = net(poisson(images, generator), state)
        for count, (spk, _) in zip(total, state, strict=True):
            count += spk
    return [count.double().numpy() for count in total]


@dataclass(frozen=True, eq=False)
class Measured:
    """Of one condition, by layer."""

    accuracy: list[float]  # of a linear readout, on test images
    views: list[float]  # distance of two views' counts, relative to that of two images'
    rates: list[float]  # Hz, mean
    weights: Tensor  # of the first layer


def measure(net: Net, train: Tensor, test: Tensor, labels: Sequence[np.ndarray], settings: Settings) -> Measured:
    """Every condition is measured with the same spikes."""
    generator = torch.Generator().manual_seed(99)
    fitted, tested = (counts(net, images, settings, generator) for images in (train, test))
    views: ViewConfig = DEFAULT_VIEWS[settings.data]
    one, two = (counts(net, view(test, views, generator).clamp(0, 1), settings, generator) for _ in range(2))
    apart = [
        float(((a - b) ** 2).sum(1).mean() / max(1e-9, ((a - np.roll(b, 1, 0)) ** 2).sum(1).mean()))
        for a, b in zip(one, two, strict=True)
    ]
    accuracy = [fit(a, labels[0]).accuracy(b, labels[1]) for a, b in zip(fitted, tested, strict=True)]
    return Measured(
        accuracy, apart, [float(layer.mean() / settings.shown) for layer in tested], net.layers[0].weight.clone()
    )


# --- figure -----------------------------------------------------------------------------------------------------------
@styled
def draw(results: dict[str, Measured], shape: tuple[int, int], pixels: float) -> Figure:
    """What the first layer's neurons look for, the weights, and what the counts of both are worth."""
    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    top, bottom = np.ravel(np.array(figure.subfigures(2, 1, height_ratios=(1.1, 1.0), hspace=0.04)))
    fields = top.subplots(2, 10)
    chosen = np.argsort(-results["LPL"].weights.std(1).numpy())[:10]  # the most selective ones
    limit = float(results["LPL"].weights[chosen.copy()].abs().max())
    for row, name in zip(fields, ("untrained", "LPL"), strict=True):
        for axis, unit in zip(row, chosen, strict=True):
            weights = results[name].weights[int(unit)].numpy().reshape(shape)
            image = axis.imshow(weights, cmap="PuOr_r", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    top.colorbar(image, ax=list(fields.ravel()), label="weight (thresholds)", fraction=0.02, pad=0.01)
    left, middle, right = bottom.subplots(1, 3)
    for name, result in results.items():
        values, edges = np.histogram(result.weights.numpy(), 40, density=True)
        left.stairs(values, edges, color=COLOURS[name], label=name, linewidth=1.4)
    left.set(xlabel="weight of layer 1 (thresholds)", ylabel="density (1/threshold)")
    bottom.legend(loc="outside upper center", ncols=len(results))
    bars(middle, {name: result.views for name, result in results.items()}, "distance of two views\n/ of two images")
    bars(right, {name: result.accuracy for name, result in results.items()}, "accuracy of\nlinear readout")
    right.axhline(pixels, color="black", linestyle=":")
    right.annotate("raw pixels", (len(UNITS) - 0.55, pixels), ha="right", va="bottom", fontsize=8)
    right.set_ylim(0.0, 1.1)
    letter([fields[0, 0], left, middle, right])
    return figure


def bars(axis: Axes, values: dict[str, list[float]], label: str) -> None:
    """A bar for every layer and condition."""
    for k, (name, layers) in enumerate(values.items()):
        places = np.arange(len(layers)) + 0.27 * (k - 1)
        axis.bar(places, layers, 0.25, color=COLOURS[name])
        for x, value in zip(places, layers, strict=True):
            axis.annotate(f"{value:.2f}", (x, value), ha="center", va="top", fontsize=8, color="white")
    axis.set(xticks=range(len(UNITS)), xticklabels=[f"layer {k + 1}" for k in range(len(UNITS))], ylabel=label)


# --- the whole --------------------------------------------------------------------------------------------------------
@torch.no_grad()
def run(settings: Settings) -> tuple[dict[str, Measured], tuple[int, int], float]:
    """Results by condition, height and width of the images, and the accuracy of a readout of their pixels."""
    dataset = load_images(settings.data)
    if dataset.image_shape[0] != 1:
        raise UsageError(f"--data: must be of images in grey, which {settings.data} is not")
    if settings.images < BATCH:
        raise UsageError(f"--images: must be at least {BATCH}, a batch, got {settings.images}")
    train, test = (torch.from_numpy(x).float() / 255 for x in (dataset.train_images, dataset.test_images))
    train, test = train[: settings.images], test[: settings.images]
    labels = (dataset.train_labels[: len(train)], dataset.test_labels[: len(test)])
    features = [x.flatten(1).double().numpy() for x in (train, test)]
    pixels = fit(features[0], labels[0]).accuracy(features[1], labels[1])

    generator = torch.Generator().manual_seed(settings.seed)
    naive = Net(train[0].numel(), 1.0, generator)
    rates = [layer.eta for layer in naive.layers]
    for layer in naive.layers:
        layer.eta = 0.0  # rates and statistics settle
    learn(naive, train, settings, 1, generator)
    for layer, eta in zip(naive.layers, rates, strict=True):
        layer.eta = eta
    results = {"untrained": measure(naive, train, test, labels, settings)}
    for name, phi in (("LPL", 1.0), ("predictive off", 0.0)):
        generator = torch.Generator().manual_seed(settings.seed + 1)
        net = Net(train[0].numel(), phi, generator)
        net.load_state_dict(naive.state_dict())
        learn(net, train, settings, settings.epochs, generator)
        results[name] = measure(net, train, test, labels, settings)
    return results, (train.shape[2], train.shape[3]), pixels


def main(arguments: Sequence[str] | None = None) -> dict[str, Measured]:
    """Train, print the numbers, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits (bundled), mnist, fashion-mnist  [digits]")
    parser.add_argument("--images", type=int, default=1500, help="at most, for training and for testing  [1500]")
    parser.add_argument("--epochs", type=int, default=6, help="[6]")
    parser.add_argument("--shown", type=float, default=0.1, help="how long an image is shown, in s  [0.1]")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    parser.add_argument("--out", type=Path, default=Path("plastic-layers.png"), help="figure  [plastic-layers.png]")
    given = parser.parse_args(arguments)
    results, shape, pixels = run(Settings(given.data, given.images, given.epochs, given.shown, given.seed))
    for name, result in results.items():
        for layer, (accuracy, views, rate) in enumerate(
            zip(result.accuracy, result.views, result.rates, strict=True), 1
        ):
            print(f"{name:14}  layer {layer}: accuracy {accuracy:.3f}, views {views:.2f}, {rate:.1f} Hz")
    print(f"raw pixels: accuracy {pixels:.3f}")
    save(draw(results, shape, pixels), given.out)
    return results


if __name__ == "__main__":
    main()
