"""A few damaged files for every reader; `python tests/faults/mutants.py` has hundreds."""

import pytest

from tests.faults.mutants import Worker, attempt, mutated
from tests.faults.readers import READERS

QUICK = {"run folder, run.toml", "run folder, state", "rates.npz", "NIR", "SONATA edges", "Auryn .wmat", "weights.h5",
         "ladder, figure", "config.toml", "checkpoint of others", "image.png", "IDX"}  # fmt: skip
"""One of each kind; the others, each a process that imports its reader, are slow together."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in READERS])
def test_damaged_files_are_read_or_refused_in_one_line(name: str) -> None:
    outcomes, said = attempt(name, 10, seed=1)
    assert not said, "\n".join(said)
    assert outcomes.keys() <= {"read", "refused"}
    assert outcomes["refused"]


def test_mutants_are_the_same_for_a_seed_and_others_for_another() -> None:
    content = bytes(range(256)) * 8
    assert mutated(content, "a/0/1") == mutated(content, "a/0/1")
    assert len({mutated(content, f"a/0/{n}") for n in range(50)} - {content}) > 40


def test_what_a_reader_does_wrong_is_found() -> None:
    worker = Worker("IDX")
    try:
        assert worker.read(worker.good)[0] == "read"
        assert worker.read(b"x")[0] == "refused"
        worker.path.unlink()
        worker.path.mkdir()  # which is no error of ours
        worker.pipe.send(True)
        outcome, said = worker.pipe.recv()
        assert (outcome, "IsADirectoryError" in said) == ("traceback", True)
        worker.path.rmdir()
        worker.process.kill()
        assert worker.read(worker.good) == ("crash", "exit status -9")
        assert worker.read(worker.good)[0] == "read"  # by the next process
    finally:
        worker.close()
