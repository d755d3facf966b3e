"""torchvision's published weights of ResNet-50, which the paper's code starts from with `--pretrained`."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from foundation.data.catalogue import data_root
from foundation.data.space import check_disk
from foundation.errors import RatespikeError
from foundation.files import whole_file
from foundation.progress import bar

NAME = "resnet50-0676ba61.pth"
"""The name holds the first digits of the file's SHA-256."""
URL = "https://download.pytorch.org/models/"
FOLDER = "weights"
MOST = 110_000_000
"""Bytes; the file has 103 million (25.6 million float32 and their names)."""
TIMEOUT = 30.0  # s without a byte
CHUNK = 1 << 16  # bytes


def resnet50_weights(root: Path | None = None, url: str = URL) -> Path:
    """The file of weights, below the data root; it is downloaded if it is not there.

    Args:
        root: of the datasets; None: as `foundation.data.catalogue.data_root` has it.
        url: of the folder on the web.

    Raises:
        RatespikeError: it cannot be had, and nothing was kept.
    """
    path = data_root(root) / FOLDER / NAME
    try:
        if path.is_file() and _is_official(path):
            return path
        check_disk(path.parent, MOST, NAME)
        with whole_file(path) as part:
            with part.open("wb") as stream:
                _download(url + NAME, stream, path)
            if not _is_official(part):
                raise RatespikeError(f"{url}{NAME}: sends another file than the name says; nothing was kept")
    except OSError as error:
        raise RatespikeError(f"{error.filename or path}: cannot be written ({error.strerror or error})") from None
    return path


def _is_official(path: Path) -> bool:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest.startswith(NAME.removesuffix(".pth").rpartition("-")[2])


class _TooLongError(Exception):
    pass


class _Sink:
    """A file that pooch writes to: shows progress, and takes no more than the file can have."""

    def __init__(self, stream: BinaryIO) -> None:
        self.size = 0
        self._stream = stream
        self._progress: tqdm[None] | None = None  # from the first byte on, so that a refusal shows no bar

    def write(self, chunk: bytes) -> None:
        if self._progress is None:
            self._progress = bar(label=NAME, unit="B", unit_scale=True)
        self.size += len(chunk)
        if self.size > MOST:
            raise _TooLongError
        self._stream.write(chunk)
        self._progress.update(len(chunk))

    def flush(self) -> None:
        """Nothing: pooch asks for it after every chunk."""

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()


def _download(url: str, stream: BinaryIO, path: Path) -> None:
    import pooch
    import requests

    download = pooch.HTTPDownloader(chunk_size=CHUNK, timeout=TIMEOUT)
    by_hand = f"try again, or put the file at {path}"
    with closing(_Sink(stream)) as sink:
        try:
            download(url, sink, None)
        except _TooLongError:
            raise RatespikeError(f"{url}: sends more than the official file has; nothing was kept") from None
        except requests.HTTPError as error:
            status = getattr(error.response, "status_code", None)
            raise RatespikeError(f"{url}: the host answers {status}; {by_hand}") from None
        except requests.RequestException as error:
            fault = f"broke off after {sink.size:,} bytes" if sink.size else "cannot be reached"
            raise RatespikeError(f"{url}: {fault} ({type(error).__name__}); {by_hand}") from None
