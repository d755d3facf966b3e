"""The folder of an unfinished run: what is found again after a kill, and what is refused."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import RatespikeError, UsageError
from foundation.files import write_bytes
from spiking import run_folder
from spiking.run_folder import RunFolder
from tests.spiking.killed import KilledError, write_then_die

IDENTITY = {"network": {"eta": 0.1, "seed": 1, "augment": False, "inhibition": "plastic"}, "rates": "abc"}
STATE: dict[str, Any] = {"ext/w": np.linspace(0, 1, 50), "cell": np.arange(3, dtype=np.int32), "none": np.zeros(0)}
PIECES = [{"exc_step": np.arange(n, dtype=np.int64), "first_bin": np.array(n)} for n in range(4)]


def state(number: int) -> dict[str, Any]:
    return {name: value + number for name, value in STATE.items()}


def filled(path: Path, pieces: int = 3) -> RunFolder:
    folder = RunFolder(path, IDENTITY, resume=False)
    for number in range(pieces):
        folder.add(number, PIECES[number], state(number))
    return folder


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in other.items():
        np.testing.assert_array_equal(one[name], value)
        assert one[name].dtype == value.dtype


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- what is found again ----------------------------------------------------------------------------------------------
def test_a_new_folder_holds_nothing_and_is_not_made(tmp_path) -> None:
    for resume in (False, True):
        folder = RunFolder(tmp_path / "new", IDENTITY, resume=resume)
        assert (folder.done, folder.state) == (0, None)
        assert list(folder.pieces()) == []
    assert list(tmp_path.iterdir()) == []


def test_pieces_and_the_last_state_come_back(tmp_path) -> None:
    filled(tmp_path)
    folder = RunFolder(tmp_path, IDENTITY, resume=True)
    assert folder.done == 3
    assert folder.state is not None
    assert_same(folder.state, state(2))
    for piece, expected in zip(folder.pieces(), PIECES, strict=False):
        assert_same(piece, expected)
    assert len(list(folder.pieces())) == 3
    folder.add(3, PIECES[3], state(3))
    assert RunFolder(tmp_path, IDENTITY, resume=True).done == 4


def test_an_unfinished_run_is_gone_on_with_only_if_told(tmp_path) -> None:
    filled(tmp_path)
    with pytest.raises(UsageError, match="an unfinished run lies here; go on with --resume, or begin anew"):
        RunFolder(tmp_path, IDENTITY, resume=False)


def test_killed_at_any_write_it_goes_on_from_its_last_state(tmp_path, monkeypatch) -> None:
    """Before each of the files of a run becomes visible, in turn."""
    for writes in range(7):
        path, left = tmp_path / str(writes), [writes]

        def write(target, content, left=left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            write_bytes(target, content)

        monkeypatch.setattr(run_folder, "write_bytes", write)
        with pytest.raises(KilledError) if writes < 6 else pytest.MonkeyPatch.context():
            filled(path)
        monkeypatch.undo()
        folder = RunFolder(path, IDENTITY, resume=True)
        assert folder.done == writes // 2
        assert len(list(folder.pieces())) == folder.done
        assert (folder.state is None) == (folder.done == 0)
        if folder.state is not None:
            assert_same(folder.state, state(folder.done - 1))
        for number in range(folder.done, 4):
            folder.add(number, PIECES[number], state(number))
        assert_same(dict(enumerate_pieces(RunFolder(path, IDENTITY, resume=True))), dict(enumerate_pieces(folder)))


def enumerate_pieces(folder: RunFolder):
    for number, piece in enumerate(folder.pieces()):
        yield from ((f"{number}/{name}", value) for name, value in piece.items())


def test_what_killed_writers_left_is_no_obstacle_and_goes_with_the_rest(tmp_path) -> None:
    filled(tmp_path / "run")
    for name in (".state-x1.part.npz", "pieces/.0-x2.part.npz"):
        (tmp_path / "run" / name).write_bytes(b"half")
    assert RunFolder(tmp_path / "run", IDENTITY, resume=True).done == 3
    run_folder.discard(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_before_the_first_file_is_no_obstacle(tmp_path) -> None:
    """The file that says which run it is was being written."""
    (tmp_path / "run" / ".run-abc.part").mkdir(parents=True)
    (tmp_path / "run" / ".run-abc.part" / "run.toml").write_text("half")
    for resume in (False, True):
        assert RunFolder(tmp_path / "run", IDENTITY, resume=resume).done == 0


def test_discarding_leaves_what_is_not_ours(tmp_path) -> None:
    filled(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "pieces" / "notes.txt").write_text("mine")
    run_folder.discard(tmp_path)
    assert contents(tmp_path) == {"notes.txt": b"mine", "pieces/notes.txt": b"mine"}


def test_of_two_processes_that_begin_one_goes_on(tmp_path) -> None:
    one, other = (RunFolder(tmp_path / "run", IDENTITY, resume=False) for _ in range(2))
    one.add(0, PIECES[0], state(0))
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="another process has begun a run here"):
        other.add(0, PIECES[0], state(0))
    assert contents(tmp_path) == before


# --- back to the state before -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_back_to_the_piece_before(tmp_path, pieces) -> None:
    """In the process that wrote it, and in another; nothing is written until the piece is done anew."""
    written = filled(tmp_path, pieces)
    before = contents(tmp_path)
    for folder in (written, RunFolder(tmp_path, IDENTITY, resume=True)):
        folder.back_to(pieces)
        assert folder.done == pieces
        folder.back_to(pieces - 1)
        assert folder.done == len(list(folder.pieces())) == pieces - 1
        assert (folder.state is None) == (pieces == 1)
        if folder.state is not None:
            assert_same(folder.state, state(pieces - 2))
        assert contents(tmp_path) == before
    folder.add(pieces - 1, PIECES[0], state(10))
    again = RunFolder(tmp_path, IDENTITY, resume=True)
    assert again.done == pieces
    assert_same(again.piece(pieces - 1), PIECES[0])
    assert again.state is not None
    assert_same(again.state, state(10))
    again.add(pieces, PIECES[1], state(11))
    again.back_to(pieces)
    assert again.state is not None
    assert_same(again.state, state(10))


def test_further_back_it_does_not_go(tmp_path) -> None:
    folder = filled(tmp_path)
    for done in (0, 1, 4):
        with pytest.raises(RatespikeError, match=f"is at piece 3, others at {done}; the run cannot be resumed"):
            folder.back_to(done)
    assert folder.done == 3


@pytest.mark.parametrize("writes", range(4))
def test_killed_after_it_went_back_it_is_at_one_of_the_two_pieces(tmp_path, monkeypatch, writes) -> None:
    filled(tmp_path)
    folder = RunFolder(tmp_path, IDENTITY, resume=True)
    folder.back_to(2)
    monkeypatch.setattr(run_folder, "write_bytes", write_then_die(writes))
    with suppress(KilledError):
        for number in (2, 3):
            folder.add(number, PIECES[number], state(number))
    monkeypatch.undo()
    again = RunFolder(tmp_path, IDENTITY, resume=True)
    assert again.done == 3
    assert again.state is not None
    assert_same(again.state, state(2))
    if writes < 3:  # killed later, the state before is that of piece 3
        again.back_to(2)
        assert again.state is not None
        assert_same(again.state, state(1))


def test_a_damaged_state_before_is_refused_where_it_is_needed(tmp_path) -> None:
    filled(tmp_path)
    (tmp_path / "before.npz").write_bytes(b"half")
    folder = RunFolder(tmp_path, IDENTITY, resume=True)
    folder.back_to(3)
    with pytest.raises(RatespikeError, match=r"before\.npz: damaged, the run cannot be resumed"):
        folder.back_to(2)


# --- what is refused --------------------------------------------------------------------------------------------------
def refused(path: Path, identity: Any, message: str, kind: type[RatespikeError] = RatespikeError) -> None:
    """In one line, and nothing is touched."""
    before = contents(path)
    with pytest.raises(kind, match=message) as error:
        RunFolder(path, identity, resume=True)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert contents(path) == before


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({**IDENTITY, "rates": "abd"}, "is another run; it differs in rates"),
        ({"network": {"eta": 0.2, "seed": 2}, "rates": "abc"}, "network.augment, network.eta, network.inhibition, net"),
        ({**IDENTITY, "recording": {"keep": 1.0}}, "differs in recording.keep"),
    ],
)
def test_another_run_is_refused(tmp_path, identity, message) -> None:
    filled(tmp_path)
    refused(tmp_path, identity, message, UsageError)


def test_another_version_is_refused(tmp_path, monkeypatch) -> None:
    filled(tmp_path)
    monkeypatch.setattr(run_folder, "version", lambda _: "99.1")
    refused(tmp_path, IDENTITY, r"of another version of ratespike \(ratespike 0.*, this is 99.1\)")
    monkeypatch.undo()
    monkeypatch.setattr(run_folder, "FORMAT", 99)
    refused(tmp_path, IDENTITY, r"of another version of ratespike \(format 1, this is 99\)")


@pytest.mark.parametrize("text", ["format = ", "", "format = 1\n", "\x00\x01"])
def test_a_folder_that_does_not_say_which_run_it_is_is_refused(tmp_path, text) -> None:
    filled(tmp_path)
    (tmp_path / "run.toml").write_text(text)
    refused(tmp_path, IDENTITY, r"run\.toml|another version")


def test_other_folders_and_files_are_refused(tmp_path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("thesis", "file"):
        for resume in (False, True):
            with pytest.raises(UsageError, match="exists and is no unfinished run; move it away"):
                RunFolder(tmp_path / name, IDENTITY, resume=resume)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("name", ["state.npz", "pieces/0.npz", "pieces/2.npz"])
def test_files_cut_short_are_refused(tmp_path, name) -> None:
    filled(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for size in (0, 1, 3, 100, len(whole) // 2, len(whole) - 22, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(tmp_path, IDENTITY, f"{name}: damaged, the run cannot be resumed")


@pytest.mark.parametrize("name", ["pieces/0.npz", "pieces/2.npz"])
def test_missing_pieces_are_refused(tmp_path, name) -> None:
    filled(tmp_path)
    (tmp_path / name).unlink()
    refused(tmp_path, IDENTITY, f"{name}: is missing; the run cannot be resumed")


def test_no_flipped_byte_is_believed(tmp_path, rng) -> None:
    """Either it is refused, or it stood where nothing is read."""
    filled(tmp_path)
    path = tmp_path / "state.npz"
    whole = bytearray(path.read_bytes())
    noticed = 0
    for at in rng.permutation(len(whole))[:400]:
        damaged = whole.copy()
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            folder = RunFolder(tmp_path, IDENTITY, resume=True)
        except RatespikeError:
            noticed += 1
            continue
        assert folder.done == 3
        assert folder.state is not None
        assert_same(folder.state, state(2))
    assert noticed > 250


@pytest.mark.parametrize("content", ["array", "text", "object", "nothing", "several", "negative", "lost"])
def test_a_state_of_something_else_is_refused(tmp_path, content) -> None:
    filled(tmp_path)
    path = tmp_path / "state.npz"
    if content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "text":
        path.write_text("a state\n")
    else:
        arrays: dict[str, Any] = {
            "object": {"pieces": np.array([{}]), "arrays": np.array(1)},
            "nothing": {"x": np.zeros(3)},
            "several": {"pieces": np.arange(2), "arrays": np.array(1)},
            "negative": {"pieces": np.array(-1), "arrays": np.array(1)},
            "lost": {"pieces": np.array(3), "arrays": np.array(3), "x": np.zeros(3)},
        }[content]
        np.savez(path, **arrays)
    refused(tmp_path, IDENTITY, r"state\.npz: damaged")


def test_a_state_is_checked_for_pieces_that_are_not_there(tmp_path) -> None:
    filled(tmp_path)
    np.savez(tmp_path / "state.npz", pieces=np.array(10**9), arrays=np.array(1))
    refused(tmp_path, IDENTITY, r"pieces/3\.npz: is missing")
