"""A few faults of every kind; `python tests/faults` has hundreds."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name", ["spike network", *(pytest.param(name, marks=pytest.mark.slow) for name in ("deep lpl", "bridge export"))]
)
def test_faults_lose_nothing_and_leave_nothing(name: str) -> None:
    command = [sys.executable, str(Path(__file__).parent), "--only", name, "--mutants", "0"]
    few = ["--every", "16", "--kills", "2", "--full", "2", "--twice", "2"]
    done = subprocess.run([*command, *few], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    kinds = ("killed at a change", "killed at random", "full disk", "two at once")
    assert all(f"| {name} | {kind} | " in done.stdout for kind in kinds), done.stdout
