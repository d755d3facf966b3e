"""Config files of the reference, royabel/Top-Down-Networks: JSON in sections, some of whose keys have no effect."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from foundation.config import read_text
from foundation.errors import UsageError
from foundation.json_files import parse_json
from ratenets.butd.config import ButdConfig, NetworkConfig, WeightConfig
from ratenets.run_config import RunConfig

MOST = 1e300
"""No number of a config is larger; whole numbers of JSON have no limit."""

Parse: TypeAlias = Callable[[Any], Any]
"""A value of a key as it should be here. Raises `UsageError`, without the key, if it cannot be."""


def _anything(value: Any) -> Any:
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"must be true or false, got {json.dumps(value)}")
    return value


def _whole(least: int) -> Parse:
    def parse(value: Any) -> int:
        if type(value) is not int or value < least:
            raise UsageError(f"must be a whole number, at least {least}, got {json.dumps(value)}")
        return value

    return parse


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST:
        raise UsageError(f"must be a number, not negative, got {json.dumps(value)}")
    return float(value)


def _decay(value: Any) -> float:
    if value is None or isinstance(value, bool):
        return 0.95 if value else 1.0
    if not 0 < _number(value) <= 1:
        raise UsageError(f"must be above 0 and at most 1, or true (0.95), or false (none), got {json.dumps(value)}")
    return float(value)


def _maps(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) != 2:
        raise UsageError(f"must be a list of two numbers, got {json.dumps(value)}")
    return tuple(_whole(1)(each) for each in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"must be a text, got {json.dumps(value)}")
    return value


def _one_of(known: Mapping[Any, Any]) -> Parse:
    def parse(value: Any) -> Any:
        if not isinstance(value, str | None) or value not in known:
            names = ", ".join(json.dumps(name) for name in known)
            raise UsageError(f"must be one of {names}, got {json.dumps(value)}")
        return known[value]

    return parse


def _or_null(parse: Parse, otherwise: Any) -> Parse:
    return lambda value: otherwise if value is None else parse(value)


TASKS = {"left/right": "left/right", "left/right of": "left/right-of", "binary attribute": "attribute", None: ""}
NETWORKS = {
    "fc net": "fc",
    "simple net": "simple",
    "conv net": "conv",
    "resnet18": "resnet18",
    "resnet": "resnet18",
    "tiny resnet": "tiny-resnet",
}
RESNETS = ("resnet18", "tiny-resnet")
DATA = {
    "mnist": "mnist",
    "fashion_mnist": "fashion-mnist",
    "cifar": "cifar10",
    "multi_mnist": "multi-mnist",
    "celeba": "celeba",
}
LOSSES = {"MSE": "mse", "CrossEntropy": "cross-entropy", "BCE": "bce"}
METRICS = {"Accuracy": "accuracy", "Micro F1": "accuracy"}  # of one answer per image they are one number

SECTIONS: Mapping[str, Mapping[str, Parse]] = {
    "learning settings": {
        "mtl": _flag,
        "ch_learning": _flag,
        "task": _one_of(TASKS),
        "task_vector_size": _or_null(_whole(1), None),
        "task_size": _or_null(_whole(1), None),  # its name in earlier versions
        "n_tasks": _or_null(_whole(1), None),
        "network_name": _one_of(NETWORKS),
        "shared_weights": _flag,
        "non_linearity_fn": _anything,
        "lateral_fn": _anything,
        "bias": _flag,
        "back_bias": _flag,
        "metric_name": _one_of(METRICS),
        "loss_name": _one_of(LOSSES),
        "multi_decoders": _flag,
        "resume_training": _flag,
        "wd_val": _or_null(_number, 0.0),
    },
    "architecture parameters": {
        "norm_layer": _one_of({"no_norm": False, None: True}),
        "task_embedding_size": _or_null(_whole(1), 0),
        "last_hidden_size": _or_null(_whole(1), 0),
        "depth": _or_null(_whole(1), 1),
        "conv_channels": _or_null(_maps, ()),
    },
    "data set parameters": {
        "dataset_name": _one_of(DATA),
        "data_path": _anything,
        "batch_size": _whole(1),
        **dict.fromkeys(("dataset_row", "imgs_in_row", "data_size", "train_percent"), _anything),  # earlier versions
    },
    "optimizer parameters": {
        "optimizer_name": _one_of({"Adam": "adam", "SGD": "sgd"}),
        "lr": _number,
        "epochs": _whole(0),
        "lr_decay": _decay,
    },
    "evaluation parameters": {"metric_name": _one_of(METRICS), "loss_name": _one_of(LOSSES)},  # earlier versions
    "": {"benchmark": _anything, "saved_model_path": _or_null(_text, "")},
}
"""What the keys of each section may be; those of "" stand beside the sections."""

REQUIRED = (
    *(("learning settings", key) for key in ("mtl", "ch_learning", "network_name", "shared_weights", "loss_name")),
    *(("data set parameters", key) for key in ("dataset_name", "batch_size")),
    *(("optimizer parameters", key) for key in ("optimizer_name", "lr", "epochs")),
)
IGNORED = ("benchmark", "non_linearity_fn", "lateral_fn", "metric_name", "resume_training", "data_path")
IGNORED_EARLIER = ("dataset_row", "imgs_in_row", "data_size", "train_percent")
COMMENTS = ("comment", "available")
"""Keys with these words in them explain others."""

VECTOR = {"left/right": 2, "left/right-of": 12, "attribute": 40}
N_TASKS = {"left/right": 2, "attribute": 40}
OF_DATA = {"multi-mnist": "left/right", "celeba": "attribute"}
"""Tasks that need no naming here."""


def read_config(path: Path) -> tuple[ButdConfig, tuple[str, ...]]:
    """A JSON config file of the reference as a config of ours, and the names of its keys without effect.

    These are the keys that the reference ignores itself, those that a run here takes otherwise
    (``data_path``: --root; ``resume_training``: --resume), and those that cannot matter to its network. Two keys do
    more than there: ``wd_val`` is the weight decay, which the reference takes only if its source is edited as well, and
    ``back_bias`` gives convolutions top-down biases, too, which the reference never adds. A key that is not there has
    our default, unless it is REQUIRED. A weight file is looked for in Saved_Models, beside the config and here.

    Raises:
        UsageError: not JSON, an unknown key, a wrong type or an unknown value; one line with the file and the key.
        RatespikeError: no such file.
    """
    found = _entries(path)
    for section, key in REQUIRED:
        if key not in found:
            raise UsageError(f"{path}: {section}: lacks {key}")
    idle = _without_effect(found)
    used = {key: value for key, value in found.items() if key not in idle}
    _check_sizes(path, used)
    network = _network(path, used)
    data, task = found["dataset_name"], used.get("task", "")
    config = ButdConfig(
        data=data,
        task="" if OF_DATA.get(data) == task else task,
        guided=found["mtl"],
        multi_decoder=used.get("multi_decoders", False),
        learning="counter-hebb" if found["ch_learning"] else "backprop",
        loss=found["loss_name"],
        batch_size=found["batch_size"],
        optimizer=found["optimizer_name"],
        learning_rate=found["lr"],
        lr_decay=found.get("lr_decay", 1.0),
        weight_decay=used.get("wd_val", 0.0),
        initial_weights=_weights(path, used.get("saved_model_path", "")),
        network=network,
        weights=WeightConfig(regime="tied" if found["shared_weights"] else "separate"),
        run=RunConfig(epochs=found["epochs"]),
    )
    return config, tuple(key for key in found if key in idle)


def _network(path: Path, used: Mapping[str, Any]) -> NetworkConfig:
    kind = used["network_name"]
    norm = used.get("norm_layer", True) if kind in RESNETS else False
    if norm and kind == "tiny-resnet":
        raise UsageError(f'{path}: architecture parameters: norm_layer: must be "no_norm" for tiny resnet')
    return NetworkConfig(
        kind=kind,
        hidden=used.get("last_hidden_size", 0),
        depth=used.get("depth", 1),
        channels=used.get("conv_channels", ()),
        embedding=used.get("task_embedding_size", 0),
        norm=norm,
        bias=used.get("bias", True),
        td_bias=used.get("back_bias", False),
    )


def _entries(path: Path) -> dict[str, Any]:
    """The keys of all sections, in the file's order, with values as they should be here."""
    found: dict[str, Any] = {}
    for name, value in _object(path, _json(path)).items():
        section = name if name in SECTIONS and name else ""
        for key, each in _object(f"{path}: {name}", value).items() if section else [(name, value)]:
            if any(word in key for word in COMMENTS):
                continue
            shown = json.dumps(key)[1:-1]
            where = f"{path}: {section}: {shown}" if section else f"{path}: {shown}"
            if key not in SECTIONS[section]:
                known = ", ".join(SECTIONS[section] if section else [*filter(None, SECTIONS), *SECTIONS[""]])
                raise UsageError(f"{where}: unknown key; known: {known}")
            try:
                parsed = SECTIONS[section][key](each)
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
            if found.setdefault(key, parsed) != parsed:
                raise UsageError(f"{where}: differs from the one before it")
    return found


def _json(path: Path) -> Any:
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None


def _object(where: Path | str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: must be an object, {{...}}")
    return value


def _without_effect(found: Mapping[str, Any]) -> set[str]:
    """Names of the keys that cannot matter to a run of these settings."""
    idle, network = {*IGNORED, *IGNORED_EARLIER}, found["network_name"]
    if not found["mtl"]:
        idle.add("task_embedding_size")
        if not found.get("multi_decoders"):
            idle |= {"task", "task_vector_size", "task_size", "n_tasks"}
    if network != "simple":
        idle.add("conv_channels")
    if network != "fc":
        idle.add("depth")
    if network not in ("fc", "simple"):
        idle.add("last_hidden_size")
    if network not in RESNETS and found.get("norm_layer"):
        idle.add("norm_layer")
    return idle


def _check_sizes(path: Path, used: Mapping[str, Any]) -> None:
    """Refuse numbers of tasks that are not the task's."""
    task = used.get("task")
    for key, sizes in (("task_vector_size", VECTOR), ("task_size", VECTOR), ("n_tasks", N_TASKS)):
        size, right = used.get(key), sizes.get(task or "")
        if None not in (size, right) and size != right:
            raise UsageError(f"{path}: learning settings: {key}: must be {right} for this task, got {size}")


def _weights(path: Path, name: str) -> str:
    """The file of weights that a config file names: as it is, or in Saved_Models."""
    if not name:
        return ""
    places = [path.parent / "Saved_Models" / name, Path("Saved_Models") / name, path.parent / name, Path(name)]
    return str(next((place for place in places if place.exists()), places[0]))
