"""The run engine: stopped, killed and resumed runs end where they would have ended."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundation import config as configs
from foundation.errors import Notice, RatespikeError, StoppedError, UsageError
from ratenets import run, run_folder
from ratenets.checkpoint_check import check_checkpoint
from ratenets.lpl.config import LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.lpl.training import train_lpl
from ratenets.run_config import RunConfig
from ratenets.run_folder import CHECKPOINT, CONFIG, METRICS

MAIN = [sys.executable, "-c", "from ratespike.cli import main; main()"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


class Line:
    """A learner that fits a line to drawn points: as small as a learner can be."""

    def __init__(self, fail_at: int = 10**9) -> None:
        torch.manual_seed(1)
        self.network = nn.Linear(3, 1).double()
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.steps_per_epoch = 4
        self.fail_at = fail_at

    def learning_rate(self, epoch: int) -> float:
        return 0.1 / (1 + epoch)

    def step(self, epoch: int, index: int) -> dict[str, Tensor]:
        x = torch.rand(5, 3, generator=torch.Generator().manual_seed(100 * epoch + index), dtype=torch.float64)
        loss = (self.network(x) - x.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        bad = epoch * self.steps_per_epoch + index >= self.fail_at
        return {"loss": loss.detach() * (float("nan") if bad else 1)}

    def evaluate(self, epoch: int) -> dict[str, float]:
        return {}


def weights(folder: Path) -> dict[str, Tensor]:
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    return {f"{part}.{k}": v for part in ("network",) for k, v in content[part].items()} | {
        f"optimizer.{i}.{k}": v for i, s in content["optimizer"]["state"].items() for k, v in s.items()
    }


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert len(first) > 0
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert metrics(one) == metrics(other)


EPOCHS = 20


def killed_and_resumed(arguments: list[str], folder: Path, number: signal.Signals, lines: int) -> int:
    """Start a run, send it a signal once it has written that many lines, resume it; its exit status."""
    process = subprocess.Popen([*MAIN, *arguments, "--out", str(folder)], stderr=subprocess.PIPE, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / METRICS).is_file() and len((folder / METRICS).read_text().splitlines()) >= lines:
            break
        time.sleep(0.002)
    assert process.poll() is None, "the run ended before it could be stopped"
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    finished = len(metrics(folder))
    assert lines <= finished < EPOCHS
    if number != signal.SIGKILL:
        assert "--resume" in message.decode().splitlines()[-1]
    subprocess.run([*MAIN, *arguments, "--out", str(folder), "--resume"], check=True, env=ENVIRONMENT)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_resumes_to_the_same_bits(tmp_path, number):
    arguments = f"deep lpl --hidden 32,16 --epochs {EPOCHS} --batch-size 64 --checkpoint-every 7".split()
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    subprocess.run([*MAIN, *arguments, "--out", str(straight)], check=True, env=ENVIRONMENT)
    status = killed_and_resumed(arguments, stopped, number, lines=5)
    assert status == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert_same_run(straight, stopped)


@pytest.mark.parametrize("every", [0, 1, 3])
def test_stopping_anywhere_changes_nothing(tmp_path, every, monkeypatch):
    """Stop after every possible step, resume, and compare with a run in one go."""
    config = RunConfig(epochs=3, checkpoint_every=every)
    (tmp_path / "straight").mkdir()
    history = run.train(Line(), config, tmp_path / "straight")
    for stop in range(1, 12):
        folder = tmp_path / str(stop)
        folder.mkdir()
        learner, steps = Line(), [0]
        original = learner.step

        def counted(epoch: int, index: int, original=original, steps=steps, stop=stop) -> dict[str, Tensor]:
            steps[0] += 1
            if steps[0] == stop:
                os.kill(os.getpid(), signal.SIGINT)
            gradient: dict[str, Tensor] = original(epoch, index)
            return gradient

        learner.step = counted  # type: ignore[method-assign]  # a spy
        with pytest.raises(StoppedError, match="--resume"):
            run.train(learner, config, folder)
        assert run.train(Line(), config, folder, resume=True) == history
        assert_same_run(tmp_path / "straight", folder)


def test_without_a_folder_nothing_is_written_and_the_result_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    in_memory = Line()
    history = run.train(in_memory, RunConfig(epochs=2))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    in_folder = Line()
    assert run.train(in_folder, RunConfig(epochs=2), tmp_path / "run") == history
    assert torch.equal(in_memory.network.weight, in_folder.network.weight)


def test_nan_stops_the_run_names_the_metric_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(RatespikeError, match="loss became nan in epoch 2"):
        run.train(Line(fail_at=6), RunConfig(epochs=5, checkpoint_every=1), tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert (content["epoch"], content["index"]) == (1, 2)
    assert len(metrics(tmp_path)) == 1


def test_tensorboard_holds_each_epoch_once_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run.train(Line(), RunConfig(epochs=2), tmp_path)
    run.train(Line(), RunConfig(epochs=5), tmp_path, resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [4, 8, 12, 16, 20]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    run.train(Line(), RunConfig(epochs=1), tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(RatespikeError, match=r"checkpoint\.pt: damaged(, or not a checkpoint|: it is cut off)"):
        run.train(Line(), RunConfig(epochs=2), tmp_path, resume=True)


def test_a_checkpoint_with_code_in_it_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    torch.save({"format": 1, "network": Trap()}, tmp_path / CHECKPOINT)
    with pytest.raises(RatespikeError, match=r"would call posix\.mkdir"):
        run_folder.load_weights(tmp_path, nn.Linear(3, 1))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [{"format": 1}, {"format": 2}, [1, 2], {"format": 1, "network": 3}])
def test_a_checkpoint_that_lacks_something_is_refused(tmp_path, content):
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(RatespikeError, match=r"checkpoint\.pt"):
        run_folder.load_weights(tmp_path, nn.Linear(3, 1))


@pytest.mark.parametrize("damage", ["gone", "short", "garbled", "long"])
def test_lost_and_damaged_metrics_come_back_from_the_checkpoint(tmp_path, damage):
    run.train(Line(), RunConfig(epochs=3), tmp_path)
    path = tmp_path / METRICS
    whole = path.read_text()
    if damage == "gone":
        path.unlink()
    else:
        path.write_text({"short": whole[:-5], "garbled": "x" * len(whole), "long": whole + whole[:30]}[damage])
    history = run.train(Line(), RunConfig(epochs=4), tmp_path, resume=True)
    assert path.read_text().startswith(whole)
    assert metrics(tmp_path) == history
    assert [line["epoch"] for line in history] == [1, 2, 3, 4]


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a checkpoint with another content, but for its digest."""
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    change(content)
    torch.save(content, folder / CHECKPOINT)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["network"]["weight"].view(torch.int32)[0, 1].bitwise_xor_(1),
        lambda content: content.update(epoch=1),
        lambda content: content["metrics"][0].update(loss=0.5),
        lambda content: content["settings"].update(seed=3),
        lambda content: content["optimizer"]["param_groups"][0].update(momentum=0.5),
        lambda content: content.update(index=1),
    ],
)
def test_a_changed_bit_anywhere_in_a_checkpoint_is_noticed(tmp_path, change):
    (tmp_path / CONFIG).write_text("seed = 2\n")
    run.train(Line(), RunConfig(epochs=2), tmp_path)
    changed(tmp_path, lambda content: None)
    run.train(Line(), RunConfig(epochs=2), tmp_path, resume=True)
    changed(tmp_path, change)
    with pytest.raises(RatespikeError, match=r"checkpoint\.pt: damaged, its digest"):
        run.train(Line(), RunConfig(epochs=3), tmp_path, resume=True)
    with pytest.raises(RatespikeError, match="digest"):
        run_folder.load_weights(tmp_path, nn.Linear(3, 1))


def test_a_name_in_a_checkpoint_that_is_no_text_is_damage(tmp_path):
    """Of the members of its archive, each named twice: in the directory at the end, and before its content."""
    run.train(Line(), RunConfig(epochs=1), tmp_path)
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    name = content.index(b"/version")  # the first of the two
    content[name + 1] = 0xFF
    content[content.rindex(b"PK\x03\x04", 0, name) + 7] |= 0x08  # says that names are UTF-8
    path.write_bytes(content)
    with pytest.raises(RatespikeError, match=r"checkpoint.pt: damaged[^\n]*$"):
        check_checkpoint(path)


@pytest.mark.parametrize("text", ["seed = 3\n", "", "seed = 2\nmomentum = 0.5\n"])
def test_settings_that_were_edited_since_the_checkpoint_are_refused(tmp_path, text):
    (tmp_path / CONFIG).write_text("seed = 2\n[run]\nepochs = 2\n")
    run.train(Line(), RunConfig(epochs=2), tmp_path)
    (tmp_path / CONFIG).write_text('seed = 2\n[run]\nepochs = 9\ndevice = "cuda"\n')  # these may differ
    run.train(Line(), RunConfig(epochs=2), tmp_path, resume=True)
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml: was changed in (seed|momentum) since checkpoint\.pt"):
        run.train(Line(), RunConfig(epochs=3), tmp_path, resume=True)


def test_a_checkpoint_of_an_earlier_version_goes_on_with_a_word(tmp_path):
    history = run.train(Line(), RunConfig(epochs=3), tmp_path)
    size = len("".join((tmp_path / METRICS).read_text().splitlines(keepends=True)[:3]))

    def as_it_was(content: dict[str, Any]) -> None:
        for name in ("digest", "settings", "metrics", "ratespike"):
            del content[name]
        content["metrics_bytes"] = size

    changed(tmp_path, as_it_was)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"epoch": 4, "loss":')
    with pytest.warns(Notice, match="no digest"):
        assert run.train(Line(), RunConfig(epochs=4), tmp_path, resume=True)[:3] == history
    assert len(metrics(tmp_path)) == 4
    changed(tmp_path, as_it_was)
    (tmp_path / METRICS).write_text("")
    with pytest.warns(Notice, match="no digest"), pytest.raises(RatespikeError, match="lacks epochs"):
        run.train(Line(), RunConfig(epochs=5), tmp_path, resume=True)


def test_settings_that_are_edited_while_a_run_trains_are_noticed_when_it_goes_on(tmp_path):
    class Edits(Line):
        def step(self, epoch: int, index: int) -> dict[str, Tensor]:
            (tmp_path / CONFIG).write_text("seed = 3\n")
            return super().step(epoch, index)

    (tmp_path / CONFIG).write_text("seed = 2\n")
    run.train(Edits(), RunConfig(epochs=2), tmp_path)
    with pytest.raises(UsageError, match="was changed in seed"):
        run.train(Line(), RunConfig(epochs=3), tmp_path, resume=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": 5}, {"metrics": [1]}, {"settings": [1]}, {"sums": {"a": 1}}, {"network": {0: torch.zeros(1)}},
        {"optimizer": {"state": [], "param_groups": []}}, {"optimizer": {"state": {}, "param_groups": 3}},
        {"optimizer": {"state": {0: 5}, "param_groups": [3]}},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::foundation.errors.Notice")
def test_parts_of_other_types_are_one_line(tmp_path, wrong):
    run.train(Line(), RunConfig(epochs=1), tmp_path)

    def change(content: dict[str, Any]) -> None:
        content.update(wrong)
        del content["digest"]

    changed(tmp_path, change)
    with pytest.raises(RatespikeError, match=r"checkpoint\.pt"):
        run.train(Line(), RunConfig(epochs=2), tmp_path, resume=True)


def test_a_config_of_another_program_is_not_replaced(tmp_path):
    (tmp_path / CONFIG).write_text('[site]\nname = "mine"\n')
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(UsageError, match=r"its config\.toml is not that of a run"):
        run_folder.open_run(tmp_path, LPLConfig(), resume=False, force=True)
    assert (tmp_path / "results.json").read_text() == "mine"


def test_two_processes_at_once_do_not_share_a_run(tmp_path):
    """Another process holds the lock, and a killed one lets it go."""
    code = "import sys, time\nfrom pathlib import Path\nfrom foundation.locks import locked\n"
    code += "with locked(Path(sys.argv[1])): print('here', flush=True); time.sleep(60)"
    run.train(Line(), RunConfig(epochs=1), tmp_path)
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(RatespikeError, match="another process is at work there"):
            run.train(Line(), RunConfig(epochs=2), tmp_path, resume=True)
        assert len(metrics(tmp_path)) == 1
    finally:
        other.kill()
        other.wait()
    assert len(run.train(Line(), RunConfig(epochs=2), tmp_path, resume=True)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [CHECKPOINT, METRICS, "tensorboard"]


def test_metrics_without_a_checkpoint_are_not_overwritten(tmp_path):
    run.train(Line(), RunConfig(epochs=2), tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    before = metrics(tmp_path)
    with pytest.raises(RatespikeError, match="has metrics but no checkpoint"):
        run.train(Line(), RunConfig(epochs=3), tmp_path, resume=True)
    assert metrics(tmp_path) == before


def test_broken_weights_never_become_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "BETWEEN_CHECKPOINTS", 0.0)
    learner = Line()
    learner.learning_rate = lambda epoch: float("inf") if epoch == 1 else 0.1  # type: ignore[method-assign]  # a spy
    with pytest.raises(RatespikeError, match=r"no longer finite in epoch|became"):
        run.train(learner, RunConfig(epochs=2), tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert content["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in content["network"].values())


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run.train(Line(), RunConfig(epochs=1), tmp_path)
    with pytest.raises(RatespikeError, match="another network"):
        run_folder.load_weights(tmp_path, nn.Linear(4, 1))
    with pytest.raises(RatespikeError, match="no checkpoint"):
        run_folder.load_weights(tmp_path / "nothing", nn.Linear(4, 1))


class TestOpenRun:
    config = LPLConfig(encoder=EncoderConfig(hidden=(4,)))

    def test_a_config_comes_back_as_it_was(self, tmp_path):
        run_folder.open_run(tmp_path / "new", self.config, resume=False)
        text = (tmp_path / "new" / CONFIG).read_text()
        assert configs.loads(LPLConfig, text) == self.config

    def test_a_run_is_not_overwritten(self, tmp_path):
        run_folder.open_run(tmp_path, self.config, resume=False)
        with pytest.raises(UsageError, match="holds a run already"):
            run_folder.open_run(tmp_path, self.config, resume=False)

    def test_a_run_of_another_configuration_is_refused_by_key(self, tmp_path):
        run_folder.open_run(tmp_path, self.config, resume=False)
        other = LPLConfig(encoder=EncoderConfig(hidden=(5,)), learning_rate=1.0)
        with pytest.raises(UsageError, match=r"differs in encoder\.hidden, learning_rate"):
            run_folder.open_run(tmp_path, other, resume=True)

    def test_more_epochs_are_welcome(self, tmp_path):
        run_folder.open_run(tmp_path, self.config, resume=False)
        longer = LPLConfig(encoder=EncoderConfig(hidden=(4,)), run=RunConfig(epochs=1000))
        run_folder.open_run(tmp_path, longer, resume=True)
        assert configs.loads(LPLConfig, (tmp_path / CONFIG).read_text()) == longer

    def test_fewer_epochs_than_done_are_not(self, tmp_path):
        run_folder.open_run(tmp_path, self.config, resume=False)
        run.train(Line(), RunConfig(epochs=3), tmp_path)
        shorter = LPLConfig(encoder=EncoderConfig(hidden=(4,)), run=RunConfig(epochs=2))
        with pytest.raises(UsageError, match="has 3 epochs done already"):
            run_folder.open_run(tmp_path, shorter, resume=True)
        assert configs.loads(LPLConfig, (tmp_path / CONFIG).read_text()) == self.config

    def test_a_run_whose_learning_rate_knows_its_length_keeps_it(self, tmp_path):
        config = LPLConfig(encoder=EncoderConfig(hidden=(4,)), warmup_epochs=2, run=RunConfig(epochs=4))
        run_folder.open_run(tmp_path, config, resume=False, extendable=False)
        longer = replace(config, run=RunConfig(epochs=5))
        with pytest.raises(UsageError, match=r"differs in run\.epochs"):
            run_folder.open_run(tmp_path, longer, resume=True, extendable=False)

    def test_what_a_killed_writer_left_is_no_obstacle_and_is_swept(self, tmp_path):
        (tmp_path / ".config-abc123.part.toml").write_text("half")
        run_folder.open_run(tmp_path, self.config, resume=False)
        (tmp_path / ".checkpoint-abc123.part.pt").write_text("half")
        run_folder.open_run(tmp_path, self.config, resume=True)
        assert [p.name for p in tmp_path.iterdir()] == [CONFIG]

    def test_a_foreign_folder_is_refused_and_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("precious")
        for resume in (False, True):
            with pytest.raises(UsageError, match=r"holds no config\.toml"):
                run_folder.open_run(tmp_path, self.config, resume=resume)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": -1}, "run.epochs"),
        ({"seed": -1}, "run.seed"),
        ({"precision": "float8"}, "run.precision"),
        ({"checkpoint_every": -1}, "run.checkpoint_every"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(**changes)


def test_devices_are_checked():
    with pytest.raises(UsageError, match="must be cpu, cuda"):
        RunConfig(device="toaster").torch_device()
    with pytest.raises(UsageError, match="must be cpu, cuda"):
        RunConfig(device="meta").torch_device()
    with pytest.raises(RatespikeError, match="cuda:99 is absent"):
        RunConfig(device="cuda:99").torch_device()


def test_zero_epochs_leave_the_initial_network(tmp_path):
    before = Line().network.weight.detach().clone()
    assert run.train(Line(), RunConfig(epochs=0), tmp_path) == []
    learner = Line()
    run_folder.load_weights(tmp_path, learner.network)
    assert torch.equal(learner.network.weight, before)


def tiny_images(rng: np.random.Generator, shape: tuple[int, int, int] = (1, 8, 8)):
    from foundation.data.images import ImageSet

    images = rng.integers(0, 256, (40, *shape), dtype=np.uint8)
    labels = np.arange(40) % 2
    return ImageSet("tiny", images, labels, images[:10], labels[:10], ("even", "odd"))


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_precisions_agree_within_their_digits(rng, precision, each_device):
    config = LPLConfig(
        batch_size=20,
        encoder=EncoderConfig(hidden=(6, 5)),
        optimizer="sgd",  # where no term feels a bias, its gradient is rounding errors; Adam would follow them
        run=RunConfig(epochs=2, precision=precision, device=each_device),
    )
    exact = replace(config, run=RunConfig(epochs=2, precision="float64"))
    images = tiny_images(rng)
    network, history = train_lpl(config, images)
    _, reference = train_lpl(exact, images)
    digits = {"float32": 1e-5, "float64": 1e-9, "bfloat16": 0.05}[precision]
    assert next(network.parameters()).dtype == (torch.float64 if precision == "float64" else torch.float32)
    for ours, theirs in zip(history, reference, strict=True):
        for name, value in theirs.items():
            # A covariance is a difference of products as large as a variance, which is exp(-push) up to epsilon.
            of_squared_covariances = name.endswith("decorr")
            size = math.exp(-2 * theirs[name.replace("decorr", "push")]) if of_squared_covariances else abs(value)
            assert abs(ours[name] - value) <= digits * max(size, abs(value)), name
    if precision == "bfloat16":  # and it is not float32 after all
        _, single = train_lpl(replace(config, run=replace(config.run, precision="float32")), images)
        assert history[0]["layer2/pull"] != single[0]["layer2/pull"]


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(rng, each_device):
    run = RunConfig(epochs=2, precision="float64", device=each_device)
    config = LPLConfig(batch_size=20, encoder=EncoderConfig(hidden=(6, 5)), run=run)
    images = tiny_images(rng)
    (_, history), (_, ours) = (
        train_lpl(config, images),
        train_lpl(replace(config, run=replace(run, compile=True)), images),
    )
    for one, other in zip(history, ours, strict=True):
        assert one == pytest.approx(other, rel=1e-8, abs=1e-12)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot take subnormal numbers for 0")
def test_subnormal_numbers_are_0_while_training_and_only_then():
    seen = []

    class Small(Line):
        def step(self, epoch: int, index: int) -> dict[str, Tensor]:
            seen.append((torch.tensor([1e-30]) * 1e-10).item())
            return super().step(epoch, index)

    run.train(Small(), RunConfig(epochs=1))
    assert set(seen) == {0.0}
    assert (torch.tensor([1e-30]) * 1e-10).item() > 0
