"""`ratespike deep butd`, `deep butd-results` and `figure butd`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation import config as configs
from ratenets.butd.config import ButdConfig

SMALL = ["--data", "multi-digits", "--network", "fc", "--hidden", 12, "--train-images", 60, "--batch-size", 25]


def test_several_seeds_are_trained_tabulated_and_drawn_and_go_on(run, tmp_path):
    out = tmp_path / "runs"
    options = [*SMALL, "--epochs", 1, "--learning", "counter-hebb", "--weights", "separate", "--seeds", 2, "--out", out]
    status, said, errors = run("deep", "butd", *options)
    assert status == 0, errors
    assert {path.name for path in out.iterdir()} == {"seed-0", "seed-1", "results.json"}
    assert {path.name for path in (out / "seed-1").iterdir()} == {
        *("config.toml", "checkpoint.pt", "metrics.jsonl", "start.json", "tensorboard")
    }
    assert "2 seeds: means" in said
    assert "core.1" in said
    content = json.loads((out / "results.json").read_text())
    assert [each["seed"] for each in content["runs"]] == [0, 1]
    assert [each["epoch"] for each in content["runs"][0]["history"]] == [0, 1]
    status, said, errors = run("figure", "butd", out / "results.json", "--out", tmp_path / "butd.png")
    assert (status, (tmp_path / "butd.png").stat().st_size > 10_000) == (0, True), errors
    status, said, errors = run("deep", "butd", "--resume", "--epochs", 2, "--seeds", 3, "--out", out)
    assert status == 0, errors
    content = json.loads((out / "results.json").read_text())
    assert [(each["seed"], each["epochs"]) for each in content["runs"]] == [(0, 2), (1, 2), (2, 2)]
    assert "3 seeds: mean ± 95 % confidence interval" in said
    status, _, errors = run("deep", "butd", "--resume", "--seeds", 2, "--epochs", 2, "--out", out)
    assert status == 0, errors
    assert json.loads((out / "results.json").read_text()) == content  # the third is still there
    status, table, errors = run("deep", "butd-results", out, "--json", tmp_path / "all.json")
    assert status == 0, errors
    assert table in said
    assert json.loads((tmp_path / "all.json").read_text()) == content
    assert run("deep", "butd", *options)[0] == 2  # runs are there already


def test_one_run_has_all_files_in_its_folder_and_begins_where_another_ended(run, tmp_path):
    out = tmp_path / "run"
    status, _, errors = run("deep", "butd", "--data", "digits", "--hidden", 9, "--epochs", 1, "--out", out)
    assert status == 0, errors
    assert {path.name for path in out.iterdir()} == {
        *("config.toml", "checkpoint.pt", "metrics.jsonl", "start.json", "tensorboard", "results.json")
    }
    again = ["deep", "butd", "--data", "digits", "--hidden", 9, "--epochs", 0, "--initial-weights", out]
    status, said, errors = run(*again, "--out", tmp_path / "more")
    assert status == 0, errors
    assert "tensors taken" in said
    first, second = (json.loads((path / "results.json").read_text())["runs"][0] for path in (out, tmp_path / "more"))
    assert second["history"][0]["test"] == first["history"][-1]["test"]
    out.rename(tmp_path / "elsewhere")  # what a run began with is not needed any more
    status, _, errors = run("deep", "butd", "--resume", "--epochs", 1, "--out", tmp_path / "more")
    assert status == 0, errors
    more = json.loads((tmp_path / "more" / "results.json").read_text())["runs"][0]["history"]
    assert [each["epoch"] for each in more] == [0, 1]
    assert more[0] == second["history"][0]


@pytest.mark.slow
def test_two_processes_leave_the_results_of_one(run, tmp_path):
    options = ["deep", "butd", *SMALL, "--epochs", 1, "--learning", "counter-hebb", "--precision", "float64"]
    assert run(*options, "--out", tmp_path / "one")[0] == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "ratespike.cli", *map(str, options), "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / name / "results.json").read_text())["runs"][0] for name in ("one", "two"))
    assert two["history"] == one["history"]
    assert two["subnetworks"] == one["subnetworks"]


def test_results_are_of_one_condition_and_as_far_as_the_checkpoints_go(run, tmp_path):
    out = tmp_path / "runs"
    options = ["deep", "butd", "--data", "digits", "--hidden", 9, "--seeds", 2, "--out", out]
    assert run(*options, "--epochs", 1)[0] == 0
    (out / ".results-abc.part.json").touch()  # a writer was killed
    with (out / "seed-1" / "metrics.jsonl").open("a") as file:  # and a run, after it had written the line of an epoch
        line = json.loads((out / "seed-1" / "metrics.jsonl").read_text())
        file.write(json.dumps(line | {"epoch": 2, "test/class": 0.99}) + "\n")
    shutil.rmtree(out / "seed-0")  # and another before it had written anything
    (out / "seed-0").mkdir()
    assert run(*options, "--seed", 2, "--epochs", 1)[0] == 0
    found = json.loads((out / "results.json").read_text())["runs"]
    assert [(each["seed"], each["epochs"], len(each["history"])) for each in found] == [(1, 1, 2), (2, 1, 2), (3, 1, 2)]
    status, _, said = run(*options, "--seed", 4, "--train-images", 99)
    assert (status, "is of another condition, it differs in --train-images" in said) == (2, True)
    status, _, said = run("deep", "butd", "--resume", "--seed", 0, "--seeds", 2, "--epochs", 1, "--out", out)
    assert status == 0, said
    assert len(json.loads((out / "results.json").read_text())["runs"]) == 4


def test_a_run_that_goes_on_keeps_its_device(run, tmp_path):
    out = tmp_path / "run"
    assert run("deep", "butd", "--data", "digits", "--hidden", 9, "--epochs", 1, "--out", out)[0] == 0
    config = (out / "config.toml").read_text()
    (out / "config.toml").write_text(config.replace('device = "cpu"', 'device = "cuda:99"'))
    status, _, said = run("deep", "butd", "--resume", "--out", out)
    assert (status, "cuda:99" in said) == (1, True)
    assert run("deep", "butd", "--resume", "--device", "cpu", "--out", out)[0] == 0
    assert (out / "config.toml").read_text() == config


def test_presets_datasets_and_files_of_the_reference_make_the_settings(run, tmp_path):
    def settings(*options: object) -> ButdConfig:
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        status, _, errors = run("deep", "butd", *options, "--train-images", 20, "--epochs", 0, "--out", out)
        assert status == 0, errors
        said.append(errors)
        return configs.loads(ButdConfig, (out / "config.toml").read_text())

    said: list[str] = []
    multi = settings("--preset", "multi_mnist", "--data", "multi-digits")
    assert (multi.learning, multi.weights.regime, multi.guided, multi.batch_size) == ("backprop", "tied", True, 64)
    assert settings("--data", "multi-digits") == multi
    theirs = {
        "learning settings": {
            **{"mtl": False, "ch_learning": True, "task": None, "network_name": "fc net", "shared_weights": True},
            **{"non_linearity_fn": "relu", "loss_name": "MSE", "shared weights comment": "..."},
        },
        "architecture parameters": {"last_hidden_size": 7},
        "data set parameters": {"dataset_name": "mnist", "batch_size": 5},
        "optimizer parameters": {"optimizer_name": "SGD", "lr": 0.01, "epochs": 3},
    }
    file = tmp_path / "their_config.json"
    file.write_text(json.dumps(theirs))
    config = settings("--config", file, "--data", "digits")
    assert (config.loss, config.optimizer, config.weights.regime, config.network.hidden) == ("mse", "sgd", "tied", 7)
    assert "non_linearity_fn: without effect" in said[-1]
    assert "comment" not in said[-1]


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        (["--preset", "imagenet"], 2, "is not one of 'mnist'"),
        (["--data", "digits", "--guided"], 2, "guided: digits has one task"),
        (["--data", "multi-digits", "--no-guided"], 2, "has several tasks: --guided, or --multi-decoder"),
        (["--data", "multi-digits", "--task", "attribute"], 2, "task: multi-digits has left/right"),
        (["--data", "digits", "--network", "resnet19"], 2, "'resnet19' is not one of 'fc', 'simple'"),
        (["--data", "digits", "--network", "conv"], 2, "does not take an input of"),
        (["--data", "digits", "--network", "fc", "--norm"], 2, "resnet18 alone has batch norm"),
        (["--data", "digits", "--weights", "tied", "--feedback-alignment"], 2, "tied weights are one"),
        (["--data", "digits", "--start-noise", 0.1], 2, "is of a symmetric start"),
        (["--data", "digits", "--train-instruction"], 2, "unguided network has no instruction head"),
        (["--data", "digits", "--learning", "backprop", "--update-noise", 0.1], 2, "not of backprop's"),
        (["--data", "digits", "--train-images", 5000], 2, "digits has 1297 to train on"),
        (["--data", "digits", "--initial-weights", "nowhere.pth"], 1, "nowhere.pth: no such file"),
        (["--data", "digits", "--channels", "a"], 2, "is no list of whole numbers"),
        (["--data", "digits", "--initial-weights", "~nobody-of-that-name/x"], 2, "no such home folder"),
        (["--data", "digits", "--momentum", 0.9], 2, "momentum: is of sgd, not of adam"),
        (["--data", "digits", "--hidden", 9223372036854775807], 2, "network.hidden: must be from 0 to"),
        (["--data", "celeba", "--root", "."], 1, "celeba"),
        (["--preset", "mnist", "--config", "x.json"], 2, "the reference's file has all settings"),
        (["--resume"], 2, "no run to resume"),
        (["--resume", "--seeds", 2], 2, "no runs to resume"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(run, tmp_path, monkeypatch, options, status, reason):
    monkeypatch.chdir(tmp_path)
    found, said, errors = run("deep", "butd", *options, "--out", "run")
    assert (found, said, len(errors.strip().splitlines())) == (status, "", 1), errors
    assert reason in " ".join(errors.split())
    assert not Path("run").exists()


def test_a_folder_of_something_else_is_refused(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for options in ([], ["--seeds", 2]):
        status, _, errors = run("deep", "butd", *SMALL, *options, "--out", tmp_path)
        assert status == 2
        assert "choose another --out" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
