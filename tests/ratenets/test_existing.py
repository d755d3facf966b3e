"""Checkpoints of others: made here under their names, read without running anything, in our encoders."""

import hashlib
import io
import os
import pickle
import re
import runpy
import sys
import threading
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from foundation.config import loads
from foundation.data.images import load_images
from foundation.errors import RatespikeError, UsageError
from ratenets.evaluation.readout import codes
from ratenets.existing import load_existing, pretrained, resnet50_weights
from ratenets.lpl.config import LossConfig, LPLConfig
from ratenets.lpl.encoders import ENCODERS, Encoder, EncoderConfig, build
from ratenets.lpl.sources import prepare
from ratenets.lpl.training import build_encoder, build_network, load_lpl, train_lpl
from ratenets.pickles import Object, mapping, read_pickle
from ratenets.run_config import RunConfig
from ratenets.run_folder import load_weights
from ratespike.import_weights import command

State = dict[str, Tensor]
VGG_PLACES = (0, 3, 6, 8, 11, 13, 16, 18)
VGG_POOLS = (0, 1, 3, 5, 7)
ALEXNET = {0: "0.0", 1: "1.0", 2: "2.0", 3: "3.0", 4: "4.0", 5: "5.2", 6: "6.1"}  # block: module of the convolution
SMALL = 1 / 16


def encoder_of(kind: str, width: float = SMALL, seed: int = 0, biases: bool = True, channels: int = 3) -> Encoder:
    config = EncoderConfig(kind=kind, width=width, biases=biases)
    return build(config, (channels, 32, 32), seed).eval()


def weights(shapes: dict[str, tuple[int, ...]], seed: int = 5) -> State:
    """Random weights and biases of convolutions or dense layers: scaled by fan-in, so that all layers are active."""
    generator = torch.Generator().manual_seed(seed)
    state: State = OrderedDict()
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return state


def vgg_weights(pattern: str, width: float = SMALL) -> State:
    """Of a VGG-11 whose convolutions are called by `pattern`, with {block} and {place}."""
    channels = [3, *(round(width * c) for c in (64, 128, 256, 256, 512, 512, 512, 512))]
    names = [pattern.format(block=block, place=place) for block, place in enumerate(VGG_PLACES)]
    return weights({name: (channels[i + 1], channels[i], 3, 3) for i, name in enumerate(names)})


def alexnet_weights(pattern: str) -> State:
    c = [4, 12, 24, 16, 16, 256, 256]
    shapes = [(4, 3, 11, 11), (12, 4, 5, 5), (24, 12, 3, 3), (16, 24, 3, 3), (16, 16, 3, 3), (256, 16, 6, 6)]
    return weights({pattern.format(ALEXNET[i]): s for i, s in enumerate([*shapes, (c[6], c[5], 1, 1)])})


def vgg_codes(state: State, pattern: str, x: Tensor) -> list[Tensor]:
    """Codes of all layers, by the plain formula."""
    z = []
    for block, place in enumerate(VGG_PLACES):
        name = pattern.format(block=block, place=place)
        x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
        x = functional.max_pool2d(x, 2) if block in VGG_POOLS else x
        z.append(x.mean((2, 3)))
    return z


def saved(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path, encoder: Encoder, kind: str = "vgg", error: type[Exception] = RatespikeError) -> str:
    """The message of a refusal, which leaves the encoder as it was."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(error) as caught:
        load_existing(path, encoder, kind)
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith(f"{path}")
    assert "\n" not in message
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
    return message.removeprefix(f"{path}: ")


@pytest.fixture
def x(rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.normal(size=(3, 3, 64, 64)).astype(np.float32))


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of classes that Lightning pickled with its checkpoints; gone once it is taken from `sys.modules`."""
    module = types.ModuleType("pytorch_lightning_of_old")
    code = """
import pathlib
class AttributeDict(dict): pass
class ModelCheckpoint:
    def __init__(self): self.best, self.folder = {"score": 0.5}, pathlib.PosixPath("/somewhere")
class Loud:
    def __setstate__(self, state): raise SystemExit("executed")
    def __getstate__(self): return {"a": 1}
def loud(*_): raise SystemExit("executed")
class Louder:
    def __reduce__(self): return loud, (1,)
"""
    exec(code, module.__dict__)
    for value in module.__dict__.values():
        if isinstance(value, type | types.FunctionType):
            value.__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def lightning_checkpoint(module: Any, state: State) -> dict[str, Any]:
    hyper = module.AttributeDict(encoder="vgg", learning_rate=1e-3)
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(5)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    return {
        "epoch": 800,
        "global_step": 32000,
        "pytorch-lightning_version": "1.5.10",
        "callbacks": {module.ModelCheckpoint: {"best": np.float64(0.5), "who": module.ModelCheckpoint()}},
        "optimizer_states": [optimizer],
        "lr_schedulers": [{"last_epoch": 800}],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper,
        "loops": [module.Loud(), module.Louder()],
        "state_dict": state,
    }


# --- whose weights they are -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("gone", [True, False], ids=["classes gone", "classes there"])
def test_the_authors_checkpoint_computes_here_what_it_did_there(tmp_path, x, lightning, monkeypatch, zipped, gone):
    pattern = "network.encoder.blocks.{block}.module.0"
    state = vgg_weights(pattern)
    extra = weights({"network.encoder.projectors.7.net.0": (20, 32), "classifier_heads.0": (10, 4)})
    path = saved(tmp_path / "epoch=799-step=31999.ckpt", lightning_checkpoint(lightning, state | extra), zipped)
    if gone:
        monkeypatch.delitem(sys.modules, lightning.__name__)
    encoder = encoder_of("vgg")
    loaded = load_existing(path, encoder, "vgg")
    for ours, theirs in zip(encoder(x), vgg_codes(state, pattern, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len(loaded.taken) == 16
    assert loaded.taken["network.encoder.blocks.3.module.0.bias"] == "blocks.3.synapses.bias"
    assert set(loaded.left) == set(extra)
    assert str(loaded) == (
        f"{path}: a VGG-11 of the authors' code, epoch 800: 16 tensors taken; "
        "left: 2 of its projector, 2 of its classifier"
    )


@pytest.mark.parametrize(
    ("pattern", "source"),
    [
        ("model.{place}", "martinosorb/LPL"),
        ("features.{place}", "torchvision"),
        ("module.features.{place}", "torchvision"),
        ("encoder.blocks.{block}.module.0", "the authors' code"),
        ("blocks.{block}.synapses", "ratespike"),
        ("encoder.blocks.{block}.synapses", "ratespike"),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False], ids=["in a state_dict", "plain"])
def test_every_naming_of_vgg_is_recognised(tmp_path, x, pattern, source, wrapped):
    state = vgg_weights(pattern)
    outer = "module." if pattern.startswith("module.") else ""
    rest = weights({f"{outer}classifier.6": (10, 32)}) if "features" in pattern else {}
    content = {"epoch": 3, "state_dict": state | rest, "arch": "vgg11"} if wrapped else OrderedDict(state | rest)
    encoder = encoder_of("vgg")
    loaded = load_existing(saved(tmp_path / "vgg.pth", content), encoder, "vgg")
    assert source in loaded.source
    assert set(loaded.left.values()) == ({"classifier"} if rest else set())
    for ours, theirs in zip(encoder(x), vgg_codes(state, pattern, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_weights_come_in_any_precision_and_layout_of_memory(tmp_path):
    state = vgg_weights("features.{place}")
    odd = OrderedDict(state)
    odd["features.3.weight"] = state["features.3.weight"].double()
    odd["features.6.weight"] = state["features.6.weight"].to(memory_format=torch.channels_last)
    odd["features.8.weight"] = nn.Parameter(state["features.8.weight"])
    together = torch.cat([torch.zeros(7), state["features.8.bias"], torch.zeros(3)])
    odd["features.8.bias"] = together[7:-3]
    odd["features.11.weight"] = state["features.11.weight"].half()
    encoder = encoder_of("vgg")
    load_existing(saved(tmp_path / "a.pth", odd), encoder, "vgg")
    ours = encoder.state_dict()
    for block, place in enumerate(VGG_PLACES):
        for part in ("weight", "bias"):
            rtol = 1e-3 if (place, part) == (11, "weight") else 0.0
            torch.testing.assert_close(
                ours[f"blocks.{block}.synapses.{part}"], state[f"features.{place}.{part}"], rtol=rtol, atol=1e-6
            )
            assert ours[f"blocks.{block}.synapses.{part}"].dtype == torch.float32


def alexnet_codes(state: State, pattern: str, x: Tensor) -> list[Tensor]:
    z = []
    for i, (stride, padding, pool) in enumerate(
        [(4, 2, 1), (1, 2, 1), (1, 1, 0), (1, 1, 0), (1, 2, 1), (1, 0, 0), (1, 0, 0)]
    ):
        name = pattern.format(ALEXNET[i])
        x = functional.adaptive_avg_pool2d(x, 6) if i == 5 else x
        x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding).relu()
        x = functional.max_pool2d(x, 3, 2) if pool else x
        z.append(x.mean((2, 3)))
    return z


@pytest.mark.parametrize("source", ["the authors' code", "torchvision"])
def test_alexnet_computes_here_what_it_did_there(tmp_path, x, source):
    """Dense layers of torchvision are the paper's convolutions: rows of a 6 x 6 map, channel by channel."""
    pattern = "network.encoder.blocks.{}"
    state = alexnet_weights(pattern)
    content: dict[str, Any] = {"state_dict": state}
    if source == "torchvision":
        places = ("features.0", "features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4")
        content = {
            f"{place}.{part}": value.flatten(1) if place.startswith("classifier") and part == "weight" else value
            for i, place in enumerate(places)
            for part in ("weight", "bias")
            for value in [state[f"{pattern.format(ALEXNET[i])}.{part}"]]
        } | weights({"classifier.6": (10, 256)})
    encoder = encoder_of("alexnet")
    loaded = load_existing(saved(tmp_path / "a.pth", content), encoder, "alexnet")
    assert source in loaded.source
    assert len(loaded.taken) == 14
    for ours, theirs in zip(encoder(x), alexnet_codes(state, pattern, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# --- ResNet-50 --------------------------------------------------------------------------------------------------------
def resnet_state(width: float = SMALL) -> State:
    """Under the names of torchvision; every weight different."""
    generator = torch.Generator().manual_seed(3)
    state: State = OrderedDict()

    def add(name: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        shape = (outputs, inputs, kernel, kernel)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / (inputs * kernel**2)) ** 0.5
        for part, base in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{norm}.{part}"] = base + 0.2 * torch.rand(outputs, generator=generator)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    inputs = round(width * 64)
    add("conv1", "bn1", inputs, 3, 7)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        c = round(width * 32 * 2**layer)
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", c, inputs, 1)
            add(f"{name}.conv2", f"{name}.bn2", c, c, 3)
            add(f"{name}.conv3", f"{name}.bn3", 4 * c, c, 1)
            if block == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", 4 * c, inputs, 1)
            inputs = 4 * c
    state["fc.weight"], state["fc.bias"] = torch.zeros(10, inputs), torch.zeros(10)
    return state


def resnet_code(state: State, x: Tensor) -> Tensor:
    """Pooled layer4, by the plain formula (stride in the 3 x 3 convolutions)."""

    def unit(x: Tensor, name: str, norm: str, stride: int = 1, padding: int = 0) -> Tensor:
        y = functional.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)
        mean, variance, gain, shift = (state[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(y, mean, variance, gain, shift)

    x = functional.max_pool2d(unit(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = unit(x, f"{name}.conv1", f"{name}.bn1").relu()
            y = unit(unit(y, f"{name}.conv2", f"{name}.bn2", stride, 1).relu(), f"{name}.conv3", f"{name}.bn3")
            short = unit(x, f"{name}.downsample.0", f"{name}.downsample.1", stride) if block == 0 else x
            x = (y + short).relu()
    return x.mean((2, 3))


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below `weights`, under a name with the beginning of its SHA-256."""
    folder = tmp_path_factory.mktemp("root") / "weights"
    folder.mkdir()
    file = saved(folder / "resnet.pth", resnet_state(width=1))
    return file.rename(folder / f"resnet50-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth")


def test_published_resnet_weights_are_where_training_starts(resnet_file, x, monkeypatch):
    monkeypatch.setattr(pretrained, "NAME", resnet_file.name)
    monkeypatch.setenv("RATESPIKE_DATA", str(resnet_file.parents[1]))
    end_to_end = LossConfig(end_to_end=True)
    config = LPLConfig(encoder=EncoderConfig(kind="resnet", pretrained=True), loss=end_to_end)
    encoder = build_encoder(config, (3, 32, 32)).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(x)[-1], resnet_code(resnet_state(width=1), x), rtol=1e-4, atol=1e-5)
    assert encoder.state_dict()["blocks.0.bn1.num_batches_tracked"] == 7
    with pytest.raises(UsageError, match="choose one"):
        build_encoder(LPLConfig(initial_weights="x", encoder=config.encoder, loss=end_to_end), (3, 32, 32))
    with pytest.raises(UsageError, match="published weights for resnet only, not for vgg"):
        EncoderConfig(kind="vgg", pretrained=True)
    with pytest.raises(UsageError, match="of width 1, with batch norm throughout"):
        EncoderConfig(kind="resnet", pretrained=True, width=0.5)
    message = refusal(resnet_file, encoder_of("resnet"), "resnet", UsageError)
    assert message == "conv1.weight: is [64, 3, 7, 7], [4, 3, 7, 7] here; --width 1 would fit"


def test_resnet_files_that_do_not_fit_are_refused_with_the_reason(tmp_path):
    encoder, state = encoder_of("resnet"), resnet_state()
    small = {name: torch.zeros(1) for name in state}
    cases = {
        "has no batch norm in its bottlenecks; --no-bottleneck-norms would fit": {
            name: value for name, value in state.items() if not re.search(r"layer\d.*\.bn", name)
        },
        "two convolutions per block, such as ResNet-18": {n: v for n, v in small.items() if "conv3" not in n},
        "is a ResNet of (3, 4, 7, 3) blocks": small | {"layer3.6.conv1.weight": torch.zeros(1)},
        "conv1.weight: is [1], [4, 3, 7, 7] here": small,
        "layer1.0.conv4.weight is no part of resnet": state | {"layer1.0.conv4.weight": torch.zeros(1)},
        "lacks blocks.4.layers.2.bn3.bias, and 0 more": {n: v for n, v in state.items() if n != "layer4.2.bn3.bias"},
        "holds several encoders that are alike: (no prefix), module; say which one to import with --prefix": small
        | {f"module.{name}": value for name, value in small.items()},
    }
    for reason, content in cases.items():
        error: type[Exception] = (
            UsageError if any(word in reason for word in ("[1]", "fit", "alike")) else RatespikeError
        )
        assert reason in refusal(saved(tmp_path / "r.pth", content), encoder, "resnet", error)
    without = {f"network.encoder.{n}": v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    load_existing(saved(tmp_path / "r.pth", without), encoder, "resnet")
    assert torch.equal(encoder.state_dict()["blocks.4.layers.2.bn3.bias"], state["layer4.2.bn3.bias"])


# --- what does not fit ------------------------------------------------------------------------------------------------
def test_another_width_is_named(tmp_path):
    path = saved(tmp_path / "wide.pth", vgg_weights("features.{place}", width=1 / 8))
    message = refusal(path, encoder_of("vgg"), error=UsageError)
    assert message == "features.0.weight: is [8, 3, 3, 3], [4, 3, 3, 3] here; --width 0.125 would fit"
    load_existing(path, encoder_of("vgg", 0.125), "vgg")
    alexnet = saved(tmp_path / "alexnet.pth", alexnet_weights("network.encoder.blocks.{}"))
    assert "--width 0.0625 would fit" in refusal(alexnet, encoder_of("alexnet", 1 / 32), "alexnet", UsageError)


def test_a_width_that_no_encoder_has_is_not_advised(tmp_path):
    state = vgg_weights("features.{place}", width=1 / 8)
    state["features.18.weight"] = torch.zeros(63, 64, 3, 3)
    assert "would fit" not in refusal(saved(tmp_path / "a.pth", state), encoder_of("vgg"), error=UsageError)


def test_other_encoders_images_and_biases_are_named(tmp_path):
    state = vgg_weights("features.{place}")
    path = saved(tmp_path / "a.pth", state)
    message = refusal(path, encoder_of("alexnet"), "alexnet", UsageError)
    assert message == "is a VGG-11 of torchvision, the encoder is alexnet; take --encoder vgg"
    message = refusal(path, encoder_of("vgg", channels=1), error=UsageError)
    assert message.endswith("it is for images of 3 channels, not 1")
    assert refusal(path, encoder_of("vgg", biases=False), error=UsageError) == "has biases; --biases would fit"
    bare = saved(tmp_path / "b.pth", {n: v for n, v in state.items() if not n.endswith("bias")})
    assert refusal(bare, encoder_of("vgg"), error=UsageError) == "has no biases; --no-biases would fit"
    encoder = encoder_of("vgg", biases=False)
    load_existing(bare, encoder, "vgg")
    assert torch.equal(encoder.state_dict()["blocks.0.synapses.weight"], state["features.0.weight"])


def test_relatives_of_vgg_are_refused_by_name(tmp_path):
    def features(convolutions: int, norm: bool) -> State:
        step = 3 if norm else 2
        state = {
            f"features.{step * n}.{part}": torch.zeros(1) for n in range(convolutions) for part in ("weight", "bias")
        }
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return state | {f"features.{3 * n + 1}.{p}": torch.zeros(1) for n in range(convolutions) if norm for p in parts}

    for convolutions, norm, reason in (
        (8, True, "is VGG-11 with batch norm (vgg11_bn), which the paper's VGG-11 is without; take vgg11's weights"),
        (13, True, "is VGG-16 with batch norm (vgg16_bn)"),
        (10, False, "is VGG-13; the paper's encoder is VGG-11"),
        (16, False, "is VGG-19; the paper's encoder is VGG-11"),
    ):
        path = saved(tmp_path / "a.pth", features(convolutions, norm))
        assert reason in refusal(path, encoder_of("vgg"))


def test_what_is_missing_or_unknown_is_named(tmp_path):
    encoder, state = encoder_of("vgg"), vgg_weights("features.{place}")
    less = {name: value for name, value in state.items() if not name.startswith(("features.6.", "features.18."))}
    kinds: list[tuple[Any, str]] = [
        (less, "lacks blocks.2.synapses.weight, and 3 more of 16"),
        (state | {"features.4.gain": torch.zeros(3)}, "features.4.gain is no part of a VGG-11 of torchvision"),
        (state | {"features.6.weight": 5.0}, "features.6.weight: is no tensor, but float"),
        (state | {"features.6.bias": np.array([{}], object)}, "features.6.bias: is no tensor, but numpy."),
        (state | {"features.6.bias": np.zeros(16)}, "features.6.bias: is no tensor, but numpy."),
        (state | {"features.6.bias": torch.full((16,), torch.nan)}, "blocks.2.synapses.bias: is not finite"),
        (state | {"features.6.bias": torch.zeros(16, dtype=torch.int64)}, "is of torch.int64, not of torch.float32"),
        ({"u\n" * 200: torch.zeros(3)}, "holds no encoder that is known here, but u u u"),
        ({3: torch.zeros(3)}, "holds no weights by name, but under a int"),
        ({}, "holds no weights"),
        ({"state_dict": {}}, "holds no weights"),
        ([1, 2], "holds no weights"),
        (torch.zeros(3), "holds one tensor, not weights by name"),
        (nn.Linear(2, 3), "holds a whole torch.nn.modules.linear.Linear, not weights; save its state_dict() instead"),
    ]
    for content, reason in kinds:
        for zipped in (True, False):
            assert reason in refusal(saved(tmp_path / "a.pth", content, zipped), encoder)


def test_other_files_are_refused(tmp_path):
    encoder = encoder_of("vgg")
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "a.txt").write_text("weights")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"features.0.weight": [1.0]}))
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}))
        archive.writestr("m/constants.pkl", pickle.dumps({}))
    for name, reason in (
        ("a.npz", "is a zip file, but not one of torch.save"),
        ("a.npy", "not a checkpoint of torch"),
        ("a.txt", "not a checkpoint of torch"),
        ("empty", "not a checkpoint of torch"),
        ("a.pkl", "is a pickle, but not one of torch.save"),
        ("script.pt", "is a TorchScript program"),
        ("nothing.pt", "no such file"),
    ):
        assert reason in refusal(tmp_path / name, encoder)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RatespikeError, match=r"folder/checkpoint\.pt: no such file"):
        load_existing(tmp_path / "folder", encoder, "vgg")


# --- what is damaged or hostile ---------------------------------------------------------------------------------------
class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


class Evaluated(Evil):
    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("kind", [Evil, Evaluated])
@pytest.mark.parametrize("protocol", [0, 2, 4, "zip", "before torch 1.6", "in place of a weight", "as a key"])
def test_nothing_is_executed(tmp_path, kind, protocol):
    touched, path = tmp_path / "touched", tmp_path / "evil.pt"
    evil, state = kind(touched), vgg_weights("features.{place}")
    if isinstance(protocol, int):
        path.write_bytes(pickle.dumps(evil, protocol))
    else:
        content: Any = {"state_dict": state, "callbacks": [evil]}
        if protocol == "in place of a weight":
            content = state | {"features.0.bias": evil}
        elif protocol == "as a key":
            content = state | {evil: torch.zeros(3)}
        saved(path, content, zipped=protocol != "before torch 1.6")
    message = refusal(path, encoder_of("vgg"))
    assert "would call " + {Evil: f"{os.system.__module__}.system", Evaluated: "builtins.eval"}[kind] in message or (
        kind is Evaluated and "__builtin__.eval" in message
    )
    assert not touched.exists()
    if isinstance(protocol, int):  # the file is what it is said to be
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert touched.exists()


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    """A small checkpoint's bytes, by format."""
    folder = tmp_path_factory.mktemp("intact")
    state = vgg_weights("features.{place}", width=1 / 64)
    return {zipped: saved(folder / "a.pt", state, zipped).read_bytes() for zipped in (True, False)}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, intact, zipped):
    encoder, path = encoder_of("vgg", 1 / 64), tmp_path / "a.pt"
    path.write_bytes(intact[zipped])
    load_existing(path, encoder, "vgg")
    for share in np.linspace(0, 1, 40, endpoint=False):
        path.write_bytes(intact[zipped][: int(share * len(intact[zipped]))])
        refusal(path, encoder)
    path.write_bytes(intact[zipped][:-1])
    assert "cut off" in refusal(path, encoder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1))
def test_a_changed_file_is_read_or_refused(tmp_path, intact, zipped, changes):
    content = bytearray(intact[zipped])
    for place, value in changes:
        content[int(place * min(len(content), 6000))] = value  # where the names and the pickle are
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with suppress(RatespikeError):
        load_existing(path, encoder_of("vgg", 1 / 64), "vgg")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_fail_otherwise(content):
    with suppress(RatespikeError):
        read_pickle(io.BytesIO(b"\x80\x04" + content + b"."))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(max_examples=150, deadline=None)
@given(plain, st.integers(0, 5))
def test_plain_values_are_read_as_they_were_written(value, protocol):
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"more")
    assert read_pickle(stream)[0] == value
    assert stream.read() == b"more"


def test_objects_are_noted_down():
    value, _ = read_pickle(io.BytesIO(pickle.dumps(OrderedDict(a=1, b=[2]), 2)))
    assert isinstance(value, Object)
    assert str(value.maker) == "collections.OrderedDict"
    assert mapping(value) == {"a": 1, "b": [2]}
    of_python_2 = b"ccollections\nOrderedDict\np0\n((lp1\n(lp2\nS'a'\np3\naI1\naatp4\nRp5\n."
    assert mapping(read_pickle(io.BytesIO(of_python_2))[0]) == pickle.loads(of_python_2) == {"a": 1}


def archive_of(path: Path, shape: tuple[int, ...], stride: tuple[int, ...], numel: int, stored: int, **options) -> Path:
    """A zip file as torch writes it, with one weight of any description and `stored` bytes of values."""
    names = [f"features.{place}.{part}" for place in VGG_PLACES for part in ("weight", "bias")]
    whole = vgg_weights("features.{place}", 1 / 64)

    class Tensors(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return (
                ("storage", torch.FloatStorage, value[8:], "cpu", numel) if str(value).startswith("storage:") else None
            )

    class Described:
        def __init__(self, key: str, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
            self.arguments: Any = (f"storage:{key}", 0, shape, stride, False, OrderedDict())

        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, self.arguments

    state = {name: Described("0", tuple(whole[name].shape), whole[name].stride()) for name in names}
    state["features.0.weight"] = Described("0", shape, stride)
    buffer = io.BytesIO()
    Tensors(buffer, protocol=2).dump(state)
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", buffer.getvalue())
        archive.writestr("a/data/0", bytes(stored))
    return path


def test_sizes_are_believed_to_nobody(tmp_path):
    encoder, path, fits = encoder_of("vgg", 1 / 64), tmp_path / "a.pt", ((1, 3, 3, 3), (27, 9, 3, 1))
    load_existing(archive_of(path, *fits, 4608, 4 * 4608), encoder, "vgg")
    for description, reason in (
        (((2**39, 3, 3, 3), (0, 0, 0, 0), 4608, 4 * 4608), "is [549755813888, 3, 3, 3], [1, 3, 3, 3] here"),
        (((2**39, 3, 3, 3), (27, 9, 3, 1), 4608, 4 * 4608), "in a storage of 4608 values"),
        (((1, 3, 3, 3), (27, 9, 3, 2**39), 4608, 4 * 4608), "in a storage of 4608 values"),
        (((-1, 3, 3, 3), (27, 9, 3, 1), 4608, 4 * 4608), "a tensor without a shape"),
        ((*fits, 2**39, 4 * 4608), "a/data/0 has 18,432 bytes, not 2,199,023,255,552"),
        ((*fits, 2**70, 4 * 4608), "a storage that is none"),
        ((*fits, 4608, 100), "a/data/0 has 100 bytes, not 18,432"),
    ):
        error = UsageError if "here" in reason else RatespikeError
        assert reason in refusal(archive_of(path, *description), encoder, error=error)
    bomb = archive_of(path, *fits, 2**26, 2**28, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**20
    assert "is compressed, or larger than the file" in refusal(bomb, encoder)


def test_a_pickle_cannot_ask_for_memory_that_it_does_not_fill():
    for content in (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x0fab.", b"\x80\x04\x96" + b"\xff" * 7 + b"\x0fab."):
        with pytest.raises(RatespikeError, match="damaged"):
            read_pickle(io.BytesIO(content))
    assert read_pickle(io.BytesIO(b"\x80\x02Nr\xff\xff\xff\xff."))[0] is None  # pickle.loads takes 64 GB for it


NESTED = b"\x85" * 1_000_000
"""A million tuples, one within the other: neither hashed nor written, since both recurse."""
DOUBLED = b"2\x86" * 60
"""A tuple of itself twice, sixty times over: 2^60 parts."""


@pytest.mark.parametrize("deep", [NESTED, DOUBLED], ids=["nested", "doubled"])
@pytest.mark.parametrize("place", ["key", "item", "maker", "class", "options"])
def test_what_is_nested_is_neither_hashed_nor_written(tmp_path, deep, place):
    body = {
        "key": b"}N" + deep + b"Ns.",
        "item": b"(N" + deep + b"Nd.",
        "maker": b"N" + deep + b")R.",
        "class": b"N" + deep + b")\x81.",
        "options": b"(N" + deep + b"No.",
    }[place]
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + body)
    reason = "a tuple as a key" if place in ("key", "item") else "holds a whole something"
    assert reason in refusal(tmp_path / "a.pt", encoder_of("vgg"))


@pytest.mark.parametrize("where", ["kind", "class"])
def test_what_is_outside_a_pickle_is_known_by_names_alone(where):
    nested = b"N" + b"\x85" * 100_000
    parts = nested + b"N" if where == "kind" else b"X\x06\x00\x00\x00module" + nested
    value, (reference,) = read_pickle(io.BytesIO(b"\x80\x02" + parts + b"\x86Q)R."))
    assert value.maker == "something"
    assert reference.kind == ("" if where == "kind" else "module")


def test_keys_are_texts_numbers_nothing_and_names():
    content, _ = read_pickle(io.BytesIO(b"(X\x01\x00\x00\x00aNK\x01NNNcsome.module\nClass\nNd."))
    assert [str(key) for key in content] == ["a", "1", "None", "some.module.Class"]


def test_a_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    assert refusal(tmp_path / "pipe.pt", encoder_of("vgg")) == "is not a plain file"


def test_a_file_that_holds_itself_is_refused(tmp_path):
    content: dict[str, Any] = {}
    content["model"] = content
    assert "holds no weights" in refusal(saved(tmp_path / "a.pt", content), encoder_of("vgg"))


# --- runs -------------------------------------------------------------------------------------------------------------
def test_a_run_starts_from_another_run_or_its_checkpoint(tmp_path):
    small = LPLConfig(encoder=EncoderConfig(hidden=(6, 5)), run=RunConfig(epochs=1))
    digits = load_images("digits")
    encoder, _ = train_lpl(small, digits, tmp_path / "first")
    for path in (tmp_path / "first", tmp_path / "first" / "checkpoint.pt"):
        started = build_encoder(replace(small, initial_weights=str(path)), digits.image_shape)
        for ours, theirs in zip(started.parameters(), encoder.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    wider = LPLConfig(encoder=EncoderConfig(hidden=(7, 5)), initial_weights=str(tmp_path / "first"))
    with pytest.raises(UsageError, match=r"encoder\.blocks\.0\.synapses\.weight: is \[6, 64\], \[7, 64\] here"):
        build_encoder(wider, digits.image_shape)
    loaded = load_existing(tmp_path / "first", encoder, "mlp")
    assert (loaded.epoch, loaded.source) == (1, "an encoder of ratespike")


def test_a_checkpoint_becomes_a_run_that_is_read_out(tmp_path, rng):
    root = tmp_path / "data"
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            folder = root / "image-folder" / split / name
            folder.mkdir(parents=True)
            for n in range(3):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    pattern = "network.encoder.blocks.{block}.module.0"
    state = vgg_weights(pattern)
    path, out = saved(tmp_path / "a.ckpt", {"epoch": 800, "state_dict": state}), tmp_path / "run"
    arguments = [str(path), "--width", str(SMALL), "--data", "image-folder", "--root", str(root), "--out", str(out)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.stdout == (
        f"{path}: a VGG-11 of the authors' code, epoch 800: 16 tensors taken\nnow `ratespike deep readout {out}`\n"
    )
    encoder, config, images = load_lpl(out, root=root)
    assert config.run.epochs == 0
    inputs = prepare(images.test_images, config)
    for ours, theirs in zip(codes(encoder, inputs), vgg_codes(state, pattern, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-6)
    assert '"source": "a VGG-11 of the authors\' code"' in (out / "origin.json").read_text()
    with pytest.raises(UsageError, match="holds a run already"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    elsewhere = [*arguments[:-1], str(tmp_path / "other"), "--encoder", "resnet"]
    with pytest.raises(UsageError, match="is a VGG-11 of the authors' code, the encoder is resnet; take --encoder vgg"):
        CliRunner().invoke(command, elsewhere, catch_exceptions=False)
    assert not (tmp_path / "other").exists()


def test_an_imported_resnet_is_a_run_of_end_to_end_learning_and_needs_no_data(tmp_path):
    path, out = saved(tmp_path / "a.pth", resnet_state()), tmp_path / "run"
    options = ["--encoder", "resnet", "--data", "stl10", "--downsample-images", "--root", str(tmp_path / "none")]
    CliRunner().invoke(command, [str(path), "--width", str(SMALL), *options, "--out", str(out)], catch_exceptions=False)
    config = loads(LPLConfig, (out / "config.toml").read_text())
    assert (config.loss.end_to_end, config.encoder.kind, config.image_size) == (True, "resnet", 32)
    network = build_network(config, (3, 32, 32), 10)
    load_weights(out, network)
    assert torch.equal(network.encoder.state_dict()["blocks.0.bn1.weight"], resnet_state()["bn1.weight"])


# --- torchvision's file -----------------------------------------------------------------------------------------------
@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A web host that serves `content` under any name, notes who asks, and may break off."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = types.SimpleNamespace(content=b"weights of many", asked=[], broken=False, status=200)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            self.send_response(served.status)
            self.send_header("Content-Length", str(len(served.content)))
            self.end_headers()
            self.wfile.write(served.content[:5] if served.broken else served.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_port}/models/"
    served.server = server
    name = f"resnet50-{hashlib.sha256(served.content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(pretrained, "NAME", name)
    yield served
    server.shutdown()
    server.server_close()


def test_published_weights_are_downloaded_once(host, tmp_path):
    path = resnet50_weights(tmp_path, host.url)
    assert path == tmp_path / "weights" / pretrained.NAME
    assert path.read_bytes() == host.content
    assert resnet50_weights(tmp_path, host.url) == path
    assert host.asked == [f"/models/{pretrained.NAME}"]
    path.write_bytes(b"changed")
    assert resnet50_weights(tmp_path, host.url).read_bytes() == host.content
    assert list(path.parent.iterdir()) == [path]


def test_a_download_is_the_whole_official_file_or_nothing(host, tmp_path, monkeypatch):
    def failure() -> str:
        with pytest.raises(RatespikeError) as caught:
            resnet50_weights(tmp_path, host.url)
        assert not [file for file in tmp_path.rglob("*") if file.is_file()]
        return str(caught.value)

    by_hand = f"put the file at {tmp_path / 'weights' / pretrained.NAME}"
    good = host.content
    host.content = b"other weights"
    assert "sends another file than the name says; nothing was kept" in failure()
    host.content, host.broken = good, True
    assert "broke off after" in failure() or "cannot be reached" in failure()
    host.broken, host.status = False, 503
    message = failure()
    assert "the host answers 503" in message
    assert by_hand in message
    host.status = 200
    monkeypatch.setattr(pretrained, "MOST", 3)
    assert "sends more than the official file has" in failure()
    host.server.server_close()
    host.url = "http://127.0.0.1:9/"
    message = failure()
    assert "cannot be reached (ConnectionError)" in message
    assert by_hand in message


def test_the_official_name_is_that_of_torchvision():
    assert pretrained.URL + pretrained.NAME == "https://download.pytorch.org/models/resnet50-0676ba61.pth"


# --- the page ---------------------------------------------------------------------------------------------------------
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def unregistered() -> Iterator[None]:
    """The encoders as they were, afterwards."""
    before = dict(ENCODERS)
    yield
    ENCODERS.clear()
    ENCODERS.update(before)


def page() -> str:
    return (DOCS / "own-encoders.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys, unregistered):
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"```python\n(.*?)```", page(), flags=re.DOTALL))
    exec(compile(code.replace("RunConfig(epochs=30)", "RunConfig(epochs=1)"), "own-encoders.md", "exec"), {})
    *layers, last = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in layers] == ["layer 1", "layer 2", "layer 3"]
    assert all(0.8 < float(line.split()[2]) <= 1 for line in layers)
    assert last == "run/checkpoint.pt: an encoder of ratespike, epoch 1: 6 tensors taken"


def test_the_example_is_the_page_and_runs(tmp_path, capsys, unregistered):
    path = DOCS / "examples" / "own_encoder.py"
    shown = page().split("class NormalisedBlock")[1].split("```")[0]
    assert f"class NormalisedBlock{shown}" in path.read_text(encoding="utf-8")
    example = runpy.run_path(str(path))
    example["main"](["--epochs", "1", "--out", str(tmp_path / "run")])
    first, untrained, trained = capsys.readouterr().out.splitlines()
    assert first == "loaded as it was saved"
    assert untrained.startswith("untrained: test accuracy of layers 1 to 3: 0.9")
    assert trained.startswith("LPL: ")
    del ENCODERS["normalised"]
    with pytest.raises(UsageError, match=r"encoder\.kind: must be one of .* got 'normalised'"):
        load_lpl(tmp_path / "run")


@pytest.mark.slow
def test_the_example_at_full_length_says_what_the_page_says(capsys, unregistered):
    runpy.run_path(str(DOCS / "examples" / "own_encoder.py"))["main"]([])
    _, untrained, trained = capsys.readouterr().out.splitlines()
    (said,) = re.findall(r"# (0\..*); untrained (0\..*)\n", page())
    for line, numbers in zip((trained, untrained), said, strict=True):
        measured = [float(number) for number in line.rpartition(": ")[2].split(",")]
        assert measured == pytest.approx([float(number) for number in numbers.split(",")], abs=0.01)
