"""One look for every progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    label: str,
    total: float | None = None,
    unit: str = "it",
    unit_scale: bool = False,
    initial: float = 0,
    disable: bool = False,
) -> tqdm[Any]:
    """A progress bar on standard error; in a log (no terminal) it prints a line every ten seconds instead.

    Iterate over it, or use it as a context manager and call ``update(n)``. `total` and `initial` are in `unit`; with
    `unit_scale` large numbers are shown as k, M, G.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=label,
        total=total,
        unit=unit,
        unit_scale=unit_scale,
        initial=initial,
        disable=disable,
        file=sys.stderr,
        dynamic_ncols=terminal,
        mininterval=0.1 if terminal else 10.0,
        ascii=None if terminal else True,
    )
