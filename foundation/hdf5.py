"""Reading HDF5 files that anybody may have written, ours too: nothing is followed out of the file, nothing is executed,
and nothing is read that is larger than the file can hold. Every error is one line that names the file and the node.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from foundation.errors import RatespikeError
from foundation.files import check_file
from foundation.hdf5_texts import ELEMENT, MOST_TEXT, MOST_TEXTS, attribute_elements, heap_texts
from foundation.memory import MOST_RATIO, check_fits
from foundation.text import check_text, one_line

Number = TypeVar("Number", int, float)

CHECKED: dict[str, Any] = {"fletcher32": True}
"""Options of a dataset that make damage noticed when it is read."""

MOST_BYTES = 4 * 2**30
"""Of one dataset, unpacked."""
SMALL, USUAL_RATIO = 2**28, 64
"""Bytes that a dataset may have however well it is packed, and how many times the size of the file it may have else."""
MOST_DEPTH = 32  # groups in groups
MOST_DIMENSIONS = 8
COMPRESSORS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF)
NUMBERS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT)
FILTERS = (*COMPRESSORS, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
"""Those that HDF5 and h5py bring with them; any other would load a plugin."""


@contextmanager
def opened(path: Path, kind: str) -> Iterator[Source]:
    """Open an HDF5 file of that kind ("SONATA spikes"); whatever is wrong with it is one line.

    Raises:
        RatespikeError: no such file, not HDF5, damaged, or what the block finds wrong with it.
    """
    try:
        with source_of(path, kind) as source:
            yield source
    except RatespikeError as error:
        text = str(error)  # of a check of values (status 2), which here come from the file (status 1)
        raise RatespikeError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes h5py raise errors of a dozen kinds, not all of them documented
        raise RatespikeError(f"{path}: damaged, or not a file of {kind} ({one_line(error)})") from None


@contextmanager
def source_of(path: Path, kind: str, most: int | None = None) -> Iterator[Source]:
    """As `opened`, but what the block raises itself is left as it is.

    Its datasets have `most` bytes, unpacked; None: as many as a file of this size is likely to hold, so that a small
    one of zeros does not take gigabytes.
    """
    check_file(path)
    if most is None:
        most = most_of(path)
    with ExitStack() as stack:
        try:
            if not h5py.is_hdf5(path):
                raise OSError("no whole HDF5 file")
            file = stack.enter_context(h5py.File(path, "r"))
        except Exception as error:  # see `opened`
            raise RatespikeError(f"{path}: damaged, or not a file of {kind} ({one_line(error)})") from None
        yield Source(path, file, most)


def most_of(path: Path) -> int:
    """Bytes that a packed file is likely to hold, unpacked."""
    return min(MOST_BYTES, max(SMALL, USUAL_RATIO * path.stat().st_size)) if path.is_file() else 0


@dataclass(frozen=True, eq=False)
class Source:
    """An open HDF5 file, whose groups, datasets and attributes are checked before they are handed out.

    Nodes are named by their whole path, "/spikes/exc/timestamps". All methods raise `RatespikeError` that names it.
    """

    path: Path
    file: h5py.File
    most: int = MOST_BYTES

    def error(self, name: str, what: str) -> RatespikeError:
        """The error that says what is wrong with a node."""
        return RatespikeError(f"{self.path}: {one_line(name)}: {what}")

    def has(self, name: str) -> bool:
        """Whether there is such a node; a link that leads out of the file is an error, not an absence."""
        with self.naming(name):
            return self._find(name) is not None

    def group(self, name: str) -> h5py.Group:
        """A group."""
        node = self._node(name)
        if not isinstance(node, h5py.Group):
            raise self.error(name, "should be a group")
        return node

    def is_group(self, name: str) -> bool:
        """Whether a node is a group, not a dataset."""
        return isinstance(self._node(name), h5py.Group)

    def names(self, name: str) -> list[str]:
        """The names of what a group holds, sorted."""
        group = self.group(name)
        with self.naming(name):
            names = sorted(str(child) for child in group)
            for child in names:
                check_text(child)
            return names

    def numbered(self, name: str) -> list[str]:
        """The paths of what a group holds under the names 0, 1, ..., in that order."""
        return [f"{name}/{number}" for number in range(len(self.names(name)))]

    def datasets(self, name: str = "") -> Iterator[str]:
        """The paths of all datasets below a group, in the order of their names; each group is entered once.

        Raises:
            RatespikeError: a group lies in itself, or in two places.
        """
        yield from self._below(name, set())

    def _below(self, name: str, entered: set[int]) -> Iterator[str]:
        group = self.group(name or "/")
        with self.naming(name):
            place = int(h5py.h5o.get_info(group.id).addr)
        if place in entered:
            raise self.error(name, "is a group that lies in several places, perhaps in itself")
        entered.add(place)
        for child in self.names(name or "/"):
            path = f"{name}/{child}"
            if self.is_group(path):
                yield from self._below(path, entered)
            else:
                yield path

    def dataset(self, name: str) -> h5py.Dataset:
        """A dataset whose content lies in the file, is no larger than that, and can be read without plugins."""
        node = self._node(name)
        if not isinstance(node, h5py.Dataset):
            raise self.error(name, "should be a dataset")
        with self.naming(name):
            self._check_storage(name, node)
        return node

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a dataset, which the file is large enough to fill."""
        return tuple(int(n) for n in self.dataset(name).shape)

    def array(self, name: str, dims: int | None = 1, *, kinds: str = "iuf") -> NDArray[Any]:
        """A dataset of plain numbers, in the type of the file and the byte order of this machine.

        Args:
            name: of the dataset.
            dims: that it must have; any up to 8 for None.
            kinds: of numbers, as numpy's dtype.kind has them; "iu" for whole numbers.
        """
        dataset = self.dataset(name)
        with self.naming(name):
            kind = dataset.id.get_type()
            if kind.get_class() not in NUMBERS or kind.get_size() > 8 or kind.dtype.kind not in kinds:
                wanted = "plain numbers" if "f" in kinds else "whole numbers"
                raise self.error(name, f"should be {wanted}, is of another type")
            if dataset.ndim != dims if dims is not None else dataset.ndim > MOST_DIMENSIONS:
                wanted = f"at most {MOST_DIMENSIONS}" if dims is None else str(dims)
                raise self.error(name, f"should have {wanted} dimension(s), has shape {dataset.shape}")
            check_fits(dataset.size * kind.get_size(), name)
            return np.asarray(dataset[()], kind.dtype.newbyteorder("="))

    def text(self, name: str) -> str:
        """A dataset that is a single text."""
        return str(self.texts(name, 0).item())

    def texts(self, name: str, dims: int = 1) -> NDArray[np.object_]:
        """A dataset of texts with that many dimensions, in its shape."""
        dataset = self.dataset(name)
        with self.naming(name):
            if dataset.ndim != dims or dataset.id.get_type().get_class() != h5py.h5t.STRING:
                wanted = f"{dims} dimension(s) of texts" if dims else "a text"
                raise self.error(name, f"should be {wanted}, is of another type, or of shape {dataset.shape}")
            if dataset.size * dataset.id.get_type().get_size() > MOST_TEXTS:
                raise self.error(name, f"should be at most {MOST_TEXTS:,} bytes of texts, has shape {dataset.shape}")
            texts = np.empty(dataset.size, object)
            texts[:] = self._texts(dataset)
            return texts.reshape(dataset.shape)

    def attribute(self, name: str, key: str) -> Any:
        """An attribute of a group or dataset: a number, a text or an array of numbers; None where there is none.

        An enumeration gives the name of its member.
        """
        node = self._node(name)
        attributes = node.attrs
        where = f"{name}, attribute {key}"
        with self.naming(where):
            if key not in attributes:
                return None
            held = attributes.get_id(key)
            kind = held.get_type()
            if held.shape is None or math.prod(held.shape) * kind.get_size() > MOST_TEXT:
                raise self.error(where, f"should be small, has shape {held.shape}")
            if kind.get_class() in NUMBERS:
                value = np.asarray(attributes[key])
                return value if value.ndim else value.item()
            if kind.get_class() == h5py.h5t.ENUM and not held.shape:
                members = h5py.check_enum_dtype(held.dtype) or {}
                return next((member for member, number in members.items() if number == attributes[key]), "?")
            if kind.get_class() == h5py.h5t.STRING and math.prod(held.shape) == 1:
                return self._texts(node, held)[0]
        raise self.error(where, "should be a number or a text, is of another type")

    def said(self, name: str, key: str) -> str:
        """An attribute that is a text, and must be there."""
        value = self.attribute(name, key)
        if not isinstance(value, str):
            raise self.error(f"{name}, attribute {key}", "should be a text" + " and is missing" * (value is None))
        return value

    def number(self, name: str, key: str, kind: type[Number]) -> Number:
        """An attribute that is a finite number, whole for `int`, and must be there."""
        value = self.attribute(name, key)
        if not isinstance(value, int | kind) or isinstance(value, bool) or not math.isfinite(value):
            raise self.error(f"{name}, attribute {key}", f"should be a number, is {one_line(value)}")
        return kind(value)

    def whole_numbers(self, name: str, key: str) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers, and must be there."""
        value = self.attribute(name, key)
        if not isinstance(value, np.ndarray) or value.ndim != 1 or (value.size and value.dtype.kind not in "iu"):
            raise self.error(f"{name}, attribute {key}", f"should be whole numbers, is {one_line(value)}")
        return tuple(int(n) for n in value)

    def listed(self, name: str, key: str) -> tuple[str, ...]:
        """An attribute that is a list of texts, perhaps an empty one, and must be there."""
        node, where = self._node(name), f"{name}, attribute {key}"
        with self.naming(where):
            held = node.attrs.get_id(key)
            if held.shape == (0,):
                return ()
            if held.shape is not None and len(held.shape) == 1 and held.get_type().get_class() == h5py.h5t.STRING:
                if math.prod(held.shape) * held.get_type().get_size() > MOST_TEXT:
                    raise ValueError(f"should be small, has shape {held.shape}")
                return tuple(self._texts(node, held))
        raise self.error(where, "should be a list of texts, is of another type")

    def attributes(self, name: str) -> list[str]:
        """The names of the attributes of a node."""
        node = self._node(name)
        with self.naming(name):
            names = [str(key) for key in node.attrs]
            for key in names:
                check_text(key)
            return names

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Errors of HDF5 as one that names the node."""
        try:
            yield
        except (RatespikeError, MemoryError):
            raise
        except Exception as error:  # see `opened`
            raise self.error(name, f"cannot be read ({one_line(error)})") from None

    def _texts(self, node: h5py.Group | h5py.Dataset, held: h5py.h5a.AttrID | None = None) -> list[str]:
        """The texts of a dataset, or of an attribute of one."""
        kind = (held or node.id).get_type()
        if kind.is_variable_str():
            texts = self._variable_texts(node, held)
        elif kind.get_size() > MOST_TEXT:
            raise ValueError(f"a text of {kind.get_size():,} bytes, at most {MOST_TEXT:,} can be read")
        else:
            value = np.asarray(node[()] if held is None else node.attrs[held.name.decode()])
            texts = [bytes(text).rstrip(b"\0").decode() for text in value.ravel().tolist()]
        for text in texts:
            check_text(text)
        return texts

    def _variable_texts(self, node: h5py.Group | h5py.Dataset, held: h5py.h5a.AttrID | None) -> list[str]:
        made = self.file.id.get_create_plist()
        if made.get_userblock() or made.get_sizes() != (8, 8):
            raise ValueError("texts of variable length need a file with 64-bit addresses and no user block")
        with self.path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            if held is not None:
                header, count = h5py.h5o.get_info(node.id).addr, math.prod(held.shape)
                return heap_texts(content, attribute_elements(content, header, held.name.decode(), count))
            if node.size == 0:
                return []
            place = node.id.get_offset()
            if place is None:
                raise ValueError("not stored in one piece")
            return heap_texts(content, content[place : place + node.size * ELEMENT.size])

    def _node(self, name: str) -> h5py.Group | h5py.Dataset:
        with self.naming(name):
            node = self._find(name)
        if node is None:
            raise self.error(name, "is missing")
        return node

    def _find(self, name: str, turns: int = 8) -> Any:
        """The node at the end of a path, or None; every link on the way is looked at before it is followed."""
        node: Any = self.file
        steps = [step for step in name.split("/") if step not in ("", ".")]
        if len(steps) > MOST_DEPTH:
            raise self.error(name, f"lies more than {MOST_DEPTH} groups deep")
        for number, step in enumerate(steps):
            if not isinstance(node, h5py.Group) or not node.id.links.exists(step.encode()):
                return None
            links, here = node.id.links, "/" + "/".join(steps[: number + 1])
            kind = links.get_info(step.encode()).type
            if kind == h5py.h5l.TYPE_SOFT and turns:
                target = links.get_val(step.encode()).decode()
                base = "" if target.startswith("/") else "/".join(steps[:number])
                return self._find("/".join([base, target, *steps[number + 1 :]]), turns - 1)
            if kind != h5py.h5l.TYPE_HARD:
                what = "too long a chain of links" if kind == h5py.h5l.TYPE_SOFT else "a link out of the file"
                raise self.error(here, f"is {what}; should lie in the file itself")
            node = node[step]
        return node

    def _check_storage(self, name: str, dataset: h5py.Dataset) -> None:
        properties = dataset.id.get_create_plist()
        if properties.get_external_count():
            raise self.error(name, "is stored in another file; should lie in this one")
        if properties.get_layout() == h5py.h5d.VIRTUAL:
            raise self.error(name, "is virtual, made of other datasets; should lie in this file")
        if dataset.shape is None:
            raise self.error(name, "is a null dataset, without content")
        filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
        if set(filters) - set(FILTERS) or len(set(filters)) < len(filters) or len(set(filters) & set(COMPRESSORS)) > 1:
            raise self.error(name, f"is packed by the HDF5 filters {filters}; gzip, lzf or none can be read")
        itemsize = dataset.id.get_type().get_size()
        whole = math.prod(dataset.shape) * itemsize
        stored = min(int(dataset.id.get_storage_size()), self.path.stat().st_size)
        chunk = math.prod(dataset.chunks or (0,)) * itemsize
        packed = bool(set(filters) & set(COMPRESSORS))
        if whole and (max(whole, chunk) if packed else whole) > stored * (MOST_RATIO if packed else 1):
            raise self.error(name, f"declares {max(whole, chunk):,} bytes and stores {stored:,}")
        if (packed and whole > self.most) or (whole and chunk > self.most):
            raise self.error(name, f"declares {max(whole, chunk):,} bytes, should be {self.most:,} at most")
