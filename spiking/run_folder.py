"""The folder of a run that is not finished: what every piece left, and the state after the last.

``run.toml`` says which run it is; ``pieces/<n>.npz`` is what is kept of piece n; ``state.npz`` is the state after the
last of them, and ``before.npz`` that before it, for runs that advance together and are killed when some of them have
written a piece. Each is written whole, pieces before the state that follows them, so a run killed at any time goes on
from its last state. Each carries checksums and the digest of the run that it is of. Who writes holds the folder's lock
(`foundation.locks`), or that of the folder around it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.arrays import read_arrays
from foundation.config import differences_of, parse, read_text
from foundation.errors import Notice, RatespikeError, UsageError
from foundation.files import check_target, claim_folder, sweep, write_bytes, write_text
from foundation.text import one_line

Array = NDArray[Any]
FORMAT = 1
STATES = ("state.npz", "before.npz")
REPLACES = "replaces"
"""In run.toml: whether the run's result will take the place of a file that exists."""


class RunFolder:
    """See above. Nothing is written before the first `add`.

    Args:
        path: of the folder.
        identity: what makes it this run and no other, as plain nested values that TOML can hold.
        resume: whether a folder that exists is to be gone on with.
        force: whether the first `add` is to replace an unfinished run that lies there.
        replaces: whether its result is to take the place of a file that exists; run.toml says so.

    Attributes:
        done: number of pieces that are done.
        state: the state after them; None before the first.

    Raises:
        UsageError: it exists and was not to be resumed, or is of another run.
        RatespikeError: it is damaged, or was written by another version.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, Any], *, resume: bool, force: bool = False, replaces: bool = False
    ) -> None:
        self.path = path
        self.identity = {"format": FORMAT, "ratespike": version("ratespike"), **identity}
        self._digest = sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        self.done: int = 0
        self.state: dict[str, Array] | None = None
        self._read_from = ""  # the file that holds the state after `done` pieces
        self._known, self._force, self._replaces = (path / "run.toml").exists() and not force, force, replaces
        if not self._known:
            _check_new(path)
            return
        if not resume:
            raise UsageError(f"{path}: an unfinished run lies here; go on with --resume, or begin anew with --force")
        found = _found(path)
        found.pop(REPLACES, None)
        for key in ("format", "ratespike"):
            if found.get(key) != self.identity[key]:
                raise RatespikeError(
                    f"{path}: of another version of ratespike ({key} {found.get(key)}, this is {self.identity[key]})"
                )
        if other := differences_of(found, self.identity):
            raise UsageError(f"{path}: is another run; it differs in {', '.join(other)}")
        # killed while a state was written, the one before it is the last
        self._read_from = next((name for name in STATES if (path / name).exists()), "")
        self.done, self.state = self._read_state(self._read_from) if self._read_from else (0, None)
        for number in range(self.done):
            self.piece(number)

    def add(self, number: int, piece: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        """Keep a piece, and the state after it."""
        if not self._known:
            import tomli_w

            if self._force:
                discard(self.path)
            if (self.path / "run.toml").exists():
                raise UsageError(f"{self.path}: another process has begun a run here")
            write_text(
                self.path / "run.toml", tomli_w.dumps({**self.identity, **({REPLACES: True} if self._replaces else {})})
            )
            self._known = True
        self._write(self.path / "pieces" / f"{number}.npz", piece)
        if self._read_from == "state.npz":
            (self.path / "state.npz").replace(self.path / "before.npz")
        self._read_from = "state.npz"
        self._write(self.path / "state.npz", {"pieces": np.array(number + 1), **state})
        self.done, self.state = number + 1, dict(state)

    def back_to(self, done: int) -> None:
        """Forget the last piece if it is the one after `done` pieces; nothing is written.

        Raises:
            RatespikeError: the state after so many pieces is not there any more.
        """
        if done == self.done:
            return
        found, state = self._read_state("before.npz")
        if found != done:
            raise RatespikeError(f"{self.path}: is at piece {self.done}, others at {done}; the run cannot be resumed")
        self.done, self.state = done, state
        self._read_from = "before.npz"

    def piece(self, number: int) -> dict[str, Array]:
        """What `add` kept of a piece. Raises `RatespikeError` if it is missing or damaged."""
        return self._read(self.path / "pieces" / f"{number}.npz")

    def pieces(self) -> Iterator[dict[str, Array]]:
        """All that are done, in order."""
        return (self.piece(number) for number in range(self.done))

    def size(self) -> int:
        """Of all that is in it, in bytes."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def _read_state(self, name: str = "state.npz") -> tuple[int, dict[str, Array] | None]:
        path = self.path / name
        if name == "before.npz" and not path.exists():
            return 0, None
        state = self._read(path)
        try:
            done = int(state.pop("pieces"))
        except (KeyError, TypeError, ValueError):
            done = 0
        if done < 1:
            raise RatespikeError(f"{path}: damaged: says not after which piece it is")
        return done, state

    def _write(self, path: Path, arrays: Mapping[str, Array]) -> None:
        _write(path, {"run": np.array(self._digest), **arrays})

    def _read(self, path: Path) -> dict[str, Array]:
        """The arrays of a file of this run and no other."""
        found = _read(path)
        of = found.pop("run", None)
        if of is None:
            warnings.warn(f"{path}: has no digest yet; of which run it is cannot be told", Notice, stacklevel=2)
        elif str(of) != self._digest:
            raise RatespikeError(f"{path}: is of another run than run.toml says; the run cannot be resumed")
        return found


def is_of(path: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the unfinished run in a folder is that of this identity, whatever version of ratespike began it."""
    found = _found(path)
    return not differences_of({key: value for key, value in found.items() if key in identity}, identity)


def replaces(path: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the unfinished run in a folder is that of this identity and will replace a file."""
    return is_of(path, identity) and _found(path).get(REPLACES) is True


def _found(path: Path) -> dict[str, Any]:
    return parse(read_text(path / "run.toml"), f"{path / 'run.toml'}") if (path / "run.toml").exists() else {}


def discard(path: Path) -> None:
    """Remove what makes the unfinished run in a folder, if there is one, and the folder if nothing else is in it."""
    if not (path / "run.toml").exists():
        return
    for folder in (path / "pieces", path):
        if folder.is_dir():
            sweep(folder)
    for file in (*path.glob("pieces/*.npz"), *(path / name for name in STATES)):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it holds something that is not ours, or is not there
        (path / "pieces").rmdir()
    (path / "run.toml").unlink()  # last, for a kill in between
    with suppress(OSError):
        path.rmdir()


def _check_new(path: Path) -> None:
    """Make sure that a folder can be made there, or has nothing in it but what a killed writer left."""
    if path.exists():
        try:
            claim_folder(path, "run.toml")
        except UsageError:
            raise UsageError(f"{path}: exists and is no unfinished run; move it away") from None
    check_target(path / "run.toml")


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    buffer = BytesIO()
    named: dict[str, Any] = {name.replace("/", ":"): value for name, value in arrays.items()}
    named["arrays"] = np.array(len(arrays))  # a damaged directory can hide some of them
    np.savez(buffer, **named)
    write_bytes(path, buffer.getvalue())


def _read(path: Path) -> dict[str, Array]:
    """All arrays of a file, each checked against its checksum."""
    if not path.exists():
        raise RatespikeError(f"{path}: is missing; the run cannot be resumed")
    try:
        found = read_arrays(path, "a run's state", 0, "biufU")  # nothing in it is packed
        if int(found.pop("arrays", -1)) != len(found):
            raise RatespikeError(f"{path}: not all of its arrays are there")
    except RatespikeError as error:
        reason = one_line(error).removeprefix(f"{path}: ")
        raise RatespikeError(f"{path}: damaged, the run cannot be resumed ({reason})") from None
    return {name.replace(":", "/"): array for name, array in found.items()}
