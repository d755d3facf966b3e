"""A folder for programs that are made and run, which goes with this process, and they with it, even if it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

from foundation.stopping import stop_requests

# Reads which group of processes is at work (or none), until the pipe from its parent closes: then that has ended.
WATCH = """trap '' INT TERM HUP
while read -r line; do group=$line; done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"""
START = 'read -r _ && exec "$@"'  # nothing begins before the watcher knows of it


class Scratch:
    """A folder, and what runs in it.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, watcher: IO[str] | None) -> None:
        self.path, self._watcher = path, watcher

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a program in the folder, and wait for its end.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM, to us or to the program, which has ended.
        """
        process = subprocess.Popen(
            ["/bin/sh", "-c", START, "sh", *command],
            cwd=self.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._tell(str(process.pid))
        try:
            with stop_requests(then=partial(_end, process.pid)) as stopped:
                if stopped():
                    raise KeyboardInterrupt
                output, errors = process.communicate("\n")
                if stopped() or process.returncode in (-signal.SIGINT, -signal.SIGTERM):
                    raise KeyboardInterrupt
        finally:
            if process.returncode is None:
                _end(process.pid)
                process.communicate()
            self._tell("")
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def _tell(self, group: str) -> None:
        if self._watcher is not None:
            with suppress(OSError):  # somebody killed the watcher
                self._watcher.write(f"{group}\n")
                self._watcher.flush()


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A temporary folder that is gone with the context, or soon after the end of this process, however that comes."""
    folder = Path(tempfile.mkdtemp(prefix="ratespike-"))
    watcher: subprocess.Popen[str] | None = None
    with suppress(OSError):  # a system without a shell: then without a watcher
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, "sh", folder], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
    try:
        yield Scratch(folder, watcher.stdin if watcher else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if watcher is not None and watcher.stdin is not None:
            with suppress(OSError):
                watcher.stdin.close()
            watcher.wait()


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
