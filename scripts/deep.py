"""`ratespike deep`: train rate networks with local rules, and read them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foundation import config as configs
from foundation.data.images import load_images
from foundation.errors import UsageError
from foundation.files import check_target, write_json
from ratenets.evaluation.layerwise import layerwise, pixel_baseline, table
from ratenets.lpl.training import LPLConfig, load_lpl, prepare, train_lpl
from ratenets.run_folder import CONFIG, run_files

from .options import build_config, config_options, device_option, flag_values, root_option


@click.group()
def command() -> None:
    """Train rate networks with local learning rules, and read them out."""


@command.command(short_help="Train an encoder with layer-local LPL.")
@config_options(LPLConfig)
@root_option
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file of settings; options win over it")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the run's folder")
@click.option("--resume", is_flag=True, help="go on with the run in --out; its settings are kept")
def lpl(root: Path | None, file: Path | None, out: Path, resume: bool, **flags: Any) -> None:
    """Train an encoder with layer-local Latent Predictive Learning.

    The folder of --out then holds config.toml, checkpoint.pt, metrics.jsonl and tensorboard/. A run that was stopped
    or killed goes on with --resume and ends where it would have ended.
    """
    given = flag_values(LPLConfig, flags)
    if resume:
        path = out / CONFIG
        if not path.is_file():
            raise UsageError(f"{out}: no run to resume, there is no {CONFIG}")
        default = configs.loads(LPLConfig, configs.read_text(path), str(path))
    else:
        values = configs.parse(configs.read_text(file), str(file)) if file else {}
        default = LPLConfig.for_data(str(given.get("data", values.get("data", LPLConfig.data))))
    config = build_config(default, file, given)
    config.run.torch_device()
    _, history = train_lpl(config, load_images(config.data, root), out, resume=resume, label=f"LPL on {config.data}")
    if history:
        click.echo("layer     pull     push   decorr")
        for layer in range(1, sum(name.endswith("/pull") for name in history[-1]) + 1):
            terms = [history[-1][f"layer{layer}/{name}"] for name in ("pull", "push", "decorr")]
            click.echo(f"{layer:5d} " + " ".join(f"{value:8.4f}" for value in terms))
    click.echo(f"{out}: trained for {len(history)} epochs; now `ratespike deep readout {out}`")


@command.command(short_help="Read out every layer of a trained run.")
@click.argument("run", type=click.Path(path_type=Path))
@root_option
@device_option
@click.option("--labels", type=int, default=100, show_default=True, help="labels of the few-label readout, all classes")
@click.option("--draws", type=int, default=5, show_default=True, help="random choices of these labels to average over")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the numbers to this file, too")
def readout(run: Path, root: Path | None, device: str, labels: int, draws: int, json_file: Path | None) -> None:
    """Linear readout of every layer of a trained RUN, with few labels and with all, beside raw pixels."""
    if draws < 1:
        raise UsageError(f"--draws: must be at least 1, got {draws}")
    if json_file is not None:
        check_target(json_file, *run_files(run))
    encoder, config, images = load_lpl(run, root=root, device=device)
    seed = config.run.seed
    train_x, test_x = prepare(images.train_images, config.run), prepare(images.test_images, config.run)
    rows = [pixel_baseline(images, labels, draws, seed)]
    rows += layerwise(encoder, train_x, test_x, images, labels, draws, seed)
    click.echo(table(rows, labels))
    if json_file is not None:
        write_json(
            json_file, {"run": str(run), "data": config.data, "labels": labels, "rows": [r.to_json() for r in rows]}
        )
