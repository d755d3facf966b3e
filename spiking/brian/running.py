"""Running a Brian2 network so that an interrupted run is never taken for a finished one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import brian2 as b2

from foundation.errors import RatespikeError
from foundation.progress import bar
from foundation.stopping import stop_requests

MANY_STEPS = 100_000
"""Of a run, from which on it is worth while to compile its code."""


def run_network(network: b2.Network, seconds: float, *, label: str | None = None) -> None:
    """Run for that long (simulated s), with a progress bar if it has a label.

    Ctrl-C ends in KeyboardInterrupt after the current step. Brian2's own way would be to return early, as if all were
    well; and an interrupt amid a step's code makes it stumble over its own error message.

    Raises:
        RatespikeError: the network stopped before its time.
    """
    start = float(network.t)
    with (
        _preference("core.stop_on_keyboard_interrupt", False),
        stop_requests(signal.SIGINT, then=b2.stop) as interrupted,
        _bar(label, seconds) as report,
        _listening(network, interrupted),
    ):
        network.run(seconds * b2.second, namespace={}, **report)
    if interrupted():
        raise KeyboardInterrupt
    if float(network.t) - start < seconds * (1 - 1e-9):
        raise RatespikeError(f"the simulation stopped after {float(network.t) - start:.3f} of {seconds:.3f} s")


@contextmanager
def code_generation(target: str) -> Iterator[None]:
    """Brian2's `codegen.target` for a while: "numpy" (no compiler, no waiting), "cython", or "auto"."""
    with _preference("codegen.target", target):
        yield


@contextmanager
def code_for(steps: float, target: str = "auto") -> Iterator[None]:
    """Brian2's `codegen.target` for a model that is made and run for so many steps, if nobody asked for a `target`.

    It is numpy, unless the steps are many: to compile with Cython takes minutes, a step of numpy code a millisecond or
    two. What the user has set (any but Brian2's default, "auto") stays.
    """
    before = b2.prefs["codegen.target"]
    if target == "auto":
        target = "numpy" if before == "auto" and steps < MANY_STEPS else before
    with code_generation(target):
        yield


@contextmanager
def _listening(network: b2.Network, interrupted: Callable[[], bool]) -> Iterator[None]:
    """Stop the network in its next step, if it was asked to before: Brian2 forgets what comes before the first one."""
    clock = next(iter(network.objects)).clock
    ask = b2.NetworkOperation(lambda: b2.stop() if interrupted() else None, clock=clock, when="start")
    network.add(ask)
    try:
        yield
    finally:
        network.remove(ask)


@contextmanager
def _preference(name: str, value: object) -> Iterator[None]:
    before = b2.prefs[name]
    b2.prefs[name] = value
    try:
        yield
    finally:
        b2.prefs[name] = before


@contextmanager
def _bar(label: str | None, seconds: float) -> Iterator[dict[str, Any]]:
    """Brian2's progress as one of our bars: the arguments with which it reports."""
    if label is None:
        yield {}
        return
    with bar(label=label, total=round(seconds, 3), unit=" simulated s") as progress:

        def report(elapsed: object, completed: float, start: object, length: object) -> None:
            progress.update(round(completed * seconds, 3) - progress.n)

        yield {"report": report, "report_period": 0.5 * b2.second}
