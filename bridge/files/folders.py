"""The folder of an export: several files, and one that says what is in it, by which it is known for ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import UsageError
from foundation.files import claim_folder, is_part, private_folder, sweep_beside, whole_folder, write_text
from foundation.locks import LOCK

SONATA = ("nodes.h5", "node_types.csv", "edges.h5", "edge_types.csv", "spikes.h5")
LISTED = "    "  # before the name of a file
MARKER = "README.txt"
"""In a folder that was exported: what is in it."""


def check_folder(out: Path, *, new: bool) -> None:
    """Make sure, before any work, that a folder may be written at `out`, where none is, or an earlier export.

    Args:
        out: the folder.
        new: whether an earlier export there is an error, too; its files are replaced otherwise.

    Raises:
        UsageError: it is something else, or holds files that no export wrote.
    """
    claim_folder(out, MARKER, new=new)
    if not (out / MARKER).is_file():
        return
    if "written by ratespike" not in (out / MARKER).read_text(encoding="utf-8", errors="replace"):
        raise UsageError(f"{out}: holds a {MARKER} that is not ours; choose another --out")
    known = {MARKER, *_listed(out)}
    for file in sorted(out.iterdir()):
        if file.name not in known and not is_part(file):
            raise UsageError(f"{out}: holds {file.name}, which no export wrote; choose another --out")


def _listed(out: Path) -> set[str]:
    """The files that the marker of an export names; those of earlier versions always had the same."""
    lines = (out / MARKER).read_text(encoding="utf-8", errors="replace").splitlines()
    names = {line.removeprefix(LISTED) for line in lines if line.startswith(LISTED)}
    return {name for name in names if name == Path(name).name} or set(SONATA)  # a marker is a file of a stranger, too


@contextmanager
def export_folder(out: Path, text: str) -> Iterator[Path]:
    """A folder to fill, whole or not at all; `text` says what is in it.

    In a folder that exists, files are moved into their places one by one. Its marker names at any time all that may be
    there, so that what a kill left is known for ours.
    """

    def mark(folder: Path, names: set[str]) -> None:
        write_text(folder / MARKER, "\n".join([text, *(f"{LISTED}{name}" for name in sorted(names)), ""]))

    check_folder(out, new=False)
    if not out.exists():
        with whole_folder(out) as folder:
            yield folder
            mark(folder, {file.name for file in folder.iterdir()})
        return
    sweep_beside(out)
    with private_folder(out / "export") as folder:
        yield folder
        files = [file for file in sorted(folder.iterdir()) if file.name != LOCK]
        names = {file.name for file in files}
        before = _listed(out) if (out / MARKER).is_file() else set()
        mark(out, names | before)
        for file in files:
            file.replace(out / file.name)
        for name in before - names:
            (out / name).unlink(missing_ok=True)
        mark(out, names)
