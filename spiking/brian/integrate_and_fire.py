"""`spiking.integrate_and_fire` as a Brian2 network, on the same update schedule as the snnTorch layers."""

from __future__ import annotations

from typing import Any

import brian2 as b2
import numpy as np

from foundation.errors import UsageError
from spiking.brian.running import run_network
from spiking.integrate_and_fire import IFLayer, IFNetwork, IFResult, Stimulus

DT = 1 * b2.ms
"""Duration of a step. It has no meaning to a neuron without a leak; a simulation only needs one."""

SLOT = "groups"
"""Everything runs in one slot of Brian2's schedule, ordered by layer: drive, threshold, reset, synapses to the next.
Brian2's default would update all layers first, and a spike would reach the next layer a step late."""

MOST_SYNAPSES = 50_000_000


def simulate(network: IFNetwork, stimulus: Stimulus, steps: int, *, spikes: bool = False) -> IFResult:
    """Run the network in Brian2; a `spiking.integrate_and_fire.Simulator`.

    The images follow one another in a single run, every neuron going back to its initial potential at the start of
    each. Brian2's preference `codegen.target` decides how; numpy is quickest for anything small.

    Raises:
        UsageError: a stimulus of the wrong shape, or more synapses than memory is likely to hold (60 bytes each).
    """
    network.check(stimulus, steps)
    synapses = sum(layer.weight.size for layer in (*network.layers, network.readout))
    if synapses > MOST_SYNAPSES:
        raise UsageError(f"Brian2 would need {synapses:,} synapses, at most {MOST_SYNAPSES:,} are built; use snnTorch")
    images = len(stimulus)
    groups = [_spiking_group(layer, number, network.initial_potential) for number, layer in enumerate(network.layers)]
    readout = b2.NeuronGroup(network.readout.units, "u : 1\nbias : 1 (constant)", dt=DT)
    readout.bias = network.readout.bias
    last = len(groups)
    objects: list[Any] = [*groups, readout]
    objects += [_restart(group, steps, network.initial_potential) for group in groups] + [_restart(readout, steps, 0.0)]
    objects.append(readout.run_regularly("u += bias", when=SLOT, order=10 * last))
    stack = [*groups, readout]
    for number, layer in enumerate((*network.layers, network.readout)):
        if number:
            objects.append(_synapses(stack[number - 1], stack[number], layer, order=10 * number - 1))
    objects += _input(groups[0], network.layers[0], stimulus, steps)
    objects += [group.run_regularly("u += bias", when=SLOT, order=10 * n) for n, group in enumerate(groups)]
    monitors = [b2.SpikeMonitor(group, when="end") for group in groups]
    potential = b2.StateMonitor(readout, "u", record=True, when="end", dt=DT)
    run_network(b2.Network(*objects, *monitors, potential), float(images * steps * DT))
    rasters = [_raster(monitor, images, steps, group.N) for monitor, group in zip(monitors, groups, strict=True)]
    return IFResult(
        rasters if spikes else [],
        [raster.sum(1).astype(float) for raster in rasters],
        np.asarray(potential.u).T.reshape(images, steps, -1).copy(),
    )


def _spiking_group(layer: IFLayer, number: int, initial: float) -> Any:
    group = b2.NeuronGroup(layer.units, "u : 1\nbias : 1 (constant)", threshold="u >= 1", reset="u -= 1", dt=DT)
    group.bias, group.u = layer.bias, initial
    group.thresholder["spike"].when, group.thresholder["spike"].order = SLOT, 10 * number + 1
    group.resetter["spike"].when, group.resetter["spike"].order = SLOT, 10 * number + 2
    return group


def _restart(group: Any, steps: int, potential: float) -> Any:
    return group.run_regularly(f"u = {float(potential)!r}", dt=steps * DT, when="start")


def _synapses(source: Any, target: Any, layer: IFLayer, order: int) -> Any:
    """One synapse per non-zero weight, built from arrays; spikes arrive in the step in which they are fired."""
    synapses = b2.Synapses(source, target, "w : 1", on_pre="u_post += w", dt=DT)
    pre, post = np.nonzero(layer.weight.T)
    if len(pre) == 0:  # Brian2 knows no empty connection; one of weight 0 does the same
        pre, post = np.zeros(1, int), np.zeros(1, int)
    synapses.connect(i=pre, j=post)
    synapses.w = layer.weight[post, pre]
    synapses.pre.when, synapses.pre.order = SLOT, order
    return synapses


def _input(group: Any, layer: IFLayer, stimulus: Stimulus, steps: int) -> list[Any]:
    """What drives the first layer: a current that is constant during an image, or the input's own spikes."""
    if stimulus.ndim == 2:
        drive = b2.TimedArray(stimulus @ layer.weight.T, dt=steps * DT)
        group.namespace["drive"] = drive
        return [group.run_regularly("u += drive(t, i)", when=SLOT, order=-1)]
    image, step, line = np.nonzero(stimulus)
    source = b2.SpikeGeneratorGroup(
        stimulus.shape[2], line, (image * steps + step) * DT, dt=DT, when=SLOT, order=-2, sorted=True
    )
    return [source, _synapses(source, group, layer, order=-1)]


def _raster(monitor: Any, images: int, steps: int, units: int) -> Any:
    raster = np.zeros((images * steps, units), dtype=bool)
    raster[np.rint(np.asarray(monitor.t / DT)).astype(int), np.asarray(monitor.i)] = True
    return raster.reshape(images, steps, units)
