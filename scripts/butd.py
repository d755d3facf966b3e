"""`ratespike deep butd`: bottom-up / top-down networks and Counter-Hebb learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from foundation import config as configs
from foundation.errors import UsageError
from ratenets.butd.config import PRESETS, ButdConfig, for_data, preset

from .commands import Command
from .options import build_config, config_options, flag_values, root_option
from .outputs import check_either, check_folder, check_outputs, force_option


@click.command(cls=Command)
@click.option(
    "--preset", "preset_name", type=click.Choice(list(PRESETS)), help="settings of the reference's experiment"
)
@config_options(ButdConfig, PRESETS)
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="networks, of --seed and on")
@root_option
@click.option(
    "--config",
    "--config-file",
    "--config_file",
    "file",
    type=click.Path(path_type=Path),
    help="TOML file of settings, or a JSON file of the reference; options win over it",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the run's folder")
@click.option("--resume", is_flag=True, help="go on with the run in --out; its settings are kept")
@force_option
def command(
    preset_name: str | None,
    seeds: int,
    root: Path | None,
    file: Path | None,
    out: Path,
    resume: bool,
    force: bool,
    **flags: Any,
) -> None:
    """Train a network whose top-down half guides attention and carries the learning signal.

    The folder of --out then holds config.toml, checkpoint.pt, metrics.jsonl, tensorboard/ and results.json, which
    `ratespike figure butd` draws. With --seeds N there are N such folders in it, seed-K, and one results.json of all. A
    run that was stopped goes on with --resume. `torchrun --nproc-per-node N -m ratespike.cli deep butd ...` trains on N
    GPUs or processes at once.
    """
    from foundation.files import check_target
    from foundation.locks import locked
    from ratenets.butd.collecting import collect
    from ratenets.butd.existing import load_weights
    from ratenets.butd.material import load_task_images
    from ratenets.butd.results import write_results
    from ratenets.butd.summary import table
    from ratenets.butd.training import check_processes, initial_network, open_butd, train_butd, weights_path
    from ratenets.distributed import process_group, rank
    from ratenets.run_folder import CHECKPOINT, CONFIG, RESULTS, replace_runs

    check_either(resume, force)
    given = flag_values(ButdConfig, flags)
    begun = _begun(out, seeds) if resume else None
    config = _config(preset_name, file, begun, given)
    with process_group(config.run.torch_device()) as device:
        first = rank() == 0
        config = replace(config, run=replace(config.run, device=str(device)))
        check_processes(config)
        check_folder(out, file, config.initial_weights, force=force)
        runs = _runs(config, out, seeds, force)
        own = seeds == 1 or any(out.glob(f"seed-*/{CONFIG}"))  # results.json of others is not ours
        check_target(out / RESULTS, new=not (own or force or resume))
        for folder, each in runs.items():  # before minutes of loading
            open_butd(folder, each, resume=resume and (folder / CONFIG).is_file(), write=False, force=force)
        material = load_task_images(config, root)
        if config.initial_weights and not resume and first:
            start = initial_network(replace(config, initial_weights=""), material)
            click.echo(load_weights(weights_path(config), start))
        with locked(out if first and seeds > 1 else None):  # a single run's folder has its own
            if force and first:
                replace_runs(runs)
            for folder, each in runs.items():
                label = f"{each.name} on {each.data}" + f", seed {each.run.seed}" * (seeds > 1)
                going_on = resume and (folder / CONFIG).is_file()
                train_butd(each, material, folder, resume=going_on, force=force, label=label)
    if first:  # alone, when the others have left
        folders = [out] if seeds == 1 else [path.parent for path in out.glob(f"seed-*/{CHECKPOINT}")]
        found = sorted((collect(folder, material, str(device)) for folder in folders), key=lambda run: run.seed)
        write_results(out / RESULTS, found)
        click.echo(f"{table(found)}\n{out / RESULTS}: written; `ratespike figure butd` draws it")


def _begun(out: Path, seeds: int) -> Path:
    """The folder whose settings a run that goes on keeps."""
    if seeds == 1:
        return out
    from ratenets.run_folder import CONFIG

    found = sorted(out.glob(f"seed-*/{CONFIG}"), key=lambda path: (len(path.parent.name), path))
    if not found:
        raise UsageError(f"{out}: no runs to resume, there is no seed-K in it")
    return found[0].parent


def _runs(config: ButdConfig, out: Path, seeds: int, force: bool) -> dict[Path, ButdConfig]:
    """The folder of every network, and its settings."""
    if seeds == 1:
        return {out: config}
    from foundation.files import is_part
    from foundation.locks import LOCK
    from ratenets.run_folder import CONFIG, RESULTS, run_config

    for path in out.iterdir() if out.is_dir() else ():
        if not path.name.startswith(("seed-", RESULTS)) and path.name != LOCK and not is_part(path):
            raise UsageError(f"{out}: holds {path.name}, which is none of several runs; choose another --out")
    for path in () if force else out.glob(f"seed-*/{CONFIG}"):  # results.json is of all of them
        changed = set(configs.differences(run_config(ButdConfig, path.parent), config))
        if other := sorted(changed - {"run.seed", "run.device", "run.epochs"}):
            raise UsageError(f"{path.parent}: is of another condition, it differs in {other[0]}; choose another --out")
    numbers = range(config.run.seed, config.run.seed + seeds)
    return {out / f"seed-{number}": replace(config, run=replace(config.run, seed=number)) for number in numbers}


def _config(preset_name: str | None, file: Path | None, begun: Path | None, given: dict[str, Any]) -> ButdConfig:
    """The settings: a run's own when it goes on; else a preset's, or a file's over its dataset's; then the options."""
    if begun is not None:
        from ratenets.run_folder import CONFIG, run_config

        if preset_name or file:
            raise UsageError("--resume: goes on with the run's own settings, without --preset or --config")
        if not (begun / CONFIG).is_file():
            raise UsageError(f"{begun}: no run to resume, there is no {CONFIG}")
        return build_config(run_config(ButdConfig, begun), None, given)
    if file is not None and file.suffix == ".json":
        if preset_name:
            raise UsageError("--preset: the reference's file has all settings; give one of the two")
        from ratenets.butd.existing import read_config

        config, idle = read_config(file)
        for name in idle:
            click.echo(f"{file}: {name}: without effect", err=True)
        return build_config(config, None, given)
    values = configs.parse(configs.read_text(file), str(file)) if file else {}
    named = given.get("data", values.get("data"))
    default = preset(preset_name) if preset_name else for_data(str(named or ButdConfig.data))
    return build_config(default, file, given)


@click.command(cls=Command)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULTS...")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write all runs into one file, too")
@force_option
def results(inputs: tuple[Path, ...], json_file: Path | None, force: bool) -> None:
    """Tabulate RESULTS, files results.json of `ratespike deep butd` or folders that hold one.

    Runs that differ in their seed alone are one condition: mean and 95 % confidence interval over seeds (Student's t).
    """
    from ratenets.butd.results import read_results, write_results
    from ratenets.butd.summary import table
    from ratenets.run_folder import RESULTS

    files = [path / RESULTS if path.is_dir() else path for path in inputs]
    check_outputs(json_file, inputs=files, force=force)
    found = [run for file in files for run in read_results(file)]
    text = table(found)
    if json_file is not None:
        write_results(json_file, found)
    click.echo(text)
