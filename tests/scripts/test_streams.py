"""What a command does when nobody listens, when it is interrupted, and when names are no text."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAIN = "from ratespike.cli import main; main()"
COMMAND = f'"{sys.executable}" -c "{MAIN}"'
TRAIN = f"{COMMAND} deep lpl --data digits --epochs 1 --train-images 256 --hidden 4 --out run"


def shell(line: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
    )


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "silenced", ["2>&-", *(pytest.param(each, marks=SLOW) for each in ("2>/dev/full", "2> >(exec true)"))]
)
def test_a_training_does_not_need_a_standard_error(silenced, tmp_path):
    done = shell(f"{TRAIN} {silenced}", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "run: trained for 1 epochs" in done.stdout
    assert not [path for path in tmp_path.iterdir() if path.name != "run"]


@SLOW
def test_what_is_closed_is_not_written_into_a_file(tmp_path):
    assert shell(f"{TRAIN} >&- 2>&- <&-", tmp_path).returncode == 0
    for file in (tmp_path / "run").iterdir():
        if file.is_file():
            assert b"trained for" not in file.read_bytes()


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    done = shell(f"{COMMAND} deep lpl --help | exec true", tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""


def test_an_output_that_is_full_is_one_line(tmp_path):
    done = shell(f"{COMMAND} deep lpl --help > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "ratespike: standard output: No space left on device\n"


@SLOW
def test_figures_need_no_screen(tmp_path):
    done = shell(f"{COMMAND} figure augmentations digits --out views.png", tmp_path, MPLBACKEND="nonsense")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "views.png").stat().st_size > 0


def test_an_interrupt_amid_imports_is_one_line(tmp_path):
    """Whatever is imported: the command is stopped at several times while it is."""
    line = [
        sys.executable,
        "-c",
        MAIN,
        *["deep", "lpl", "--data", "digits", "--epochs", "1", "--out", "run", "--train-images", "2"],
    ]
    for seconds in (0.6, 1.2):
        running = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(seconds)
        running.send_signal(2)
        _, said = running.communicate(timeout=60)
        assert "Traceback" not in said.replace("site.py", ""), said
        assert running.returncode in (130, 0), said


@pytest.mark.parametrize("stage", [pytest.param("KeyboardInterrupt", marks=SLOW), "ImportError('numpy: interrupted')"])
def test_an_import_that_an_interrupt_breaks_is_one_line(stage, tmp_path):
    code = (
        "import os, signal, sys, builtins\n"
        "from ratespike.cli import main\n"
        "real = builtins.__import__\n"
        "def broken(name, *rest, **more):\n"
        "    if name.startswith('ratenets.lpl.training'):\n"
        "        try: os.kill(os.getpid(), signal.SIGINT)\n"
        f"        except KeyboardInterrupt: raise {stage}\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = broken\n"
        "sys.argv = ['ratespike', 'deep', 'lpl', '--out', 'x']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 130
    assert done.stderr.split() == ["stopped"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("deep lpl --data digits --epochs 1 --train-images 256 --hidden 4 --out r?", 0),
        ("deep readout none?", 1),
        ("deep lpl --config none? --out x", 1),
        ("deep lpl --initial-weights none? --out x", 2),
        ("figure stdp none? --out x.png", 1),
        ("spike summary none?", 1),
        ("spike network --rates none? --out x.h5", 1),
        ("bridge simulate none?", 1),
        ("bridge export none? --format nir --out x", 1),
        ("data list --root none?", 0),
        ("deep toy --experiment rule --out r?.json", 0),
    ],
)
def test_names_that_are_no_text_are_names(arguments, status, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    found, _, errors = run(*(word.replace("?", "\udcff") for word in arguments.split()))
    assert found == status, errors
    if "r?" in arguments:
        assert any(os.fsencode(path.name).startswith(b"r\xff") for path in tmp_path.iterdir())


@SLOW
def test_a_run_in_a_folder_whose_name_is_no_text_is_used_like_any_other(tmp_path):
    assert shell(TRAIN.replace("--out run", "--out $'r\\xff'"), tmp_path).returncode == 0
    for line in (
        "deep readout $'r\\xff' --protocol few-labels --labels 10 --draws 1 --json $'o\\xff.json'",
        "bridge convert $'r\\xff' --images 5 --steps 2 --calibration 20 --out $'n\\xff.h5' --json j.json",
        "bridge simulate $'n\\xff.h5' --images 5 --steps 2",
    ):
        done = shell(f"{COMMAND} {line}", tmp_path)
        assert done.returncode == 0, done.stderr
