"""The folder of a run: its config, its metrics and its checkpoint, written whole, checked when read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from foundation import config as configs
from foundation.errors import RatespikeError, UsageError
from foundation.files import claim_folder, sweep, write_bytes, write_new_text, write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ratenets.run import Learner

Config = TypeVar("Config", bound="DataclassInstance")

CONFIG, METRICS, CHECKPOINT = "config.toml", "metrics.jsonl", "checkpoint.pt"
FORMAT = 1
KEYS = {"epoch": int, "index": int, "sums": dict | None, "metrics_bytes": int, "network": dict, "optimizer": dict}


@dataclass
class State:
    """Where a run stands."""

    epoch: int = 0
    index: int = 0  # steps done in this epoch
    sums: dict[str, Tensor] | None = None
    metrics_bytes: int = 0


def open_run(
    folder: Path, config: DataclassInstance, *, resume: bool, extendable: bool = True, write: bool = True
) -> None:
    """Make `folder` the folder of a run, before any work: write its config, or check it when resuming.

    Without `write` all is checked, and nothing written yet.

    A resumed run may have another device, and, where it is `extendable`, another number of epochs, though not fewer
    than it has done; both are noted in its config. A run whose learning rate depends on its length is not extendable.

    Raises:
        UsageError: the folder holds something else, or a finished or started run and `resume` is False, or a run of
            another configuration.
    """
    claim_folder(folder, CONFIG)
    path = folder / CONFIG
    if path.is_file():
        if not resume:
            raise UsageError(f"{folder}: holds a run already; --resume goes on with it, or choose another --out")
        before = run_config(type(config), folder)
        free = {"run.device", "run.epochs"} if extendable else {"run.device"}
        changed = [name for name in configs.differences(before, config) if name not in free]
        if changed:
            why = "; its learning rates depend on its length" if changed == ["run.epochs"] else ""
            raise UsageError(f"{folder}: is a run of another configuration, it differs in {', '.join(changed)}{why}")
        epochs: int = vars(config)["run"].epochs
        done = _read(folder)["epoch"] if (folder / CHECKPOINT).is_file() else 0
        if done > epochs:
            raise UsageError(f"{folder}: has {done} epochs done already, more than the {epochs} asked for")
        if write:
            sweep(folder)
            write_text(path, configs.dumps(config))
    elif resume:
        raise UsageError(f"{folder}: no run to resume, there is no {CONFIG}")
    elif write:
        try:
            write_new_text(path, configs.dumps(config))
        except FileExistsError:
            raise UsageError(f"{folder}: another run has just started there; choose another --out") from None


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
    known = _read(folder)["optimizer"].get("state", {})
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
        "metrics_bytes": state.metrics_bytes,
        "network": learner.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
    }
    _write(folder, content)


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The weights in a run's checkpoint, by their names. Raises `RatespikeError`: no checkpoint, or a broken one."""
    return dict(_read(folder)["network"])


def copy_run(folder: Path, out: Path, weights: Mapping[str, Tensor]) -> None:
    """A run that stands where another stands, with other weights: those given, by their names.

    Raises:
        UsageError: `out` is not free.
        RatespikeError: there is no checkpoint, or a broken one.
    """
    content = _read(folder)
    text = configs.read_text(folder / CONFIG)
    claim_folder(out, CONFIG)
    content["network"] = {**content["network"], **weights}
    content["metrics_bytes"] = 0
    try:
        write_new_text(out / CONFIG, text)
    except FileExistsError:
        raise UsageError(f"{out}: holds a run already; choose another --out") from None
    _write(out, content)


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    buffer = BytesIO()
    torch.save(content, buffer)
    write_bytes(folder / CHECKPOINT, buffer.getbuffer())


def _read(folder: Path) -> dict[str, Any]:
    path = folder / CHECKPOINT
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("format") != FORMAT or not content.keys() >= KEYS.keys():
            raise RatespikeError(f"{path}: not a checkpoint of this version of ratespike")
        if not all(isinstance(content[key], kind) for key, kind in KEYS.items()):
            raise RatespikeError(f"{path}: damaged: {', '.join(KEYS)} are not what they should be")
    except FileNotFoundError:
        raise RatespikeError(f"{folder}: no checkpoint; is it the folder of a run?") from None
    except RatespikeError:
        raise
    except Exception as error:  # torch.load raises half a dozen kinds on a damaged file
        raise RatespikeError(f"{path}: damaged or not a checkpoint ({type(error).__name__})") from None
    return content


def _put(folder: Path, network: nn.Module, weights: Any) -> None:
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError):
        raise RatespikeError(f"{folder / CHECKPOINT}: is of another network than the one described here") from None


def load(folder: Path, learner: Learner, device: torch.device) -> State:
    """Put the checkpoint into the learner; return where its run stood."""
    content = _read(folder)
    _put(folder, learner.network, content["network"])
    try:
        learner.optimizer.load_state_dict(content["optimizer"])
    except (ValueError, KeyError):
        raise RatespikeError(f"{folder / CHECKPOINT}: its optimiser state is of another network") from None
    state = State(**{name: content[name] for name in ("epoch", "index", "sums", "metrics_bytes")})
    if state.sums is not None:
        state.sums = {name: value.to(device) for name, value in state.sums.items()}
    return state


def append_metrics(path: Path, line: Mapping[str, Any], seconds: float) -> int:
    """Add an epoch's line; return the file's size, which the checkpoint remembers."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "seconds": round(seconds, 3)}) + "\n")
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def cut_metrics(folder: Path, size: int) -> list[dict[str, Any]]:
    """Cut lines that were written after the checkpoint; return what is left, without the times."""
    path = folder / METRICS
    if not path.is_file() and not size:
        return []
    if not path.is_file() or path.stat().st_size < size:
        raise RatespikeError(f"{path}: lacks epochs that the checkpoint has; the run cannot go on")
    if path.stat().st_size > size:
        os.truncate(path, size)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    except (ValueError, AttributeError):
        raise RatespikeError(f"{path}: damaged; the run cannot go on") from None
