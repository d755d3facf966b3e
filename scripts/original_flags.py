"""Flags of the authors' `lpl_main.py` under their names, in kebab case, for commands that people know by heart.

Those that ours have under another name set it; those of a cluster that is not there any more are taken, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from foundation.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

RENAMED = {  # theirs: (ours, type)
    "random-seed": ("seed", int),
    "dataset": ("data", str),
    "max-epochs": ("epochs", int),
}
DATASETS = {"imagenet2012": "image-folder"}
WITHOUT_EFFECT = ("experiment-name", "fast-dev-run", "gpus", "num-nodes", "num-workers")
SWITCHES_WITHOUT_EFFECT = ("fp32", "verbose-printing")


def original_flags(command: Command) -> Command:
    """Add the original's flags that are not options already; the help does not list them.

    `--resume-from-checkpoint` arrives as `resume_too`.
    """
    for name, (_, kind) in RENAMED.items():
        command = click.option(f"--{name}", type=kind, hidden=True)(command)
    command = click.option("--resume-from-checkpoint", "resume_too", is_flag=True, hidden=True)(command)
    for name in WITHOUT_EFFECT:
        command = click.option(f"--{name}", hidden=True)(command)
    for name in SWITCHES_WITHOUT_EFFECT:
        command = click.option(f"--{name}", is_flag=True, default=None, hidden=True)(command)
    return command


def translated(flags: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The given flags under our names, and the original's that have no effect here."""
    ours = dict(flags)
    for name, (own, _) in RENAMED.items():
        value = ours.pop(name.replace("-", "_"), None)
        if value is None:
            continue
        value = DATASETS.get(value, value)
        if ours.get(own) not in (None, value):
            raise UsageError(f"--{name} {value}: is the original's name of --{own}, which is {ours[own]}; give one")
        ours[own] = value
    if ours.get("max_steps") == -1:
        ours["max_steps"] = 0  # the original's way to say: no limit
    idle = [name for name in (*WITHOUT_EFFECT, *SWITCHES_WITHOUT_EFFECT) if ours.pop(name.replace("-", "_"), None)]
    return ours, idle
