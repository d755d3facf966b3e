"""Damaged files, by the hundred, for every reader: read, refused in one line, or found out.

    python tests/faults/mutants.py [--count 500] [--seed 0] [READER ...]

Each mutant is read in a process of its own kind, which lives as long as it behaves: with a limit of time and one of
memory. What is not read fine or refused in one line is kept, and printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

OUTCOMES = ("read", "refused", "traceback", "hang", "crash", "memory")
SECONDS = 30.0  # for one mutant; the first also pays for imports
MEMORY = 2 * 2**30  # bytes, beyond what a worker has once it has read the good file
LENGTHS = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
NUMBERS = (
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"9" * 20,
    b"1e15",
    b"null",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a": 1}',
    b"{a = 1}",
)
Found = tuple[str, str]  # an outcome, and what was said


# --- what is done to a file -------------------------------------------------------------------------------------------
def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _overwrite(content: bytearray, rng: random.Random) -> None:
    start, length = rng.randrange(len(content)), rng.choice((1, 2, 4, 8, 64, 512))
    run = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    content[start : start + length] = run[: len(content) - start]


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _insert(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start:start] = rng.choice((rng.randbytes(rng.choice((1, 8, 100))), b"\n", b"\0", b"9" * 5000, b"[" * 3000))


def _delete(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice((1, 2, 8, 100))]


def _swap(content: bytearray, rng: random.Random) -> None:
    length = rng.choice((1, 8, 64))
    one, other = (rng.randrange(max(1, len(content) - length)) for _ in range(2))
    first, second = bytes(content[one : one + length]), bytes(content[other : other + length])
    content[one : one + len(second)], content[other : other + len(first)] = second, first


def _length(content: bytearray, rng: random.Random) -> None:
    """A hostile number: as bytes of either order, or where a number stands in a text."""
    size = rng.choice((2, 4, 8))
    number = (rng.choice(LENGTHS) % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big")))
    digits = [k for k, byte in enumerate(content[:100_000]) if 48 <= byte <= 57]
    if digits and rng.random() < 0.5:
        start = end = rng.choice(digits)
        while end < len(content) and 48 <= content[end] <= 57:
            end += 1
        content[start:end] = rng.choice(NUMBERS)
        return
    start = rng.randrange(max(1, len(content) - size)) // size * size
    content[start : start + size] = number


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _overwrite,
    _cut,
    _insert,
    _delete,
    _swap,
    _length,
)


def mutated(content: bytes, seed: str) -> bytes:
    """A file with one change or a few; the same for the same seed."""
    rng, changed = random.Random(seed), bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if changed:
            rng.choice(CHANGES)(changed, rng)
    return bytes(changed)


# --- reading them -----------------------------------------------------------------------------------------------------
def _worker(pipe: Connection, name: str, folder: str) -> None:
    """Make the good file, read it, and then whatever is in its place whenever the other end says so."""
    import warnings

    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    sys.stderr = sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for as long as the process lives
    from foundation.errors import RatespikeError
    from tests.faults.readers import READERS

    case = READERS[name]
    try:
        path = case.make(Path(folder))
        case.read(path)
    except BaseException:
        pipe.send(("", traceback.format_exc()))
        return
    _limit()
    pipe.send((str(path), ""))
    while pipe.recv():
        try:
            case.read(path)
            found = "read", ""
        except RatespikeError as error:
            found = ("refused" if str(error).isprintable() and str(error) else "traceback"), repr(str(error))
        except MemoryError:
            found = "memory", traceback.format_exc()
        except BaseException:
            found = "traceback", traceback.format_exc()
        pipe.send(found)


def _limit() -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


class Worker:
    """A process that reads files of one kind, started again when it dies or is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        self._begin()
        self.good = self.path.read_bytes()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_worker, args=(other, self.name, str(self.folder)), daemon=True)
        self.process.start()
        other.close()
        self._clean()
        if not self.pipe.poll(600):
            raise RuntimeError(f"{self.name}: the good file was not read in time")
        path, fault = self.pipe.recv()
        if fault:
            raise RuntimeError(f"{self.name}: the good file was not read: {fault}")
        self.path = Path(path)

    def _clean(self) -> None:
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def read(self, content: bytes) -> Found:
        """What becomes of a mutant."""
        self.path.write_bytes(content)
        try:
            self.pipe.send(True)
            if not self.pipe.poll(SECONDS):
                self._again()
                return "hang", f"more than {SECONDS} s"
            found: Found = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode
            self._again()
            return "crash", f"exit status {code}"
        return found

    def _again(self) -> None:
        self.process.kill()
        self.process.join()
        self._begin()

    def close(self) -> None:
        """End the process, and remove its files."""
        self.process.kill()
        self.process.join()
        shutil.rmtree(self.folder, ignore_errors=True)


def attempt(name: str, count: int, seed: int = 0, keep: Path | None = None) -> tuple[Counter[str], list[str]]:
    """What became of so many mutants for one reader, and of each that was not taken or refused well, what was said.

    Args:
        name: of the reader.
        count: of mutants.
        seed: of the changes.
        keep: folder that gets the files that were found out.
    """
    worker, outcomes, said = Worker(name), Counter[str](), []
    try:
        for number in range(count):
            content = mutated(worker.good, f"{name}/{seed}/{number}")
            outcome, text = worker.read(content)
            outcomes[outcome] += 1
            if outcome not in ("read", "refused"):
                said.append(f"{name}, mutant {number} of seed {seed}: {outcome}: {text.strip()}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name.replace(' ', '_')}-{seed}-{number}-{worker.path.name}").write_bytes(content)
    finally:
        worker.close()
    return outcomes, said


def campaign(
    names: Iterable[str], count: int, seed: int = 0, *, workers: int = 1, keep: Path | None = None
) -> tuple[dict[str, Counter[str]], list[str]]:
    """The outcomes of all readers, by name; and everything that was found. See `attempt`."""
    listed = list(names)
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda name: attempt(name, count, seed, keep), listed))
    outcomes = {name: one for name, (one, _) in zip(listed, found, strict=True)}
    return outcomes, [line for _, said in found for line in said]


def table(found: dict[str, Counter[str]]) -> str:
    """Outcomes by reader, as a Markdown table."""
    rows = [("reader", *OUTCOMES), ("---", *["---:"] * len(OUTCOMES))]
    rows += [(name, *(str(outcomes[one]) for one in OUTCOMES)) for name, outcomes in found.items()]
    total = sum(found.values(), Counter[str]())
    rows.append(("all", *(str(total[one]) for one in OUTCOMES)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """The command."""
    from tests.faults.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}  [default: all]")
    parser.add_argument("--count", type=int, default=500, help="mutants for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="readers at a time")
    parser.add_argument("--keep", type=Path, help="folder for the files that were found out")
    given = parser.parse_args()
    found, said = campaign(given.names or READERS, given.count, given.seed, workers=given.workers, keep=given.keep)
    print("\n\n".join([*said, table(found)]))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
