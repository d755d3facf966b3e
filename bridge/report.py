"""What a conversion kept and what it lost, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bridge.coding import stimulus
from foundation.errors import UsageError
from foundation.progress import bar
from ratenets.evaluation.readout import Labels, Readout, codes
from ratenets.lpl.encoders import Encoder
from spiking.integrate_and_fire import Array, IFNetwork, IFResult, Simulator


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
        synaptic_operations: mean number of synaptic events that its input causes per image: spikes below times units
            (for the first layer, the expected number of Poisson input's; none for analog input, whose current is
            computed once, as in the rate network).
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
        images: how many were shown, for `steps` steps each.
        input_coding: "analog" or "poisson".
        rate_accuracy: of the rate network with its readout.
        spiking_accuracy: of the spiking network after 1, 2, ... steps.
        flips: images whose prediction at the end differs from the rate network's.
        layers: one report each.
        readout_operations: mean synaptic events at the readout per image.
    """

    images: int
    steps: int
    input_coding: str
    rate_accuracy: float
    spiking_accuracy: list[float]
    flips: int
    layers: list[LayerReport]
    readout_operations: float

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


@dataclass(frozen=True)
class Conversion:
    """The report with what it was made from: rates and activations by layer, each (B, M)."""

    report: ConversionReport
    activations: list[Array]
    rates: list[Array]


def simulate_images(
    network: IFNetwork,
    x: Array,
    *,
    steps: int,
    simulator: Simulator,
    generator: np.random.Generator,
    batch_size: int = 250,
) -> IFResult:
    """Show x (B, N) to a network, in the coding that it was made for, `batch_size` images at a time.

    Raises:
        UsageError: inputs of another size than the network's, or, for Poisson input, outside [0, 1].
    """
    if x.shape[1] != network.inputs:
        raise UsageError(f"the network takes {network.inputs} inputs, these images have {x.shape[1]} pixels")
    if steps < 1:
        raise UsageError(f"steps: must be at least 1, got {steps}")
    starts = range(0, len(x), batch_size)
    parts = [
        simulator(network, stimulus(x[i : i + batch_size], network.input_coding, steps, generator), steps)
        for i in bar(starts, label=f"spiking network, {len(x)} images", unit="batch")
    ]
    return IFResult(
        [],
        [np.concatenate(counts) for counts in zip(*(part.counts for part in parts), strict=True)],
        np.concatenate([part.readout for part in parts]),
    )


def simulate_and_report(
    encoder: Encoder,
    readout: Readout,
    network: IFNetwork,
    images: Tensor,
    labels: Labels,
    *,
    steps: int,
    simulator: Simulator,
    generator: np.random.Generator,
) -> Conversion:
    """Show images (B, C, H, W) to both networks and compare them.

    Args:
        encoder: the rate network, with its readout.
        readout: on the last layer.
        network: what it was converted to.
        images: as the encoder takes them.
        labels: (B,).
        steps: T, how long each image is shown.
        simulator: any backend.
        generator: of Poisson input; analog input draws nothing.
    """
    x = images.flatten(1).double().cpu().numpy()
    result = simulate_images(network, x, steps=steps, simulator=simulator, generator=generator)
    activations = codes(encoder, images)
    rate_predictions = readout.predict(activations[-1])
    spiking = result.predictions()
    layers, events = [], _input_events(network, x, steps)
    for layer, activity, counts in zip(network.layers, activations, result.counts, strict=True):
        layers.append(_layer(layer.name, layer.scale, activity, counts, steps, events * layer.units, layer.weight.size))
        events = float(counts.sum(1).mean())
    report = ConversionReport(
        images=len(x),
        steps=steps,
        input_coding=network.input_coding,
        rate_accuracy=float(np.mean(rate_predictions == labels)),
        spiking_accuracy=np.mean(spiking == labels[:, None], axis=0).tolist(),
        flips=int(np.sum(spiking[:, -1] != rate_predictions)),
        layers=layers,
        readout_operations=events * network.readout.units,
    )
    rates = [counts / steps * layer.scale for layer, counts in zip(network.layers, result.counts, strict=True)]
    return Conversion(report, activations, rates)


def _input_events(network: IFNetwork, x: Array, steps: int) -> float:
    return 0.0 if network.input_coding == "analog" else float(x.sum(1).mean() * steps)


def _layer(
    name: str, scale: Array, activity: Array, counts: Array, steps: int, operations: float, macs: int
) -> LayerReport:
    rates = counts / steps * scale
    constant = activity.std() == 0 or rates.std() == 0
    rmse = float(np.sqrt(np.mean((rates - activity) ** 2)))
    size = float(np.sqrt(np.mean(activity**2)))
    return LayerReport(
        name=name,
        correlation=float("nan") if constant else float(np.corrcoef(rates.ravel(), activity.ravel())[0, 1]),
        rmse=rmse,
        relative_rmse=rmse / size if size else float("nan"),
        saturated=float(np.mean(activity > scale)),
        silent_units=int(np.sum(counts.sum(0) == 0)),
        spikes=float(counts.sum(1).mean()),
        synaptic_operations=operations,
        macs=macs,
    )


def spike_differences(one: list[NDArray[np.bool_]], other: list[NDArray[np.bool_]]) -> tuple[int, int, int]:
    """Two simulators' spikes of the same network: (spikes that differ, images in which any does, spikes in all)."""
    differing = [a != b for a, b in zip(one, other, strict=True)]
    images = np.any([d.any((1, 2)) for d in differing], axis=0)
    return sum(int(d.sum()) for d in differing), int(images.sum()), sum(int(a.sum()) for a in one)
