"""`ratespike deep lpl`: Latent Predictive Learning, and the paper's controls."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from foundation import config as configs
from foundation.errors import UsageError
from ratenets.lpl.config import DEFAULTS, LPLConfig

from .commands import Command
from .options import build_config, config_options, flag_values, root_option
from .original_flags import original_flags, translated
from .outputs import check_either, check_folder, force_option


@click.command(cls=Command)
@config_options(LPLConfig, DEFAULTS)
@original_flags
@root_option
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file of settings; options win over it")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="the run's folder")
@click.option("--resume", is_flag=True, help="go on with the run in --out; its settings are kept")
@force_option
def command(
    root: Path | None, file: Path | None, out: Path, resume: bool, resume_too: bool, force: bool, **flags: Any
) -> None:
    """Train an encoder with Latent Predictive Learning, or with one of the paper's controls.

    The folder of --out then holds config.toml, checkpoint.pt, metrics.jsonl and tensorboard/. A run that was stopped
    or killed goes on with --resume and ends where it would have ended. `torchrun --nproc-per-node N -m ratespike.cli
    deep lpl ...` trains on N GPUs or processes at once, to the same result.
    """
    from foundation.data.images import load_images
    from ratenets.distributed import process_group, rank
    from ratenets.lpl import frames
    from ratenets.lpl.training import open_lpl, train_lpl, train_with

    resume = resume or resume_too
    check_either(resume, force)
    flags, idle = translated(flags)
    for name in idle:
        click.echo(f"--{name}: a flag of the original program, without effect here", err=True)
    config = _config(file, out if resume else None, flag_values(LPLConfig, flags))
    check_folder(out, file, config.initial_weights, force=force)
    with process_group(config.run.torch_device()) as device:
        config = replace(config, run=replace(config.run, device=str(device)))
        open_lpl(out, config, resume=resume, write=False, force=force)  # before minutes of loading
        label = f"{config.name} on {config.data}"
        if config.data == frames.DATA:
            sequences = frames.load_frames(config, root)
            _, history = train_with(
                partial(frames.learner, sequences), config, out, resume=resume, force=force, label=label
            )
        else:
            images = load_images(config.data, root, image_size=config.image_size)
            _, history = train_lpl(config, images, out, resume=resume, force=force, label=label)
        if rank() == 0:
            click.echo(f"{_last_losses(history)}{out}: trained for {len(history)} epochs")
            click.echo(f"now `ratespike deep readout {out}`")


def _config(file: Path | None, run: Path | None, given: dict[str, Any]) -> LPLConfig:
    """The settings: a run's own when it goes on, else the dataset's; then a file over them, then the command line."""
    if run is not None:
        from ratenets.run_folder import CONFIG, run_config

        if not (run / CONFIG).is_file():
            raise UsageError(f"{run}: no run to resume, there is no {CONFIG}")
        default = run_config(LPLConfig, run)
    else:
        values = configs.parse(configs.read_text(file), str(file)) if file else {}
        default = LPLConfig.for_data(str(given.get("data", values.get("data", LPLConfig.data))))
    return build_config(default, file, given)


def _last_losses(history: list[dict[str, Any]]) -> str:
    """The last epoch's terms of each layer, as a table."""
    if not history:
        return ""
    terms = [name.partition("/")[::2] for name in history[-1] if "/" in name]
    columns = list(dict.fromkeys(term for _, term in terms))
    lines = ["layer" + "".join(f"{column:>15}" for column in columns)]
    for layer in dict.fromkeys(layer for layer, _ in terms):
        values = [history[-1][f"{layer}/{column}"] for column in columns]
        lines.append(f"{layer.removeprefix('layer'):>5}" + "".join(f"{value:15.4f}" for value in values))
    return "\n".join(lines) + "\n"
