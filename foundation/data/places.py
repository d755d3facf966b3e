"""Where an official file may lie: where it belongs, or where torchvision or its user left it, packed or not."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

from foundation.data.catalogue import Dataset, OfficialFile
from foundation.data.official import read_official
from foundation.errors import RatespikeError
from foundation.text import one_line


def places(dataset: Dataset, file: OfficialFile, root: Path) -> list[tuple[Path, OfficialFile]]:
    """All places below a root, the first being where it belongs, and what should lie there."""
    folders = [(root / file.path).parent]
    if dataset.folder:
        folders += [root / dataset.folder / "raw", root / dataset.folder, root / "raw"]
    folders.append(root)
    found = [(folder / file.name, file) for folder in dict.fromkeys(folders)]
    if file.unpacked_md5:
        unpacked = replace(file, path=file.path.removesuffix(".gz"), size=None, md5=file.unpacked_md5, unpacked_md5="")
        found += [(path.with_suffix(""), unpacked) for path, _ in found]
    return found


def archives(dataset: Dataset, root: Path) -> list[Path]:
    """Where a .zip archive of the dataset's files may lie, which torchvision leaves as it is."""
    if dataset.archive is None or not dataset.archive.name.endswith(".zip"):
        return []
    folders = [root, root / dataset.name.partition("-")[0], root / dataset.folder / "raw", root / "raw"]
    return [folder / dataset.archive.name for folder in folders]


def is_anywhere(dataset: Dataset, root: Path) -> bool:
    """Whether any of the dataset's files is there: by its name where only it may be, elsewhere by its md5."""
    shared = (root, root / "raw")
    paths = (path for file in dataset.files for path, _ in places(dataset, file, root) if path.parent not in shared)
    return any(path.exists() for path in paths) or find_file(dataset, dataset.files[0], root) is not None


def find_file(dataset: Dataset, file: OfficialFile, root: Path) -> bytes | None:
    """The content of an official file, by its md5, from the first place where it lies; None: it is in none."""
    for path, expected in places(dataset, file, root):
        if path.is_file():
            try:
                return read_official(path, expected)
            except RatespikeError:  # another file of this name, perhaps of another dataset
                continue
    for archive in archives(dataset, root):
        if archive.is_file():
            try:
                return read_zipped(archive, file)
            except RatespikeError:
                continue
    return None


def read_zipped(archive: Path, file: OfficialFile) -> bytes:
    """The content of an official file in a .zip archive, in whatever folder there.

    Raises:
        RatespikeError: it is not there, or another.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            named = [info for info in members.infolist() if info.filename.rpartition("/")[2] == file.name]
            for info in named:
                if info.file_size <= file.most:
                    content = members.read(info)
                    if hashlib.md5(content, usedforsecurity=False).hexdigest() == file.md5:
                        return content
    except Exception as error:  # a damaged archive makes zipfile raise errors of a dozen kinds
        raise RatespikeError(f"{archive}: not a whole archive ({one_line(error)})") from None
    raise RatespikeError(f"{archive}: does not hold the official {file.name}")
