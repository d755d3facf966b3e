"""An encoder with the losses of its layers, and the two ways in which it learns.

`learn` is the local way: layer by layer, each from a loss on its own output, with no graph across layers; it is the
quicker one and needs the memory of one layer. `forward` gives the loss as one graph: for end-to-end training,
`torch.compile` and DistributedDataParallel. Both give the same gradients (tested).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from ratenets.distributed import ranks
from ratenets.lpl.config import LossConfig
from ratenets.lpl.encoders import Block, Encoder, code, spread
from ratenets.lpl.losses import LayerLoss, Metrics, precise
from ratenets.lpl.rule import code_rule


class LPLNetwork(nn.Module):
    """Encoder and losses.

    Attributes:
        encoder: the network whose codes are read out.
        losses: of its layers, or of the last one alone if it learns end to end.
    """

    def __init__(self, encoder: Encoder, config: LossConfig, classes: int, biases: bool = True) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        units = [block.units for block in encoder]
        trained = units[-1:] if config.end_to_end else units
        self.losses = nn.ModuleList(LayerLoss(m, config, classes, biases) for m in trained)

    def forward(
        self,
        views: Tensor,
        labels: Tensor | None = None,
        permutation: Tensor | None = None,
        only: int | None = None,
    ) -> tuple[Tensor, Metrics]:
        """The loss of two views of a batch, summed over layers, and its terms by layer ("layer1/pull", ...).

        Args:
            views: the first views, then the second, (2 B, C, H, W).
            labels: (B,), for supervision.
            permutation: (B,), one for all layers, if positives are shuffled.
            only: the number of the one layer that learns, from 0; None: all do.
        """
        total = views.new_zeros(())
        metrics: Metrics = {}
        for number, output in self._trained_outputs(views):
            if only is None or number == only:
                loss, terms = self._loss(number)(output, labels, permutation)
                total = total + loss
                metrics |= _named(number, terms)
            if number == only:
                break
        return total, metrics

    def _loss(self, number: int) -> LayerLoss:
        loss = self.losses[-1 if self.config.end_to_end else number]
        assert isinstance(loss, LayerLoss)
        return loss

    def _trained_outputs(self, views: Tensor) -> list[tuple[int, Tensor]]:
        """Number and output of the layers that have a loss."""
        local = not self.config.end_to_end
        if self.encoder.one_view_at_a_time:
            both = [list(self.encoder.outputs(view, local=local)) for view in views.chunk(2)]
            outputs = [torch.cat(pair) for pair in zip(*both, strict=True)]
        else:
            outputs = list(self.encoder.outputs(views, local=local))
        numbered = list(enumerate(outputs))
        return numbered if local else numbered[-1:]

    def learn(
        self,
        views: Tensor,
        labels: Tensor | None = None,
        permutation: Tensor | None = None,
        only: int | None = None,
    ) -> Metrics:
        """Add the gradients of `forward` to every parameter's `.grad`, layer by layer; return the terms.

        Raises:
            UsageError: the network learns end to end.
        """
        if self.config.end_to_end or self.encoder.one_view_at_a_time:
            raise UsageError("learn: a network that learns end to end, or with batch norm, has no local way")
        metrics: Metrics = {}
        x = views
        for number, block in enumerate(self.encoder):
            if only is not None and number > only:
                break
            if only is not None and number < only:
                with torch.no_grad():
                    x = block(x)
                continue
            output, learn = block.respond(x)
            gradient, terms = self._output_gradient(number, output, labels, permutation)
            _add(block, learn(gradient))
            metrics |= _named(number, terms)
            x = output
        return metrics

    def _output_gradient(
        self, number: int, output: Tensor, labels: Tensor | None, permutation: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        """D loss / d output of a layer, and the terms of its loss."""
        config = self.config
        if config.plain and ranks() == 1:
            with torch.autocast(output.device.type, enabled=False):
                g, terms = code_rule(precise(code(output)), config.coefficients, config.epsilon)
            return spread(g, output), terms._asdict()
        leaf = (code(output) if config.pooling else output).detach().requires_grad_()
        loss, metrics = self._loss(number)(leaf, labels, permutation)
        loss.backward()
        assert leaf.grad is not None
        return spread(leaf.grad, output) if config.pooling else leaf.grad, metrics


def _named(number: int, terms: Metrics) -> Metrics:
    return {f"layer{number + 1}/{name}": value for name, value in terms.items()}


def _add(block: Block, gradients: Mapping[str, Tensor]) -> None:
    parameters = dict(block.named_parameters())
    for name, gradient in gradients.items():
        parameter = parameters[name]
        # In the parameter's own memory layout, as autograd has it: fused optimisers read both side by side.
        own = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = own if parameter.grad is None else parameter.grad + own
