"""`ratespike deep readout`: what can be read out of a run, layer by layer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundation import config as configs
from foundation.config import from_mapping
from foundation.errors import UsageError
from foundation.files import write_json
from ratenets.evaluation.config import ReadoutConfig
from ratenets.lpl.config import LPLConfig

from .commands import Command
from .options import config_options, device_option, flag_values, root_option
from .outputs import check_outputs, force_option

if TYPE_CHECKING:
    from ratenets.lpl.training import Trained

PAPER, FEW = "paper", "few-labels"
LABELS, DRAWS = 100, 5
FOR_PAPER = {"pooling": "--no-pooling", "folds": "--folds", "metrics": "--metrics"}
"""Settings that the readout with few labels does not know, and their flags."""


@dataclass(frozen=True)
class Request:
    """What is read out of which network.

    Attributes:
        run: its folder.
        protocol: paper or few-labels.
        config: for the paper's.
        labels: for few labels.
        draws: random choices of these.
        untrained: at the network's initial weights.
    """

    run: Path
    protocol: str
    config: ReadoutConfig
    labels: int
    draws: int
    untrained: bool


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@root_option
@device_option
@click.option(
    "--protocol",
    type=click.Choice([PAPER, FEW]),
    help="paper: 20 epochs of Adam on raw codes of the held-out images; few-labels: converged readouts of the "
    "training images, with few of their labels and with all  [default: paper if the run holds out images, or the "
    "dataset has some for it, as stl10; else few-labels]",
)
@click.option("--untrained", is_flag=True, help="read out the run's network at its initial weights")
@config_options(ReadoutConfig)
@click.option("--labels", type=int, help=f"labels of the few-label readout, all classes  [default: {LABELS}]")
@click.option("--draws", type=int, help=f"random choices of these labels to average over  [default: {DRAWS}]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the numbers to this file, too")
@force_option
def command(
    run: Path,
    root: Path | None,
    device: str,
    protocol: str | None,
    untrained: bool,
    labels: int | None,
    draws: int | None,
    json_file: Path | None,
    force: bool,
    **flags: Any,
) -> None:
    """Linear readout of every layer of a trained RUN, its dimensionality and mean activity.

    With --metrics also cosines, class manifolds and push metrics. The file of --json is what `ratespike figure
    layerwise` draws, several of them side by side.
    """
    from ratenets.evaluation.run_readout import at_initial_weights
    from ratenets.lpl.training import load_lpl
    from ratenets.run_folder import run_files

    if draws is not None and draws < 1:
        raise UsageError(f"--draws: must be at least 1, got {draws}")
    config = from_mapping(ReadoutConfig, flag_values(ReadoutConfig, flags), "command line")
    check_outputs(json_file, inputs=run_files(run), force=force)
    protocol = _protocol(run, protocol, config)
    _check(protocol, config, {"labels": labels, "draws": draws})
    trained = load_lpl(run, root=root, device=device)
    if untrained:
        trained = at_initial_weights(trained)
    few = LABELS if labels is None else labels
    request = Request(run, protocol, config, few, DRAWS if draws is None else draws, untrained)
    (_paper if protocol == PAPER else _few_labels)(request, trained, json_file)


def _protocol(run: Path, protocol: str | None, config: ReadoutConfig) -> str:
    """The protocol, as asked for or as the run's settings say; refuses what cannot be had of the run."""
    from ratenets.evaluation.run_readout import has_own_part
    from ratenets.lpl.frames import DATA as SHAPES3D
    from ratenets.run_folder import CONFIG

    path = run / CONFIG
    settings = configs.loads(LPLConfig, configs.read_text(path), str(path))
    if settings.data == SHAPES3D:
        raise UsageError(f"{run}: a run on {SHAPES3D}, read out with `ratespike deep shapes3d`")
    if settings.encoder.kind == "mlp" and not config.pooling:
        raise UsageError("--no-pooling: an mlp has no maps")
    return protocol or (PAPER if has_own_part(settings) else FEW)


def _check(protocol: str, config: ReadoutConfig, few: dict[str, int | None]) -> None:
    """Refuse what is for the other protocol."""
    default = ReadoutConfig()
    if protocol == PAPER:
        wrong = [f"--{name}" for name, value in few.items() if value is not None]
    else:
        wrong = [flag for name, flag in FOR_PAPER.items() if getattr(config, name) != getattr(default, name)]
    if wrong:
        other = FEW if protocol == PAPER else PAPER
        raise UsageError(f"{', '.join(wrong)}: for --protocol {other} alone, this is {protocol}")


def _paper(request: Request, trained: Trained, json_file: Path | None) -> None:
    from ratenets.evaluation import report
    from ratenets.evaluation.run_readout import report_of
    from ratenets.run_folder import epochs_done

    run, untrained = request.run, request.untrained
    epochs = 0 if untrained else epochs_done(run)
    found = report_of(run, trained, request.config, epochs=epochs, untrained=untrained, progress=True)
    click.echo(report.table(found))
    if json_file is not None:
        report.write_report(json_file, found)


def _few_labels(request: Request, trained: Trained, json_file: Path | None) -> None:
    from ratenets.evaluation import layerwise, report
    from ratenets.lpl.sources import prepare
    from ratenets.run_folder import epochs_done

    encoder, config, images = trained
    labels, draws, seed = request.labels, request.draws, config.run.seed
    train_x, test_x = prepare(images.train_images, config), prepare(images.test_images, config)
    layers = layerwise.layerwise(encoder, train_x, test_x, images, labels, draws, seed)
    rows = [layerwise.pixel_baseline(images, labels, draws, seed)] if request.config.pixels else []
    rows += [layers[k] for k in request.config.chosen(len(layers))]
    click.echo(layerwise.table(rows, labels))
    if json_file is not None:
        head = {"kind": report.KIND, "format": report.FORMAT}
        origin = report.Origin(
            run=str(request.run),
            name=config.name,
            data=config.data,
            seed=seed,
            epochs=0 if request.untrained else epochs_done(request.run),
            untrained=request.untrained,
            classes=images.n_classes,
            fitted_to=len(images.train_labels),
            tested_on=len(images.test_labels),
            settings=dataclasses.asdict(config),
            protocol=FEW,
            labels=labels,
        )
        numbers = {"draws": draws, "rows": [row.to_json() for row in rows]}
        write_json(json_file, {**head, **dataclasses.asdict(origin), **numbers})
