"""The command line: immediate help, one-line errors, settings from flags and files."""

import dataclasses
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import bridge.config
import ratenets.butd.config
import ratenets.evaluation.config
import ratenets.hebbian.config
import ratenets.lpl.encoder_config
import ratenets.run_config
import ratenets.sequences.config
import spiking.pairing
import spiking.paper.network
from foundation import config as configs
from foundation.errors import UsageError
from ratenets.lpl.config import LPLConfig
from ratespike import cli
from ratespike.cli import in_options
from ratespike.options import build_config, flag_values

ROOT = Path(__file__).resolve().parents[2]


CHOICES = {
    kind: {f.name: f.metadata["choices"] for f in dataclasses.fields(kind) if f.metadata.get("choices")}
    for kind in (
        bridge.config.ComparisonConfig,
        bridge.config.ConversionConfig,
        bridge.config.LearningConfig,
        ratenets.butd.config.ButdConfig,
        ratenets.butd.config.NetworkConfig,
        ratenets.butd.config.WeightConfig,
        ratenets.evaluation.config.ReadoutConfig,
        ratenets.hebbian.config.HebbianConfig,
        ratenets.lpl.config.LPLConfig,
        ratenets.lpl.encoder_config.EncoderConfig,
        ratenets.run_config.RunConfig,
        ratenets.sequences.config.ViewConfig,
        spiking.paper.network.NetworkConfig,
        spiking.pairing.PairingProtocol,
    )
}

HEAVY = ("torch", "brian2", "sklearn", "scipy", "snntorch", "matplotlib", "h5py", "pydantic")
"""What no help page waits for."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names on the way to every group and command."""
    yield path
    for name in group.list_commands(click.Context(group)):
        inner = group.get_command(click.Context(group), name)
        assert inner is not None
        if isinstance(inner, click.Group):
            yield from commands(inner, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(cli.group)), ids=" ".join)
def test_help_is_immediate(path):
    code = (
        f"import sys; sys.argv = ['ratespike', *{path!r}, '--help']\n"
        "from ratespike.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {' '.join(['ratespike', *path])}")


def test_settings_that_are_names_are_choices_and_stand_under_headings(run):
    _, output, _ = run("deep", "lpl", "--help")
    parts = re.split(r"^(\w+):\n", output, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == ["Options", "Settings", "Loss", "Encoder", "Views", "Run"]
    for section, choice in (
        ("Settings", "--optimizer [adam|sgd]"),
        ("Settings", "--gradients [local|autograd]"),
        ("Encoder", "--encoder [mlp|vgg|alexnet|resnet]"),
        ("Views", "--views [affine|paper]"),
        ("Run", "--precision [float32|float64|bfloat16]"),
        ("Loss", "--pull-coeff X"),
        ("Options", "--out DIR"),
    ):
        assert choice in sections[section]


def test_a_help_page_has_one_word_for_one_thing_and_names_what_an_empty_default_means(run):
    for path in commands(cli.group):
        _, output, _ = run(*path, "--help")
        assert not re.search(r"\b(INTEGER|FLOAT|TEXT)\b|default: [];]", output), output
        for line in re.findall(r"^  (--\S+ PATH)", output, flags=re.MULTILINE):
            assert line == "--out PATH"  # of `bridge export`, `import`: a file or a folder


@pytest.mark.parametrize(
    ("kind", "names"), sorted(CHOICES.items(), key=str), ids=lambda each: getattr(each, "__name__", "")
)
def test_configs_refuse_what_is_none_of_their_choices(kind, names):
    for name, choices in names.items():
        with pytest.raises(UsageError, match=rf"{name}: must be one of {', '.join(choices)}, got 'nonsense'"):
            kind(**{name: "nonsense"})


def test_the_first_help_names_every_command(run):
    _, output, _ = run("--help")
    for name in ("demo", "data", "deep", "spike", "bridge", "figure", "benchmark"):
        assert f"  {name} " in output


def test_no_short_help_is_cut_off(run):
    for path in commands(cli.group):
        status, output, _ = run(*path, "--help")
        assert status == 0
        assert "..." not in output.partition("Commands:")[2], output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["deep", "lpl"], 2, "Missing option '--out'"),
        (["deep", "lpl", "--out", "x", "--epochs", "many"], 2, "--epochs"),
        (["deep", "lpl", "--out", "x", "--epochs", "-1"], 2, "run.epochs: must not be negative"),
        (["deep", "lpl", "--out", "x", "--data", "letters"], 2, "unknown dataset 'letters'"),
        (["deep", "lpl", "--out", "x", "--data", "mnist", "--root", "empty"], 1, "ratespike data get mnist"),
        (["deep", "lpl", "--out", "x", "--encoder", "vgg"], 2, "needs 32 x 32 pixels"),
        (["deep", "lpl", "--out", "x", "--device", "cuda:77"], 1, "cuda:77 is absent"),
        (["deep", "lpl", "--out", "x", "--hidden", "64,huge"], 2, "--hidden"),
        (["deep", "lpl", "--out", "x", "--resume"], 2, "no run to resume"),
        (["deep", "lpl", "--out", "x", "--config", "none.toml"], 1, "none.toml: no such file"),
        (["deep", "lpl", "--out", "x", "--config", "bad.toml"], 2, "bad.toml: unknown key 'learning_rat'"),
        (["deep", "lpl", "--out", "x", "--config", "type.toml"], 2, "type.toml: batch_size"),
        (["deep", "lpl", "--out", "foreign"], 2, "holds no config.toml"),
        (["deep", "readout", "foreign"], 1, "no such file"),
        (["deep", "lpl", "--out", "x", "--hidden", "100000000000"], 1, "does not fit into memory"),
        (["deep", "lpl", "--out", "a" * 300], 1, "File name too long"),
        (["deep", "lpl", "--out", "/proc/nothing"], 1, "/proc"),
        (["deep", "lpl", "--out", "two\nlines/x", "--hidden", "0"], 2, "encoder.hidden"),
        (["deep", "lpl", "--out", "x", "--gradients", "closed-form", "--precision", "bfloat16"], 2, "autograd"),
        (["deep", "readout", "foreign", "--draws", "0"], 2, "--draws: must be at least 1"),
        (["deep", "readout", "foreign", "--json", "foreign/config.toml"], 2, "would overwrite"),
        (["bridge", "convert", "foreign", "--out", "c.h5", "--json", "c.h5"], 2, "would overwrite"),
        (["bridge", "simulate", "foreign/mine.txt", "--json", "foreign/mine.txt"], 2, "would overwrite"),
        (["bridge", "simulate", "foreign/mine.txt", "--json", "/dev/null"], 2, "is not a plain file"),
        (["bridge", "simulate", "foreign/mine.txt", "--steps", "1000000000"], 2, "--steps: must lie in 1 to"),
        (["benchmark", "deep", "--json", "foreign"], 2, "is a folder"),
        (["demo", "--out", "foreign"], 2, "holds no demo.toml"),
        (["demo", "--out", "x", "--epochs", "0"], 2, "epochs: must be at least 1"),
        (["demo", "--out", "x", "--seeds", "0"], 2, "seeds: must be at least 1"),
    ],
)
def test_an_error_is_one_line_and_a_status_and_leaves_nothing(tmp_path, monkeypatch, run, arguments, status, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/mine.txt").write_text("mine")
    (tmp_path / "bad.toml").write_text("learning_rat = 1.0")
    (tmp_path / "type.toml").write_text("batch_size = 'large'")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    actual, output, errors = run(*arguments)
    assert actual == status
    assert message in " ".join(errors.split())
    assert len(errors.strip().splitlines()) == 1
    assert output == ""
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_broken_pipeline_of_settings_names_its_source(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("batch_size = 64\n[run]\nepochs = 7\n")
    given = {"epochs": 9, "hidden": "8,4", "encoder": "mlp", "biases": False, "pull_coeff": 0.5, "seed": None}
    config = build_config(LPLConfig(), file, flag_values(LPLConfig, given))
    assert config.batch_size == 64  # the file over the default
    assert config.run.epochs == 9  # the flag over the file
    assert config.encoder.hidden == (8, 4)
    assert config.encoder.biases is False
    assert config.loss.coefficients.pull == 0.5
    with pytest.raises(UsageError, match=r"command line: batch_size"):
        build_config(LPLConfig(), file, flag_values(LPLConfig, {"batch_size": 1}))
    file.write_text("batch_size = 1")
    with pytest.raises(UsageError, match=r"run\.toml: batch_size"):
        build_config(LPLConfig(), file, {})


def test_a_trained_run_can_be_read_out(tmp_path, shell):
    run = tmp_path / "run"
    done = shell("deep", "lpl", "--hidden", "8,6", "--epochs", "2", "--out", str(run))
    assert done.returncode == 0, done.stderr
    assert configs.loads(LPLConfig, (run / "config.toml").read_text()).encoder.hidden == (8, 6)
    assert "ratespike deep readout" in done.stdout
    done = shell("deep", "readout", str(run), "--draws", "1", "--json", str(tmp_path / "r.json"))
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["pixels", "layer", "layer"]
    assert (tmp_path / "r.json").is_file()


class TestPackage:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    def test_every_package_is_installed_but_neither_scripts_nor_tests(self):
        listed = set(self.project["tool"]["setuptools"]["packages"])
        found = {
            ".".join(path.parent.relative_to(ROOT).parts)
            for top in ("foundation", "ratenets", "spiking", "bridge")
            for path in (ROOT / top).rglob("__init__.py")
        }
        assert listed == found | {"ratespike"}

    def test_types_are_shipped(self):
        for package in ("foundation", "ratenets", "spiking", "bridge", "scripts"):
            assert (ROOT / package / "py.typed").is_file()

    def test_levels_do_not_know_each_other(self):
        """The two levels know the ground floor alone, bridge knows both, none knows the command line."""
        allowed = {"foundation": set(), "ratenets": {"foundation"}, "spiking": {"foundation"}}
        allowed["bridge"] = {"foundation", "ratenets", "spiking"}
        ours = {*allowed, "scripts", "ratespike", "tests"}
        for package, others in allowed.items():
            for path in (ROOT / package).rglob("*.py"):
                words = [line.split() for line in path.read_text().splitlines()]
                imported = {w[1].split(".")[0] for w in words if w[:1] in (["import"], ["from"]) and len(w) > 1}
                assert imported & ours <= others | {package}, path

    @pytest.mark.slow
    def test_a_wheel_holds_the_packages_and_nothing_else(self, tmp_path):
        import zipfile

        source = tmp_path / "source"  # setuptools leaves its traces where it builds
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in tracked.splitlines():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        (wheel,) = tmp_path.glob("*.whl")
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        assert {t for t in tops if not t.endswith(".dist-info")} == {
            "foundation",
            "ratenets",
            "spiking",
            "bridge",
            "ratespike",
        }
        assert "ratespike/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_messages_of_the_library_name_options_on_the_command_line() -> None:
    command = click.Command("x", params=[click.Option(["--round-times"]), click.Option(["--format", "form"])])
    for message, said in (
        (
            "spikes: 0.3 s is no step (round_times would round it)",
            "spikes: 0.3 s is no step (--round-times would round it)",
        ),
        ("format: must be npz", "--format: must be npz"),
        ("command line: run.round_times: must be", "command line: run.round_times: must be"),
        ("/a/round_times/b.ras: is no file of 'round_times'", "/a/round_times/b.ras: is no file of 'round_times'"),
        ("other: unknown_thing is", "other: unknown_thing is"),
    ):
        assert in_options(message, command) == said


def test_a_message_never_carries_out_a_terminals_commands(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._fail("a: \x1b[2J\x9b31m is no name\nnor this", 1)
    assert capfd.readouterr().err == "ratespike: a: ?[2J?31m is no name nor this\n"
