"""The report of a conversion, on networks small enough for their numbers to be found by hand."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from bridge.report import Conversion, simulate_and_report, spike_differences
from bridge.runs import Trials
from foundation.errors import UsageError
from spiking.integrate_and_fire import IFLayer, IFNetwork
from spiking.torch.integrate_and_fire import simulate

# Two images of two pixels; activations (3, 1, 0) and (1, 0, 0), then (3, 0) and (1, 0); logits (3, 1.5) and (1, 1.5).
W1, W2 = [[4.0, 0.0], [0.0, 4.0], [-1.0, -1.0]], [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
PIXELS = np.array([[3, 1], [1, 0]], np.uint8).reshape(2, 1, 1, 2)  # in quarters
READOUT = np.array([[1.0, 0.0], [0.0, 0.0]])
LABELS = np.array([0, 1])
# One spike stands for 2 in layer 1, so that one activation saturates, and for 4 in layer 2.
NETWORK = IFNetwork(
    (
        IFLayer.dense("layer 1", np.array(W1) / 2, np.zeros(3), np.array([2.0])),
        IFLayer.dense("layer 2", np.array(W2) * 2 / 4, np.zeros(2), np.array([4.0])),
    ),
    IFLayer.dense("readout", READOUT * 4, np.array([0.0, 1.5]), np.ones(1)),
)


def trials_of(labels: np.ndarray = LABELS, images: np.ndarray = PIXELS) -> Trials:
    return Trials.of_images(images, labels, lambda x: torch.from_numpy(x).double() / 4, 2)


def report_of(network: IFNetwork = NETWORK, steps: int = 4, labels: np.ndarray = LABELS) -> Conversion:
    return simulate_and_report(
        network,
        trials_of(labels),
        steps=steps,
        simulator=simulate,
        generator=np.random.default_rng(1),
        rate=NETWORK,
        keep=True,
    )


def test_rates_by_hand() -> None:
    """Drives per step (1.5, 0.5, -) and (0.5, 0, -): counts (4, 2, 0) and (2, 0, 0) in four steps; then half a
    threshold per spike: (2, 0) and (1, 0).
    """
    conversion = report_of()
    np.testing.assert_allclose(conversion.activations[0], [[3, 1, 0], [1, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(conversion.activations[1], [[3, 0], [1, 0]], atol=1e-15)
    np.testing.assert_array_equal(conversion.rates[0], [[2, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(conversion.rates[1], [[2, 0], [1, 0]])


def test_layers_by_hand() -> None:
    first, second = report_of().report.layers
    assert (first.name, second.name) == ("layer 1", "layer 2")
    assert first.correlation == pytest.approx(28 / np.sqrt(820))
    assert first.rmse == pytest.approx(np.sqrt(1 / 6))
    assert first.relative_rmse == pytest.approx(1 / np.sqrt(11))
    assert first.saturated == pytest.approx(1 / 6)
    assert (first.silent_units, first.spikes, first.synaptic_operations, first.macs) == (1, 4, 0, 6)
    assert second.rmse == pytest.approx(0.5)
    assert second.relative_rmse == pytest.approx(1 / np.sqrt(10))
    assert (second.saturated, second.silent_units, second.spikes) == (0, 1, 1.5)
    assert (second.synaptic_operations, second.macs) == (4 * 2, 6)


def test_accuracy_flips_and_readout_by_hand() -> None:
    """Image 2: one spike in the first step gives 4 at once, against 1.5 per step: right from the third step on."""
    report = report_of().report
    assert (report.images, report.steps, report.input_coding) == (2, 4, "analog")
    assert (report.rate_accuracy, report.spiking_accuracy, report.flips, report.loss) == (1, [0.5, 0.5, 1, 1], 0, 0)
    assert report.readout_operations == 1.5 * 2
    short = report_of(steps=2).report
    assert (short.spiking_accuracy, short.flips, short.loss) == ([0.5, 0.5], 1, 0.5)
    wrong = report_of(steps=2, labels=np.array([0, 0])).report  # a flip may be for the better
    assert (wrong.rate_accuracy, wrong.flips, wrong.loss) == (0.5, 1, -0.5)


def test_poisson_input_causes_synaptic_events_in_the_first_layer() -> None:
    network = replace(NETWORK, input_coding="poisson")
    report = report_of(network, steps=400).report
    assert report.input_coding == "poisson"
    assert report.layers[0].synaptic_operations == pytest.approx(0.625 * 400 * 3, rel=0.1)
    assert report.layers[1].synaptic_operations == report.layers[0].spikes * 2
    assert report.layers[0].correlation > 0.95


def test_a_scale_per_unit_is_that_of_the_unit() -> None:
    scale = np.array([4.0, 2.0, 1.0])
    network = IFNetwork(
        (
            replace(NETWORK.neurons[0].with_weight(np.array(W1) / scale[:, None]), scale=scale),
            NETWORK.neurons[1].with_weight(np.array(W2) * scale / 4),
        ),
        NETWORK.readout,
    )
    conversion = report_of(network, steps=4)
    np.testing.assert_array_equal(conversion.rates[0], [[3, 1, 0], [1, 0, 0]])
    first = conversion.report.layers[0]
    assert (first.rmse, first.saturated) == (0, 0)
    assert first.correlation == pytest.approx(1)


def test_a_silent_layer_has_no_correlation_and_json_has_no_nan() -> None:
    silent = NETWORK.neurons[0].with_weight(-np.ones((3, 2)))
    report = report_of(replace(NETWORK, layers=(silent, NETWORK.neurons[1]))).report
    assert np.isnan([layer.correlation for layer in report.layers]).all()
    assert [layer.silent_units for layer in report.layers] == [3, 2]
    assert report.layers[0].relative_rmse == 1
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [layer["correlation"] for layer in values["layers"]] == [None, None]
    assert "nan" in report.table()


def test_json_and_table_hold_every_layer() -> None:
    report = report_of().report
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert values["flips"] == 0
    assert [layer["name"] for layer in values["layers"]] == ["layer 1", "layer 2"]
    header, rule, *rows = report.table().splitlines()
    assert {line.count("|") for line in (header, rule, *rows)} == {9}
    assert rows[0] == "| layer 1 | 0.9778 | 0.302 | 16.67 % | 1 | 4 | 0 | 6 |"
    assert rows[1].startswith("| layer 2 |")


@pytest.mark.parametrize("coding", ["analog", "poisson"])
def test_the_batch_size_changes_nothing(coding: str, rng: np.random.Generator) -> None:
    pixels, labels = rng.integers(0, 5, (7, 1, 1, 2), dtype=np.uint8), rng.integers(0, 2, 7)
    network = replace(NETWORK, input_coding=coding)
    one, other = (
        simulate_and_report(
            network,
            trials_of(labels, pixels),
            steps=9,
            simulator=simulate,
            generator=np.random.default_rng(2),
            batch_size=batch_size,
        ).report
        for batch_size in (7, 3)
    )
    ours, theirs = one.to_json(), other.to_json()
    for mine, yours in zip(one.layers, other.layers, strict=True):
        assert asdict(mine) == pytest.approx(asdict(yours))  # sums in another order
    assert {**ours, "layers": 0} == {**theirs, "layers": 0}


def test_a_network_with_gates_is_reported_by_task(rng: np.random.Generator) -> None:
    """Layer 1's only useful unit is closed in task "off": there the readout's bias alone decides, for class 1."""
    gates = np.array([[True, True, True], [False, True, True]])
    gated = replace(NETWORK, layers=(replace(NETWORK.neurons[0], gates=gates), NETWORK.neurons[1]), tasks=("on", "off"))
    both = np.repeat(LABELS, 2)
    trials = replace(
        trials_of(both), row=np.array([0, 0, 1, 1]), answer=both, decoder=np.zeros(4, int), task=np.array([0, 1, 0, 1])
    )
    generator = np.random.default_rng(1)
    report = simulate_and_report(gated, trials, steps=4, simulator=simulate, generator=generator).report
    assert report.by_task == {"on": (1.0, 1.0), "off": (0.5, 0.5)}
    assert (report.rate_accuracy, report.spiking_accuracy[-1], report.images) == (0.75, 0.75, 4)


def test_predictions_are_those_of_each_trials_decoder() -> None:
    trials = replace(trials_of(), decoder=np.array([1, 0]))
    readout = np.array([[[9.0, 1.0, 0.0, 2.0]], [[9.0, 1.0, 0.0, 2.0]]])
    np.testing.assert_array_equal(trials.predictions(readout, slice(0, 2)), [[1], [0]])
    yes_or_no = replace(trials, classes=1)
    np.testing.assert_array_equal(yes_or_no.predictions(np.array([[-1.0, 0.5], [-1.0, 0.5]]), slice(0, 2)), [1, 0])


def test_images_of_another_size_are_refused(rng: np.random.Generator) -> None:
    trials = trials_of(np.zeros(4, int), np.zeros((4, 1, 1, 3), np.uint8))
    with pytest.raises(UsageError, match="the network takes 2 inputs, these images have 3 pixels"):
        simulate_and_report(NETWORK, trials, steps=2, simulator=simulate, generator=rng)


def test_spike_differences_by_hand() -> None:
    one = [np.zeros((3, 4, 2), bool), np.zeros((3, 4, 1), bool)]
    one[0][0, 1, 0] = one[0][1, 2, 1] = one[1][2, 3, 0] = True
    other = [layer.copy() for layer in one]
    assert spike_differences(one, other) == (0, 0, 3)
    other[0][0, 1] = [False, True]  # one for another: two differences
    other[1][0, 0, 0] = other[1][2, 0, 0] = True
    assert spike_differences(one, other) == (4, 2, 3)
