"""Plain weights: arrays by name come back as they were; numpy and h5py read them; damaged files are refused."""

import io
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.files.weights import read_units, read_weights, write_weights
from foundation.errors import UsageError
from tests.faults.damage import EDITS, edited, refused

FAST = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SUFFIXES = ("npz", "h5", "hdf5")
WEIGHTS = {
    "conv1/weight": np.random.default_rng(1).normal(size=(3, 2, 2, 2)).astype(np.float32),
    "conv1/bias": np.arange(3.0),
    "blocks.0.weight": np.arange(6).reshape(2, 3),
    "scale": np.array(2.5),
    "none": np.empty((0, 4)),
    "file": np.array([True, False]).astype(np.uint8),  # a name that numpy.savez could not take
}
UNITS = {"conv1/weight": "leak conductance", "scale": "Ω"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_come_back_with_their_types_shapes_and_units(tmp_path, suffix) -> None:
    path = tmp_path / f"w.{suffix}"
    write_weights(path, WEIGHTS, UNITS)
    back = read_weights(path)
    assert back.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)
    assert read_units(path) == UNITS


def test_numpy_and_h5py_read_what_we_write(tmp_path) -> None:
    for suffix in ("npz", "h5"):
        write_weights(tmp_path / f"w.{suffix}", WEIGHTS, UNITS)
    with np.load(tmp_path / "w.npz", allow_pickle=False) as held:
        assert set(held.files) == {*WEIGHTS, "conv1/weight.units", "scale.units"}
        np.testing.assert_array_equal(held["conv1/weight"], WEIGHTS["conv1/weight"])
        assert str(held["scale.units"]) == "Ω"
    with h5py.File(tmp_path / "w.h5") as file:
        np.testing.assert_array_equal(file["conv1/weight"], WEIGHTS["conv1/weight"])
        assert file["scale"].attrs["units"].decode() == "Ω"


def test_weights_that_others_packed_are_read(tmp_path) -> None:
    zeros = np.zeros(1_000_000)  # nothing packs better
    np.savez_compressed(
        tmp_path / "w.npz", a=zeros, b=np.asfortranarray(np.arange(6.0).reshape(2, 3)), c=np.arange(3, dtype=">i4")
    )
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("a", data=zeros, compression="gzip", compression_opts=9, shuffle=True, fletcher32=True)
        file["b"] = np.arange(6.0).reshape(2, 3)
        file["c"] = np.arange(3, dtype=">i4")
        file["b"].attrs["units"] = "a text of variable length"
    for suffix in ("npz", "h5"):
        back = read_weights(tmp_path / f"w.{suffix}")
        np.testing.assert_array_equal(back["a"], zeros)
        np.testing.assert_array_equal(back["b"], [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(back["c"], [0, 1, 2])
    assert read_units(tmp_path / "w.h5") == {"b": "a text of variable length"}


@pytest.mark.parametrize(
    ("weights", "units", "message"),
    [
        ({"a": np.array([1.0, np.nan])}, {}, "a: should be finite, is nan at (1,)"),
        ({"a": np.array([[np.inf]])}, {}, "a: should be finite, is inf at (0, 0)"),
        ({"a": np.array(["x"])}, {}, "a: should be plain numbers"),
        ({"a": np.array([{}])}, {}, "a: should be plain numbers"),
        ({"a": np.array([1j])}, {}, "a: should be plain numbers"),
        ({"a": np.ones((1,) * 9)}, {}, "a: should be plain numbers"),
        ({"": 1.0}, {}, "weights: '' is no name"),
        ({"/a": 1.0}, {}, "weights: '/a' is no name"),
        ({"a//b": 1.0}, {}, "weights: 'a//b' is no name"),
        ({"../a": 1.0}, {}, "weights: '../a' is no name"),
        ({"a\0": 1.0}, {}, "weights: 'a\\x00' is no name"),
        ({"a.units": 1.0}, {}, "weights: 'a.units': the ending"),
        ({"a": 1.0, "a/b": 1.0}, {}, "weights: 'a' is both an array and the folder of 'a/b'"),
        ({"a": 1.0}, {"b": "Hz"}, "units: 'b' is none of the weights; known: a"),
        ({"a": 1.0}, {"a": ""}, "units: a: should be a short text"),
        ({"a": 1.0}, {"a": "H\nz"}, "units: a: should be a short text"),
    ],
)
@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_what_cannot_be_read_again_is_not_written(tmp_path, suffix, weights, units, message) -> None:
    with pytest.raises(UsageError) as caught:
        write_weights(tmp_path / f"w.{suffix}", weights, units)
    assert str(caught.value).startswith(message)
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path) -> None:
    for act in (read_weights, read_units, lambda path: write_weights(path, WEIGHTS)):
        with pytest.raises(UsageError, match=r"should end in \.npz, \.h5 or \.hdf5"):
            act(tmp_path / "w.npy")


# --- damaged .npz -----------------------------------------------------------------------------------------------------
def zipped(path, entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def saved(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def declared(shape: str, content: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("a.npy", b"")], "a: not a whole array"),
        ([("a.npy", b"\x93NUMPY\x09\x00")], "a: not a whole array"),
        ([("a.txt", b"hello")], "a.txt: should be an array (.npy)"),
        ([("a.npy", saved(np.ones(3))), ("a.npy", saved(np.ones(3)))], "2 entries with 1 names"),
        ([("a.npy", saved(np.array([{}]), allow_pickle=True))], "a: should be plain numbers, is of type object"),
        ([("a.npy", declared("(3,)", bytes(16)))], "a: declares 24 bytes, shape (3,), and holds 16"),
        ([("a.npy", declared("(1,)", bytes(16)))], "a: declares 8 bytes, shape (1,), and holds 16"),
        ([("a.npy", declared(f"({10**15},)"))], "a: declares 8,000,000,000,000,000 bytes"),
        ([("a.npy", declared(f"({2**40}, {2**40})"))], "a: declares"),
        ([("a.npy", declared("(-1, -2)", bytes(16)))], "a: declares 16 bytes, shape (-1, -2)"),
        ([("a.npy", declared("(2,)", bytes(16), "[('x', '<f8')]"))], "a: should be plain numbers"),
        ([("a.npy", declared("(2,)", bytes(16), "__import__('os')"))], "a: not a whole array"),
        ([("a.npy", saved(np.array([np.nan])))], "a: should be finite, is nan at (0,)"),
        ([("a.npy", saved(np.array("Hz")))], "a: should be plain numbers, is of type <U2"),
        ([("b.units.npy", saved(np.array("Hz")))], "b.units: should be the unit, a text, of an array"),
        ([("a.npy", saved(np.ones(1))), ("a.units.npy", saved(np.ones(1)))], "a.units: should be the unit"),
        ([("\x1b[31m.npy", b"")], "?[31m: not a whole array"),
    ],
)
def test_damaged_and_foreign_npz_files_are_refused(tmp_path, entries, message) -> None:
    said = refused(read_weights, zipped(tmp_path / "w.npz", entries))
    assert said is not None
    assert said.startswith(message)


def test_a_bomb_is_not_unpacked(tmp_path) -> None:
    inner = bytes(20_000_000)
    path = zipped(tmp_path / "w.npz", [(f"{k}.npy", inner) for k in range(3)])
    content = path.read_bytes()
    lie = content.replace((20_000_000).to_bytes(4, "little"), (2_000_000_000).to_bytes(4, "little"))
    path.write_bytes(lie)
    assert "declares 6,000,000,000 bytes, more than it can hold" in str(refused(read_weights, path))


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"text", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"])
def test_other_files_are_refused(tmp_path, suffix, content) -> None:
    path = tmp_path / f"w.{suffix}"
    assert refused(read_weights, path) == "no such file"
    path.write_bytes(content)
    assert refused(read_weights, path) is not None


# --- damaged HDF5 -----------------------------------------------------------------------------------------------------
def test_what_is_no_array_of_numbers_is_named(tmp_path) -> None:
    for value, message in (
        (np.array([1.0, np.nan]), "layer/a: should be finite, is nan at (1,)"),
        (np.array([b"x"]), "/layer/a: should be plain numbers, is of another type"),
        (np.array([True]), "/layer/a: should be plain numbers, is of another type"),
        (np.array([1j]), "/layer/a: should be plain numbers, is of another type"),
        (h5py.Empty("f8"), "/layer/a: is a null dataset"),
    ):
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["layer/a"] = value
        assert str(refused(read_weights, tmp_path / "w.h5")).startswith(message)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layer/a"] = 1.0
        file["layer/a"].attrs["units"] = 3
    assert refused(read_weights, tmp_path / "w.h5") == "/layer/a: attribute units: should be a text, is 3"


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@FAST
@given(edits=EDITS)
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(tmp_path, suffix, edits) -> None:
    path = tmp_path / f"w.{suffix}"
    write_weights(path, {"conv/w": np.arange(6.0).reshape(2, 3), "b": np.arange(3)}, {"b": "Hz"})
    path.write_bytes(edited(path.read_bytes(), edits))
    refused(read_weights, path)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@FAST
@given(where=st.integers(0, 2**20))
def test_a_file_cut_short_is_refused(tmp_path, suffix, where) -> None:
    path = tmp_path / f"w.{suffix}"
    write_weights(path, {"conv/w": np.arange(6.0).reshape(2, 3), "b": np.arange(3)})
    content = path.read_bytes()
    path.write_bytes(content[: where % len(content)])
    assert refused(read_weights, path) is not None
