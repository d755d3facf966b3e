"""`ratespike deep ladder`: from a rule that failed to the one that works, one change at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundation.errors import UsageError
from foundation.files import claim_folder
from foundation.locks import locked
from ratenets.lpl.config import DEFAULTS, LPLConfig

from .commands import Command
from .options import build_config, config_options, flag_values, root_option
from .outputs import force_option

if TYPE_CHECKING:
    from ratenets.lpl.ladder import Rung
    from ratenets.lpl.ladder_results import RungResult

RESULT = "ladder.json"


@click.command(cls=Command)
@config_options(LPLConfig, DEFAULTS)
@root_option
@force_option
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="folder of the runs and of ladder.json"
)
def command(root: Path | None, force: bool, out: Path, **flags: Any) -> None:
    """Train five networks: an independent re-implementation's rule, then one change back at a time, to plain LPL.

    Finished runs in --out are kept and stopped ones go on, so the command can be called again; with --force all begin
    anew.
    """
    from foundation.data.images import load_images
    from ratenets.lpl import frames
    from ratenets.lpl.ladder import rungs
    from ratenets.lpl.ladder_results import LadderResult, table, write_result
    from ratenets.lpl.training import train_lpl
    from ratenets.run_folder import CONFIG, replace_runs

    given = flag_values(LPLConfig, flags)
    config = build_config(LPLConfig.for_data(str(given.get("data", LPLConfig.data))), None, given)
    if config.data == frames.DATA:
        raise UsageError("ladder: needs a dataset with labels to read out")
    ladder = list(rungs(config))
    claim_folder(out, f"{_folder(1)}/{CONFIG}")
    images = load_images(config.data, root, image_size=config.image_size)
    with locked(out):
        if force:
            replace_runs(out / _folder(number) for number in range(1, len(ladder) + 1))
        results = []
        for number, rung in enumerate(ladder, start=1):
            folder = out / _folder(number)
            label, begun = f"rung {number} of {len(ladder)}", (folder / CONFIG).is_file()
            train_lpl(rung.config, images, folder, resume=begun, label=label)
            results.append(_read_out(rung, folder, root))
    result = LadderResult(config.data, config.run.epochs, images.n_classes, tuple(results))
    write_result(out / RESULT, result)
    click.echo(table(result))
    click.echo(f"{out / RESULT}: now `ratespike figure ladder {out / RESULT} --out ladder.png`")


def _folder(number: int) -> str:
    return f"rung-{number}"


def _read_out(rung: Rung, folder: Path, root: Path | None) -> RungResult:
    from ratenets.evaluation.config import ReadoutConfig
    from ratenets.evaluation.run_readout import report_of
    from ratenets.lpl.ladder_results import RungResult
    from ratenets.lpl.training import load_lpl

    trained = load_lpl(folder, root=root, device=rung.config.run.device)
    config = ReadoutConfig(pixels=False)
    rows = report_of(folder, trained, config, epochs=rung.config.run.epochs).layers
    return RungResult(
        rung.name,
        tuple(row.accuracy for row in rows),
        tuple(row.participation_ratio for row in rows),
        tuple(row.mean_activity for row in rows),
    )
