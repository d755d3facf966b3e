"""The C++ compiler of this machine: whether there is one, and whether it works."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
from functools import cache
from pathlib import Path

from foundation.errors import RatespikeError
from foundation.scratch import Scratch, scratch

TRIAL = """#include <cmath>
#include <vector>
extern "C" int trial() { return int(std::vector<double>(3, std::sqrt(4.0)).size()); }
"""
LIBRARY = ("-std=c++17", "-fPIC", "-shared")


def compiler() -> list[str] | None:
    """The C++ compiler of $CXX, or g++, if it is found."""
    try:
        command = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    except ValueError:  # a quotation without an end
        return None
    return command if shutil.which(command[0]) else None


def trouble() -> str:
    """Why no C++ program can be made here, in a line; nothing, if one can: it is tried, once in a process."""
    command = compiler()
    return "no C++ compiler (g++) found" if command is None else _trial(tuple(command))


@cache
def _trial(command: tuple[str, ...]) -> str:
    with scratch() as where:
        try:
            made = compile_library([*command, *LIBRARY], TRIAL, where)
        except RatespikeError as error:
            return str(error)
        try:
            return "" if ctypes.CDLL(str(made)).trial() == 3 else f"{command[0]} makes programs that are wrong"
        except OSError:  # a temporary folder from which nothing is run; the cache folder may do
            return ""


def compile_library(command: list[str], source: str, where: Scratch) -> Path:
    """Make a shared library of a C++ source, in a scratch folder.

    Raises:
        RatespikeError: the compiler fails; the message is its first error.
    """
    made, text = where.path / "program.so", where.path / "program.cpp"
    text.write_text(source)
    done = where.run([*command, "-o", made, text])
    if done.returncode or not made.is_file():
        lines = done.stderr.strip().splitlines() or ["without a word"]
        reason = next((line for line in lines if "error" in line), lines[0])
        raise RatespikeError(f"{command[0]} fails: {reason}")
    return made
