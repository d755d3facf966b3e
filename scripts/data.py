"""`ratespike data`: list and get datasets in their official files."""

from __future__ import annotations

from pathlib import Path

import click

from foundation.data.catalogue import DATASETS, IMAGE_FOLDER, Dataset, data_root, find
from foundation.data.folders import find_parts
from foundation.data.official import cheap_fault, mending_command
from foundation.data.places import is_anywhere
from foundation.errors import UsageError

from .commands import Command
from .options import root_option


@click.group()
def command() -> None:
    """List and get datasets in their official files."""


@command.command("list", cls=Command)
@root_option
def list_datasets(root: Path | None) -> None:
    """Show every dataset: its size, its licence, and whether it is there.

    Here only existence and size of the files are looked at; their md5 is checked whenever a dataset is read.
    Train images are counted as labelled+unlabelled where there are such.
    """
    folder = data_root(root)
    rows = [("name", "train", "test", "image", "download", "state", "licence")]
    notes = []
    for dataset in DATASETS.values():
        state, note = _state(dataset, folder)
        size = "x".join(str(n) for n in (*dataset.shape[1:], dataset.shape[0]))
        download = f"{dataset.download_size / 1e6:.1f} MB" if dataset.download_size else "-"
        train = f"{dataset.n_train:,}" + (f"+{dataset.n_unlabelled:,}" if dataset.n_unlabelled else "")
        rows.append((dataset.name, train, f"{dataset.n_test:,}", size, download, state, dataset.licence))
        if note:
            notes.append(f"{dataset.name}: {note}; mend it with {mending_command(dataset, root)}")
    state = "found" if find_parts(folder) else "missing"
    rows.append((IMAGE_FOLDER, "-", "-", "-", "-", state, "your own images, a folder for each class"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (
            f"{text:>{w}}" if i in (1, 2, 4) else f"{text:<{w}}"
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
    click.echo(f"\nroot: {folder}")
    for line in notes:
        click.echo(line)


@command.command("get", cls=Command)
@click.argument("names", metavar="NAME...", nargs=-1)
@root_option
@click.option(
    "--mirror",
    metavar="URL",
    help="Take the files from below this address instead of the official hosts: same folders and file names as in "
    "DIR (so a served DIR will do), CIFAR-10 and STL-10 also as their official archives.",
)
def get_datasets(names: tuple[str, ...], root: Path | None, mirror: str | None) -> None:
    """Download datasets, checking every md5. What is right already is kept, what is wrong is replaced."""
    if not names:
        raise UsageError(f"name at least one dataset; known are {', '.join(DATASETS)}")
    wanted = [find(name) for name in dict.fromkeys(names)]  # all names are known before anything is downloaded
    from foundation.data.downloads import get

    folder = data_root(root)
    for dataset in wanted:
        if dataset.layout == "bundled":
            click.echo(f"{dataset.name}: comes with scikit-learn, nothing to download")
            continue
        written = get(dataset, folder, mirror)
        kept = len(dataset.files) - len(written)
        click.echo(f"{dataset.name}: complete in {folder} ({len(written)} files written, {kept} kept)")


def _state(dataset: Dataset, folder: Path) -> tuple[str, str]:
    """One word for the table, and a note that says more where something is wrong."""
    if dataset.layout == "bundled":
        return "bundled", ""
    if not any((folder / file.path).exists() for file in dataset.files):
        return ("found", "") if is_anywhere(dataset, folder) else ("missing", "")
    faults = [fault for file in dataset.files if (fault := cheap_fault(folder / file.path, file))]
    if not faults:
        return "complete", ""
    return ("incomplete" if all(fault.endswith("missing") for fault in faults) else "corrupt"), ", ".join(faults)
