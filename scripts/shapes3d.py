"""`ratespike deep shapes3d`: get the dataset of the Shapes3D experiment ready, and score what was learned from it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from foundation.errors import UsageError
from ratenets.evaluation.config import FactorConfig

from .commands import Command
from .options import build_config, config_options, device_option, flag_values, root_option
from .outputs import check_outputs, force_option


@click.group()
def command() -> None:
    """Factors in sequences of Shapes3D pictures.

    Halvagal & Zenke 2023, Extended Data Figs. 5 and 6.
    """


@command.command("prepare", short_help="Unpack 3dshapes.h5 once.", cls=Command)
@root_option
def prepare_dataset(root: Path | None) -> None:
    """Unpack the official 3dshapes.h5 to an array that can be read at random (5.9 GB).

    The file, from https://github.com/google-deepmind/3d-shapes, belongs into the folder shapes3d below the root; it is
    checked first, and the array appears beside it, whole or not at all.
    """
    from foundation.data import shapes3d
    from foundation.data.catalogue import data_root

    new = shapes3d.prepare(root, shapes3d.SIZES)
    array = data_root(root) / shapes3d.FOLDER / shapes3d.ARRAY
    number = f"{math.prod(shapes3d.SIZES):,} images"
    click.echo(f"{array}: {number}" + ("" if new else ", was there already"))


@command.command("score", short_help="Which factors does a run's last layer disentangle?", cls=Command)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@root_option
@device_option
@click.option("--pixels", is_flag=True, help="score the pictures themselves, the baseline, in place of a RUN")
@click.option("--untrained", is_flag=True, help="score the RUN's network at its initial weights")
@config_options(FactorConfig)
@click.option("--seed", type=int, default=0, show_default=True, help="of all draws of the scores")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write everything here, for the figures")
@force_option
def score(
    run: Path | None,
    root: Path | None,
    device: str,
    pixels: bool,
    untrained: bool,
    seed: int,
    json_file: Path | None,
    force: bool,
    **flags: Any,
) -> None:
    """Score the last layer of a RUN of `ratespike deep lpl --data shapes3d`: majority vote, similarities, manifolds.

    All 480,000 pictures are encoded once; without a GPU that takes hours for the full VGG-11.
    """
    from foundation.devices import find_device
    from ratenets.evaluation.factor_files import write_report
    from ratenets.evaluation.factors import factor_report
    from ratenets.lpl import frames
    from ratenets.run_folder import run_files

    config = build_config(FactorConfig(), None, flag_values(FactorConfig, flags))
    if (run is None) != pixels or (untrained and run is None):
        raise UsageError("name a RUN to score (or its network, --untrained), or --pixels alone")
    check_outputs(json_file, inputs=[] if run is None else run_files(run), force=force)
    find_device(device, "--device")
    shown = frames.scored(run, root, device=device, untrained=untrained)
    report = factor_report(shown.codes, shown.sequences, config=config, sizes=shown.sizes, seed=seed)
    for name, title in (("score", "majority vote"), ("strict_score", "strict")):
        click.echo(f"{title:14} {100 * report[name]['mean']:6.2f} ± {100 * report[name]['deviation']:.2f} %")
    click.echo(f"{'silent units':14} {report['silent_units']:6d} of {report['units']}")
    if json_file is not None:
        write_report(json_file, shown.name, report)
