import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foundation.data import DATASETS, load_images
from foundation.data.catalogue import Dataset, OfficialFile
from foundation.data.downloads import get
from foundation.errors import RatespikeError, UsageError

Small = Any  # conftest.Published
TRAIN = "mnist/train-images-idx3-ubyte.gz"
ARCHIVE = "cifar-10-python.tar.gz"
SENT_BEFORE_HANGING = 300_000  # bytes


class Host:
    """A web host on 127.0.0.1 that serves `contents` by path and can be made to misbehave."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.breaks_off_after: int | None = None  # bytes
        self.hangs = False
        self.status = 200
        self.headers: dict[str, str] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                host.asked.append(path)
                if path not in host.contents:
                    self.send_error(404)
                    return
                content = host.contents[path]
                self.send_response(host.status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in host.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if host.hangs:
                    self.wfile.write(content[:SENT_BEFORE_HANGING])
                    host.released.wait(60)
                    return
                self.wfile.write(content[: host.breaks_off_after])

            def log_message(self, *_: object) -> None:
                pass

        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    host = Host()
    yield host
    host.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def official_host(host: Host, published: Small, name: str) -> Dataset:
    """Let `host` be the dataset's official host: file names without folders."""
    host.contents = {f"official/{file.name}": published.contents[file.path] for file in DATASETS[name].files}
    if archive := DATASETS[name].archive:
        host.contents["official/" + archive.path] = published.contents[archive.path]
    return replace(DATASETS[name], url=f"{host.url}/official/")


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def failure(dataset: Dataset, root: Path, mirror: str | None = None) -> str:
    with pytest.raises(RatespikeError) as caught:
        get(dataset, root, mirror)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "stl10"])
def test_gets_from_the_official_host(published: Small, host: Host, root: Path, name: str) -> None:
    dataset = official_host(host, published, name)
    assert len(get(dataset, root)) == len(dataset.files)
    assert files_below(root) == sorted(file.path for file in dataset.files)
    assert len(load_images(name, root).train_labels) == dataset.n_train
    assert (root / dataset.files[0].path).stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_keeps_what_is_right_and_replaces_what_is_wrong(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "mnist")
    published.lay_out(root, "mnist")
    assert get(dataset, root) == ()
    (root / TRAIN).write_bytes(b"wrong")
    (root / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    assert get(dataset, root) == (TRAIN, "mnist/t10k-labels-idx1-ubyte.gz")
    assert host.asked == ["official/train-images-idx3-ubyte.gz", "official/t10k-labels-idx1-ubyte.gz"]
    load_images("mnist", root)


def test_replaces_only_the_wrong_batch(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "cifar10")
    published.lay_out(root, "cifar10")
    (root / "cifar-10-batches-py/test_batch").write_bytes(b"wrong")
    assert get(dataset, root) == ("cifar-10-batches-py/test_batch",)
    load_images("cifar10", root)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "stl10"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_served_root_is_a_mirror(published: Small, host: Host, root: Path, name: str, slash: str) -> None:
    host.contents = {f"some/{path}": content for path, content in published.contents.items() if "tar" not in path}
    get(DATASETS[name], root, f"{host.url}/some{slash}")
    load_images(name, root)


def test_a_mirror_may_hold_the_archive(published: Small, host: Host, root: Path) -> None:
    host.contents = {ARCHIVE: published.contents[ARCHIVE]}
    get(DATASETS["cifar10"], root, host.url)
    assert host.asked == [ARCHIVE]
    load_images("cifar10", root)


def test_a_file_that_is_called_encoded_arrives_as_it_is(published: Small, host: Host, root: Path) -> None:
    host.headers = {"Content-Encoding": "gzip"}
    get(official_host(host, published, "mnist"), root)
    load_images("mnist", root)


def test_wrong_content_is_not_kept(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "mnist")
    url = f"{host.url}/official/train-images-idx3-ubyte.gz"
    good = published.contents[TRAIN]
    for content, complaint in (
        (bytes(len(good)), f"{url}: sends {len(good):,} bytes, md5 "),
        (b"<html>Please log in</html>", f"{url}: sends 26 bytes, md5 "),
        (b"", f"{url}: sends 0 bytes, md5 "),
        (good + b"1", f"{url}: sends more than the official train-images-idx3-ubyte.gz ("),
    ):
        host.contents["official/train-images-idx3-ubyte.gz"] = content
        assert failure(dataset, root).startswith(complaint)
        assert not root.exists()


def test_a_failure_leaves_what_was_there(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "mnist")
    host.contents["official/train-images-idx3-ubyte.gz"] = b"wrong"
    (root / "mnist").mkdir(parents=True)
    (root / TRAIN).write_bytes(b"also wrong, but mine")
    failure(dataset, root)
    assert (root / TRAIN).read_bytes() == b"also wrong, but mine"
    assert files_below(root) == [TRAIN]


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_not_found(published: Small, host: Host, root: Path, name: str) -> None:
    dataset = official_host(host, published, name)
    host.contents = {}
    assert "the host answers 404; try --mirror" in failure(dataset, root)
    assert f"{host.url}/other/" in failure(dataset, root, f"{host.url}/other")
    assert not root.exists()


def test_a_host_in_trouble(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "mnist")
    host.status = 503
    assert "the host answers 503" in failure(dataset, root)
    assert not root.exists()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_broken_connection(published: Small, host: Host, root: Path, name: str) -> None:
    dataset = official_host(host, published, name)
    host.breaks_off_after = 2000
    message = failure(dataset, root)
    assert "broke off after " in message
    assert not root.exists()
    host.breaks_off_after = None
    get(dataset, root)
    load_images(name, root)


def test_no_network(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "mnist")
    host.server.server_close()
    assert "cannot be reached (ConnectionError); try again, or --mirror" in failure(dataset, root)
    assert not root.exists()


def test_a_bad_mirror_is_a_usage_error(published: Small, root: Path) -> None:
    for mirror in ("ftp://host/", "/some/folder", ""):
        with pytest.raises(UsageError, match="should begin with http:// or https://"):
            get(DATASETS["mnist"], root, mirror)
    assert "cannot be reached (InvalidURL)" in failure(DATASETS["mnist"], root, "http://")


def test_an_archive_decides_nothing(
    published: Small, host: Host, root: Path, make_archive: Callable[[dict[str, bytes]], bytes]
) -> None:
    """Members with strange names are passed over; a member that is not the official file is refused."""
    members = {path: content for path, content in published.contents.items() if path.startswith("cifar-10-batches")}
    strange = {"../outside": b"x", "/tmp/ratespike-outside": b"x", "other": b"x"}
    publish_archive(published, make_archive(strange | members))
    get(official_host(host, published, "cifar10"), root)
    assert files_below(root.parent) == sorted(f"data/{path}" for path in members)

    (root / "cifar-10-batches-py/data_batch_1").unlink()
    publish_archive(published, make_archive(members | {"cifar-10-batches-py/data_batch_1": b"other"}))
    dataset = official_host(host, published, "cifar10")
    expected = f"{ARCHIVE}: does not hold the official cifar-10-batches-py/data_batch_1"
    assert failure(dataset, root) == expected
    first = members["cifar-10-batches-py/data_batch_1"]
    publish_archive(published, make_archive(members | {"cifar-10-batches-py/data_batch_1": first[::-1]}))
    assert failure(official_host(host, published, "cifar10"), root) == expected  # of the right size, too
    assert not (root / "cifar-10-batches-py/data_batch_1").exists()
    publish_archive(published, published.contents[ARCHIVE][:-3000])
    dataset = official_host(host, published, "cifar10")
    assert failure(dataset, root).startswith(f"{ARCHIVE}: ")
    assert not list(root.glob(".*"))


def test_a_disk_that_is_too_small_is_noticed_before_the_download(
    published: Small, host: Host, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = official_host(host, published, "stl10")
    assert dataset.archive is not None
    needed = dataset.archive.most + sum(file.most for file in dataset.files)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    assert failure(dataset, root) == f"{root}: stl10_binary.tar.gz takes 830.2 kB of disk space, 830.2 kB are free"
    assert host.asked == []
    assert not root.exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=needed))
    assert len(get(dataset, root)) == 5


def publish_archive(published: Small, content: bytes) -> None:
    import hashlib

    published.contents[ARCHIVE] = content
    archive = OfficialFile(ARCHIVE, len(content), hashlib.md5(content).hexdigest())
    DATASETS["cifar10"] = replace(DATASETS["cifar10"], archive=archive)


def test_what_is_in_the_way_is_named(published: Small, host: Host, root: Path) -> None:
    dataset = official_host(host, published, "mnist")
    (root / TRAIN).mkdir(parents=True)
    assert str(root / TRAIN) in failure(dataset, root) or "cannot be written" in failure(dataset, root)
    other = root.parent / "file"
    other.write_text("mine")
    assert "is not a folder" in failure(dataset, other)
    assert other.read_text() == "mine"


KILLED = """
import sys
from pathlib import Path
from foundation.data.catalogue import DATASETS, OfficialFile
from dataclasses import replace
path, url, root = sys.argv[1:]
file = OfficialFile(path, 1_000_000, "0" * 32)
DATASETS["mnist"] = replace(DATASETS["mnist"], files=(file,), url=url)
DATASETS["cifar10"] = replace(DATASETS["cifar10"], archive=file, url=url)
name = "mnist" if path.startswith("mnist") else "cifar10"
sys.argv = ["ratespike", "data", "get", name, "--root", root]
from ratespike.cli import main
main()
"""


@pytest.mark.parametrize("path", [TRAIN, ARCHIVE])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_download_leaves_no_dataset(
    published: Small, host: Host, root: Path, path: str, how: signal.Signals
) -> None:
    name = path.rpartition("/")[2]
    host.contents[name] = bytes(1_000_000)
    host.hangs = True
    command = [sys.executable, "-c", KILLED, path, host.url + "/", str(root)]
    # A fresh signal table: a test run in the background ignores SIGINT, and its children would too.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size > 100_000 for p in root.rglob("*") if p.is_file()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    host.hangs = False
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors.endswith(b"stopped\n")
        assert not root.exists()
        return
    left = files_below(root)
    assert len(left) == 2  # what came, and the lock that died
    assert not set(left) & set(published.contents)
    dataset = "mnist" if path == TRAIN else "cifar10"
    get(official_host(host, published, dataset), root)
    assert files_below(root) == sorted(file.path for file in DATASETS[dataset].files)
    assert not list(root.glob(".*"))
    load_images(dataset, root)


def test_another_running_download_is_left_alone(published: Small, host: Host, root: Path) -> None:
    part = root / "mnist" / ".train-images-idx3-ubyte-abc.part.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    get(official_host(host, published, "mnist"), root)
    assert part.read_bytes() == b"half"
