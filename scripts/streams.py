"""The standard streams, such that a command's work does not depend on who listens to what it says."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

NAMES = {0: "standard input", 1: "standard output", 2: "standard error"}


class Stream:
    """A stream whose failures are those of that stream by name; one that nobody listens to any more is given up.

    Args:
        stream: what is written to.
        number: its file descriptor.
        needed: a failure ends the command. What is said on the way, such as progress, is not worth that.
    """

    def __init__(self, stream: TextIO, number: int, *, needed: bool) -> None:
        self._stream, self._number, self._needed = stream, number, needed

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        """Write what is kept back."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if self._needed:
            raise OSError(error.errno, error.strerror, NAMES[self._number]) from error
        give_up(self._number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def give_up(number: int) -> None:
    """Let what is still to be written to a stream go nowhere: the interpreter would fail once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def open_streams() -> None:
    """Make the standard streams those of a command: all are open, take any file name, and say what fails."""
    for number in NAMES:
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would get its number, and what is said would go there
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            stream = os.fdopen(number, "w", closefd=False)
        if isinstance(stream, Stream) or not hasattr(stream, "reconfigure"):  # tests put others in its place
            continue
        stream.reconfigure(errors="backslashreplace")  # names of files may be no text
        setattr(sys, name, Stream(stream, number, needed=number == 1))
