"""Text that others wrote, on its way to a terminal, a name, a folder or the source of a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foundation.errors import UsageError

LONGEST_NAME = 120
"""Characters of the name of a layer, a population, a task."""
LAYOUT = "\n\t"
"""What a text of several lines may hold, other than what can be printed."""


def one_line(value: object, most: int = 160) -> str:
    """What a text from a file or an error says, in one line of at most that many characters, all of them printable.

    Whatever else it holds (a terminal's commands, a change of the direction of writing) becomes a question mark.
    """
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))
    text = text or ("" if isinstance(value, str) else type(value).__name__)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_name(what: str, name: str) -> None:
    """Refuse a name that cannot be part of a path, or not be printed, or is longer than a name should be.

    Args:
        what: it names, for the error.
        name: as it stands in the file.

    Raises:
        UsageError: the message shows it in one line.
    """
    if not name.isprintable() or not name.strip() or len(name) > LONGEST_NAME:
        wanted = f"of 1 to {LONGEST_NAME} characters, all of which can be printed"
    elif name in (".", "..") or set(name) & set("/\\"):
        wanted = "of one part, without / and \\"
    else:
        return
    raise UsageError(f"{what}: should have a name {wanted}, has {one_line(name, 60)!r}")


def check_names(what: str, names: Iterable[str]) -> None:
    """Refuse any such name. Raises as `check_name`."""
    for name in names:
        check_name(what, name)


def check_texts(content: Any, where: str = "") -> None:
    """Refuse texts in nested lists and mappings that hold what cannot be printed; lines and tabs may be.

    Raises:
        ValueError: the message says where.
    """
    left = [(where, content)]
    while left:
        place, value = left.pop()
        if isinstance(value, str):
            check_text(value, place)
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                check_text(str(key), place)
                left.append((f"{place}.{key}" if place else str(key), inner))
        elif isinstance(value, list | tuple):
            left += [(place, inner) for inner in value]


def check_text(text: str, where: str = "") -> None:
    """Refuse a text that holds what cannot be printed, other than lines and tabs. Raises ValueError."""
    if not text.isprintable() and not all(c.isprintable() or c in LAYOUT for c in text):
        place = f"{one_line(where)}: " if where else ""
        raise ValueError(f"{place}a text with a character that cannot be printed, {one_line(text, 40)!r}")


def in_docstring(text: str) -> str:
    """A text as it may stand between triple quotes in the source of a program, in one line, without an end of them."""
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')
