"""Conditions of runs: which seeds belong together, means and intervals by plain formulas, and the table."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foundation.errors import UsageError
from ratenets.butd.results import Evaluation, RunResult, SubNetworks
from ratenets.butd.summary import estimate, summaries, table
from tests.ratenets.butd.made_results import made

QUANTILES = {2: 12.7062, 3: 4.3027, 5: 2.7764, 10: 2.2622}
"""Of Student's t at 0.975, by number of seeds, from a printed table."""


def labels(results: list[RunResult]) -> list[str]:
    return [summary.label for summary in summaries(results)]


@given(st.sampled_from(list(QUANTILES)).flatmap(lambda n: arrays.arrays(float, (n, 2), elements=st.floats(0, 1))))
def test_intervals_are_those_of_students_t(values):
    n = len(values)
    mean, half = estimate(values)
    for column in range(2):
        average = sum(values[:, column]) / n
        variance = sum((value - average) ** 2 for value in values[:, column]) / (n - 1)
        assert mean[column] == pytest.approx(average, abs=1e-12)
        assert half[column] == pytest.approx(QUANTILES[n] * (variance / n) ** 0.5, rel=1e-4, abs=1e-7)


def test_one_seed_has_no_interval():
    mean, half = estimate(np.array([[0.5, 0.25]]))
    assert mean.tolist() == [0.5, 0.25]
    assert np.isnan(half).all()


def test_seeds_of_one_configuration_are_one_condition():
    first, second = summaries([made(0), made(0, "backprop"), made(1), made(2)])
    assert (first.label, [run.seed for run in first.runs]) == ("Counter-Hebb", [0, 1, 2])
    assert (second.label, len(second.runs)) == ("backprop", 1)


def test_where_and_how_often_a_run_was_evaluated_makes_no_other_condition():
    other = replace(made(1, evaluate_every=4, epochs=(0, 4)), settings=made(1).settings | {"evaluate_every": 4})
    other = replace(other, settings=other.settings | {"run": {"seed": 1, "device": "cuda", "epochs": 4}})
    (only,) = summaries([made(0), other])
    assert only.epochs.tolist() == [0, 4]
    assert only.course().shape == (2, 2)


def test_conditions_of_one_name_are_told_apart_by_their_settings():
    assert labels([made(0), made(1, learning_rate=0.01)]) == [
        "Counter-Hebb (learning rate none)",
        "Counter-Hebb (learning rate 0.01)",
    ]
    assert labels([made(0), made(1, "backprop", epochs=(0, 8))]) == ["Counter-Hebb (4 epochs)", "backprop (8 epochs)"]
    assert labels([made(0), made(1, data="cifar10")]) == [
        "Counter-Hebb (data multi-mnist)",
        "Counter-Hebb (data cifar10)",
    ]


def test_a_summary_gives_what_its_runs_hold_by_seed():
    (one,) = summaries([made(0, test=0.5, active=0.25), made(1, test=0.7, active=0.75)])
    assert one.final().tolist() == [pytest.approx([0.5, 0.6]), pytest.approx([0.7, 0.8])]
    assert one.final("train").tolist() == [pytest.approx([0.55, 0.65]), pytest.approx([0.75, 0.85])]
    assert one.course().tolist() == [pytest.approx([0.45, 0.5, 0.55]), pytest.approx([0.65, 0.7, 0.75])]
    assert list(one.alignment()) == ["core.0", "core.1", "head"]
    assert one.alignment()["head"].tolist() == [pytest.approx([0, 0.06, 0.12])] * 2
    assert one.layers == ("core.0", "core.1")
    assert one.active().shape == (2, 2, 2)
    assert one.active()[1, 0].tolist() == pytest.approx([0.75, 0.76])
    assert one.overlap().tolist() == [[0.25, 0.25], [0.75, 0.75]]


def test_overlap_is_averaged_over_the_pairs_that_have_one():
    matrix = ((1.0, 0.5, None), (0.5, 1.0, None), (None, None, None))
    empty = ((None,) * 3,) * 3
    run = made(tasks=("a", "b", "c"))
    found = SubNetworks(("x", "y"), ((0.5, 0.5, 0.0), (0.0, 0.0, 0.0)), (matrix, empty))
    (one,) = summaries([replace(run, subnetworks=found)])
    assert one.overlap()[0, 0] == 0.5
    assert np.isnan(one.overlap()[0, 1])
    (single,) = summaries([made(tasks=("class",))])
    assert np.isnan(single.overlap()).all()


def test_what_is_no_condition_is_refused():
    with pytest.raises(UsageError, match="no run: give at least one"):
        summaries([])
    with pytest.raises(UsageError, match="Counter-Hebb-1 and Counter-Hebb-1: the same network, Counter-Hebb, twice"):
        summaries([made(1), made(1)])
    for other in (made(1, layers=("core.0",)), made(1, guided=False), replace(made(1, tied=True), settings={})):
        like = replace(other, settings=made(1).settings)
        with pytest.raises(UsageError, match="the same configuration, but other layers"):
            summaries([made(0), like])
    late = replace(made(1), history=(Evaluation(3, (0.5, 0.5), (0.5, 0.5), alignment=made().history[0].alignment),))
    with pytest.raises(UsageError, match="were never evaluated at the same epoch"):
        summaries([made(0), late])


def test_the_table_has_means_and_intervals_by_condition():
    runs = [made(seed, test=test) for seed, test in enumerate((0.4, 0.5, 0.6))]
    half = QUANTILES[3] * 10 / 3**0.5
    assert f"{half:.2f}" == "24.84"
    lines = table([*runs, made(0, "backprop", guided=False, tied=True, test=0.25)]).splitlines()
    assert lines == [
        "Counter-Hebb on multi-mnist, 4 epochs, 3 seeds: mean ± 95 % confidence interval",
        "accuracy         test %        train %",
        "left      50.00 ± 24.84  55.00 ± 24.84",
        "right     60.00 ± 24.84  65.00 ± 24.84",
        "average   55.00 ± 24.84  60.00 ± 24.84",
        "active units        left %       right %          overlap",
        "core.0        25.00 ± 0.00  26.00 ± 0.00  0.2500 ± 0.0000",
        "core.1        25.00 ± 0.00  26.00 ± 0.00  0.2500 ± 0.0000",
        "",
        "backprop on multi-mnist, 4 epochs, 1 seed",
        "accuracy  test %  train %",
        "left       25.00    30.00",
        "right      35.00    40.00",
        "average    30.00    35.00",
    ]


def test_the_table_stays_narrow_with_many_tasks_and_shows_what_was_not_measured():
    tasks = tuple(f"task {number}" for number in range(40))
    run = made(tasks=tasks, step=0.01, active=0.1)
    unmeasured = tuple(replace(each, train=(None, *each.train[1:])) for each in run.history)
    run = replace(run, history=unmeasured)
    lines = table([run]).splitlines()
    assert len(lines) == 2 + 41 + 3
    assert max(map(len, lines)) < 60
    assert lines[2].split() == ["task", "0", "50.00", "-"]
    assert lines[42].split() == ["average", "69.50", "-"]
    assert lines[43].split() == ["active", "units", "mean", "%", "least", "%", "most", "%", "overlap"]
    assert lines[44].split() == ["core.0", "29.50", "10.00", "49.00", "0.1000"]


def test_one_task_has_no_average_and_no_overlap():
    lines = table([made(tasks=("class",))]).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["accuracy", "class", "active", "core.0", "core.1"]
    assert lines[-1].split()[-1] == "-"
