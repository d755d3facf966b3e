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
from ratenets.lpl.config import Coefficients, LossConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.network import LPLNetwork
from ratenets.lpl.rule import local_gradient

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}  # of the issue: max|difference| / max|reference|, per tensor
SINGLE = {
    "grad_pull": Coefficients(1, 0, 0),
    "grad_push": Coefficients(0, 1, 0),
    "grad_decorr": Coefficients(0, 0, 1),
}
WEIGHTED = {"grad": Coefficients(), **SINGLE}
FILES = {"lpl_default": True, "lpl_no_pooling": False}  # and whether the losses stand on pooled codes


def relative(ours: Tensor, reference: np.ndarray) -> float:
    difference = np.abs(ours.detach().double().cpu().numpy() - reference)
    return float(difference.max() / np.abs(reference).max())


@pytest.fixture
def reference(data: Path) -> dict[str, np.ndarray]:
    return {**np.load(data / "lpl/lpl_default.npz"), **np.load(data / "lpl/inputs.npz")}


def network(reference: dict[str, np.ndarray], loss: LossConfig, dtype: torch.dtype, device: str) -> LPLNetwork:
    """The reference's VGG-11 of an eighth of the width, with losses."""
    encoder = encoders.build(EncoderConfig(kind="vgg", width=1 / 8), (3, 32, 32), 0)
    for i, block in enumerate(encoder):
        for name, parameter in block.synapses.named_parameters():
            parameter.data.copy_(torch.from_numpy(reference[f"param.conv{i}.{name}"]))
    return LPLNetwork(encoder, loss, 10).to(torch.device(device), dtype)


def views_of(reference: dict[str, np.ndarray], dtype: torch.dtype, device: str) -> Tensor:
    views = torch.from_numpy(np.concatenate([reference["view1"], reference["view2"]])).to(device, dtype)
    return views.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("way", ["local", "one graph"])
def test_losses_and_every_gradient_equal_the_reference(reference, data, dtype, name, file, way, each_device):
    wanted = np.load(data / f"lpl/{file}.npz")
    net = network(reference, LossConfig(pooling=FILES[file], coefficients=WEIGHTED[name]), dtype, each_device)
    views = views_of(reference, dtype, each_device)
    if way == "local":
        metrics = net.learn(views)
    else:
        total, metrics = net(views)
        total.backward()
        if name == "grad":
            assert relative(total, wanted["total"]) < TOLERANCE[dtype]
    for term in ("pull", "push", "decorr"):
        ours = torch.stack([metrics[f"layer{i}/{term}"] for i in range(1, 9)])
        assert relative(ours, wanted[term]) < TOLERANCE[dtype], term
    for i, block in enumerate(net.encoder):
        for parameter in ("weight", "bias"):
            gradient = getattr(block.synapses, parameter).grad
            assert relative(gradient, wanted[f"{name}.conv{i}.{parameter}"]) < TOLERANCE[dtype], (i, parameter)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_codes_and_maps_equal_the_reference(reference, dtype, each_device):
    encoder = network(reference, LossConfig(), dtype, each_device).encoder
    first, second = views_of(reference, dtype, each_device).chunk(2)
    outputs = list(encoder.outputs(first))
    for i, (output, z1, z2) in enumerate(zip(outputs, encoder(first), encoder(second), strict=True)):
        assert list(output.shape) == reference[f"fm1_shape.{i}"].tolist()
        assert relative(output.mean((2, 3)), reference[f"fm1_mean_bc.{i}"]) < TOLERANCE[dtype]
        assert relative(z1, reference[f"z1.{i}"]) < TOLERANCE[dtype]
        assert relative(z2, reference[f"z2.{i}"]) < TOLERANCE[dtype]
    features = encoder(torch.from_numpy(reference["eval_view"]).to(each_device, dtype))[-1]
    assert relative(features, reference["features_eval_view"]) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_closed_form_equals_the_reference_too(reference, dtype, each_device):
    x = views_of(reference, dtype, each_device)
    for i, block in enumerate(network(reference, LossConfig(), dtype, each_device).encoder):
        gradient = local_gradient(block, x, Coefficients())
        x = gradient.output
        assert relative(gradient.code.chunk(2)[0], reference[f"z1.{i}"]) < TOLERANCE[dtype]
        for name in ("weight", "bias"):
            ours = gradient.parameters[f"synapses.{name}"]
            assert relative(ours, reference[f"grad.conv{i}.{name}"]) < TOLERANCE[dtype]


@pytest.fixture
def metrics(data: Path) -> dict[str, np.ndarray]:
    return dict(np.load(data / "lpl/metrics_and_losses.npz"))


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).double().requires_grad_()


def test_single_terms_equal_the_reference(metrics):
    x, other = tensor(metrics["X"]), tensor(metrics["X_b"])
    mean, variance = (torch.from_numpy(metrics[f"stale_{name}"]) for name in ("mean", "var"))
    cases = {
        "hebbian": objective.push(objective.moments(x)),
        "decorr": objective.decorrelation(objective.moments(x)),
        "hebbian_stale": objective.stale_push(x, mean, variance),
    }
    for name, loss in cases.items():
        (gradient,) = torch.autograd.grad(loss, x)
        assert relative(loss, metrics[f"{name}_loss"]) < 1e-12, name
        assert relative(gradient, metrics[f"{name}_grad"]) < 1e-10, name
    loss = objective.pull(x, other)
    assert relative(loss, metrics["pull_loss"]) < 1e-12
    for gradient, name in zip(torch.autograd.grad(loss, (x, other)), "ab", strict=True):
        assert relative(gradient, metrics[f"pull_grad_{name}"]) < 1e-10


def test_unpooled_terms_equal_the_reference(metrics):
    maps = torch.from_numpy(metrics["fm"])
    terms = objective.unpooled_terms(maps, maps)
    assert relative(terms.push, metrics["fm_hebbian_loss"]) < 1e-12
    assert relative(terms.decorr, metrics["fm_stacked_decorr"]) < 1e-12
    assert terms.pull.item() == 0


def test_negative_sample_terms_equal_the_reference(metrics):
    x, other = tensor(metrics["X"]), tensor(metrics["X_b"])
    assert relative(objective.negative_sample_terms(x, other).pull, metrics["cosine_pull_loss"]) < 1e-12
    assert relative(objective.negative_sample_terms(x, x).push, metrics["cosine_push_loss"]) < 1e-12


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
        objective.terms(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_negative_coefficients_are_refused():
    with pytest.raises(UsageError, match=r"coefficients\.push"):
        Coefficients(push=-1)
