"""`ratespike deep hebbian`: local learning rules side by side on small images."""

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
from foundation.files import check_target, claim_folder
from ratenets.hebbian.collecting import pictures_of, result_of
from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.experiments import EXPERIMENTS, Condition, conditions, for_layers
from ratenets.hebbian.material import Material, load_material
from ratenets.hebbian.pictures import write_pictures
from ratenets.hebbian.results import LocalResult, read_results, write_results
from ratenets.hebbian.table import table
from ratenets.hebbian.training import resolved, train_hebbian
from ratenets.run import MemoryFullError
from ratenets.run_folder import CONFIG, open_run, run_config

from .options import build_config, config_options, flag_values, root_option

RESULTS, PICTURES = "results.json", "pictures.npz"
LIST = "\n\n".join(f"\b\n{name}: {each.text}" for name, each in EXPERIMENTS.items())


@click.command(short_help="Train a small network by one of ten rules; the seven experiments.", epilog=LIST)
@click.option("--experiment", type=click.Choice(list(EXPERIMENTS)), help="one of the seven below")
@click.option("--rules", default="", metavar="NAME,NAME,...", help="of an experiment  [default: the experiment's]")
@click.option(
    "--seeds", type=click.IntRange(1, 1000), help="networks of each condition, of --seed and on  [default: 10]"
)
@config_options(HebbianConfig)
@root_option
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file of settings; options win over it")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the run's folder")
@click.option("--resume", is_flag=True, help="go on with what is in --out")
def command(
    experiment: str | None,
    rules: str,
    seeds: int | None,
    root: Path | None,
    file: Path | None,
    out: Path,
    resume: bool,
    **flags: Any,
) -> None:
    """Train a network by the rule of --rule, or make one of the experiments of the Neuromatch project on
    microlearning, for its rules or for those of --rules.

    The folder of --out then holds results.json, which `ratespike figure local-rules` draws; that of a single run also
    config.toml, checkpoint.pt, metrics.jsonl, tensorboard/ and pictures.npz, for the figures local-rules-weights and
    local-rules-examples. What was stopped goes on with --resume.
    """
    given = flag_values(HebbianConfig, flags)
    if experiment is None:
        if rules or seeds is not None:
            raise UsageError("--rules, --seeds: are of an experiment; name one with --experiment")
        _single(given, root, file, out, resume)
        return
    if "rule" in given:
        raise UsageError("--rule: an experiment has several; choose some of them with --rules")
    chosen = conditions(experiment, [rule.strip() for rule in rules.split(",")] if rules else ())
    planned = _plan(chosen, file, given, seeds or 10)
    _experiment(experiment, planned, root, out, resume)


def _single(given: dict[str, Any], root: Path | None, file: Path | None, out: Path, resume: bool) -> None:
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
    open_run(out, config, resume=resume, write=False)
    material = load_material(config, root)
    learner, history = train_hebbian(config, material, out, resume=resume, label=f"{config.name} on {config.data}")
    result = result_of(learner, history, run=str(out))
    write_pictures(out / PICTURES, pictures_of(learner))
    write_results(out / RESULTS, [result])
    click.echo(f"{table([result])}\n{out / RESULTS}: written; `ratespike figure local-rules` draws it")


def _layers(user: Mapping[str, Any]) -> dict[str, Any]:
    """What the number of learning rates depends on: it has to be there with them."""
    return {"hidden": user["hidden"]} if "hidden" in user else {}


Planned = dict[tuple[str, int], HebbianConfig]  # by condition and seed


def _plan(chosen: list[Condition], file: Path | None, given: dict[str, Any], seeds: int) -> Planned:
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


def _experiment(experiment: str, planned: Planned, root: Path | None, out: Path, resume: bool) -> None:
    """Train all networks that are not in the folder yet; after each, results.json has one more."""
    path = out / RESULTS
    check_target(path)
    claim_folder(out, RESULTS)
    done = _done(path, experiment, planned, resume)
    next(iter(planned.values())).run.torch_device()
    materials: dict[Any, Material] = {}
    for config in planned.values():  # all are read before any is learned from
        if _kind(config) not in materials:
            materials[_kind(config)] = load_material(config, root)
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
        raise UsageError(f"{path}: is there already; --resume goes on with it, or choose another --out")
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
