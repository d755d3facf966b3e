"""JSON files of ours: of a kind and a version, checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from foundation.errors import RatespikeError, UsageError
from foundation.files import check_file
from foundation.text import check_texts, one_line

Content = TypeVar("Content")

DAMAGE = (OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, UsageError)
"""What building something from the content of a file raises, if that is not as it should be."""


def parse_json(text: str | bytes) -> Any:
    """What a text in JSON says. Raises ValueError for any other, and for one that holds what cannot be printed."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    check_texts(content)
    return content


def read_json(
    path: Path, kind: str, version: int | None, command: str, build: Callable[[dict[str, Any]], Content]
) -> Content:
    """What `build` makes of a file's content.

    Args:
        path: of the file.
        kind: what stands under "kind" there.
        version: what stands under "format"; None: the kind has one alone.
        command: that writes such files, for the messages.
        build: from the content; what it raises of `DAMAGE` means that the file is damaged.

    Raises:
        RatespikeError: no such file, one of another kind or version, or damaged.
    """
    check_file(path)
    try:
        content = parse_json(path.read_bytes())
        held = content.get("kind") if isinstance(content, dict) else None
        if held != kind:
            what = f"a file of {one_line(held)}" if isinstance(held, str) else "a JSON file of something else"
            raise RatespikeError(f"{path}: is {what}, not a file of `{command}`")
        if content.get("format") != version:
            form = f"its format is {one_line(content.get('format'))}, not {version}"
            raise RatespikeError(f"{path}: not a file of `{command}` of this version ({form})")
        return build(content)
    except DAMAGE as error:
        raise RatespikeError(f"{path}: damaged, or not a file of `{command}` ({one_line(error)})") from None
