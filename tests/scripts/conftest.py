"""The command line, in this process."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

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
    """The same for fixtures that several tests share; what `tests.scripts.test_streams` says is of real processes."""
    from ratespike.cli import main

    def call(*arguments: object) -> "subprocess.CompletedProcess[str]":
        out, errors, status = StringIO(), StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            patch.setattr(sys, "argv", ["ratespike", *map(str, arguments)])
            try:
                main()
            except SystemExit as stop:
                status = int(stop.code or 0)
        return subprocess.CompletedProcess(sys.argv, status, out.getvalue(), errors.getvalue())

    return call
