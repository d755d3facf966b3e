"""A process that is killed while it writes."""

from pathlib import Path
from typing import Any

from foundation.files import write_bytes


class KilledError(BaseException):
    """Stands for the end of the process."""


def write_then_die(writes: int) -> Any:
    """In place of `foundation.files.write_bytes`: the last of so many writes leaves half of a file that is not seen."""
    left = [writes]

    def write(path: Path, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / f".{path.stem}-xyz.part{path.suffix}").write_bytes(content[: len(content) // 2])
            raise KilledError
        write_bytes(path, content)

    return write
