"""The file of a converted network: whole, bit for bit, and refused when it is damaged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from foundation.errors import RatespikeError
from spiking.integrate_and_fire import IFNetwork
from spiking.network_file import load, save
from tests.spiking.if_networks import changed, network_of


@pytest.fixture
def saved(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, IFNetwork]:
    network = network_of((4, 3, 5, 2), rng)
    awkward = np.array([-0.0, 5e-324, 0.1 + 0.2, -1.7976931348623157e308])
    weight = np.vstack([awkward, network.neurons[0].weight[1:]])
    network = changed(network, 0, weight=weight, scale=np.array([0.1, 2.0, 1 / 3]), name="Schicht ö")
    network = replace(network, initial_potential=0.1, input_coding="poisson")
    path = tmp_path / "new" / "network.h5"
    save(network, path)
    return path, network


def test_a_saved_network_comes_back_bit_for_bit(saved: tuple[Path, IFNetwork]) -> None:
    path, network = saved
    loaded = load(path)
    assert (loaded.initial_potential, loaded.input_coding) == (0.1, "poisson")
    for ours, theirs in zip((*loaded.neurons, loaded.readout), (*network.neurons, network.readout), strict=True):
        assert ours.name == theirs.name
        for key in ("weight", "bias", "scale"):
            one, other = getattr(ours, key), getattr(theirs, key)
            assert (one.dtype, one.shape, one.tobytes()) == (np.float64, other.shape, other.tobytes())


def test_the_file_says_what_it_holds(saved: tuple[Path, IFNetwork]) -> None:
    with h5py.File(saved[0]) as file:
        assert (file.attrs["threshold"], file.attrs["reset"]) == (1.0, "subtract")
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


WEIGHT = "layers/1/projections/0/maps/0/weight"

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
    "weights of text": put(WEIGHT, "many"),
    "weights of another shape": put(WEIGHT, np.ones((5, 9))),
    "a bias of another shape": put("layers/1/bias", np.ones(2)),
    "a scale of another shape": put("layers/1/scale", np.ones(2)),
    "a weight is NaN": put(WEIGHT, np.full((5, 3), np.nan)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(saved: tuple[Path, IFNetwork], damage: str) -> None:
    with h5py.File(saved[0], "r+") as file:
        DAMAGES[damage](file)
    assert_refused(saved[0])


def test_nothing_is_followed_out_of_the_file(saved: tuple[Path, IFNetwork], tmp_path: Path) -> None:
    path, _ = saved
    (tmp_path / "secret").write_bytes(bytes(range(240)) * 8)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["bias"] = np.ones(3)
    with h5py.File(path) as file:
        shape = file["layers/0/bias"].shape
    good = path.read_bytes()

    def external(file: Any) -> None:
        file.create_dataset("layers/0/bias", shape, "f8", external=[(str(tmp_path / "secret"), 0, 8 * shape[0])])

    def link(file: Any) -> None:
        file["layers/0/bias"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "bias")

    for change, said in ((external, "is stored in another file"), (link, "is a link out of the file")):
        path.write_bytes(good)
        with h5py.File(path, "a") as file:
            del file["layers/0/bias"]
            change(file)
        with pytest.raises(RatespikeError, match=f"layers/0/bias: {said}"):
            load(path)


@pytest.mark.parametrize("name", ["../../etc/x", "a\x1b[2J", "", "x" * 1000, "..", 'a\nimport os  # """'])
def test_names_that_are_none_are_refused(saved: tuple[Path, IFNetwork], name: str) -> None:
    with h5py.File(saved[0], "a") as file:
        file["layers/0"].attrs["name"] = name
    assert_refused(saved[0])


def test_wrong_kinds_of_file_are_called_that(saved: tuple[Path, IFNetwork]) -> None:
    with h5py.File(saved[0], "a") as file:
        file.attrs["kind"] = "ratespike network runs"
    with pytest.raises(RatespikeError, match="is a file of ratespike network runs, not a file of ratespike integrate"):
        load(saved[0])
    with h5py.File(saved[0], "a") as file:
        file.attrs.update(kind="ratespike integrate-and-fire network", format=1)
    with pytest.raises(RatespikeError, match=r"of this version of ratespike \(its format is 1, not 2\)"):
        load(saved[0])


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
