"""Ctrl-C and SIGTERM as a request that long work answers where it can be stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_asked: list[list[int]] = []
"""What those who listen now have been asked, the innermost last."""


@contextmanager
def stop_requests(
    *signals: signal.Signals, then: Callable[[], object] = lambda: None, listen: bool = True
) -> Iterator[Callable[[], bool]]:
    """Note these signals (by default SIGINT and SIGTERM) instead of breaking off; a second one does break off.

    Yields a function that says whether one came; `then` is called when it does. Without `listen` none is noted.
    Within one another, the inner one knows what the outer one was asked before, and hands on what it is asked itself.
    An exception from a handler would not do: it can come up in any line, even in one whose exceptions Python ignores.
    """
    asked: list[int] = [*_asked[-1]] if listen and _asked else []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        then()

    noted = signals or (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, ask) for number in noted} if listen else {}
    except ValueError:  # not in the main thread, where signals cannot be had
        before = {}
    if before:
        _asked.append(asked)
    try:
        yield lambda: bool(asked)
    finally:
        if before:
            _asked.pop()
            if _asked:
                _asked[-1].extend(asked[len(_asked[-1]) :])
        for number, handler in before.items():
            signal.signal(number, handler)
