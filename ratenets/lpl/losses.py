"""What stands on a layer: an optional projector, then the objective on its codes for two views."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from foundation.config import setting
from foundation.errors import UsageError
from ratenets.distributed import gathered
from ratenets.lpl import objective
from ratenets.lpl.encoders import code
from ratenets.lpl.objective import EPSILON, Coefficients, Moments, Terms


@dataclass(frozen=True)
class LossConfig:
    """Which loss, on what, and where. Combinations without a meaning are refused with the reason."""

    supervision: bool = setting(False, "labels teach every trained layer, in place of LPL", "train-with-supervision")
    negative_samples: bool = setting(False, "contrast with other samples, in place of LPL", "use-negative-samples")
    end_to_end: bool = setting(False, "one loss on the last layer, its gradient goes to all", "train-end-to-end")
    pooling: bool = setting(True, "losses on the spatial mean of a layer's maps, or on the maps themselves")
    stale_estimates: bool = setting(False, "the Hebbian term uses mean and variance of the step before")
    shuffle_positives: bool = setting(False, "pull together views of different images: a control")
    projector: bool = setting(False, "the loss stands on an MLP on top of the layer", "use-projector-mlp")
    projection_size: int = setting(256, "units of the projector's output")
    mlp_hidden_size: int = setting(2048, "units of the projector's hidden layer")
    epsilon: float = setting(EPSILON, "added to the variance in the logarithm of the Hebbian term")
    summed_pull: bool = setting(False, "predictive term summed over the batch (a known failure)")
    published_decorr: bool = setting(False, "decorrelation as first published, without the erratum")
    one_view: bool = setting(False, "gradient through the second view alone, the first one is a constant")
    coefficients: Coefficients = field(default_factory=Coefficients)

    def __post_init__(self) -> None:
        for name in ("projection_size", "mlp_hidden_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"loss.{name}: must be at least 1, got {getattr(self, name)}")
        if not self.epsilon > 0:
            raise UsageError(f"loss.epsilon: must be positive, got {self.epsilon}")
        for clash, reason in self._clashes():
            if clash:
                raise UsageError(f"loss: {reason}")

    @property
    def plain(self) -> bool:
        """Is it plain LPL, for which the local rule is known in closed form (`ratenets.lpl.rule`)?"""
        others = self.supervision or self.negative_samples or self.projector or not self.pooling
        variants = self.summed_pull or self.published_decorr or self.one_view
        return not (others or variants or self.stale_estimates or self.shuffle_positives)

    def _clashes(self) -> list[tuple[bool, str]]:
        contrast_or_labels = self.supervision or self.negative_samples
        variants = self.summed_pull or self.published_decorr or self.one_view
        unpooled = not self.pooling
        coefficients = self.coefficients
        nothing = not (coefficients.pull or coefficients.push or coefficients.decorr)
        return [
            (nothing and not self.supervision, "all coefficients are 0, there is nothing to learn"),
            (self.supervision and self.negative_samples, "supervision and negative samples exclude each other"),
            (contrast_or_labels and self.stale_estimates, "only LPL's Hebbian term has stale estimates"),
            (contrast_or_labels and unpooled, "losses without pooling are defined for LPL alone"),
            (contrast_or_labels and variants, "the variants of the terms are LPL's alone"),
            (self.supervision and self.shuffle_positives, "supervision has no positive pairs to shuffle"),
            (
                self.negative_samples and self.coefficients.decorr != 0,
                "negative samples go without decorrelation: --decorr-coeff 0",
            ),
            (unpooled and self.end_to_end, "losses without pooling are layer-local, not end to end"),
            (unpooled and self.projector, "a projector stands on the pooled code, not on maps"),
            (unpooled and self.stale_estimates, "stale estimates are of the pooled code, not of maps"),
            (unpooled and variants, "the variants of the terms are defined on the pooled code, not on maps"),
            (self.stale_estimates and self.one_view, "stale estimates are of both views, not of one"),
        ]


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
