"""The demo at a small size: every part runs, the report says what the numbers say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.config import ComparisonConfig
from foundation.errors import UsageError
from ratespike.demo_report import FIGURES, write_report
from ratespike.demo_tour import DemoConfig, Tour, check_demo, take
from spiking.brian.running import code_generation
from tests.figures import faults

SMALL = DemoConfig(
    seeds=2,
    epochs=4,
    hidden=(12, 10),
    labels=20,
    draws=2,
    steps=32,
    brian_images=10,
    sequence=4,
    views_each=2,
    comparison=ComparisonConfig(realisations=2, dt=1e-3, shuffles=3),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def tour(out: Path) -> Tour:
    check_demo(out, SMALL, force=False)
    with code_generation("numpy"):
        result = take(SMALL, out)
    write_report(result, out)
    return result


def test_the_report_has_its_figures_and_its_numbers(tour, out):
    text = (out / "report.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.png\)", text)) == set(FIGURES)
    for name in FIGURES:
        assert (out / f"{name}.png").stat().st_size > 5000
    numbers = json.loads((out / "report.json").read_text())
    few = numbers["readouts"]["LPL"]
    last = 100 * (few[0][-1]["few"] + few[1][-1]["few"]) / 2
    assert f"reads out at {last:.1f} % after LPL" in " ".join(text.split())
    report = tour.spikes.analog.report
    loss = 100 * (report.rate_accuracy - report.spiking_accuracy[31])
    assert f"At T = 32 the conversion costs {loss:.1f} points" in text
    assert "nan" not in text.lower().replace("nano", "")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_legible(tour, name):
    from ratespike import demo_figures

    assert faults(getattr(demo_figures, name)(tour)) == []


def test_both_simulators_ran_the_same_network(tour):
    differing, images, total = tour.spikes.differences
    assert total > 0
    assert differing <= 0.001 * total
    assert images <= differing


def test_a_second_call_goes_on_from_the_trained_networks(tour, out):
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/metrics.jsonl")}
    assert len(before) == 4
    check_demo(out, SMALL, force=False)
    with code_generation("numpy"):
        again = take(SMALL, out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again.readouts == tour.readouts
    assert again.plasticity.fast.terms["LPL"].summary() == tour.plasticity.fast.terms["LPL"].summary()
    assert again.history == tour.history


def test_a_demo_with_other_settings_is_refused(tour, out):
    with pytest.raises(UsageError, match="holds a demo with another choice of epochs"):
        check_demo(out, replace(SMALL, epochs=5), force=False)
