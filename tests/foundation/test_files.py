"""Files are written whole or not at all; seeds are named; figures leave matplotlib alone."""

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from foundation import figures
from foundation.errors import RatespikeError, UsageError
from foundation.files import check_target, claim_folder, whole_file, write_json, write_text
from foundation.locks import LOCK, check_free, locked, take
from foundation.progress import bar
from foundation.seeds import derive, numpy_generator


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "deep" / "result.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with whole_file(path) as part:
            part.write_text("new, but")
            assert path.read_text() == "old"
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["result.txt"]


def test_written_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


WRITER = """
import sys, time
from pathlib import Path
from foundation.files import whole_file
with whole_file(Path(sys.argv[1])) as part:
    part.write_text("half")
    print("here", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_goes_with_the_next_write_and_a_live_one_is_left_alone(tmp_path):
    path = tmp_path / "a [1].txt"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        for folder in tmp_path.iterdir():  # however long ago they began
            os.utime(folder, (0, 0))
        writers[0].kill()
        writers[0].wait()
        write_text(path, "whole")
        assert path.read_text() == "whole"
        (live,) = [p for p in tmp_path.iterdir() if p != path]
        assert (live / path.name).read_text() == "half"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    write_text(path, "again")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_files_of_others_with_hidden_names_are_not_swept(tmp_path):
    (tmp_path / ".net-notes.partial").write_text("mine")
    for name in (".net-old.parts", ".net-mine.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    for path in (*tmp_path.iterdir(), *tmp_path.glob("*/notes.txt")):
        os.utime(path, (0, 0))
    write_text(tmp_path / "net.h5", "x")
    assert len([*tmp_path.rglob("*")]) == 6


def test_files_are_written_where_there_are_neither_locks_nor_hard_links(tmp_path, monkeypatch):
    def refused(*arguments: object, **options: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    young, old = (tmp_path / f".x-{name}.part" for name in ("young", "old"))
    for part in (young, old):
        part.mkdir()
    os.utime(old, (0, 0))
    write_text(tmp_path / "x.txt", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == [young.name, "x.txt"]  # who lives is not known there
    with locked(tmp_path):
        pass


def test_an_error_of_the_system_names_the_file(tmp_path):
    def full(path: Path) -> None:
        with whole_file(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"x\.txt") as caught:
        full(tmp_path / "x.txt")
    assert caught.value.filename == str(tmp_path / "x.txt")
    assert not list(tmp_path.iterdir())


def test_a_folder_has_one_process_at_work_and_no_lock_stays(tmp_path):
    folder = tmp_path / "new"
    with locked(folder), locked(folder):  # within one another
        check_free(folder)
    assert not folder.exists()  # nothing came of it
    folder.mkdir()
    lock = take(folder)
    assert lock is not None
    assert lock.certain
    with pytest.raises(RatespikeError, match="another process is at work"):
        check_free(folder)
    with pytest.raises(RatespikeError, match="another process is at work"), locked(folder):
        pass
    lock.release()
    assert not list(folder.iterdir())
    (folder / LOCK).touch()  # a killed process left it
    claim_folder(folder, "run.toml")
    with locked(folder):
        pass
    assert not list(folder.iterdir())


def test_targets_are_checked_before_work(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    check_target(tmp_path / "new" / "result.json", tmp_path / "file")
    check_target(tmp_path / "file")
    for target, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "below", "is not a folder"),
        (tmp_path / "link", "would overwrite"),
        (Path("/dev/null"), "not a plain file"),
    ):
        with pytest.raises(UsageError, match=message):
            check_target(target, tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


def test_json_refuses_what_json_is_not(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_folders_are_claimed_before_work_and_never_shared(tmp_path):
    claim_folder(tmp_path / "new" / "deep", "run.toml")
    assert list(tmp_path.iterdir()) == []  # nothing is made yet
    claim_folder(tmp_path, "run.toml")
    (tmp_path / "foreign").write_text("x")
    with pytest.raises(UsageError, match=r"holds no run\.toml"):
        claim_folder(tmp_path, "run.toml")
    with pytest.raises(UsageError, match="is not a folder"):
        claim_folder(tmp_path / "foreign", "run.toml")
    with pytest.raises(UsageError, match="is not a folder"):
        claim_folder(tmp_path / "foreign" / "below", "run.toml")
    (tmp_path / "run.toml").write_text("")
    claim_folder(tmp_path, "run.toml")


def test_streams_differ_by_purpose_and_stay_the_same_for_ever():
    assert derive(0, "views", 1, 2) == derive(0, "views", 1, 2)
    assert len({derive(0), derive(1), derive(0, "a"), derive(0, "a", 1), derive(0, "a", 11), derive(0, "a", 1, 1)}) == 6
    assert derive(0, "views", 1, 2) == 8074263173592381707  # a changed stream would change every published result
    assert numpy_generator(3, "x").integers(2**62) == np.random.default_rng(derive(3, "x")).integers(2**62)


@figures.styled
def picture():
    figure, axes = figures.panels(1, 2)
    axes[0].plot([0, 1])
    figures.letter(axes)
    return figure, axes


def test_figures_have_the_house_style_and_leave_no_trace(tmp_path):
    before = dict(matplotlib.rcParams)
    figure, axes = picture()
    assert not axes[0].spines["top"].get_visible()
    assert [axis.get_title(loc="left") for axis in axes] == ["a", "b"]
    for suffix in figures.FORMATS:
        figures.save(figure, tmp_path / f"figure{suffix}")
        assert (tmp_path / f"figure{suffix}").stat().st_size > 1000
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(UsageError, match="written as one of"):
        figures.save(figure, tmp_path / "figure.gif")
    with pytest.raises(RatespikeError):
        figures.save(figure, tmp_path / "figure")


def test_a_bar_in_a_log_prints_whole_lines(capsys):
    assert list(bar([1, 2, 3], label="counting")) == [1, 2, 3]
    assert "counting" in capsys.readouterr().err


def test_a_full_disk_is_named_by_the_file(tmp_path: Path) -> None:
    for own in (None, "part"):
        with pytest.raises(OSError, match="No space") as error, whole_file(tmp_path / "new.txt") as part:
            raise OSError(errno.ENOSPC, "No space left on device", *([str(part)] if own else []))
        assert error.value.filename == str(tmp_path / "new.txt")
    with pytest.raises(OSError, match="No space") as error, whole_file(tmp_path / "new.txt"):
        raise OSError(errno.ENOSPC, "No space left on device", "another")
    assert error.value.filename == "another"
