"""`ratespike figure`: publication figures from run files."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from foundation.errors import RatespikeError, UsageError

from .commands import Command
from .options import root_option
from .outputs import check_outputs, force_option


class Recipe(NamedTuple):
    """How a figure is made, with functions as "module:name": one figure does not import what another needs."""

    reader: str  # of a path, gives a list
    drawer: str  # of all lists in one, gives the figure
    text: str  # what it shows
    inputs: str  # what it takes
    of_data: bool = False  # its inputs are names of datasets; the reader takes the root and a seed, too


FIGURES = {
    "lpl-network": Recipe(
        "spiking.run_file:read_networks",
        "spiking.plots:lpl_network",
        "the LPL network, its conditions side by side (Halvagal & Zenke 2023, Fig. 5)",
        "files of `ratespike spike network`; several seeds of a condition are pooled",
    ),
    "stdp": Recipe(
        "spiking.run_file:read_pairings",
        "spiking.plots:stdp",
        "weight change by spike timing, for several variances or frequencies (Fig. 6)",
        "files of `ratespike spike stdp`",
    ),
    "layerwise": Recipe(
        "ratenets.evaluation.report:read_reports",
        "ratenets.plots:layerwise",
        "accuracy, dimensionality and mean activity by layer (Fig. 3, ED Fig. 11)",
        "files of `ratespike deep readout --json`; seeds of a condition are pooled",
    ),
    "toy": Recipe(
        "ratenets.toy.results:read_results",
        "ratenets.toy.plots:toy",
        "what a single neuron learns by LPL (Fig. 2, ED Fig. 1, Suppl. Figs. 1 and 2)",
        "files of `ratespike deep toy`",
    ),
    **{
        f"shapes3d-{name}": Recipe(
            "ratenets.evaluation.factor_files:read_reports",
            f"ratenets.evaluation.factor_plots:{name}",
            text,
            "files of `ratespike deep shapes3d score --json`",
        )
        for name, text in {
            "scores": "which factors the last layer disentangles",
            "similarities": "how alike the codes are for any two values of a factor (ED Fig. 5)",
            "manifolds": "where the codes lie as one factor varies (ED Fig. 6)",
            "scatters": "where the codes of random pictures lie",
            "transitions": "how often a value follows another in the sequences",
        }.items()
    },
    "ladder": Recipe(
        "ratenets.lpl.ladder_results:read_results",
        "ratenets.lpl.ladder_results:ladder",
        "from a rule that failed to the one that works, by layer",
        "files of `ratespike deep ladder`",
    ),
    "swap": Recipe(
        "ratenets.lpl.swap_results:read_results",
        "ratenets.lpl.swap_results:swap",
        "how a swapped world changes what neurons prefer (Fig. 4)",
        "files of `ratespike deep swap`",
    ),
    "butd": Recipe(
        "ratenets.butd.results:read_results",
        "ratenets.butd.plots:butd",
        "accuracy by task, sub-networks by layer, alignment of W and V in BU-TD networks",
        "files results.json of `ratespike deep butd`; several seeds of a condition are pooled",
    ),
    "local-rules": Recipe(
        "ratenets.hebbian.results:read_results",
        "ratenets.hebbian.plots:local_rules",
        "local learning rules side by side: learning, or what an experiment measures",
        "files results.json of `ratespike deep hebbian`, of one experiment; several seeds of a condition are pooled",
    ),
    "local-rules-weights": Recipe(
        "ratenets.hebbian.pictures:read_pictures",
        "ratenets.hebbian.picture_plots:weights",
        "weights before learning, after it, and their difference",
        "a file pictures.npz of `ratespike deep hebbian`",
    ),
    "local-rules-examples": Recipe(
        "ratenets.hebbian.pictures:read_pictures",
        "ratenets.hebbian.picture_plots:examples",
        "test images by class and by what the network says",
        "a file pictures.npz of `ratespike deep hebbian`",
    ),
    "plasticity": Recipe(
        "bridge.levels.results:read_results",
        "bridge.levels.plots:plasticity",
        "rate against spiking plasticity: the ladder, its controls, sweeps, learning on",
        "a file comparison.json of `ratespike bridge compare`",
    ),
    "augmentations": Recipe(
        "ratenets.sequences.plots:read_views",
        "ratenets.sequences.plots:augmentations",
        "what a network sees of its images: pairs of views",
        "names of datasets, see `ratespike data list`",
        of_data=True,
    ),
}
LIST = "\n\n".join(f"\b\n{name}: {recipe.text}\n    INPUT: {recipe.inputs}" for name, recipe in FIGURES.items())


@click.command(epilog=LIST, cls=Command)
@click.argument("name", type=click.Choice(list(FIGURES)), metavar="NAME")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="the figure: a .png, .pdf or .svg file")
@force_option
@root_option
@click.option("--seed", type=int, default=0, show_default=True, help="of the views in augmentations")
def command(name: str, inputs: tuple[Path, ...], out: Path, force: bool, root: Path | None, seed: int) -> None:
    """Draw the figure NAME from one or several run files."""
    from foundation.figures import save
    from foundation.progress import bar

    recipe = FIGURES[name]
    _check_out(out, () if recipe.of_data else inputs, force)
    if not recipe.of_data:
        _check(inputs)
    reader, drawer = _function(recipe.reader), _function(recipe.drawer)
    runs: list[Any] = []
    with bar(label=f"figure {name}", total=len(inputs) + 1, unit="step") as progress:
        for path in inputs:
            runs += reader(str(path), root, seed) if recipe.of_data else reader(path)
            progress.update()
        save(drawer(runs), out)
        progress.update()
    click.echo(f"{out}: {name}, from {len(runs)} run{'s' if len(runs) > 1 else ''}")


def _check_out(out: Path, inputs: tuple[Path, ...], force: bool) -> None:
    from foundation.figures import FORMATS

    if out.suffix not in FORMATS:
        raise UsageError(f"{out}: a figure is written as one of {', '.join(FORMATS)}")
    check_outputs(out, inputs=inputs, force=force)


def _check(inputs: tuple[Path, ...]) -> None:
    """Refuse what cannot be read, before any work starts."""
    seen: set[Path] = set()
    for path in inputs:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a run file")
        if not path.exists():
            raise RatespikeError(f"{path}: no such file")
        if path.resolve() in seen:
            raise UsageError(f"{path}: given twice; give each run once")
        seen.add(path.resolve())


def _function(name: str) -> Callable[..., Any]:
    module, attribute = name.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function
