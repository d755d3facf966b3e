"""`ratespike deep hebbian` and its figures."""

import json

import pytest

from ratenets.hebbian.config import HebbianConfig
from ratenets.hebbian.results import read_results
from ratenets.run_folder import run_config

SMALL = ["deep", "hebbian", "--data", "digits", "--hidden", 8]


def test_a_run_leaves_its_files_and_is_drawn_and_goes_on(run, tmp_path):
    out = tmp_path / "run"
    options = [*SMALL, "--rule", "hybrid", "--epochs", 2, "--learning-rate", "2e-5,0.1", "--out", out]
    status, said, errors = run(*options)
    assert status == 0, errors
    assert {path.name for path in out.iterdir()} == {
        *("config.toml", "checkpoint.pt", "metrics.jsonl", "tensorboard", "results.json", "pictures.npz")
    }
    assert "hybrid" in said
    config = run_config(HebbianConfig, out)
    assert (config.rule, config.learning_rate, config.hidden) == ("hybrid", (2e-5, 0.1), (8,))
    for name, file in (("", "results.json"), ("-weights", "pictures.npz"), ("-examples", "pictures.npz")):
        figure = tmp_path / f"figure{name}.png"
        status, _, errors = run("figure", f"local-rules{name}", out / file, "--out", figure)
        assert (status, figure.stat().st_size > 10_000) == (0, True), errors
    assert run(*options)[0] == 2  # is there already
    status, _, errors = run("deep", "hebbian", "--resume", "--epochs", 3, "--out", out)
    assert status == 0, errors
    (result,) = read_results(out / "results.json")
    assert [epoch.epoch for epoch in result.history] == [0, 1, 2, 3]


def test_a_network_without_hidden_layers_is_a_linear_readout(run, tmp_path):
    out = tmp_path / "run"
    options = ["--data", "digits", "--hidden", "none", "--learning-rate", 0.1, "--epochs", 5, "--out", out]
    status, _, errors = run("deep", "hebbian", *options)
    assert status == 0, errors
    assert run_config(HebbianConfig, out).hidden == ()
    (result,) = read_results(out / "results.json")
    assert result.test_accuracy is not None
    assert result.test_accuracy > 0.8
    status, _, errors = run("figure", "local-rules-weights", out / "pictures.npz", "--out", tmp_path / "weights.png")
    assert status == 0, errors


EXPERIMENTS = {
    "two-classes": (["hebbian", "hebbian, clamped"], 11),
    "three-classes": (["backprop", "hebbian, clamped", "hebbian, clamped, rate per layer"], 6),
    "ten-classes": (["backprop", "hybrid"], 6),
    "snr": (["backprop, all classes", "lpl, all classes", "backprop, 2 classes", "lpl, 2 classes"], 1),
    "bias": (["hybrid, all classes", "hybrid, 2 classes"], 11),
    "harder": (["oja, online", "oja, class 6 from epoch 4"], 2),
    "which-rule": (["backprop", "hebbian, clamped"], 2),
}
RULES = {"ten-classes": "backprop,hybrid", "snr": "backprop,lpl", "bias": "hybrid", "harder": "oja"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_one_command_and_has_its_figure(run, tmp_path, experiment):
    out, seeds = tmp_path / "out", 5 if experiment == "which-rule" else 2
    rules = RULES.get(experiment, "backprop,hebbian" if experiment == "which-rule" else "")
    options = [*SMALL, "--experiment", experiment, "--rules", rules, "--out", out]
    status, said, errors = run(*options, "--seeds", seeds)
    assert status == 0, errors
    results = read_results(out / "results.json")
    names, epochs = EXPERIMENTS[experiment]
    assert [result.condition for result in results] == names * seeds
    assert len(results[0].history) == epochs
    assert all(name in said for name in names)
    status, _, errors = run("figure", "local-rules", out / "results.json", "--out", tmp_path / "figure.png")
    assert (status, (tmp_path / "figure.png").stat().st_size > 10_000) == (0, True), errors


def test_any_number_of_hidden_layers_has_rates_per_layer_and_a_file_cannot_name_the_rule(run, tmp_path):
    options = ["deep", "hebbian", "--data", "digits", "--experiment", "three-classes", "--epochs", 1, "--seeds", 1]
    status, _, errors = run(*options, "--hidden", "6,5", "--out", tmp_path / "out")
    assert status == 0, errors
    rates = [result.settings["learning_rate"] for result in read_results(tmp_path / "out" / "results.json")]
    assert rates == [[0.01] * 3, [1e-4] * 3, [2.5e-5, 2.5e-5, 8e-4]]
    (tmp_path / "c.toml").write_text('rule = "oja"\n')
    status, _, errors = run(*options, "--config", tmp_path / "c.toml", "--out", tmp_path / "more")
    assert (status, "rule: is what the conditions" in errors) == (2, True)


def test_a_network_that_diverges_does_not_stop_the_others(run, tmp_path):
    options = [
        *SMALL,
        "--experiment",
        "ten-classes",
        "--rules",
        "backprop,oja",
        "--activation",
        "identity",
        "--epochs",
        2,
    ]
    status, said, errors = run(*options, "--learning-rate", 1.0, "--seeds", 2, "--out", tmp_path / "out")
    assert status == 1
    assert "of 4 networks failed, oja, seed 0 for one" in errors
    assert {result.rule for result in read_results(tmp_path / "out" / "results.json")} == {"backprop"}
    assert "backprop" in said


def test_an_experiment_goes_on_where_it_was_stopped(run, tmp_path):
    options = [*SMALL, "--experiment", "two-classes", "--epochs", 1, "--seeds", 3]
    assert run(*options, "--out", tmp_path / "whole")[0] == 0
    whole = json.loads((tmp_path / "whole" / "results.json").read_text())
    part = {**whole, "runs": whole["runs"][:3]}
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "results.json").write_text(json.dumps(part))
    status, _, said = run(*options, "--out", tmp_path / "part")
    assert (status, "is there already; go on with --resume" in said) == (2, True)
    status, _, said = run(*options, "--resume", "--biases", "--out", tmp_path / "part")
    assert (status, "was made with another biases" in said) == (2, True)
    status, _, said = run(*SMALL, "--experiment", "snr", "--resume", "--out", tmp_path / "part")
    assert (status, "is of two-classes, not of snr" in said) == (2, True)
    status, _, said = run(*options, "--resume", "--out", tmp_path / "part")
    assert status == 0, said
    assert json.loads((tmp_path / "part" / "results.json").read_text()) == whole


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        (["--rule", "hebb"], 2, "'--rule': 'hebb' is not one of 'backprop'"),
        (["--rule", "oja", "--clamp"], 2, "Oja's rule does not take targets"),
        (["--seeds", 3], 2, "are of an experiment"),
        (["--experiment", "snr", "--rule", "oja"], 2, "choose some of them with --rules"),
        (["--experiment", "snr", "--rules", "hebb"], 2, "rules: must be of backprop"),
        (["--experiment", "two-classes", "--clamp"], 2, "clamp: is what the conditions of this experiment differ in"),
        (["--experiment", "snr", "--classes", "0,1"], 2, "classes: is what the conditions"),
        (["--experiment", "harder", "--drop-classes", "6"], 2, "withhold: must be some of the classes"),
        (["--learning-rate", "fast"], 2, "is no list of numbers such as 1e-4,0.01"),
        (["--classes", "0"], 2, "at least two must be left"),
        (["--classes", "0,one"], 2, "is no list of whole numbers"),
        (["--data", "nothing"], 2, "data: must be one of"),
        (["--data", "mnist", "--root", "nowhere"], 1, "mnist is not in nowhere"),
        (["--device", "cuda:99"], 1, "cuda:99"),
        (["--experiment", "snr", "--device", "cuda:99"], 1, "cuda:99"),
        (["--resume"], 2, "no run to resume"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(run, tmp_path, options, status, reason):
    out = tmp_path / "out"
    found, _, said = run("deep", "hebbian", "--data", "digits", *options, "--out", out)
    assert (found, reason in said) == (status, True), said
    assert len(said.strip().splitlines()) == 1
    assert not out.exists()
