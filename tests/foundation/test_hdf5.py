"""Reading HDF5 that anybody may have written: nothing outside of the file, nothing larger than it, all by name."""

import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from foundation.errors import RatespikeError
from foundation.hdf5 import Source, opened
from tests.faults.damage import EDITS, edited, refused


def reading(act):
    """A reader that does `act` with the open file."""

    def read(path: Path) -> object:
        with opened(path, "tests") as source:
            return act(source)

    return read


def array(name: str = "/a"):
    return reading(lambda source: source.array(name, None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


# --- what is read -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i1", ">u8", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_arrays_are_read_in_the_order_of_this_machine(path, dtype, shape) -> None:
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    with h5py.File(path, "w") as file:
        file["group/a"] = values
    back = array("/group/a")(path)
    np.testing.assert_array_equal(back, values)
    assert isinstance(back, np.ndarray)
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    assert back.shape == shape


def test_groups_texts_and_attributes_are_read(path) -> None:
    with h5py.File(path, "w") as file:
        file["g/fixed"] = np.bytes_(b"LIF")
        file["g/variable"] = "Lineär"
        file["g/sub/x"] = 1
        file.attrs["version"] = np.array([0, 1], np.uint32)
        file["g"].attrs["number"] = 2.5
        file["g"].attrs["text"] = "variable"
        file["g"].attrs["bytes"] = np.bytes_(b"fixed")
        file["g"].attrs.create("sorting", 1, dtype=h5py.enum_dtype({"none": 0, "by_id": 1}))
    with opened(path, "tests") as source:
        assert source.names("/g") == ["fixed", "sub", "variable"]
        assert list(source.datasets()) == ["/g/fixed", "/g/sub/x", "/g/variable"]
        assert (source.has("/g/sub"), source.has("/g/none"), source.has("/g/sub/x/y")) == (True, False, False)
        assert (source.is_group("/g/sub"), source.is_group("/g/fixed")) == (True, False)
        assert (source.text("/g/fixed"), source.text("/g/variable")) == ("LIF", "Lineär")
        np.testing.assert_array_equal(source.attribute("/", "version"), [0, 1])
        held = [source.attribute("/g", key) for key in ("number", "text", "bytes", "sorting", "none")]
        assert held == [2.5, "variable", "fixed", "by_id", None]


def test_links_within_the_file_are_followed(path) -> None:
    with h5py.File(path, "w") as file:
        file["g/h/a"] = [1, 2]
        file["b"] = h5py.SoftLink("/g/h/a")
        file["g/c"] = h5py.SoftLink("h")
        file["hard"] = file["g/h"]
    for name in ("/b", "/g/c/a", "/hard/a"):
        np.testing.assert_array_equal(array(name)(path), [1, 2])


# --- what leads out of the file ---------------------------------------------------------------------------------------
def test_links_out_of_the_file_are_refused_unopened(path, tmp_path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = [1, 2]
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("other.h5", "/secret")
        file["g"] = h5py.ExternalLink("other.h5", "/")
        file["s"] = h5py.SoftLink("/g/secret")
        assert file["s"][0] == 1  # h5py would follow
    for name, culprit in (("/a", "/a"), ("/g/secret", "/g"), ("/s", "/g")):
        for act in (lambda s, n=name: s.array(n), lambda s, n=name: s.has(n)):
            assert refused(reading(act), path) == f"{culprit}: is a link out of the file; should lie in the file itself"
    assert "is a link out of the file" in str(refused(reading(lambda s: list(s.datasets())), path))


def test_links_in_a_circle_are_refused(path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")
        file["c"] = h5py.SoftLink("/nowhere")
        file["g/self"] = file.create_group("g") if "g" not in file else file["g"]
    assert "too long a chain of links" in str(refused(array("/a"), path))
    assert refused(array("/c"), path) == "/c: is missing"
    assert str(refused(array("/g" + "/self" * 40), path)).endswith("lies more than 32 groups deep")
    with h5py.File(path, "a") as file:
        del file["a"], file["b"], file["c"]
    said = refused(reading(lambda s: list(s.datasets())), path)
    assert said == "/g/self: is a group that lies in several places, perhaps in itself"


def test_content_in_other_files_is_refused(path, tmp_path) -> None:
    (tmp_path / "raw").write_bytes(bytes(80))
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10,), "f8", external=[(str(tmp_path / "raw"), 0, 80)])
        layout = h5py.VirtualLayout((10,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (10,))
        file.create_virtual_dataset("b", layout)
    assert refused(array(), path) == "/a: is stored in another file; should lie in this one"
    assert str(refused(array("/b"), path)).startswith("/b: is virtual")


# --- what is of another kind ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    [
        np.array([b"x"]),
        np.array([True]),
        np.array([1j]),
        np.array([(1, 2.0)], [("a", int), ("b", float)]),
        np.array(["x"], h5py.string_dtype()),
        np.zeros(2, np.longdouble),
    ],
)
def test_what_is_no_plain_number_is_refused(path, value) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=value, dtype=value.dtype)
        file["a"].attrs.create("v", [np.arange(3), np.arange(2)], shape=(2,), dtype=h5py.vlen_dtype(np.int64))
    assert refused(array(), path) == "/a: should be plain numbers, is of another type"
    expected = "/a, attribute v: should be a number or a text, is of another type"
    assert refused(reading(lambda s: s.attribute("/a", "v")), path) == expected


def test_what_is_not_where_it_should_be_is_named(path) -> None:
    with h5py.File(path, "w") as file:
        file["g/a"] = np.ones((2, 3))
        file["g/t"] = np.array([b"x", b"y"])
        file["g/long"] = np.bytes_(b"x" * 200_000)
        file.create_dataset("g/many", data=np.full(11_000_000, b"x"), compression="gzip")
        file["g/latin"] = np.bytes_(b"\xe9")
        file["g"].attrs["big"] = np.zeros(60_000, np.int8)
    for act, said in (
        (lambda s: s.array("/g/b"), "/g/b: is missing"),
        (lambda s: s.array("/g"), "/g: should be a dataset"),
        (lambda s: s.group("/g/a"), "/g/a: should be a group"),
        (lambda s: s.names("/g/a"), "/g/a: should be a group"),
        (lambda s: s.array("/g/a"), "/g/a: should have 1 dimension(s), has shape (2, 3)"),
        (lambda s: s.array("/g/a", 2, kinds="iu"), "/g/a: should be whole numbers, is of another type"),
        (lambda s: s.text("/g/a"), "/g/a: should be a text, is of another type, or of shape (2, 3)"),
        (lambda s: s.text("/g/t"), "/g/t: should be a text, is of another type, or of shape (2,)"),
        (lambda s: s.text("/g/long"), "/g/long: cannot be read (a text of 200,000 bytes, at most 100,000"),
        (lambda s: s.texts("/g/many"), "/g/many: should be at most 10,000,000 bytes of texts, has shape (11000000,)"),
        (lambda s: s.text("/g/latin"), "/g/latin: cannot be read ("),
        (lambda s: s.attribute("/h", "x"), "/h: is missing"),
    ):
        assert str(refused(reading(act), path)).startswith(said)


def test_nine_dimensions_are_refused(path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.ones((1,) * 9)
    assert str(refused(array(), path)).startswith("/a: should have at most 8 dimension(s)")


# --- what is larger than the file -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((10**15,), {"chunks": (1000,)}),
        ((2**40, 2**40), {"chunks": (10, 10)}),
        ((10**15,), {"chunks": (1000,), "compression": "gzip"}),
        ((10**6,), {"chunks": (1000,)}),
        ((10**6,), {"chunks": (1000,), "compression": "gzip"}),
        ((10**6,), {}),
    ],
)
def test_content_that_is_declared_and_not_there_is_refused(path, shape, options) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", shape, "f8", **options)
        if options and len(shape) == 1:  # HDF5 itself cannot write so far into the other
            file["a"][(slice(3),) * len(shape)] = 1
    said = refused(array(), path)
    assert said is not None
    assert said.startswith("/a: declares ")
    assert str(refused(reading(lambda s: s.shape("/a")), path)).startswith("/a: declares ")


def test_a_huge_chunk_around_a_few_numbers_is_refused(path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (3,), "f8", maxshape=(None,), chunks=(400_000_000,), compression="gzip")
    assert str(refused(array(), path)).startswith("/a: declares 3,200,000,000 bytes and stores")


def test_what_is_packed_twice_or_by_a_plugin_is_refused(path) -> None:
    for number, pack in enumerate((lambda p: (p.set_deflate(9), p.set_deflate(9)), lambda p: p.set_scaleoffset(2, 0))):
        with h5py.File(path, "w") as file:
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((1000,))
            pack(properties)
            space = h5py.h5s.create_simple((1000,))
            h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_INT64, space, properties)
            file["a"][:] = 0
        assert str(refused(array(), path)).startswith("/a: is packed by the HDF5 filters"), number


@pytest.fixture(params=["earliest", "latest"])
def texts(request: pytest.FixtureRequest, path: Path) -> bytes:
    """A file with texts of variable length, in the old and the new layout of object headers."""
    with h5py.File(path, "w", libver=request.param) as file:
        file["a"] = [1.0]
        for k in range(6):
            file["a"].attrs[f"key{k}"] = f"text {k}" * k
        file["t"] = "Poisson é"
        file["edges"] = [("input", "0"), ("0", ""), ("0", "output")]
    return path.read_bytes()


def test_texts_of_variable_length_are_read(path, texts) -> None:
    with opened(path, "tests") as source:
        assert [source.attribute("/a", f"key{k}") for k in range(6)] == [f"text {k}" * k for k in range(6)]
        assert source.text("/t") == "Poisson é"
        edges = source.texts("/edges", 2)
    assert edges.tolist() == [["input", "0"], ["0", ""], ["0", "output"]]


def test_a_damaged_heap_of_texts_does_not_stop_the_reader(path, texts) -> None:
    """HDF5 2.0 walks for ever over an object of size 0."""
    heap = texts.index(b"GCOL")
    path.write_bytes(texts[: heap + 16] + bytes(16) + texts[heap + 32 :])
    said = refused(reading(lambda s: s.attribute("/a", "key5")), path)
    assert said == "/a, attribute key5: cannot be read (no such text in its heap)"
    np.testing.assert_array_equal(array()(path), [1.0])


def test_a_text_that_says_that_it_is_long_takes_no_memory(path, texts) -> None:
    """HDF5 2.0 takes the 4 GiB first."""
    heap = texts.index(b"GCOL")
    element = (len("text 5" * 5)).to_bytes(4, "little") + heap.to_bytes(8, "little")
    place = texts.index(element)
    for lie in (b"\xff\xff\xff\xff", b"\xff\xff\0\0"):
        path.write_bytes(texts[:place] + lie + texts[place + 4 :])
        assert refused(reading(lambda s: s.attribute("/a", "key5")), path) is not None
    path.write_bytes(texts[: place + 4] + b"\xff" * 8 + texts[place + 12 :])
    assert refused(reading(lambda s: s.attribute("/a", "key5")), path) is not None


def test_texts_that_are_all_the_same_large_one_take_no_memory(path) -> None:
    """A thousand elements that stand for one text: a small file, which would be a hundred million bytes."""
    with h5py.File(path, "w") as file:
        file["t"] = ["x" * 99_999] + ["y"] * 999
    content = path.read_bytes()
    large = (99_999).to_bytes(4, "little")
    place = next(
        k for k in range(len(content)) if content[k : k + 4] == large and content[k + 16 : k + 20] == b"\1\0\0\0"
    )
    path.write_bytes(content[:place] + content[place : place + 16] * 1000 + content[place + 16_000 :])
    assert "at most 100,000 each and 10,000,000 can be read" in str(refused(reading(lambda s: s.texts("/t")), path))


def test_fixed_and_empty_texts_are_read(path) -> None:
    with h5py.File(path, "w") as file:
        file["t"] = np.array([b"a", b"bcd"])
        file.create_dataset("packed", data=np.array([b"a", b"bcd"]), compression="gzip")
        file["none"] = np.array([], h5py.string_dtype())
        file.create_dataset("chunked", data=["a", "b"], chunks=(1,), dtype=h5py.string_dtype())
    with opened(path, "tests") as source:
        assert [source.texts(f"/{name}").tolist() for name in ("t", "packed", "none")] == [["a", "bcd"]] * 2 + [[]]
    said = refused(reading(lambda s: s.texts("/chunked")), path)
    assert said == "/chunked: cannot be read (not stored in one piece)"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_damaged_texts_are_read_or_refused_and_nothing_else_happens(path, texts, edits) -> None:
    path.write_bytes(edited(texts, edits))
    refused(reading(lambda s: [s.attribute("/a", f"key{k}") for k in range(6)]), path)
    refused(reading(lambda s: s.text("/t")), path)
    refused(reading(lambda s: s.texts("/edges", 2)), path)


def test_huge_declarations_take_no_memory(path, tmp_path) -> None:
    """In a process of its own, which may not take more than a gigabyte."""
    with h5py.File(path, "w") as file:
        file.create_dataset("spikes/exc/timestamps", (10**15,), "f8", chunks=(1000,), compression="gzip")
        file["spikes/exc/timestamps"].attrs["units"] = "ms"
    (tmp_path / "a.wmat").write_text("%%MatrixMarket matrix coordinate real general\n4 4 1000000000000\n1 1 1\n")
    program = f"""
        import resource
        from pathlib import Path
        from bridge.files.auryn import read_wmat
        from bridge.files.sonata import read_spikes
        from foundation.errors import RatespikeError
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
        folder = Path({str(tmp_path)!r})
        for read in (lambda: read_spikes(folder / "a.h5", dt=1e-4), lambda: read_wmat(folder / "a.wmat")):
            try:
                read()
            except RatespikeError as error:
                print(error)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "/spikes/exc/timestamps: declares 8,000,000,000,000,000 bytes" in first
    assert "declares 1,000,000,000,000 entries" in second


# --- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"no HDF5 at all\n", b"\x89HDF\r\n\x1a\n" + b"\xff" * 500])
def test_other_files_are_refused(path, content) -> None:
    assert refused(array(), path) == "no such file"
    path.write_bytes(content)
    assert str(refused(array(), path)).startswith("damaged, or not a file of tests (")
    assert refused(array(), path.parent) == "is a folder, not a file"


def test_an_error_names_the_file_once(path) -> None:
    with h5py.File(path, "w"):
        pass

    def fail(source: Source) -> None:
        raise source.error("/a\nb", "is wrong")

    with pytest.raises(RatespikeError) as caught:
        reading(fail)(path)
    assert str(caught.value) == f"{path}: /a b: is wrong"


def test_a_small_file_of_zeros_is_not_unpacked_to_gigabytes(path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", (300_000_000,), "u1", chunks=(10_000_000,), compression="gzip")
        for start in range(0, data.size, 10_000_000):
            data[start : start + 10_000_000] = 0
        file.create_dataset("b", data=np.zeros(10_000_000), compression="gzip")
    assert path.stat().st_size < 1_000_000
    assert refused(array(), path) == "/a: declares 300,000,000 bytes, should be 268,435,456 at most"
    assert array("/b")(path).nbytes == 80_000_000
