"""`spiking.integrate_and_fire` as a Brian2 network, on the same update schedule as the snnTorch layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import brian2 as b2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from foundation.errors import UsageError
from spiking.brian.running import code_for, run_network
from spiking.integrate_and_fire import INPUT, IFLayer, IFNetwork, IFResult, MaxPool, Stimulus
from spiking.synapses import Conv, Shape, Synapses, explicit, per_unit

DT = 1 * b2.ms
"""Duration of a step. It has no meaning to a neuron without a leak; a simulation only needs one."""

SLOT = "groups"
"""Everything runs in one slot of Brian2's schedule, ordered by layer: drive, threshold, reset, synapses to the next.
Brian2's default would update all layers first, and a spike would reach the next layer a step late."""

NEURON = """
u : 1                 # potential, in thresholds
fired : 1             # spikes so far
level = u + fired : 1  # all that has been put in
bias : 1 (constant)   # in thresholds per step
"""
THRESHOLD = "u >= 1"
RESETS = {"subtract": "u -= 1; fired += 1", "zero": "u = 0; fired += 1"}
GATE = """
largest : 1           # in the window
passes : 1            # does a spike come through in this step?
fired : 1
level = fired : 1
"""
GATE_THRESHOLD = "passes > 0.5"
GATE_RESET = "fired += 1"

SYNAPSE_BYTES = 60
"""What a synapse takes at most while it is made; a third of it later."""

MOST_SYNAPSES = 50_000_000


def check_size(network: IFNetwork) -> None:
    """Raises `UsageError` if the network has more synapses than memory is likely to hold."""
    synapses = network.synapses()
    if synapses > MOST_SYNAPSES:
        raise UsageError(
            f"Brian2 would need {synapses:,} synapses, some {synapses * SYNAPSE_BYTES / 1e9:.0f} GB; at most "
            f"{MOST_SYNAPSES:,} are built; use snnTorch"
        )


def simulate(
    network: IFNetwork,
    stimulus: Stimulus,
    steps: int,
    *,
    spikes: bool = False,
    task: NDArray[np.int64] | None = None,
) -> IFResult:
    """Run the network in Brian2; a `spiking.integrate_and_fire.Simulator`.

    The images follow one another in a single run, every neuron going back to its initial potential at the start of
    each. The length of the run decides how (`spiking.brian.running.code_for`), or Brian2's `codegen.target`, if set.

    Raises:
        UsageError: a stimulus of the wrong shape, or more synapses than memory is likely to hold.
    """
    stimulus = network.shown(stimulus, steps)
    tasks = network.tasked(task, len(stimulus), steps)
    check_size(network)
    with code_for(len(stimulus) * steps):
        return _simulated(network, stimulus, steps, spikes, tasks)


def _simulated(
    network: IFNetwork, stimulus: Stimulus, steps: int, spikes: bool, tasks: NDArray[np.int64] | None
) -> IFResult:
    built = build(network, stimulus, steps)
    objects = [*built.objects, *(_switches(network, built, tasks) if tasks is not None else [])]
    monitors = [b2.SpikeMonitor(group, when="end") for group in built.groups]
    potential = b2.StateMonitor(built.readout, "u", record=True, when="end", dt=DT)
    images = len(stimulus)
    run_network(b2.Network(*objects, *monitors, potential), float(images * steps * DT))
    rasters = [
        _raster(monitor, images, steps, shape) for monitor, shape in zip(monitors, network.shapes[:-1], strict=True)
    ]
    return IFResult(
        rasters if spikes else [],
        [raster.sum(1).astype(float) for raster in rasters],
        np.asarray(potential.u).T.reshape(images, steps, -1).copy(),
    )


@dataclass(frozen=True, eq=False)
class Built:
    """A network in Brian2: the neurons of every layer (and gates), the readout, and all objects, these included."""

    groups: list[Any]
    readout: Any
    objects: list[Any]


def build(network: IFNetwork, stimulus: Stimulus, steps: int) -> Built:
    """Make the objects; `stimulus` as `IFNetwork.shown` gives it."""
    last = len(network.layers)
    source, objects = _source(network, stimulus, steps)
    groups: list[Any] = []
    for number, layer in enumerate(network.layers):
        size = int(np.prod(network.shapes[number]))
        if isinstance(layer, MaxPool):
            below = network.sources(number)[0]
            group, more = _max_pool(layer, number, groups[below], network.shape_of(below), size)
        else:
            group, more = _neurons(network, layer, number, size), []
        groups.append(group)
        objects += [group, *more, *_restarts(group, steps, network.initial_potential)]
    readout = b2.NeuronGroup(int(np.prod(network.shapes[-1])), "u : 1\nbias : 1 (constant)", dt=DT)
    readout.bias = per_unit(network.readout.bias, network.shapes[-1])
    objects += [readout, *_restarts(readout, steps, 0.0)]
    for number, layer in [*network.spiking.items(), (last, network.readout)]:
        target = readout if number == last else groups[number]
        objects.append(target.run_regularly("u += bias", when=SLOT, order=10 * number))
        for projection, below in zip(layer.projections, network.sources(number), strict=True):
            synapses = explicit(projection.maps, network.shape_of(below))
            if below == INPUT and source is None:
                objects.append(_current(target, synapses, stimulus, steps, network, number))
            else:
                origin = source if below == INPUT else groups[below]
                objects.append(connected(origin, target, synapses, "u_post += w", order=10 * number - 1))
    return Built(groups, readout, objects)


def connected(source: Any, target: Any, synapses: Synapses, on_pre: str, *, order: int) -> Any:
    """Brian2 synapses built from arrays, never by loops; spikes arrive in the step in which they are fired."""
    pre, post, weight = synapses
    if len(pre) == 0:  # Brian2 knows no empty connection; one of weight 0 does the same
        pre, post, weight = np.zeros(1, int), np.zeros(1, int), np.zeros(1)
    made = b2.Synapses(source, target, "w : 1", on_pre=on_pre, dt=DT)
    made.connect(i=pre, j=post, skip_if_invalid=False)
    made.w = weight
    made.pre.when, made.pre.order = SLOT, order
    return made


def _neurons(network: IFNetwork, layer: IFLayer, number: int, size: int) -> Any:
    """`open` is 1 where a unit's gate is; of layers with gates only."""
    gated = layer.gates is not None
    group = b2.NeuronGroup(
        size,
        NEURON + ("open : 1\n" if gated else ""),
        threshold="u >= 1 and open > 0.5" if gated else THRESHOLD,
        reset=RESETS[network.reset],
        dt=DT,
    )
    group.bias = per_unit(layer.bias, network.shapes[number])
    if gated:
        held = f"u = open * u + (1 - open) * {network.initial_potential!r}"
        group.run_regularly(held, when=SLOT, order=10 * number + 3)
    return _placed(group, number)


def _placed(group: Any, number: int) -> Any:
    group.thresholder["spike"].when, group.thresholder["spike"].order = SLOT, 10 * number + 1
    group.resetter["spike"].when, group.resetter["spike"].order = SLOT, 10 * number + 2
    return group


def _restarts(group: Any, steps: int, potential: float) -> list[Any]:
    """At the start of every image the state goes back to where it began."""
    state = {"u": potential, "fired": 0.0, **{name: 0.0 for name in group.variables if name.startswith("n_")}}
    code = "\n".join(f"{name} = {float(value)!r}" for name, value in state.items() if name in group.variables)
    return [group.run_regularly(code, dt=steps * DT, when="start")]


# --- what a max-pool lets through -------------------------------------------------------------------------------------
def _max_pool(layer: MaxPool, number: int, below: Any, shape: Shape, size: int) -> tuple[Any, list[Any]]:
    """A group of gates and the synapses to it: a projection for each place in a window, at most one source in each."""
    places = gate_places(layer, shape)
    by_potential = layer.gate == "potential"
    model, code = gate_model(layer), gate_code(layer)
    group = b2.NeuronGroup(size, model, threshold=GATE_THRESHOLD, reset=GATE_RESET, dt=DT)
    projections = [
        connected(below, group, place, f"n_{k}_post += 1", order=10 * number - 1) for k, place in enumerate(places)
    ]
    if by_potential:
        for k, place in enumerate(places):
            index, inside = np.zeros(size, int), np.zeros(size)
            index[place.post], inside[place.post] = place.pre, 1
            setattr(group, f"level_{k}", b2.linked_var(below, "level", index=index))
            setattr(group, f"inside_{k}", inside)
    group.run_regularly(code, when=SLOT, order=10 * number)
    return _placed(group, number), projections


def gate_model(layer: MaxPool) -> str:
    """The equations of a group of gates: beside `GATE`, variables for each place in a window."""
    lines = [f"n_{k} : 1" for k in range(_taps(layer))]
    if layer.gate == "potential":
        lines += [f"inside_{k} : 1 (constant)\nlevel_{k} : 1 (linked)" for k in range(_taps(layer))]
    return "\n".join([*lines, GATE])


def gate_code(layer: MaxPool) -> str:
    """What a group of gates does in every step, once spikes have arrived."""
    numbers = range(_taps(layer))
    return _by_potential(numbers) if layer.gate == "potential" else _by_count(numbers)


def _taps(layer: MaxPool) -> int:
    return layer.kernel[0] * layer.kernel[1]


def _by_count(numbers: range) -> str:
    """Of what has been fired at each place; the gate passes on when the largest number has grown."""
    rows = [f"largest = largest * int(largest >= n_{k}) + n_{k} * int(largest < n_{k})" for k in numbers[1:]]
    return "\n".join(["largest = n_0", *rows, "passes = largest - fired"])


def _by_potential(numbers: range) -> str:
    """The gate passes on what those of its sources fire now whose level none exceeds; n counts this step alone."""
    level = "(level_{k} * inside_{k} - 1e300 * (1 - inside_{k}))"
    rows = ["largest = -1e300"]
    rows += [
        f"largest = largest * int(largest >= {level}) + {level} * int(largest < {level})".format(k=k) for k in numbers
    ]
    rows += ["passes = 0", *(f"passes += n_{k} * int({level} >= largest)".format(k=k) for k in numbers)]
    return "\n".join([*rows, *(f"n_{k} = 0" for k in numbers)])


def gate_places(layer: MaxPool, shape: Shape) -> list[Synapses]:
    """For each place in a window, which unit below is there in which window above."""
    channels, taps = shape[0], _taps(layer)
    numbered = np.tile(np.arange(taps, dtype=np.float64).reshape(1, 1, *layer.kernel) + 1, (channels, 1, 1, 1))
    found = Conv(numbered, layer.stride, layer.padding, groups=channels).explicit(shape)
    return [Synapses(*(values[found.weight == tap] for values in found)) for tap in range(1, taps + 1)]


# --- input and tasks --------------------------------------------------------------------------------------------------
def _source(network: IFNetwork, stimulus: Stimulus, steps: int) -> tuple[Any, list[Any]]:
    """The input's own spikes, where it has some."""
    if network.is_constant(stimulus):
        return None, []
    image, step, line = np.nonzero(stimulus.reshape(len(stimulus), steps, -1))
    source = b2.SpikeGeneratorGroup(
        network.inputs, line, (image * steps + step) * DT, dt=DT, when=SLOT, order=-2, sorted=True
    )
    return source, [source]


def _current(target: Any, synapses: Synapses, x: Stimulus, steps: int, network: IFNetwork, number: int) -> Any:
    """What a constant input drives a layer with: a current that is constant during an image."""
    flat = x.reshape(len(x), -1)
    matrix = sparse.csr_matrix((synapses.weight, (synapses.post, synapses.pre)), (target.N, flat.shape[1]))
    name = f"drive_{number}"
    target.namespace[name] = b2.TimedArray((matrix @ flat.T).T, dt=steps * DT)
    return target.run_regularly(f"u += {name}(t, i)", when=SLOT, order=10 * number - 1)


def _switches(network: IFNetwork, built: Built, tasks: NDArray[np.int64]) -> list[Any]:
    """Opens and closes gates where the task changes, and restarts the readout within an image."""
    sequence, steps = tasks.ravel(), tasks.shape[1]
    gates = [
        (built.groups[number], layer.gates.reshape(len(network.tasks), -1))
        for number, layer in network.spiking.items()
        if layer.gates is not None
    ]

    def switch(t: Any) -> None:
        now = round(float(t / DT))
        if now and sequence[now] == sequence[now - 1]:
            return
        for group, masks in gates:
            group.open = masks[sequence[now]].astype(float)
        if now % steps:
            built.readout.u = 0

    return [b2.NetworkOperation(switch, dt=DT, when="start", order=1)]


def _raster(monitor: Any, images: int, steps: int, shape: Shape) -> Any:
    units = int(np.prod(shape))
    raster = np.zeros((images * steps, units), dtype=bool)
    raster[np.rint(np.asarray(monitor.t / DT)).astype(int), np.asarray(monitor.i)] = True
    return raster.reshape(images, steps, *shape)
