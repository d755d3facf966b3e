"""Which of the names in a checkpoint are the encoder's: behind any prefix, under any key, beside whatever else."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from foundation.errors import RatespikeError, UsageError
from ratenets.checkpoint_check import check_checkpoint
from ratenets.existing import load_existing
from ratenets.lpl.encoders import Encoder, EncoderConfig, build
from ratespike.import_weights import command

PLACES = (0, 3, 6, 8, 11, 13, 16, 18)


def encoder_of(seed: int = 0) -> Encoder:
    return build(EncoderConfig(kind="vgg", width=1 / 16), (3, 32, 32), seed)


def vgg(seed: int = 1) -> dict[str, Tensor]:
    """Under torchvision's names."""
    state = encoder_of(seed).state_dict()
    return {f"features.{PLACES[int(k.split('.')[1])]}.{k.split('.')[-1]}": v for k, v in state.items()}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_taken(path: Path, seed: int = 1, prefix: str = "") -> Any:
    encoder = encoder_of(9)
    loaded = load_existing(path, encoder, "vgg", prefix)
    for name, value in encoder_of(seed).state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value)
    return loaded


@pytest.mark.parametrize(
    "prefix", ["", "module.", "a.b.c.", "student.backbone.", "net.0.", "features.", "x" * 300 + "."]
)
@pytest.mark.parametrize("keys", [(), ("params",), ("state_dict_ema",), ("a", "b", "weights")])
def test_any_prefix_under_any_key(tmp_path: Path, prefix: str, keys: tuple[str, ...]) -> None:
    content: Any = under(prefix, vgg())
    for key in reversed(keys):
        content = {key: content, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "lr": 0.1}, "epoch": 7}
    loaded = assert_taken(saved(tmp_path / "a.pth", content))
    assert loaded.epoch == (7 if keys else None)
    assert not loaded.left


def test_what_else_there_is_is_left_and_listed(tmp_path: Path) -> None:
    others = {"projection_head.0.weight": torch.ones(2), "prototypes.weight": torch.ones(2), "queue": torch.ones(1)}
    state = under("backbone.", vgg()) | {"backbone.fc.weight": torch.ones(2)} | others
    loaded = assert_taken(saved(tmp_path / "a.pth", {"state_dict": state, "version": "1.0"}))
    assert loaded.left == {
        "backbone.fc.weight": "classifier",
        "projection_head.0.weight": "projector",
        "prototypes.weight": "other tensors",
        "queue": "other tensors",
    }
    assert str(loaded).endswith("left: 1 of its classifier, 1 of its projector, 2 of its other tensors")


def test_a_layer_more_is_another_network(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", under("backbone.", vgg() | {"features.4.gain": torch.ones(3)}))
    with pytest.raises(RatespikeError, match=r"backbone\.features\.4\.gain is no part of a VGG-11 of torchvision"):
        load_existing(path, encoder_of(), "vgg")


@pytest.mark.parametrize("names", [("student.", "teacher."), ("encoder_q.", "encoder_k."), ("", "momentum_encoder.")])
def test_of_several_encoders_that_are_alike_one_is_asked_for(tmp_path: Path, names: tuple[str, str]) -> None:
    path = saved(tmp_path / "a.pth", under(names[0], vgg(1)) | under(names[1], vgg(2)))
    with pytest.raises(UsageError, match="holds several encoders that are alike: ") as caught:
        load_existing(path, encoder_of(), "vgg")
    assert names[1].rstrip(".") in str(caught.value)
    assert "--prefix" in str(caught.value)
    for prefix in (names[1], names[1].rstrip(".")):
        assert_taken(path, 2, prefix)
    with pytest.raises(UsageError, match=r"--prefix: no encoder at 'tutor'; there are "):
        load_existing(path, encoder_of(), "vgg", "tutor")


def test_the_encoder_with_a_head_is_the_one_that_learned(tmp_path: Path) -> None:
    state = under("module.encoder_q.", vgg(1)) | under("module.encoder_k.", vgg(2))
    state |= {"module.encoder_q.fc.0.weight": torch.ones(2), "module.queue": torch.ones(2)}
    assert_taken(saved(tmp_path / "a.pth", {"state_dict": state}))
    half = {name: value for name, value in under("small.", vgg(2)).items() if "features.0" in name}
    assert_taken(saved(tmp_path / "a.pth", under("large.", vgg(1)) | half))


def test_of_two_dictionaries_one_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"state_dict": under("m.", vgg(1)), "ema": {"weights": under("m.", vgg(2))}})
    with pytest.raises(UsageError, match=r"are alike: state_dict\.m, ema\.weights\.m; say"):
        load_existing(path, encoder_of(), "vgg")
    assert_taken(path, 2, "ema.weights.m")


def test_the_command_takes_a_prefix(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", under("student.", vgg(1)) | under("teacher.", vgg(2)))
    given = [str(path), "--width", "0.0625", "--prefix", "teacher", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(command, given, catch_exceptions=False)
    assert "16 tensors taken; left: 16 of its other tensors" in done.output


# --- .safetensors -----------------------------------------------------------------------------------------------------
def safe(path: Path, state: dict[str, Tensor]) -> Path:
    from safetensors.torch import save_file

    save_file(state, path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_safetensors_are_read(tmp_path: Path, suffix: str) -> None:
    assert_taken(safe(tmp_path / f"a.{suffix}", under("model.", vgg()) | {"step": torch.tensor(3)}))
    half = {name: value.half() for name, value in vgg().items()}
    load_existing(safe(tmp_path / "half.safetensors", half), encoder_of(), "vgg")


@pytest.mark.parametrize("damage", ["cut", "header", "length", "size", "type"])
def test_damaged_safetensors_are_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = safe(tmp_path / "a.safetensors", vgg())
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-10],
            "header": content[:8] + b"{" * 100 + content[108:],
            "length": b"\xff" * 7 + b"\x7f" + content[8:],
            "size": content.replace(b'"shape":[4]', b'"shape":[9]'),
            "type": content.replace(b'"dtype":"F32"', b'"dtype":"XXX"'),
        }[damage]
    )
    with pytest.raises(RatespikeError, match=r"a\.safetensors: damaged, or no \.safetensors file \(") as caught:
        load_existing(path, encoder_of(), "vgg")
    assert "\n" not in str(caught.value)


# --- sizes ------------------------------------------------------------------------------------------------------------
def rewritten(path: Path, how: int = zipfile.ZIP_STORED, changed: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path) as archive:
        held = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in held.items():
            archive.writestr(name, (changed or {}).get(name.rpartition("/")[2], content))
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(3)).sum().backward()
    optimizer.step()
    content = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "sums": {"a": torch.zeros(())}}
    return saved(tmp_path / "checkpoint.pt", content | {"epoch": 3, "empty": torch.zeros(0)})


def test_a_checkpoint_of_ours_is_sound(checkpoint: Path) -> None:
    check_checkpoint(checkpoint)


def test_what_torch_should_not_see_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    good = checkpoint.read_bytes()

    def said(path: Path = checkpoint) -> str:
        with pytest.raises(RatespikeError) as caught:
            check_checkpoint(path)
        checkpoint.write_bytes(good)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value)

    assert "is compressed, or larger than the file" in said(rewritten(checkpoint, zipfile.ZIP_DEFLATED))
    weight = torch.zeros(1).expand(10_000, 10_000)
    assert "a tensor [10000, 10000] in a storage of 1 values" in said(saved(tmp_path / "a.pt", {"network": weight}))
    assert "bytearray, which no checkpoint of ours does" in said(saved(tmp_path / "a.pt", {"network": bytearray(9)}))
    assert "bytes, not" in said(rewritten(checkpoint, changed={"0": bytes(10**6)}))
    flipped = bytearray(good)
    weights = torch.load(checkpoint, weights_only=True)["network"]["weight"]
    flipped[good.index(weights.numpy().tobytes()) + 5] ^= 1
    checkpoint.write_bytes(flipped)
    assert "damaged" in said()
    for length in (0, 10, len(good) // 2, len(good) - 1):
        checkpoint.write_bytes(good[:length])
        assert "damaged" in said()
    assert "no such file" in said(tmp_path / "none.pt")
