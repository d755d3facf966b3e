"""Frozen dataclasses <-> TOML, strictly: an unknown key or a wrong type is one line that names the key.

A config is a frozen dataclass whose fields are numbers, strings, booleans, tuples of these, or such dataclasses;
`None` is written by leaving the key out. Ranges are checked by the class itself, in `__post_init__`, with `UsageError`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from foundation.errors import RatespikeError, UsageError
from foundation.text import one_line

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def setting(
    default: Any,
    text: str,
    flag: str | None = None,
    *,
    choices: Collection[str] = (),
    empty: str = "none",
    metavar: str | None = None,
) -> Any:
    """A dataclass field with a default and a help text (units included), which the command line shows.

    Args:
        default: the field's.
        text: what it is.
        flag: the option's name on the command line, if it is not the field's.
        choices: all values that there are, if they are names; `check_choices` refuses others.
        empty: what an empty default means, in words.
        metavar: what the command line's help calls its value, if it is no number and no name.
    """
    metadata = {"help": text, "flag": flag, "choices": choices, "empty": empty, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


@cache
def _adapter(kind: type[Any]) -> Any:
    from pydantic import ConfigDict, TypeAdapter, with_config

    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def strictly(dataclass: type[Any]) -> None:
        for inner in dataclasses.fields(dataclass):
            if isinstance(inner.default_factory, type) and dataclasses.is_dataclass(inner.default_factory):
                strictly(inner.default_factory)
        with_config(strict)(dataclass)

    strictly(kind)
    return TypeAdapter(kind)


def from_mapping(kind: type[Config], values: Mapping[str, Any], source: str = "config") -> Config:
    """Build a config from plain values, such as TOML gives; `source` is named in the error.

    Raises:
        UsageError: an unknown key, a wrong type or a value out of range; the message names the key.
    """
    from pydantic import ValidationError

    try:
        # Through JSON, where a list is the only sequence: strict mode then takes it for a tuple, and nothing else.
        built: Config = _adapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = ", ".join(field.name for field in dataclasses.fields(kind))
            raise UsageError(
                f"{source}: unknown key '{key}'" + (f"; known: {known}" if "." not in key else "")
            ) from None
        got = "" if first["type"] == "missing" else f", got {one_line(repr(first['input']), 80)}"
        raise UsageError(f"{source}: {key}: {first['msg']}{got}") from None
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    return built


def loads(kind: type[Config], text: str, source: str = "config") -> Config:
    """Read a config from TOML text. Raises `UsageError` as `from_mapping`, and for text that is not TOML."""
    return from_mapping(kind, parse(text, source), source)


def parse(text: str, source: str) -> dict[str, Any]:
    """TOML text as plain values. Raises `UsageError` for text that is not TOML, or not such as configs are made of."""
    try:
        values = tomllib.loads(text)
        json.dumps(values, default=str)  # as `from_mapping` has it: not nested too deeply, no number of 5,000 digits
    except RecursionError:
        raise UsageError(f"{source}: not TOML of a config: nested too deeply") from None
    except ValueError as error:  # TOML's own is one of these
        raise UsageError(f"{source}: not TOML: {one_line(error)}") from None
    return values


def read_text(path: Path) -> str:
    """The text of a config file. Raises `RatespikeError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        raise RatespikeError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RatespikeError(f"{path}: cannot be read: {error}") from None


def dumps(config: DataclassInstance) -> str:
    """A config as TOML; `loads` gives the same object back."""
    import tomli_w

    return tomli_w.dumps(_without_none(dataclasses.asdict(config)))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, dict) else v for k, v in values.items() if v is not None}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings merged, `over` winning: flags over a config file, say."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return result


def check_choices(config: DataclassInstance, section: str = "") -> None:
    """Refuse a value that is none of its field's choices.

    Raises:
        UsageError: the message names the field, behind its `section`.
    """
    for field in dataclasses.fields(config):
        choices, value = field.metadata.get("choices", ()), getattr(config, field.name)
        if choices and value not in choices:
            name = f"{section}.{field.name}" if section else field.name
            raise UsageError(f"{name}: must be one of {', '.join(choices)}, got {value!r}")


def check_kinds(config: DataclassInstance) -> None:
    """Refuse values that are not of their field's type, or none of its choices, in a config that was made in Python.

    Raises:
        UsageError: the message names the field.
    """
    kinds: dict[type[Any], tuple[Any, str]] = {
        bool: (bool, "True or False"),
        int: (Integral, "a whole number"),
        float: (Real, "a finite plain number"),
        str: (str, "a text"),
    }
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        kind, text = kinds.get(hints[field.name], (object, ""))
        value = getattr(config, field.name)
        wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind in (Integral, Real))
        if wrong or (kind is Real and not math.isfinite(value)):
            raise UsageError(f"{field.name}: must be {text}, got {value!r}")
    check_choices(config)


def differences(one: DataclassInstance, other: DataclassInstance) -> list[str]:
    """Dotted names of the fields in which two configs differ."""
    return differences_of(dataclasses.asdict(one), dataclasses.asdict(other))


def differences_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted names of the entries in which two nested mappings differ."""
    flat_one, flat_other = flat(one), flat(other)
    return sorted(k for k in flat_one.keys() | flat_other.keys() if flat_one.get(k) != flat_other.get(k))


def names_of(values: Mapping[str, Any]) -> set[str]:
    """Dotted names of the entries of a nested mapping."""
    return set(flat(values))


def flat(values: Any, separator: str = ".", *, lists: bool = False, name: str = "") -> dict[str, Any]:
    """The entries of nested mappings by their dotted names; of `lists`, too, by their numbers."""
    if isinstance(values, dict):
        items: Iterable[tuple[Any, Any]] = values.items()
    elif lists and isinstance(values, list):
        items = enumerate(values)
    else:
        return {name: values}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, separator, lists=lists, name=f"{name}{separator}{key}" if name else str(key))
    return found
