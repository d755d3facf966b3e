"""A process is killed, the disk is full, two processes want the same folder: what is lost? See `python tests/faults`.

Every scenario is a command, and the command that goes on with what it left. It is run once without a fault, which gives
the result that it should have. Then, each time in a new folder:

* it is killed right before its k-th change of the file system, for every k (or every so-manieth), and gone on with;
* it is killed at random times, and gone on with;
* the disk is full after so many bytes, and gone on with once there is room;
* two processes are started at once: from nothing, and to go on.

After each, the result must be that of the run without a fault, with nothing left behind; errors must be one line.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tqdm import tqdm

os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads cannot be copied

TIMEOUT = 120.0  # s
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.chmod"}
NOISE = re.compile(r"\d+%\||^\S+: +\d|^[1-4]/4 ")  # progress bars


@dataclass(frozen=True)
class Scenario:
    """A command and how to go on with it, both without the folder.

    Attributes:
        name: of the scenario.
        start: the command; "{out}" is the folder in which everything is, "{given}" one with what was made before.
        resume: the same.
        out: what is written, below the folder.
        content: the result, as something that can be compared.
        before: commands that make what is given.
    """

    name: str
    start: str
    resume: str
    out: str
    content: Callable[[Path], Any]
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a process ended."""

    status: int  # negative: of a signal
    text: str  # of standard error

    @property
    def fault(self) -> str:
        """What is wrong with it, however it ended; "" if nothing is."""
        lines = [line for line in re.split(r"[\r\n]+", self.text) if line.strip() and not NOISE.search(line)]
        if "Traceback" in self.text:
            return "traceback"
        if self.status == -signal.SIGALRM:
            return "hang"
        if self.status > 0 and not [line for line in lines if line.startswith("ratespike")]:
            return "no line"
        return ""


def run(folder: Path, words: Sequence[str], hook: Callable[[], None] = lambda: None) -> Outcome:
    """Run a command in a copy of this process, which has imported everything; `hook` is called there before it."""
    errors = folder / "errors"
    process = os.fork()
    if not process:
        _become(errors, words, hook)
    _, status = os.waitpid(process, 0)
    text = errors.read_text(errors="replace")
    errors.unlink()
    return Outcome(os.waitstatus_to_exitcode(status), text)


def _become(errors: Path, words: Sequence[str], hook: Callable[[], None]) -> None:
    """The copy: it runs the command and never returns."""
    status = 70
    try:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.alarm(int(TIMEOUT))
        hook()
        sys.argv = ["ratespike", *words]
        from ratespike.cli import main

        main()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def imported(words: Sequence[str]) -> None:
    """Run a command in this process."""
    from ratespike.cli import main

    sys.argv = ["ratespike", *words]
    with redirect_stdout(StringIO()):
        main()


def dying(folder: Path, count: int) -> Callable[[], None]:
    """A hook: kill the process right before its `count`-th change of the file system in a folder."""
    place, left = f"{folder.resolve()}/", [count]

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in CHANGES
        if changes and any(isinstance(v, str | os.PathLike) and os.fspath(v).startswith(place) for v in values[:2]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(watch)


def killed_after(seconds: float) -> Callable[[], None]:
    """A hook: kill the process after so many seconds."""

    def later() -> None:
        if os.fork() == 0:
            time.sleep(seconds)
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(0)

    return later


def limited(size: int) -> Callable[[], None]:
    """A hook: no file can be longer than `size` bytes, where no small disk can be had."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of `size` bytes at a folder, if we may mount one."""
    folder.mkdir()
    mounted = os.system(f"mount -t tmpfs -o size={size} none '{folder}' 2>/dev/null") == 0
    try:
        yield mounted
    finally:
        if mounted:
            os.system(f"umount -l '{folder}'")


# --- what is compared -------------------------------------------------------------------------------------------------
def of_run(folder: Path) -> Any:
    """A rate run: its checkpoint, and its metrics but for the times."""
    import json

    import torch

    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    content.pop("digest")
    metrics = folder / "metrics.jsonl"  # not of a run that was imported
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    for line in [*lines, *content["metrics"]]:
        line.pop("seconds")
    return _plain([content, lines, (folder / "config.toml").read_text()])


def of_numbers(path: Path) -> Any:
    """A result, but for the folders in it and the time that something took."""
    text = (path if path.is_file() else next(path.glob("*.json"))).read_text()
    return re.sub(r'"(seconds|run)": [^,}]*|/tmp[^" ]*', "", text)


def of_hdf5(path: Path) -> Any:
    """All that is in an HDF5 file."""
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:

        def note(name: str, node: Any) -> None:
            found[name] = ({k: str(v) for k, v in node.attrs.items()}, node[()] if hasattr(node, "shape") else None)

        file.visititems(note)
    return _plain(found)


def of_bytes(path: Path) -> Any:
    """A file, or all files of a folder."""
    if path.is_dir():
        return {p.name: of_hdf5(p) if p.suffix == ".h5" else p.read_bytes() for p in sorted(path.iterdir())}
    return path.read_bytes()


def _plain(value: Any) -> Any:
    """Arrays as bytes, so that == compares."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
    if isinstance(value, np.ndarray):
        return (
            str(value.dtype),
            value.shape,
            [str(v) for v in value.flat] if value.dtype == object else value.tobytes(),
        )
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


# --- the scenarios ----------------------------------------------------------------------------------------------------
LPL = "deep lpl --data digits --hidden 8,8 --batch-size 500 --epochs 3 --checkpoint-every 2 --out {out}/run"
NETWORK = (
    "spike network --backend torch --duration 1.5 --priming 0.5 --exc 4 --inh 2 --population 3 "
    "--networks 2 --keep-spikes 1.0 --weights-every 0.5 --rate-bin 0.5 --out {out}/n.h5"
)
HEBBIAN = "deep hebbian --data digits --hidden 8 --activation relu --epochs 2"
EXPERIMENT = (
    "deep hebbian --data digits --hidden 8 --experiment which-rule --rules backprop,hebbian --seeds 1 --epochs 1"
)
CONVERT = "bridge convert {given}/run --images 10 --steps 4"
SONATA = "bridge export {given}/net.h5 --format sonata --out {out}/s"
FIGURE = "figure local-rules {given}/run/results.json --out {out}/f.png"
BUTD = (
    "deep butd --data multi-digits --network fc --hidden 12 --train-images 60 --batch-size 25 --epochs 1 --seeds 2 "
    "--out {out}/run"
)
LADDER = "deep ladder --data digits --hidden 8 --batch-size 500 --epochs 1 --out {out}/run"
COMPARE = "bridge compare --seconds 2 --units 8 --realisations 2 --no-sweeps --no-parts --no-learning --out {out}/c"
LEARN = "bridge learn {given}/net.h5 --layer 2 --images 4 --views-each 2 --out {out}/learned.h5"
IMPORT = "bridge import {given}/learned.h5 --into {given}/run --out {out}/run"
RUN = (f"{HEBBIAN} --out {{given}}/run",)
FILE = (*RUN, f"{CONVERT} --out {{given}}/net.h5")
DEEP = (LPL.replace("{out}", "{given}"), FILE[-1])


def scenarios() -> Iterator[Scenario]:
    """All of them: those that go on, and those that begin anew."""
    hebbian, convert = f"{HEBBIAN} --out {{out}}/run", f"{CONVERT} --out {{out}}/n.h5"
    experiment = f"{EXPERIMENT} --out {{out}}/run"
    yield Scenario("deep lpl", LPL, f"{LPL} --resume", "run", of_run)
    yield Scenario("deep hebbian", hebbian, f"{hebbian} --resume", "run", of_run)
    yield Scenario("deep hebbian --experiment", experiment, f"{experiment} --resume", "run", of_numbers)
    yield Scenario("spike network", NETWORK, f"{NETWORK} --resume", "n.h5", of_hdf5)
    yield Scenario("deep butd --seeds", BUTD, f"{BUTD} --resume", "run", of_numbers)
    yield Scenario("deep ladder", LADDER, LADDER, "run", of_numbers)
    yield Scenario("bridge compare", COMPARE, f"{COMPARE} --force", "c", of_numbers)
    yield Scenario("bridge learn", LEARN, f"{LEARN} --force", "learned.h5", of_hdf5, DEEP)
    learned = LEARN.replace("{out}", "{given}")
    yield Scenario("bridge import --into", IMPORT, f"{IMPORT} --force", "run", of_run, (*DEEP, learned))
    yield Scenario("bridge convert", convert, f"{convert} --force", "n.h5", of_hdf5, RUN)
    yield Scenario("bridge export", SONATA, f"{SONATA} --force", "s", of_bytes, FILE)
    yield Scenario("figure", FIGURE, f"{FIGURE} --force", "f.png", of_bytes, RUN)


SCENARIOS = {each.name: each for each in scenarios()}


class Campaign:
    """One scenario under all faults.

    Attributes:
        table: how often each fault was tried, and what was found.
    """

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario, self.folder = scenario, folder
        self.table: Counter[tuple[str, str]] = Counter()
        self.notes: list[str] = []
        self._number = 0
        given = folder / "given"
        given.mkdir(parents=True)
        for command in (*scenario.before, scenario.start):  # in this process, so that its copies find all imported
            imported(self._words(command, folder))
        whole = self._new()
        started = time.monotonic()
        self._good(run(whole, self._words(scenario.start, whole)))
        self.seconds = time.monotonic() - started
        self.expected = scenario.content(whole / scenario.out)

    def _good(self, outcome: Outcome) -> None:
        if outcome.status:
            raise SystemExit(f"{self.scenario.name}: does not run without a fault: {outcome.text}")

    def _words(self, command: str, out: Path) -> list[str]:
        return [word.format(out=out, given=self.folder / "given") for word in command.split()]

    def _new(self) -> Path:
        self._number += 1
        place = self.folder / str(self._number)
        place.mkdir()
        return place

    def _go_on(self, place: Path, kind: str) -> None:
        """Go on with what a fault left, and compare."""
        for command in (self.scenario.resume, self.scenario.start):  # there may be nothing to resume yet
            outcome = run(place, self._words(command, place))
            if outcome.status != 2 or "no run" not in outcome.text:
                break
        left = [str(p.relative_to(place)) for p in place.rglob(".*")] + [p.name for p in place.glob("*.partial")]
        if outcome.fault or outcome.status:
            found = outcome.fault or "does not go on"
        elif left:
            found = "left behind"
        elif self.scenario.content(place / self.scenario.out) != self.expected:
            found = "lost"
        else:
            found = "right"
        self._note(kind, found, f"{outcome.text[-300:]} {left}")
        shutil.rmtree(place)

    def _note(self, kind: str, found: str, text: str = "") -> None:
        self.table[kind, "tried"] += 1
        self.table[kind, found] += 1
        if found != "right":
            self.notes.append(f"{self.scenario.name}, {kind}: {found}: {text.strip()}")

    def kill_at_changes(self, every: int = 1) -> None:
        """Kill at every change of the file system, until one is late enough for the end."""
        count = 1
        while True:
            place = self._new()
            outcome = run(place, self._words(self.scenario.start, place), dying(place, count))
            if outcome.status == 0:
                shutil.rmtree(place)
                return
            self._go_on(place, "killed at a change")
            count += every

    def kill_at_random(self, times: int, generator: random.Random) -> None:
        """Kill at random times."""
        for _ in range(times):
            place = self._new()
            run(place, self._words(self.scenario.start, place), killed_after(generator.uniform(0, self.seconds)))
            self._go_on(place, "killed at random")

    def fill(self, times: int) -> None:
        """Let the disk be full after 0, 1/n, 2/n, ... of what is written."""
        whole = self._new()
        run(whole, self._words(self.scenario.start, whole))
        size = sum(p.stat().st_size for p in whole.rglob("*") if p.is_file())
        shutil.rmtree(whole)
        for part in range(times):
            place = self._new()
            disk = place / "disk"
            with small_disk(disk, max(4096, size * part // times)) as mounted:
                hook = (lambda: None) if mounted else limited(size * part // times)
                outcome = run(place, self._words(self.scenario.start, disk), hook)
                if outcome.fault:
                    self._note("full disk", outcome.fault, outcome.text[-300:])
                    continue
                kept = place / "kept"
                shutil.copytree(disk, kept)
            disk.rmdir()
            if outcome.status == 0:
                shutil.rmtree(place)
                continue
            place = kept.rename(self.folder / f"{place.name}-kept")
            self._go_on(place, "full disk")

    def twice(self, times: int) -> None:
        """Start two processes at once; then, of what a kill left, two that go on."""
        for number in range(times):
            place = self._new()
            words = self._words(self.scenario.start, place)
            if number % 2:
                run(place, words, killed_after(self.seconds / 2))
                words = self._words(self.scenario.resume, place)
            first, second = place / "first", place / "second"
            processes = []
            for errors in (first, second):
                process = os.fork()
                if not process:
                    _become(errors, words, lambda: None)
                processes.append(process)
            ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
            outcomes = [Outcome(end, file.read_text()) for end, file in zip(ends, (first, second), strict=True)]
            for file in (first, second):
                file.unlink()
            if fault := next((o.fault for o in outcomes if o.fault), ""):
                self._note("two at once", fault, " ".join(o.text[-300:] for o in outcomes))
                continue
            self._go_on(place, "two at once")


def table(rows: dict[str, Counter[tuple[str, str]]]) -> list[str]:
    """As Markdown."""
    kinds = list(dict.fromkeys(kind for counts in rows.values() for kind, _ in counts))
    bad = ("lost", "left behind", "does not go on", "traceback", "hang", "no line")
    lines = ["| scenario | fault | tried | " + " | ".join(bad) + " |", "|---|---|---|" + "---|" * len(bad)]
    for name, counts in rows.items():
        for kind in kinds:
            if counts[kind, "tried"]:
                numbers = " | ".join(str(counts[kind, each]) for each in bad)
                lines.append(f"| {name} | {kind} | {counts[kind, 'tried']} | {numbers} |")
    return lines


def campaign(
    names: Sequence[str], *, every: int = 1, kills: int = 20, full: int = 10, twice: int = 4, seed: int = 0
) -> tuple[dict[str, Counter[tuple[str, str]]], list[str]]:
    """Try all faults; return how often each was tried with what outcome, and what was not right."""
    tqdm.monitor_interval = 0  # its thread and its lock are shared by copies of a process, and stay with a killed one
    tqdm.set_lock(threading.RLock())
    rows: dict[str, Counter[tuple[str, str]]] = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ratespike-faults-") as top:
        for number, name in enumerate(names):
            one = Campaign(SCENARIOS[name], Path(top) / str(number))
            one.kill_at_changes(every)
            one.kill_at_random(kills, random.Random(seed))
            one.fill(full)
            one.twice(twice)
            rows[name] = one.table
            notes += one.notes
            print(f"{name}: {dict(one.table)}", file=sys.stderr)
    return rows, notes
