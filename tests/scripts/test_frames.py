"""LPL on Shapes3D sequences, with pictures of the official kind made here."""

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from foundation.data import shapes3d
from foundation.data.shapes3d import factor_values
from foundation.errors import UsageError
from ratenets.lpl import frames
from ratenets.lpl.config import LossConfig, LPLConfig
from ratenets.lpl.encoders import EncoderConfig
from ratenets.run_config import RunConfig
from ratenets.sequences.shapes3d import SequenceConfig, Shapes3DSequences, factors_of

SIZES = (4, 2, 2, 2, 2, 3)
CONFIG = LPLConfig.for_data(
    "shapes3d",
    batch_size=8,
    learning_rate=1e-3,
    warmup_epochs=0,
    encoder=EncoderConfig(kind="vgg", width=1 / 32),
    run=RunConfig(epochs=1, max_steps=3, seed=5),
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Path:
    """A root with a small dataset, prepared."""
    monkeypatch.setattr(shapes3d, "SIZES", SIZES)
    (tmp_path / "shapes3d").mkdir()
    number = int(np.prod(SIZES))
    with h5py.File(tmp_path / "shapes3d/3dshapes.h5", "w") as file:
        file["images"] = rng.integers(0, 256, (number, 64, 64, 3), dtype=np.uint8)
        file["labels"] = np.array(list(itertools.product(*factor_values(SIZES))))
    shapes3d.prepare(tmp_path, SIZES)
    return tmp_path


@pytest.fixture
def shown(root: Path) -> frames.Frames:
    pictures = shapes3d.load_shapes3d(root, SIZES)
    config = SequenceConfig(sequences=60, batch_size=8, steps=4)
    return frames.Frames(pictures, Shapes3DSequences.draw(5, config, SIZES))


def test_the_views_of_a_step_are_successive_frames_standardised(shown):
    batch = frames.FrameSource(CONFIG, shown).batch(2, 1)
    block = shown.sequences.epoch(2)[1]
    assert batch.views.shape == (16, 3, 64, 64)
    pictures = shown.pictures
    for view, index in zip(batch.views, [*block[:-1], *block[1:]], strict=True):
        expected = (pictures.images[index] / 255 - pictures.mean[:, None, None]) / pictures.deviation[:, None, None]
        np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)
    moved = np.abs(np.diff(factors_of(block, SIZES), axis=0)) > 0
    assert (moved.sum(1) <= 1).mean() > 0.8  # one factor moves at a time, but for the jumps between sequences
    torch.testing.assert_close(frames.FrameSource(CONFIG, shown).batch(2, 1).views, batch.views, rtol=0, atol=0)


def test_a_network_learns_from_frames(shown):
    from ratenets.lpl.training import train_with

    encoder, history = train_with(lambda config: frames.learner(shown, config), CONFIG)
    assert len(history) == 1
    assert all(np.isfinite(value) for value in history[0].values())
    initial = frames.learner(shown, CONFIG).network.encoder
    assert not torch.equal(next(encoder.parameters()), next(initial.parameters()))


def test_codes_are_looked_up(shown):
    encoder = frames.learner(shown, CONFIG).network.encoder
    codes = frames.codes_of(encoder, shown.pictures, CONFIG)
    rows = np.array([5, 3, 5])
    with torch.no_grad():
        expected = encoder(frames.presented(shown.pictures, rows, CONFIG))[-1]
    np.testing.assert_allclose(codes(rows), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(
        frames.pixels_of(shown.pictures)(rows)[1], shown.pictures.images[3].ravel() / 255, rtol=1e-6
    )


@pytest.mark.parametrize(
    "changes",
    [{"train_images": 50}, {"held_out": 5}, {"readout_every": 2}, {"downsample_images": True},
     {"loss": LossConfig(supervision=True)}],
)  # fmt: skip
def test_settings_without_a_meaning_are_refused(tmp_path, changes):
    from dataclasses import replace

    with pytest.raises(UsageError, match="means nothing for the sequences"):
        frames.load_frames(replace(CONFIG, **changes), tmp_path)


def test_training_and_scoring_from_the_command_line(root, run, monkeypatch):
    monkeypatch.chdir(root)
    options = ["--batch-size", 8, "--width", 1 / 32, "--warmup-epochs", 0, "--max-steps", 3, "--root", root]
    status, said, errors = run("deep", "lpl", "--data", "shapes3d", *options, "--out", "run")
    assert status == 0, errors
    few = ["--batch", 6, "--train-batches", 2, "--test-batches", 2, "--repetitions", 2, "--contexts", 5, "--scatter", 9]
    for number, source in enumerate((["run"], ["run", "--untrained"], ["--pixels"])):
        status, said, errors = run(
            "deep", "shapes3d", "score", *source, *few, "--root", root, "--json", f"{number}.json"
        )
        assert status == 0, errors
        assert "majority vote" in said
    for name in ("scores", "similarities", "manifolds", "scatters", "transitions"):
        status, said, errors = run("figure", f"shapes3d-{name}", "0.json", "1.json", "2.json", "--out", f"{name}.png")
        assert status == 0, errors
    status, said, errors = run("deep", "shapes3d", "score", "run", "--pixels", "--root", root)
    assert status == 2
    assert "--pixels alone" in errors
    (root / "other.json").write_text("{}")
    status, said, errors = run("figure", "shapes3d-scores", "other.json", "--out", "x.png")
    assert status == 1
    assert "not a file of" in errors
