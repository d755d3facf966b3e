"""Programs and their folder go with the process, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation.scratch import scratch

PARENT = """
import sys
from foundation.scratch import scratch
with scratch() as where:
    (where.path / "large").write_bytes(bytes(10**6))
    print(where.path, flush=True)
    where.run(["/bin/sh", "-c", "sleep 61 & echo $$ > pid; sleep 61"])
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2] if Path(f"/proc/{pid}/stat").exists() else True


def eventually(true, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())


def test_a_program_runs_in_the_folder_and_both_go() -> None:
    with scratch() as where:
        done = where.run(
            [sys.executable, "-c", "import os, sys; print(os.getcwd()); print(1, file=sys.stderr); exit(3)"]
        )
        assert (done.stdout.strip(), done.stderr.strip(), done.returncode) == (str(where.path), "1", 3)
        folder = where.path
    assert not folder.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_leaves_no_orphan_and_no_folder(how) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    folder = Path(parent.stdout.readline().strip())
    assert eventually(lambda: (folder / "pid").exists() and (folder / "pid").read_text().strip())
    pid = int((folder / "pid").read_text())
    children = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    parent.send_signal(how)
    parent.wait(20)
    assert eventually(lambda: not folder.exists())
    assert len(children) == 3
    assert eventually(lambda: not any(map(alive, children)))
