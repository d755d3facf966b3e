"""Click options made from a config's fields: the dataclass is the one place where a setting is described."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from foundation import config as configs
from foundation.config import Config

from .commands import Setting

Command = TypeVar("Command", bound=Callable[..., Any])
LISTS: dict[Any, str] = {tuple[int, ...]: "N,N,...", tuple[float, ...]: "X,X,..."}
"""Types of fields that are lists, and how the help writes them."""


def config_options(
    kind: type[Any], presets: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[Command], Command]:
    """Add an option for every field of a config; one that is not given arrives as None.

    `presets` are changes of the config by name, nested as its fields; the help shows what each makes of a default.
    """

    def decorate(command: Command) -> Command:
        for path, flag, field, field_type in reversed(list(_leaves(kind))):
            made = {name: _at(changes, path) for name, changes in (presets or {}).items()}
            shown = {"": field.default, **{name: value for name, value in made.items() if value is not None}}
            empty = field.metadata["empty"]
            default = "; ".join(f"{name}: " * bool(name) + _shown(value, empty) for name, value in shown.items())
            choices = field.metadata["choices"]
            plain = field_type if field_type in (int, float) else str
            command = click.option(
                f"--{flag}/--no-{flag}" if field_type is bool else f"--{flag}",
                default=None,
                type=bool if field_type is bool else click.Choice(list(choices)) if choices else plain,
                metavar=LISTS.get(field_type, field.metadata["metavar"]),
                help=f"{field.metadata['help']}  [default: {default}]",
                cls=Setting,
                heading=path[0].capitalize() if len(path) > 1 else "Settings",
            )(command)
        return command

    return decorate


def _shown(value: Any, empty: str) -> str:
    """A default as the command line takes it; what an empty one means."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return text or empty


def flag_values(kind: type[Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The given options as the nested mapping of their config."""
    values: dict[str, Any] = {}
    for path, flag, _, field_type in _leaves(kind):
        value = flags.get(flag.replace("-", "_"))
        if value is None:
            continue
        if field_type in LISTS:
            value = _numbers(flag, value, *typing.get_args(field_type)[:1])
        nested: dict[str, Any] = {path[-1]: value}
        for part in reversed(path[:-1]):
            nested = {part: nested}
        values = configs.merged(values, nested)
    return values


def build_config(default: Config, file: Path | None, flags: Mapping[str, Any]) -> Config:
    """A config from its default, a TOML file over it, and the command line over both."""
    kind = type(default)
    values = configs.parse(configs.dumps(default), "default")
    if file is not None:
        values = configs.merged(values, configs.parse(configs.read_text(file), str(file)))
        configs.from_mapping(kind, values, str(file))
    return configs.from_mapping(kind, configs.merged(values, flags), "command line")


def _leaves(
    kind: type[Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, dataclasses.Field[Any], Any]]:
    """Every plain field of nested configs: its path, its flag, the field, its type."""
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(types[field.name]):
            yield from _leaves(types[field.name], (*path, field.name))
        else:
            flag = field.metadata["flag"] or field.name.replace("_", "-")
            yield (*path, field.name), flag, field, types[field.name]


def _numbers(flag: str, text: str, kind: type[Any]) -> list[Any]:
    """What a list's option says; "none" is the empty list."""
    try:
        return [kind(part) for part in text.split(",")] if text != "none" else []
    except ValueError:
        what = "whole numbers such as 64,64" if kind is int else "numbers such as 1e-4,0.01"
        raise click.BadParameter(f"'{text}' is no list of {what}", param_hint=f"--{flag}") from None


def _at(changes: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What nested changes say of a field; None if nothing."""
    for part in path[:-1]:
        changes = changes.get(part, {})
    return changes.get(path[-1])


def device_option(command: Command) -> Command:
    """`--device`: where to compute."""
    return click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N")(command)


def root_option(command: Command) -> Command:
    """`--root`: where the datasets are."""
    return click.option(
        "--root",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="folder of the datasets  [default: $RATESPIKE_DATA, else the user's cache folder]",
    )(command)
