"""`ratespike deep swap`: the swap-exposure experiment of Halvagal & Zenke 2023, Fig. 4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ratenets.lpl.swap_config import SwapConfig

from .commands import Command
from .options import build_config, config_options, device_option, flag_values, root_option
from .outputs import check_outputs, force_option


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@config_options(SwapConfig)
@root_option
@device_option
@force_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the result, a JSON file")
def command(run: Path, root: Path | None, device: str, force: bool, out: Path, **flags: Any) -> None:
    """Swap objects at one place of the visual field of a trained RUN, and follow the selectivity of its neurons.

    RUN is a convolutional network trained without biases: `ratespike deep lpl --data stl10 --no-biases --out RUN`.
    """
    from ratenets.lpl import swap, swap_results
    from ratenets.lpl.sources import ImageSource, prepare
    from ratenets.lpl.training import load_lpl, material_of
    from ratenets.run_folder import adam_state, run_files

    check_outputs(out, inputs=run_files(run), force=force)
    settings = build_config(SwapConfig(), None, flag_values(SwapConfig, flags))
    encoder, config, images = load_lpl(run, root=root, device=device)
    material = material_of(config, images)
    rows = swap.draw_objects(material.test.labels, settings)
    shown = prepare(material.test.images[rows.ravel()], config)
    objects = shown.reshape(*rows.shape, *shown.shape[1:])
    source = ImageSource(config, material)
    number = min(settings.images or len(material.rows), len(material.rows))
    course = swap.run(encoder, source.views, number, objects, settings, adam_state(run, encoder))
    swap_results.write_result(out, swap_results.SwapResult(str(run), config.data, settings, course))
    click.echo(f"{'selectivity':12} before   after")
    for name, mean in zip(swap.GROUPS, course.mean, strict=True):
        click.echo(f"{name:12} {mean[0]:6.3f}  {mean[-1]:6.3f}")
    click.echo(f"{out}: after {settings.exposures} exposures; now `ratespike figure swap {out} --out swap.png`")
