"""Which runs make a condition: those of one name that differ in their seed alone, and what tells conditions apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from foundation.errors import UsageError

IRRELEVANT = ("run.seed", "run.device", "run.compile", "run.checkpoint_every")
"""Settings that make no other condition."""


class Identity(Protocol):
    """What a run is known by: its folder, what it is in words, and its seed."""

    @property
    def run(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def seed(self) -> int: ...


Run = TypeVar("Run")


def grouped(
    runs: Sequence[Run],
    name: Callable[[Run], str],
    identity: Callable[[Run], Identity],
    differences: Callable[[Run, Run], Collection[str]],
) -> dict[str, list[list[Run]]]:
    """The runs by name and condition, as they come.

    Args:
        runs: any.
        name: of a run's condition; there may be several of one name.
        identity: of a run.
        differences: the settings in which two runs of one name differ, but for the seed.

    Raises:
        UsageError: two runs of one condition and seed.
    """
    groups: dict[str, list[list[Run]]] = {}
    for run in runs:
        same = groups.setdefault(name(run), [])
        condition = next((each for each in same if not differences(each[0], run)), None)
        if condition is None:
            same.append([run])
            continue
        for other in condition:
            one, two = identity(other), identity(run)
            if one.seed == two.seed:
                raise UsageError(f"{one.run} and {two.run}: the same network, {name(run)}, twice")
        condition.append(run)
    return groups


def label(name: str, settings: Mapping[str, Any], names: Collection[str]) -> str:
    """The name, and behind it the values of the settings with these dotted names."""
    values = []
    for path in sorted(names):
        if path == "run.epochs" and "epochs" in names:
            continue  # those that are done count
        value: Any = settings
        for part in path.split("."):
            value = value.get(part, "none") if isinstance(value, Mapping) else "none"
        word = path.rpartition(".")[2].replace("_", " ")
        counted = word.removesuffix("s") if value == 1 else word
        values.append(f"{value} {counted}" if word in ("epochs", "layers") else f"{word} {value}")
    return f"{name} ({', '.join(values)})" if values else name
