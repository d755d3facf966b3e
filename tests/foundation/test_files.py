"""Files are written whole or not at all; seeds are named; figures leave matplotlib alone."""

import errno
import json
import stat
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from foundation import figures
from foundation.errors import RatespikeError, UsageError
from foundation.files import check_target, claim_folder, whole_file, write_json, write_new_text, write_text
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


def test_a_new_file_has_one_writer(tmp_path):
    write_new_text(tmp_path / "deep" / "config.toml", "first")
    with pytest.raises(FileExistsError):
        write_new_text(tmp_path / "deep" / "config.toml", "second")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["config.toml"]
    assert (tmp_path / "deep" / "config.toml").read_text() == "first"


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
