"""Training with layer-local LPL."""

import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from foundation.data.images import ImageSet, load_images
from foundation.errors import RatespikeError, StoppedError, UsageError
from ratenets.evaluation.readout import codes
from ratenets.lpl import encoders
from ratenets.lpl.config import Coefficients, LossConfig, LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.network import LPLNetwork
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import (
    LPLLearner,
    build_encoder,
    last_layer_accuracy,
    load_lpl,
    material_of,
    optimizer,
    train_lpl,
    warmup_cosine,
)
from ratenets.run_config import RunConfig


def small(**changes) -> LPLConfig:
    return LPLConfig(**{"encoder": EncoderConfig(hidden=(16, 12)), "run": RunConfig(epochs=3), **changes})


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images("digits")


@pytest.mark.parametrize(
    ("name", "base", "epochs"), [("lr1e-3_800", 1e-3, 800), ("lr1e-5_400", 1e-5, 400), ("lr1e-3_50", 1e-3, 50)]
)
def test_the_schedule_equals_the_reference(data, name, base, epochs):
    reference = np.load(data / "lpl/lr_schedule.npz")[name]
    ours = [warmup_cosine(e, base=base, final=1e-6, warmup=10, epochs=epochs) for e in range(epochs)]
    np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-15)


def test_layer_by_layer_and_one_graph_train_the_same_network(digits):
    """The local way and autograd through all are one: whole runs agree in float64 to rounding."""
    exact = RunConfig(epochs=2, precision="float64")
    one, history = train_lpl(small(run=exact), digits)
    other, same = train_lpl(small(run=exact, gradients="autograd"), digits)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    assert history[-1] == pytest.approx(same[-1], rel=1e-8)


def test_a_step_depends_on_seed_epoch_and_index_alone(digits):
    learner = LPLLearner.of_images(small(), digits)
    late = learner.batch(2, 3).views
    again = LPLLearner.of_images(small(), digits)
    torch.testing.assert_close(again.batch(2, 3).views, late, rtol=0, atol=0)
    assert not torch.equal(again.batch(2, 2).views, late)
    assert not torch.equal(LPLLearner.of_images(small(run=RunConfig(seed=1)), digits).batch(2, 3).views, late)


def test_an_epoch_shows_every_image_once_but_for_a_lone_last_one(digits):
    config = small(batch_size=50, train_images=151)
    learner = LPLLearner.of_images(config, digits)
    assert learner.steps_per_epoch == 3
    assert [len(learner.batch(0, i).views) for i in range(3)] == [100, 100, 100]
    assert LPLLearner.of_images(small(batch_size=50, train_images=152), digits).steps_per_epoch == 4


def test_no_decay_of_the_biases(digits):
    learner = LPLLearner.of_images(small(weight_decay=0.1), digits)
    decay = {id(p): group["weight_decay"] for group in learner.optimizer.param_groups for p in group["params"]}
    for name, parameter in learner.network.named_parameters():
        assert decay[id(parameter)] == (0.0 if name.endswith("bias") else 0.1)


def test_without_biases_there_are_none(digits):
    network, _ = train_lpl(small(encoder=EncoderConfig(hidden=(5, 4), biases=False)), digits)
    assert all(not name.endswith("bias") for name, _ in network.named_parameters())


def test_vgg_trains_on_images_of_32_pixels(rng, each_device):
    images = rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    dataset = ImageSet("cifar10", images, np.arange(8) % 2, images[:2], np.arange(2), ("a", "b"))
    config = LPLConfig.for_data(
        "cifar10",
        batch_size=4,
        held_out=0,
        encoder=EncoderConfig(kind="vgg", width=1 / 16),
        run=RunConfig(epochs=1, device=each_device),
    )
    network, history = train_lpl(config, dataset)
    assert len(codes(network, prepare(images, config))) == 8
    assert all(np.isfinite(list(history[0].values())))


def test_the_defaults_of_cifar_are_the_papers():
    assert LPLConfig.for_data("cifar10").encoder.kind == "vgg"
    assert LPLConfig.for_data("digits").encoder.kind == "mlp"
    assert LPLConfig.for_data("digits").views.flip == 0


def test_a_trained_network_is_loaded_as_it_was(digits, tmp_path):
    network, _ = train_lpl(small(), digits, tmp_path / "run")
    loaded, config, images = load_lpl(tmp_path / "run")
    assert config == small()
    assert images.name == "digits"
    for a, b in zip(network.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RatespikeError, match="no such file"):
        load_lpl(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "batch_size"),
        ({"train_images": -1}, "train_images"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"gradients": "guess"}, "gradients"),
        ({"encoder": EncoderConfig(kind="vgg")}, "needs 32 x 32"),
        ({"train_images": 10**6}, "there are 1297"),
        ({"train_images": 1}, "train_images"),
    ],
)
def test_impossible_settings_are_refused(digits, changes, message):
    with pytest.raises(UsageError, match=message):
        LPLLearner.of_images(small(**changes), digits)


@pytest.mark.parametrize("hidden", [(), (3, 0)])
def test_impossible_layers_are_refused(hidden):
    with pytest.raises(UsageError, match=r"encoder\.hidden"):
        EncoderConfig(hidden=hidden)


def test_initial_weights_come_from_the_seed_and_leave_the_global_state_alone(digits):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    one = build_encoder(small(), digits.image_shape)
    assert torch.equal(torch.random.get_rng_state(), state)
    other = build_encoder(small(run=RunConfig(seed=1)), digits.image_shape)
    first = next(one.parameters())
    assert torch.equal(first, next(build_encoder(small(), digits.image_shape).parameters()))
    assert not torch.equal(first, next(other.parameters()))


@pytest.mark.slow
def test_the_predictive_term_keeps_deep_layers_readable(digits):
    """The demo's claim, over three seeds: layer 4 with 100 labels, LPL above predictive off above untrained."""
    from ratenets.evaluation.layerwise import few_label_accuracy

    accuracy: dict[str, list[float]] = {"LPL": [], "predictive off": [], "untrained": []}
    for seed in range(3):
        for name, pull, epochs in (("LPL", 1.0, 300), ("predictive off", 0.0, 300), ("untrained", 1.0, 0)):
            config = LPLConfig(
                learning_rate=2e-3,
                loss=LossConfig(coefficients=Coefficients(pull=pull)),
                encoder=EncoderConfig(hidden=(64, 64, 64, 64)),
                run=RunConfig(epochs=epochs, seed=seed),
            )
            network, _ = train_lpl(config, digits)
            train, test = (codes(network, prepare(x, config))[-1] for x in (digits.train_images, digits.test_images))
            accuracy[name].append(few_label_accuracy(train, test, digits, 100, 5, seed)[0])
    means = {name: float(np.mean(values)) for name, values in accuracy.items()}
    assert means["LPL"] > means["predictive off"] + 0.02, accuracy
    assert means["predictive off"] > means["untrained"] + 0.05, accuracy


def tiny_cifar(rng: np.random.Generator, count: int = 24) -> ImageSet:
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return ImageSet("cifar10", images, np.arange(count) % 2, images[:8], np.arange(8) % 2, ("a", "b"))


TINY = LPLConfig.for_data(
    "cifar10",
    batch_size=6,
    held_out=8,
    warmup_epochs=0,
    encoder=EncoderConfig(kind="vgg", width=1 / 32),
    run=RunConfig(epochs=2),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": LossConfig(supervision=True)},
        {"loss": LossConfig(negative_samples=True, coefficients=Coefficients(decorr=0), projector=True)},
        {"loss": LossConfig(stale_estimates=True)},
        {"loss": LossConfig(pooling=False)},
        {"loss": LossConfig(shuffle_positives=True), "optimizer": "sgd"},
        {"loss": LossConfig(end_to_end=True), "encoder": EncoderConfig(kind="resnet", width=1 / 32)},
        {"encoder": EncoderConfig(kind="alexnet", width=1 / 32)},
        {"greedy": True, "run": RunConfig(epochs=8)},
        {"run": RunConfig(epochs=3, max_steps=5)},
        {"run": RunConfig(epochs=2, precision="bfloat16")},
        {"readout_every": 1, "warmup_epochs": 1},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_a_stopped_run_of_any_kind_ends_where_it_would_have_ended(rng, tmp_path, monkeypatch, changes, each_device):
    """Stopped in the middle of the second epoch; stale estimates, batch norm and momentum are in the checkpoint."""
    images, config = tiny_cifar(rng), replace(TINY, **changes)
    config = replace(config, run=replace(config.run, device=each_device))
    whole, history = train_lpl(config, images, tmp_path / "whole")
    step, calls = LPLLearner.step, 0

    def stopped(learner: LPLLearner, epoch: int, index: int):
        nonlocal calls
        calls += 1
        if calls == 5:  # the first is the rehearsal
            signal.raise_signal(signal.SIGTERM)
        return step(learner, epoch, index)

    monkeypatch.setattr(LPLLearner, "step", stopped)
    with pytest.raises(StoppedError):
        train_lpl(config, images, tmp_path / "half")
    monkeypatch.undo()
    resumed, same = train_lpl(config, images, tmp_path / "half", resume=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        if each_device == "cpu":
            assert torch.equal(a, b), name
        else:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    if each_device == "cpu":
        assert same == history


def test_steps_are_limited_within_an_epoch(rng):
    config = replace(TINY, run=RunConfig(epochs=4, max_steps=4))
    _, history = train_lpl(config, tiny_cifar(rng))  # 16 images are 3 steps an epoch
    assert [line["epoch"] for line in history] == [1, 2]
    for epochs in (1, 2, 3):
        assert RunConfig(epochs=3, max_steps=4).steps_in(epochs - 1, 3) == {1: 3, 2: 1, 3: 0}[epochs]


def test_the_readout_while_training_is_the_papers(rng):
    images = tiny_cifar(rng)
    encoder, history = train_lpl(replace(TINY, readout_every=2, run=RunConfig(epochs=3)), images)
    assert ["readout" in line for line in history] == [False, True, False]
    config = replace(TINY, run=RunConfig(epochs=2))
    encoder, _ = train_lpl(config, images)
    assert history[1]["readout"] == last_layer_accuracy(encoder, config, material_of(config, images))


@pytest.mark.parametrize("way", ["local", "autograd"])
def test_adam_steps_are_those_of_a_plain_loop(digits, way):
    """Three steps with weight decay on weights alone, against Adam written out (Kingma & Ba 2015)."""
    config = small(weight_decay=0.01, gradients=way, run=RunConfig(epochs=1, precision="float64"), batch_size=32)
    learner, plain = (LPLLearner.of_images(config, digits) for _ in range(2))
    first = {name: torch.zeros_like(p) for name, p in plain.network.named_parameters()}
    second = {name: torch.zeros_like(p) for name, p in plain.network.named_parameters()}
    for index in range(3):
        learner.step(0, index)
        learner.optimizer.step()
        plain.step(0, index)
        with torch.no_grad():
            for name, p in plain.network.named_parameters():
                assert p.grad is not None
                g = p.grad + (0.0 if name.endswith("bias") else 0.01) * p
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g * g
                m, v = first[name] / (1 - 0.9 ** (index + 1)), second[name] / (1 - 0.999 ** (index + 1))
                p.sub_(1e-3 * m / (v.sqrt() + 1e-8))
    for a, b in zip(learner.network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_ways_take_the_same_steps_whatever_the_memory_layout(layout):
    """Fused Adam reads gradients in the parameters' layout, whatever theirs is."""
    torch.manual_seed(0)
    x = torch.rand(12, 3, 32, 32, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    networks = [
        LPLNetwork(encoders.build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), 3), LossConfig(), 0)
        for _ in range(2)
    ]
    for network in networks:
        network.to(memory_format=layout).double()  # type: ignore[call-overload]  # torch's stubs lack it
    local, graph = networks
    steps = [optimizer(LPLConfig(), network) for network in networks]
    for _ in range(3):
        for step in steps:
            step.zero_grad()
        local.learn(x)
        graph(x)[0].backward()
        for step in steps:
            step.step()
    for a, b in zip(local.parameters(), graph.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-6 * a.abs().max()


def test_greedy_training_goes_through_the_schedule_once_for_every_layer(digits):
    config = small(greedy=True, warmup_epochs=3, run=RunConfig(epochs=12))
    learner = LPLLearner.of_images(config, digits)
    rates = [learner.learning_rate(epoch) for epoch in range(12)]
    assert rates[:6] == rates[6:]  # two layers
    assert rates[:6] == [warmup_cosine(e, base=1e-3, final=1e-6, warmup=3, epochs=6) for e in range(6)]
    with pytest.raises(UsageError, match="2 layers need as many epochs at least, got 1"):
        LPLLearner.of_images(small(greedy=True, run=RunConfig(epochs=1)), digits)


def test_a_loss_that_is_no_number_is_named_and_the_checkpoint_before_kept(digits, tmp_path):
    with pytest.raises(RatespikeError, match=r"layer\d/(pull|push|decorr) became (nan|inf) in epoch"):
        train_lpl(small(learning_rate=1e25), digits, tmp_path / "run")
    encoder, _, _ = load_lpl(tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in encoder.parameters())


def test_memory_that_is_full_says_which_batch_would_fit(digits, tmp_path, monkeypatch):
    step = LPLLearner.step

    def limited(learner: LPLLearner, epoch: int, index: int):
        if learner.config.batch_size > 70:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(learner, epoch, index)

    monkeypatch.setattr(LPLLearner, "step", limited)
    with pytest.raises(RatespikeError, match="batch_size: 256 images do not fit into the memory of cpu; 64 would"):
        train_lpl(small(), digits, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_failures_are_not_taken_for_full_memory(digits, monkeypatch):
    def broken(learner: LPLLearner, epoch: int, index: int):
        raise RuntimeError("sizes of tensors must match")

    monkeypatch.setattr(LPLLearner, "step", broken)
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        train_lpl(small(), digits)


def test_a_run_is_called_by_what_it_does():
    names = {
        "LPL": LossConfig(),
        "LPL, predictive off": LossConfig(coefficients=Coefficients(pull=0)),
        "LPL, Hebbian off": LossConfig(coefficients=Coefficients(push=0)),
        "LPL, decorrelation off, shuffled positives": LossConfig(
            shuffle_positives=True, coefficients=Coefficients(decorr=0)
        ),
        "supervised learning": LossConfig(supervision=True),
        "negative samples": LossConfig(negative_samples=True, coefficients=Coefficients(decorr=0)),
    }
    assert {LPLConfig(loss=loss).name: loss for loss in names.values()} == names


@pytest.mark.slow
def test_bfloat16_reads_out_as_float32_does(digits):
    """Same seed, same views: mixed precision costs no accuracy at any layer."""
    from ratenets.evaluation.layerwise import layerwise

    accuracy = []
    for precision in ("float32", "bfloat16"):
        config = LPLConfig(
            learning_rate=2e-3,
            encoder=EncoderConfig(hidden=(64, 64, 64, 64)),
            run=RunConfig(epochs=100, precision=precision),
        )
        encoder, _ = train_lpl(config, digits)
        train, test = prepare(digits.train_images, config), prepare(digits.test_images, config)
        accuracy.append([row.all for row in layerwise(encoder, train, test, digits, 100, 1, 0)])
    assert np.abs(np.diff(accuracy, axis=0)).max() < 0.02, accuracy


def test_local_gradients_that_cannot_be_had_are_told_once(digits):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        config = small(run=RunConfig(epochs=1, compile=True))
        for _ in range(3):
            assert not LPLLearner.of_images(config, digits).local
        LPLLearner.of_images(replace(config, gradients="autograd"), digits)
        assert LPLLearner.of_images(small(), digits).local
    (told,) = [str(each.message) for each in caught if str(each.message).startswith("gradients: ")]
    assert told.startswith("gradients: with torch.compile there is one graph")
