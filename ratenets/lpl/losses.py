"""What stands on a layer: an optional projector, then the objective on its codes for two views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ratenets.distributed import gathered
from ratenets.lpl import objective
from ratenets.lpl.config import LossConfig
from ratenets.lpl.encoders import code
from ratenets.lpl.objective import Moments, Terms

Metrics = dict[str, Tensor]
"""The unweighted terms of a loss, scalars."""


class LayerLoss(nn.Module):
    """The loss of one layer, with all that learns or is remembered for it alone.

    `stale_mean` and `stale_variance` (M,) are LPL's estimates of the step before, if they are asked for; they go
    into the checkpoint, and only training steps change them.
    """

    stale_mean: Tensor
    stale_variance: Tensor
    seen: Tensor

    def __init__(self, units: int, config: LossConfig, classes: int, biases: bool = True) -> None:
        """Make the projector and the head that the configuration asks for.

        Args:
            units: M, of the layer's code.
            config: of the loss.
            classes: of the labels, for supervision.
            biases: of the projector, which has them if its encoder has.
        """
        super().__init__()
        self.config = config
        self.projector = projector(units, config, biases) if config.projector else None
        top = config.projection_size if config.projector else units
        self.head = nn.Linear(top, classes) if config.supervision else None
        if config.stale_estimates:
            self.register_buffer("stale_mean", torch.zeros(top))
            self.register_buffer("stale_variance", torch.ones(top))
            self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, output: Tensor, labels: Tensor | None, permutation: Tensor | None) -> tuple[Tensor, Metrics]:
        """The weighted loss, and its terms.

        Args:
            output: of the layer for the first views, then for the second, (2 B, ...).
            labels: (B,) of the whole batch, for supervision.
            permutation: (B,) of the whole batch, if positives are shuffled.
        """
        z = output if not self.config.pooling else code(output)
        if self.projector is not None:
            z = self.projector(z)
        with torch.autocast(z.device.type, enabled=False):
            z1, z2 = (gathered(view) for view in precise(z).chunk(2))
            return self._on_codes(z1, z2, labels, permutation)

    def _on_codes(
        self, z1: Tensor, z2: Tensor, labels: Tensor | None, permutation: Tensor | None
    ) -> tuple[Tensor, Metrics]:
        if self.head is not None:
            assert labels is not None
            logits = self.head(torch.cat([z1, z2]))
            loss = functional.cross_entropy(logits, labels.repeat(2))
            return loss, {"cross_entropy": loss.detach()}
        terms = self._terms(z1, z2 if permutation is None else z2[permutation])
        metrics = {name: value.detach() for name, value in terms._asdict().items()}
        return terms.total(self.config.coefficients), metrics

    def _terms(self, z1: Tensor, z2: Tensor) -> Terms:
        config = self.config
        if config.negative_samples:
            return objective.negative_sample_terms(z1, z2)
        if not config.pooling:
            return objective.unpooled_terms(z1, z2, config.epsilon)
        objective.check_codes(z1, z2)
        first, second = objective.moments(z1), objective.moments(z2)
        decorr = objective.published_decorrelation if config.published_decorr else objective.decorrelation
        if config.one_view:
            terms = Terms(objective.pull(z1.detach(), z2), objective.push(second, config.epsilon), decorr(second))
        else:
            terms = objective.terms_from_moments(z1, z2, first, second, config.epsilon)
        if config.published_decorr and not config.one_view:
            terms = terms._replace(decorr=(decorr(first) + decorr(second)) / 2)
        if config.stale_estimates:
            terms = terms._replace(push=self._stale_push(z1, z2, terms.push))
            self._remember(z1, z2, first, second)
        if config.summed_pull:
            terms = terms._replace(pull=terms.pull * len(z1))
        return terms

    def _stale_push(self, z1: Tensor, z2: Tensor, fresh: Tensor) -> Tensor:
        """The Hebbian term with the estimates of the step before; the first step has none."""
        epsilon = self.config.epsilon
        # Copies: the buffers change before the gradient is taken.
        seen, mean, variance = (x.clone() for x in (self.seen, self.stale_mean, self.stale_variance))
        stale = [objective.stale_push(z, mean, variance, epsilon) for z in (z1, z2)]
        return torch.where(seen, (stale[0] + stale[1]) / 2, fresh)

    @torch.no_grad()
    def _remember(self, z1: Tensor, z2: Tensor, first: Moments, second: Moments) -> None:
        if self.training:
            self.stale_mean.copy_((z1.mean(0) + z2.mean(0)) / 2)
            self.stale_variance.copy_((first.variance + second.variance) / 2)
            self.seen.fill_(True)


def projector(units: int, config: LossConfig, biases: bool = True) -> nn.Sequential:
    """Two dense layers, each with a ReLU: what the loss sees in place of a code. The readout never sees it."""
    hidden, top = config.mlp_hidden_size, config.projection_size
    return nn.Sequential(nn.Linear(units, hidden, biases), nn.ReLU(), nn.Linear(hidden, top, biases), nn.ReLU())


def precise(z: Tensor) -> Tensor:
    """A code in 32 bits at least: variances are not taken in 16."""
    return z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
