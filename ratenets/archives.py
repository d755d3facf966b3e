"""Files of `torch.save`, in both of its formats, opened without torch: names, shapes, and values on demand."""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import torch
from torch import Tensor

from foundation.errors import RatespikeError
from foundation.text import one_line
from ratenets.pickles import Name, Object, Reference, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C  # the first value of the format before torch 1.6
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
SAFE_DTYPES = {
    "F32": torch.float32,
    "F64": torch.float64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Of .safetensors files."""
MOST_EXPANDED = 2**30
"""Bytes of a tensor that shows a few values many times."""
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")

Read: TypeAlias = Callable[[str, int], bytes]
"""Gives the bytes of a storage, for its key and their number."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. `offset` and `stride` count elements of its storage, which has `numel` of them."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    key: str
    numel: int
    read: Read

    @property
    def bytes(self) -> int:
        """Of its storage."""
        return self.numel * self.dtype.itemsize

    def tensor(self) -> Tensor:
        """Its values, of its own type. Raises `RatespikeError` if they are not in the file."""
        if math.prod(self.shape) * self.dtype.itemsize > max(self.bytes, MOST_EXPANDED):
            raise RatespikeError(f"damaged: a tensor {list(self.shape)} in a storage of {self.numel} values")
        content = self.read(self.key, self.bytes)
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(bytearray(content), dtype=self.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).clone()


@dataclass(frozen=True)
class Archive:
    """An open checkpoint: the root of what was saved, as `pickles` notes it down."""

    root: Any
    read: Read

    def stored(self, value: Any) -> Stored | None:
        """The tensor that an object of the pickle stands for; None: for something else.

        Raises:
            RatespikeError: for a tensor that cannot be, or whose type no weights have.
        """
        if isinstance(value, Object) and str(value.maker) in PARAMETERS:
            value = _argument(value, 0)
        if isinstance(value, Stored):  # of a format that names tensors itself
            return value
        if not isinstance(value, Object) or str(value.maker) not in TENSORS:
            return None
        kind, key, numel = _storage(_argument(value, 0))
        offset, shape, stride = (_argument(value, n) for n in (1, 2, 3))
        if not (_sizes((offset,)) and _sizes(shape) and _sizes(stride) and len(shape) == len(stride)):
            raise RatespikeError("damaged: a tensor without a shape")
        last = -1 if 0 in shape else offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if last >= numel:
            raise RatespikeError(f"damaged: a tensor {list(shape)} in a storage of {numel} values")
        return Stored(DTYPES[kind], shape, stride, offset, key, numel, self.read)


def is_tensor(value: Any) -> bool:
    """Whether an object of the pickle stands for a tensor, right or not."""
    return isinstance(value, Stored) or (isinstance(value, Object) and str(value.maker) in (*TENSORS, *PARAMETERS))


def _argument(value: Object, number: int) -> Any:
    if not isinstance(value.arguments, tuple) or len(value.arguments) <= number:
        raise RatespikeError("damaged: a tensor of which parts are missing")
    return value.arguments[number]


def _sizes(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(n) is int and 0 <= n < 2**40 for n in value) and len(value) < 9


def _storage(value: Any) -> tuple[str, str, int]:
    """Kind, key and number of elements of a storage."""
    identity: tuple[Any, ...] = ()
    if isinstance(value, Reference) and value.kind == "storage":
        identity = value.identity
    if len(identity) < 5:
        raise RatespikeError("damaged: a tensor without a storage")
    _, kind, key, _, numel = identity[:5]
    plain = isinstance(kind, Name) and isinstance(key, str) and _sizes((numel,))
    if not plain or identity[5:] not in ((), (None,)):  # a view of another storage, before torch 0.4
        raise RatespikeError("damaged: a storage that is none")
    if kind.name not in DTYPES:
        raise RatespikeError(f"holds a tensor of {one_line(kind)}, which weights are not kept in")
    return kind.name, key, numel


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a file of `torch.save`, or a .safetensors file.

    Raises:
        RatespikeError: there is none, it is damaged or something else; without the path, which the caller names.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise RatespikeError("is not a plain file")
        file = path.open("rb")
    except FileNotFoundError:
        raise RatespikeError("no such file") from None
    except OSError as error:
        raise RatespikeError(f"cannot be read: {error.strerror or error}") from None
    with file, ExitStack() as stack:
        with _damage():
            start = file.read(9)
            if start[:2] == b"PK":
                archive = _zipped(stack.enter_context(zipfile.ZipFile(file)), path.stat().st_size)
            elif start[8:] == b"{":  # behind the length of its head
                archive = Archive(stack.enter_context(safe_tensors(path)), _nothing)
            else:
                content = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                archive = _concatenated(content)
        yield archive


@contextmanager
def safe_tensors(path: Path) -> Iterator[dict[str, Stored]]:
    """The tensors of a .safetensors file, by name; its library checks that they lie in the file, one by one."""
    from safetensors import safe_open  # not needed for other files

    try:
        opened_file = safe_open(path, framework="pt")
    except Exception as error:  # of its own, or the system's
        raise RatespikeError(f"damaged, or no .safetensors file ({one_line(error)})") from None
    with opened_file as file:

        def read(name: str, length: int) -> bytes:
            content: bytes = file.get_tensor(name).contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            return content

        found = {}
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            part = file.get_slice(name)
            kind, shape = part.get_dtype(), tuple(part.get_shape())
            if kind not in SAFE_DTYPES:
                raise RatespikeError(
                    f"{one_line(name)}: holds a tensor of {one_line(kind)}, which weights are not kept in"
                )
            stride = tuple(math.prod(shape[n + 1 :]) for n in range(len(shape)))
            found[name] = Stored(SAFE_DTYPES[kind], shape, stride, 0, name, math.prod(shape), read)
        yield found


def _nothing(key: str, length: int) -> bytes:
    raise RatespikeError(f"damaged: lacks {one_line(key)}")


@contextmanager
def _damage() -> Iterator[None]:
    """What the readers of files raise when one is not as it should be, in one line of ours."""
    try:
        yield
    except RatespikeError:
        raise
    except (zipfile.BadZipFile, EOFError, struct.error):
        raise RatespikeError("damaged: it is cut off, or was changed") from None
    except Exception as error:  # zipfile and mmap have half a dozen kinds
        raise RatespikeError(f"damaged, or not a checkpoint of torch ({type(error).__name__})") from None


def _zipped(archive: zipfile.ZipFile, size: int) -> Archive:
    """The format since torch 1.6: a zip file, nothing in it compressed, that holds a pickle and its storages."""
    names = set(archive.namelist())
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise RatespikeError("is a zip file, but not one of torch.save")
    top = pickles[0].removesuffix("data.pkl")
    if f"{top}constants.pkl" in names:
        raise RatespikeError("is a TorchScript program; save the state_dict of its model, and nothing else")

    for info in archive.infolist():  # what is not compressed cannot be larger than its file, whatever it declares
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size > size:
            raise RatespikeError(f"damaged: {one_line(info.filename)} is compressed, or larger than the file")
    if sum(info.file_size for info in archive.infolist()) > size:
        raise RatespikeError("damaged: its parts are larger than the file")

    def member(name: str, length: int | None = None) -> bytes:
        if name not in names:
            raise RatespikeError(f"damaged: lacks {one_line(name)}")
        info = archive.getinfo(name)
        if length not in (None, info.file_size):
            raise RatespikeError(f"damaged: {one_line(name)} has {info.file_size:,} bytes, not {length:,}")
        with _damage():
            return archive.read(info)

    if f"{top}byteorder" in names and member(f"{top}byteorder") != b"little":
        raise RatespikeError("was written on a big-endian computer; save it again on another")
    root, _ = read_pickle(BytesIO(member(pickles[0])))
    return Archive(root, lambda key, length: member(f"{top}data/{key}", length))


def _concatenated(content: mmap.mmap) -> Archive:
    """The format before torch 1.6: pickles one behind the other, then the storages."""
    stream = cast("IO[bytes]", content)
    first, _ = read_pickle(stream)
    if first != MAGIC:
        raise RatespikeError("is a pickle, but not one of torch.save")
    (version, _), (system, _) = read_pickle(stream), read_pickle(stream)
    if version != 1001 or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RatespikeError("is of an unknown version of torch.save")
    root, references = read_pickle(stream)
    storages = [_storage(reference) for reference in references if reference.kind == "storage"]
    lengths = {key: (numel, DTYPES[kind].itemsize) for kind, key, numel in storages}
    keys, _ = read_pickle(stream)
    places: dict[str, tuple[int, int]] = {}
    at = content.tell()
    for key in keys if isinstance(keys, list) else ():
        known = isinstance(key, str) and key in lengths
        if not known or struct.unpack_from("<q", content, at)[0] != lengths[key][0]:
            raise RatespikeError("damaged: a storage that nothing asks for, or of another size")
        places[key] = (at + 8, at + 8 + lengths[key][0] * lengths[key][1])
        at = places[key][1]
    if at > len(content):
        raise RatespikeError("damaged: it is cut off")

    def read(key: str, length: int) -> bytes:
        if key not in places:
            raise RatespikeError(f"damaged: lacks the storage {one_line(key)}")
        start, end = places[key]
        if end - start != length:
            raise RatespikeError(f"damaged: the storage {one_line(key)} has {end - start:,} bytes, not {length:,}")
        return content[start:end]

    return Archive(root, read)
