"""The ladder from the failing rule to the working one."""

import json
from dataclasses import fields, replace
from itertools import pairwise

import pytest

from foundation.errors import RatespikeError, UsageError
from ratenets.lpl.config import LossConfig, LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.ladder import rungs
from ratenets.lpl.ladder_results import LadderResult, RungResult, ladder, read_results, table, write_result
from ratenets.run_config import RunConfig
from tests.figures import faults

BASE = LPLConfig(encoder=EncoderConfig(hidden=(8, 6)), run=RunConfig(epochs=2))


def test_every_rung_takes_one_change_back_and_the_last_is_plain_lpl():
    configs = [rung.config for rung in rungs(BASE)]
    changed = [
        [f.name for f in fields(LossConfig) if getattr(one.loss, f.name) != getattr(other.loss, f.name)]
        + ["greedy"] * (one.greedy != other.greedy)
        for one, other in pairwise(configs)
    ]
    assert changed == [["summed_pull"], ["published_decorr"], ["one_view"], ["greedy"]]
    assert configs[-1] == BASE
    assert len({config.name for config in configs}) == 5


@pytest.mark.parametrize(
    "changes", [{"greedy": True}, {"loss": LossConfig(supervision=True)}, {"loss": LossConfig(one_view=True)}]
)
def test_a_ladder_that_leads_elsewhere_is_refused(changes):
    with pytest.raises(UsageError, match="ends at plain layer-local LPL"):
        list(rungs(replace(BASE, **changes)))


RESULT = LadderResult(
    "digits", 3, 10, tuple(RungResult(f"rung {n}", (0.2, 0.3), (1.5, None), (1.0, 2.0)) for n in range(5))
)


def test_a_result_is_read_as_it_was_written_and_drawn(tmp_path):
    write_result(tmp_path / "l.json", RESULT)
    assert read_results(tmp_path / "l.json") == [RESULT]
    figure = ladder([RESULT, RESULT])
    assert (len(figure.axes), faults(figure)) == (4, [])
    assert "30.0" in table(RESULT)
    diverged = replace(RESULT, rungs=(replace(RESULT.rungs[0], activity=(1.0, None)),))
    write_result(tmp_path / "d.json", diverged)
    assert read_results(tmp_path / "d.json") == [diverged]
    assert table(diverged).endswith("  -")
    whole = (tmp_path / "l.json").read_text()
    changed = [
        whole.replace(one, other)
        for one, other in (
            ("accuracy", "acc"),
            ("0.2,", ""),
            ("0.2,", "20.0,"),
            ("1.5,", "1e308,"),
            ('"classes": 10', '"classes": 0'),
            ('"classes": 10', '"classes": "x"'),
        )
    ]
    assert whole not in changed
    for text in ("{}", "[]", whole[:-9], *changed, json.dumps({**json.loads(whole), "rungs": []})):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(RatespikeError, match="not a file of"):
            read_results(tmp_path / "bad.json")


def test_every_rung_is_drawn_in_a_style_of_its_own():
    many = replace(RESULT, rungs=tuple(replace(RESULT.rungs[0], name=f"rung {n}") for n in range(7)))
    lines = ladder([many]).axes[0].get_lines()[:-1]  # the last one is chance
    assert [line.get_label() for line in lines] == [f"rung {n}" for n in range(7)]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 7


@pytest.mark.parametrize("rungs", [1, 7])
def test_long_names_of_rungs_are_whole_and_no_formulas(rungs):
    names = [f"rung {n}: another $set$ of settings, learning rate 0.001" for n in range(rungs)]
    figure = ladder([replace(RESULT, rungs=tuple(replace(RESULT.rungs[0], name=name) for name in names))] * 2)
    assert faults(figure) == []
    (legend,) = figure.legends
    shown = [" ".join(text.get_text().replace(r"\$", "$").split()) for text in legend.get_texts()]
    assert shown == [*names, "chance"]
    assert all(tick == round(tick) for axis in figure.axes for tick in axis.get_xticks())  # of layers


def test_the_command_trains_all_and_goes_on_where_it_was_stopped(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [
        "deep",
        "ladder",
        "--hidden",
        "8,6",
        "--epochs",
        2,
        "--train-images",
        60,
        "--batch-size",
        30,
        "--out",
        "l",
    ]
    status, said, errors = run(*command)
    assert status == 0, errors
    assert len(read_results(tmp_path / "l/ladder.json")[0].rungs) == 5
    (tmp_path / "l/ladder.json").unlink()
    again = run(*command)
    assert again[:2] == (0, said)
    assert run("figure", "ladder", "l/ladder.json", "--out", "l.png")[0] == 0
    status, _, errors = run(*command[:-2], "--one-view", "--out", "other")
    assert status == 2
    assert "plain layer-local LPL" in errors
    assert not (tmp_path / "other").exists()
