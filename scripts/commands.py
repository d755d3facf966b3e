"""What commands and groups of them look like: help by headings, and immediate, for a group imports no command."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

METAVARS = {click.types.IntParamType: "N", click.types.FloatParamType: "X", click.types.StringParamType: "NAME"}
"""How the help writes what an option takes, unless the option says so itself; files are FILE, folders DIR."""


class Setting(click.Option):
    """An option that stands under a heading of its own in the help."""

    def __init__(self, *args: Any, heading: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.heading = heading


class Command(click.Command):
    """A command whose help has a heading for every part of its settings, and one word for one thing."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for option in self.params:
            if isinstance(option, click.Option) and option.metavar is None and not option.is_flag:
                option.metavar = _metavar(option.type)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {"Options": [], "Settings": []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                headings.setdefault(getattr(option, "heading", "Options"), []).append(record)
        for heading, records in headings.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _metavar(kind: click.ParamType[Any]) -> str | None:
    if isinstance(kind, click.Path):
        return "FILE"
    return next((name for known, name in METAVARS.items() if isinstance(kind, known)), None)


class LazyGroup(click.Group):
    """A group that knows its commands' names and short helps without importing them.

    Args:
        lazy: by name, where the command is ("module:attribute", the module in this package), and what the group's
            help says of it.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, attribute = self.lazy[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(f"ratespike.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])
