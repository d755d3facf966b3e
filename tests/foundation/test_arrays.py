"""NumPy's files, of anybody: what is read, and what is refused before memory is taken."""

import io
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from foundation.arrays import mapped, opened, read_arrays
from tests.faults.damage import EDITS, Edit, edited, refused

ROOT = Path(__file__).parents[2]


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def head(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zipped(path: Path, entries: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"a/b": np.arange(6).reshape(2, 3), "c": np.float32(2.5), "none": np.zeros((0, 3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        back = read_arrays(tmp_path / "a.npz", "tests", 10_000)
        assert list(back) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array)
    np.save(tmp_path / "a.npy", arrays["a/b"])
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npy", "tests", 0)[""], arrays["a/b"])
    np.testing.assert_array_equal(mapped(tmp_path / "a.npy", "tests"), arrays["a/b"])
    with opened(tmp_path / "a.npz", "tests", 10_000) as file:
        assert file.shapes == {"a/b": (2, 3), "c": (), "none": (0, 3)}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"a.npy": head((2**28,)) + bytes(8)}, "a: declares 2,147,483,648 bytes, shape (268435456,), and holds 8"),
        ({"a.npy": head((-1,)) + bytes(8)}, "a: declares -8 bytes"),
        ({"a.npy": bytes(2_000_000)}, "declares 2,000,000 bytes, more than it can hold, or is needed here ("),
        ({"a.npy": saved(np.zeros(10))[:-1]}, "a: declares 80 bytes, shape (10,), and holds 79"),
        ({"a.npy": head((3,), "|O") + b"cos\nsystem\n."}, "a: should be plain numbers, is of type object"),
        ({"a.npy": head((10**9,), "<U0")}, "a: should be plain numbers, is of type <U0"),
        ({"a.npy": head((1,), "<f16") + bytes(16)}, "a: should be plain numbers, is of type float128"),
        ({"a.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"}, "a: not a whole array ("),
        ({"a.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 9000}, "a: not a whole array ("),
        ({"a.txt": b""}, "a.txt: should be an array (.npy)"),
        ({"a\x1b[2J.npy": saved(np.zeros(1))}, "a?[2J: not a whole array (a text with a character"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, entries: dict[str, bytes], said: str) -> None:
    path = zipped(tmp_path / "a.npz", entries)
    assert str(refused(lambda p: read_arrays(p, "tests", 1_000_000), path)).startswith(said)


def test_other_ways_to_pack_are_refused(tmp_path: Path) -> None:
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = zipped(tmp_path / "a.npz", {"a.npy": saved(np.zeros(10))}, how)
        assert (
            refused(lambda p: read_arrays(p, "tests", 10_000), path) == "a.npy: is packed in another way than numpy's"
        )


def test_a_map_is_of_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    assert "no .npy file" in str(refused(lambda p: mapped(p, "tests"), tmp_path / "a.npz"))
    (tmp_path / "a.npy").write_bytes(head((10**12,)) + bytes(8))
    assert "declares 8,000,000,000,000 bytes" in str(refused(lambda p: mapped(p, "tests"), tmp_path / "a.npy"))


def test_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10_000_000))
    monkeypatch.setattr("foundation.memory.free_memory", lambda: 70_000_000)
    said = refused(lambda p: read_arrays(p, "tests", 2**30), tmp_path / "a.npz")
    assert said == "a: takes 80.0 MB of memory, 70.0 MB are free"


def test_bombs_take_no_memory_whoever_reads_them(tmp_path: Path) -> None:
    """Small files that declare gigabytes of zeros, which deflate makes a thousandth; in a process of its own."""
    for name in ("rates", "examples", "layer/weight"):
        with (
            zipfile.ZipFile(tmp_path / f"{name.partition('/')[0]}.npz", "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(f"{name}.npy", "w", force_zip64=True) as entry,
        ):
            entry.write(head((2, 400_000_000)))
            for _ in range(100):
                entry.write(bytes(2**20))
    program = f"""
        import resource
        from pathlib import Path
        from bridge.files.weights import read_weights
        from foundation.errors import RatespikeError
        from ratenets.hebbian.pictures import read_pictures
        from spiking.stimuli import load_rates
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        folder = Path({str(tmp_path)!r})
        for read, name in ((load_rates, "rates"), (read_pictures, "examples"), (read_weights, "layer")):
            try:
                read(folder / (name + ".npz"))
            except RatespikeError as error:
                print(error)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if "declares" in line]) == 3


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_damaged_files_are_read_or_refused_and_nothing_else_happens(tmp_path: Path, edits: list[Edit]) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(50.0), b=np.arange(9).reshape(3, 3), t=np.array(["x", "yy"]))
    path.write_bytes(edited(path.read_bytes(), edits))
    refused(lambda p: read_arrays(p, "tests", 100_000, "iufU"), path)
