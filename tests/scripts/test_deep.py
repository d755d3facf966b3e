"""`ratespike deep lpl`: the original program's flags, and what is refused before any work."""

import json
from pathlib import Path

import pytest

from foundation import config as configs
from ratenets.lpl.config import LPLConfig

ORIGINAL = [  # every flag of lpl_main.py that takes part in a training run, in kebab case
    *("--random-seed", 7, "--experiment-name", "mine", "--verbose-printing", "--encoder", "mlp", "--dataset", "digits"),
    *("--max-epochs", 2, "--max-steps", -1, "--optimizer", "sgd", "--batch-size", 100, "--learning-rate", 1e-3),
    *("--weight-decay", 1e-6, "--warmup-epochs", 1, "--start-lr", 0, "--final-lr", 1e-6, "--fp32", "--num-nodes", 1),
    *("--gpus", 1, "--num-workers", 16, "--fast-dev-run", 1, "--use-projector-mlp", "--projection-size", 8),
    *("--mlp-hidden-size", 9, "--pull-coeff", 1, "--push-coeff", 1, "--decorr-coeff", 10, "--stale-estimates"),
    *("--no-biases", "--shuffle-positives", "--train-end-to-end"),
]


def test_the_flags_of_the_original_program_are_understood(run, tmp_path):
    out = tmp_path / "run"
    status, said, errors = run("deep", "lpl", *ORIGINAL, "--hidden", "8,6", "--out", out)
    assert status == 0, errors
    for idle in ("experiment-name", "gpus", "num-nodes", "num-workers", "fast-dev-run", "fp32", "verbose-printing"):
        assert f"--{idle}: a flag of the original program, without effect here" in errors
    config = configs.loads(LPLConfig, (out / "config.toml").read_text())
    assert (config.run.seed, config.run.epochs, config.run.max_steps, config.data) == (7, 2, 0, "digits")
    assert (config.optimizer, config.loss.projection_size, config.loss.mlp_hidden_size) == ("sgd", 8, 9)
    assert config.loss.end_to_end
    assert config.loss.stale_estimates
    assert config.loss.shuffle_positives
    assert not config.encoder.biases
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert {name for name in lines[0] if "/" in name} == {f"layer2/{term}" for term in ("pull", "push", "decorr")}
    assert "layer" in said
    status, _, errors = run("deep", "lpl", "--resume-from-checkpoint", "--out", out)
    assert status == 0, errors
    assert run("deep", "lpl", *ORIGINAL, "--out", out)[0] == 2  # a run is there already


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--encoder", "resnet"], "learns end to end only: --train-end-to-end"),
        (["--no-pooling"], "an mlp has no maps"),
        (["--no-pooling", "--train-end-to-end"], "layer-local, not end to end"),
        (["--no-pooling", "--use-projector-mlp"], "stands on the pooled code"),
        (["--stale-estimates", "--no-pooling"], "stale estimates are of the pooled code"),
        (["--stale-estimates", "--train-with-supervision"], "only LPL's Hebbian term has stale estimates"),
        (["--stale-estimates", "--use-negative-samples", "--decorr-coeff", 0], "only LPL's Hebbian term"),
        (["--use-negative-samples"], "--decorr-coeff 0"),
        (["--use-negative-samples", "--train-with-supervision", "--decorr-coeff", 0], "exclude each other"),
        (["--encoder", "vgg"], "vgg needs 32 x 32 pixels or more, got 8 x 8"),
        (["--encoder", "alexnet"], "alexnet needs 32 x 32 pixels"),
        (["--encoder", "alexnet", "--no-biases"], "alexnet has them as published"),
        (["--greedy", "--train-end-to-end"], "local, not end to end"),
        (["--greedy", "--epochs", 3], "4 layers need as many epochs at least, got 3"),
        (["--batch-size", 1], "variances over a batch of two or more"),
        (["--held-out", 1296], "digits has 1297 training images"),
        (["--train-images", 5000], "there are 1297 to learn from"),
        (["--pretrained"], "there are published weights for resnet only"),
        (["--views", "films"], "'--views': 'films' is not one of 'affine', 'paper'"),
        (["--max-steps", -2], "max_steps: must not be negative"),
        (["--optimizer", "lion"], "'--optimizer': 'lion' is not one of 'adam', 'sgd'"),
        (["--epochs", 2, "--max-epochs", 1], "--max-epochs 1: is the original's name of --epochs, which is 2"),
        (["--pull-coeff", 0, "--push-coeff", 0, "--decorr-coeff", 0], "there is nothing to learn"),
        (["--greedy", "--max-steps", 9], "the upper layers would never learn"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_with_the_reason(run, tmp_path, monkeypatch, options, reason):
    monkeypatch.chdir(tmp_path)
    status, said, errors = run("deep", "lpl", *options, "--out", "run")
    assert (status, said, len(errors.strip().splitlines())) == (2, "", 1), errors
    assert reason in " ".join(errors.split())
    assert not Path("run").exists()


def test_a_run_of_another_configuration_is_refused(run, tmp_path):
    out = tmp_path / "run"
    command = ["deep", "lpl", "--hidden", "6,5", "--train-images", 60, "--batch-size", 30, "--out", out]
    assert run(*command, "--epochs", 1)[0] == 0
    status, _, errors = run(*command, "--epochs", 2, "--pull-coeff", 0, "--resume")
    assert status == 2
    assert "is a run of another configuration, it differs in loss.coefficients.pull" in errors
    before = (out / "checkpoint.pt").read_bytes()
    (out / "checkpoint.pt").write_bytes(before[: len(before) // 2])
    status, _, errors = run("deep", "lpl", "--resume", "--epochs", 2, "--out", out)
    assert status == 1
    assert "damaged" in errors
