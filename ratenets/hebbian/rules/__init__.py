"""The rules: a new one is a file beside these, and a line in `ratenets.hebbian.config.RULE_CLASSES`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from ratenets.hebbian.config import RULE_CLASSES
from ratenets.hebbian.rules.rule import Rule


def _class(place: str) -> type[Rule]:
    file, name = place.split(".")
    found: type[Rule] = getattr(import_module(f"{__name__}.{file}"), name)
    return found


RULES: Mapping[str, type[Rule]] = MappingProxyType({name: _class(place) for name, place in RULE_CLASSES.items()})
"""By the names of `ratenets.hebbian.config.RULE_NAMES`."""
