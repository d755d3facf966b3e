"""The folder of a run: its config, its metrics and its checkpoint, written whole, checked when read.

The checkpoint is the run: it holds the weights, the state of the optimiser, the metrics of all epochs before it and the
settings, under a digest. config.toml must agree with it, and metrics.jsonl is made anew from it when a run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from foundation import config as configs
from foundation.errors import Notice, RatespikeError, UsageError
from foundation.files import claim_folder, sweep, write_bytes, write_text
from foundation.json_files import DAMAGE, parse_json
from foundation.locks import check_free, locked
from foundation.text import one_line
from ratenets.checkpoint_check import check_checkpoint, digest_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ratenets.run import Learner

Config = TypeVar("Config", bound="DataclassInstance")

CONFIG, METRICS, CHECKPOINT, TENSORBOARD = "config.toml", "metrics.jsonl", "checkpoint.pt", "tensorboard"
START, ORIGIN, PICTURES, RESULTS = "start.json", "origin.json", "pictures.npz", "results.json"
"""What some kinds of run have, too."""
FORMAT = 1
KEYS = {"epoch": int, "index": int, "sums": dict | None, "network": dict, "optimizer": dict}
FREE = {"run.device", "run.epochs"}
"""Settings that a run may go on with another value of."""


@dataclass
class State:
    """Where a run stands."""

    epoch: int = 0
    index: int = 0  # steps done in this epoch
    sums: dict[str, Tensor] | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)  # the lines of the epochs that are done
    settings: dict[str, Any] | None = None  # what the run began with, as TOML has it


def open_run(
    folder: Path,
    config: DataclassInstance,
    *,
    resume: bool,
    extendable: bool = True,
    write: bool = True,
    force: bool = False,
) -> None:
    """Make `folder` the folder of a run, before any work: write its config, or check it when resuming.

    Without `write` all is checked, and nothing written yet; with it the caller holds the folder's lock
    (`foundation.locks`), so that no other process comes between. With `force` a run that lies there is removed.

    A resumed run may have another device, and, where it is `extendable`, another number of epochs, though not fewer
    than it has done; both are noted in its config. A run whose learning rate depends on its length is not extendable.

    Raises:
        UsageError: the folder holds something else, or a finished or started run and neither `resume` nor `force` is
            True, or a run of another configuration.
        RatespikeError: another process is at work there, or the checkpoint to go on from is damaged.
    """
    claim_folder(folder, CONFIG)
    check_free(folder)
    path = folder / CONFIG
    if path.is_file() and force:
        _check_run(folder)
    if path.is_file() and not force:
        if not resume:
            raise _holds_run(folder, "go on with --resume, ")
        before = run_config(type(config), folder)
        free = FREE if extendable else {"run.device"}
        changed = [name for name in configs.differences(before, config) if name not in free]
        if changed:
            why = "; its learning rates depend on its length" if changed == ["run.epochs"] else ""
            raise UsageError(f"{folder}: is a run of another configuration, it differs in {', '.join(changed)}{why}")
        epochs: int = vars(config)["run"].epochs
        content: dict[str, Any] = _read(folder) if (folder / CHECKPOINT).is_file() else {"epoch": 0}
        if (done := content["epoch"]) > epochs:
            raise UsageError(f"{folder}: has {done} epochs done already, more than the {epochs} asked for")
        planned = (content.get("settings") or {}).get("run", {}).get("epochs", epochs)
        if not extendable and planned != epochs:  # edited in config.toml
            text = f"was planned for {planned} epochs, not {epochs}; its learning rates depend on its length"
            raise UsageError(f"{folder}: {text}")
    elif resume and not path.is_file():
        raise UsageError(f"{folder}: no run to resume, there is no {CONFIG}")
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        if force:
            remove_run(folder)
        write_text(path, configs.dumps(config))


def _holds_run(folder: Path, others: str) -> UsageError:
    return UsageError(f"{folder}: holds a run already; {others}replace it with --force, or choose another --out")


def _check_run(folder: Path) -> None:
    """Make sure that a config is a run's, before the run is removed: other programs have a config.toml, too."""
    run = configs.parse(configs.read_text(folder / CONFIG), str(folder / CONFIG)).get("run")
    if not isinstance(run, dict) or not {"epochs", "seed"} <= run.keys():
        raise UsageError(f"{folder}: its {CONFIG} is not that of a run; choose another --out")


def replace_runs(folders: Iterable[Path]) -> None:
    """Remove the runs in some folders, those that are there, before others take their place.

    Raises:
        UsageError: a folder has a config that is not a run's; nothing is removed then.
        RatespikeError: another process is at work in one.
    """
    there = [folder for folder in folders if (folder / CONFIG).is_file()]
    for folder in there:
        _check_run(folder)
        check_free(folder)
    for folder in there:
        with locked(folder):
            remove_run(folder)


def remove_run(folder: Path) -> None:
    """Remove the files of a run, its config last, so that what is left of it at any time is known for one."""
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    for name in (START, ORIGIN, PICTURES, RESULTS, METRICS, CHECKPOINT, CONFIG):
        (folder / name).unlink(missing_ok=True)


def run_config(kind: type[Config], folder: Path) -> Config:
    """The settings of a run.

    Raises:
        RatespikeError: the folder is no run.
        UsageError: its settings are not of this kind.
    """
    path = folder / CONFIG
    return configs.loads(kind, configs.read_text(path), str(path))


def epochs_done(folder: Path) -> int:
    """Epochs that the checkpoint of a run has; lines of its metrics may be further.

    Raises:
        RatespikeError: no checkpoint, or a broken one.
    """
    return int(_read(folder)["epoch"])


def run_files(folder: Path) -> list[Path]:
    """The files that make a run, which nobody should overwrite."""
    return [folder / name for name in (CONFIG, METRICS, CHECKPOINT)]


def load_weights(folder: Path, network: nn.Module) -> None:
    """Put the weights of a run's checkpoint into `network`.

    Raises:
        RatespikeError: no checkpoint, a broken one, or one of another network.
    """
    _put(folder, network, _read(folder)["network"])


def adam_state(folder: Path, network: nn.Module) -> dict[int, Any] | None:
    """What Adam knew of the parameters of `network`, the first that the run decays, in their order, when it ended.

    None if the run did not train them, or with another optimiser.

    Raises:
        RatespikeError: no checkpoint, or a broken one.
    """
    known = _read(folder)["optimizer"].get("state")
    known = known if isinstance(known, dict) else {}
    state = {number: known.get(number, {}) for number, _ in enumerate(network.parameters())}
    fits = all(
        isinstance(each, dict) and isinstance(each.get("exp_avg"), Tensor) and each["exp_avg"].shape == parameter.shape
        for each, parameter in zip(state.values(), network.parameters(), strict=True)
    )
    return state if fits else None


def save(folder: Path, learner: Learner, state: State) -> None:
    """Write a checkpoint whole. Raises `RatespikeError`, and leaves the one before, if a weight is not finite."""
    parameters = dict(learner.network.named_parameters())
    finite = torch.stack([torch.isfinite(p).all() for p in parameters.values()]).tolist()  # waits for the device once
    if not all(finite):
        name = next(name for name, good in zip(parameters, finite, strict=True) if not good)
        raise RatespikeError(f"{name} is no longer finite in epoch {state.epoch + 1}; the checkpoint before is kept")
    content = {
        "format": FORMAT,
        "epoch": state.epoch,
        "index": state.index,
        "sums": state.sums,
        "metrics": state.metrics,
        "settings": state.settings,
        "network": learner.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
    }
    _write(folder, content)


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The weights in a run's checkpoint, by their names. Raises `RatespikeError`: no checkpoint, or a broken one."""
    return dict(_read(folder)["network"])


def copy_run(folder: Path, out: Path, weights: Mapping[str, Tensor], *, force: bool = False) -> None:
    """A run that stands where another stands, with other weights: those given, by their names.

    Raises:
        UsageError: `out` is not free, and it is not a run that `force` lets replace.
        RatespikeError: there is no checkpoint, or a broken one.
    """
    content = _read(folder)
    text = configs.read_text(folder / CONFIG)
    if out.resolve() == folder.resolve():
        raise UsageError(f"{out}: is the run itself; choose another --out")
    claim_folder(out, CONFIG)
    with locked(out):
        if (out / CONFIG).is_file():
            if not force:
                raise _holds_run(out, "")
            _check_run(out)
            remove_run(out)
        write_text(out / CONFIG, text)
        _write(out, {**content, "network": {**content["network"], **weights}, "metrics": []})


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    buffer = BytesIO()
    whole = {**content, "ratespike": version("ratespike")}
    torch.save({**whole, "digest": digest_of(whole)}, buffer)
    write_bytes(folder / CHECKPOINT, buffer.getbuffer())


def _read(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint, as it was written and for the settings that the run has."""
    content = _load(folder)
    path, digest = folder / CHECKPOINT, content.pop("digest", None)
    if digest is None:
        warnings.warn(f"{path}: has no digest yet; whether it is damaged cannot be told", Notice, stacklevel=2)
    elif digest != digest_of(content):
        raise RatespikeError(f"{path}: damaged, its digest is not that of its content; take a copy, or train anew")
    if changed := _changed(content, settings_of(folder)):
        raise UsageError(
            f"{folder / CONFIG}: was changed in {', '.join(changed)} since {CHECKPOINT} was written; put it back"
        )
    return content


def settings_of(folder: Path) -> dict[str, Any] | None:
    """What a run's config says; None: it has none."""
    path = folder / CONFIG
    return configs.parse(configs.read_text(path), str(path)) if path.is_file() else None


def _changed(content: Mapping[str, Any], now: dict[str, Any] | None) -> list[str]:
    """The settings that are not those that a checkpoint was written with."""
    then = content.get("settings")
    if then is None or now is None:
        return []
    same = content.get("ratespike") == version("ratespike")  # another version may have further settings
    return [
        name
        for name in configs.differences_of(then, now)
        if name not in FREE and (same or name in configs.names_of(then))
    ]


def _load(folder: Path) -> dict[str, Any]:
    """What a checkpoint says, not verified yet."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise RatespikeError(f"{folder}: no checkpoint; is it the folder of a run?")
    try:
        check_checkpoint(path)
        with path.open("rb") as stream:  # torch maps files into memory, so that nothing is taken yet, by their names
            where, mapped = (path, True) if _is_text(path) else (stream, False)
            content = torch.load(where, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(content, dict) or not {"format", "network"} <= content.keys():
            raise RatespikeError(f"{path}: no checkpoint of ratespike; `ratespike deep import` takes those of others")
        if content["format"] != FORMAT or not content.keys() >= KEYS.keys():
            form = one_line(content["format"], 20)
            raise RatespikeError(f"{path}: not a checkpoint of this version of ratespike (format {form})")
        if not _well_formed(content):
            raise RatespikeError(f"{path}: damaged: {', '.join(KEYS)} are not what they should be")
    except RatespikeError:
        raise
    except Exception as error:  # torch.load raises half a dozen kinds on a damaged file
        raise RatespikeError(f"{path}: damaged or not a checkpoint ({type(error).__name__})") from None
    return content


def _is_text(path: Path) -> bool:
    """Whether a name can be written in UTF-8, which torch needs to map a file into memory."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _well_formed(content: Mapping[str, Any]) -> bool:
    """Whether all parts of a checkpoint are of the types that they should have."""
    if not all(isinstance(content[key], kind) for key, kind in KEYS.items()):
        return False
    sums, metrics = content["sums"] or {}, content.get("metrics", [])
    return (
        all(isinstance(value, Tensor) for value in sums.values())
        and all(isinstance(name, str) for name in content["network"])
        and isinstance(content.get("settings", {}), dict | None)
        and isinstance(metrics, list)
        and all(isinstance(line, dict) for line in metrics)
    )


def _put(folder: Path, network: nn.Module, weights: Any) -> None:
    try:
        network.load_state_dict(weights)
    except (RuntimeError, *DAMAGE):
        raise RatespikeError(f"{folder / CHECKPOINT}: is of another network than the one described here") from None


def load(folder: Path, learner: Learner, device: torch.device) -> State:
    """Put the checkpoint into the learner; return where its run stood."""
    content = _read(folder)
    _put(folder, learner.network, content["network"])
    try:
        learner.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, *DAMAGE):
        raise RatespikeError(f"{folder / CHECKPOINT}: its optimiser state is of another network") from None
    state = State(content["epoch"], content["index"], content["sums"], _metrics(folder, content))
    if state.sums is not None:
        state.sums = {name: value.to(device) for name, value in state.sums.items()}
    return state


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run by epoch, as far as its checkpoint goes: "epoch", "seconds", and what was measured.

    Raises:
        RatespikeError: no checkpoint, or a broken one.
    """
    return _metrics(folder, _read(folder))


def _metrics(folder: Path, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From a checkpoint; those before 2026-12 count the bytes of the file."""
    if "metrics" in content:
        return list(content["metrics"])
    path = folder / METRICS
    try:
        held = path.read_bytes() if path.is_file() else b""
        if len(held) < content["metrics_bytes"]:
            raise RatespikeError(f"{path}: lacks epochs that the checkpoint has; the run cannot go on")
        lines = [parse_json(line) for line in held[: content["metrics_bytes"]].decode().splitlines()]
        if not all(isinstance(line, dict) for line in lines):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise RatespikeError(f"{path}: damaged; the run cannot go on") from None
    return lines


def append_metrics(path: Path, line: Mapping[str, Any]) -> None:
    """Add an epoch's line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def write_metrics(folder: Path, metrics: list[dict[str, Any]]) -> None:
    """Make the file of metrics that of these epochs: lines after the checkpoint go, lost and damaged ones come back."""
    path, text = folder / METRICS, "".join(json.dumps(line) + "\n" for line in metrics)
    if (path.read_bytes() if path.exists() else b"") != text.encode():
        write_text(path, text)
