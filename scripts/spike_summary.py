"""`ratespike spike summary`: the numbers of network runs, as text, JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foundation import config as configs
from foundation.files import write_json, write_text
from foundation.tables import aligned

from .commands import Command
from .outputs import check_outputs, force_option

if TYPE_CHECKING:
    from spiking.analysis import NetworkSummary
    from spiking.recording import NetworkRecord


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write all numbers to this file, too")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="and to this one, a row for each network")
@force_option
def summary(files: tuple[Path, ...], json_file: Path | None, csv_file: Path | None, force: bool) -> None:
    """Analyses of the paper's Fig. 5 for the networks in FILE...: rates, weights, selectivity, decoding, and more.

    Every network is named by its file, its seed, and the settings in which the networks differ; then come the settings
    that all share. The files of --json and --csv have all settings of every network.
    """
    from spiking.run_file import read_configs, read_networks

    check_outputs(json_file, csv_file, inputs=files, force=force)
    found = print_summary([record for path in files for record in read_networks(path)])
    configs = [(str(path), config) for path in files for config in read_configs(path)]
    rows = []
    for (file, config), values in zip(configs, found, strict=True):
        settings = dataclasses.asdict(config)
        rows.append({"file": file, "seed": settings.pop("seed"), "settings": settings, **values.to_json()})
    differ = differing([row["settings"] for row in rows])
    for row in rows:
        click.echo(f"{row['label']}: {row['file']}, seed {row['seed']}{_words(row['settings'], differ)}")
    shared = [name for name in rows[0]["settings"] if name not in differ]
    click.echo(f"all{_words(rows[0]['settings'], shared).replace(',', ':', 1)}")
    if json_file is not None:
        write_json(json_file, rows)
    if csv_file is not None:
        _write_csv(csv_file, rows)


def print_summary(records: list[NetworkRecord]) -> list[NetworkSummary]:
    """Print a row for each network, under the names of its populations; return all that was found."""
    from spiking.analysis import analyse
    from spiking.recording import distinguished

    summaries = [analyse(record).summary for record in distinguished(records)]
    for populations, group in groupby(summaries, key=lambda found: found.populations):
        of_kind = list(group)
        chosen = [name for name in ("P1", "P2") if name in of_kind[0].preference]
        head = ["", "exc (Hz)", "inh (Hz)", *(f"selectivity {name}" for name in chosen)]
        head += [f"R2 {name}" for name in populations] + [f"weight {name}" for name in populations]
        rows = [
            [
                found.label,
                *(f"{rate.mean:.2f}" for rate in (found.exc_rate, found.inh_rate)),
                *(f"{found.preference[name].mean:+.3f}" for name in chosen),
                *(f"{value:+.2f}" for value in found.r2),
                *(f"{value:.3f}" for value in found.existing_weights),
            ]
            for found in of_kind
        ]
        click.echo("\n".join(aligned([head, *rows])))
    click.echo("R2: of the reconstruction of an input; weight: mean of the synapses that exist, in leak conductances")
    return summaries


def differing(settings: list[dict[str, Any]]) -> list[str]:
    """The settings that are not the same for all networks."""
    return [name for name in settings[0] if len({repr(each.get(name)) for each in settings}) > 1]


def _words(settings: dict[str, Any], names: list[str]) -> str:
    return "".join(f", {name.rstrip('_')} {settings[name]}" for name in names)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A row for each network, a column for each number: of a list one for each of its entries."""
    lines = [configs.flat(row, "/", lists=True) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())
