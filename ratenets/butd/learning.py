"""One step of learning: Counter-Hebb, which needs neither autograd nor a graph, or backprop.

Both leave their values in `.grad`, added to what is there, for any optimiser of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ratenets.butd.layers import Activities, Layer
from ratenets.butd.losses import Loss
from ratenets.butd.networks import ButdNetwork

Noise = Callable[[], float]
"""By which factor a weight's whole update goes wrong."""


class Samples(NamedTuple):
    """What a network learns from in one step, or is tested on.

    Attributes:
        images: (B, C, H, W).
        targets: of the loss: class ids (B,), or vectors (B, C).
        instruction: (B, size); None: the network is unguided.
        decoder: which decoder each sample's task reads, (B,); None: there is one.
    """

    images: Tensor
    targets: Tensor
    instruction: Tensor | None = None
    decoder: Tensor | None = None


@torch.no_grad()
def counter_hebb(
    network: ButdNetwork,
    samples: Samples,
    loss: Loss,
    *,
    share: float = 1.0,
    noise: Noise | None = None,
    instruct: bool = False,
) -> Tensor:
    """Attention pass, bottom-up pass, error pass; every layer learns as soon as the error pass reaches it.

    The update values equal the gradients of the loss wherever V = W^T, and those of backprop through the top-down
    weights else: Counter-Hebb learning (Abel & Ullman, arXiv 2306.02415).

    Args:
        network: gets its values added to `.grad`, in storage of their own.
        samples: with instructions if the network is guided.
        loss: of the outputs.
        share: factor of all values, the part of a step that these samples are.
        noise: draws a factor for each update of a weight, not of a bias.
        instruct: the instruction head learns, too, see `teach_instruction`.

    Returns: the mean loss.
    """

    def learn(layer: Layer, values: Mapping[str, Tensor]) -> None:
        add_values(
            {layer.get_parameter(name): value if share == 1 else value * share for name, value in values.items()}, noise
        )

    attention = network.attention(samples.instruction)
    logits, activities = network.bottom_up(samples.images, attention)
    outputs = network.read(logits, samples.decoder)
    value = loss.value(outputs, samples.targets)
    errors = network.scatter(loss.error(outputs, samples.targets) * (1 / len(outputs)), samples.decoder)
    if instruct and attention is not None:
        error = network.send_back(errors, activities)
        with _statistics_as_they_are(network):
            worth = {
                layer.name: error[layer.name] * layer.ascend(activities[layer.name], {}, attention)
                for layer in network.gated_layers()
            }
        teach_instruction(network, samples, {name: value * share for name, value in worth.items()})
    del attention
    network.learn(errors, activities, learn)
    return value


def backprop(
    network: ButdNetwork, samples: Samples, loss: Loss, *, share: float = 1.0, instruct: bool = False
) -> Tensor:
    """Attention pass, bottom-up pass, and the gradients of the loss by autograd; V learns nothing.

    Arguments and result are those of `counter_hebb`.
    """
    gates = network.attention(samples.instruction)
    if instruct and gates is not None:
        gates = {name: td.requires_grad_() for name, td in gates.items()}
    logits, _ = network.bottom_up(samples.images, gates)
    value = loss.value(network.read(logits, samples.decoder), samples.targets)
    (value * share).backward()
    if instruct and gates is not None:
        worth = {layer.name: gates[layer.name].grad for layer in network.gated_layers()}
        teach_instruction(network, samples, {name: grad for name, grad in worth.items() if grad is not None})
    return value.detach()


def teach_instruction(network: ButdNetwork, samples: Samples, worth: Activities) -> None:
    """Add to the instruction head's `.grad` what would open the gates that are worth it: an extension of ours.

    A gate's derivative is taken straight through where it is open, so that its worth is the error that arrives there
    times the activity that it lets pass: both are at hand at that unit. The attention pass's own derivative, from the
    gates up to the instruction head, is autograd's; the core's weights are left alone.

    Args:
        network: guided.
        samples: of the step.
        worth: dL/dgate of every gated layer, (B, ...), as by the mean loss.
    """
    if network.instruction is None or samples.instruction is None:
        return
    learning = [parameter for parameter in network.instruction.parameters() if parameter.requires_grad]
    with torch.enable_grad(), _statistics_as_they_are(network):
        attention = network.attend(samples.instruction)
    values = torch.autograd.grad([attention[name] for name in worth], learning, [*worth.values()], allow_unused=True)
    for parameter, value in zip(learning, values, strict=True):
        if value is not None:
            parameter.grad = value if parameter.grad is None else parameter.grad + value


@contextmanager
def _statistics_as_they_are(network: ButdNetwork) -> Iterator[None]:
    """Within, batch norms take no notice of what passes: it has passed before."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def add_values(values: Mapping[nn.Parameter, Tensor], noise: Noise | None = None) -> None:
    """Add values to the `.grad` of those parameters that learn, each in storage of its own."""
    taken: set[int] = set()
    for parameter, value in values.items():
        if not parameter.requires_grad:
            continue
        if noise is not None and parameter.dim() > 1:
            value = value * noise()
        if parameter.grad is not None:
            parameter.grad += value
            continue
        # W and V must not share storage: what is added to the one, or clipped, would change the other, too.
        storage = value.untyped_storage().data_ptr()
        own = storage not in taken and value.stride() == parameter.stride()
        taken.add(storage)
        parameter.grad = value.to(parameter.dtype) if own else torch.empty_like(parameter).copy_(value)


@torch.no_grad()
def counter_hebb_values(network: ButdNetwork, samples: Samples, loss: Loss) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss, and Counter-Hebb update values by the parameters' names: `counter_hebb` as a pure function.

    It takes more memory, since the activities of both passes are there at the same time.
    """
    logits, bu = network.bottom_up(samples.images, network.attention(samples.instruction))
    outputs = network.read(logits, samples.decoder)
    error = network.send_back(network.scatter(loss.error(outputs, samples.targets), samples.decoder), bu)
    return loss.value(outputs, samples.targets), network.counter_hebb(bu, error)
