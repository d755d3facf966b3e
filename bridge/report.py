"""What a conversion kept and what it lost, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bridge.coding import stimulus
from bridge.runs import Trials
from foundation.errors import UsageError
from foundation.progress import bar
from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, IFResult, MaxPool, Simulator, Stimulus
from spiking.synapses import Array, fan_out, per_unit
from spiking.torch.integrate_and_fire import SnnTorchNetwork, evaluate

BATCH = 100


@dataclass(frozen=True)
class LayerReport:
    """One layer over all images: does its firing rate say what its activation said?

    Attributes:
        name: of the layer.
        correlation: Pearson, between rates and activations of all units and images; NaN where one is constant.
        rmse: root mean squared difference, in activations of which `scale` is one spike per step.
        relative_rmse: the same, in units of the activations' own root mean square; NaN where that is 0.
        saturated: share of (unit, image) pairs whose activation stands for more than one spike per step.
        silent_units: units that never fired.
        spikes: mean number of spikes per image.
        synaptic_operations: mean number of synaptic events that its input causes per image: spikes below times the
            synapses that they reach (for the first layer, Poisson input's spikes; none for analog input, whose current
            is computed once, as in the rate network).
        macs: multiply-accumulates of the rate network's layer per image.
    """

    name: str
    correlation: float
    rmse: float
    relative_rmse: float
    saturated: float
    silent_units: int
    spikes: float
    synaptic_operations: float
    macs: int


@dataclass(frozen=True)
class ConversionReport:
    """The whole network.

    Attributes:
        images: how many were shown, for `steps` steps each; for every task, where there are several.
        input_coding: "analog" or "poisson".
        max_pooling: what takes the place of max-pools: "count", "potential", "average", or "none" to replace.
        rate_accuracy: of the rate network with its readout.
        spiking_accuracy: of the spiking network after 1, 2, ... steps.
        flips: images whose prediction at the end differs from the rate network's.
        layers: one report each.
        readout_operations: mean synaptic events at the readout per image.
        by_task: rate accuracy and spiking accuracy at the end, of every task.
    """

    images: int
    steps: int
    input_coding: str
    max_pooling: str
    rate_accuracy: float
    spiking_accuracy: list[float]
    flips: int
    layers: list[LayerReport]
    readout_operations: float
    by_task: dict[str, tuple[float, float]]

    @property
    def loss(self) -> float:
        """Accuracy lost by going to spikes, at the last step."""
        return self.rate_accuracy - self.spiking_accuracy[-1]

    def to_json(self) -> dict[str, object]:
        """Plain values; NaN becomes null."""
        values = asdict(self)
        values["layers"] = [{k: None if v != v else v for k, v in layer.items()} for layer in values["layers"]]
        return values

    def table(self) -> str:
        """The layers as a Markdown table; spikes, synaptic events and MACs are per image."""
        rows = [
            "| layer | correlation | RMSE / RMS | saturated | silent units | spikes | synaptic events | MACs |",
            "|---|---|---|---|---|---|---|---|",
        ]
        rows += [
            f"| {layer.name} | {layer.correlation:.4f} | {layer.relative_rmse:.3f} | {100 * layer.saturated:.2f} % "
            f"| {layer.silent_units} | {layer.spikes:,.0f} | {layer.synaptic_operations:,.0f} | {layer.macs:,} |"
            for layer in self.layers
        ]
        return "\n".join(rows)


@dataclass(frozen=True, eq=False)
class Conversion:
    """The report with what it was made from, where it was asked for: rates and activations by layer, (B, *shape)."""

    report: ConversionReport
    activations: list[Array]
    rates: list[Array]


class _Tally:
    """What is summed up of one layer, batch by batch."""

    def __init__(self, layer: IFLayer, shape: tuple[int, ...]) -> None:
        self.name = layer.name
        self.scale = per_unit(layer.scale, shape).reshape(shape)
        self.sums = np.zeros(5)  # a, r, a a, r r, a r
        self.values = self.saturated = 0
        self.spikes = 0.0
        self.fired = np.zeros(shape, bool)

    def add(self, activation: Array, counts: Array, steps: int) -> Array:
        """Those of a batch; returns the rates, as activations."""
        a, r = activation, counts / steps * self.scale
        self.sums += [a.sum(), r.sum(), (a * a).sum(), (r * r).sum(), (a * r).sum()]
        self.values += a.size
        self.saturated += int((a > self.scale * (1 + 1e-6)).sum())
        self.spikes += counts.sum()
        self.fired |= counts.any(0)
        return r

    def report(self, images: int, operations: float, number_of_macs: int) -> LayerReport:
        """Once all is in."""
        n = self.values
        a, r, aa, rr, ar = self.sums / n
        deviations = np.sqrt(max(aa - a * a, 0) * max(rr - r * r, 0))
        constant = deviations <= 1e-12 * max(aa, rr)
        rmse, size = float(np.sqrt(max(aa - 2 * ar + rr, 0))), float(np.sqrt(aa))
        return LayerReport(
            name=self.name,
            correlation=float("nan") if constant else float((ar - a * r) / deviations),
            rmse=rmse,
            relative_rmse=rmse / size if size else float("nan"),
            saturated=self.saturated / n,
            silent_units=int((~self.fired).sum()),
            spikes=self.spikes / images,
            synaptic_operations=operations,
            macs=number_of_macs,
        )


class _Both:
    """Both networks, shown the same images batch by batch, and what is summed up of them."""

    def __init__(self, network: IFNetwork, rate: IFNetwork, trials: Trials, steps: int, keep: bool) -> None:
        self.network, self.rate, self.trials, self.steps = network, rate, trials, steps
        self.tallies = {n: _Tally(layer, network.shapes[n]) for n, layer in network.spiking.items()}
        by_name = {layer.name: n for n, layer in rate.spiking.items()}
        self.partner = {n: by_name[layer.name] for n, layer in network.spiking.items()}
        self.kept: dict[int, tuple[list[Array], list[Array]]] = {n: ([], []) for n in self.tallies} if keep else {}
        self.right, self.rate_right, self.flips = np.zeros(steps), 0, 0
        self.by_task = np.zeros((len(network.tasks), 3))  # trials, right in rates, right in spikes
        self.fan_outs = _fan_outs(network)
        self.events = np.zeros(len(network.layers) + 1)
        self.module: SnnTorchNetwork | None = None

    def show(self, rows: slice, simulator: Simulator, generator: np.random.Generator) -> None:
        """Some trials."""
        network, trials = self.network, self.trials
        shown = trials.shown(rows)
        x = shown.reshape(len(shown), -1).double().cpu().numpy()
        if x.shape[1] != network.inputs:
            raise UsageError(f"the network takes {network.inputs} inputs, these images have {x.shape[1]} pixels")
        task = None if trials.task is None else trials.task[rows]
        activations = self._activations(shown, task)
        given = network.shown(stimulus(x, network.input_coding, self.steps, generator), self.steps)
        result = simulator(network, given, self.steps, task=task)
        self._compare(rows, activations, result)
        self._count(given, result)
        for n, tally in self.tallies.items():
            activity = activations[self.partner[n]]
            rates = tally.add(activity, result.counts[n], self.steps)
            if n in self.kept:
                self.kept[n][0].append(activity)
                self.kept[n][1].append(rates)

    @torch.no_grad()
    def _activations(self, shown: Tensor, task: NDArray[np.int64] | None) -> list[Array]:
        self.module = self.module or SnnTorchNetwork(self.rate, shown.dtype).to(shown.device)
        of = None if task is None else torch.tensor(task, device=shown.device)
        found = evaluate(self.module, shown.reshape(len(shown), *self.rate.input_shape), of)
        rate = self.rate
        scales = [per_channel(rate, n, out) for n, out in enumerate(found)]
        return [out.double().cpu().numpy() * scale for out, scale in zip(found, scales, strict=True)]

    def _compare(self, rows: slice, activations: list[Array], result: IFResult) -> None:
        answers, spiking = self.trials.answer[rows], self.trials.predictions(result.readout, rows)
        expected = self.trials.predictions(activations[-1], rows)
        self.right += (spiking == answers[:, None]).sum(0)
        self.rate_right += int((expected == answers).sum())
        self.flips += int((spiking[:, -1] != expected).sum())
        if self.trials.task is not None:
            found = np.stack([np.ones(len(answers)), expected == answers, spiking[:, -1] == answers], axis=1)
            np.add.at(self.by_task, self.trials.task[rows], found)

    def _count(self, given: Stimulus, result: IFResult) -> None:
        """Synaptic events at every layer: each spike below times the synapses that it reaches."""
        network = self.network
        own = None if network.is_constant(given) else given.sum(1)
        for n in range(len(self.events)):
            for source, outs in zip(network.sources(n), self.fan_outs[n], strict=True):
                counts = own if source == INPUT else result.counts[source]
                if counts is not None:
                    self.events[n] += float((counts.reshape(len(counts), -1) @ outs).sum())

    def report(self) -> ConversionReport:
        """Once all images were shown."""
        network, images = self.network, len(self.trials)
        layers = [tally.report(images, self.events[n] / images, network.macs(n)) for n, tally in self.tallies.items()]
        return ConversionReport(
            images=images,
            steps=self.steps,
            input_coding=network.input_coding,
            max_pooling=max_pooling(network, self.rate),
            rate_accuracy=self.rate_right / images,
            spiking_accuracy=(self.right / images).tolist(),
            flips=self.flips,
            layers=layers,
            readout_operations=float(self.events[-1] / images),
            by_task={
                name: (float(rates / shown), float(spikes / shown))
                for name, (shown, rates, spikes) in zip(network.tasks, self.by_task, strict=True)
                if shown
            },
        )


def simulate_and_report(
    network: IFNetwork,
    trials: Trials,
    *,
    steps: int,
    simulator: Simulator,
    generator: np.random.Generator,
    rate: IFNetwork | None = None,
    keep: bool = False,
    batch_size: int = BATCH,
) -> Conversion:
    """Show images to a converted network and to the rate network, and compare them.

    Args:
        network: the spiking one.
        trials: images and questions.
        steps: T, how long each image is shown.
        simulator: any backend.
        generator: of Poisson input; analog input draws nothing.
        rate: the rate network; None: the spiking one with ReLU units and true max-pools, which is the same unless
            pools were replaced by averages.
        keep: rates and activations of all images, too.
        batch_size: images at a time.

    Raises:
        UsageError: images of another size than the network's, or, for Poisson input, outside [0, 1].
    """
    if steps < 1:
        raise UsageError(f"steps: must be at least 1, got {steps}")
    if batch_size < 1:
        raise UsageError(f"batch_size: must be at least 1, got {batch_size}")
    both = _Both(network, rate or network, trials, steps, keep)
    starts = range(0, len(trials), batch_size)
    for start in bar(starts, label=f"spiking network, {len(trials)} images", unit="batch"):
        both.show(slice(start, min(start + batch_size, len(trials))), simulator, generator)
    activations, rates = ([np.concatenate(pair[which]) for pair in both.kept.values()] for which in (0, 1))
    return Conversion(both.report(), activations, rates)


def per_channel(network: IFNetwork, number: int, like: Tensor) -> Array:
    """The scale of a layer, in shape for (B, *shape); 1 for the readout and for max-pools."""
    layer = network.layers[number] if number < len(network.layers) else network.readout
    scale = np.ones(1) if isinstance(layer, MaxPool) else layer.scale
    return scale.reshape(-1, *[1] * (like.dim() - 2))


def max_pooling(network: IFNetwork, rate: IFNetwork) -> str:
    """What takes the place of the rate network's max-pools."""
    gates = [layer.gate for layer in network.layers if isinstance(layer, MaxPool)]
    pools = any(isinstance(layer, MaxPool) for layer in rate.layers)
    return gates[0] if gates else "average" if pools else "none"


def _fan_outs(network: IFNetwork) -> list[list[Array]]:
    """Of every layer and the readout: how many synapses lead to it from each unit of each of its sources."""
    found = []
    for n in range(len(network.layers) + 1):
        layer = network.readout if n == len(network.layers) else network.layers[n]
        below = [network.shape_of(source) for source in network.sources(n)]
        if isinstance(layer, MaxPool):
            outs = layer.windows.explicit_fan_out((1, *below[0][1:]))
            found.append([np.tile(outs, below[0][0])])
        else:
            found.append([fan_out(p.maps, shape) for p, shape in zip(layer.projections, below, strict=True)])
    return found


def spike_differences(one: list[NDArray[np.bool_]], other: list[NDArray[np.bool_]]) -> tuple[int, int, int]:
    """Two simulators' spikes of the same network: (spikes that differ, images in which any does, spikes in all)."""
    differing = [(a != b).reshape(len(a), -1) for a, b in zip(one, other, strict=True)]
    images = np.any([d.any(1) for d in differing], axis=0)
    return sum(int(d.sum()) for d in differing), int(images.sum()), sum(int(a.sum()) for a in one)
