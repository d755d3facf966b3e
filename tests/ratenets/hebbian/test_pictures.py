"""What a run keeps for its figures, and all figures of local rules."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from foundation.errors import RatespikeError, UsageError
from ratenets.hebbian.experiments import EXPERIMENTS
from ratenets.hebbian.picture_plots import examples, weights
from ratenets.hebbian.pictures import Pictures, read_pictures, write_pictures
from ratenets.hebbian.plots import local_rules
from tests.ratenets.hebbian.made_local import made, pictures, planned, runs_of_rules


def test_a_file_gives_back_what_was_written(tmp_path):
    one = pictures((6, 5))
    write_pictures(tmp_path / "pictures.npz", one)
    (other,) = read_pictures(tmp_path / "pictures.npz")
    for field in fields(Pictures):
        for a, b in zip(getattr(one, field.name), getattr(other, field.name), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"examples": np.zeros((30, 8, 8), np.uint8)}, "examples: must be bytes"),
        ({"labels": np.zeros(29, np.int64)}, "labels: must be 30 whole numbers"),
        ({"predictions": np.full(30, 10)}, "predictions: must be from 0 to 9"),
        ({"class_names": ("a",) * 11}, "class_names: need one for each of 10 units"),
        ({"after": ()}, "before, after: must be weights of the same layers"),
        ({"before": (np.zeros((10, 63), np.float32),), "after": (np.zeros((10, 63), np.float32),)}, "W1: must have 64"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes, reason):
    with pytest.raises(UsageError) as caught:
        replace(pictures(), **changes)
    assert reason in str(caught.value)


def test_a_damaged_file_is_refused_and_executes_nothing(tmp_path):
    path = tmp_path / "pictures.npz"
    write_pictures(path, pictures())
    whole = path.read_bytes()
    for damaged in (b"", whole[:-30], whole[:200], b"PK" + whole[2:100], whole.replace(b"labels", b"label_")):
        path.write_bytes(damaged)
        with pytest.raises(
            RatespikeError,
            match=r"pictures\.npz: (damaged|not a whole|is a \.npz file of something else|declares|\w+: not a whole)",
        ):
            read_pictures(path)
    np.savez(path, kind=np.array([{"an": "object"}], object))
    with pytest.raises(RatespikeError, match="damaged"):
        read_pictures(path)
    with pytest.raises(RatespikeError, match="no such file"):
        read_pictures(tmp_path / "nothing.npz")


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != "which-rule"])
def test_every_experiment_has_its_figure(experiment):
    figure = local_rules(planned(experiment))
    assert any(axis.get_xlabel() for axis in figure.axes)
    assert any(axis.get_ylabel() for axis in figure.axes) or experiment == "snr"  # whose rows are rules
    assert all(axis.has_data() for axis in figure.axes if axis.axison)


def test_the_figure_of_which_rule_names_accuracy_and_chance():
    figure = local_rules(runs_of_rules(10))
    words = " ".join(text.get_text() for axis in figure.axes for text in (axis.title, *axis.texts))
    assert "100" in words
    assert "25" in words


def test_results_of_several_experiments_make_no_figure():
    with pytest.raises(UsageError, match="of one experiment"):
        local_rules([made(0), made(0, experiment="snr")])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 5)])
@pytest.mark.parametrize("hidden", [(), (3,), (20, 4)])
def test_weights_and_examples_of_any_network_are_drawn(hidden, shape):
    of = pictures(hidden, 4, shape)
    for shared in (True, False):
        assert len(weights([of], shared).axes) > 3 * (len(hidden) + 1)
    assert len(examples([of]).axes) == 2
    with pytest.raises(UsageError):
        weights([of, of])
