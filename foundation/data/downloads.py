"""Getting datasets from their official hosts or from a mirror; what is not the official file is never kept."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from tqdm import tqdm

from foundation.data.catalogue import Dataset, OfficialFile
from foundation.data.official import is_official
from foundation.data.places import find_file, read_zipped
from foundation.data.space import check_disk
from foundation.errors import RatespikeError, UsageError
from foundation.files import private_folder, whole_file, write_bytes
from foundation.progress import bar

TIMEOUT = 30.0  # s without a byte
CHUNK = 1 << 16  # bytes


class NotFoundError(RatespikeError):
    """The host is there, the file is not (HTTP 404)."""


def get(dataset: Dataset, root: Path, mirror: str | None = None) -> tuple[str, ...]:
    """Make the dataset complete below the folder `root`; returns the paths (below `root`) that were written.

    Files that are right already are kept, wrong ones replaced. `mirror` is a base address below which the files have
    the same paths as below `root` (somebody's root, served), or where the official archive lies. Raises
    `UsageError` for a mirror that is not http or https, `RatespikeError` for whatever goes wrong on the way: then
    each file is as it was before or is the official one.
    """
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise UsageError(f"mirror {mirror!r} should begin with http:// or https://")
    try:
        wanted = [file for file in dataset.files if not _is_there(dataset, file, root)]
        if wanted:
            with _nothing_empty_left(root, *{(root / file.path).parent for file in wanted}):
                _get_files(dataset, wanted, root, mirror)
    except OSError as error:  # a full disk, no permission, a folder in a file's place
        raise RatespikeError(f"{error.filename or root}: cannot be written ({error.strerror or error})") from None
    return tuple(file.path for file in wanted)


def _is_there(dataset: Dataset, file: OfficialFile, root: Path) -> bool:
    """Is the file where it belongs, or where another program left it?"""
    return is_official(root / file.path, file) or find_file(dataset, file, root) is not None


def _get_files(dataset: Dataset, wanted: list[OfficialFile], root: Path, mirror: str | None) -> None:
    base = mirror.rstrip("/") + "/" if mirror else None
    if dataset.archive:
        try:
            _get_archive(dataset.archive, wanted, root, (base or dataset.url) + dataset.archive.path)
            return
        except NotFoundError:
            if not base:
                raise
            # The mirror has no archive; it may be a root that somebody serves.
    for file in wanted:
        with whole_file(root / file.path) as part, part.open("wb") as stream:
            _download(base + file.path if base else dataset.url + file.name, file, stream)


def _get_archive(archive: OfficialFile, wanted: list[OfficialFile], root: Path, url: str) -> None:
    # Below the root, where there is room for a dataset; /tmp may be small.
    check_disk(root, (archive.size or 0) + sum(file.size or 0 for file in wanted), archive.name)
    with private_folder(root / archive.name) as folder:
        path = folder / archive.name
        with path.open("wb") as stream:
            _download(url, archive, stream)
        (_unzip if archive.name.endswith(".zip") else _unpack)(path, wanted, root)


def _unzip(archive: Path, wanted: list[OfficialFile], root: Path) -> None:
    """Write the wanted files from a zip archive, as `_unpack` does from others."""
    for file in wanted:
        write_bytes(root / file.path, read_zipped(archive, file))


def _unpack(archive: Path, wanted: list[OfficialFile], root: Path) -> None:
    """Write the wanted files from the archive; no name and no link in the archive decides where anything goes."""
    missing = {file.path: file for file in wanted}
    total = sum(file.size or 0 for file in wanted) or None
    try:
        with (
            bar(label=f"unpacking {archive.name}", total=total, unit="B", unit_scale=True) as progress,
            tarfile.open(archive, "r:gz") as members,
        ):
            for member in members:
                file = missing.get(member.name)
                if file is None or not member.isreg() or member.size > file.most:
                    continue
                stream = members.extractfile(member)
                if stream is not None and _write_if_official(stream, file, root / file.path, progress):
                    del missing[file.path]
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RatespikeError(f"{archive.name}: not a whole archive ({error})") from None
    if missing:
        raise RatespikeError(f"{archive.name}: does not hold the official {', '.join(missing)}")


def _write_if_official(stream: IO[bytes], file: OfficialFile, path: Path, progress: tqdm[None]) -> bool:
    """Write what the stream gives to `path` if it is the official file; says whether it was."""
    digest = hashlib.md5(usedforsecurity=False)
    with suppress(_OtherFileError), whole_file(path) as part:
        with part.open("wb") as target:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
                progress.update(len(chunk))
        if digest.hexdigest() != file.md5:
            raise _OtherFileError
        return True
    return False


class _OtherFileError(Exception):
    pass


class _CheckedSink:
    """A file that pooch writes to: counts, digests, shows progress, and refuses more than the official size."""

    def __init__(self, stream: BinaryIO, file: OfficialFile) -> None:
        self.size = 0
        self.digest = hashlib.md5(usedforsecurity=False)
        self._stream, self._file = stream, file
        self._progress: tqdm[None] | None = None  # from the first byte on, so that a refusal shows no bar

    def write(self, chunk: bytes) -> None:
        if self._progress is None:
            self._progress = bar(label=self._file.name, total=self._file.size, unit="B", unit_scale=True)
        self.size += len(chunk)
        if self.size > self._file.most:
            raise _TooLongError
        self.digest.update(chunk)
        self._stream.write(chunk)
        self._progress.update(len(chunk))

    def flush(self) -> None:
        """Nothing: pooch asks for it after every chunk."""

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()


class _TooLongError(Exception):
    pass


def _download(url: str, file: OfficialFile, stream: BinaryIO) -> None:
    import pooch
    import requests

    # Some servers call a .gz file "gzip-encoded", and it would arrive unpacked: take the bytes as they are.
    def verbatim(response: requests.Response, **_: object) -> None:
        response.raw.headers.discard("content-encoding")

    download = pooch.HTTPDownloader(
        chunk_size=CHUNK, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}, hooks={"response": verbatim}
    )
    size = "" if file.size is None else f"{file.size:,} bytes, "
    official = f"the official {file.name} ({size}md5 {file.md5})"
    with closing(_CheckedSink(stream, file)) as sink:
        try:
            download(url, sink, None)
        except _TooLongError:
            raise RatespikeError(f"{url}: sends more than {official}; nothing was kept") from None
        except requests.HTTPError as error:
            status = getattr(error.response, "status_code", None)
            kind = NotFoundError if status == 404 else RatespikeError
            raise kind(f"{url}: the host answers {status}; try --mirror") from None
        except requests.RequestException as error:
            begun = sink.size or isinstance(error, requests.exceptions.ChunkedEncodingError)
            whole = "" if file.size is None else f" of {file.size:,}"
            fault = f"broke off after {sink.size:,}{whole} bytes" if begun else "cannot be reached"
            raise RatespikeError(f"{url}: {fault} ({type(error).__name__}); try again, or --mirror") from None
    if file.size not in (None, sink.size) or sink.digest.hexdigest() != file.md5:
        got = f"{sink.size:,} bytes, md5 {sink.digest.hexdigest()}"
        raise RatespikeError(f"{url}: sends {got}, not {official}; nothing was kept")


@contextmanager
def _nothing_empty_left(*folders: Path) -> Iterator[None]:
    """Remove those folders that were made inside the block and are empty at its end."""
    new = [folder for folder in folders if not folder.exists()]
    try:
        yield
    finally:
        for folder in sorted(new, key=lambda folder: len(folder.parts), reverse=True):
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()
