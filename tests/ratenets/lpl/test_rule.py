"""The closed form is the gradient: what the spiking level mirrors is what the rate level does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ratenets.lpl import encoders, objective
from ratenets.lpl.config import Coefficients
from ratenets.lpl.encoders import ConvBlock, DenseBlock, EncoderConfig, code
from ratenets.lpl.rule import local_gradient

COEFFICIENTS = st.sampled_from(
    [Coefficients(), Coefficients(0, 1, 10), Coefficients(2.5, 0.3, 0), Coefficients(1, 0, 4)]
)


def check(block: encoders.Block, x: torch.Tensor, coefficients: Coefficients) -> None:
    output = block(x)
    z1, z2 = code(output).chunk(2)
    loss = objective.terms(z1, z2).total(coefficients)
    parameters = dict(block.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    ours = local_gradient(block, x, coefficients)
    torch.testing.assert_close(ours.output, output)
    closed = [ours.parameters[name] for name in parameters]
    # Of the layer's largest gradient: a bias that shifts every sample alike has a sum that cancels to nothing.
    size = max(gradient.abs().max().item() for gradient in gradients)
    for mine, autograd in zip(closed, gradients, strict=True):
        assert (mine - autograd).abs().max().item() <= 1e-10 * size + 1e-12  # where all cancels, rounding is left


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(2, 8),
    inputs=st.integers(1, 9),
    units=st.integers(1, 9),
    bias=st.booleans(),
    coefficients=COEFFICIENTS,
)
@settings(deadline=None, max_examples=60)
def test_dense(seed, batch, inputs, units, bias, coefficients):
    torch.manual_seed(seed)
    check(DenseBlock(inputs, units, bias).double(), torch.randn(2 * batch, inputs).double(), coefficients)


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(2, 4),
    side=st.integers(2, 7),
    pool=st.booleans(),
    bias=st.booleans(),
    coefficients=COEFFICIENTS,
)
@settings(deadline=None, max_examples=60)
def test_convolution(seed, batch, side, pool, bias, coefficients):
    torch.manual_seed(seed)
    check(ConvBlock(2, 3, pool, bias).double(), torch.randn(2 * batch, 2, side, side + 1).double(), coefficients)


@pytest.mark.parametrize("kind", ["mlp", "vgg"])
def test_no_gradient_crosses_a_layer(kind):
    """Layer 2's loss says nothing to layer 1, and the whole network's gradient is the layers' own."""
    encoder = encoders.build(EncoderConfig(kind=kind, hidden=(12, 8), width=1 / 16), (3, 32, 32), 5).double()
    x = torch.rand(8, 3, 32, 32, dtype=torch.float64)
    objective.terms(*encoder(x)[1].chunk(2)).total(Coefficients()).backward()
    first, second = list(encoder)[:2]
    assert first.synapses.weight.grad is None
    assert second.synapses.weight.grad is not None
    assert second.synapses.weight.grad.abs().max() > 0
