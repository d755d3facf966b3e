"""`ratespike deep readout`: a run's layers as a table and as JSON, by either protocol."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foundation.data.images import ImageSet, load_images
from ratenets.evaluation.report import read_reports
from ratenets.evaluation.run_readout import at_initial_weights
from ratenets.lpl import training
from ratenets.lpl.config import Coefficients, LossConfig, LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.training import train_lpl
from ratenets.plots import layerwise
from ratenets.run_config import RunConfig
from ratespike import cli


def small(data, **changes):
    return LPLConfig.for_data(data, batch_size=32, readout_every=0, warmup_epochs=0, **changes)


@pytest.fixture(scope="module")
def cifar():
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (130, 3, 32, 32), dtype=np.uint8), np.arange(130) % 10
    return ImageSet("cifar10", images[:100], labels[:100], images[100:], labels[100:], tuple("0123456789"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cifar):
    """A VGG with held-out images, the same without its predictive term, and an MLP on the digits."""
    folder = tmp_path_factory.mktemp("runs")
    vgg = EncoderConfig(kind="vgg", width=1 / 16)
    for name, pull in (("lpl", 1.0), ("predoff", 0.0)):
        loss = LossConfig(coefficients=Coefficients(pull=pull))
        run = RunConfig(epochs=1, seed=4)
        train_lpl(small("cifar10", held_out=40, encoder=vgg, loss=loss, run=run), cifar, folder / name)
    encoder = EncoderConfig(hidden=(8, 6))
    digits = load_images("digits")
    train_lpl(small("digits", encoder=encoder, run=RunConfig(epochs=1)), digits, folder / "digits")
    return folder


@pytest.fixture
def command(run, runs, cifar, monkeypatch):
    """The command under a name of its own, in the folder of the runs."""

    def load(name, root, *, image_size):
        return cifar if name == "cifar10" else load_images(name)

    monkeypatch.setattr(training, "load_images", load)
    monkeypatch.setitem(cli.COMMANDS, "readout", ("readout:command", ""))
    monkeypatch.chdir(runs)
    return lambda *arguments: run("readout", *arguments)


def test_a_run_that_holds_images_out_is_read_as_in_the_paper(command, tmp_path):
    status, said, errors = command("lpl", "--no-pooling", "--folds", "4", "--metrics", "--json", tmp_path / "a.json")
    assert status == 0, errors
    title, head, *rows = said.splitlines()
    assert title == "LPL on cifar10, seed 4, after 1 epoch; readouts fitted to 40 images, tested on 30"
    assert "maps, folds %" in head
    assert [row.split()[0] for row in rows[:9]] == ["pixels"] + ["layer"] * 8
    (report,) = read_reports(tmp_path / "a.json")
    origin = report.origin
    assert (origin.run, origin.name, origin.data, origin.seed, origin.epochs) == ("lpl", "LPL", "cifar10", 4, 1)
    assert origin.settings["encoder"]["width"] == 1 / 16
    assert len(report.layers) == 8
    assert all(len(layer.folds) == len(layer.unpooled_folds) == 4 for layer in report.layers)
    assert all(len(layer.metrics) == 20 for layer in report.layers)
    assert f"{100 * report.layers[7].accuracy:.2f}" in rows[8].split()
    assert all(name in said for name in report.layers[0].metrics)


def test_the_last_layer_alone_without_pixels(command, tmp_path):
    status, said, _ = command("lpl", "--layers", "last", "--no-pixels", "--json", tmp_path / "a.json")
    assert status == 0
    (report,) = read_reports(tmp_path / "a.json")
    assert [row.name for row in report.rows] == ["layer 8"]
    assert len(said.splitlines()) == 3


def test_the_last_layer_is_read_as_it_is_while_training(command, runs, cifar, tmp_path):
    assert command("lpl", "--layers", "last", "--no-pixels", "--json", tmp_path / "a.json")[0] == 0
    (report,) = read_reports(tmp_path / "a.json")
    encoder, config, _ = training.load_lpl(runs / "lpl")
    online = training.last_layer_accuracy(encoder, config, training.material_of(config, cifar))
    assert report.layers[0].accuracy == online


def test_reports_of_several_runs_make_one_figure(command, tmp_path):
    reports = []
    for number, arguments in enumerate((["lpl"], ["predoff"], ["predoff", "--untrained"])):
        path = tmp_path / f"{number}.json"
        assert command(*arguments, "--json", path)[0] == 0
        reports += read_reports(path)
    assert [(one.origin.name, one.origin.epochs, one.origin.untrained) for one in reports] == [
        ("LPL", 1, False),
        ("LPL, predictive off", 1, False),
        ("LPL, predictive off", 0, True),
    ]
    assert reports[2].layers != reports[1].layers
    legend = layerwise(reports).legends[0]
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:5] == ["LPL", "predictive off", "untrained", "pixels", "chance"]


def test_an_untrained_network_is_at_the_weights_it_began_with(command, cifar):
    trained = training.load_lpl(Path("lpl"))
    fresh = training.build_network(trained.config, cifar.image_shape, 10)
    found = at_initial_weights(trained)
    assert not found.encoder.training
    for one, other in zip(found.encoder.parameters(), fresh.encoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_that_holds_nothing_out_is_read_with_few_labels(command, tmp_path):
    status, said, errors = command("digits", "--draws", "2", "--labels", "50", "--json", tmp_path / "a.json")
    assert (status, errors) == (0, "")
    lines = said.splitlines()
    assert lines[0].split() == ["50", "labels,", "%", "all", "labels,", "%", "dimensions", "mean", "activity"]
    assert [line.split()[0] for line in lines[1:]] == ["pixels", "layer", "layer"]
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["run"], content["data"], content["labels"], content["draws"]) == ("digits", "digits", 50, 2)
    assert (content["protocol"], content["epochs"], content["untrained"]) == ("few-labels", 1, False)
    assert set(content["rows"][1]) == {
        "name",
        "few",
        "few_deviation",
        "all",
        "participation_ratio",
        "mean_activity",
    }
    (report,) = read_reports(tmp_path / "a.json")
    assert [(row.name, row.few, row.accuracy) for row in report.rows] == [
        (row["name"], row["few"], row["all"]) for row in content["rows"]
    ]
    figure = layerwise([report])
    accuracy, *_ = figure.axes
    dotted = [line for line in accuracy.get_lines() if line.get_linestyle() == ":"]
    assert any(np.allclose(line.get_ydata(), [100 * row["few"] for row in content["rows"][1:]]) for line in dotted)
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert {"all labels", "50 labels (a)"} <= {*names}
    status, said, _ = command("digits", "--draws", "1", "--layers", "last", "--no-pixels", "--untrained")
    assert status == 0
    assert [line.split()[:2] for line in said.splitlines()[1:]] == [["layer", "2"]]


def test_either_protocol_can_be_asked_for(command):
    status, said, _ = command("digits", "--protocol", "paper")
    assert status == 0
    assert "readouts fitted to 1297 images, tested on 500" in said
    status, said, _ = command("lpl", "--protocol", "few-labels", "--labels", "20", "--draws", "1")
    assert status == 0
    assert "20 labels, %" in said


REFUSED = {
    "labels": (["lpl", "--labels", "50"], 2, "--labels: for --protocol few-labels alone, this is paper"),
    "labels and draws": (["lpl", "--labels", "50", "--draws", "2"], 2, "--labels, --draws: for --protocol few-labels"),
    "metrics": (["digits", "--metrics"], 2, "--metrics: for --protocol paper alone, this is few-labels"),
    "folds": (["digits", "--folds", "10"], 2, "--folds: for --protocol paper alone"),
    "maps of an mlp": (["digits", "--no-pooling", "--protocol", "paper"], 2, "an mlp has no maps"),
    "maps": (["lpl", "--no-pooling", "--protocol", "few-labels"], 2, "--no-pooling: for --protocol paper alone"),
    "one fold": (["lpl", "--folds", "1"], 2, "folds: must be 2 or more, or 0 for none, got 1"),
    "a fold too many": (["lpl", "--folds", "41"], 2, "folds: must be at most 40, the number of images, got 41"),
    "a layer": (["lpl", "--layers", "3"], 2, "'--layers': '3' is not one of 'all', 'last'"),
    "protocol": (["lpl", "--protocol", "own"], 2, "'own' is not one of 'paper', 'few-labels'"),
    "draws": (["digits", "--draws", "0"], 2, "--draws: must be at least 1, got 0"),
    "no run": (["none"], 1, "none/config.toml: no such file"),
    "no GPU": (["lpl", "--device", "cuda:77"], 1, "cuda:77 is absent"),
    "the run itself": (["lpl", "--json", "lpl/config.toml"], 2, "would overwrite"),
    "sequences": (["frames"], 2, "frames: a run on shapes3d, read out with `ratespike deep shapes3d`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses_in_one_line_and_leaves_nothing(case, command, runs):
    (runs / "frames").mkdir(exist_ok=True)
    text = (runs / "lpl/config.toml").read_text()
    (runs / "frames/config.toml").write_text(text.replace('"cifar10"', '"shapes3d"'))
    before = sorted(runs.rglob("*"))
    arguments, status, complaint = REFUSED[case]
    found, said, errors = command(*arguments)
    assert (found, said, len(errors.splitlines())) == (status, "", 1), errors
    assert complaint in errors
    assert sorted(runs.rglob("*")) == before
