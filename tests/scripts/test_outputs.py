"""What exists is not overwritten without --force, in any command that writes; and an input never is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from ratespike.cli import group
from tests.scripts.conftest import Run

GOING_ON = {"deep ladder", "demo"}  # commands that say that they go on with what is there
WITHOUT_INPUT = {"benchmark bridge", "benchmark butd", "benchmark deep", "benchmark hebbian", "benchmark spike"}
FOLDERS = {  # commands that write a folder: what makes it theirs
    "bridge compare": "comparison.json",
    "deep butd": "config.toml",
    "deep hebbian": "config.toml",
    "deep import": "config.toml",
    "deep lpl": "config.toml",
    "deep ladder": "",
    "demo": "",
}
MORE = {  # what a command needs besides its arguments
    "bridge export": ("--format", "npz"),
    "bridge import": ("--format", "nir"),
    "deep shapes3d score": ("--pixels",),
}
LATER = {"deep import"}  # reads its input first


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from leaves(found, f"{name} {inner}".strip())
    else:
        yield name, command


COMMANDS = dict(leaves(group))


def outputs(command: click.Command) -> list[str]:
    """The options that name what is written."""
    names = [name for parameter in command.params for name in parameter.opts]
    return [name for name in ("--out", "--json", "--csv") if name in names]


WRITING = {name: command for name, command in COMMANDS.items() if outputs(command)}


def arguments(name: str, command: click.Command, folder: Path, given: str, path: Path) -> list[str]:
    """A call of a command in which one output exists, and nothing else does."""
    words = name.split()
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.required:
            choices = parameter.type.choices if isinstance(parameter.type, click.Choice) else ()
            words.append(str(next(iter(choices), folder / "input")))
    words += MORE.get(name, ())
    for option in outputs(command):
        required = any(option in p.opts and p.required for p in command.params)
        if option == given or required:
            words += [option, str(path if option == given else folder / f"other{path.suffix}")]
    return words


def test_every_command_that_writes_has_force() -> None:
    assert len(WRITING) > 20
    for name, command in WRITING.items():
        assert "--force" in [option for parameter in command.params for option in parameter.opts], name


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name, command in WRITING.items() for option in outputs(command) if name not in GOING_ON],
)
def test_what_exists_is_refused_before_any_work_with_the_word_force(
    tmp_path: Path, run: Run, name: str, option: str
) -> None:
    folder = option == "--out" and name in FOLDERS
    path = tmp_path / "existing.png" if not folder else tmp_path / "existing"
    kept = path / FOLDERS[name] if folder else path
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    if name in LATER:
        pytest.skip("needs a checkpoint; see tests/ratenets/test_existing.py")
    status, output, errors = run(*arguments(name, WRITING[name], tmp_path, option, path))
    assert status == 2, errors
    assert "--force" in errors
    assert len(errors.splitlines()) == 1
    assert output == ""
    assert kept.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize(
    "name", [name for name, command in WRITING.items() if name not in FOLDERS and name not in WITHOUT_INPUT]
)
def test_force_does_not_overwrite_an_input(tmp_path: Path, run: Run, name: str) -> None:
    command = WRITING[name]
    given = [p for p in command.params if isinstance(p, click.Argument) and not isinstance(p.type, click.Choice)]
    if not given or name.startswith("deep s"):  # runs are folders
        pytest.skip("reads no file")
    path = tmp_path / "input"
    path.write_text("mine")
    option = outputs(command)[0]
    if name == "figure":
        path = path.rename(tmp_path / "input.png")
    words = [w if w != str(tmp_path / "input") else str(path) for w in arguments(name, command, tmp_path, option, path)]
    status, _, errors = run(*words, "--force")
    assert status in (1, 2)
    assert len(errors.splitlines()) == 1
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if any("--resume" in p.opts for p in c.params)])
def test_force_and_resume_are_not_given_together(tmp_path: Path, run: Run, name: str) -> None:
    status, _, errors = run(*name.split(), "--out", tmp_path / "x", "--resume", "--force")
    assert status == 2
    assert "give one of the two" in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "deep lpl --config {out}/mine.toml",
        "deep butd --config {out}/mine.toml",
        "deep hebbian --config {out}/mine.toml",
        "deep import {out}/mine.toml",
        "bridge import {out}/mine.toml --into {out}",
        "bridge export {out}/mine.toml --format sonata",
        "bridge compare --stimulus rates --rates {out}/mine.toml",
    ],
)
def test_what_is_replaced_in_a_folder_is_no_input(tmp_path: Path, run: Run, words: str) -> None:
    (tmp_path / "mine.toml").write_text("")
    (tmp_path / "comparison.json").write_text("{}")
    status, _, errors = run(*words.format(out=tmp_path).split(), "--out", tmp_path, "--force")
    assert (status, len(errors.splitlines())) == (2, 1), errors
    assert "lies there, which is read; choose another --out" in errors
    assert (tmp_path / "mine.toml").exists()


CALLS: dict[str, Callable[[Path], list[Any]]] = {
    "toy": lambda p: ["deep", "toy", "--experiment", "rule", "--points", "20", "--out", p / "t.json"],
    "figure": lambda p: ["figure", "toy", p / "t.json", "--out", p / "t.png"],
    "hebbian": lambda p: [
        "deep",
        "hebbian",
        "--data",
        "digits",
        "--activation",
        "relu",
        "--epochs",
        "1",
        "--out",
        p / "r",
    ],
    "convert": lambda p: ["bridge", "convert", p / "r", "--images", "5", "--steps", "4", "--out", p / "n.h5"],
    "export": lambda p: ["bridge", "export", p / "n.h5", "--format", "brian2", "--out", p / "n.py"],
    "sonata": lambda p: ["bridge", "export", p / "n.h5", "--format", "sonata", "--out", p / "s"],
    "simulate": lambda p: ["bridge", "simulate", p / "n.h5", "--images", "5", "--steps", "4", "--json", p / "s.json"],
}


def test_commands_run_twice_with_force_and_once_without(tmp_path: Path, run: Run) -> None:
    for name, call in CALLS.items():
        words = call(tmp_path)
        for force, expected in ((False, 0), (False, 2), (True, 0)):
            before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
            status, _, errors = run(*words, *["--force"] * force)
            assert status == expected, (name, force, errors)
            if expected:
                assert "--force" in errors
                assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
