"""JSON files of ours: of a kind and a version, checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from foundation.errors import RatespikeError, UsageError

Content = TypeVar("Content")

DAMAGE = (OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, UsageError)
"""What building something from the content of a file raises, if that is not as it should be."""


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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or (content.get("kind"), content.get("format")) != (kind, version):
            raise RatespikeError(f"{path}: not a file of `{command}` of this version")
        return build(content)
    except FileNotFoundError:
        raise RatespikeError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise RatespikeError(f"{path}: damaged, or not a file of `{command}` ({error})") from None
