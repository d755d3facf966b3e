"""Every loss against a plain formula, and both ways of learning against each other."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from foundation.errors import UsageError
from ratenets.lpl import encoders
from ratenets.lpl.config import EPSILON, Coefficients, LossConfig
from ratenets.lpl.encoders import EncoderConfig, code
from ratenets.lpl.losses import LayerLoss
from ratenets.lpl.network import LPLNetwork

ONLY = {name: Coefficients(**{"pull": 0, "push": 0, "decorr": 0, name: 1}) for name in ("pull", "push", "decorr")}
NO_DECORR = Coefficients(decorr=0)
BATCH, UNITS = 7, 5


@pytest.fixture
def codes(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    first, second = (torch.from_numpy(rng.gamma(2, 1, (BATCH, UNITS))).requires_grad_() for _ in range(2))
    return first, second


def loss_of(
    config: LossConfig, codes: tuple[Tensor, Tensor], **given: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    layer = LayerLoss(UNITS, config, 4).double()
    arguments = {"labels": None, "permutation": None, **given}
    total, terms = layer(torch.cat(codes), *arguments.values())
    return total, terms


def variance(z: Tensor) -> Tensor:
    return (z - z.mean(0)).square().sum(0) / (len(z) - 1)


def test_shuffled_positives_pull_to_other_images_and_change_nothing_else(codes):
    z1, z2 = codes
    order = torch.tensor([3, 0, 6, 1, 2, 5, 4])
    _, terms = loss_of(LossConfig(shuffle_positives=True), codes, permutation=order)
    _, plain = loss_of(LossConfig(), codes)
    torch.testing.assert_close(terms["pull"], (z1 - z2[order]).square().mean().detach())
    torch.testing.assert_close(terms["push"], plain["push"])
    torch.testing.assert_close(terms["decorr"], plain["decorr"])


def test_a_projector_ends_in_a_relu_and_the_loss_stands_on_it(codes):
    config = LossConfig(projector=True, projection_size=3, mlp_hidden_size=6)
    torch.manual_seed(0)
    layer = LayerLoss(UNITS, config, 4).double()
    assert layer.projector is not None
    first, _, second, last = layer.projector
    assert (first.weight.shape, second.weight.shape) == ((6, UNITS), (3, 6))
    assert isinstance(last, torch.nn.ReLU)
    z1, z2 = (functional.relu(second(functional.relu(first(z)))) for z in codes)
    total, terms = layer(torch.cat(codes), None, None)
    torch.testing.assert_close(terms["pull"], (z1 - z2).square().mean().detach())
    pushes = [-torch.log(variance(z) + EPSILON).mean() for z in (z1, z2)]
    torch.testing.assert_close(terms["push"], torch.stack(pushes).mean().detach())
    total.backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_supervision_is_the_mean_cross_entropy_of_both_views(codes):
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    torch.manual_seed(0)
    layer = LayerLoss(UNITS, LossConfig(supervision=True), 4).double()
    total, terms = layer(torch.cat(codes), labels, None)
    assert layer.head is not None
    logits = [z @ layer.head.weight.T + layer.head.bias for z in codes]
    each = [-torch.log_softmax(x, 1)[range(BATCH), labels].mean() for x in logits]
    torch.testing.assert_close(total, torch.stack(each).mean())
    assert terms.keys() == {"cross_entropy"}


def test_negative_samples_push_pairs_of_a_view_apart(codes):
    config = LossConfig(negative_samples=True, coefficients=Coefficients(pull=0.7, push=1.3, decorr=0))
    total, terms = loss_of(config, codes)

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum() / torch.sqrt((a * a).sum() * (b * b).sum())

    pull = -torch.stack([cosine(a, b) for a, b in zip(*codes, strict=True)]).mean()
    pairs = [(i, j) for i, j in product(range(BATCH), repeat=2) if i != j]
    push = torch.stack([cosine(z[i], z[j]) ** 2 for z in codes for i, j in pairs]).mean()
    torch.testing.assert_close(terms["pull"], pull.detach())
    torch.testing.assert_close(terms["push"], push.detach())
    torch.testing.assert_close(total, 0.7 * pull + 1.3 * push)


def test_the_published_decorrelation_is_no_squared_covariance(codes):
    z1, z2 = codes
    _, terms = loss_of(LossConfig(published_decorr=True), codes)
    squares = [(z - z.mean(0)).square() for z in (z1, z2)]
    pairs = [(j, k) for j, k in product(range(UNITS), repeat=2) if j != k]
    each = [(s[:, j] * s[:, k]).sum() / (BATCH - 1) for s in squares for j, k in pairs]
    torch.testing.assert_close(terms["decorr"], torch.stack(each).mean().detach())
    independent = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    layer = LayerLoss(2, LossConfig(published_decorr=True), 0)
    assert layer(independent.repeat(2, 1), None, None)[1]["decorr"] > 1
    assert LayerLoss(2, LossConfig(), 0)(independent.repeat(2, 1), None, None)[1]["decorr"] == 0


def test_a_summed_pull_is_as_much_larger_as_the_batch(codes):
    _, summed = loss_of(LossConfig(summed_pull=True), codes)
    _, plain = loss_of(LossConfig(), codes)
    torch.testing.assert_close(summed["pull"], BATCH * plain["pull"])
    torch.testing.assert_close(summed["push"], plain["push"])


def test_with_one_view_the_first_is_a_constant(codes):
    z1, z2 = codes
    total, _ = loss_of(LossConfig(one_view=True), codes)
    of_first, gradient = torch.autograd.grad(total, (z1, z2))
    assert not of_first.any()
    alone = z2.detach().requires_grad_()
    covariance = torch.cov(alone.T)
    off = covariance - torch.diag(covariance.diagonal())
    expected = (z1.detach() - alone).square().mean() - torch.log(variance(alone) + EPSILON).mean()
    expected = expected + 10 * off.square().sum() / (UNITS**2 - UNITS)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, alone)[0])


def test_stale_estimates_are_those_of_the_step_before(rng):
    """Against the plain recursion over four steps; the first step has no estimates and uses its own statistics."""
    layer = LayerLoss(UNITS, LossConfig(stale_estimates=True, coefficients=ONLY["push"]), 0).double()
    mean, deviation = None, torch.zeros(UNITS)
    for _ in range(4):
        z1, z2 = (torch.from_numpy(rng.gamma(2, 1, (BATCH, UNITS))).requires_grad_() for _ in range(2))
        total, _ = layer(torch.cat([z1, z2]), None, None)
        ours = torch.autograd.grad(total, (z1, z2))
        if mean is None:
            each = [-torch.log(variance(z) + EPSILON).mean() for z in (z1, z2)]
        else:
            each = [-((z - mean) ** 2 / (deviation + EPSILON)).sum(0).mean() / (BATCH - 1) for z in (z1, z2)]
        expected = torch.stack(each).mean()
        torch.testing.assert_close(total, expected)
        for mine, theirs in zip(ours, torch.autograd.grad(expected, (z1, z2)), strict=True):
            torch.testing.assert_close(mine, theirs)
        mean = ((z1.mean(0) + z2.mean(0)) / 2).detach()
        deviation = ((variance(z1) + variance(z2)) / 2).detach()
    assert {"stale_mean", "stale_variance", "seen"} <= layer.state_dict().keys()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.eval()
    layer(torch.rand(2 * BATCH, UNITS, dtype=torch.float64), None, None)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


CONFIGS = {
    "lpl": LossConfig(),
    "projector": LossConfig(projector=True, projection_size=6, mlp_hidden_size=9),
    "supervised": LossConfig(supervision=True),
    "supervised, projector": LossConfig(supervision=True, projector=True, projection_size=6, mlp_hidden_size=9),
    "negative samples": LossConfig(negative_samples=True, coefficients=NO_DECORR),
    "stale": LossConfig(stale_estimates=True),
    "no pooling": LossConfig(pooling=False),
    "shuffled": LossConfig(shuffle_positives=True),
    "shuffled, no pooling": LossConfig(shuffle_positives=True, pooling=False),
    "independent": LossConfig(one_view=True, summed_pull=True, published_decorr=True),
    "predictive off": LossConfig(coefficients=Coefficients(pull=0)),
    "Hebbian off": LossConfig(coefficients=Coefficients(push=0)),
    "decorrelation off": LossConfig(coefficients=NO_DECORR),
}


def network(config: LossConfig, encoder: EncoderConfig, size: int = 32) -> LPLNetwork:
    torch.manual_seed(1)
    return LPLNetwork(encoders.build(encoder, (3, size, size), 2), config, 4).double()


def given(config: LossConfig, size: int = 32) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(3)
    views = torch.rand(2 * BATCH, 3, size, size, generator=generator, dtype=torch.float64)
    order = torch.randperm(BATCH, generator=generator) if config.shuffle_positives else None
    return views, torch.arange(BATCH) % 4, order


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("kind", ["mlp", "vgg", "alexnet"])
def test_layer_by_layer_gives_the_gradients_of_one_graph(config, kind):
    if kind == "mlp" and not config.pooling:
        pytest.skip("a dense layer has no maps")
    encoder = EncoderConfig(kind=kind, hidden=(9, 8), width=1 / 32, dropout=0.0)
    one, other = network(config, encoder), network(config, encoder)
    for _ in range(2):  # the second step knows stale estimates
        one.zero_grad()
        other.zero_grad()
        metrics = one.learn(*given(config))
        total, same = other(*given(config))
        total.backward()
    assert metrics.keys() == same.keys()
    for name in metrics:
        torch.testing.assert_close(metrics[name], same[name])
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        if config.coefficients.pull or "synapses" in name or config.supervision:
            assert a.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-12)


def test_end_to_end_one_loss_teaches_all_layers():
    config = LossConfig(end_to_end=True)
    net = network(config, EncoderConfig(kind="vgg", width=1 / 16))
    assert len(net.losses) == 1
    views, _, _ = given(config)
    total, metrics = net(views)
    assert metrics.keys() == {f"layer8/{name}" for name in ("pull", "push", "decorr")}
    total.backward()
    gradients = [p.grad for p in net.encoder.parameters()]
    x = views
    plain = network(config, EncoderConfig(kind="vgg", width=1 / 16))
    for block in plain.encoder:
        x = block(x)
    loss, _ = plain.losses[0](code(x), None, None)
    loss.backward()
    for ours, theirs in zip(gradients, plain.encoder.parameters(), strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, theirs.grad)
    with pytest.raises(UsageError, match="no local way"):
        net.learn(views)


def test_greedy_training_teaches_one_layer_and_stops_there():
    config = LossConfig()
    one, other = (network(config, EncoderConfig(kind="vgg", width=1 / 16)) for _ in range(2))
    views, _, _ = given(config)
    assert {name.split("/")[0] for name in one.learn(views, only=2)} == {"layer3"}
    total, _ = other(views, only=2)
    total.backward()
    for number, (a, b) in enumerate(zip(one.encoder, other.encoder, strict=True)):
        for mine, theirs in zip(a.parameters(), b.parameters(), strict=True):
            if number == 2:
                torch.testing.assert_close(mine.grad, theirs.grad)
            else:
                assert mine.grad is None
                assert theirs.grad is None


ALLOWED = {
    "supervision": {"end_to_end", "projector"},
    "negative_samples": {"end_to_end", "projector", "shuffle_positives"},
    "unpooled": {"shuffle_positives"},
    "stale_estimates": {"end_to_end", "projector", "shuffle_positives", "summed_pull", "published_decorr"},
    "one_view": {"end_to_end", "projector", "shuffle_positives", "summed_pull", "published_decorr"},
}
"""What goes together, as the reference and the terms' definitions have it."""


@pytest.mark.parametrize(
    ("one", "other"),
    list(combinations(
        ["supervision", "negative_samples", "end_to_end", "unpooled", "stale_estimates", "shuffle_positives",
         "projector", "summed_pull", "published_decorr", "one_view"], 2)),
)  # fmt: skip
def test_combinations_without_a_meaning_are_refused_and_no_others(one, other):
    free = {"end_to_end", "projector", "shuffle_positives", "summed_pull", "published_decorr"}
    sensible = other in ALLOWED.get(one, free | {"one_view"}) or one in ALLOWED.get(other, free)
    if one in ALLOWED and other in ALLOWED:
        sensible = other in ALLOWED[one] and one in ALLOWED[other]
    elif one in ALLOWED or other in ALLOWED:
        strict, lax = (one, other) if one in ALLOWED else (other, one)
        sensible = lax in ALLOWED[strict]
    settings = {name: name != "unpooled" for name in (one, other) if name != "unpooled"}
    if "unpooled" in (one, other):
        settings["pooling"] = False
    coefficients = NO_DECORR if "negative_samples" in (one, other) else Coefficients()
    if sensible:
        LossConfig(**settings, coefficients=coefficients)
    else:
        with pytest.raises(UsageError, match="loss: "):
            LossConfig(**settings, coefficients=coefficients)


def test_negative_samples_go_without_decorrelation():
    with pytest.raises(UsageError, match="--decorr-coeff 0"):
        LossConfig(negative_samples=True)


@pytest.mark.parametrize("changes", [{"epsilon": 0.0}, {"projection_size": 0}, {"mlp_hidden_size": 0}])
def test_impossible_sizes_are_refused(changes):
    with pytest.raises(UsageError, match=next(iter(changes))):
        replace(LossConfig(), **changes)
