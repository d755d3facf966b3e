"""Metrics as TensorBoard reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Write = Callable[[str, float, int], None]


@contextmanager
def scalar_writer(folder: Path, step: int | None) -> Iterator[Write]:
    """Yield a function that writes a named value at a step to a new event file in a folder.

    TensorBoard's own writer does that in a thread, whose errors (a full disk) nobody catches.

    Args:
        folder: of the event files.
        step: from which on TensorBoard forgets what earlier files of the folder say; None: it forgets nothing.

    Raises:
        OSError: it cannot be written; with its name.
    """
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{time.time_ns() // 1000:016d}.ratespike"
    stream = path.open("xb")
    records = RecordWriter(stream)

    def put(**content: Any) -> None:
        try:
            records.write(event_pb2.Event(wall_time=time.time(), **content).SerializeToString())
            records.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def write(name: str, value: float, at: int) -> None:
        put(step=at, summary=summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, simple_value=value)]))

    try:
        put(file_version="brain.Event:2")
        if step is not None:
            put(step=step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
        yield write
    finally:
        with suppress(OSError):  # what is left in its buffer does not fit either, which has been said
            stream.close()
