"""Results of runs: masks by plain formulas, their file, and what is refused."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foundation.errors import RatespikeError, UsageError
from ratenets.butd.results import (
    Evaluation,
    active_fraction,
    compared,
    evaluations,
    mask_overlap,
    read_results,
    write_results,
)
from tests.ratenets.butd.made_results import made

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)))


@given(MASKS)
def test_active_fraction_is_the_share_of_ones(masks):
    found = active_fraction(torch.from_numpy(masks))
    assert found.shape == (len(masks),)
    for share, mask in zip(found.tolist(), masks, strict=True):
        assert share == pytest.approx(sum(bool(unit) for unit in mask.ravel()) / mask.size, abs=1e-12)


@given(MASKS)
def test_overlap_is_the_cosine_of_binary_vectors(masks):
    found = mask_overlap(torch.from_numpy(masks)).numpy()
    assert found.shape == (len(masks), len(masks))
    for i, one in enumerate(masks):
        for j, other in enumerate(masks):
            a, b = one.ravel().astype(float), other.ravel().astype(float)
            if not (a.any() and b.any()):
                assert math.isnan(found[i, j])
            else:
                assert found[i, j] == pytest.approx(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), abs=1e-12)


def test_masks_must_be_booleans_of_units():
    for masks in (torch.ones(2, 3), torch.ones(3, dtype=torch.bool), torch.ones(2, 0, dtype=torch.bool)):
        for function in (active_fraction, mask_overlap):
            with pytest.raises(UsageError, match=r"masks: must be booleans \(tasks, units...\), got torch"):
                function(masks)


def test_sub_networks_are_compared_by_layer_and_an_empty_one_has_no_overlap():
    masks = {
        "core.0": torch.tensor([[[True, False], [True, False]], [[True, True], [True, True]]]),
        "core.1": torch.tensor([[True, False, False], [False, False, False]]),
    }
    found = compared(masks)
    assert found.layers == ("core.0", "core.1")
    assert found.active[0] == (0.5, 1.0)
    assert found.active[1] == pytest.approx((1 / 3, 0))
    assert found.overlap[0][0] == pytest.approx((1, 0.5**0.5))
    assert found.overlap[1] == ((1.0, None), (None, None))


def test_evaluations_are_the_lines_of_metrics_that_have_one():
    lines: list[dict[str, Any]] = [
        {"epoch": 1, "loss": 0.7},
        {
            "epoch": 2,
            "loss": 0.5,
            "train/left": 0.75,
            "test/left": 0.5,
            "test/right": 0.25,
            "train/loss": 0.5,
            "test/loss": math.inf,
            "alignment/core.1": 0.125,
            "alignment/head": -0.5,
        },
    ]
    alignment = {"core.1": 0.125, "head": -0.5}
    assert evaluations(lines, ("left", "right")) == (Evaluation(2, (0.75, None), (0.5, 0.25), 0.5, None, alignment),)
    with pytest.raises(UsageError, match="metrics: test"):
        evaluations([{**lines[1], "test/right": "good"}], ("left", "right"))


# --- the file ---------------------------------------------------------------------------------------------------------
def test_what_is_written_is_read_again(tmp_path):
    gap = made(3)
    gap = replace(gap, history=tuple(replace(each, train=(None, 0.5), test_loss=None) for each in gap.history))
    several = [made(0, network={"channels": (32, 32)}), made(1, "backprop", guided=False, tied=True), gap]
    write_results(tmp_path / "a.json", several)
    assert read_results(tmp_path / "a.json") == several


def damaged(path: Path, change: Any) -> str:
    """The refusal of a file in which something was changed."""
    content: dict[str, Any] = {"kind": "ratespike butd", "format": 1, "runs": [json.loads(json.dumps(asdict(made())))]}
    path.write_text(json.dumps(content))
    assert len(read_results(path)) == 1
    change(content, content["runs"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(RatespikeError) as caught:
        read_results(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda file, _: file.update(kind="ratespike toy"),
            "is a file of ratespike toy, not a file of",
        ),
        (lambda file, _: file.update(format=2), "not a file of `ratespike deep butd` of this version"),
        (lambda file, _: file.update(runs=[]), "holds no run"),
        (lambda file, _: file.update(runs=[3]), "damaged"),
        (lambda _, run: run.update(extra=1), "unknown key 'extra'"),
        (lambda _, run: run.pop("seed"), "seed: Field required"),
        (lambda _, run: run.update(seed="1"), "seed"),
        (lambda _, run: run.update(tasks=[]), "tasks: must be at least one"),
        (lambda _, run: run.update(tasks=["left", "left"]), "not one twice"),
        (lambda _, run: run.update(tasks=["left"]), "needs an accuracy for each task"),
        (lambda _, run: run.update(history=[]), "holds no evaluation"),
        (lambda _, run: run.update(epochs=3), "must ascend to 3 at most, are [0, 2, 4]"),
        (lambda _, run: run.update(epochs=10**400), "epochs: must be from 0 to 1,000,000,000"),
        (lambda _, run: run["history"].reverse(), "must ascend"),
        (lambda _, run: run["history"][0].update(extra=1), "run 1: history: unknown key 'extra'"),
        (lambda _, run: run["history"][0].update(epoch="0"), "run 1: history: epoch"),
        (lambda _, run: run["history"][0].update(epoch=-1), "epoch: must not be negative"),
        (lambda _, run: run["history"][0].update(test=[0.5, 1.5]), "test: must be from 0 to 1, got 1.5"),
        (lambda _, run: run["history"][0].update(test=[0.5, None]), "test"),
        (lambda _, run: run["history"][0].update(test=[0.5]), "epoch 0: test: needs an accuracy for each task"),
        (lambda _, run: run["history"][0].update(train_loss=math.nan), "train_loss"),
        (lambda _, run: run["history"][1].update(alignment={}), "epoch 2: alignment: is of other layers"),
        (lambda _, run: run["history"][0]["alignment"].update(head=1.5), "alignment.head: must be from -1 to 1"),
        (lambda _, run: run["subnetworks"].update(layers=[]), "need one entry for each layer"),
        (lambda _, run: run["subnetworks"].update(active=[[0.5, 0.5]]), "need one entry for each layer"),
        (lambda _, run: run["subnetworks"]["active"].__setitem__(0, [0.5]), "needs an active share for each task"),
        (lambda _, run: run["subnetworks"]["active"].__setitem__(0, [0.5, -1]), "active.core.0: must be from 0 to 1"),
        (lambda _, run: run["subnetworks"]["overlap"][0].__setitem__(0, [2, 1]), "overlap.core.0: must be from 0 to 1"),
    ],
)
def test_a_damaged_file_is_refused_by_what_is_wrong_in_it(tmp_path, change, reason):
    assert reason in damaged(tmp_path / "a.json", change)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(RatespikeError, match="no such file"):
        read_results(tmp_path / "none.json")
    for text in ("", "[]", "{", "[" * 100_000):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(RatespikeError, match=r"not a file of `ratespike deep butd`"):
            read_results(tmp_path / "a.json")


def test_sub_networks_are_of_the_runs_tasks():
    other = made(tasks=("a", "b", "c")).subnetworks
    with pytest.raises(UsageError, match="subnetworks: are of 3 tasks, not 2"):
        replace(made(), subnetworks=other)
