"""What `ratespike deep hebbian` does: a single run, or all networks of an experiment."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from foundation import config as configs
from foundation.errors import RatespikeError, StoppedError, UsageError
from foundation.files import check_target, claim_folder, sweep
from foundation.locks import locked
from ratenets.hebbian.collecting import pictures_of, result_of
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.experiments import EXPERIMENTS, Condition, for_layers
from ratenets.hebbian.material import Material, load_material
from ratenets.hebbian.pictures import write_pictures
from ratenets.hebbian.results import LocalResult, read_results, write_results
from ratenets.hebbian.table import table
from ratenets.hebbian.training import resolved, train_hebbian
from ratenets.run import MemoryFullError
from ratenets.run_folder import CONFIG, PICTURES, RESULTS, open_run, run_config

from .options import build_config


def single(
    given: dict[str, Any], root: Path | None, file: Path | None, out: Path, *, resume: bool, force: bool
) -> None:
    """Train one network by one rule; its folder then holds the run, its results and its pictures."""
    if resume:
        if file is not None:
            raise UsageError("--resume: goes on with the run's own settings, without --config")
        if not (out / CONFIG).is_file():
            raise UsageError(f"{out}: no run to resume, there is no {CONFIG}")
        config = build_config(run_config(HebbianConfig, out), None, given)
    else:
        config = build_config(HebbianConfig(), file, given)
    for name in (RESULTS, PICTURES):
        check_target(out / name)
    config.run.torch_device()
    open_run(out, config, resume=resume, write=False, force=force)
    material = load_material(config, root)
    label = f"{config.name} on {config.data}"
    learner, history = train_hebbian(config, material, out, resume=resume, force=force, label=label)
    result = result_of(learner, history, run=str(out))
    write_pictures(out / PICTURES, pictures_of(learner))
    write_results(out / RESULTS, [result])
    click.echo(f"{table([result])}\n{out / RESULTS}: written; `ratespike figure local-rules` draws it")


def _layers(user: Mapping[str, Any]) -> dict[str, Any]:
    """What the number of learning rates depends on: it has to be there with them."""
    return {"hidden": user["hidden"]} if "hidden" in user else {}


Planned = dict[tuple[str, int], HebbianConfig]  # by condition and seed


def plan(chosen: list[Condition], file: Path | None, given: dict[str, Any], seeds: int) -> Planned:
    """The settings of every network, all conditions of a seed first.

    What the user gives wins over the condition's epochs and learning rates, and may not touch what it is named for.
    """
    user = configs.merged(configs.parse(configs.read_text(file), str(file)) if file else {}, given)
    fixed = {"rule", *(name for condition in chosen for name in condition.changes)} - {"run", "learning_rate"}
    if taken := sorted(fixed & user.keys()):
        raise UsageError(f"{taken[0]}: is what the conditions of this experiment differ in; leave it out")
    plain = json.loads(json.dumps(dataclasses.asdict(HebbianConfig())))
    if not isinstance(hidden := user.get("hidden", plain["hidden"]), list):
        configs.from_mapping(HebbianConfig, {"hidden": hidden}, str(file))  # says what is wrong
    configurations: dict[str, HebbianConfig] = {}
    for condition in chosen:
        changes = for_layers(condition.changes, len(hidden))
        default = configs.from_mapping(
            HebbianConfig, configs.merged(plain, {**changes, **_layers(user)}), condition.name
        )
        config = build_config(default, file, given)
        if config not in configurations.values():
            configurations[condition.name] = config
    first = next(iter(configurations.values())).run.seed
    return {
        (name, seed): replace(config, run=replace(config.run, seed=seed))
        for seed in range(first, first + seeds)
        for name, config in configurations.items()
    }


def run_experiment(
    experiment: str, planned: Planned, root: Path | None, out: Path, *, resume: bool, force: bool
) -> None:
    """Train all networks that are not in the folder yet (all, with `force`); after each, results.json has one more."""
    check_target(out / RESULTS)
    claim_folder(out, RESULTS)
    with locked(out):
        sweep(out)
        _run_experiment(experiment, planned, root, out / RESULTS, resume=resume, force=force)


def _run_experiment(
    experiment: str, planned: Planned, root: Path | None, path: Path, *, resume: bool, force: bool
) -> None:
    done = {} if force else _done(path, experiment, planned, resume)
    next(iter(planned.values())).run.torch_device()
    materials: dict[Any, Material] = {}
    for config in planned.values():  # all are read before any is learned from
        if _kind(config) not in materials:
            materials[_kind(config)] = load_material(config, root)
    if force:
        path.unlink(missing_ok=True)
    failed: list[str] = []
    for number, ((name, seed), config) in enumerate(planned.items(), 1):
        if (name, seed) in done:
            continue
        label = f"{name}, seed {seed} ({number} of {len(planned)})"
        try:
            done[name, seed] = _measured(experiment, name, config, materials[_kind(config)], label)
        except (StoppedError, MemoryFullError):
            raise
        except RatespikeError as error:  # one network that diverges is no reason to lose the others
            failed.append(f"{name}, seed {seed}")
            click.echo(f"{failed[-1]}: {error}", err=True)
            continue
        write_results(
            path, [done[key] for key in [*planned, *(key for key in done if key not in planned)] if key in done]
        )
    if done:
        click.echo(f"{table(list(done.values()))}\n{path}: written; `ratespike figure local-rules` draws it")
    if failed:
        raise RatespikeError(f"{len(failed)} of {len(planned)} networks failed, {failed[0]} for one")


def _kind(config: HebbianConfig) -> Any:
    """What a material depends on."""
    names = ("data", "classes", "drop_classes", "withhold", "kept", "validation", "test")
    return tuple(getattr(config, name) for name in names)


def _measured(experiment: str, name: str, config: HebbianConfig, material: Material, label: str) -> LocalResult:
    kind = EXPERIMENTS[experiment]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner, history = train_hebbian(config, material, label=label, measure=kind.measure)
        metrics = kind.at_end(learner) if kind.at_end else {}
    for text in dict.fromkeys(str(each.message) for each in caught):
        click.echo(f"{name}: {text}", err=True)
    return result_of(
        learner, history, run=f"{name}-{config.run.seed}", experiment=experiment, condition=name, metrics=metrics
    )


def _done(path: Path, experiment: str, planned: Planned, resume: bool) -> dict[tuple[str, int], LocalResult]:
    """The results that are there; those of other settings are refused."""
    if not path.exists():
        return {}
    if not resume:
        raise UsageError(
            f"{path}: is there already; go on with --resume, replace it with --force, or choose another --out"
        )
    found = {(result.condition, result.seed): result for result in read_results(path)}
    for key, result in found.items():
        if result.experiment != experiment:
            raise UsageError(f"{path}: is of {result.experiment or 'a single run'}, not of {experiment}")
        config = planned.get(key)
        settings: Mapping[str, Any] = (
            json.loads(json.dumps(dataclasses.asdict(resolved(config)))) if config else result.settings
        )
        changed = [name for name in configs.differences_of(result.settings, settings) if name != "run.device"]
        if changed:
            raise UsageError(f"{path}: {result.condition}, seed {result.seed}, was made with another {changed[0]}")
    return found
