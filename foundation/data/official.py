"""Is a file the official one, and if not, what is wrong with it?"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from foundation.data.catalogue import DATASETS, Dataset, OfficialFile
from foundation.errors import RatespikeError


def mending_command(dataset: Dataset, root: Path | None) -> str:
    """The command that gets the dataset to where it is looked for; `root` is what the user gave, if anything."""
    command = f"ratespike data get {dataset.name}"
    return f"`{command}`" if root is None else f"`{command} --root {shlex.quote(str(root))}`"


def read_official(path: Path, file: OfficialFile) -> bytes:
    """The content of `path`, which is known to be `file` byte by byte.

    Raises `RatespikeError` that names the path and says what is wrong: missing, unreadable, cut short, too long,
    another official file under this name, or corrupt. Never reads more than the official size and one byte.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(file.size + 1)
        if len(content) == file.size and md5(content) == file.md5:
            return content
        raise RatespikeError(f"{path}: {_what_is_wrong(path, file)}")
    except FileNotFoundError:
        raise RatespikeError(f"{path}: missing") from None
    except OSError as error:
        raise RatespikeError(f"{path}: cannot be read ({error.strerror})") from None


def cheap_fault(path: Path, file: OfficialFile) -> str | None:
    """What existence and size tell about `path` without reading it: None if nothing is wrong."""
    if not path.is_file():
        return f"{path.name} missing"
    size = path.stat().st_size
    return None if size == file.size else f"{path.name} has {size:,} bytes instead of {file.size:,}"


def md5(content: bytes) -> str:
    """The md5 as hexadecimal text. It guards against accidents and mix-ups, and is what the authors published."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _what_is_wrong(path: Path, file: OfficialFile) -> str:
    size = path.stat().st_size
    for dataset in DATASETS.values():
        for other in dataset.files:
            if other.size == size and other != file and md5(path.read_bytes()) == other.md5:
                return f"holds {other.name} of {dataset.name} instead of {file.name}"
    if size < file.size:
        return f"cut short, {size:,} bytes instead of {file.size:,}"
    if size > file.size:
        return f"too long, {size:,} bytes instead of {file.size:,}"
    return f"corrupt, its md5 is not the official {file.md5}"
