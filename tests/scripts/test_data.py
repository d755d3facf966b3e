import gzip
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from foundation.data import DATASETS
from foundation.data.catalogue import OfficialFile

Run = Callable[..., tuple[int, str, str]]
KNOWN = ", ".join(DATASETS)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A served root with a small mnist; its address."""
    folder = tmp_path / "served"
    files = []
    for file in DATASETS["mnist"].files:
        content = gzip.compress(file.path.encode())
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(content)
        files.append(OfficialFile(file.path, len(content), hashlib.md5(content).hexdigest()))
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], files=tuple(files)))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def row(table: str, name: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.split()[:1] == [name])
    return line.split()


def test_get_and_list(run: Run, mirror: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    status, table, errors = run("data", "list", "--root", root)
    assert (status, errors) == (0, "")
    assert row(table, "digits")[1:6] == ["1,297", "500", "8x8x1", "-", "bundled"]
    assert row(table, "cifar10")[1:7] == ["50,000", "10,000", "32x32x3", "170.5", "MB", "missing"]
    assert row(table, "stl10")[1:7] == ["5,000+100,000", "8,000", "96x96x3", "2640.4", "MB", "missing"]
    assert row(table, "image-folder")[1:6] == ["-", "-", "-", "-", "missing"]
    assert f"root: {root}" in table

    status, said, errors = run("data", "get", "mnist", "digits", "mnist", "--root", root, "--mirror", mirror)
    assert status == 0
    assert said.splitlines() == [
        f"mnist: complete in {root} (4 files written, 0 kept)",
        "digits: comes with scikit-learn, nothing to download",
    ]
    assert "train-images-idx3-ubyte.gz" in errors  # the progress bar
    assert row(run("data", "list", "--root", root)[1], "mnist")[6] == "complete"
    assert "(0 files written, 4 kept)" in run("data", "get", "mnist", "--root", root)[1]

    (root / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    table = run("data", "list", "--root", root)[1]
    assert row(table, "mnist")[6] == "incomplete"
    note = f"mnist: t10k-labels-idx1-ubyte.gz missing; mend it with `ratespike data get mnist --root {root}`"
    assert table.splitlines()[-1] == note
    (root / "mnist/train-images-idx3-ubyte.gz").write_bytes(b"123")
    table = run("data", "list", "--root", root)[1]
    assert row(table, "mnist")[6] == "corrupt"
    assert "train-images-idx3-ubyte.gz has 3 bytes instead of" in table
    assert run("data", "get", "mnist", "--root", root, "--mirror", mirror)[1].endswith("(2 files written, 2 kept)\n")


def test_a_folder_of_images_is_found(run: Run, tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "image-folder" / part).mkdir(parents=True)
    assert row(run("data", "list", "--root", tmp_path)[1], "image-folder")[5] == "found"


def test_the_root_comes_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RATESPIKE_DATA", str(tmp_path / "elsewhere"))
    assert f"root: {tmp_path / 'elsewhere'}" in run("data", "list")[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["get", "mnist", "imagenet"], "unknown dataset 'imagenet'; known are {0}, image-folder"),
        (
            ["get", "image-folder"],
            "image-folder is a folder of your own images, there is nothing to download; it holds "
            "image-folder/train/CLASS/ and image-folder/test/CLASS/ below the root",
        ),
        (["get"], "name at least one dataset; known are {0}"),
        (["get", "mnist", "--mirror", "host"], "mirror 'host' should begin with http:// or https://"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    run: Run, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    root = tmp_path / "root"
    assert run("data", *arguments, "--root", root) == (2, "", f"ratespike: {complaint.format(KNOWN)}\n")
    assert not root.exists()


def test_a_failed_download_is_one_line_and_status_1(run: Run, mirror: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    status, said, errors = run("data", "get", "mnist", "--root", root, "--mirror", f"{mirror}/nothing")
    address = f"{mirror}/nothing/mnist/train-images-idx3-ubyte.gz"
    assert (status, said, errors) == (1, "", f"ratespike: {address}: the host answers 404; try --mirror\n")
    assert not root.exists()


def test_from_a_shell(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from ratespike.cli import main; main()", "data"]
    done = subprocess.run([*command, "get", "digits", "--root", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([*command, "get", "nothing"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
