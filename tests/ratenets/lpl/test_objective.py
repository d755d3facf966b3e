"""Losses and gradients of layer-local LPL against the reference's numbers, and against themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from foundation.errors import UsageError
from ratenets.lpl import encoders, objective
from ratenets.lpl.encoders import EncoderConfig, LayerLocalEncoder
from ratenets.lpl.objective import Coefficients
from ratenets.lpl.rule import local_gradient

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}  # of the issue: max|difference| / max|reference|, per tensor
SINGLE = {
    "grad_pull": Coefficients(1, 0, 0),
    "grad_push": Coefficients(0, 1, 0),
    "grad_decorr": Coefficients(0, 0, 1),
}
WEIGHTED = {"grad": Coefficients(), **SINGLE}


def relative(ours: Tensor, reference: np.ndarray) -> float:
    difference = np.abs(ours.detach().double().cpu().numpy() - reference)
    return float(difference.max() / np.abs(reference).max())


@pytest.fixture
def reference(data: Path) -> dict[str, np.ndarray]:
    return {**np.load(data / "lpl/lpl_default.npz"), **np.load(data / "lpl/inputs.npz")}


def network(reference: dict[str, np.ndarray], dtype: torch.dtype, device: str) -> LayerLocalEncoder:
    """The reference's VGG-11 of an eighth of the width."""
    encoder = encoders.build(EncoderConfig(kind="vgg", width=1 / 8), (3, 32, 32), 0).to(device, dtype)
    for i, block in enumerate(encoder):
        for name in ("weight", "bias"):
            getattr(block.synapses, name).data.copy_(torch.from_numpy(reference[f"param.conv{i}.{name}"]))
    return encoder


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", WEIGHTED)
def test_losses_and_every_gradient_equal_the_reference(reference, dtype, name, each_device):
    encoder = network(reference, dtype, each_device)
    views = torch.from_numpy(np.concatenate([reference["view1"], reference["view2"]])).to(each_device, dtype)
    layers = [objective.terms(*code.chunk(2)) for code in encoder(views)]
    loss = torch.stack([layer.total(WEIGHTED[name]) for layer in layers]).sum()
    loss.backward()
    for term in ("pull", "push", "decorr"):
        ours = torch.stack([getattr(layer, term) for layer in layers])
        assert relative(ours, reference[term]) < TOLERANCE[dtype], term
    if name == "grad":
        assert relative(loss, reference["total"]) < TOLERANCE[dtype]
    for i, block in enumerate(encoder):
        for parameter in ("weight", "bias"):
            gradient = getattr(block.synapses, parameter).grad
            assert relative(gradient, reference[f"{name}.conv{i}.{parameter}"]) < TOLERANCE[dtype], (i, parameter)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_closed_form_equals_the_reference_too(reference, dtype, each_device):
    x = torch.from_numpy(np.concatenate([reference["view1"], reference["view2"]])).to(each_device, dtype)
    for i, block in enumerate(network(reference, dtype, each_device)):
        gradient = local_gradient(block, x, Coefficients())
        x = gradient.output
        assert relative(gradient.code.chunk(2)[0], reference[f"z1.{i}"]) < TOLERANCE[dtype]
        assert relative(gradient.weight, reference[f"grad.conv{i}.weight"]) < TOLERANCE[dtype]
        assert gradient.bias is not None
        assert relative(gradient.bias, reference[f"grad.conv{i}.bias"]) < TOLERANCE[dtype]


@given(seed=st.integers(0, 2**31), batch=st.integers(2, 9), units=st.integers(1, 7))
@settings(deadline=None, max_examples=40)
def test_terms_do_not_depend_on_the_order_of_samples_or_units(seed, batch, units):
    generator = torch.Generator().manual_seed(seed)
    z1, z2 = torch.randn(2, batch, units, generator=generator, dtype=torch.float64)
    rows, columns = torch.randperm(batch, generator=generator), torch.randperm(units, generator=generator)
    ours = torch.stack(objective.terms(z1, z2))
    permuted = torch.stack(objective.terms(z1[rows][:, columns], z2[rows][:, columns]))
    torch.testing.assert_close(ours, permuted, rtol=1e-12, atol=1e-12)
    shifted = torch.stack(objective.terms(z1 + 3, z2 + 3))  # no term knows the mean
    torch.testing.assert_close(ours, shifted, rtol=1e-9, atol=1e-9)


def test_terms_are_what_they_say():
    z = torch.tensor([[0.0, 0.0], [2.0, 4.0]], dtype=torch.float64)
    terms = objective.terms(z, z.flip(0))
    assert terms.pull.item() == (4 + 16) / 2
    assert terms.push.item() == pytest.approx(-(np.log(2 + 1e-4) + np.log(8 + 1e-4)) / 2, rel=1e-14)
    assert terms.decorr.item() == pytest.approx(4.0**2)  # C_12 = 4


@pytest.mark.parametrize("shapes", [((1, 3), (1, 3)), ((4, 3), (5, 3)), ((4, 3, 2), (4, 3, 2))])
def test_impossible_codes_are_refused(shapes):
    with pytest.raises(UsageError):
        objective.terms(*(torch.zeros(shape) for shape in shapes))


def test_negative_coefficients_are_refused():
    with pytest.raises(UsageError, match=r"coefficients\.push"):
        Coefficients(push=-1)
