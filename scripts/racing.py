"""Races between a step of ours and its peer: the clock, the report."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from foundation.errors import UsageError
from foundation.files import write_json
from foundation.progress import bar

Timed = Callable[[], object]


def race(functions: Mapping[str, Timed], repeats: int, device: torch.device, label: str) -> dict[str, float]:
    """Median seconds of each, taken in turns so that a busy machine hits all alike; CPU seconds on a CPU."""
    if repeats < 1:
        raise UsageError(f"--repeats: must be at least 1, got {repeats}")
    torch.set_num_threads(1)
    clock = _cpu_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in bar(range(-1, repeats), label=label, unit="round"):
        for name, function in functions.items():
            start = clock()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_number >= 0:  # the round before is to warm up
                seconds[name].append(clock() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def _cpu_time() -> float:
    """Of this process and of those it has waited for, in s; only the latter come in ticks of 10 ms."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def peak_memory(function: Timed, device: torch.device) -> int:
    """Bytes that it has in use at most at a time, of what torch makes in it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    results: Any = profile.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    in_use = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        in_use += event.nbytes()
        most = max(most, in_use)
    return most


def report(
    name: str, rows: Mapping[str, Mapping[str, float]], peer: str, unit: str, scale: float, json_file: Path | None
) -> None:
    """Print every time, and its ratio to that of the peer."""
    click.echo(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    for setting, times in rows.items():
        for entry, seconds in times.items():
            click.echo(
                f"{setting:34} {entry:28} {scale * seconds:10.3f} {unit}   {seconds / times[peer]:7.2f} x {peer}"
            )
    if json_file is not None:
        write(name, rows, peer, json_file)


def write(name: str, rows: Mapping[str, Mapping[str, float]], peer: str, json_file: Path) -> None:
    """Write the times, in seconds, as JSON."""
    write_json(json_file, {"benchmark": name, "peer": peer, "seconds": {k: dict(v) for k, v in rows.items()}})
