"""Integrate-and-fire networks: both simulators against a plain numpy stepping, and the network's own file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import spiking.brian.integrate_and_fire as brian
import spiking.torch.integrate_and_fire as snntorch
from foundation.errors import RatespikeError, UsageError
from spiking.brian.running import code_generation
from spiking.integrate_and_fire import Array, IFLayer, IFNetwork, IFResult, Simulator, load

SIMULATORS: dict[str, Simulator] = {"snntorch": snntorch.simulate, "brian2": brian.simulate}
GRID = 2.0**-10
TIE = 1e-9  # sums of some tens of terms of size 1, in float64, differ by far less from order to order


@pytest.fixture(params=SIMULATORS)
def simulate(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    with code_generation("numpy"):
        yield SIMULATORS[request.param]


@pytest.fixture(params=["analog", "poisson"])
def coding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Stepped(NamedTuple):
    """Spikes and potentials before the reset, by layer, (B, T, M); the readout's potential, (B, T, classes)."""

    spikes: list[NDArray[np.bool_]]
    potentials: list[Array]
    readout: Array


def stepped(network: IFNetwork, stimulus: Array, steps: int) -> Stepped:
    """The definition, one image, one step and one layer at a time."""
    shapes = [(len(stimulus), steps, layer.units) for layer in network.layers]
    result = Stepped(
        [np.zeros(shape, bool) for shape in shapes],
        [np.zeros(shape) for shape in shapes],
        np.zeros((len(stimulus), steps, network.readout.units)),
    )
    for b, image in enumerate(stimulus):
        u = [np.full(layer.units, network.initial_potential) for layer in network.layers]
        v = np.zeros(network.readout.units)
        for t in range(steps):
            s = image if stimulus.ndim == 2 else image[t]
            for k, layer in enumerate(network.layers):
                u[k] = u[k] + layer.weight @ s + layer.bias
                fired = u[k] >= 1
                result.potentials[k][b, t], result.spikes[k][b, t] = u[k], fired
                u[k] = u[k] - fired
                s = fired.astype(float)
            v = v + network.readout.weight @ s + network.readout.bias
            result.readout[b, t] = v
    return result


def rounded(x: Array, grid: float) -> Array:
    return np.round(x / grid) * grid if grid else x


def network_of(sizes: tuple[int, ...], rng: np.random.Generator, grid: float = GRID, bias: float = 0.1) -> IFNetwork:
    layers = [
        IFLayer(
            name=f"layer {number}",
            weight=rounded(rng.normal(0.3, 1.5, (units, inputs)) / np.sqrt(inputs), grid),
            bias=rounded(rng.normal(bias, 0.1, units), grid),
            scale=np.ones(1),
        )
        for number, (inputs, units) in enumerate(pairwise(sizes), start=1)
    ]
    return IFNetwork(tuple(layers[:-1]), layers[-1])


def changed(network: IFNetwork, layer: int, **values: Any) -> IFNetwork:
    layers = list(network.layers)
    layers[layer] = replace(layers[layer], **values)
    return replace(network, layers=tuple(layers))


def stimulus_of(
    network: IFNetwork, coding: str, rng: np.random.Generator, images: int, steps: int, grid: float
) -> Array:
    x = rounded(rng.random((images, network.inputs)), grid)
    return x if coding == "analog" else (rng.random((images, steps, network.inputs)) < x[:, None]).astype(float)


def far_above(rng: np.random.Generator) -> IFNetwork:
    return changed(network_of((4, 5, 6, 3), rng), 0, bias=np.array([2.5, 3.0, 1.0, 7.25, 1.0 + GRID]))


def negative(rng: np.random.Generator) -> IFNetwork:
    network = network_of((4, 5, 6, 3), rng)
    return changed(network, 1, weight=-np.abs(network.layers[1].weight), bias=np.full(6, -GRID))


def no_weights(rng: np.random.Generator) -> IFNetwork:
    network = network_of((4, 5, 6, 3), rng)
    network = changed(changed(network, 0, weight=np.zeros((5, 4)), bias=np.full(5, 0.25)), 1, weight=np.zeros((6, 5)))
    return replace(network, readout=replace(network.readout, weight=np.zeros((3, 6))))


def sparse(rng: np.random.Generator) -> IFNetwork:
    network = network_of((4, 5, 6, 3), rng)
    weight = network.layers[1].weight.copy()
    weight[:, 2], weight[4] = 0.0, 0.0
    return changed(network, 1, weight=weight)


NETWORKS: dict[str, Callable[[np.random.Generator], IFNetwork]] = {
    "two layers": lambda rng: network_of((8, 6, 5, 3), rng),
    "one layer": lambda rng: network_of((3, 7, 2), rng),
    "four layers": lambda rng: network_of((5, 9, 4, 8, 6, 4), rng),
    "a single unit everywhere": lambda rng: network_of((1, 1, 1, 1), rng, bias=0.4),
    "started at 0": lambda rng: replace(network_of((4, 5, 3), rng), initial_potential=0.0),
    "far above threshold": far_above,
    "negative drive": negative,
    "no weights": no_weights,
    "sparse": sparse,
}


def assert_identical(result: IFResult, expected: Stepped) -> None:
    assert len(result.spikes) == len(expected.spikes) > 0
    for ours, theirs, counts in zip(result.spikes, expected.spikes, result.counts, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(counts, theirs.sum(1))
    np.testing.assert_array_equal(result.readout, expected.readout)


# --- the same spikes everywhere ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", NETWORKS)
def test_on_a_dyadic_grid_every_spike_and_potential_is_identical(
    simulate: Simulator, coding: str, kind: str, rng: np.random.Generator
) -> None:
    network = NETWORKS[kind](rng)
    stimulus = stimulus_of(network, coding, rng, images=4, steps=13, grid=GRID)
    expected = stepped(network, stimulus, 13)
    assert expected.spikes[0].any()
    assert not expected.spikes[0].all()
    result = simulate(network, stimulus, 13, spikes=True)
    assert_identical(result, expected)
    assert result.steps == 13
    np.testing.assert_array_equal(result.predictions(), expected.readout.argmax(2))


def test_the_cases_are_what_they_are_called(rng: np.random.Generator) -> None:
    network = far_above(rng)
    potentials = stepped(network, rng.random((2, 4)), 13).potentials[0]
    assert np.sum(potentials >= 2) > 20  # at 1 or above after the reset
    network = negative(rng)
    result = stepped(network, rng.random((2, 4)), 13)
    assert result.spikes[0].any()
    assert not result.spikes[1].any()
    assert np.all(np.diff(result.potentials[1], axis=1) < 0)


@pytest.mark.parametrize("grid", [0.0, 0.1, 0.125])
def test_with_trained_weights_simulators_differ_in_threshold_ties_alone(
    simulate: Simulator, coding: str, grid: float, rng: np.random.Generator, record_property: Callable[..., None]
) -> None:
    """Weights of any digits; of one decimal, which makes as many ties as there can be; and a grid, without any."""
    steps, images, sizes = 40, 20, (30, 20, 12, 5)
    network = network_of(sizes, rng, grid)
    stimulus = stimulus_of(network, coding, rng, images, steps, grid)
    expected = stepped(network, stimulus, steps)
    result = simulate(network, stimulus, steps, spikes=True)
    differing = [a != b for a, b in zip(result.spikes, expected.spikes, strict=True)]
    record_property("differing_spikes", int(sum(d.sum() for d in differing)))
    record_property("spikes", int(sum(s.sum() for s in expected.spikes)))
    for image in range(images):
        when = [int(np.argmax(d[image].any(1))) if d[image].any() else steps for d in differing]
        first = min(when)
        if first == steps:
            np.testing.assert_allclose(result.readout[image], expected.readout[image], rtol=0, atol=TIE)
            continue
        layer = when.index(first)  # the lowest layer of that step: the others may follow from it
        distance = np.abs(expected.potentials[layer][image, first] - 1)[differing[layer][image, first]]
        assert distance.max() < TIE
    if grid == 0.125:
        assert not any(d.any() for d in differing)
    if grid == 0.1:
        assert min(np.abs(p - 1).min() for p in expected.potentials) < TIE  # there are ties to differ in


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_snntorch_on_every_device_and_in_either_precision(
    each_device: str, dtype: torch.dtype, coding: str, rng: np.random.Generator
) -> None:
    network = network_of((40, 30, 20, 10), rng, grid=2.0**-6)  # products on 2^-12: exact in float32 up to 4096
    stimulus = stimulus_of(network, coding, rng, images=16, steps=32, grid=2.0**-6)
    result = snntorch.simulate(network, stimulus, 32, spikes=True, dtype=dtype, device=each_device)
    assert_identical(result, stepped(network, stimulus, 32))


# --- images -----------------------------------------------------------------------------------------------------------
def assert_same(one: IFResult, other: IFResult) -> None:
    for a, b in zip(
        (*one.spikes, *one.counts, one.readout), (*other.spikes, *other.counts, other.readout), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def part(result: IFResult, rows: Any) -> IFResult:
    return IFResult([s[rows] for s in result.spikes], [c[rows] for c in result.counts], result.readout[rows])


@pytest.mark.parametrize("batch_size", [1, 3, 7, 8])
def test_the_batch_size_changes_nothing(coding: str, batch_size: int, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    stimulus = stimulus_of(network, coding, rng, images=7, steps=11, grid=GRID)
    whole = snntorch.simulate(network, stimulus, 11, spikes=True)
    assert_same(snntorch.simulate(network, stimulus, 11, spikes=True, batch_size=batch_size), whole)


def test_images_know_nothing_of_one_another(simulate: Simulator, coding: str, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    stimulus = stimulus_of(network, coding, rng, images=5, steps=7, grid=GRID)
    whole = simulate(network, stimulus, 7, spikes=True)
    order = np.array([3, 0, 4, 2, 1])
    assert_same(simulate(network, stimulus[order], 7, spikes=True), part(whole, order))
    assert_same(simulate(network, stimulus[3:4], 7, spikes=True), part(whole, slice(3, 4)))


def test_counts_do_not_depend_on_keeping_the_spikes(simulate: Simulator, coding: str, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    stimulus = stimulus_of(network, coding, rng, images=3, steps=9, grid=GRID)
    without, kept = simulate(network, stimulus, 9), simulate(network, stimulus, 9, spikes=True)
    assert without.spikes == []
    assert_same(without, replace(kept, spikes=[]))


def test_more_steps_begin_with_the_same_spikes(simulate: Simulator, rng: np.random.Generator) -> None:
    network = network_of((8, 6, 5, 3), rng)
    x = stimulus_of(network, "analog", rng, images=3, steps=0, grid=GRID)
    short, long = simulate(network, x, 5, spikes=True), simulate(network, x, 12, spikes=True)
    np.testing.assert_array_equal(short.readout, long.readout[:, :5])
    for a, b in zip(short.spikes, long.spikes, strict=True):
        np.testing.assert_array_equal(a, b[:, :5])


def test_snntorch_keeps_no_network_alive(rng: np.random.Generator) -> None:
    import snntorch as package

    before = len(package.SpikingNeuron.instances)
    snntorch.simulate(network_of((3, 4, 2), rng), np.zeros((1, 3)), 2)
    assert len(package.SpikingNeuron.instances) == before


# --- spikes stand for activations -------------------------------------------------------------------------------------
def test_counts_of_a_constant_drive_are_the_relu_to_half_a_spike(simulate: Simulator, rng: np.random.Generator) -> None:
    """The potential 1/2 + T a - count is in [0, 1) for 0 <= a < 1, so |count - T a| <= 1/2; below 0 nothing fires."""
    drive = np.concatenate([np.linspace(-1, 1, 41), rng.random(20), [1e-6, 1 - 1e-6, 0.5, 1 / 3]])
    layer = IFLayer("layer 1", drive[:, None], np.zeros(len(drive)), np.ones(1))
    network = IFNetwork((layer,), IFLayer("readout", np.zeros((1, len(drive))), np.zeros(1), np.ones(1)))
    for steps in (1, 7, 100):
        counts = simulate(network, np.ones((1, 1)), steps).counts[0][0]
        assert np.abs(counts - steps * np.maximum(drive, 0)).max() <= 0.5 + 1e-12
        assert np.all(counts[drive <= 0] == 0)


def test_rates_of_all_layers_approach_the_relu_network_as_one_over_time(
    simulate: Simulator, rng: np.random.Generator
) -> None:
    """The error of a count does not grow with T. A layer adds at most a spike to what the one below hands on."""
    network = network_of((6, 8, 7, 4), rng)
    layers = tuple(replace(layer, weight=0.4 * layer.weight) for layer in network.layers)
    network = replace(network, layers=layers)
    x = rng.random((3, 6))
    activities = network.rates(x)
    assert max(a.max() for a in activities[:-1]) < 1  # nothing saturates
    assert min(a.max() for a in activities[:-1]) > 0.2  # and much is active
    bounds = [0.5]
    bounds.append(np.abs(layers[1].weight).sum(1).max() * bounds[0] + 1)
    bounds.append(np.abs(network.readout.weight).sum(1).max() * bounds[1])
    for steps in (20, 500):
        result = simulate(network, x, steps)
        for counts, activity, bound in zip((*result.counts, result.readout[:, -1]), activities, bounds, strict=True):
            assert np.abs(counts - steps * activity).max() <= bound + 1e-9


# --- what is refused --------------------------------------------------------------------------------------------------
def layer(units: int, inputs: int, name: str = "layer 1") -> IFLayer:
    return IFLayer(name, np.ones((units, inputs)), np.zeros(units), np.ones(1))


def test_a_layer_of_wrong_shapes_or_values_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"layer 7: needs weight \(M, N\) and bias \(M,\), got \(3, 2\) and \(2,\)"):
        IFLayer("layer 7", np.ones((3, 2)), np.zeros(2), np.ones(1))
    with pytest.raises(UsageError, match="layer 7: needs weight"):
        IFLayer("layer 7", np.ones(3), np.zeros(3), np.ones(1))
    for weight, bias in ((np.nan, 0.0), (1.0, np.inf)):
        with pytest.raises(UsageError, match="layer 7: weights and biases must be finite"):
            IFLayer("layer 7", np.full((1, 1), weight), np.full(1, bias), np.ones(1))


def test_a_scale_that_fits_no_unit_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"layer 7: .*scale"):
        IFLayer("layer 7", np.ones((3, 2)), np.zeros(3), np.ones(2))


def test_a_network_that_does_not_fit_together_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="layer 2: takes 4 inputs, layer 1 has 3"):
        IFNetwork((layer(3, 2), layer(5, 4, "layer 2")), layer(2, 5, "readout"))
    with pytest.raises(UsageError, match="readout: takes 4 inputs, layer 1 has 3"):
        IFNetwork((layer(3, 2),), layer(2, 4, "readout"))
    with pytest.raises(UsageError, match="at least one spiking layer"):
        IFNetwork((), layer(2, 4, "readout"))
    with pytest.raises(UsageError, match="input_coding: must be analog or poisson, got 'latency'"):
        IFNetwork((layer(3, 2),), layer(2, 3), input_coding="latency")


@pytest.mark.parametrize(
    ("stimulus", "steps", "complaint"),
    [
        (np.zeros((1, 2)), 0, "steps: must be at least 1, got 0"),
        (np.zeros((1, 3)), 5, r"stimulus: needs \(images, 2\) currents or \(images, steps, 2\) spikes, got \(1, 3\)"),
        (np.zeros(2), 5, r"stimulus: needs .* got \(2,\)"),
        (np.zeros((1, 4, 2)), 5, "stimulus: has spikes for 4 steps, the simulation 5"),
        (np.full((1, 2), np.nan), 5, "stimulus: must be finite"),
        (np.full((1, 5, 2), 0.5), 5, "stimulus: .*0.* 1"),  # half a spike: the simulators would not agree on it
        (np.zeros((0, 2)), 5, "stimulus: .*image"),
    ],
)
def test_a_stimulus_that_cannot_be_shown_is_refused(
    simulate: Simulator, stimulus: Array, steps: int, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        simulate(IFNetwork((layer(3, 2),), layer(2, 3)), stimulus, steps)


def test_brian_refuses_a_network_too_large_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brian, "MOST_SYNAPSES", 11)
    with pytest.raises(UsageError, match="Brian2 would need 12 synapses, at most 11 are built; use snnTorch"):
        brian.simulate(IFNetwork((layer(3, 2),), layer(2, 3)), np.zeros((1, 2)), 5)


def test_any_number_will_do_for_the_initial_potential(simulate: Simulator, rng: np.random.Generator) -> None:
    network = replace(network_of((3, 4, 2), rng), initial_potential=np.float64(0.25))
    x = rounded(rng.random((2, 3)), GRID)
    assert_identical(simulate(network, x, 5, spikes=True), stepped(network, x, 5))


# --- the file ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def saved(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, IFNetwork]:
    network = network_of((4, 3, 5, 2), rng)
    awkward = np.array([-0.0, 5e-324, 0.1 + 0.2, -1.7976931348623157e308])
    weight = np.vstack([awkward, network.layers[0].weight[1:]])
    network = changed(network, 0, weight=weight, scale=np.array([0.1, 2.0, 1 / 3]), name="Schicht ö")
    network = replace(network, initial_potential=0.1, input_coding="poisson")
    path = tmp_path / "new" / "network.h5"
    network.save(path)
    return path, network


def test_a_saved_network_comes_back_bit_for_bit(saved: tuple[Path, IFNetwork]) -> None:
    path, network = saved
    loaded = load(path)
    assert (loaded.initial_potential, loaded.input_coding) == (0.1, "poisson")
    for ours, theirs in zip((*loaded.layers, loaded.readout), (*network.layers, network.readout), strict=True):
        assert ours.name == theirs.name
        for key in ("weight", "bias", "scale"):
            one, other = getattr(ours, key), getattr(theirs, key)
            assert (one.dtype, one.shape, one.tobytes()) == (np.float64, other.shape, other.tobytes())


def test_the_file_says_what_it_holds(saved: tuple[Path, IFNetwork]) -> None:
    with h5py.File(saved[0]) as file:
        assert (file.attrs["threshold"], file.attrs["reset"]) == (1.0, "subtract the threshold")
        assert "same step" in file.attrs["schedule"]
        assert [bool(file[f"layers/{n}"].attrs["spiking"]) for n in range(3)] == [True, True, False]
        assert file["layers/0/scale"].attrs["units"] == "activation"


def assert_refused(path: Path) -> None:
    with pytest.raises(RatespikeError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(saved: tuple[Path, IFNetwork], share: float) -> None:
    content = saved[0].read_bytes()
    saved[0].write_bytes(content[: int(share * len(content))])
    assert_refused(saved[0])


def test_a_missing_file_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing.h5")
    assert_refused(tmp_path)
    (tmp_path / "text").write_text("weights = 1\n" * 100)
    assert_refused(tmp_path / "text")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["layers"] = np.ones(3)
    assert_refused(tmp_path / "foreign.h5")


def drop_bias(file: Any) -> None:
    del file["layers/1/bias"]


def drop_layers(file: Any) -> None:
    for number in range(3):
        del file[f"layers/{number}"]


def drop_all_but_one(file: Any) -> None:
    for number in range(1, 3):
        del file[f"layers/{number}"]


def put(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = value

    return change


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value

    return change


DAMAGES = {
    "another format": attribute("format", 99),
    "no format": attribute("format", None),
    "no kind": attribute("kind", None),
    "kind is an array": attribute("kind", np.ones(3)),
    "unknown coding": attribute("input_coding", "latency"),
    "no initial potential": attribute("initial_potential", None),
    "initial potential of text": attribute("initial_potential", "half"),
    "initial potential NaN": attribute("initial_potential", np.nan),
    "a bias is missing": drop_bias,
    "no layers": drop_layers,
    "one layer": drop_all_but_one,
    "layers is an array": put("layers", np.ones(3)),
    "a layer is an array": put("layers/1", np.ones(3)),
    "weights of text": put("layers/1/weight", "many"),
    "weights of another shape": put("layers/1/weight", np.ones((5, 9))),
    "a bias of another shape": put("layers/1/bias", np.ones(2)),
    "a scale of another shape": put("layers/1/scale", np.ones(2)),
    "a weight is NaN": put("layers/1/weight", np.full((5, 3), np.nan)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(saved: tuple[Path, IFNetwork], damage: str) -> None:
    with h5py.File(saved[0], "r+") as file:
        DAMAGES[damage](file)
    assert_refused(saved[0])


def test_any_broken_bytes_are_refused_or_harmless(saved: tuple[Path, IFNetwork], rng: np.random.Generator) -> None:
    content = np.frombuffer(saved[0].read_bytes(), np.uint8)
    messages = []
    for _ in range(150):
        broken = content.copy()
        start, length = rng.integers(len(content)), rng.integers(1, 64)
        place = broken[start : start + length]
        place[:] = rng.integers(0, 256, len(place))
        saved[0].write_bytes(broken.tobytes())
        try:
            load(saved[0])
        except RatespikeError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)
