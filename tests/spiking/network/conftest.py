"""NEST as an oracle: an environment of its own, not a dependency of this project.

To make it, and to run the tests that need it::

    python3.11 -m venv ~/nest
    ~/nest/bin/pip install nest-simulator==3.10.0 numpy
    RATESPIKE_NEST=~/nest/bin/python pytest -m slow tests/spiking/network
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "nest_script.py"

Ask = Callable[..., list[dict[str, Any]]]
"""Takes a kind of question and what each of several questions says; see `nest_script`."""


@pytest.fixture(scope="session")
def nest_python() -> str:
    """The path of a Python that has NEST, from the environment variable RATESPIKE_NEST."""
    python = os.environ.get("RATESPIKE_NEST", "")
    if not python:
        pytest.skip("RATESPIKE_NEST is not set: the path of a Python that can import nest")
    found = subprocess.run([python, "-c", "import nest"], capture_output=True, text=True, timeout=120, check=False)
    if found.returncode:
        pytest.skip(f"{python} cannot import nest: {found.stderr[-200:]}")
    return python


@pytest.fixture
def ask_nest(nest_python: str, tmp_path: Path) -> Ask:
    """Ask NEST several questions of one kind, in one process of its own."""

    def ask(kind: str, *questions: dict[str, Any]) -> list[dict[str, Any]]:
        question, answer = tmp_path / "question.json", tmp_path / "answer.json"
        question.write_text(json.dumps([[kind, each] for each in questions]))
        command = [nest_python, str(SCRIPT), str(question), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        answers: list[dict[str, Any]] = json.loads(answer.read_text())
        assert len(answers) == len(questions) > 0
        return answers

    return ask
