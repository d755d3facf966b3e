"""Config files of the reference: made here, as it has them, and read as ours."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import RatespikeError, UsageError
from ratenets.butd.config import PRESETS, ButdConfig, preset
from ratenets.butd.existing import read_config

ALWAYS = {"benchmark", "non_linearity_fn", "lateral_fn", "metric_name", "resume_training", "data_path"}
UNGUIDED = {"task", "task_vector_size", "n_tasks", "task_embedding_size"}

Sections = dict[str, Any]


def sections(**changes: Any) -> Sections:
    """A config file of MNIST as the reference has it, with other values for some keys; ... leaves a key out."""
    content: Sections = {
        "benchmark": "MNIST",
        "learning settings": {
            "mtl": False,
            "mtl comment": "several tasks, or one",
            "ch_learning": True,
            "task": "left/right",
            "task available options": ["left/right", None],
            "task_vector_size": 2,
            "n_tasks": 2,
            "network_name": "fc net",
            "shared_weights": False,
            "non_linearity_fn": "relu",
            "lateral_fn": "galu",
            "bias": True,
            "back_bias": False,
            "metric_name": "Accuracy",
            "loss_name": "CrossEntropy",
            "multi_decoders": False,
            "resume_training": False,
        },
        "architecture parameters": {
            "norm_layer": "no_norm",
            "task_embedding_size": 50,
            "last_hidden_size": 500,
            "conv_channels": [32, 32],
        },
        "data set parameters": {
            "comment": "which images",
            "dataset_name": "mnist",
            "data_path": "./Datasets",
            "batch_size": 20,
        },
        "optimizer parameters": {"optimizer_name": "Adam", "lr": 0.0001, "epochs": 50, "lr_decay": 0.95},
        "saved_model_path": None,
    }
    for key, value in changes.items():
        section = next((s for s in content.values() if isinstance(s, dict) and key in s), content)
        if value is ...:
            del section[key]
        else:
            section[key] = value
    return content


GUIDED = {"mtl": True, "ch_learning": False, "shared_weights": True, "batch_size": 64, "lr": 0.0005}
FILES = {
    "mnist": sections(),
    "fashion_mnist": sections(dataset_name="fashion_mnist"),
    "cifar": sections(dataset_name="cifar", last_hidden_size=1000),
    "multi_mnist": sections(
        **GUIDED, dataset_name="multi_mnist", network_name="simple net", last_hidden_size=50, epochs=100
    ),
    "celeb_a": sections(
        **GUIDED,
        dataset_name="celeba",
        task="binary attribute",
        task_vector_size=40,
        n_tasks=40,
        network_name="resnet18",
        loss_name="BCE",
        norm_layer=None,
        task_embedding_size=200,
        last_hidden_size=200,
    ),
    "resnet": sections(dataset_name="cifar", network_name="resnet18", last_hidden_size=200, batch_size=128),
}
WITHOUT_EFFECT = {
    "mnist": ALWAYS | UNGUIDED | {"conv_channels"},
    "fashion_mnist": ALWAYS | UNGUIDED | {"conv_channels"},
    "cifar": ALWAYS | UNGUIDED | {"conv_channels"},
    "multi_mnist": ALWAYS,
    "celeb_a": ALWAYS | {"conv_channels", "last_hidden_size"},
    "resnet": ALWAYS | UNGUIDED | {"conv_channels", "last_hidden_size"},
}
SIZES = {"fc": (500, ()), "simple": (50, (32, 32))}
"""Hidden units and channels of kinds whose presets may leave them to their kind; a file of the reference names them."""


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(content: Any) -> tuple[ButdConfig, set[str]]:
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        config, idle = read_config(path)
        assert len(set(idle)) == len(idle)
        return config, set(idle)

    return read


def with_sizes(config: ButdConfig) -> ButdConfig:
    """The same network, its sizes in words."""
    hidden, channels = SIZES.get(config.network.kind, (0, ()))
    network = config.network
    sizes = replace(network, hidden=network.hidden or hidden, channels=network.channels or channels)
    return replace(config, network=sizes)


@pytest.mark.parametrize("name", list(PRESETS))
def test_files_of_the_experiments_are_the_presets(read, name):
    config, idle = read(FILES[name])
    assert config == with_sizes(preset(name))
    assert idle == WITHOUT_EFFECT[name]


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({"lr_decay": True}, "lr_decay", 0.95),
        ({"lr_decay": False}, "lr_decay", 1.0),
        ({"lr_decay": 0.5}, "lr_decay", 0.5),
        ({"lr_decay": 1}, "lr_decay", 1.0),
        ({"optimizer_name": "SGD"}, "optimizer", "sgd"),
        ({"loss_name": "MSE"}, "loss", "mse"),
        ({"back_bias": True}, "network.td_bias", True),
        ({"bias": False}, "network.bias", False),
        ({"network_name": "resnet"}, "network.kind", "resnet18"),
        ({"network_name": "resnet", "norm_layer": None}, "network.norm", True),
        ({"network_name": "resnet", "norm_layer": ...}, "network.norm", True),
        ({"network_name": "resnet", "bias": False}, "network.bias", False),
        ({"lr_decay": ...}, "lr_decay", 1.0),
        ({"network_name": "tiny resnet"}, "network.kind", "tiny-resnet"),
        ({"network_name": "conv net"}, "network.hidden", 0),
        ({"network_name": "simple net", "conv_channels": [64, 64]}, "network.channels", (64, 64)),
        ({"conv_channels": [64, 64]}, "network.channels", ()),
        ({"mtl": True, "dataset_name": "multi_mnist"}, "task", ""),
        ({"mtl": True, "dataset_name": "multi_mnist", "task": None}, "task", ""),
        (
            {"mtl": True, "dataset_name": "multi_mnist", "task": "left/right of", "task_vector_size": 12},
            "task",
            "left/right-of",
        ),
        ({"mtl": True}, "network.embedding", 50),
        ({}, "network.embedding", 0),
        ({"mtl": True, "task_embedding_size": None}, "network.embedding", 0),
        ({"multi_decoders": True}, "task", "left/right"),
        ({"shared_weights": True}, "weights.regime", "tied"),
        ({"mtl": True, "bias": ..., "multi_decoders": ..., "resume_training": ...}, "multi_decoder", False),
    ],
)
def test_every_key_reaches_its_setting(read, changes, path, value):
    config, _ = read(sections(**changes))
    for part in path.split("."):
        config = getattr(config, part)
    assert config == value
    assert type(config) is type(value)


def test_weight_decay_is_taken_though_the_reference_asks_for_an_edit_of_its_source(read):
    content = sections()
    assert read(content)[0].weight_decay == 0.0
    content["learning settings"]["wd_val"] = 0.01
    config, idle = read(content)
    assert config.weight_decay == 0.01
    assert "wd_val" not in idle


def test_depth_matters_to_fully_connected_networks_alone(read):
    content = sections()
    content["architecture parameters"]["depth"] = 3
    config, idle = read(content)
    assert (config.network.depth, "depth" in idle) == (3, False)
    content["learning settings"]["network_name"] = "resnet18"
    config, idle = read(content)
    assert (config.network.depth, "depth" in idle) == (1, True)


def test_a_norm_matters_to_resnets_alone(read):
    config, idle = read(sections(norm_layer=None))
    assert not config.network.norm
    assert "norm_layer" in idle
    assert "norm_layer" not in read(sections())[1]


def test_earlier_versions_are_read(read):
    content = sections(task_vector_size=..., metric_name=..., loss_name=..., mtl=True)
    content["learning settings"]["task_size"] = 2
    content["evaluation parameters"] = {"metric_name": "Micro F1", "loss_name": "BCE"}
    content["data set parameters"] |= {"dataset_row": 1, "imgs_in_row": 6, "data_size": 100, "train_percent": 0.8}
    config, idle = read(content)
    assert config.loss == "bce"
    assert idle == ALWAYS | {"dataset_row", "imgs_in_row", "data_size", "train_percent", "conv_channels"}


def test_weights_are_looked_for_beside_the_config_and_here(read, tmp_path, monkeypatch):
    content = sections(saved_model_path="first.pth")
    saved = tmp_path / "Saved_Models" / "first.pth"
    assert read(content)[0].initial_weights == str(saved)
    elsewhere = tmp_path / "elsewhere"
    for folder in (elsewhere / "Saved_Models", saved.parent):
        folder.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    Path("Saved_Models/first.pth").touch()
    assert read(content)[0].initial_weights == "Saved_Models/first.pth"
    saved.touch()
    assert read(content)[0].initial_weights == str(saved)
    (tmp_path / "second.pth").touch()
    assert read(sections(saved_model_path="second.pth"))[0].initial_weights == str(tmp_path / "second.pth")
    assert read(sections())[0].initial_weights == ""


LEARNING, SHAPE, IMAGES = "learning settings: ", "architecture parameters: ", "data set parameters: "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="nested"),
        ("[]", "must be an object"),
        ({"learning settings": 3}, "learning settings: must be an object"),
        (sections(lerning=1), "lerning: unknown key; known: learning settings, "),
        ({"a\nb": 1}, "a\\nb: unknown key"),
        (sections(mtl=...), f"{LEARNING}lacks mtl"),
        (sections(epochs=...), "optimizer parameters: lacks epochs"),
        (sections(mtl=1), f"{LEARNING}mtl: must be true or false, got 1"),
        (sections(bias="yes"), f'{LEARNING}bias: must be true or false, got "yes"'),
        (
            sections(task="up"),
            f'{LEARNING}task: must be one of "left/right", "left/right of", "binary attribute", null',
        ),
        (sections(network_name="vgg"), f'{LEARNING}network_name: must be one of "fc net", "simple net"'),
        (sections(network_name=["fc net"]), f"{LEARNING}network_name: must be one of"),
        (sections(loss_name=None), f"{LEARNING}loss_name: must be one of"),
        (sections(metric_name="AUC"), f"{LEARNING}metric_name: must be one of"),
        (sections(norm_layer="batch"), f'{SHAPE}norm_layer: must be one of "no_norm", null, got "batch"'),
        (sections(network_name="tiny resnet", norm_layer=None), f'{SHAPE}norm_layer: must be "no_norm"'),
        (sections(conv_channels=[32]), f"{SHAPE}conv_channels: must be a list of two numbers"),
        (sections(conv_channels=[32, 0]), f"{SHAPE}conv_channels: must be a whole number, at least 1"),
        (sections(last_hidden_size=2.5), f"{SHAPE}last_hidden_size: must be a whole number"),
        (sections(dataset_name="imagenet"), f"{IMAGES}dataset_name: must be one of"),
        (sections(batch_size=True), f"{IMAGES}batch_size: must be a whole number, at least 1, got true"),
        (sections(batch_size=0), f"{IMAGES}batch_size: must be a whole number, at least 1, got 0"),
        (sections(lr="1e-4"), "optimizer parameters: lr: must be a number"),
        (sections(lr=-1), "optimizer parameters: lr: must be a number, not negative"),
        (sections(lr=10**400), "optimizer parameters: lr: must be a number"),
        (sections(lr=float("nan")), "optimizer parameters: lr: must be a number, not negative, got NaN"),
        (sections(lr_decay=0), "optimizer parameters: lr_decay: must be above 0"),
        (sections(lr_decay=1.5), "optimizer parameters: lr_decay: must be above 0"),
        (sections(optimizer_name="RMSprop"), 'optimizer parameters: optimizer_name: must be one of "Adam", "SGD"'),
        (sections(saved_model_path=3), "saved_model_path: must be a text"),
        (sections(mtl=True, task_vector_size=3), f"{LEARNING}task_vector_size: must be 2 for this task, got 3"),
        (sections(mtl=True, task="binary attribute"), f"{LEARNING}task_vector_size: must be 40"),
        (sections(mtl=True, n_tasks=40), f"{LEARNING}n_tasks: must be 2"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_key(read, tmp_path, content, message):
    with pytest.raises(UsageError) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {message}")
    assert "\n" not in str(caught.value)


def test_one_key_in_two_sections_has_one_value(read):
    content = sections()
    content["evaluation parameters"] = {"loss_name": "CrossEntropy"}
    assert read(content)[0].loss == "cross-entropy"
    content["evaluation parameters"] = {"loss_name": "BCE"}
    with pytest.raises(UsageError, match="evaluation parameters: loss_name: differs from the one before it"):
        read(content)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RatespikeError, match=r"none\.json: no such file"):
        read_config(tmp_path / "none.json")
