"""What commands write, and the one policy for what exists already: it stays, unless `--force` is given.

A command that goes on with what exists says so, and does it under another name, `--resume`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from foundation.errors import UsageError
from foundation.files import check_target

Command = TypeVar("Command", bound=Callable[..., Any])


def force_option(command: Command) -> Command:
    """`--force`: replace what exists."""
    return click.option("--force", is_flag=True, help="replace what exists; otherwise it is refused")(command)


def check_outputs(*targets: Path | None, inputs: Iterable[Path | None] = (), force: bool) -> None:
    """Make sure, before any work, that every file can be written, is no input and no other output, and is new.

    Args:
        targets: files that will be written; None stands for one that was not asked for.
        inputs: files that are read.
        force: whether a file that exists may be replaced; never an input.

    Raises:
        UsageError: see `foundation.files.check_target`.
    """
    taken = [path for path in inputs if path is not None]
    for target in targets:
        if target is not None:
            check_target(target, *taken, new=not force)
            taken.append(target)


def check_folder(out: Path, *inputs: Path | str | None, force: bool) -> None:
    """Make sure that what is replaced in a folder is no input.

    Args:
        out: the folder.
        inputs: files and folders that are read; "" and None stand for those that were not given.
        force: whether anything is replaced at all.

    Raises:
        UsageError: one of them is the folder, or lies in it.
    """
    place = out.resolve()
    for given in inputs if force else ():
        path = Path(given).expanduser().resolve() if given else None
        if path is not None and place in (path, *path.parents):
            raise UsageError(f"{out}: {given} lies there, which is read; choose another --out")


def check_either(resume: bool, force: bool) -> None:
    """Refuse to go on with what is replaced. Raises `UsageError`."""
    if resume and force:
        raise UsageError("--force: replaces what --resume goes on with; give one of the two")
