"""Result files: what is written comes back, whole, and what is wrong with a file is one line; and their figures."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, UsageError
from foundation.figures import save
from ratenets.toy import digit_sequences, rule_curves, two_inputs
from ratenets.toy.plots import toy
from ratenets.toy.results import ToyResult, read_results, write_result
from tests.figures import faults

TWO = two_inputs.TwoInputsConfig(sigmas=3, probabilities=3, repetitions=2, steps=20, samples=10, test_samples=50)
CURVES = rule_curves.CurvesConfig(points=30)
DIGITS = digit_sequences.DigitsConfig(runs=2, images=2, steps=2, samples=2)


def drawn(shapes):
    rng = np.random.default_rng(1)
    return {name: rng.uniform(0.1, 1.0, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def results():
    return {
        "two-inputs": ToyResult("two-inputs", TWO, 3, two_inputs.run(TWO, 3)),
        "rule": ToyResult("rule", CURVES, 0, rule_curves.run(CURVES)),
        "digit-sequences": ToyResult("digit-sequences", DIGITS, 7, drawn(digit_sequences.shapes(DIGITS))),
    }


@pytest.mark.parametrize("experiment", ["two-inputs", "rule", "digit-sequences"])
def test_what_is_written_comes_back(results, experiment, tmp_path):
    result = results[experiment]
    write_result(tmp_path / "new/toy.json", result)
    (found,) = read_results(tmp_path / "new/toy.json")
    assert (found.experiment, found.config, found.seed) == (experiment, result.config, result.seed)
    assert found.arrays.keys() == result.arrays.keys()
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["toy.json"]


def test_what_is_not_a_number_comes_back_as_such(results, tmp_path):
    arrays = {name: array.copy() for name, array in results["two-inputs"].arrays.items()}
    arrays["p/activity"][0, 0] = np.nan
    arrays["course/weights"][0, 0, 1] = np.inf
    write_result(tmp_path / "toy.json", ToyResult("two-inputs", TWO, 3, arrays))
    (found,) = read_results(tmp_path / "toy.json")
    assert np.isnan(found.arrays["p/activity"]).sum() == 2
    assert np.isnan(found.arrays["course/weights"][0, 0, 1])


def test_arrays_of_another_config_are_refused(results):
    with pytest.raises(UsageError, match="array distance: missing, expected"):
        ToyResult("rule", CURVES, 0, {})
    with pytest.raises(UsageError, match=r"array distance: \(30,\), expected \(31,\)"):
        ToyResult("rule", rule_curves.CurvesConfig(points=31), 0, results["rule"].arrays)


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"kind": "something"}, "not a file of"),
    "another version": ({"format": 99}, "not a file of"),
    "no such experiment": ({"experiment": "swap"}, "damaged"),
    "an unknown setting": ({"config": {"colour": 3}}, "damaged.*unknown key 'colour'"),
    "a setting out of range": ({"config": {"points": 1}}, "damaged.*points must be at least 2"),
    "other sizes": ({"config": {"points": 31}}, "damaged.*expected"),
    "no arrays": ({"arrays": {}}, "damaged.*missing"),
    "a text for a number": ({"arrays": {"z": "many"}}, "damaged"),
    "rows of several lengths": ({"arrays": {"z": [[1, 2], [3]]}}, "damaged"),
    "no mapping": ({"arrays": 3}, "damaged"),
    "no seed": ({"seed": None}, "damaged"),
    "an infinite seed": ({"seed": float("inf")}, "damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_wrong_file_is_one_line_that_names_it(results, case, tmp_path):
    path, (change, complaint) = tmp_path / "toy.json", DAMAGE[case]
    write_result(path, results["rule"])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RatespikeError, match=complaint) as caught:
        read_results(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\x89HDF", b'{"kind": ', b"[" * 100_000])
def test_what_is_no_such_file_at_all_is_refused(content, tmp_path):
    (tmp_path / "toy.json").write_bytes(content)
    with pytest.raises(RatespikeError, match=r"toy\.json: "):
        read_results(tmp_path / "toy.json")
    with pytest.raises(RatespikeError, match=r"none\.json: no such file"):
        read_results(tmp_path / "none.json")


# --- figures ----------------------------------------------------------------------------------------------------------
LABELS = {
    "two-inputs": 6,
    "rule": 9,
    "digit-sequences": 2,  # and maps of weights, which have no axes
}


@pytest.mark.parametrize("experiment", LABELS)
def test_every_panel_of_a_figure_has_labels_and_something_to_see(results, experiment, tmp_path):
    figure = toy([results[experiment]])
    axes = [axis for axis in figure.axes if not axis.images]
    assert len(axes) == LABELS[experiment]
    for axis in axes:
        assert axis.get_ylabel()
        assert axis.lines or axis.patches
    assert faults(figure) == []
    save(figure, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000


def test_axes_of_activity_fit_what_is_drawn(results):
    """Little has happened after some steps; what grows beyond all bounds leaves the panel, which says where."""
    result = results["two-inputs"]
    course, sweep = toy([result]).axes[4:]
    assert course.get_ylim()[1] / course.get_ylim()[0] < 1e6
    assert [axis.get_ylabel() for axis in (course, sweep)] == [r"mean activity $\langle|y|\rangle$ (a.u.)"] * 2
    large = {**result.arrays, "sigma/activity": result.arrays["sigma/activity"] * 1e60}
    figure = toy([dataclasses.replace(result, arrays=large)])
    assert faults(figure) == []
    assert [text.get_text() for text in figure.axes[5].texts] == ["largest float32"]
    assert figure.axes[5].get_ylim()[1] == 1e45


def test_the_sweep_is_drawn_as_it_was_found(results):
    result = results["two-inputs"]
    axis = toy([result]).axes[1]
    lines = {line.get_label(): line for line in axis.lines}
    np.testing.assert_array_equal(lines["Oja"].get_xdata(), TWO.sigma_values)
    np.testing.assert_array_equal(lines["Oja"].get_ydata(), result.arrays["sigma/selectivity"][2].mean(-1))
    noisy = result.arrays["sigma_noisy/selectivity"][0].mean(-1)
    np.testing.assert_array_equal(lines["LPL, p = 0.2"].get_ydata(), noisy)


def test_several_results_stand_below_each_other(results):
    figure = toy(list(results.values()))
    assert len(figure.axes) == sum(LABELS.values()) + 8
    with pytest.raises(UsageError, match="no result to draw"):
        toy([])


@pytest.mark.parametrize("experiment", LABELS)
def test_what_has_diverged_can_still_be_drawn(results, experiment, tmp_path):
    result = results[experiment]
    nothing = {name: np.full_like(array, np.nan) for name, array in result.arrays.items()}
    figure = toy([dataclasses.replace(result, arrays=nothing)])
    assert faults(figure) == []
    save(figure, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000
