"""Checkpoints of the reference: made here under its names, read without running anything, in our networks."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import RatespikeError, UsageError
from ratenets import run_folder
from ratenets.butd.builders import build_network, conv_net, fc_net, simple_net
from ratenets.butd.config import WeightConfig, preset
from ratenets.butd.convolution import Conv2d
from ratenets.butd.existing import load_weights
from ratenets.butd.layers import Flatten, Layer, Sequential
from ratenets.butd.networks import INPUT, ButdNetwork
from ratenets.butd.residual import Normed, Residual
from ratenets.run import Learner
from tests.ratenets.butd import reference_modules as reference


class Case(NamedTuple):
    """A network of the reference and ours of the same structure, each at weights of its own."""

    theirs: reference.Network
    ours: ButdNetwork
    shape: tuple[int, ...]


def regime(separate: bool) -> WeightConfig:
    return WeightConfig(regime="separate" if separate else "tied")


def network(core: Layer, shape: tuple[int, ...], separate: bool, **options: Any) -> ButdNetwork:
    return ButdNetwork(core, shape, 3, instruction=2, embedding=4, weights=regime(separate), **options).eval()


def resnet_core(separate: bool, norm: bool) -> Sequential:
    weights, maps = regime(separate), (4, 4, 6, 8, 10)
    stem = Conv2d(3, 4, 3, padding=1, bias=False, weights=weights)
    blocks: list[Layer] = []
    for n in range(4):
        blocks.append(Residual(maps[n], maps[n + 1], stride=1 if n == 0 else 2, norm=norm, weights=weights))
        blocks.append(Residual(maps[n + 1], maps[n + 1], norm=norm, weights=weights))
    return Sequential(Normed(stem) if norm else stem, *blocks, Flatten())


def tiny_core(separate: bool) -> Sequential:
    weights = regime(separate)
    return Sequential(
        Conv2d(1, 3, 3, padding=1, bias=False, weights=weights),
        Residual(3, 4, weights=weights),
        Residual(4, 4, stride=2, weights=weights),
        Conv2d(4, 4, 5, stride=3, padding=1, weights=weights),
        Flatten(),
    )


def case(kind: str, separate: bool) -> Case:
    torch.manual_seed(3)
    weights = regime(separate)
    match kind:
        case "fc":
            shape, theirs = (1, 3, 4), reference.fc(separate)
            ours = network(fc_net(shape, (7, 5), weights=weights), shape, separate)
        case "simple":
            shape, theirs = (1, 20, 20), reference.simple(separate)
            ours = network(simple_net(shape, (3, 4), 6, weights=weights), shape, separate)
        case "conv":
            shape, theirs = (1, 20, 20), reference.conv(separate)
            ours = network(conv_net(shape, (3,) * 4, (5,) * 4, (6,), weights=weights), shape, separate)
        case "resnet" | "resnet with norm":
            norm = kind != "resnet"
            shape, theirs = (3, 8, 7), reference.resnet(separate, norm)
            ours = network(resnet_core(separate, norm), shape, separate)
        case _:
            shape, theirs = (1, 14, 14), reference.tiny(separate, numbered=kind == "tiny")
            ours = network(tiny_core(separate), shape, separate)
    return Case(theirs.eval(), ours, shape)


KINDS = ("fc", "simple", "conv", "resnet", "resnet with norm", "tiny", "tiny without numbers")


def saved(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path, ours: nn.Module, error: type[Exception] = UsageError) -> str:
    """The message of a refusal, which leaves the network as it was."""
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(error) as caught:
        load_weights(path, ours)
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name])
    return message.removeprefix(f"{path}: ")


def assert_same(one: Case) -> None:
    """Both networks compute the same, upwards and in the attention pass."""
    images, instruction = torch.randn(2, *one.shape), torch.eye(2)
    with torch.no_grad():
        torch.testing.assert_close(one.ours.bottom_up(images).logits, one.theirs.logits(images))
        attended = one.ours.attend(instruction, to_input=True)[INPUT]
        torch.testing.assert_close(attended, one.theirs.attended(instruction))
        assert attended.count_nonzero() > 0


@pytest.mark.parametrize("separate", [False, True], ids=["tied", "separate"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_the_reference_compute_here_what_they_did_there(tmp_path, kind, separate):
    one = case(kind, separate)
    loaded = load_weights(saved(tmp_path / "a.pth", one.theirs.state_dict()), one.ours)
    assert_same(one)
    counted = {name for name in one.ours.state_dict() if name in loaded.taken}
    assert counted == set(one.ours.state_dict())
    assert loaded.source == "the reference"
    assert bool(loaded.duplicates) == (kind != "conv")
    shortcuts = {"resnet": 3, "resnet with norm": 3}.get(kind, 2 if kind.startswith("tiny") else 0) * separate
    assert loaded.notes == (
        (f"{shortcuts} shortcuts are tied there: their top-down weights start as the bottom-up ones",)
        if shortcuts
        else ()
    )


def test_the_summary_is_one_line(tmp_path):
    one = case("resnet", True)
    content = {"model_state_dict": one.theirs.state_dict(), "optimizer_state_dict": {}, "epoch": 12, "loss": 0.5}
    path = saved(tmp_path / "a.tar", content)
    tensors, shared = len(one.ours.state_dict()), 2 * 16 + 3  # of the blocks: W and V, and three shortcuts' W
    assert str(load_weights(path, one.ours)) == (
        f"{path}: a network of the reference, epoch 12: {tensors} tensors taken ({shared} of them twice); "
        "3 shortcuts are tied there: their top-down weights start as the bottom-up ones"
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
@pytest.mark.parametrize("wrapped", [True, False], ids=["in a .tar", "plain"])
def test_files_of_every_kind_are_taken(tmp_path, zipped, prefix, wrapped):
    one = case("fc", True)
    state = OrderedDict((f"{prefix}{name}", value) for name, value in one.theirs.state_dict().items())
    content = {"model_state_dict": state, "epoch": 3, "loss": torch.tensor(0.5)} if wrapped else state
    loaded = load_weights(saved(tmp_path / "a.tar", content, zipped), one.ours)
    assert loaded.epoch == (3 if wrapped else None)
    assert loaded.taken["core.1.V"] == f"{prefix}core_net.layers.1.back_weight"
    assert_same(one)


def test_duplicates_may_be_copies(tmp_path):
    one = case("simple", True)
    state = {name: value.clone() for name, value in one.theirs.state_dict().items()}
    loaded = load_weights(saved(tmp_path / "a.pth", state), one.ours)
    assert len(loaded.duplicates) == 15
    assert_same(one)


def test_a_tied_weight_may_come_under_both_names(tmp_path):
    one = case("fc", False)
    state = one.theirs.state_dict()
    state["head_layer.back_weight"] = state["head_layer.weight"].T
    loaded = load_weights(saved(tmp_path / "a.pth", state), one.ours)
    assert "head_layer.back_weight" in loaded.duplicates
    assert_same(one)


def test_top_down_biases_are_taken_but_for_those_that_the_reference_never_adds(tmp_path):
    torch.manual_seed(3)
    theirs, shape = reference.simple(True, td_bias=True), (1, 20, 20)
    core = simple_net(shape, (3, 4), 6, weights=regime(True), td_bias=True)
    one = Case(theirs, network(core, shape, True, td_bias=True), shape)
    loaded = load_weights(saved(tmp_path / "a.pth", theirs.state_dict()), one.ours)
    assert_same(one)
    assert loaded.notes == ("top-down biases of convolutions, which it never adds there, are 0",)
    state = one.ours.state_dict()
    assert [name for name in state if name.endswith(".c") and not state[name].any()] == [
        f"core.{n}.c" for n in range(4)
    ]


@pytest.mark.parametrize("name", ["celeb_a", "resnet", "multi_mnist", "cifar"])
def test_networks_of_the_reference_fit_the_presets(tmp_path, name):
    """Every tensor of the reference, by the shapes of butd.md 1.4, each with a value of its own."""
    config = preset(name)
    shape = (1, 28, 28) if name == "multi_mnist" else (3, 32, 32)
    guided = {"celeb_a": 40, "multi_mnist": 2}.get(name, 0)
    ours = build_network(config.network, config.weights, shape, 10, 0, instruction=guided)
    state = shapes_of(name, separate=config.weights.regime == "separate")
    content = {key: torch.tensor(float(n)).expand(size) for n, (key, size) in enumerate(state.items(), 1)}
    loaded = load_weights(saved(tmp_path / "a.pth", content), ours)
    assert set(loaded.taken.values()) == set(state)
    place = {key: number for number, key in enumerate(state, 1)}
    for key, value in ours.state_dict().items():
        expected = 0 if key.endswith("num_batches_tracked") else place[loaded.taken[key]]
        assert (value == expected).all()


def shapes_of(name: str, separate: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def add(place: str, *shape: int, bias: bool = True, own: bool = separate) -> None:
        parts = {"weight": shape} | ({"bias": shape[:1]} if bias else {})
        parts |= {"back_weight": shape if len(shape) == 4 else shape[::-1]} if own else {}
        shapes.update({f"{place}.{part}": size for part, size in parts.items()})

    def norm(place: str, above: int, below: int) -> None:
        for inner, maps in (("", above), ("back_batch_norm.", below)):
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{place}.{inner}{part}"] = (maps,)

    def heads(features: int, *sizes: int) -> None:
        add("head_layer", 10, features)
        for number, (below, above) in enumerate(zip((features, *sizes), sizes, strict=False)):
            add(f"task_head.{number}", above, below)

    match name:
        case "cifar":
            add("core_net.layers.1", 1000, 3072)
            heads(1000)
        case "multi_mnist":
            for number, size in enumerate([(32, 1, 5, 5), (32, 1, 2, 2), (32, 32, 5, 5), (32, 1, 3, 3)]):
                add(f"core_net.layers.{number}", *size)
            add("core_net.layers.5", 50, 288)
            heads(50, 50, 2)
        case _:
            add("core_net.conv1", 64, 3, 3, 3, bias=False)
            if name == "celeb_a":
                norm("core_net.bn1", 64, 3)
            below = 64
            for stage, above in enumerate((64, 128, 256, 512), 1):
                for number in range(2):
                    block = f"core_net.layer{stage}.{number}"
                    add(f"{block}.conv1", above, below, 3, 3, bias=False)
                    add(f"{block}.conv2", above, above, 3, 3, bias=False)
                    if name == "celeb_a":
                        norm(f"{block}.bn1", above, below)
                        norm(f"{block}.bn2", above, above)
                    if below != above:
                        add(f"{block}.downsample", above, below, 1, 1, bias=False, own=False)
                        if name == "celeb_a":
                            norm(f"{block}.downsample_norm_layer", above, below)
                    below = above
            heads(8192, *((200, 40) if name == "celeb_a" else ()))
    return shapes


@pytest.mark.parametrize("separate", [False, True], ids=["tied", "separate"])
def test_a_run_of_ours_is_taken_from_its_folder_its_checkpoint_or_its_weights(tmp_path, separate):
    one, other = case("resnet with norm", separate), case("resnet with norm", separate)
    for value in one.ours.parameters():
        value.data.normal_()
    optimizer = torch.optim.SGD(one.ours.parameters(), 0.1)
    learner = cast("Learner", SimpleNamespace(network=one.ours, optimizer=optimizer))
    folder = tmp_path / "run"
    run_folder.save(folder, learner, run_folder.State(epoch=4))
    weights = saved(tmp_path / "weights.pt", one.ours.state_dict())
    for path, epoch in ((folder, 4), (folder / "checkpoint.pt", 4), (weights, None)):
        for value in other.ours.parameters():
            value.data.zero_()
        loaded = load_weights(path, other.ours)
        assert (loaded.source, loaded.epoch) == ("ratespike", epoch)
        for name, value in other.ours.state_dict().items():
            assert torch.equal(value, one.ours.state_dict()[name])


# --- refusals ---------------------------------------------------------------------------------------------------------
def changed(path: Path, state: dict[str, Tensor], **changes: Any) -> Path:
    """A checkpoint with other tensors under some names; None leaves one out."""
    content = state | changes
    return saved(path, {name: value for name, value in content.items() if value is not None})


def test_tied_and_separate_weights_are_told_apart(tmp_path):
    tied, separate = case("fc", False), case("fc", True)
    path = saved(tmp_path / "a.pth", separate.theirs.state_dict())
    message = refusal(path, tied.ours)
    assert message == ("core_net.layers.1.back_weight: is not tied, the network here is; --weights separate would fit")
    path = saved(tmp_path / "a.pth", tied.theirs.state_dict())
    message = refusal(path, separate.ours)
    assert message == "lacks core.1.V: its weights are tied, those here are not; --weights tied would fit"
    path = saved(tmp_path / "a.pth", tied.ours.state_dict())
    assert "--weights tied would fit" in refusal(path, separate.ours)


def test_only_shortcuts_may_be_tied_among_separate_weights(tmp_path):
    one = case("resnet", True)
    state = {k: v for k, v in one.theirs.state_dict().items() if not k.startswith("core_net.layer2.0.conv1.back")}
    path = saved(tmp_path / "a.pth", {k: v for k, v in state.items() if "layers." not in k})
    assert refusal(path, one.ours) == "lacks core.3.conv1.V, and 0 more of 49"
    own = {name: value for name, value in one.ours.state_dict().items() if name != "core.3.shortcut.V"}
    assert refusal(saved(tmp_path / "a.pth", own), one.ours) == "lacks core.3.shortcut.V, and 0 more of 49"


def test_a_tensor_that_does_not_fit_is_named(tmp_path):
    one, path = case("simple", True), tmp_path / "a.pth"
    state = {k: v for k, v in one.theirs.state_dict().items() if not k.startswith("core_net._")}
    name = "core_net.layers.2.weight"
    assert refusal(changed(path, state, **{name: torch.ones(4, 3, 3, 3)}), one.ours) == (
        "core_net.layers.2.weight: is [4, 3, 3, 3], [4, 3, 5, 5] here"
    )
    assert refusal(changed(path, state, **{name: None}), one.ours) == "lacks core.2.W, and 0 more of 24"
    extra = {"core_net.layers.7.weight": torch.ones(2, 2)}
    assert refusal(changed(path, state, **extra), one.ours) == (
        "core_net.layers.7.weight is no part of the network here"
    )
    nan = {name: torch.full((4, 3, 5, 5), torch.nan)}
    assert refusal(changed(path, state, **nan), one.ours, RatespikeError) == f"{name}: is not finite"
    whole = {name: torch.ones(4, 3, 5, 5, dtype=torch.int64)}
    assert "is of torch.int64" in refusal(changed(path, state, **whole), one.ours, RatespikeError)
    text = {name: "weights"}
    assert refusal(changed(path, state, **text), one.ours, RatespikeError) == f"{name}: is no tensor, but str"


@pytest.mark.parametrize("name", ["core_net._conv1.weight", "core_net._fc.back_bias", "core_net.spare.weight"])
def test_a_duplicate_that_differs_is_refused(tmp_path, name):
    one = case("simple", True)
    state = {key: value.clone() for key, value in one.theirs.state_dict().items()}
    state[name] = state.get(name, torch.zeros(4)) + 1
    message = refusal(saved(tmp_path / "a.pth", state), one.ours, RatespikeError)
    assert message == f"{name}: is no part of the network, and no duplicate of one"


def test_a_stage_of_a_resnet_that_differs_from_its_duplicate_is_refused(tmp_path):
    one = case("resnet with norm", False)
    state = {key: value.clone() for key, value in one.theirs.state_dict().items()}
    name = "core_net.layers.2.1.bn2.back_batch_norm.running_mean"
    state[name] += 1
    message = refusal(saved(tmp_path / "a.pth", state), one.ours, RatespikeError)
    assert message == f"{name}: is no part of the network, and no duplicate of one"


def test_parts_that_a_network_may_have_are_named_by_their_options(tmp_path):
    path, shape = tmp_path / "a.pth", (1, 3, 4)
    one, core = case("fc", True), fc_net((1, 3, 4), (7, 5), weights=regime(True))
    saved(path, one.theirs.state_dict())
    unguided = ButdNetwork(core, shape, 3, weights=regime(True))
    assert refusal(path, unguided) == "task_head.0.weight: has an instruction head; --guided would fit"
    saved(path, reference.fc(True, td_bias=True).state_dict())
    assert refusal(path, one.ours) == "core_net.layers.1.back_bias: has top-down biases; --td-bias would fit"
    saved(path, reference.fc(True, bias=False).state_dict())
    assert refusal(path, one.ours) == "lacks core.1.b: has no biases; --no-bias would fit"
    plain, normed = case("resnet", False), case("resnet with norm", False)
    saved(path, normed.theirs.state_dict())
    assert refusal(path, plain.ours) == "core_net.bn1.weight: has batch norm; --norm would fit"
    saved(path, plain.theirs.state_dict())
    assert refusal(path, normed.ours) == "lacks core.0.norm.bu.weight: has no batch norm; --no-norm would fit"


def test_other_kinds_of_networks_are_refused(tmp_path):
    one, path = case("fc", False), tmp_path / "a.pth"
    saved(path, one.theirs.state_dict())
    assert refusal(path, case("simple", False).ours) == "core_net.layers.1.weight: is [7, 12], [3, 1, 2, 2] here"
    lpl = {"encoder.blocks.0.synapses.weight": torch.ones(3)}
    assert refusal(saved(path, lpl), one.ours, RatespikeError) == (
        "encoder.blocks.0.synapses.weight is no part of a bottom-up / top-down network"
    )
    assert "holds no weights" in refusal(saved(path, [1, 2]), one.ours, RatespikeError)
    assert refusal(tmp_path / "none.pth", one.ours, RatespikeError) == "no such file"
    (tmp_path / "run").mkdir()
    assert "no such file" in refusal(tmp_path / "run", one.ours, RatespikeError)


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_hostile_file_is_not_run(tmp_path):
    one, made = case("fc", False), tmp_path / "made"
    path = saved(tmp_path / "a.pth", {**one.theirs.state_dict(), "head_layer.extra": Hostile(made)})
    message = refusal(path, one.ours, RatespikeError)
    assert "mkdir in a program that trusts it; nothing of it was run or taken" in message
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickle.dumps(Hostile(made)))
    refusal(path, one.ours, RatespikeError)
    assert not made.exists()
    pickle.loads(pickle.dumps(Hostile(made)))  # as it would have been
    assert made.exists()


def test_a_whole_network_is_refused(tmp_path):
    one = case("fc", False)
    message = refusal(saved(tmp_path / "a.pth", one.theirs), one.ours, RatespikeError)
    assert "save its state_dict() instead" in message
