"""Training on two processes gives what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from ratenets.run_folder import CHECKPOINT, METRICS

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_the_gradient_of_every_loss_does_not_depend_on_the_number_of_processes():
    command = [*TORCHRUN, str(Path(__file__).parent / "two_processes.py")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_run_on_two_processes_ends_where_one_ends_and_goes_on_alone(tmp_path):
    """Dense layers in float64; the second run is stopped in the middle, and one process ends it."""
    options = ["--hidden", "8,6", "--precision", "float64", "--train-images", "301", "--batch-size", "100"]
    command = ["-m", "ratespike.cli", "deep", "lpl", *options]

    def run(*words: str) -> None:
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]

    run(sys.executable, *command, "--epochs", "3", "--out", str(tmp_path / "one"))
    run(*TORCHRUN, *command, "--epochs", "2", "--out", str(tmp_path / "two"))
    run(sys.executable, *command, "--epochs", "3", "--resume", "--out", str(tmp_path / "two"))
    one, two = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("one", "two"))
    for name, weight in one["network"].items():
        torch.testing.assert_close(two["network"][name], weight, rtol=1e-9, atol=1e-11)
    lines = [(tmp_path / name / METRICS).read_text().splitlines() for name in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 3
    first, second = (json.loads(each[1]) for each in lines)
    assert abs(first["layer1/push"] - second["layer1/push"]) < 1e-9
