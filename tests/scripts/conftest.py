"""The command line, in this process and in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `ratespike` in this process, where imports are paid once: status, standard output, standard error."""
    from ratespike.cli import main

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("RATESPIKE_DATA", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ratespike", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def shell() -> Shell:
    """Call `ratespike` as a process of its own."""

    def call(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from ratespike.cli import main; main()", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    return call
