"""Weights that learned in spikes go back into the rate network that they came from.

A layer's weights in spikes are those of the rate network times s_(l-1) / s_l; the way back divides by the same. All
other layers of the rate network stay bit for bit as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bridge.conversion import scale_of
from bridge.runs import RateRun, open_run
from foundation.errors import RatespikeError, UsageError
from foundation.files import write_json
from foundation.json_files import parse_json
from ratenets import run_folder
from spiking.integrate_and_fire import IFNetwork
from spiking.network_file import NetworkFile
from spiking.synapses import Array, Conv, Dense
from spiking.torch.integrate_and_fire import rates

BATCH = 500


@dataclass(frozen=True)
class Returned:
    """What became of a run.

    Attributes:
        layers: names of the layers that have new weights, with how far they moved, as a share of their norm.
        before, after: test accuracy of the rate network, its readout fitted anew where it has a linear one.
    """

    layers: dict[str, float]
    before: float
    after: float


def learned_layers(file: NetworkFile) -> list[str]:
    """Names of the layers that went on learning in spikes, each once, in the order in which they did."""
    try:
        notes = parse_json(file.origin.get("learned", "[]"))
        return list(dict.fromkeys(str(note["layer"]) for note in notes))
    except (ValueError, TypeError, KeyError):
        raise RatespikeError("the file's notes about what was learned are damaged") from None


def rate_weight(network: IFNetwork, name: str) -> Array:
    """A layer's weights as the rate network has them, of the network with ReLU units or of a converted one.

    Raises:
        UsageError: no such layer, or its weights are in several places.
    """
    numbers = [number for number, layer in network.spiking.items() if layer.name == name]
    if not numbers:
        raise UsageError(f"{name}: the network has no such layer")
    number, layer = numbers[0], network.spiking[numbers[0]]
    if len(layer.projections) > 1:
        raise UsageError(f"{name}: its weights are in several places")
    (projection,) = layer.projections
    scales = {n: each.scale for n, each in network.spiking.items()}
    below = scale_of(network, network.sources(number)[0], scales)
    main = projection.maps[-1]
    if not isinstance(main, Dense | Conv):
        raise UsageError(f"{name}: its weights are in several places")
    shape = network.shape_of(network.sources(number)[0])
    for each in projection.maps[:-1]:
        shape = each.above(shape)
    return main.scaled(1 / below, 1 / np.broadcast_to(layer.scale, layer.channels), shape).weight


def return_weights(
    file: NetworkFile, run: Path, out: Path, *, root: Path | None = None, device: str = "cpu", force: bool = False
) -> Returned:
    """Make a copy of a run whose learned layers have the weights that they have in spikes, and measure it again.

    Args:
        file: a converted network, some layers of which went on learning.
        run: the folder of the run that it was converted from; it stays as it is.
        out: the new run's folder.
        root: of the datasets.
        device: where to compute.
        force: replace a run that lies at `out`.

    Raises:
        UsageError: nothing was learned, the file comes from another run, or `out` is not free.
        RatespikeError: the run is damaged.
    """
    names = learned_layers(file)
    if not names:
        raise UsageError("no layer of this network went on learning; let one, with `ratespike bridge learn`")
    before = open_run(run, root=root, device=device)
    if file.origin.get("kind") != before.origin["kind"]:
        found = file.origin.get("kind", "nowhere")
        raise UsageError(f"{run}: is a run of {before.origin['kind']}, the network comes from {found}")
    weights, changed, moved = run_folder.weights_of(run), {}, {}
    for name in names:
        old = rate_weight(before.rate, name)
        new, key = rate_weight(file.network, name), _key(weights, name, old, run)
        if new.shape != old.shape:
            raise UsageError(f"{name}: has weights {old.shape} in the run and {new.shape} in spikes")
        changed[key] = torch.from_numpy(new).to(weights[key].dtype)
        moved[name] = float(np.linalg.norm(new - old) / np.linalg.norm(old))
    run_folder.copy_run(run, out, changed, force=force)
    note = {"run": str(run), "learned": parse_json(file.origin["learned"]), "relative change": moved}
    write_json(out / run_folder.ORIGIN, note)
    after = open_run(out, root=root, device=device)
    return Returned(moved, accuracy(before), accuracy(after))


def accuracy(run: RateRun) -> float:
    """Of the rate network on its test trials."""
    trials, right = run.test, 0
    for start in range(0, len(trials), BATCH):
        rows = slice(start, min(start + BATCH, len(trials)))
        shown = trials.shown(rows)
        task = None if trials.task is None else torch.tensor(trials.task[rows], device=shown.device)
        logits = rates(run.rate, shown, task=task, dtype=shown.dtype)[-1].double().cpu().numpy()
        right += int((trials.predictions(logits, rows) == trials.answer[rows]).sum())
    return right / len(trials)


def _key(weights: Mapping[str, Tensor], name: str, old: Array, run: Path) -> str:
    """Under which name a run's checkpoint has the weights of a layer."""
    for key, value in weights.items():
        if tuple(value.shape) == old.shape and np.array_equal(value.double().cpu().numpy(), old):
            return key
    raise UsageError(
        f"{name}: its weights are not among those of {run}; batch norm that was folded in cannot be taken out again"
    )
