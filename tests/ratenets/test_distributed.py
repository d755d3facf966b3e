"""Training on two processes gives what one gives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ratenets.run_folder import CHECKPOINT, METRICS


def torchrun(processes: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_the_gradient_of_every_loss_does_not_depend_on_the_number_of_processes():
    command = [*torchrun(2), str(Path(__file__).parent / "two_processes.py")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_a_run_on_three_processes_ends_where_one_ends_and_goes_on_alone(tmp_path):
    """Dense layers in float64. The last batch has two images, so that nothing is left for one process."""
    options = ["--hidden", "8,6", "--precision", "float64", "--train-images", "302", "--batch-size", "100"]
    command = ["-m", "ratespike.cli", "deep", "lpl", *options]

    def run(*words: str) -> None:
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]

    run(sys.executable, *command, "--epochs", "3", "--out", str(tmp_path / "one"))
    run(*torchrun(3), *command, "--epochs", "2", "--out", str(tmp_path / "two"))
    run(sys.executable, *command, "--epochs", "3", "--resume", "--out", str(tmp_path / "two"))
    one, two = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("one", "two"))
    for name, weight in one["network"].items():
        # Adam divides by the gradient's size: where that is nearly 0, so is what rounding changes of it.
        torch.testing.assert_close(two["network"][name], weight, rtol=1e-6, atol=1e-8)
    lines = [(tmp_path / name / METRICS).read_text().splitlines() for name in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 3
    first, second = (json.loads(each[1]) for each in lines)
    assert abs(first["layer1/push"] - second["layer1/push"]) < 1e-9


@pytest.mark.slow
def test_several_processes_stop_together_and_go_on(tmp_path):
    """SIGTERM to the launcher: all agree, the first writes, and one process alone ends the run."""
    options = ["--hidden", "8,6", "--batch-size", "50", "--epochs", "400", "--out", str(tmp_path / "run")]
    command = [*torchrun(2), "-m", "ratespike.cli", "deep", "lpl", *options]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as launcher:
        deadline = time.monotonic() + 60
        metrics = tmp_path / "run" / METRICS
        while not (metrics.is_file() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.2)
        launcher.terminate()
        _, errors = launcher.communicate(timeout=60)
    assert "--resume goes on from there" in errors
    assert "Connection closed by peer" not in errors
    done = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["epoch"]
    assert 0 < done < 400
    assert len(metrics.read_text().splitlines()) == done
